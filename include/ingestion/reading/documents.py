"""PDF, page by page, and HTML: the text, and what the document says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from include.contracts.source import Feed
from include.ingestion import documents
from include.ingestion.reading import python

if TYPE_CHECKING:
    from upath import UPath


def pieces(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    found: list[dict[str, Any]] = documents.run(path, f"read {feed.format}")
    names = [column.name for column in feed.columns]
    rows = [[_clean(row.get(column.in_file)) for column in feed.columns] for row in found]
    yield python.frame(rows, feed, names)


def _clean(value: Any) -> Any:
    """What a damaged font makes of a letter cannot be written as one."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
