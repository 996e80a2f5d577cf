"""Nights may run in any order and side by side; a stage that looks back waits here for the nights before its own.

What has landed decides: a night whose files are there and that is not through yet is waited for. So the result of a
night does not depend on when the others ran. A look-back that lacks a night of which nothing has landed is refused:
features on half a history would look like any others.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from include.errors import NeedsAttentionError
from include.lake import delta
from include.ml import ledger
from include.partitions import Partitions
from include.settings import settings
from include.sources import source
from include.sources.landing import path_of
from include.sources.spec import Mode
from include.use_cases import use_case


class HistoryMissingError(NeedsAttentionError):
    """A stage looks back on nights that have never landed; the message lists them and says what to do."""


def landed_nights(source_name: str, nights: Partitions) -> list[date]:
    """The nights of which at least one nightly file is in landing."""
    this = source(source_name)
    feeds = [feed for feed in this.feeds if feed.mode is Mode.PARTITION]
    # A feed that leads lands a day's file in the night before; only one that does not tells the night itself.
    own = [feed for feed in feeds if feed.lead_days == 0]
    return [night for night in nights.days if any(path_of(this, feed, night).exists() for feed in own)]


def days_of(layer: str, table: str, days: Partitions) -> set[date]:
    """The days of ``table`` between the first and the last of ``days`` that have rows; none where it does not exist."""
    if not delta.exists(layer, table):
        return set()
    found = delta.read_days(layer, table, days.first, days.last, columns=["flight_date"])
    return set(found.select(pl.col("flight_date").unique()).to_series())


def awaited_by_features(use_case_name: str, nights: Partitions, look_back_days: int) -> list[date]:
    """The nights of the look-back that have landed and are not silver yet.

    It reaches ``look_back_days`` back, and not before the source's first day. Raises HistoryMissingError where nothing
    has landed for one of its nights, unless the source's spec says that the upstream never had it.
    """
    this = source(use_case(use_case_name).source)
    back = Partitions(nights.first - timedelta(look_back_days - 1), nights.last)
    there = {*days_of("silver", "fct_flights", back), *this.gaps}
    needed = [night for night in back.days if night >= this.first_day and night not in there]
    landed = landed_nights(this.name, back)
    if missing := [night for night in needed if night not in landed]:
        shown = ", ".join(map(str, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise HistoryMissingError(
            f"{use_case_name} {nights} looks back on {look_back_days} days, and of {len(missing)} nights nothing has "
            f"landed: {shown}. Bring their files to {settings().landing_uri or settings().landing}/{this.name} and run "
            f"`make backfill from={missing[0]} to={missing[-1]}`; or list days that the upstream never had as `gaps` "
            f"in include/sources/{this.name}/spec.py."
        )
    return needed


def awaited_by_monitor(use_case_name: str, nights: Partitions) -> list[date]:
    """The nights of the longest window that have landed and lack their labels, or the predictions a champion owes."""
    case = use_case(use_case_name)
    window = max(case.drift.drift_window_days, case.drift.quality_window_days)
    back = Partitions(nights.first - timedelta(window), nights.last)
    labelled = days_of("gold", case.labels_table, back)
    scored = days_of("gold", case.predictions_table, back.shift(case.horizon_days))
    champions = ledger.read(case)

    def through(night: date) -> bool:
        ahead = night + timedelta(case.horizon_days)
        return night in labelled and (ahead in scored or ledger.pick(champions, ahead) is None)

    return [night for night in landed_nights(case.source, back) if not through(night)]
