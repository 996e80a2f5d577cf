"""Publishing replaces exactly the days in question, once, or not at all. On real tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.lake import candidate, commit, delta, usage
from include.lake import publish as publishing
from include.lake.candidate import CandidateMissingError
from include.lake.publish import (
    NOTHING,
    Content,
    Prepared,
    Publication,
    Request,
    SchemaChangedError,
    StaleCandidateError,
    publish,
    within,
)
from tests import s3

MONDAY, TUESDAY, WEDNESDAY = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)
SCHEMA = {"day": pl.Date, "key": pl.String, "value": pl.Float64}
Row = tuple[date, str, float | None]
Schema = dict[str, Any]

numbers = count()


@pytest.fixture
def table(module_home: Path) -> str:
    return f"publishing.t{next(numbers)}"


def frame(*rows: tuple, schema: Schema = SCHEMA) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows), schema, orient="row")


def put(table: str, rows: pl.LazyFrame, days: list[date], ignore: Sequence[str] = ()) -> Publication:
    """Publish ``days`` of a table that is partitioned by day alone."""
    return publish(table, rows, ["day"], within("day", days), ignore)


def content(table: str) -> list[tuple]:
    return sorted(delta.read_all(*table.split(".")).rows())


def versions(table: str) -> int:
    return len(usage.opened(table).history())


@pytest.fixture
def two_days(table: str) -> str:
    """A table with Monday and Tuesday."""
    put(table, frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)), [MONDAY, TUESDAY])
    return table


@pytest.fixture(scope="module")
def standing(module_home: Path) -> str:
    """The same, for tests after which it must be as it was."""
    put(
        "publishing.standing",
        frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)),
        [MONDAY, TUESDAY],
    )
    return "publishing.standing"


def test_it_creates_a_table_partitioned_by_day(table: str) -> None:
    done = put(table, frame((MONDAY, "a", 1.0), (TUESDAY, "b", None)), [TUESDAY, MONDAY])
    assert (done.table, done.rows, done.changed) == (table, 2, (MONDAY, TUESDAY))
    assert str(done) == f"{table}: 2 rows, 2 days changed"
    assert content(table) == [(MONDAY, "a", 1.0), (TUESDAY, "b", None)]
    assert usage.opened(table).metadata().partition_columns == ["day"]


def test_exactly_the_days_are_replaced(two_days: str) -> None:
    """The day before and the day after stand."""
    put(two_days, frame((WEDNESDAY, "e", 5.0)), [WEDNESDAY])
    done = put(two_days, frame((TUESDAY, "c", 3.0), (TUESDAY, "d", 4.0)), [TUESDAY])
    assert done.changed == (TUESDAY,)
    around = [(MONDAY, "a", 1.0), (WEDNESDAY, "e", 5.0)]
    assert content(two_days) == sorted([*around, (TUESDAY, "c", 3.0), (TUESDAY, "d", 4.0)])


def test_a_whole_table_becomes_what_there_is_now(two_days: str) -> None:
    """Of a candidate that is `whole` (include/lake/dbt.py): a day that it has no more goes, one that is equal stays."""
    done = publish(two_days, frame((TUESDAY, "b", 2.0), (WEDNESDAY, "c", 3.0)), ["day"], pl.lit(True))
    assert done.changed == (MONDAY, WEDNESDAY)
    assert content(two_days) == [(TUESDAY, "b", 2.0), (WEDNESDAY, "c", 3.0)]


def test_a_rerun_makes_no_version(standing: str) -> None:
    before = versions(standing)
    done = put(standing, frame((TUESDAY, "b", 2.0), (MONDAY, "a", 1.0)), [MONDAY, TUESDAY])
    assert (done.rows, done.changed, str(done)) == (2, (), f"{standing}: 2 rows, nothing changed")
    assert versions(standing) == before


def test_of_several_days_only_those_that_differ_are_written(two_days: str) -> None:
    before = versions(two_days)
    done = put(two_days, frame((MONDAY, "a", 1.0), (TUESDAY, "b", 2.5)), [MONDAY, TUESDAY])
    assert done.changed == (TUESDAY,)
    assert versions(two_days) == before + 1


def test_any_difference_counts(two_days: str) -> None:
    others: list[list[Row]] = [
        [(MONDAY, "a", None)],
        [(MONDAY, None, 1.0)],
        [(MONDAY, "a", 1.0)],
        [(MONDAY, "a", 1.0), (MONDAY, "a", 1.0)],
        [(MONDAY, "A", 1.0), (MONDAY, "a", 1.0)],
    ]
    for rows in others:
        assert put(two_days, frame(*rows), [MONDAY]).changed == (MONDAY,), rows
        assert [row for row in content(two_days) if row[0] == MONDAY] == rows


def test_a_null_in_one_column_is_not_the_same_in_another(table: str) -> None:
    columns = {"day": pl.Date, "a": pl.String, "b": pl.String}
    put(table, frame((MONDAY, "x", None), schema=columns), [MONDAY])
    assert put(table, frame((MONDAY, None, "x"), schema=columns), [MONDAY]).changed == (MONDAY,)


def test_what_is_ignored_makes_no_difference(table: str) -> None:
    columns = {"day": pl.Date, "key": pl.String, "arrived_at": pl.Datetime("us", "UTC")}
    early, late = (datetime(2020, 6, 2, hour, tzinfo=UTC) for hour in (1, 2))
    put(
        table,
        frame((MONDAY, "a", early), schema=columns),
        [MONDAY],
        ignore=["arrived_at"],
    )
    again = put(
        table,
        frame((MONDAY, "a", late), schema=columns),
        [MONDAY],
        ignore=["arrived_at"],
    )
    assert again.changed == ()
    assert content(table) == [(MONDAY, "a", early)]


def test_a_stale_candidate_is_refused_and_earlier_days_stand(standing: str) -> None:
    """The candidate of Wednesday lies where Tuesday's run expects its own."""
    before = versions(standing)
    with pytest.raises(StaleCandidateError, match="holds 2020-06-03 to 2020-06-03, which this run is not for"):
        put(standing, frame((WEDNESDAY, "c", 3.0)), [TUESDAY])
    with pytest.raises(StaleCandidateError):
        put(standing, frame((TUESDAY, "x", 3.0), (WEDNESDAY, "c", 3.0)), [TUESDAY])
    assert content(standing) == [(MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)]
    assert versions(standing) == before


