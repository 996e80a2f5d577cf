"""Looking through landing files: how many rows each has, and which columns, before anything is read.

By other code than reads them, so that a row which a reader loses is missed. It goes through a file in plain Python and
knows lines, records and names; what is in a value nobody asks here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from include.contracts.source import Feed, Finished, Format
from include.contracts.wide import table_of
from include.ingestion.counting import delimited, documents, excel, jsonl, lines, parquet, records, wide
from include.ingestion.files import UnreadableFileError, unpacked

if TYPE_CHECKING:
    from upath import UPath

COUNTERS: dict[Format, Callable[[UPath, Feed], tuple[int, list[str]]]] = {
    Format.CSV: delimited.count,
    Format.JSONL: jsonl.count,
    Format.PARQUET: parquet.count,
    Format.FIXED: lines.count,
    Format.LOG: lines.count,
    Format.XLSX: excel.count,
    Format.JSON: records.of_json,
    Format.XML: records.of_xml,
    Format.ORC: records.of_orc,
    Format.AVRO: records.of_avro,
    Format.PDF: documents.count,
    Format.HTML: documents.count,
}
RECORDS: dict[Format, Callable[[UPath, Feed], Iterator[tuple[int, str]]]] = {
    Format.CSV: delimited.records,
    Format.JSONL: jsonl.records,
    Format.FIXED: lines.records,
    Format.LOG: lines.records,
}


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """The rows of the file at ``path``, and its columns in their order by the names of the feed; others by the file's.

    Raises UnreadableFileError where it is damaged or not what ``feed`` promises.
    """
    if feed.may_be_empty and feed.finished is not Finished.LINE_END and feed.format is not Format.PARQUET:
        with unpacked(path) as file:
            if not file.read(1):
                return 0, [column.name for column in feed.columns]
    if feed.wide:
        return wide.count(path, feed, feed.wide, COUNTERS[feed.format])
    return COUNTERS[feed.format](path, feed)


def line_numbers(path: UPath, feed: Feed, raws: Collection[str]) -> dict[str, int]:
    """The line of ``path`` in which each of ``raws`` begins, as the quarantine has them; without those not found.

    Numbered from 1, as editors do. Of equal rows the first. Only formats of lines have them.
    """
    found: dict[str, int] = {}
    by_line: dict[str, set[str]] = {}
    for raw in raws:
        by_line.setdefault(raw, set()).add(raw)
        if feed.wide:
            by_line.setdefault(wide.line_of(raw), set()).add(raw)
    table = table_of(feed, feed.wide.named) if feed.wide else feed
    if records := RECORDS.get(feed.format):
        # By now it may be another file; the lines are an aid, and nothing waits for them.
        with suppress(UnreadableFileError):
            for number, record in records(path, table):
                for raw in by_line.get(record, ()):
                    found.setdefault(raw, number)
    return found
