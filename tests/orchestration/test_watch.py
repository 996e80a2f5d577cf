"""What nobody tells of is found by looking: failures, late nights, silence, paused DAGs; and that they are over."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from include.contracts.use_case import Promotion
from include.core.settings import settings
from include.lake import delta
from include.ml import approvals, ledger
from include.orchestration import incidents, watch
from include.orchestration.airflow_client import Airflow, Run
from include.orchestration.incidents import Incident
from include.use_cases import use_case
from tests.orchestration.test_catch_up import ingested, land

pytestmark = pytest.mark.usefixtures("home")

NOON = datetime(2026, 6, 15, 12, 30, tzinfo=UTC)
INGEST = "lakehouse_ingest_flights"


def june(*days: int) -> list[date]:
    return [date(2026, 6, day) for day in days]


def run(key: str, state: str, ended: datetime, dag_id: str = INGEST) -> Run:
    return Run(dag_id, f"run of {key}", key, state, "", None, ended.timestamp(), "manual")


class Scheduler(Airflow):
    """Airflow, as far as looks ask it."""

    def __init__(self, *runs: Run, paused: tuple[str, ...] = ()) -> None:
        self.all, self.are_paused = list(runs), set(paused)

    def dag_ids(self) -> list[str]:
        return [INGEST, "lakehouse_maintain", "flight_delays_features"]

    def paused(self) -> set[str]:
        return self.are_paused

    def runs(self, dag_id: str = "~", **filters: Any) -> list[Run]:
        return [one for one in self.all if one.state == filters["state"]]

    def newest_runs(self, dag_id: str) -> list[Run]:
        return [one for one in self.all if one.dag_id == dag_id]

    def runs_of(self, dag_id: str, key: str) -> list[Run]:
        return [one for one in self.newest_runs(dag_id) if one.partition_key == key]


def looked(at: datetime = NOON, airflow: Airflow | None = None) -> list[str]:
    return watch.look(at, airflow or Scheduler())


def failure(partition: str = "2026-06-13", dag: str = INGEST) -> Incident:
    return Incident(f"failed {dag} {partition}", "failed", "no rows", "mend it", dag=dag, partition=partition)


def hours(n: float) -> datetime:
    """So long after now: an incident that this test reports was told of now."""
    return datetime.now(UTC) + timedelta(hours=n)


@pytest.mark.parametrize(
    ("partition", "runs", "is_mended"),
    [
        ("2026-06-13", [], False),
        ("2026-06-13", [run("2026-06-13", "success", NOON)], True),
        ("2026-06-13", [run("2026-06-13", "success", NOON - timedelta(days=1))], False),
        ("2026-06-13", [run("2026-06-13", "failed", NOON)], False),
        ("2026-06-13", [run("2026-06-14", "success", NOON)], False),
        ("2026-06-13", [run("2026-06-01..2026-06-30", "success", NOON)], True),
        ("2026-06-13..2026-06-14", [run("2026-06-13", "success", NOON)], False),
        ("2026-06-13..2026-06-14", [run(f"2026-06-{day}", "success", NOON) for day in (13, 14)], True),
        (
            "2026-06-13",
            [run("2026-06-13", "success", NOON), run("2026-06-13", "failed", NOON + timedelta(hours=1))],
            False,
        ),
        ("", [run("", "success", NOON)], True),
    ],
)
def test_when_a_failure_is_mended(partition: str, runs: list[Run], is_mended: bool) -> None:
    told_at = NOON - timedelta(hours=1)
    assert watch.is_mended(failure(partition), runs, told_at) == is_mended


def test_a_failure_is_over_when_its_partition_is_through() -> None:
    incidents.report(failure())
    assert looked(hours(1), Scheduler(run("2026-06-13", "running", hours(0)))) == []
    (said,) = looked(hours(2), Scheduler(run("2026-06-13", "success", hours(1.5))))
    assert said.startswith(f"{INGEST} 2026-06-13 is well again: it lasted")
    (line,) = [json.loads(line) for line in settings().alerts.read_text().splitlines()]
    assert line["event"] == "over"
    assert looked(hours(3), Scheduler(run("2026-06-13", "success", hours(1.5)))) == []


def test_a_failure_of_a_dag_that_is_gone_is_over() -> None:
    incidents.report(failure(dag="old_features"))
    assert len(looked(hours(1))) == 1


def test_a_failed_run_that_nobody_has_told_of_is_told() -> None:
    """As where the process that tells of it was killed as well."""
    ended = NOON - timedelta(minutes=10)
    (said,) = looked(airflow=Scheduler(run("2026-06-13", "failed", ended)))
    assert "nothing of it has told why" in said
    assert looked(airflow=Scheduler(run("2026-06-13", "failed", ended))) == [], "once"


def test_a_failed_run_that_is_told_of_or_mended_or_fresh_is_left_alone() -> None:
    incidents.report(failure("2026-06-12"))
    incidents.report(failure("2026-06-13"), "2026-06-12")
    ended = NOON - timedelta(minutes=10)
    runs = [run(f"2026-06-{day}", "failed", ended) for day in (12, 13, 14)]
    runs += [run("2026-06-14", "success", ended + timedelta(minutes=5))]
    runs += [run("2026-06-15", "failed", NOON - timedelta(seconds=30))]
    assert looked(airflow=Scheduler(*runs)) == []


def test_a_late_night_is_told_once_and_is_over_when_it_is_through() -> None:
    land(*june(12, 13, 14))
    ingested(*june(12))
    labels = use_case("flight_delays").labels_table
    late = [said for said in looked() if "should be through" in said]
    assert len(late) == 1
    assert "2026-06-12..2026-06-13" in late[0], f"those of before have no labels; {labels}"
    assert "2026-06-14" not in late[0], "its hours are not over"
    assert not [said for said in looked() if "should be through" in said]


def test_a_night_that_is_told_of_is_not_late_as_well() -> None:
    land(*june(13))
    incidents.report(failure("2026-06-13"))
    assert not [said for said in looked() if "should be through" in said]


def test_history_is_late_and_silent_for_nobody() -> None:
    """As the demonstration's, whose 2013 lands in the years of now."""
    land(date(2013, 6, 1))
    assert looked(airflow=Scheduler(paused=(INGEST,))) == []


