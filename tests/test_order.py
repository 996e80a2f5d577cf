"""Nights run in any order: a stage that looks back waits for what is on its way, and refuses what never came."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from include import order
from include.lake import delta
from include.order import HistoryMissingError
from include.partitions import Partitions
from include.settings import settings
from include.sources import source

pytestmark = pytest.mark.usefixtures("home")

NIGHT = Partitions.parse("2013-06-10")
DAYS = 4  # of look-back: the 7th to the 10th


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
    return [night.day for night in order.awaited_by_features("flight_delays", nights, DAYS)]


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
        order.awaited_by_features("flight_delays", NIGHT, 28)


def test_a_range_looks_back_from_its_first_night() -> None:
    land(7, 8, 9, 10, 11)
    assert awaited(Partitions.parse("2013-06-10..2013-06-11")) == [7, 8, 9, 10, 11]


def test_days_that_never_were_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before the first of the source, and those of which its spec says so."""
    flights = source("flights")
    with_gaps = replace(flights, first_day=date(2013, 6, 8), gaps=(date(2013, 6, 9),))
    monkeypatch.setattr(order, "source", lambda name: with_gaps)
    land(8, 10)
    assert awaited() == [8, 10]
    before = NIGHT.first - timedelta(30)
    assert order.awaited_by_features("flight_delays", Partitions(before, before), DAYS) == []
