"""Rows that come late go to their own day, once, and the order in which files are ingested does not matter.

On a real Spark with Delta: every step of an ingestion as its DAG runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from include.lake import delta, publications
from include.lake import spark as lake
from include.partitions import Partitions
from include.sources import ingest, landing
from include.sources.ingest import IncompleteError
from include.sources.spec import Column, Feed, Source

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TRIPS = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("trip", "int", "which", required=True),
        Column("amount", "double", "how much"),
    ),
    key=("trip",),
    day_column="day",
    late_days=5,
    lead_days=1,
    max_quarantined_share=0.9,
)
SOURCE = Source("toys", "toys", "toy-team", "anybody", "0 0 * * *", 6, date(2020, 6, 1), (TRIPS,))
# The file of a day, which arrives in the night before.
FILES = {
    "2020-06-11": ["2020-06-11,1,1", "2020-06-11,2,2", "2020-06-11,3,3"],
    "2020-06-12": ["2020-06-12,1,1", "2020-06-12,2,2", "2020-06-11,4,4"],
    "2020-06-13": [
        "2020-06-13,1,1",
        "2020-06-11,4,4.0",  # again, as it was
        "2020-06-12,1,99",  # differs from the one that was in time
        "2020-06-11,6,6",
        "2020-06-11,06,6.0",  # the same in other letters
        "2020-06-11,7,much",
        "2020-06-07,8,8",  # a day too late
        "2020-06-14,9,9",  # a day too early
    ],
    "2020-06-14": [
        "2020-06-14,1,1",
        "2020-06-11,6,66",  # differs from an earlier late one
        "2020-06-13,1,1",
        "2020-06-12,5,5",
    ],
}
NIGHTS = ["2020-06-10", "2020-06-11", "2020-06-12", "2020-06-13"]
# (trip's day, trip, amount, the night in which it arrived)
PUBLISHED = [
    ("2020-06-11", 1, 1.0, "2020-06-10"),
    ("2020-06-11", 2, 2.0, "2020-06-10"),
    ("2020-06-11", 3, 3.0, "2020-06-10"),
    ("2020-06-11", 4, 4.0, "2020-06-11"),
    ("2020-06-11", 6, 6.0, "2020-06-12"),
    ("2020-06-12", 1, 1.0, "2020-06-11"),
    ("2020-06-12", 2, 2.0, "2020-06-11"),
    ("2020-06-12", 5, 5.0, "2020-06-13"),
    ("2020-06-13", 1, 1.0, "2020-06-12"),
    ("2020-06-14", 1, 1.0, "2020-06-13"),
]
DIFFERS = "another row has the same trip, arrived in the night of {} and differs"
QUARANTINED = [
    ("2020-06-11,6,66", DIFFERS.format("2020-06-12"), "2020-06-13"),
    ("2020-06-11,7,much", "amount: 'much' is no double", "2020-06-12"),
    ("2020-06-07,8,8", "day: 2020-06-07 is more than 5 days before the file's", "2020-06-12"),
    ("2020-06-12,1,99", DIFFERS.format("2020-06-11"), "2020-06-12"),
    ("2020-06-14,9,9", "day: 2020-06-14 is another day", "2020-06-12"),
]
# night → rows in, published, quarantined, deduplicated
EQUATION = {
    "2020-06-10": (3, 3, 0, 0),
    "2020-06-11": (3, 3, 0, 0),
    "2020-06-12": (8, 2, 4, 2),
    "2020-06-13": (4, 2, 1, 1),
}
ORDERS = {
    "backwards": NIGHTS[::-1],
    "as one range": ["2020-06-10..2020-06-13"],
    "mixed": ["2020-06-12", "2020-06-10", "2020-06-13", "2020-06-11", "2020-06-10"],
    "a night beside a range": ["2020-06-13", "2020-06-10..2020-06-12"],
}
SAMPLE = ["backwards", "as one range"]


@contextmanager
def landed(spark: SparkSession) -> Iterator[SparkSession]:
    """An empty lake, wherever the settings have it, and files in landing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lake, "session", lambda: spark)
        for day, lines in FILES.items():
            put(day, lines)
        yield spark
    for layer in lake.LAYERS:
        spark.sql(f"DROP SCHEMA IF EXISTS {layer} CASCADE")


