"""Nights that were missed are run where they are of the last days, and named where they are older."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.core.settings import settings
from include.lake import delta
from include.orchestration import catch_up, readiness
from include.sources import source
from tests.orchestration.test_readiness import ran

pytestmark = pytest.mark.usefixtures("home")

FLIGHTS = source("flights")
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def land(*days: date) -> None:
    for day in days:
        for feed in ("actuals", "weather"):
            file = settings().landing / "flights" / feed / f"{day}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("a file\n")
        file = settings().landing / "flights" / "schedule" / f"{day + timedelta(1)}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a file\n")


def ingested(*days: date) -> None:
    for day in days:
        delta.replace_days(
            "bronze",
            "flights__completeness",
            pl.DataFrame({"ingestion_date": [day], "feed": ["actuals"]}),
            day,
            day,
            day="ingestion_date",
        )


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nights that are started, and no Airflow."""
    nights: list[str] = []

    class Here:
        def __init__(self, _: Any) -> None: ...

        def trigger(self, dag_id: str, of: Partitions) -> None:
            nights.append(f"{dag_id} {of}")

    monkeypatch.setattr(catch_up, "Airflow", Here)
    monkeypatch.setattr(readiness, "runs_with", lambda *_: [ran("2026-06-12", "failed"), ran("2026-06-13", "running")])
    return nights


def june(*days: int) -> list[date]:
    return [date(2026, 6, day) for day in days]


def test_what_was_missed_in_the_last_days_is_run(started: list[str]) -> None:
    """Not what has been ingested, has failed, is under way, or is a day that is not over."""
    land(*june(9, 10, 11, 12, 13, 15))
    ingested(*june(10))
    assert catch_up.catch_up(FLIGHTS, NOW) == june(9, 11)
    assert started == ["lakehouse_ingest_flights 2026-06-09", "lakehouse_ingest_flights 2026-06-11"]


def test_history_is_never_started_by_itself(started: list[str]) -> None:
    """As the demonstration's, whose 2013 lands in the years of now."""
    land(date(2013, 6, 1), date(2013, 6, 2), date(2012, 12, 31))
    assert catch_up.catch_up(FLIGHTS, NOW) == started == []
    assert catch_up.told([FLIGHTS], NOW) == [
        "flights 2013-06-01..2013-06-02: landed, and not through; if nothing runs it: "
        "`make backfill from=2013-06-01 to=2013-06-02 source=flights`"
    ]


def test_nights_without_files_are_no_business_of_anybody(started: list[str]) -> None:
    assert catch_up.catch_up(FLIGHTS, NOW) == started == []
    assert catch_up.told([FLIGHTS], NOW) == []


def test_a_night_whose_other_files_may_still_come_is_not_started(started: list[str]) -> None:
    land(*june(13))
    (settings().landing / "flights" / "actuals" / "2026-06-14.csv").write_text("a file\n")
    early = datetime(2026, 6, 15, 5, tzinfo=UTC)  # an hour after the end of the day in New York
    assert catch_up.catch_up(FLIGHTS, early) == []
    assert catch_up.catch_up(FLIGHTS, NOW) == june(14), "its hours are over: plan names what is missing"


def test_what_a_paused_dag_has_missed_is_named() -> None:
    land(*june(9, 10))
    ingested(*june(9, 10))
    labels = pl.DataFrame({"flight_date": june(9), "is_disrupted": [1]})
    delta.replace_days("gold", "flight_delays__labels", labels, *june(9, 9))
    (line,) = catch_up.told([FLIGHTS], NOW)
    assert line.startswith("flights 2026-06-10: landed, and not through")
