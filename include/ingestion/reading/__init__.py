"""Reading landing files: piece by piece, every value still as text. One reader a format.

A piece is a frame with the feed's columns as text and

- ``_text``: the row as it is written, null where there is no such text;
- ``_flaw``: why the row could not be taken apart into the columns, null where it could;
- ``_odd``: what is wrong with its values that their texts no longer show.

The text of a nested value is its JSON.

Memory does not grow with the file. Rows are counted elsewhere (``counting``), by other code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.source import Feed, Format
from include.contracts.wide import cells_of, table_of
from include.ingestion.reading import delimited, documents, excel, jsonl, lines, parquet, paths, records, wide

if TYPE_CHECKING:
    from upath import UPath

READERS: dict[Format, Callable[[UPath, Feed, Sequence[str]], Iterator[pl.DataFrame]]] = {
    Format.CSV: delimited.pieces,
    Format.JSONL: jsonl.pieces,
    Format.PARQUET: parquet.pieces,
    Format.FIXED: lines.of_fixed_width,
    Format.LOG: lines.of_log,
    Format.XLSX: excel.pieces,
    Format.JSON: records.of_json,
    Format.XML: records.of_xml,
    Format.ORC: records.of_orc,
    Format.AVRO: records.of_avro,
    Format.PDF: documents.pieces,
    Format.HTML: documents.pieces,
}


def pieces(path: UPath, feed: Feed, there: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``, which has the columns ``there``, or those of its feed, in that order.

    Raises UnreadableFileError, naming the file, where it cannot be read after all.
    """
    if not feed.wide:
        for rows in READERS[feed.format](path, feed, there):
            yield paths.taken_out(rows, feed)
        return
    table = table_of(feed, feed.wide.named or [name for name in there if feed.wide.has(name)])
    cells = {column.in_file: column for column in cells_of(table)}
    there = [cells[name].name if name in cells else name for name in there]
    wanted = [one for one in cells.values() if not there or one.name in there]
    for rows in READERS[feed.format](path, table, there):
        yield wide.unpivoted(paths.taken_out(rows, table), feed, feed.wide, wanted)
