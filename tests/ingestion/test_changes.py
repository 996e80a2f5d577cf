"""A feed of changes: every change of a night is kept, in all formats, and a night may have none. To bronze and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.contracts.source import Column, Feed, Format, Mode, Source
from include.core.partitions import Partitions
from include.governance import catalogue
from include.ingestion import ingest, landing
from include.lake import delta
from tests.ingestion import judged

DAY, NEXT = date(2020, 6, 1), date(2020, 6, 2)
COLUMNS = (
    Column("number", "int", "which trip", required=True),
    Column("kind", "string", "by what, after the change"),
    Column("op", "string", "what was done", required=True, values=("insert", "update", "delete")),
    Column("sequence", "bigint", "the order of changes", required=True),
)
LINES = Feed(
    "lines",
    "changes",
    COLUMNS,
    key=("number",),
    mode=Mode.UPSERT,
    op="op",
    sequence="sequence",
    format=Format.JSONL,
)
TEXT = replace(LINES, name="text", format=Format.CSV)
TABLE = replace(LINES, name="table", format=Format.PARQUET)
SOURCE = Source("moves", "moves", "tests", "anybody", "0 0 * * *", 6, DAY, (LINES, TEXT, TABLE))
CHANGES: list[tuple[int, str | None, str, int]] = [
    (1, "bus", "insert", 1),
    (1, "tram", "update", 2),
    (1, "bus", "update", 3),
    (2, "bus", "insert", 4),
    (1, None, "delete", 5),
]
NAMES = [column.name for column in COLUMNS]


pytestmark = pytest.mark.usefixtures("module_home")


def put(feed: Feed, day: date, changes: list[tuple[Any, ...]]) -> Path:
    path = landing.path_of(SOURCE, feed, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    match feed.format:
        case Format.CSV:
            rows = [",".join("" if value is None else str(value) for value in change) for change in changes]
            path.write_text("\n".join([",".join(NAMES), *rows]) + "\n")
        case Format.JSONL:
            # Without a byte a file could also be a damaged one.
            path.write_text("".join(json.dumps(dict(zip(NAMES, c, strict=True))) + "\n" for c in changes) or "\n")
        case Format.PARQUET:
            schema = dict(zip(NAMES, (pl.Int32, pl.String, pl.String, pl.Int64), strict=True))
            pl.DataFrame(changes, schema=schema, orient="row").write_parquet(path)
    return path


def ingested(night: date) -> dict[str, list[tuple[Any, ...]]]:
    """What of ``night`` is in bronze after it was ingested, by feed, in the order of the changes."""
    nights = Partitions(night, night)
    plan = landing.plan(SOURCE, nights)
    candidates = ingest.load(SOURCE, nights, plan)
    counts = ingest.audit(SOURCE, nights, plan, candidates)
    ingest.publish_all(SOURCE, nights, plan, candidates, counts)
    return {
        feed.name: delta.read_days("bronze", f"moves__{feed.name}", night, night, columns=NAMES, day="partition_day")
        .sort("sequence")
        .rows()
        for feed in SOURCE.feeds
    }


def test_every_change_of_a_night_is_kept_and_a_night_may_have_none() -> None:
    for feed in SOURCE.feeds:
        put(feed, DAY, CHANGES)
        put(feed, NEXT, [])
    assert ingested(DAY) == {feed.name: CHANGES for feed in SOURCE.feeds}
    assert ingested(NEXT) == {feed.name: [] for feed in SOURCE.feeds}
    assert ingest.ingested(SOURCE, Partitions(NEXT, NEXT)) == ["lines", "text", "table"], "it counts as ingested"
    terms = delta.read_days("bronze", "moves__completeness", NEXT, NEXT, day="ingestion_date")
    assert terms.select("rows_in", "published", "quarantined", "deduplicated").rows() == [(0, 0, 0, 0)] * 3


def test_two_changes_of_one_key_and_sequence_that_differ_are_both_broken() -> None:
    path = put(LINES, DAY, [*CHANGES, (1, "ship", "update", 3), (2, "bus", "insert", 4)])
    rows = judged.rows(LINES, path)
    broken = sorted(row["kind"] for row in rows if row["_reason"])
    assert broken == ["bus", "ship"]
    assert {row["_reason"] for row in rows} == {None, "another row has the same number, sequence and differs"}
    assert [row["sequence"] for row in rows if row["_copy"]] == [4]


def test_a_night_of_changes_that_has_not_come_is_missed() -> None:
    """None changed is said by an empty file: the absence of one says nothing."""
    day = date(2020, 7, 1)
    put(LINES, day, CHANGES)
    put(TEXT, day, [])
    with pytest.raises(landing.MissingFileError, match=r"moves/table/2020-07-01\.parquet"):
        landing.plan(SOURCE, Partitions(day, day))


@pytest.mark.parametrize("feed", SOURCE.feeds, ids=lambda feed: feed.name)
def test_a_file_without_a_byte_is_damaged_all_the_same(feed: Feed) -> None:
    path = put(feed, date(2020, 8, 1), [])
    assert landing.look_through(path, feed)["rows"] == 0
    path.write_bytes(b"")
    with pytest.raises(landing.UnreadableFileError, match="the file is empty"):
        landing.look_through(path, feed)["rows"]


def test_its_page_says_what_it_is() -> None:
    page = catalogue.page(SOURCE)
    assert "| [lines](#lines) | changes | number, sequence |" in page
    assert "each file is the changes of one business day, and every night brings one, if only an empty one" in page
    assert "`op` says what a change is, `sequence` in which order they were made." in page
