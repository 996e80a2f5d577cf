"""The rows of a file in which each line is one: of fixed width, or of a log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.sources.counting.delimited import Table
from include.sources.spec import Feed

if TYPE_CHECKING:
    from upath import UPath


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line of the table that is neither blank nor a comment. What a log's pattern has beside is no news."""
    return sum(1 for _ in records(path, feed)), [column.name for column in feed.columns]


def records(path: UPath, feed: Feed) -> Iterator[tuple[int, str]]:
    """The number of each of them, and its text."""
    table = Table(path, feed, feed.dialect.of_lines)
    return table.rows(table.table(), 0)
