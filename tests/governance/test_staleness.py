"""What is stale is known, with why, and a refresh makes exactly that again. With a real model on a real lake."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.core.partitions import Partitions
from include.core.settings import settings
from include.governance import staleness, verify
from include.lake import delta, publications, usage
from include.ml import ledger, rollback
from include.orchestration import refresh
from include.orchestration.airflow_client import Run
from include.serving import batch
from tests import commands
from tests.governance.stages import DAY, NIGHT, NIGHTS, Stages, manifest
from tests.ml.conftest import toy_case


def found(case: UseCase) -> list[tuple[str, int]]:
    """What is stale: the stage, and the number of the night."""
    return [(one.stage, (one.night - NIGHT).days) for one in staleness.find(case)]


def why(case: UseCase, stage: str, night: date) -> str:
    (one,) = [one for one in staleness.find(case) if (one.stage, one.night) == (stage, night)]
    return "; ".join(one.why)


@pytest.fixture
def stages(twelve: tuple[Path, dict[tuple[date, date], int]], home: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    case = toy_case()
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    shutil.copytree(twelve[0], home, dirs_exist_ok=True)
    return Stages(case, dict(twelve[1]))


class Here:
    """Airflow, as far as a refresh needs it: a run of a stage is followed by those behind it."""

    url = "http://here"

    def __init__(self, stages: Stages) -> None:
        self.stages, self.started = stages, list[str]()
        self.meanwhile: Any = lambda: None

    def trigger(self, dag_id: str, nights: Partitions) -> Run:
        self.started.append(f"{dag_id} {nights}")
        self.meanwhile()
        self.stages.run(dag_id.removeprefix("toy_"), nights.first, nights.last)
        return Run(dag_id, "by hand", nights.key, "success", "", 0.0, 1.0, "manual")

    def follow(self, runs: list[Run], say: Any = print) -> list[Run]:
        return runs


def refreshed(stages: Stages, meanwhile: Any = lambda: None) -> tuple[list[str], list[staleness.Stale]]:
    here = Here(stages)
    here.meanwhile = meanwhile
    runs, left = refresh.run(here, stages.case, date.min, date.max, lambda line: None)
    assert len(runs) == len(here.started)
    return here.started, left


def versions() -> dict[str, int]:
    """Of each table whose content a rerun must not change: what each scoring took is a line for each."""
    return {name: int(usage.opened(name).version()) for name in usage.tables() if name != "ledger.scorings"}


def test_after_sound_nights_nothing_is_stale_and_a_refresh_writes_nothing(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(stages.case) == []
    stamps = delta.read_all("gold", "toy__predictions").select("flight_date", batch.FEATURES).unique()
    days = stamps["flight_date"].to_list()
    assert dict(stamps.iter_rows()) == publications.contents_of("gold.toy__features", days)
    before = versions()
    assert refreshed(stages) == ([], [])
    assert versions() == before
    assert commands.run("stale", "--use-case", "toy") == 0
    assert capsys.readouterr().out == "nothing is stale\n"


def test_a_night_that_runs_again_writes_nothing_and_makes_nothing_stale(stages: Stages) -> None:
    before = versions()
    stages.run("features", NIGHTS[5])
    assert versions() == before
    assert found(stages.case) == []


def test_a_corrected_file_makes_the_days_stale_that_looked_at_it_and_no_others(stages: Stages) -> None:
    """The file of night 4 comes again with other rows, and no later night than its own is run."""
    stages.ingest(NIGHTS[4], tossed=50)
    features = [("features", 4), ("features", 5)]
    # a night measures the day that it has scored, and the day whose labels it knows
    assert found(stages.case) == [
        *features,
        *[("predict", n) for _, n in features],
        *[("monitor", n) for n in range(4, 7)],
    ]
    assert "silver.tosses" in why(stages.case, "features", NIGHTS[5])
    assert "has revision 2 since" in why(stages.case, "features", NIGHTS[5])
    started, left = refreshed(stages)
    assert left == []
    assert started[0] == f"toy_features {NIGHTS[4]}..{NIGHTS[5]}"
    assert all("toy_monitor" in one for one in started[1:]), "the predictions follow on the features"
    fresh = {day: stages.features(day) for day in (NIGHTS[5], NIGHTS[6])}
    there = delta.read_days("gold", "toy__features", NIGHTS[5], NIGHTS[6]).sort("coin_id")
    assert there["weight"].to_list() == pl.concat(fresh.values()).sort("coin_id")["weight"].to_list()
    again = versions()
    assert refreshed(stages) == ([], [])
    assert versions() == again


def test_a_late_row_makes_stale_only_what_could_have_known_it(stages: Stages) -> None:
    """A row of day 4 comes in night 6. The features of the days 5 and 6 were made without it, and stay so."""
    stages.ingest(NIGHTS[4], night=NIGHTS[6])
    stages.run("features", NIGHTS[4])  # as the transformation has it run, for the labels of that day
    assert [one for one in found(stages.case) if one[0] != "monitor"] == []


def test_a_late_row_that_comes_to_a_day_looked_back_on_is_known_then(stages: Stages) -> None:
    """The row of day 4 is in the file of night 5, which was ingested after all others."""
    stages.ingest(NIGHTS[4], night=NIGHTS[5])
    assert [one for one in found(stages.case) if one[0] == "features"] == [("features", 4), ("features", 5)]
    assert "labels" not in why(stages.case, "features", NIGHTS[5])
    assert refreshed(stages)[1] == []


def test_other_sql_makes_all_stale_that_it_did_not_build_and_a_comment_does_not(stages: Stages) -> None:
    node = stages.sql["nodes"]["model.p.toy__features"]
    node["raw_code"] = "select   1\n-- with another comment"
    stages.run("features", NIGHTS[11])
    assert found(stages.case) == []
    node["raw_code"] = "select 2"
    stages.run("features", NIGHTS[11])
    stale = [n for stage, n in found(stages.case) if stage == "features"]
    assert stale == list(range(11))
    assert "other SQL" in why(stages.case, "features", NIGHTS[0])
    assert refreshed(stages)[1] == []


def test_macros_of_ours_are_part_of_the_sql_and_those_of_others_are_not() -> None:
    told = manifest()
    node = told["nodes"]["model.p.toy__features"]
    node["depends_on"]["macros"] = ["macro.p.ours", "macro.dbt.theirs"]
    told["macros"] = {
        "macro.p.ours": {"package_name": "p", "macro_sql": "a", "depends_on": {"macros": ["macro.p.inner"]}},
        "macro.p.inner": {"package_name": "p", "macro_sql": "b", "depends_on": {"macros": ["macro.p.ours"]}},
        "macro.dbt.theirs": {"package_name": "dbt", "macro_sql": "c"},
    }
    before = staleness.sql_of(told, "gold.toy__features")
    told["macros"]["macro.dbt.theirs"]["macro_sql"] = "d"
    assert staleness.sql_of(told, "gold.toy__features") == before
    told["macros"]["macro.p.inner"]["macro_sql"] = "d"
    assert staleness.sql_of(told, "gold.toy__features") != before


def champion(stages: Stages, version: int, since: date) -> None:
    """Another version with the files of the first takes over."""
    (first, *_) = ledger.read(stages.case)
    values = {name: getattr(first, name) for name in ledger.SCHEMA if name != "decided_at"}
    ledger.append(stages.case, **values | {"model_version": version, "effective_from": since})
    files = settings().var / "cache" / "models" / stages.case.name
    shutil.copytree(files / "1", files / str(version))


def test_a_promotion_in_the_past_makes_its_days_stale(stages: Stages) -> None:
    champion(stages, 2, NIGHTS[9] + DAY)
    assert found(stages.case) == [*[("predict", n) for n in (9, 10, 11)], *[("monitor", n) for n in (9, 10, 11)]]
    assert "scored by version 1, and version 2 is champion of" in why(stages.case, "predict", NIGHTS[10])
    assert any(verify.other_champions(stages.case))
    started, left = refreshed(stages)
    assert (started[0], left) == (f"toy_predict {NIGHTS[9]}..{NIGHTS[11]}", [])
    assert not any(verify.other_champions(stages.case))


def test_a_rollback_to_a_day_scores_again_what_is_after_it(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 2 was wrong from its third day on."""
    monkeypatch.setattr("include.ml.registry.show_champion", lambda case: None)
    champion(stages, 2, NIGHTS[7] + DAY)
    refreshed(stages)
    stages.nights([NIGHTS[11] + DAY])
    early = rollback.plan(stages.case, 1, NIGHTS[2])
    assert early.effective_from == NIGHTS[8], "not before the version that it replaces took effect"
    found_, new = rollback.carry_out(stages.case, 1, "ann", "wrong", NIGHTS[9] + DAY)
    assert (found_.effective_from, new) == (NIGHTS[10], True)
    assert [n for stage, n in found(stages.case) if stage == "predict"] == [9, 10, 11, 12]
    assert refreshed(stages)[1] == []
    scored = delta.read_all("gold", "toy__predictions").group_by("flight_date").agg(pl.col("model_version").first())
    by = dict(scored.iter_rows())
    assert [by[day + DAY] for day in NIGHTS[6:]] == [1, 2, 2, 1, 1, 1]
    earlier, moved = rollback.carry_out(stages.case, 1, "ann", "from its first day on", NIGHTS[8])
    assert (earlier.effective_from, moved) == (NIGHTS[8], True)
    assert [n for stage, n in found(stages.case) if stage == "predict"] == [7, 8]
    assert rollback.carry_out(stages.case, 1, "ann", "again", NIGHTS[8])[1] is False


