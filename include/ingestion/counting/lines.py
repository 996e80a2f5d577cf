"""The rows of a file in which each line is one: of fixed width, or of a log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.contracts.source import Feed
from include.ingestion.counting.delimited import Table, plain_rows

if TYPE_CHECKING:
    from upath import UPath


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line of the table that is neither blank nor a comment. What a log's pattern has beside is no news."""
    rows = plain_rows(path, feed, feed.dialect.of_lines)
    if rows is None:
        rows = sum(1 for _ in records(path, feed))
    return rows, [column.name for column in feed.columns]


def records(path: UPath, feed: Feed) -> Iterator[tuple[int, str]]:
    """The number of each of them, and its text."""
    table = Table(path, feed, feed.dialect.of_lines)
    return table.rows(table.table(), 0)
