"""Our point-in-time join beside hand-written DuckDB, on the same Delta tables of the lake, turn by turn.

Twice: facts that are known at once, where a bare ``ASOF JOIN`` is right, and facts that come late, where DuckDB needs
the same frontier, by a window. Both read files and end with a Polars frame in memory; only ours keeps the order of the
spine and refuses what is ambiguous. Each turn is a process of its own, so that its memory is its own too.
"""

from __future__ import annotations

import resource
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from statistics import median
from typing import Any

import duckdb
import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from include.core.storage import remove
from include.features import point_in_time
from include.features.point_in_time import FeatureTable
from include.lake import delta

LAYER = "bench"
TABLES = {"trips": 10_000_000, "weather": 7_000_000, "fares": 3_000_000}  # rows
SPINE = 1_500_000  # rows
ENTITIES = 100_000
VALUES = ["v0", "v1", "v2"]
DAY = 24 * 3600 * 1_000_000  # microseconds, as all times here
START = int(datetime(2029, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
YEAR = 365 * DAY
INSTANT = pl.Datetime("us", "UTC")


def facts(rows: int, seed: int) -> pl.DataFrame:
    """A year of facts in the order in which they came: most within the hour, 5 % up to three weeks late."""
    random = np.random.default_rng(seed)
    event = START + random.integers(0, YEAR, rows)
    late = random.random(rows) < 0.05
    known = event + np.where(late, random.integers(0, 21 * DAY, rows), random.integers(0, DAY // 24, rows))
    frame = pl.DataFrame(
        {
            "entity": random.integers(0, ENTITIES, rows),
            "event_time": event,
            "known_from": known,
            **{value: random.random(rows) for value in VALUES},
        }
    )
    # Two facts of one entity in the same microsecond would be ambiguous where the arrival does not count.
    frame = frame.sort("known_from").unique(["entity", "event_time"], keep="first", maintain_order=True)
    return frame.with_columns(pl.col("event_time", "known_from").cast(INSTANT))


def make_tables() -> dict[str, int]:
    """Write the feature tables and the spine to the lake. Rows of each."""
    remove(delta.table_path(LAYER, ""))
    written = {}
    for seed, (name, rows) in enumerate(TABLES.items()):
        frame = facts(rows, seed)
        delta.append(LAYER, name, frame)
        written[name] = frame.height
    random = np.random.default_rng(len(TABLES))
    asked = {
        "row": np.arange(SPINE),
        "entity": random.integers(0, ENTITIES + ENTITIES // 50, SPINE),  # of some entities nothing is known
        "timestamp": START + random.integers(0, YEAR, SPINE),
    }
    delta.append(LAYER, "spine", pl.DataFrame(asked).with_columns(pl.col("timestamp").cast(INSTANT)))
    return written


def ours(late: bool) -> pl.DataFrame:
    """The spine with what each table knew."""
    tables = [
        FeatureTable(
            name,
            delta.scan(LAYER, name),
            entity=("entity",),
            event_time="event_time",
            known_from="known_from" if late else None,
            columns=("event_time", *VALUES),
        )
        for name in TABLES
    ]
    return point_in_time.join(delta.scan(LAYER, "spine").collect(), tables, allow_exact_matches=True)


def by_hand(late: bool) -> pl.DataFrame:
    """As one would write it by hand; in the order in which it comes out."""

    def files(name: str) -> str:
        return f"read_parquet({delta.opened(LAYER, name).file_uris()})"

    frontier = """(
        SELECT * FROM (
            SELECT *, max(event_time) OVER (
                PARTITION BY entity ORDER BY known_from, event_time ROWS UNBOUNDED PRECEDING
            ) AS latest
            FROM {}
        ) WHERE event_time = latest
    )"""
    when = "known_from" if late else "event_time"
    columns = [f"{name}.{value} AS {name}__{value}" for name in TABLES for value in ("event_time", *VALUES)]
    joins = [
        f"ASOF LEFT JOIN {frontier.format(files(name)) if late else files(name)} AS {name}"
        f" ON spine.entity = {name}.entity AND spine.timestamp >= {name}.{when}"
        for name in TABLES
    ]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection.sql(f"SELECT spine.*, {', '.join(columns)} FROM {files('spine')} AS spine {' '.join(joins)}").pl()


SIDES = {"ours": ours, "duckdb": by_hand}


def turn(side: str, late: bool, result: str) -> dict[str, float]:
    """One side once, into the file ``result``. Seconds on the clock and of both cores, and the most memory in GiB."""
    begun, worked = time.monotonic(), time.process_time()
    frame = SIDES[side](late)
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    frame.write_parquet(result)
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2), "memory_gib": round(memory, 2)}


def check_equal(results: Iterable[str]) -> None:
    """Raise AssertionError unless two results have the same rows, whatever their order."""
    left, right = (pl.read_parquet(result).sort("row") for result in results)
    assert_frame_equal(left, right, check_exact=True)


def compare(
    processes: Executor, late: bool, turns: int, say: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """Both sides, ``turns`` times, each first in every second one, after one that warms up and shows them equal."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    results = {side: str(delta.table_path(LAYER, f"{side}.parquet")) for side in SIDES}
    for number in range(turns + 1):
        for side in sorted(SIDES, reverse=number % 2 == 0):
            measured = processes.submit(turn, side, late, results[side]).result()
            say(f"  {number or 'warm-up'}: {side} {measured}")
            if number:
                found[side].append(measured)
        if not number:
            processes.submit(check_equal, list(results.values())).result()
    return found


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Comparisons by name, as ``__main__`` shows them."""
    found = {}
    # All in processes that end: the most memory that a process had counts for those that it starts.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        say("Point-in-time join: making the tables")
        rows = processes.submit(make_tables).result()
        for name, late in (("known at once", False), ("late facts", True)):
            say(f"Point-in-time join, {sum(rows.values()):,} facts, {SPINE:,} rows of the spine, {name}")
            turns = compare(processes, late, given.turns, say)
            seconds = median(one["seconds"] for one in turns["ours"])
            per_second = {"facts_per_second": sum(rows.values()) / seconds, "spine_rows_per_second": SPINE / seconds}
            found[f"point_in_time, {name}"] = {"rows": rows | {"spine": SPINE}, "turns": turns} | per_second
    remove(delta.table_path(LAYER, ""))
    return found
