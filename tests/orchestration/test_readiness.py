"""Nights run in any order: a stage that looks back waits for what is on its way, and refuses what never came."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from include.contracts.source import Mode
from include.contracts.use_case import UseCase
from include.core.errors import StoppedError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.governance.lineage import NotBuiltError
from include.lake import commit, delta, publications
from include.lake.publish import Publication
from include.orchestration import readiness
from include.orchestration.airflow_client import Run
from include.orchestration.readiness import HistoryMissingError
from include.sources import source
from include.use_cases import use_case

pytestmark = pytest.mark.usefixtures("home")

NIGHT = Partitions.parse("2013-06-10")
DAYS = {"fct_flights": (-4, -1)}  # of look-back, from the next day: the 7th to the 10th


def land(*days: int) -> None:
    for day in days:
        file = settings().landing / "flights" / "actuals" / f"2013-06-{day:02}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("a file\n")


def ingested(*days: int) -> None:
    for day in days:
        this = date(2013, 6, day)
        delta.replace_days("silver", "fct_flights", pl.DataFrame({"flight_date": [this], "flights": [1]}), this, this)


def awaited(nights: Partitions = NIGHT) -> list[int]:
    return [night.day for night in readiness.awaited_by_features("flight_delays", nights, DAYS)]


def test_what_has_landed_and_is_not_through_is_waited_for() -> None:
    land(6, 7, 8, 9, 10)
    assert awaited() == [7, 8, 9, 10]
    ingested(7, 9, 10)
    assert awaited() == [8]
    ingested(8)
    assert awaited() == []


def test_what_is_through_needs_no_file_any_more() -> None:
    ingested(7, 8, 9, 10)
    assert awaited() == []


def test_half_a_history_is_refused() -> None:
    land(8, 10)
    ingested(10)
    with pytest.raises(HistoryMissingError) as refused:
        awaited()
    said = str(refused.value)
    assert (
        "flight_delays 2013-06-10 looks back on 4 days, and of 2 nights nothing has landed: 2013-06-07, 2013-06-09."
        in said
    )
    assert "make backfill from=2013-06-07 to=2013-06-09" in said
    assert "include/sources/flights/spec.py" in said


def test_a_long_list_is_cut() -> None:
    with pytest.raises(HistoryMissingError, match=r"of 28 nights .* 2013-05-23 and 18 more\. "):
        readiness.awaited_by_features("flight_delays", NIGHT, {"fct_flights": (-28, -1)})


def test_a_range_looks_back_from_its_first_night() -> None:
    land(7, 8, 9, 10, 11)
    assert awaited(Partitions.parse("2013-06-10..2013-06-11")) == [7, 8, 9, 10, 11]


def test_days_that_never_were_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before the first of the source, and those of which its spec says so."""
    flights = source("flights")
    with_gaps = replace(flights, first_day=date(2013, 6, 8), gaps=(date(2013, 6, 9),))
    monkeypatch.setattr(readiness, "source", lambda name: with_gaps)
    land(8, 10)
    assert awaited() == [8, 10]
    before = NIGHT.first - timedelta(30)
    assert readiness.awaited_by_features("flight_delays", Partitions(before, before), DAYS) == []


NOW = 1_000_000.0


def ran(key: str, state: str, minutes_ago: float = 60, dag_id: str = "lakehouse_ingest_flights") -> Run:
    end = NOW - 60 * minutes_ago if state in ("success", "failed") else None
    return Run(dag_id, f"run of {key}", key, state, "", NOW, end, "manual")


def stopped(*runs: Run, night: int = 8) -> bool:
    found = readiness.standing([date(2013, 6, night)], runs, NOW)
    assert bool(found.stopped) != bool(found.on_their_way)
    return bool(found.stopped)


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_night_that_a_run_is_on_its_way_with_is_waited_for(state: str) -> None:
    assert not stopped(ran("2013-06-08", state))
    assert not stopped(ran("2013-06-01..2013-06-30", state)), "a range brings its nights"
    assert not stopped(ran("2013-06-08", "failed"), ran("2013-06-08", state)), "it is being mended"


