"""Publishing replaces exactly the days in question, once, or not at all. On a real Spark with Delta."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.errors import NeedsAttentionError
from include.lake.publish import NOTHING, Content, Publication, SchemaChangedError, StaleCandidateError, publish, within
from include.settings import settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

MONDAY, TUESDAY, WEDNESDAY = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)
SCHEMA = "day date, key string, value double"
Row = tuple[date, str, float | None]
Make = Callable[..., "DataFrame"]

numbers = count()


@pytest.fixture(scope="module")
def schema(spark: SparkSession, module_home: Path) -> str:
    """A layer of a lake of this module's own."""
    spark.sql(f"CREATE SCHEMA publishing LOCATION '{settings().lake / 'publishing'}'")
    return "publishing"


@pytest.fixture
def table(schema: str) -> str:
    return f"{schema}.t{next(numbers)}"


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> Make:
    return lambda *rows, schema=SCHEMA: spark.createDataFrame(list(rows), schema)


def put(spark: SparkSession, table: str, rows: DataFrame, days: list[date], ignore: Sequence[str] = ()) -> Publication:
    """Publish ``days`` of a table that is partitioned by day alone."""
    return publish(spark, table, rows, ["day"], within("day", days), ignore)


def content(spark: SparkSession, table: str) -> list[tuple]:
    return sorted(tuple(row) for row in spark.table(table).collect())


def versions(spark: SparkSession, table: str) -> int:
    return spark.sql(f"DESCRIBE HISTORY {table}").count()


@pytest.fixture
def two_days(spark: SparkSession, frame: Make, table: str) -> str:
    """A table with Monday and Tuesday."""
    put(spark, table, frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)), [MONDAY, TUESDAY])
    return table


@pytest.fixture(scope="module")
def standing(spark: SparkSession, frame: Make, schema: str) -> str:
    """The same, for tests after which it must be as it was."""
    put(
        spark,
        f"{schema}.standing",
        frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)),
        [MONDAY, TUESDAY],
    )
    return f"{schema}.standing"


def test_it_creates_a_table_partitioned_by_day(spark: SparkSession, frame: Make, table: str) -> None:
    done = put(spark, table, frame((MONDAY, "a", 1.0), (TUESDAY, "b", None)), [TUESDAY, MONDAY])
    assert (done.table, done.rows, done.changed) == (table, 2, (MONDAY, TUESDAY))
    assert str(done) == f"{table}: 2 rows, 2 days changed"
    assert content(spark, table) == [(MONDAY, "a", 1.0), (TUESDAY, "b", None)]
    assert spark.sql(f"DESCRIBE DETAIL {table}").collect()[0]["partitionColumns"] == ["day"]


def test_exactly_the_days_are_replaced(spark: SparkSession, frame: Make, two_days: str) -> None:
    """The day before and the day after stand."""
    put(spark, two_days, frame((WEDNESDAY, "e", 5.0)), [WEDNESDAY])
    done = put(spark, two_days, frame((TUESDAY, "c", 3.0), (TUESDAY, "d", 4.0)), [TUESDAY])
    assert done.changed == (TUESDAY,)
    around = [(MONDAY, "a", 1.0), (WEDNESDAY, "e", 5.0)]
    assert content(spark, two_days) == sorted([*around, (TUESDAY, "c", 3.0), (TUESDAY, "d", 4.0)])


def test_a_whole_table_becomes_what_there_is_now(spark: SparkSession, frame: Make, two_days: str) -> None:
    """Of a candidate that is `whole` (include/lake/dbt.py): a day that it has no more goes, one that is equal stays."""
    done = publish(spark, two_days, frame((TUESDAY, "b", 2.0), (WEDNESDAY, "c", 3.0)), ["day"], "TRUE")
    assert done.changed == (MONDAY, WEDNESDAY)
    assert content(spark, two_days) == [(TUESDAY, "b", 2.0), (WEDNESDAY, "c", 3.0)]


def test_a_rerun_makes_no_version(spark: SparkSession, frame: Make, standing: str) -> None:
    before = versions(spark, standing)
    done = put(spark, standing, frame((TUESDAY, "b", 2.0), (MONDAY, "a", 1.0)), [MONDAY, TUESDAY])
    assert (done.rows, done.changed, str(done)) == (2, (), f"{standing}: 2 rows, nothing changed")
    assert versions(spark, standing) == before


def test_of_several_days_only_those_that_differ_are_written(spark: SparkSession, frame: Make, two_days: str) -> None:
    before = versions(spark, two_days)
    done = put(spark, two_days, frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.5)), [MONDAY, TUESDAY])
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
        assert put(spark, two_days, frame(*rows), [MONDAY]).changed == (MONDAY,), rows
        assert sorted(tuple(row) for row in spark.table(two_days).where("day = '2020-06-01'").collect()) == rows