def test_a_day_without_rows_becomes_empty(two_days: str) -> None:
    done = put(two_days, frame(), [TUESDAY])
    assert (done.rows, done.changed) == (0, (TUESDAY,))
    assert content(two_days) == [(MONDAY, "a", 1.0)]
    assert put(two_days, frame(), [TUESDAY]).changed == ()


def test_a_new_column_is_added_and_null_before(two_days: str) -> None:
    columns = {"day": pl.Date, "note": pl.String, "key": pl.String, "value": pl.Float64}
    put(two_days, frame((TUESDAY, "new", "b", 2.0), schema=columns), [TUESDAY])
    assert delta.scan(*two_days.split(".")).collect_schema().names() == ["day", "key", "value", "note"]
    assert content(two_days) == [(MONDAY, "a", 1.0, None), (TUESDAY, "b", 2.0, "new")]


@pytest.mark.parametrize(
    ("columns", "row", "problem"),
    [
        ({"day": pl.Date, "key": pl.String}, (TUESDAY, "b"), "value is gone"),
        (SCHEMA | {"value": pl.Int32}, (TUESDAY, "b", 2), "value was double and is int"),
        (
            {"day": pl.Date, "value": pl.Int32, "new": pl.String},
            (TUESDAY, 2, "b"),
            "key is gone; value was double and is int",
        ),
    ],
    ids=["gone", "another type", "both"],
)
def test_a_column_gone_or_of_another_type_is_refused(standing: str, columns: Schema, row: tuple, problem: str) -> None:
    before = versions(standing)
    with pytest.raises(SchemaChangedError, match=problem):
        put(standing, frame(row, schema=columns), [TUESDAY])
    assert content(standing) == [(MONDAY, "a", 1.0), (TUESDAY, "b", 2.0)]
    assert versions(standing) == before


