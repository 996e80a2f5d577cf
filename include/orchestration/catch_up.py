"""Nights that have landed and are not through: those of the last days are started, all others are named.

A night is missed where the services were down, where its files came after their hours were over, or where a DAG was
paused, whose events Airflow drops. What has landed decides, and the clock: history that is replayed, years old, is
never started by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from include.contracts.source import Source, completeness_table
from include.core.partitions import Partitions, ranges
from include.core.settings import settings
from include.ingestion import landing
from include.lake import delta, publications
from include.orchestration import readiness
from include.orchestration.airflow_client import Airflow
from include.use_cases import use_cases

CATCH_UP_DAYS = 14


def recent(now: datetime) -> date:
    """The first night that anybody waits for: what is replayed of years ago is late for nobody."""
    return now.date() - timedelta(CATCH_UP_DAYS)


@dataclass(frozen=True)
class Reads:
    """What is asked of the lake: by default each time anew; a page that is asked every minute keeps what it has read.

    Attributes:
        ingested: the nights that a table of counts has, of those from a day on, or of all.
        known: of the days, those of which a table was ever published.
        files: of a table of counts, and nights from one to another, how many files of each feed were ingested.
    """

    ingested: Callable[[str, date | None], set[date]]
    known: Callable[[str, Sequence[date]], set[date]]
    files: Callable[[str, date, date], dict[tuple[str, date], int | None]]


def _ingested(table: str, since: date | None) -> set[date]:
    if not delta.exists("bronze", table):
        return set()
    rows = delta.scan("bronze", table).select("ingestion_date")
    if since is not None:  # by their folders: what is read then does not grow with history
        rows = rows.filter(pl.col("ingestion_date") >= since)
    return set(rows.collect()["ingestion_date"])


def _files(table: str, first: date, last: date) -> dict[tuple[str, date], int | None]:
    if not delta.exists("bronze", table):
        return {}
    counts = delta.read_days("bronze", table, first, last, day="ingestion_date")
    if "files" not in counts.columns:  # of a time when each day had one
        return {}
    return {(feed, night): files for feed, night, files in counts.select("feed", "ingestion_date", "files").iter_rows()}


ANEW = Reads(_ingested, publications.known, _files)


def not_ingested(source: Source, now: datetime, since: date | None = None, reads: Reads = ANEW) -> list[date]:
    """The nights that are over, of which a file has landed and none was ingested, or not all, in order.

    Of those from ``since`` on, where it is given.
    """
    return _not_ingested(source, over(source, now, since), now, since, reads)


def _not_ingested(
    source: Source, nights: Sequence[date], now: datetime, since: date | None, reads: Reads
) -> list[date]:
    done = reads.ingested(completeness_table(source), since) - _has_more(source, now, reads)
    return [night for night in nights if night not in done]


def over(source: Source, now: datetime, since: date | None = None) -> list[date]:
    """The nights that have landed and are over, in order; of those from ``since`` on, where it is given."""
    among = Partitions(since, max(since, now.date())) if since else None
    landed = landing.landed_days(source, among)
    return [night for night in landed if night >= source.first_day and now >= source.ends(night)]


def _has_more(source: Source, now: datetime, reads: Reads) -> set[date]:
    """The nights of the last ``CATCH_UP_DAYS`` of which more files are there than were ingested: some came later."""
    several = [feed for feed in source.feeds if not feed.is_one_file]
    if not several:
        return set()
    held = reads.files(completeness_table(source), recent(now), now.date())
    return {
        night
        for (name, night), files in held.items()
        for feed in several
        if name == feed.name and len(landing.files_of(source, feed, feed.due(night))) > (files or 0)
    }


def catch_up(source: Source, now: datetime) -> list[date]:
    """Start the nights of the last ``CATCH_UP_DAYS`` that have landed and that nothing runs. Returns them.

    Not those with files missing that may still come, nor those whose last run has failed: they are for a person.
    """
    recently = not_ingested(source, now, since=recent(now))
    whole = [night for night in recently if not landing.awaited(source, Partitions(night, night), now)]
    if not whole:
        return []
    head = f"lakehouse_ingest_{source.name}"
    stopped = readiness.standing(whole, readiness.runs_with([head], whole), time.time()).stopped
    idle = [night for night, last in stopped.items() if not last or last.state != "failed"]
    airflow = Airflow(settings())
    for night in idle:
        airflow.trigger(head, Partitions(night, night))
    return idle


def not_through(source: Source, now: datetime, since: date | None = None, reads: Reads = ANEW) -> list[date]:
    """The nights that have landed and were not ingested, or did not come through to every use case, in order.

    Of those from ``since`` on, where it is given.
    """
    nights = over(source, now, since)
    behind = set(_not_ingested(source, nights, now, since, reads))
    for case in use_cases().values():
        if nights and case.enabled and source.name in case.sources:
            labels = reads.known(f"gold.{case.labels_table}", [night - case.matures for night in nights])
            behind |= {night for night in nights if night - case.matures not in labels}
    return sorted(behind)


def late(source: Source, now: datetime, told_of: Collection[date] = (), reads: Reads = ANEW) -> list[date]:
    """The nights of the last ``CATCH_UP_DAYS`` that have landed and are not through by their deadline, in order.

    Those of ``told_of``, whose failure somebody knows of, are not late as well.
    """
    return [
        night
        for night in not_through(source, now, recent(now), reads)
        if now >= deadline(source, night) and night not in told_of
    ]


def deadline(source: Source, night: date) -> datetime:
    """When ``night`` has to be through: so many hours after its last file may come."""
    return source.ends(night) + timedelta(hours=source.freshness_hours + settings().late_hours)


def owed(source: Source, last: date, now: datetime) -> list[date]:
    """The nights after ``last`` whose files are due by now, of the last weeks."""
    hours = timedelta(hours=source.freshness_hours)
    nights = Partitions(max(last + timedelta(1), now.date() - timedelta(2 * CATCH_UP_DAYS)), now.date()).days
    return [night for night in nights if source.expects_files(night) and now >= source.ends(night) + hours]


def told(sources: Iterable[Source], now: datetime) -> list[str]:
    """A line for each range of nights that have landed and are not through, with the command that runs it."""
    return [
        f"{source.name} {nights}: landed, and not through; if nothing runs it: "
        f"`make backfill from={nights.first} to={nights.last} source={source.name}`"
        for source in sources
        for nights in ranges(not_through(source, now))
    ]
