"""Nights that have landed and are not through: those of the last days are started, all others are named.

A night is missed where the services were down, where its files came after their hours were over, or where a DAG was
paused, whose events Airflow drops. What has landed decides, and the clock: history that is replayed, years old, is
never started by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import date, datetime, timedelta

from include.contracts.source import Source, completeness_table
from include.core.partitions import Partitions, ranges
from include.core.settings import settings
from include.ingestion import landing
from include.lake import delta, publications
from include.orchestration import readiness
from include.orchestration.airflow_client import Airflow
from include.use_cases import use_cases

CATCH_UP_DAYS = 14


def not_ingested(source: Source, now: datetime) -> list[date]:
    """The nights that are over, of which a file has landed and none was ingested, or not all, in order."""
    table = completeness_table(source)
    done = (
        set(delta.read_all("bronze", table, columns=["ingestion_date"])["ingestion_date"])
        if delta.exists("bronze", table)
        else set()
    )
    done -= _has_more(source, now)
    return [
        night
        for night in landing.landed_days(source)
        if night >= source.first_day and night not in done and now >= source.ends(night)
    ]


def _has_more(source: Source, now: datetime) -> set[date]:
    """The nights of the last ``CATCH_UP_DAYS`` of which more files are there than were ingested: some came later."""
    several = [feed for feed in source.feeds if not feed.is_one_file]
    table, recent = completeness_table(source), now.date() - timedelta(CATCH_UP_DAYS)
    if not several or not delta.exists("bronze", table):
        return set()
    counts = delta.read_days("bronze", table, recent, now.date(), day="ingestion_date")
    if "files" not in counts.columns:  # of a time when each day had one
        return set()
    held = {(feed, night): files for feed, night, files in counts.select("feed", "ingestion_date", "files").iter_rows()}
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
    recent = [night for night in not_ingested(source, now) if night >= now.date() - timedelta(CATCH_UP_DAYS)]
    whole = [night for night in recent if not landing.awaited(source, Partitions(night, night), now)]
    if not whole:
        return []
    head = f"lakehouse_ingest_{source.name}"
    stopped = readiness.standing(whole, readiness.runs_with([head], whole), time.time()).stopped
    idle = [night for night, last in stopped.items() if not last or last.state != "failed"]
    airflow = Airflow(settings())
    for night in idle:
        airflow.trigger(head, Partitions(night, night))
    return idle


def not_through(source: Source, now: datetime) -> list[date]:
    """The nights that have landed and were not ingested, or did not come through to every use case, in order."""
    behind = set(not_ingested(source, now))
    nights = [night for night in landing.landed_days(source) if night >= source.first_day and now >= source.ends(night)]
    for case in use_cases().values():
        if nights and case.enabled and source.name in case.sources:
            labels = publications.known(f"gold.{case.labels_table}", [night - case.matures for night in nights])
            behind |= {night for night in nights if night - case.matures not in labels}
    return sorted(behind)


def told(sources: Iterable[Source], now: datetime) -> list[str]:
    """A line for each range of nights that have landed and are not through, with the command that runs it."""
    return [
        f"{source.name} {nights}: landed, and not through; if nothing runs it: "
        f"`make backfill from={nights.first} to={nights.last} source={source.name}`"
        for source in sources
        for nights in ranges(not_through(source, now))
    ]
