"""Ours beside a bare PySpark-to-Delta write of the same CSV file, in the same Spark, turn by turn."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from include.lake import spark as lake
from include.partitions import Partitions
from include.settings import settings
from include.sources import ingest, landing
from include.sources.spec import Column, Feed, Source, table

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


def make_file(rows: int, day: date = DAY) -> Path:
    """The landing file of ``day`` with ``rows`` rows. Kept, if it has been made before."""
    path = landing.path_of(SOURCE, TRIPS, day)
    mark = path.with_name(f".{path.name}.{rows}")
    if mark.exists():
        return path
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
    mark.touch()
    return path


def forget(spark: SparkSession) -> None:
    """Drop whatever an earlier turn has published."""
    for name in ("trips", "trips__late", "trips__quarantine", "bare"):
        spark.sql(f"DROP TABLE IF EXISTS bronze.{SOURCE.name}__{name}")
    for path in (settings().lake / "bronze").glob(f"{SOURCE.name}__*"):
        shutil.rmtree(path)


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    into[name] = round(time.monotonic() - begun, 2)


def ours(spark: SparkSession) -> dict[str, float]:
    """Landing file to published bronze, as the DAG's tasks do it. Seconds of each step."""
    seconds: dict[str, float] = {}
    nights = Partitions(DAY, DAY)
    with timed(seconds, "plan"):
        plan = landing.plan(SOURCE, nights)
    with timed(seconds, "load"):
        candidates = ingest.load(SOURCE, nights, plan)
    with timed(seconds, "audit"):
        audited = ingest.audit(SOURCE, nights, plan, candidates)
    with timed(seconds, "publish"):
        ingest.publish_all(SOURCE, plan, candidates, audited, run="benchmark")
    with timed(seconds, "discard"):
        ingest.discard(candidates, audited)
    return seconds


def bare(spark: SparkSession, path: Path) -> dict[str, float]:
    """What one would write by hand: read with a schema, write as Delta, partitioned by the day. Nothing is checked."""
    seconds: dict[str, float] = {}
    schema = ", ".join(f"`{column.name}` {column.type}" for column in TRIPS.columns)
    with timed(seconds, "write"):
        rows = spark.read.schema(schema).option("header", True).csv(str(path))
        rows.write.format("delta").partitionBy("day").saveAsTable(f"bronze.{SOURCE.name}__bare")
    return seconds


def compare(rows: int, turns: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both, ``turns`` times in turn, after one that warms up and does not count."""
    spark = lake.session()
    lake.create_layers(spark)
    path = make_file(rows)
    found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
    for turn in range(turns + 1):
        forget(spark)
        for name, step in (("bare", lambda: bare(spark, path)), ("ours", lambda: ours(spark))):
            seconds = step()
            say(f"  {turn or 'warm-up'}: {name} {sum(seconds.values()):.1f} s  {seconds}")
            if turn:
                found[name].append(seconds)
        published = spark.table(f"bronze.{table(SOURCE, TRIPS)}").count()
        assert published == rows == spark.table(f"bronze.{SOURCE.name}__bare").count(), published
    forget(spark)
    return {"rows": rows, "bytes": path.stat().st_size, "turns": found}
