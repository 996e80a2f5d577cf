"""What a night asks of a lake, after a long history beside a short one: CPU seconds, where nothing should grow.

No services are needed: lakes of small tables as so many nights leave them, with the ledgers' lines, made by the
committer itself; then the looks and the commit of one more night.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from include.core.settings import settings
from include.lake import chain, delta, publications, publish, usage
from include.lake.publish import Judged, Publication, Request

FIRST = date(2012, 1, 1)
SHORT, LONG = 40, 300
TABLES = ("silver.facts", "gold.features")
ROUNDS = 5


@contextmanager
def lake_at(folder: Path) -> Iterator[None]:
    """Meanwhile the installation is the one in ``folder``."""
    before = os.environ.get("NOCTURNE_VAR")
    os.environ["NOCTURNE_VAR"] = str(folder)
    settings.cache_clear()
    try:
        yield
    finally:
        os.environ.pop("NOCTURNE_VAR")
        if before is not None:
            os.environ["NOCTURNE_VAR"] = before
        settings.cache_clear()


def night(day: date, value: float = 1.0) -> None:
    """Publish a row of ``day`` to each table, with its line in the ledger, and score the day."""
    rows = pl.DataFrame({"day": [day], "value": [value]})
    scope = publish.within("day", [day])
    requests = [Request(table, rows.lazy(), ["day"], scope) for table in TABLES]
    publish.publish_all(lambda: Judged(requests), str(day), _in_ledger)
    delta.replace_days("gold", "predictions", rows, day, day, day="day")


def _in_ledger(versions: Any, published: list[Publication]) -> Any:
    return publications.changes(published, versions, "bench", engine="none")


def looks(last: date) -> None:
    """What the tasks of the night ``last`` ask: what was published, what came since, what their windows hold."""
    window = [last - timedelta(days) for days in range(28)]
    for table in TABLES:
        publications.known(table, window)
        publications.since(datetime.now(UTC), table, [last])
        delta.read_days(*table.split("."), window[-1], last, day="day")
    usage.days_of("gold.predictions")
    chain.last("ledger.publications")


def cpu_of(work: Callable[[], None]) -> float:
    """CPU seconds: the machine may have other work."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def run(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """A night's looks and commits after ``LONG`` nights beside those after ``SHORT``, in turns."""
    found: dict[str, dict[int, list[float]]] = {"looks": {}, "commits": {}}
    with tempfile.TemporaryDirectory() as folder:
        homes = {nights: Path(folder) / str(nights) for nights in (SHORT, LONG)}
        for nights, home in homes.items():
            say(f"a lake of {nights} nights")
            with lake_at(home):
                for number in range(nights):
                    night(FIRST + timedelta(number))
        for turn in range(-1, given.turns):
            for nights, home in homes.items():
                last = FIRST + timedelta(nights - 1)
                with lake_at(home):
                    asked = cpu_of(lambda last=last: [looks(last) for _ in range(ROUNDS)] and None)
                    # A new content for the last night, each time another: as a night that is new, it is written.
                    values = [turn * ROUNDS + round_ + 2.0 for round_ in range(ROUNDS)]
                    wrote = cpu_of(lambda last=last, values=values: [night(last, one) for one in values] and None)
                if turn >= 0:
                    found["looks"].setdefault(nights, []).append(asked / ROUNDS)
                    found["commits"].setdefault(nights, []).append(wrote / ROUNDS)
    return {
        f"CPU of a night's {what}": {
            "turns": {f"after {nights} nights": [{"seconds": one} for one in of[nights]] for nights in (LONG, SHORT)}
        }
        for what, of in found.items()
    }