def test_a_night_that_has_failed_is_not_waited_for() -> None:
    assert stopped(ran("2013-06-08", "failed"))
    assert stopped(ran("2013-06-01..2013-06-30", "failed"))
    assert stopped(ran("2013-06-08", "success", 60), ran("2013-06-08", "failed", 30, "lakehouse_transform_flights"))


def test_what_has_failed_and_was_run_again_is_on_its_way_until_the_next_stage_begins() -> None:
    assert not stopped(ran("2013-06-08", "failed", 60), ran("2013-06-08", "success", 1))
    assert stopped(ran("2013-06-08", "success", 10)), "the next stage never began: its DAG may be paused"


def test_other_nights_and_what_is_no_key_count_for_nothing() -> None:
    assert stopped(ran("2013-06-07", "running"), ran("2013-6-8", "running"), ran("", "running"))


def test_the_night_to_mend_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [ran("2013-06-08", "failed"), ran("2013-06-09", "failed"), ran("2013-06-10", "running")]
    monkeypatch.setattr(readiness, "runs_with", lambda *_: runs)
    begun = SimpleNamespace(partition_key="2013-06-12", start_date=datetime.now(UTC))
    with pytest.raises(StoppedError) as raised:
        readiness.are_through([date(2013, 6, day) for day in (8, 9, 10)], [], begun, "flights")
    assert raised.value.by == "2013-06-08"
    said = str(raised.value)
    assert said.startswith("stopped by night 2013-06-08 (nights that stop this one: 2013-06-08, 2013-06-09)")
    assert said.endswith("`make backfill from=2013-06-08 to=2013-06-12 source=flights`")
    assert "\n" not in said


def test_the_monitor_goes_on_without_nights_that_have_failed_and_waits_for_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [ran("2013-06-08", "failed"), ran("2013-06-10", "running")]
    monkeypatch.setattr(readiness, "runs_with", lambda *_: runs)
    begun = SimpleNamespace(partition_key="2013-06-12", start_date=datetime.now(UTC))
    nights = [date(2013, 6, day) for day in (8, 10)]
    assert not readiness.are_through(nights, [], begun, "flights", goes_on=True)
    assert readiness.are_through(nights[:1], [], begun, "flights", goes_on=True)


def test_a_night_that_nobody_started_gets_a_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "runs_with", lambda *_: [])
    begun = SimpleNamespace(partition_key="2013-06-10", start_date=datetime.now(UTC))
    assert not readiness.are_through([date(2013, 6, 8)], [], begun, "flights")
    begun.start_date -= timedelta(minutes=10)
    with pytest.raises(StoppedError, match="it has landed, and nothing runs it"):
        readiness.are_through([date(2013, 6, 8)], [], begun, "flights")
    assert readiness.are_through([], [], begun, "flights")


def test_a_gap_holds_up_neither_features_nor_the_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the message about a night that never landed recommends, done."""
    land(7, 8, 10)
    ingested(7, 8, 10)
    with pytest.raises(HistoryMissingError, match="list days that the upstream never had as `gaps`"):
        awaited()
    with_gaps = replace(source("flights"), gaps=(date(2013, 6, 9),))
    monkeypatch.setattr(readiness, "source", lambda name: with_gaps)
    assert awaited() == []
    for day in (7, 8, 10):
        night = date(2013, 6, day)
        labels = pl.DataFrame({"flight_date": [night], "is_disrupted": [True]})
        delta.replace_days("gold", "flight_delays__labels", labels, night, night)
    assert readiness.awaited_by_monitor("flight_delays", NIGHT) == []


def test_a_closed_weekday_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 8th and the 9th of June 2013 are a Saturday and a Sunday."""
    monkeypatch.setattr(readiness, "source", lambda name: replace(source("flights"), closed_weekdays=(6, 7)))
    land(7, 10)
    assert awaited() == [7, 10]


def test_each_table_is_awaited_for_as_long_as_features_look_back_on_it() -> None:
    ingested(7, 8, 9, 10)
    land(9, 10)
    on = {"fct_flights": (-4, -1), "fct_weather_hourly": (-2, -1)}
    found = readiness.awaited_by_features("flight_delays", NIGHT, on)
    assert [night.day for night in found] == [9, 10]


