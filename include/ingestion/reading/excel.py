"""A sheet of Excel, or a range of one. A formula is its last result; a number is not how it is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any

import polars as pl

from include.contracts.source import Feed
from include.ingestion.files import UnreadableFileError, opened
from include.ingestion.reading import python
from include.ingestion.sheets import part_of

if TYPE_CHECKING:
    from upath import UPath

BATCH = 50_000
"""Rows that are taken at once."""


def pieces(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    from python_calamine import CalamineError, CalamineWorkbook

    part, names = part_of(feed.within), there or [column.name for column in feed.columns]
    with opened(path) as file:
        try:
            book = CalamineWorkbook.from_filelike(file)
            sheet = book.get_sheet_by_name(part.sheet) if part.sheet else book.get_sheet_by_index(0)
        except CalamineError:
            raise UnreadableFileError(f"{path}: it cannot be read as Excel. Save it anew, and clear the run") from None
        # Its rows begin with the first one that has anything in it.
        first = sheet.start[0] if sheet.start else 0
        rows = _rows(enumerate(sheet.iter_rows(), start=first + 1), feed, len(names))
        for some in batched(rows, BATCH):
            yield python.frame(some, feed, names)


def _rows(numbered: Iterator[tuple[int, list[Any]]], feed: Feed, width: int) -> Iterator[list[Any]]:
    """The cells of each row after the header, within the part that is meant, and as many as there are columns."""
    part, left = part_of(feed.within), feed.dialect.header
    for number, cells in numbered:
        if number < part.top + feed.dialect.skip_lines or (part.bottom and number > part.bottom):
            continue
        own = [None if cell == "" else cell for cell in cells[part.left - 1 : part.right or None]]
        there = [cell for cell in own if cell is not None]
        if not there:
            continue
        if feed.dialect.ends_before and re.search(feed.dialect.ends_before, python.text(there[0])):
            return
        if left:
            left -= 1
        else:
            yield [*own[:width], *[None] * (width - len(own))]
