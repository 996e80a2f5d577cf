"""How many pages a PDF has, and that HTML is a whole document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.contracts.source import Feed
from include.ingestion import documents

if TYPE_CHECKING:
    from upath import UPath


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """The rows, and the columns of the feed: a document has them all. Raises UnreadableFileError."""
    (rows,) = documents.run(path, f"count {feed.format}")
    return rows, [column.name for column in feed.columns]
