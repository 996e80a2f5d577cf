"""The ledger of publications: a line for each content a partition has had, none for a rerun."""

import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from include.lake import delta, publications
from include.lake.publications import Origin, Terms
from include.lake.publish import NOTHING, Content, Partition, Publication
from tests.publications import record

MONDAY, TUESDAY, WEDNESDAY = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)
TABLE = "bronze.toys__trips"


@pytest.fixture(autouse=True)
def tables(home: Path) -> None:
    for layer, table in (TABLE.split("."), ("silver", "trips")):
        delta.append(layer, table, pl.DataFrame({"day": [MONDAY]}))


def published(content: dict[Partition, Content], table: str = TABLE) -> Publication:
    return Publication(table, content, ())


def lines(*columns: str) -> list[tuple]:
    return publications.read().select(columns).rows()


def test_what_is_published_first_is_revision_one() -> None:
    record([published({(MONDAY, MONDAY): Content(3, 7)})], "a run", {(TABLE, (MONDAY, MONDAY)): Terms(5, 1, 1)})
    assert lines("table", "partition_day", "ingestion_date", "revision", "replaces", "version", "rows", "run") == [
        (TABLE, MONDAY, MONDAY, 1, None, 0, 3, "a run")
    ]
    assert lines("rows_in", "quarantined", "deduplicated") == [(5, 1, 1)]


def test_a_rerun_adds_nothing() -> None:
    for run in ("first", "second"):
        record([published({(MONDAY, MONDAY): Content(3, 7), (TUESDAY, TUESDAY): NOTHING})], run)
    assert lines("partition_day", "run") == [(MONDAY, "first")]


def test_other_content_is_a_revision_that_names_the_one_before(caplog: pytest.LogCaptureFixture) -> None:
    for run, content in (("first", Content(3, 7)), ("second", Content(3, 8)), ("third", NOTHING)):
        record([published({(MONDAY, MONDAY): content})], run)
    assert lines("revision", "replaces", "rows", "run") == [
        (1, None, 3, "first"),
        (2, 1, 3, "second"),
        (3, 2, 0, "third"),
    ]
    assert f"{TABLE} 2020-06-01: revision 2 replaces 1, 3 rows" in caplog.messages


def test_of_many_days_that_get_other_content_one_line_tells(caplog: pytest.LogCaptureFixture) -> None:
    days = [date(2020, 6, day) for day in range(1, 11)]
    for run, rows in (("first", 3), ("second", 4)):
        record([published({(day, day): Content(rows, rows) for day in days})], run)
    assert caplog.messages == [f"{TABLE}: new revisions of 10 days from 2020-06-01 to 2020-06-10, 40 rows"]


def test_the_parts_of_a_day_have_revisions_of_their_own() -> None:
    record([published({(MONDAY, MONDAY): Content(3, 7)})], "first")
    record([published({(MONDAY, WEDNESDAY): Content(1, 9)})], "second")
    record([published({(MONDAY,): Content(4, 16)}, "silver.trips")], "third")
    assert lines("partition_day", "ingestion_date", "revision") == [
        (MONDAY, MONDAY, 1),
        (MONDAY, WEDNESDAY, 1),
        (MONDAY, None, 1),
    ]


def test_the_days_that_nights_have_touched_are_remembered() -> None:
    both = {
        (MONDAY, WEDNESDAY): Content(1, 9),
        (WEDNESDAY, WEDNESDAY): Content(3, 7),
        (TUESDAY, TUESDAY): Content(3, 8),
    }
    record([published(both)], "a run")
    assert publications.days_of([TABLE], [WEDNESDAY]) == [MONDAY, WEDNESDAY]
    # The late row is taken back: its day has changed by that as well.
    record([published({(MONDAY, WEDNESDAY): NOTHING})], "a run")
    assert publications.days_of([TABLE], [WEDNESDAY]) == [MONDAY, WEDNESDAY]
    assert publications.days_of(["bronze.toys__others"], [WEDNESDAY]) == []


def test_a_partition_keeps_the_file_that_brought_it() -> None:
    first, mended = Origin("toys/trips/2020-06-01.csv", "aa"), Origin("toys/trips/2020-06-01.csv", "bb")
    for content, origins in (
        (Content(3, 7), {(TABLE, MONDAY): first}),
        (Content(3, 8), {(TABLE, MONDAY): mended}),
        (Content(2, 9), {(TABLE, TUESDAY): first}),  # another night's run gave its late rows other verdicts
    ):
        record([published({(MONDAY, MONDAY): content})], "a run", None, origins)
    assert lines("revision", "source_file", "source_sha256") == [
        (1, first.file, "aa"),
        (2, first.file, "bb"),
        (3, first.file, "bb"),
    ]


def test_a_ledger_from_before_files_were_kept_is_read_and_goes_on() -> None:
    record([published({(MONDAY, MONDAY): Content(3, 7)})], "a run")
    old = publications.read().drop("source_file", "source_sha256")
    shutil.rmtree(str(delta.table_path("ledger", "publications")))
    delta.append("ledger", "publications", old)
    assert lines("revision", "source_sha256") == [(1, None)]
    record([published({(MONDAY, MONDAY): Content(3, 8)})], "a run", None, {(TABLE, MONDAY): Origin("a file", "bb")})
    assert lines("revision", "source_sha256") == [(1, None), (2, "bb")]


def test_what_a_table_holds_is_one_word_whatever_way_it_came_there() -> None:
    both = {(MONDAY, MONDAY): Content(3, 7), (TUESDAY, TUESDAY): Content(2, 5)}
    record([published(both), published({(MONDAY,): Content(3, 7)}, "silver.trips")], "at once")
    word = publications.held()[TABLE]
    shutil.rmtree(str(delta.table_path("ledger", "publications")))
    assert publications.held() == {}
    record([published({(TUESDAY, TUESDAY): Content(2, 5)})], "Tuesday first")
    record([published({(MONDAY, MONDAY): Content(4, 9)})], "a night that was wrong")
    assert publications.held()[TABLE] != word
    record([published({(MONDAY, MONDAY): Content(3, 7), (WEDNESDAY, WEDNESDAY): Content(1, 1)})], "mended")
    record([published({(WEDNESDAY, WEDNESDAY): NOTHING})], "nothing of Wednesday")
    assert publications.held() == {TABLE: word}