def test_no_retry_mends_a_refusal() -> None:
    assert issubclass(StaleCandidateError, NeedsAttentionError)
    assert issubclass(SchemaChangedError, NeedsAttentionError)


def test_a_part_of_a_day_is_replaced_by_itself(table: str) -> None:
    """Rows of one day that arrived in several nights are several partitions, of which one commit replaces any."""
    schema, by = {"day": pl.Date, "ingestion_date": pl.Date, "key": pl.String}, ["day", "ingestion_date"]
    first = frame((MONDAY, MONDAY, "a"), (MONDAY, WEDNESDAY, "late"), (TUESDAY, TUESDAY, "b"), schema=schema)
    publish(table, first, by, pl.lit(True))
    before = versions(table)
    again = frame((MONDAY, WEDNESDAY, "later"), (TUESDAY, WEDNESDAY, "b"), schema=schema)
    done = publish(table, again, by, within("ingestion_date", [WEDNESDAY]))
    assert done.replaced == ((MONDAY, WEDNESDAY), (TUESDAY, WEDNESDAY))
    assert versions(table) == before + 1
    rest = [(MONDAY, MONDAY, "a"), (TUESDAY, TUESDAY, "b")]
    late = [(MONDAY, WEDNESDAY, "later"), (TUESDAY, WEDNESDAY, "b")]
    assert content(table) == sorted([*rest, *late])
    with pytest.raises(StaleCandidateError):
        publish(table, again, by, within("ingestion_date", [TUESDAY]))


def test_it_tells_the_content_of_every_partition(two_days: str) -> None:
    done = put(two_days, frame((MONDAY, "a", 1.0)), [MONDAY, TUESDAY])
    assert done.content == {(MONDAY,): Content(1, done.content[(MONDAY,)].hash), (TUESDAY,): NOTHING}
    assert done.replaced == ((TUESDAY,),)


def test_days_that_are_published_at_once_do_not_mix(two_days: str) -> None:
    """By threads of one process: each compares its own day again where another was faster."""
    days = [WEDNESDAY + timedelta(n) for n in range(6)]
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(lambda day: put(two_days, frame((day, str(day), 1.0)), [day]), days))
    assert content(two_days)[2:] == [(day, str(day), 1.0) for day in days]


def test_a_whole_year_is_compared_day_by_day_also_with_a_column_more(table: str) -> None:
    """A filter with many values, or on a column that older files lack, has lost rows (pola-rs/polars#24167, #23268)."""
    days = [MONDAY + timedelta(n) for n in range(366)]
    year = frame(*((day, "a", float(day.day)) for day in days))
    assert len(put(table, year, days).replaced) == 366
    assert put(table, year, days).replaced == ()
    wider = year.with_columns(note=pl.lit(None, pl.String))
    assert put(table, wider, days).replaced == ()
    noted = wider.filter(pl.col("day") == days[5]).with_columns(note=pl.lit("late"))
    assert put(table, noted, days[5:6]).changed == (days[5],)
    there = delta.scan(*table.split("."))
    assert there.filter(pl.col("note") == "late").collect()["day"].to_list() == [days[5]]
    assert there.select(pl.len()).collect().item() == 366
    assert len(put(table, wider.clear(), days).replaced) == 366
    assert delta.scan(*table.split(".")).filter(pl.col("day") == MONDAY).collect().is_empty(), "polars#19854"


# --- what is read, and what is written ---


