"""Publishing replaces exactly the days in question, once, or not at all. On a real Spark with Delta."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from itertools import count
from typing import TYPE_CHECKING

import pytest

from include.errors import NeedsAttentionError
from include.lake.publish import SchemaChangedError, StaleCandidateError, publish

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MONDAY, TUESDAY, WEDNESDAY = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)
SCHEMA = "day date, key string, value double"
Row = tuple[date, str, float | None]
Make = Callable[..., "DataFrame"]

numbers = count()


@pytest.fixture
def table(schema: str) -> str:
    return f"{schema}.t{next(numbers)}"


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> Make:
    return lambda *rows, schema=SCHEMA: spark.createDataFrame(list(rows), schema)


def content(spark: SparkSession, table: str) -> list[tuple]:
    return sorted(tuple(row) for row in spark.table(table).collect())


def versions(spark: SparkSession, table: str) -> int:
    return spark.sql(f"DESCRIBE HISTORY {table}").count()


@pytest.fixture
def two_days(spark: SparkSession, frame: Make, table: str) -> str:
    """A table with Monday and Tuesday."""
    publish(spark, table, frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)), "day", [MONDAY, TUESDAY])
    return table


@pytest.fixture(scope="module")
def standing(spark: SparkSession, frame: Make, schema: str) -> str:
    """The same, for tests after which it must be as it was."""
    publish(spark, f"{schema}.standing", frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)), "day", [MONDAY, TUESDAY])
    return f"{schema}.standing"


def test_it_creates_a_table_partitioned_by_day(spark: SparkSession, frame: Make, table: str) -> None:
    done = publish(spark, table, frame((MONDAY, "a", 1.0), (TUESDAY, "b", None)), "day", [TUESDAY, MONDAY])
    assert (done.table, done.rows, done.changed) == (table, 2, (MONDAY, TUESDAY))
    assert str(done) == f"{table}: 2 rows, 2 days changed"
    assert content(spark, table) == [(MONDAY, "a", 1.0), (TUESDAY, "b", None)]
    assert spark.sql(f"DESCRIBE DETAIL {table}").collect()[0]["partitionColumns"] == ["day"]


def test_exactly_the_days_are_replaced(spark: SparkSession, frame: Make, two_days: str) -> None:
    """The day before and the day after stand."""
    publish(spark, two_days, frame((WEDNESDAY, "e", 5.0)), "day", [WEDNESDAY])
    done = publish(spark, two_days, frame((TUESDAY, "c", 3.0), (TUESDAY, "d", 4.0)), "day", [TUESDAY])
    assert done.changed == (TUESDAY,)
    around = [(MONDAY, "a", 1.0), (WEDNESDAY, "e", 5.0)]
    assert content(spark, two_days) == sorted([*around, (TUESDAY, "c", 3.0), (TUESDAY, "d", 4.0)])


def test_a_rerun_makes_no_version(spark: SparkSession, frame: Make, standing: str) -> None:
    before = versions(spark, standing)
    done = publish(spark, standing, frame((TUESDAY, "b", 2.0), (MONDAY, "a", 1.0)), "day", [MONDAY, TUESDAY])
    assert (done.rows, done.changed, str(done)) == (2, (), f"{standing}: 2 rows, nothing changed")
    assert versions(spark, standing) == before


def test_of_several_days_only_those_that_differ_are_written(spark: SparkSession, frame: Make, two_days: str) -> None:
    before = versions(spark, two_days)
    done = publish(spark, two_days, frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.5)), "day", [MONDAY, TUESDAY])
    assert done.changed == (TUESDAY,)
    assert versions(spark, two_days) == before + 1


def test_any_difference_counts(spark: SparkSession, frame: Make, two_days: str) -> None:
    others: list[list[Row]] = [
        [(MONDAY, "a", None)],
        [(MONDAY, None, 1.0)],
        [(MONDAY, "a", 1.0)],
        [(MONDAY, "a", 1.0), (MONDAY, "a", 1.0)],
        [(MONDAY, "A", 1.0), (MONDAY, "a", 1.0)],
    ]
    for rows in others:
        assert publish(spark, two_days, frame(*rows), "day", [MONDAY]).changed == (MONDAY,), rows
        assert sorted(tuple(row) for row in spark.table(two_days).where("day = '2020-06-01'").collect()) == rows


def test_a_null_in_one_column_is_not_the_same_in_another(spark: SparkSession, frame: Make, table: str) -> None:
    columns = "day date, a string, b string"
    publish(spark, table, frame((MONDAY, "x", None), schema=columns), "day", [MONDAY])
    assert publish(spark, table, frame((MONDAY, None, "x"), schema=columns), "day", [MONDAY]).changed == (MONDAY,)


def test_what_is_ignored_makes_no_difference(spark: SparkSession, frame: Make, table: str) -> None:
    columns = "day date, key string, arrived_at timestamp"
    early, late = datetime(2020, 6, 2, 1), datetime(2020, 6, 2, 2)
    publish(spark, table, frame((MONDAY, "a", early), schema=columns), "day", [MONDAY], ignore=["arrived_at"])
    again = publish(spark, table, frame((MONDAY, "a", late), schema=columns), "day", [MONDAY], ignore=["arrived_at"])
    assert again.changed == ()
    assert content(spark, table) == [(MONDAY, "a", early)]


def test_a_stale_candidate_is_refused_and_earlier_days_stand(spark: SparkSession, frame: Make, standing: str) -> None:
    """The candidate of Wednesday lies where Tuesday's run expects its own."""
    before = versions(spark, standing)
    with pytest.raises(StaleCandidateError, match="holds 2020-06-03 to 2020-06-03, which this run is not for"):
        publish(spark, standing, frame((WEDNESDAY, "c", 3.0)), "day", [TUESDAY])
    with pytest.raises(StaleCandidateError):
        publish(spark, standing, frame((TUESDAY, "x", 3.0), (WEDNESDAY, "c", 3.0)), "day", [TUESDAY])
    assert content(spark, standing) == [(MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)]
    assert versions(spark, standing) == before


