"""Ours beside a bare PySpark-to-Delta write of the same CSV file, in the same Spark, turn by turn.

Each turn brings another day, as each night does: into tables that are there, but for the first turn, which warms up.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from upath import UPath

from include.contracts.source import Column, Feed, Source, table
from include.core.partitions import Partitions
from include.core.settings import settings
from include.core.storage import for_spark, remove
from include.ingestion import ingest, landing
from include.lake import spark as lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2030, 1, 1)
TRIPS = Feed(
    name="trips",
    description="made up",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("trip", "bigint", "which", required=True, minimum=0),
        Column("line", "string", "by what", required=True, values=("bus", "tram", "metro")),
        Column("started_at", "timestamp", "when", required=True),
        Column("minutes", "double", "how long", minimum=0, maximum=600),
        Column("fare", "double", "how much", minimum=0, maximum=1000),
        Column("from_stop", "int", "where from", required=True),
        Column("to_stop", "int", "where to"),
    ),
    key=("trip",),
    day_column="day",
)
SOURCE = Source("bench", "made up", "nobody", "nobody", "0 0 * * *", 1, DAY, (TRIPS,))
PIECE = 1_000_000  # rows that are made at once


def make_file(rows: int, day: date) -> UPath:
    """The landing file of ``day`` with ``rows`` rows."""
    path = landing.path_of(SOURCE, TRIPS, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for first in range(0, rows, PIECE):
            n = pl.Series("trip", range(first, min(rows, first + PIECE)), dtype=pl.Int64)
            piece = pl.DataFrame({"trip": n}).select(
                pl.lit(day).alias("day"),
                "trip",
                pl.Series(["bus", "tram", "metro"])[(n * 7919 % 3).to_list()].alias("line"),
                (pl.datetime(day.year, day.month, day.day) + pl.duration(seconds=pl.col("trip") % 86400))
                .dt.strftime("%Y-%m-%dT%H:%M:%SZ")
                .alias("started_at"),
                ((pl.col("trip") * 7907 % 6000) / 10).alias("minutes"),
                ((pl.col("trip") * 7901 % 9999) / 100).alias("fare"),
                (pl.col("trip") * 7883 % 5000).alias("from_stop"),
                (pl.col("trip") * 7879 % 5000).alias("to_stop"),
            )
            piece.write_csv(file, include_header=first == 0)
    return path


def forget(spark: SparkSession) -> None:
    """Drop whatever an earlier benchmark has published, and its files."""
    for name in ("trips", "trips__late", "trips__quarantine", "bare"):
        spark.sql(f"DROP TABLE IF EXISTS bronze.{SOURCE.name}__{name}")
    for path in (settings().lake / "bronze").glob(f"{SOURCE.name}__*"):
        remove(path)
    remove(settings().landing / SOURCE.name)


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    into[name] = round(time.monotonic() - begun, 2)


def ours(day: date) -> dict[str, float]:
    """Landing file to published bronze, as the DAG's tasks do it. Seconds of each step."""
    seconds: dict[str, float] = {}
    nights = Partitions(day, day)
    with timed(seconds, "plan"):
        plan = landing.plan(SOURCE, nights)
    with timed(seconds, "load"):
        candidates = ingest.load(SOURCE, nights, plan)
    with timed(seconds, "audit"):
        audited = ingest.audit(SOURCE, nights, plan, candidates)
    with timed(seconds, "publish"):
        ingest.publish_all(SOURCE, nights, plan, candidates, audited, run="benchmark")
    with timed(seconds, "discard"):
        ingest.discard(candidates, audited)
    return seconds


def bare(spark: SparkSession, path: UPath) -> dict[str, float]:
    """What one would write by hand: read with a schema, append to Delta, partitioned by the day. Nothing is checked."""
    seconds: dict[str, float] = {}
    schema = ", ".join(f"`{column.name}` {column.type}" for column in TRIPS.columns)
    with timed(seconds, "write"):
        rows = spark.read.schema(schema).option("header", True).csv(for_spark(path))
        rows.write.format("delta").partitionBy("day").mode("append").saveAsTable(f"bronze.{SOURCE.name}__bare")
    return seconds


def compare(rows: int, turns: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both, ``turns`` times in turn, after one that warms up and does not count."""
    spark = lake.apache_spark("the peer of this benchmark")
    lake.create_layers(spark)
    forget(spark)
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "bare": []}
    size = 0
    for turn in range(turns + 1):
        day = DAY + timedelta(turn)
        path = make_file(rows, day)
        size = path.stat().st_size
        for name, seconds in (("bare", bare(spark, path)), ("ours", ours(day))):
            say(f"  {turn or 'warm-up'}: {name} {sum(seconds.values()):.1f} s  {seconds}")
            if turn:
                found[name].append({"seconds": sum(seconds.values()), "steps": seconds})
        for name in (table(SOURCE, TRIPS), f"{SOURCE.name}__bare"):
            assert (
                spark.read.format("delta")
                .load(for_spark(settings().lake / "bronze" / name))
                .where(f"day = DATE'{day}'")
                .count()
                == rows
            )
        remove(path)
    forget(spark)
    return {"rows": rows, "bytes": size, "turns": found}


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Comparisons by name, as ``__main__`` shows them."""
    found = {}
    for rows in given.rows:
        say(f"CSV to published bronze, {rows:,} rows")
        found[f"ingest_{rows}"] = compare(rows, given.turns, say)
    return found