def test_of_other_days_no_file_is_opened(two_days: str) -> None:
    """What a night reads does not grow with history: of Monday there is no file any more, and nobody asks for it."""
    (monday,) = (usage.path_of(two_days) / f"day={MONDAY}").glob("*.parquet")
    monday.unlink()
    assert put(two_days, frame((TUESDAY, "b", 2.0)), [TUESDAY]).changed == ()
    assert put(two_days, frame((TUESDAY, "b", 2.5)), [TUESDAY]).changed == (TUESDAY,)
    assert put(two_days, frame((WEDNESDAY, "c", 2.5)), [WEDNESDAY]).changed == (WEDNESDAY,)
    with pytest.raises(FileNotFoundError):
        put(two_days, frame((MONDAY, "a", 1.0)), [MONDAY])


def test_nor_of_the_other_nights_of_a_day(table: str) -> None:
    """A partition is found by all its columns, not by each of them."""
    schema, by = {"day": pl.Date, "ingestion_date": pl.Date, "key": pl.String}, ["day", "ingestion_date"]
    rows = frame((MONDAY, MONDAY, "a"), (MONDAY, TUESDAY, "b"), (TUESDAY, TUESDAY, "c"), schema=schema)
    publish(table, rows, by, pl.lit(True))
    own = (pl.col("day") == MONDAY) & (pl.col("ingestion_date") == MONDAY) | (pl.col("day") == pl.col("ingestion_date"))
    done = publish(table, rows.filter(own), by, own)
    assert (done.changed, set(done.content)) == ((), {(MONDAY, MONDAY), (TUESDAY, TUESDAY)})


def test_a_partition_becomes_one_file_that_says_its_rows(table: str) -> None:
    days = [MONDAY + timedelta(n) for n in range(40)]
    put(table, frame(*((day, str(n), 1.0) for day in days for n in range(3))), days)
    files = usage.files_of(usage.opened(table))
    assert files["partition.day"].sort().to_list() == days
    assert set(files["rows"]) == {3}
    for path, size in files.select("path", "bytes").iter_rows():
        file = usage.path_of(table) / path
        assert file.stat().st_size == size
        assert pl.read_parquet(str(file), hive_partitioning=False).columns == ["key", "value"]


@pytest.mark.parametrize(("at_once", "goes"), [(1, 5), (6, 3), (100, 1)])
def test_many_rows_are_written_in_several_goes(
    table: str, monkeypatch: pytest.MonkeyPatch, at_once: int, goes: int
) -> None:
    """So that memory does not grow with a history; a partition is never in two of them."""
    made, real = count(), publishing._written
    monkeypatch.setattr(publishing, "_written", lambda *arguments: (next(made), real(*arguments))[1])
    monkeypatch.setattr(publishing, "AT_ONCE", at_once)
    rows = [(MONDAY + timedelta(day), str(n), 1.0) for day in range(5) for n in range(3)]
    put(table, frame(*rows), [MONDAY + timedelta(day) for day in range(5)])
    assert (next(made), content(table)) == (goes, rows)
    assert usage.files_of(usage.opened(table)).height == 5


def test_nothing_is_left_on_the_way(table: str) -> None:
    put(table, frame((MONDAY, "a", 1.0)), [MONDAY])
    folder = settings().lake / "candidate"
    assert not list(folder.glob("publishing__*"))


def test_times_are_kept_to_the_microsecond_however_they_come(table: str) -> None:
    """Spark writes nanoseconds to Parquet, and some readers give no zone."""
    moment = datetime(1969, 6, 2, 1, 2, 3, 456789)
    rows = pl.LazyFrame({"day": [MONDAY], "at": [moment]})
    put(table, rows.cast({"at": pl.Datetime("ns")}), [MONDAY])
    assert content(table) == [(MONDAY, moment.replace(tzinfo=UTC))]
    assert put(table, rows.cast({"at": pl.Datetime("us", "UTC")}), [MONDAY]).changed == ()