def test_a_day_without_rows_becomes_empty(spark: SparkSession, frame: Make, two_days: str) -> None:
    done = publish(spark, two_days, frame(), "day", [TUESDAY])
    assert (done.rows, done.changed) == (0, (TUESDAY,))
    assert content(spark, two_days) == [(MONDAY, "a", 1.0)]
    assert publish(spark, two_days, frame(), "day", [TUESDAY]).changed == ()


def test_a_new_column_is_added_and_null_before(spark: SparkSession, frame: Make, two_days: str) -> None:
    columns = "day date, note string, key string, value double"
    publish(spark, two_days, frame((TUESDAY, "new", "b", 2.0), schema=columns), "day", [TUESDAY])
    assert spark.table(two_days).columns == ["day", "key", "value", "note"]
    assert content(spark, two_days) == [(MONDAY, "a", 1.0, None), (TUESDAY, "b", 2.0, "new")]


@pytest.mark.parametrize(
    ("columns", "row", "problem"),
    [
        ("day date, key string", (TUESDAY, "b"), "value is gone"),
        ("day date, key string, value int", (TUESDAY, "b", 2), "value was double and is int"),
        ("day date, value int, new string", (TUESDAY, 2, "b"), "key is gone; value was double and is int"),
    ],
    ids=["gone", "another type", "both"],
)
def test_a_column_gone_or_of_another_type_is_refused(
    spark: SparkSession, frame: Make, standing: str, columns: str, row: tuple, problem: str
) -> None:
    before = versions(spark, standing)
    with pytest.raises(SchemaChangedError, match=problem):
        publish(spark, standing, frame(row, schema=columns), "day", [TUESDAY])
    assert content(spark, standing) == [(MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)]
    assert versions(spark, standing) == before


def test_no_retry_mends_a_refusal() -> None:
    assert issubclass(StaleCandidateError, NeedsAttentionError)
    assert issubclass(SchemaChangedError, NeedsAttentionError)