def test_a_source_that_is_silent_is_told_until_it_lands_again() -> None:
    land(*june(10))
    (said,) = [one for one in looked() if "nothing has landed" in one]
    assert "since 2026-06-10; due was 2026-06-11, 2026-06-12, 2026-06-13" in said
    month_later = NOON + timedelta(days=30)
    assert not [one for one in looked(month_later) if "nothing has landed" in one], "it lasts, however long"
    land(*june(11, 12, 13, 14))
    assert [one for one in looked() if one.startswith("Over") and "nothing has landed" in one]


def test_a_paused_dag_is_told_while_nights_land() -> None:
    land(*june(13, 14))
    paused = Scheduler(paused=("flight_delays_predict", "weather_temperature_train"))
    (said,) = [one for one in looked(airflow=paused) if "paused" in one]
    assert said.startswith("flight_delays_predict is paused")
    assert [one for one in looked() if one.startswith("Over") and "paused" in one]


def test_a_version_that_was_put_back_is_told_until_another_takes_its_place() -> None:
    case, day = use_case("flight_delays"), date(2026, 6, 1)
    files = {"run_id": "a", "model_sha256": "b", "reference_sha256": "c"}
    days = {"effective_from": day, "trained_from": day, "fitted_through": day, "trained_through": day}
    ledger.append(case, model_version=1, decided_by="ann", reason="wrong scores", how=ledger.ROLLBACK, **files, **days)
    (said,) = [one for one in looked() if "put back" in one]
    assert "by ann" in said
    later = {name: day + timedelta(1) for name in days}
    ledger.append(case, model_version=2, decided_by="gates", reason="better", **files, **later)
    assert [one for one in looked() if one.startswith("Over") and "put back" in one]


def test_a_day_that_others_have_scored_is_over_when_its_champion_has() -> None:
    case = use_case("flight_delays")
    day = date(2026, 6, 14)

    def scored(by: str) -> None:
        rows = pl.DataFrame({"flight_date": [day], "flight_id": ["a"], "scored_by": [by]})
        delta.replace_days("gold", case.predictions_table, rows, day, day, day=case.day)

    scored("prior")
    incidents.report(Incident(f"fallback {case.name} {day}", "fallback", "version 2 could not score", "restore it"))
    assert looked() == []
    scored("champion")
    (said,) = looked()
    assert said == "Over: it lasted 0 min. It was: version 2 could not score"


def test_a_question_that_waits_is_told_and_its_answer_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = type("Question", (), {"request": "a", "subject": "make version 3 champion?", "said_at": NOON})
    case = replace(use_case("flight_delays"), promotion=Promotion(approvals=1))
    monkeypatch.setattr(watch, "use_cases", lambda: {case.name: case})
    monkeypatch.setattr(approvals, "waiting", lambda _: asked)
    assert looked() == ["make version 3 champion?"]
    monkeypatch.setattr(approvals, "waiting", lambda _: None)
    assert looked()[0].startswith("Over")


def test_what_cannot_be_looked_at_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    land(*june(10))
    incidents.report(failure())

    class Away(Scheduler):
        def dag_ids(self) -> list[str]:
            raise ConnectionError("Airflow is away")

    with pytest.raises(watch.LookError, match=r"failed .ConnectionError: Airflow is away"):
        looked(airflow=Away())
    assert "silent flights" in incidents.open_incidents(), "the rest was looked at"
    assert failure().key in incidents.open_incidents(), "and what could not be stays as it is"