def test_a_day_that_was_published_without_rows_is_through() -> None:
    ingested(7, 8, 10)
    land(9)
    assert awaited() == [9]
    published = [Publication("silver.fct_flights", {}, ())]
    built = {"silver.fct_flights": [date(2013, 6, 9)]}
    with commit.committing():
        lines = publications.changes(published, {"silver.fct_flights": 3}, "a run", built=built)
        commit.commit_all(lines, "an empty day")
    assert awaited() == []


@pytest.mark.parametrize("mode", [Mode.PARTITION, Mode.SNAPSHOT, Mode.UPSERT])
def test_a_source_of_one_feed_lands_by_it_however_its_files_add_up(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    feed = replace(source("flights").feed("actuals"), mode=mode, sequence="dep_time")
    alone = replace(source("flights"), feeds=(feed,))
    monkeypatch.setattr(readiness, "source", lambda name: alone)
    land(7, 8, 9, 10)
    assert awaited() == [7, 8, 9, 10], "none of them is missing"


def test_of_a_look_back_beyond_the_first_day_that_is_said_which_the_source_has(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(source("flights"), first_day=date(2013, 6, 7))
    monkeypatch.setattr(readiness, "source", lambda name: alone)
    land(8, 9, 10)
    with pytest.raises(HistoryMissingError, match=r"looks back on 4 days, and of 1 nights nothing .*: 2013-06-07\."):
        readiness.awaited_by_features("flight_delays", NIGHT, {"fct_flights": (-3653, -1)})


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """A use case that reads flights and another source, whose tables are silver.fct_flights and silver.fct_rides."""
    case = replace(use_case("flight_delays"), name="both", sources=("flights", "rides"))
    feeds = (source("flights").feed("actuals"),)
    rides = replace(source("flights"), name="rides", closed_weekdays=(6, 7), feeds=feeds)
    monkeypatch.setattr(readiness, "use_case", lambda name: case)
    monkeypatch.setattr(readiness, "source", lambda name: {"flights": source("flights"), "rides": rides}[name])

    def manifest(stage: str) -> Any:
        name = stage.removeprefix("lakehouse_transform_")
        node = {"schema": "silver", "alias": f"fct_{name}", "fqn": ["nocturne", "marts", "core", name, f"fct_{name}"]}
        whole = node | {"alias": "dim_all", "config": {"meta": {"day": "seen_on", "whole": True}}}
        return {"nodes": {"a": node | {"config": {"meta": {"day": "flight_date"}}}, "b": whole}}

    monkeypatch.setattr(readiness, "manifest_of", manifest)
    return case


def rode(*days: int) -> None:
    for day in days:
        this = date(2013, 6, day)
        delta.replace_days("silver", "fct_rides", pl.DataFrame({"flight_date": [this], "rides": [1]}), this, this)


def test_nights_of_several_sources_are_complete_when_all_are_silver_or_closed(both: UseCase) -> None:
    """The 8th and the 9th of June 2013 are a Saturday and a Sunday, on which there are no rides."""
    week = Partitions.parse("2013-06-05..2013-06-11")
    ingested(5, 6, 7, 8, 9, 11)
    assert readiness.complete(both, week) == [Partitions.parse("2013-06-08..2013-06-09")]
    rode(5, 7, 10)
    assert [part.key for part in readiness.complete(both, week)] == ["2013-06-05", "2013-06-07..2013-06-09"]


def test_before_a_source_was_ever_built_nothing_is_complete(both: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(stage: str) -> Any:
        raise NotBuiltError(stage)

    monkeypatch.setattr(readiness, "manifest_of", never)
    assert readiness.complete(both, NIGHT) == []


def test_a_night_can_come_through_where_each_source_has_landed_or_is_closed(both: UseCase) -> None:
    land(7, 8, 9, 10)
    rides = settings().landing / "rides" / "actuals" / "2013-06-10.csv"
    rides.parent.mkdir(parents=True)
    rides.write_text("a file\n")
    found = readiness.landed_nights_of(both, Partitions.parse("2013-06-07..2013-06-10"))
    assert [night.day for night in found] == [8, 9, 10], "of the 7th no rides have landed"