def test_what_lands_while_a_refresh_runs_is_stale_afterwards(stages: Stages) -> None:
    stages.ingest(NIGHTS[4], tossed=50)
    landed = []

    def meanwhile() -> None:
        if not landed:
            landed.append(stages.ingest(NIGHTS[8], tossed=7))

    # It is seen by the stages that come after: all is well once they have run, or it is named.
    _, left = refreshed(stages, meanwhile)
    assert {(one.stage, one.night) for one in left} >= {("features", NIGHTS[8]), ("features", NIGHTS[9])}
    assert refreshed(stages)[1] == []


def test_silver_that_changes_while_features_are_built_makes_them_stale(stages: Stages) -> None:
    built = stages.build(NIGHTS[6])
    stages.ingest(NIGHTS[5], tossed=50)
    stages.publish(built)
    assert ("features", 6) in found(stages.case)
    assert refreshed(stages)[1] == []


def test_features_that_change_while_they_are_measured_make_that_stale(stages: Stages) -> None:
    stages.ingest(NIGHTS[10], tossed=50)
    with staleness.measuring(stages.case, Partitions(NIGHTS[11], NIGHTS[11])):
        stages.publish(stages.build(NIGHTS[11]))
        stages.predict(NIGHTS[11])
    assert ("monitor", 11) in found(stages.case)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_refresh_that_is_killed_leaves_what_is_left_to_do(stages: Stages, steps: int) -> None:
    stages.ingest(NIGHTS[4], tossed=50)
    done = []

    def killed() -> None:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        refreshed(stages, killed)
    assert found(stages.case) != []
    assert refreshed(stages)[1] == []