def test_rows_of_no_day_are_refused(table: str) -> None:
    """Whatever the scope is: no partition could be found again by it."""
    with pytest.raises(StaleCandidateError, match="holds None to None"):
        publish(table, frame((None, "a", 1.0)), ["day"], pl.lit(True))


def test_a_type_that_cannot_be_compared_makes_no_table(table: str) -> None:
    rows = pl.LazyFrame({"day": [MONDAY], "took": [timedelta(1)]})
    with pytest.raises(NeedsAttentionError, match=rf"column took of {table} has the type Duration"):
        put(table, rows, [MONDAY])
    assert commit.version_of(table) == commit.NEW


def test_somebody_else_commits_while_rows_are_compared(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then they are compared again, with what is there now."""
    put(table, frame((MONDAY, "a", 1.0)), [MONDAY])
    compared, real = count(), publishing.prepare

    def prepare(request: Request) -> Prepared:
        prepared = real(request)
        if next(compared) == 0:
            delta.replace_days("publishing", table[11:], frame((MONDAY, "b", 2.0)).collect(), MONDAY, MONDAY, day="day")
        return prepared

    monkeypatch.setattr(publishing, "prepare", prepare)
    assert put(table, frame((MONDAY, "b", 2.0)), [MONDAY]).changed == ()
    assert (next(compared), content(table)) == (2, [(MONDAY, "b", 2.0)])


def test_spark_is_told_of_a_new_table_and_not_again(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """dbt reads it by its name. One whose maker was killed before it said so is told of by the next."""
    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "announce_to_spark", lambda name: told.append(name))
        publishing.prepare(Request(table, frame((MONDAY, "a", 1.0)), ["day"], pl.lit(True)))
        for value in (1.0, 2.0, 3.0):
            put(table, frame((MONDAY, "a", value)), [MONDAY])
    assert told == [table, table]


def test_without_a_spark_nobody_is_told(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise AssertionError("there is no Spark")

    monkeypatch.setattr(publishing.lake, "session", unreachable)
    put(table, frame((MONDAY, "a", 1.0)), [MONDAY])
    assert content(table) == [(MONDAY, "a", 1.0)]


# --- a lake in S3 ---


@pytest.fixture
def bucket(s3_server: Any, s3_port: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix of a bucket, below which the lake is."""
    for name, value in s3.environment(s3_port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NOCTURNE_LAKE_URI", uri := f"s3://nocturne/{uuid4().hex}/lake")
    settings.cache_clear()
    yield uri
    settings.cache_clear()


def test_what_holds_for_folders_holds_there(bucket: str, home: Path) -> None:
    name, columns = "candidate.silver__t__2020_06_01__12345678", dict.fromkeys(("day", "ingestion_date"), pl.Date)
    rows = frame((MONDAY, MONDAY, "a"), (MONDAY, TUESDAY, "b"), schema=columns | {"key": pl.String})
    with pytest.raises(CandidateMissingError):
        candidate.rows(name)
    with (candidate.folder(name) / "part-0.parquet").open("wb") as out:
        rows.collect().write_parquet(out)
    for changed in ((MONDAY,), ()):
        done = publish(
            "silver.t", candidate.rows(name), ["day", "ingestion_date"], within("ingestion_date", [MONDAY, TUESDAY])
        )
        assert (done.rows, done.changed) == (2, changed)
    assert content("silver.t") == sorted(rows.collect().rows())
    publish("silver.t", rows.limit(0), ["day", "ingestion_date"], within("ingestion_date", [TUESDAY]))
    assert content("silver.t") == [(MONDAY, MONDAY, "a")]
    candidate.remove([name, name])
    assert not [one for one in (settings().lake / "candidate").rglob("*") if one.is_file()]
    assert not list(home.rglob("*.parquet")), "something was written beside S3"
