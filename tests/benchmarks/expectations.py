"""A hundred expectations on a large candidate, by the gates' own code, beside counts written by hand for DuckDB.

The candidate is what a build of features leaves: Parquet of many files. Both sides read its files, and end with a
verdict on each expectation. Great Expectations' own engine, which holds all rows in memory, is given the first of them:
its rows a second are told beside the others'. Each turn is a process of its own, so that its memory is its own too.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from statistics import median
from typing import Any

import duckdb
import numpy as np
import polars as pl
from great_expectations import expectations as gxe
from upath import UPath

from include.contracts.use_case import Binary, Feature
from include.core.partitions import Partitions
from include.core.settings import settings
from include.core.storage import remove
from include.lake import candidate
from include.quality import features, gate, measuring
from tests.ml.conftest import toy_case

ROWS, PIECE, SAMPLE = 50_000_000, 1_000_000, 1_000_000
DAY, KNOWN = date(2029, 3, 1), date(2029, 2, 27)
LEVELS = ("bus", "tram", "metro", "ferry", "none")
FLOATS, NUMBERS, KINDS = (
    [f"{kind}_{n}" for n in range(many)] for kind, many in (("size", 10), ("count", 4), ("kind", 3))
)
CASE = toy_case(
    name="bench_expectations",
    task=Binary(baseline=FLOATS[0]),
    entity=("trip",),
    day="flight_date",
    context=("known_from",),
    features=(
        *(Feature(name, low=-9, high=9, nullable=False, min_distinct=2) for name in FLOATS),
        *(Feature(name, low=0, high=999, nullable=False, min_distinct=2) for name in NUMBERS),
        *(Feature(name, "categorical", vocabulary=LEVELS, nullable=False, min_distinct=2) for name in KINDS),
    ),
)
COLUMNS = ["trip", CASE.day, "known_from", *CASE.feature_names]


def suite() -> list[Any]:
    """The gate's 54 expectations for features, and 46 of other kinds."""
    return [
        *features.suite(CASE),
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        *(gxe.ExpectColumnMinToBeBetween(column=name, min_value=-9) for name in (*FLOATS, *NUMBERS)),
        *(gxe.ExpectColumnMaxToBeBetween(column=name, max_value=999) for name in (*FLOATS, *NUMBERS)),
        *(gxe.ExpectColumnMeanToBeBetween(column=name, min_value=-1, max_value=501) for name in (*FLOATS, *NUMBERS)),
        *(gxe.ExpectColumnValueLengthsToBeBetween(column=name, min_value=3, max_value=5) for name in KINDS),
    ]


def pieces(rows: int) -> Iterator[pl.DataFrame]:
    """The candidate, a file at a time. No value can be told from those before it: nothing of it can be packed well."""
    for first in range(0, rows, PIECE):
        random, many = np.random.default_rng(first), min(PIECE, rows - first)
        yield (
            pl.DataFrame(
                {
                    "trip": np.arange(first, first + many),
                    **{name: random.normal(size=many) for name in FLOATS},
                    **{name: random.integers(0, 1000, many) for name in NUMBERS},
                    **{name: pl.Series(LEVELS).gather(random.integers(0, len(LEVELS), many)) for name in KINDS},
                }
            )
            .with_columns(pl.lit(DAY).alias(CASE.day), pl.lit(KNOWN).alias("known_from"))
            .select(COLUMNS)
        )


def make(rows: int) -> str:
    name = candidate.name(f"gold.{CASE.features_table}", candidate.suffix(Partitions(DAY, DAY)))
    candidate.write(name, pieces(rows))
    return name


def ours(name: str) -> int:
    gate.check(f"gold.{CASE.features_table}", str(DAY), candidate.rows(name), suite())
    return ROWS


def by_hand(name: str) -> int:
    """As one would write it by hand: counts in one query, and the key by another one."""
    files = f"read_parquet('{candidate.folder(name)}/*.parquet')"
    numeric, levels = [*FLOATS, *NUMBERS], ", ".join(f"'{level}'" for level in LEVELS)
    wanted = [
        *(f"count(*) FILTER ({name} IS NULL)" for name in ("known_from", *CASE.feature_names)),
        f"count(*) FILTER (NOT {CASE.day} > known_from)",
        *(f"count(*) FILTER (NOT {name} BETWEEN -9 AND 999)" for name in numeric),
        *(f"count(*) FILTER ({name} NOT IN ({levels}))" for name in KINDS),
        *(f"approx_count_distinct({name}) < 2" for name in CASE.feature_names),
        *(f"min({name}) < -9" for name in numeric),
        *(f"max({name}) > 999" for name in numeric),
        *(f"avg({name}) NOT BETWEEN -1 AND 501" for name in numeric),
        *(f"count(*) FILTER (length({name}) NOT BETWEEN 3 AND 5)" for name in KINDS),
        "count(*) < 1",
    ]
    with tempfile.TemporaryDirectory() as folder:
        connection = duckdb.connect(config={"temp_directory": folder, "threads": os.cpu_count() or 1})
        connection.execute("SET enable_progress_bar = false")
        counts = connection.execute(f"SELECT {', '.join(wanted)} FROM {files}").fetchone()
        twice = connection.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {files} GROUP BY trip, {CASE.day} HAVING count(*) > 1)"
        ).fetchone()
    assert counts is not None
    assert twice is not None
    assert len(counts) + len(twice) == len(suite())
    assert not any((*counts, *twice))
    return ROWS


def great_expectations(name: str) -> int:
    """Great Expectations by itself, on the first rows."""
    results = measuring._by_pandas(candidate.rows(name).head(SAMPLE), suite())
    assert all(one.success for one in results)
    return SAMPLE


SIDES = {"ours": ours, "duckdb": by_hand, "great_expectations": great_expectations}


def turn(side: str, name: str) -> dict[str, float]:
    """One side once. Seconds on the clock and of all cores, the most memory in GiB, rows a second, the load before."""
    load, begun, worked = os.getloadavg()[0], time.monotonic(), time.process_time()
    rows = SIDES[side](name)
    seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "memory_gib": round(memory, 2),
        "rows_per_second": round(rows / seconds),
        "load": round(load, 1),
    }


def measure(
    processes: Executor, name: str, turns: int, say: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """All sides in turn, ``turns`` times, after one that warms up."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(turns + 1):
        for side in SIDES:
            measured = processes.submit(turn, side, name).result()
            say(f"  {number or 'warm-up'}: {side} {measured}")
            if number:
                found[side].append(measured)
    return found


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Comparisons by name, as ``__main__`` shows them."""
    # All in processes that end: the most memory that a process had counts for those that it starts.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        say(f"Expectations: making a candidate of {ROWS:,} rows and {len(COLUMNS)} columns")
        name = processes.submit(make, ROWS).result()
        try:
            found = measure(processes, name, given.turns, say)
        finally:
            remove(candidate.folder(name))
            remove(UPath(settings().report / "gates" / f"gold.{CASE.features_table}"))
    sample = found.pop("great_expectations")
    label = f"{len(suite())} expectations, {ROWS:,} rows of {len(COLUMNS)} columns"
    per_second = {side: median(one["rows_per_second"] for one in turns) for side, turns in found.items()}
    per_second["great_expectations"] = median(one["rows_per_second"] for one in sample)
    return {
        label: {"rows": ROWS, "turns": found, "sample": {"rows": SAMPLE, "turns": sample}}
        | {"rows_per_second": per_second}
    }
