"""A champion that cannot be loaded or fails: who scores its days, that each row says so, and what leaves them out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.contracts.use_case import Evaluation, Multiclass, Regression, Scoring, UseCase
from include.core.errors import may_pass
from include.governance import staleness, verify
from include.lake import delta
from include.ml import dataset, errors, ledger, model_files, monitor, scoring, tasks
from include.serving import batch, fallback
from tests.ml.conftest import FIRST, ROWS, toy_case, toy_rows, write_days

DAY = timedelta(1)
NIGHT = FIRST + 29 * DAY
SECOND = NIGHT + 8 * DAY
"""The first day of version 2, whose files are those of version 1."""


def champion(case: UseCase, version: int, since: date, how: str | None = None) -> None:
    first = ledger.read(case)[0]
    values = {name: getattr(first, name) for name in ledger.SCHEMA if name != "decided_at"}
    ledger.append(case, **values | {"model_version": version, "effective_from": since, "how": how})


@pytest.fixture
def live(deployed: UseCase, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """Version 1 has scored a week, and version 2 is champion after it. MLflow hands out another file for it."""
    write_days(deployed, NIGHT + DAY, 20)
    champion(deployed, 2, SECOND)
    batch.predict("toy", NIGHT + DAY, SECOND - DAY)
    hands_out(monkeypatch, tampered)
    return deployed


def tampered(file: str, folder: str) -> Path:
    path = Path(folder) / file
    path.write_bytes(b"something else")
    return path


def lost(file: str, folder: str) -> Path:
    raise FileNotFoundError(f"MLflow has no {file}")


def away(file: str, folder: str) -> Path:
    raise errors.RegistryAwayError("MLflow was asked to hand it out, and does not do it")


def hands_out(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str, str], Path]) -> None:
    monkeypatch.setattr(model_files, "_downloaded", lambda source, file, folder, what: answer(file, folder))


def restored(case: UseCase) -> None:
    """The files of version 2 are here."""
    there = model_files._folder(case, 1)
    mine = model_files._folder(case, 2)
    mine.mkdir(parents=True, exist_ok=True)
    for file in (model_files.MODEL_FILE, model_files.REFERENCE_FILE):
        (mine / file).write_bytes((there / file).read_bytes())


def scored(case: UseCase, first: date, last: date | None = None) -> pl.DataFrame:
    return delta.read_days("gold", case.predictions_table, first, last or first).sort("flight_date", "coin_id")


def by(case: UseCase, first: date) -> set[tuple[int | None, str | None]]:
    return set(scored(case, first).select("model_version", "scored_by").iter_rows())


@pytest.mark.parametrize(
    ("answer", "said"), [(tampered, "does not have the checksum that it was registered with"), (lost, "not to be had")]
)
def test_the_champion_before_it_scores_the_day_and_it_is_said(
    live: UseCase, monkeypatch: pytest.MonkeyPatch, answer: Any, said: str
) -> None:
    hands_out(monkeypatch, answer)
    done = batch.predict("toy", SECOND, SECOND)
    (sentence,) = done["fallback"]
    assert sentence.startswith(f"version 2 could not score {SECOND}: {ROWS} rows are by version 1, the champion before")
    assert said in sentence
    assert (done["rows"], done["by_version"]) == (ROWS, {"1": ROWS})
    assert by(live, SECOND) == {(1, "previous champion")}
    assert by(live, SECOND - DAY) == {(1, "champion")}


def test_a_model_that_raises_is_no_better(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    restored(live)
    score, asked = scoring.score_rows, list[int]()

    def raising(case: UseCase, of: ledger.Champion, rows: pl.DataFrame) -> pl.DataFrame:
        asked.append(of.model_version)
        if of.model_version == 2:
            raise errors.ModelRefusedError("XGBoost refuses to score 60 rows")
        return score(case, of, rows)

    monkeypatch.setattr(scoring, "score_rows", raising)
    batch.predict("toy", SECOND, SECOND)
    assert (asked, by(live, SECOND)) == ([2, 1], {(1, "previous champion")})


def test_what_may_pass_is_tried_again_first(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    hands_out(monkeypatch, away)
    with pytest.raises(errors.RegistryAwayError) as raised:
        batch.predict("toy", SECOND, SECOND)
    assert may_pass(raised.value)
    assert scored(live, SECOND).is_empty()
    batch.predict("toy", SECOND, SECOND, is_last_try=True)
    assert by(live, SECOND) == {(1, "previous champion")}


def test_without_another_model_it_is_what_was_usual_by_then(deployed: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    hands_out(monkeypatch, lost)
    write_days(deployed, NIGHT + DAY, 20)
    (model_files._folder(deployed, 1) / model_files.MODEL_FILE).unlink()
    done = batch.predict("toy", NIGHT + DAY, NIGHT + 2 * DAY)
    assert done["by_version"] == {}
    assert "what is usual, without a model" in done["fallback"][0]
    for day in (NIGHT + DAY, NIGHT + 2 * DAY):
        known = toy_rows(day - 28 * DAY, 28)["is_head"].mean()
        assert scored(deployed, day)["score"].unique().to_list() == pytest.approx([known])
        assert by(deployed, day) == {(None, "prior")}
    nightly = scored(deployed, NIGHT + 2 * DAY)
    assert batch.predict("toy", NIGHT + 2 * DAY, NIGHT + 2 * DAY)["changed"] is False
    assert scored(deployed, NIGHT + 2 * DAY).equals(nightly)


def test_and_that_of_the_group_where_the_spec_has_groups(deployed: UseCase) -> None:
    case = replace(toy_case(), evaluation=Evaluation(slices=("metal",), min_slice_rows=400))
    write_days(case, FIRST, 30)
    found = fallback.usual(case, toy_rows(NIGHT + DAY, 1).drop("is_head"))
    assert found is not None
    rows = toy_rows(NIGHT - 27 * DAY, 28)
    groups = dict(rows.group_by("metal").agg(pl.col("is_head").mean()).iter_rows())
    metals = toy_rows(NIGHT + DAY, 1)["metal"]
    assert found["score"].to_list() == pytest.approx([groups[metal] for metal in metals])
    few = replace(case, evaluation=Evaluation(slices=("metal",), min_slice_rows=10_000))
    (everywhere,) = fallback.usual(few, toy_rows(NIGHT + DAY, 1).drop("is_head"))["score"].unique()
    assert everywhere == pytest.approx(rows["is_head"].mean())


@pytest.mark.parametrize(
    ("task", "label"),
    [
        (Regression(baseline="noise"), pl.col("weight")),
        (Regression(baseline="noise", quantiles=(0.1, 0.5, 0.9)), pl.col("weight")),
        (Multiclass(classes=("gold", "iron", "tin")), pl.col("metal")),
    ],
)
def test_what_is_usual_is_a_prediction_of_each_task(lake: Path, task: Any, label: pl.Expr) -> None:
    case = replace(toy_case(), task=task)
    rows = toy_rows(FIRST, 30).with_columns(label.alias("is_head"), ingestion_date="flight_date")
    labels = rows.select("coin_id", "flight_date", "is_head", "ingestion_date")
    delta.replace_days("gold", case.labels_table, labels, FIRST, NIGHT)
    found = fallback.usual(case, toy_rows(NIGHT + DAY, 1).drop("is_head"))
    assert found is not None
    assert found.height == ROWS
    assert tasks.of(case).problem(found) is None


def test_without_labels_to_go_by_the_night_fails(deployed: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    hands_out(monkeypatch, lost)
    (model_files._folder(deployed, 1) / model_files.MODEL_FILE).unlink()
    write_days(deployed, NIGHT + 60 * DAY, 1, labels=False)
    with pytest.raises(model_files.DamagedModelError):
        batch.predict("toy", NIGHT + 60 * DAY, NIGHT + 60 * DAY)


def test_a_version_that_was_taken_back_scores_nothing_more(live: UseCase) -> None:
    """Version 2 is rolled back to 3, which is lost: not 2 but 1 takes its place."""
    decided = ledger.read(live)
    champion(live, 3, SECOND + 2 * DAY, ledger.ROLLBACK)
    batch.predict("toy", SECOND + 2 * DAY, SECOND + 2 * DAY)
    assert by(live, SECOND + 2 * DAY) == {(1, "previous champion")}
    assert fallback.before(decided, decided[1]) == decided[0]
    assert fallback.before(decided, decided[0]) is None


def test_the_spec_can_want_none(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = replace(live, scoring=Scoring(fallback=False))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {strict.name: strict})
    with pytest.raises(model_files.DamagedModelError, match="does not have the checksum"):
        batch.predict("toy", SECOND, SECOND, is_last_try=True)
    assert scored(live, SECOND).is_empty()


def test_rows_that_no_model_can_take_are_not_the_models_fault(live: UseCase) -> None:
    path = str(delta.table_path("gold", live.features_table))
    rows = toy_rows(NIGHT + DAY, 20).drop("is_head", "weight")
    rows.write_delta(path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
    with pytest.raises(dataset.DataMissingError, match="missing weight"):
        batch.predict("toy", SECOND - DAY, SECOND - DAY, is_last_try=True)


def test_the_day_is_stale_until_its_champion_has_scored_it(live: UseCase) -> None:
    batch.predict("toy", SECOND, SECOND)
    stale = {one.night: one.reasons for one in staleness.find(live) if one.stage == "predict"}
    assert stale[SECOND - DAY] == f"{SECOND} was scored by the previous champion, since its champion could not"
    assert list(verify.other_champions(live)) == []
    restored(live)
    assert batch.predict("toy", SECOND, SECOND)["fallback"] == []
    assert by(live, SECOND) == {(2, "champion")}
    assert SECOND - DAY not in {one.night for one in staleness.find(live) if one.stage == "predict"}


def test_no_measurement_counts_what_others_have_scored(live: UseCase) -> None:
    """Of version 2's days, version 1 has scored the first three: nothing is measured of these, which is said."""
    batch.predict("toy", SECOND, SECOND + 2 * DAY)
    restored(live)
    batch.predict("toy", SECOND + 3 * DAY, SECOND + 5 * DAY)

    def counted(night: date) -> dict[str, int]:
        """How many rows each sensor counts in a night, and how many are left out."""
        monitor.measure("toy", night, night)
        whole = (pl.col("feature") == "") & (pl.col("slice") == "") & pl.col("metric").is_in(["evidence", "rows"])
        return dict(monitor.measurements(live, night).filter(whole).select("sensor", "n").iter_rows())

    last, early, before = SECOND + 4 * DAY, SECOND + DAY, SECOND - DAY
    print(counted(last), counted(early), counted(before))
    assert counted(last) == {"input_drift": ROWS, "prediction_drift": ROWS, "quality": ROWS}
    assert counted(early) == {"input_drift": ROWS, "prediction_drift": 0, "quality": 0, "fallback": ROWS}
    # Version 1 is champion of the night before, and has scored the next day in another one's place.
    assert counted(before) == {"input_drift": ROWS, "prediction_drift": 0, "quality": ROWS, "fallback": ROWS}