def test_a_null_in_one_column_is_not_the_same_in_another(spark: SparkSession, frame: Make, table: str) -> None:
    columns = "day date, a string, b string"
    put(spark, table, frame((MONDAY, "x", None), schema=columns), [MONDAY])
    assert put(spark, table, frame((MONDAY, None, "x"), schema=columns), [MONDAY]).changed == (MONDAY,)


def test_what_is_ignored_makes_no_difference(spark: SparkSession, frame: Make, table: str) -> None:
    columns = "day date, key string, arrived_at timestamp"
    early, late = datetime(2020, 6, 2, 1), datetime(2020, 6, 2, 2)
    put(
        spark,
        table,
        frame((MONDAY, "a", early), schema=columns),
        [MONDAY],
        ignore=["arrived_at"],
    )
    again = put(
        spark,
        table,
        frame((MONDAY, "a", late), schema=columns),
        [MONDAY],
        ignore=["arrived_at"],
    )
    assert again.changed == ()
    assert content(spark, table) == [(MONDAY, "a", early)]


def test_a_stale_candidate_is_refused_and_earlier_days_stand(spark: SparkSession, frame: Make, standing: str) -> None:
    """The candidate of Wednesday lies where Tuesday's run expects its own."""
    before = versions(spark, standing)
    with pytest.raises(StaleCandidateError, match="holds 2020-06-03 to 2020-06-03, which this run is not for"):
        put(spark, standing, frame((WEDNESDAY, "c", 3.0)), [TUESDAY])
    with pytest.raises(StaleCandidateError):
        put(spark, standing, frame((TUESDAY, "x", 3.0), (WEDNESDAY, "c", 3.0)), [TUESDAY])
    assert content(spark, standing) == [(MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)]
    assert versions(spark, standing) == before


def test_a_day_without_rows_becomes_empty(spark: SparkSession, frame: Make, two_days: str) -> None:
    done = put(spark, two_days, frame(), [TUESDAY])
    assert (done.rows, done.changed) == (0, (TUESDAY,))
    assert content(spark, two_days) == [(MONDAY, "a", 1.0)]
    assert put(spark, two_days, frame(), [TUESDAY]).changed == ()


def test_a_new_column_is_added_and_null_before(spark: SparkSession, frame: Make, two_days: str) -> None:
    columns = "day date, note string, key string, value double"
    put(spark, two_days, frame((TUESDAY, "new", "b", 2.0), schema=columns), [TUESDAY])
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
        put(spark, standing, frame(row, schema=columns), [TUESDAY])
    assert content(spark, standing) == [(MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)]
    assert versions(spark, standing) == before


def test_no_retry_mends_a_refusal() -> None:
    assert issubclass(StaleCandidateError, NeedsAttentionError)
    assert issubclass(SchemaChangedError, NeedsAttentionError)


def test_a_part_of_a_day_is_replaced_by_itself(spark: SparkSession, frame: Make, table: str) -> None:
    """Rows of one day that arrived in several nights are several partitions, of which one commit replaces any."""
    schema, by = "day date, night date, key string", ["day", "night"]
    first = frame((MONDAY, MONDAY, "a"), (MONDAY, WEDNESDAY, "late"), (TUESDAY, TUESDAY, "b"), schema=schema)
    publish(spark, table, first, by, "TRUE")
    before = versions(spark, table)
    again = frame((MONDAY, WEDNESDAY, "later"), (TUESDAY, WEDNESDAY, "b"), schema=schema)
    done = publish(spark, table, again, by, within("night", [WEDNESDAY]))
    assert done.replaced == ((MONDAY, WEDNESDAY), (TUESDAY, WEDNESDAY))
    assert versions(spark, table) == before + 1
    rest = [(MONDAY, MONDAY, "a"), (TUESDAY, TUESDAY, "b")]
    late = [(MONDAY, WEDNESDAY, "later"), (TUESDAY, WEDNESDAY, "b")]
    assert content(spark, table) == sorted([*rest, *late])
    with pytest.raises(StaleCandidateError):
        publish(spark, table, again, by, within("night", [TUESDAY]))


def test_it_tells_the_content_of_every_partition(spark: SparkSession, frame: Make, two_days: str) -> None:
    done = put(spark, two_days, frame((MONDAY, "a", 1.0)), [MONDAY, TUESDAY])
    assert done.content == {(MONDAY,): Content(1, done.content[(MONDAY,)].hash), (TUESDAY,): NOTHING}
    assert done.replaced == ((TUESDAY,),)


def test_days_that_are_published_at_once_do_not_mix(spark: SparkSession, frame: Make, two_days: str) -> None:
    """By threads of one session, which share its views."""
    days = [WEDNESDAY + timedelta(n) for n in range(6)]
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(lambda day: put(spark, two_days, frame((day, str(day), 1.0)), [day]), days))
    assert content(spark, two_days)[2:] == [(day, str(day), 1.0) for day in days]