def test_killed_between_a_stage_and_its_record_it_is_stale_still(
    stages: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.ingest(NIGHTS[4], tossed=50)
    stages.run("features", NIGHTS[4], NIGHTS[5])
    with monkeypatch.context() as patch:
        patch.setattr(staleness, "_lines", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stages.measure(NIGHTS[6])
    assert ("monitor", 6) in found(stages.case)
    assert refreshed(stages)[1] == []


def test_two_refreshes_at_once_end_as_one(stages: Stages) -> None:
    stages.ingest(NIGHTS[4], tossed=50)
    others: list[list[str]] = []

    def another() -> None:
        if not others:
            others.append([])
            others[0] += refreshed(stages)[0]

    _, left = refreshed(stages, another)
    assert (left, bool(others[0])) == ([], True)
    before = versions()
    stages.run("features", NIGHTS[4], NIGHTS[11])
    assert versions() == before


def test_days_that_nobody_has_scored_or_measured_are_named(stages: Stages) -> None:
    night = NIGHTS[11] + DAY
    stages.ingest(night)
    stages.publish(stages.build(night))
    assert found(stages.case) == [("predict", 12), ("monitor", 12)] or found(stages.case) == [("predict", 12)]
    assert "was never scored" in why(stages.case, "predict", night)
    stages.predict(night)
    assert found(stages.case) == [("monitor", 12)]
    assert why(stages.case, "monitor", night) == "was never measured"
    stages.measure(night)
    assert found(stages.case) == []


def test_a_lake_of_before_it_was_recorded_is_not_stale_and_is_when_something_changes(stages: Stages) -> None:
    """As after an upgrade: no ledger of what was made, no content beside a prediction."""
    shutil.rmtree(settings().lake / "gold" / "toy__made")
    there = delta.read_all("gold", "toy__predictions").drop(batch.FEATURES)
    shutil.rmtree(settings().lake / "gold" / "toy__predictions")
    delta.replace_days("gold", "toy__predictions", there, NIGHTS[0], NIGHTS[11] + DAY)
    stale = found(stages.case)
    assert [one for one in stale if one[0] != "monitor"] == []
    stages.measure(NIGHTS[0], NIGHTS[11])
    assert found(stages.case) == []
    stages.ingest(NIGHTS[4], tossed=50)
    assert [one for one in found(stages.case) if one[0] == "features"] == [("features", 4), ("features", 5)]
    assert refreshed(stages)[1] == []


def test_the_commands_say_it_and_do_it(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = Here(stages)
    monkeypatch.setattr("include.orchestration.airflow_client.Airflow", lambda settings: here)
    stages.ingest(NIGHTS[4], tossed=50)
    assert commands.run("stale", "--use-case", "toy") == 1
    out = capsys.readouterr().out
    assert f"features: 2 partitions, {NIGHTS[4]} to {NIGHTS[5]}" in out
    assert commands.run("stale", "--use-case", "toy", "--to", str(NIGHTS[3])) == 0
    assert commands.run("refresh", "--use-case", "toy") == 0
    assert "nothing was done; yes=1 makes these again" in capsys.readouterr().out
    assert here.started == []
    assert commands.run("refresh", "--use-case", "toy", "--yes") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is stale"
    assert here.started != []
    assert commands.run("refresh", "--use-case", "toy", "--yes") == 0
    assert capsys.readouterr().out == "nothing is stale\n"