@pytest.fixture
def toys(spark: SparkSession, home: Path) -> Iterator[SparkSession]:
    with landed(spark) as session:
        yield session


def put(day: str, lines: list[str]) -> None:
    path = landing.path_of(SOURCE, TRIPS, date.fromisoformat(day))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["day,trip,amount", *lines]) + "\n")


def run(key: str) -> None:
    nights = Partitions.parse(key)
    plan = landing.plan(SOURCE, nights)
    candidates = ingest.load(SOURCE, nights, plan)
    audited = ingest.audit(SOURCE, nights, plan, candidates)
    ingest.publish_all(SOURCE, plan, candidates, audited, run=key)
    ingest.discard(candidates, audited)


def bronze(name: str, *columns: str) -> list[tuple]:
    rows = delta.read_all("bronze", f"toys__{name}", columns=list(columns))
    return sorted(rows.with_columns(pl.col(pl.Date).cast(pl.String)).rows())


def published() -> list[tuple]:
    return bronze("trips", "partition_day", "trip", "amount", "night")


def equation() -> dict[str, tuple]:
    rows = bronze("completeness", "night", "rows_in", "published", "quarantined", "deduplicated")
    return {night: tuple(terms) for night, *terms in rows}


def check() -> None:
    """Each row is where it belongs, whatever the order in which the files were ingested."""
    assert published() == PUBLISHED
    assert bronze("trips__quarantine", "raw", "reason", "night") == sorted(QUARANTINED)
    assert bronze("trips__quarantine", "source_file", "line") == [
        *(("toys/trips/2020-06-13.csv", line) for line in (4, 7, 8, 9)),
        ("toys/trips/2020-06-14.csv", 3),
    ]
    assert equation() == EQUATION


@pytest.mark.parametrize(
    "order", [one if one in SAMPLE else pytest.param(one, marks=pytest.mark.full) for one in ORDERS]
)
def test_the_order_of_ingestion_does_not_matter(toys: SparkSession, order: str) -> None:
    for key in ORDERS[order]:
        run(key)
    check()
    assert toys.sql("SHOW TABLES IN candidate").where("NOT isTemporary").count() == 0


def test_forwards_and_then_again(toys: SparkSession) -> None:
    """Nothing changes the second time: a late row makes no new revision of what was in time, nor does a rerun."""
    for key in (*NIGHTS, "2020-06-10..2020-06-13", NIGHTS[2]):
        run(key)
    check()
    lines = publications.read().sort("partition_day", "night")
    assert lines["revision"].to_list() == [1] * lines.height
    assert {(str(day), str(night)) for day, night in lines.select("partition_day", "night").rows()} == {
        (day, night) for day, _, _, night in PUBLISHED
    }
    # Each night tells the earlier ones of which rows arrived in it.
    touched = {night: [str(one) for one in ingest.touched(SOURCE, Partitions.parse(night))] for night in NIGHTS}
    assert touched == {
        "2020-06-10": [],
        "2020-06-11": ["2020-06-10"],
        "2020-06-12": ["2020-06-10"],
        "2020-06-13": ["2020-06-11"],
    }
    assert ingest.touched(SOURCE, Partitions.parse("2020-06-11..2020-06-13")) == [date(2020, 6, 10)]


def test_a_file_that_is_replaced_sets_right_what_hung_on_it(toys: SparkSession) -> None:
    """The row that it had brought first now comes from the file after it."""
    for night in NIGHTS:
        run(night)
    put("2020-06-13", ["2020-06-13,1,1"])
    run("2020-06-12")
    assert ("2020-06-11", 6, 66.0, "2020-06-13") in published()
    assert equation() == EQUATION | {"2020-06-12": (1, 1, 0, 0), "2020-06-13": (4, 3, 0, 1)}
    assert bronze("trips__quarantine", "raw") == []


def test_another_days_file_under_this_days_name_is_refused(toys: SparkSession) -> None:
    run("2020-06-10")
    put("2020-06-12", FILES["2020-06-11"])
    with pytest.raises(IncompleteError, match="trips 2020-06-12: all 3 rows are copies of others"):
        run("2020-06-11")
    assert published() == PUBLISHED[:3]
