"""Files of a feed, as tests of formats land them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from upath import UPath

from include.contracts.source import Feed
from tests.ingestion.corpus import DAY

Put = Callable[[Feed, bytes], UPath]


@pytest.fixture
def put(home: Path) -> Put:
    """Writes the file of a feed of ``DAY``, and returns where it is."""

    def write(feed: Feed, content: bytes) -> UPath:
        path = UPath(home / "landing" / "toys" / feed.name / f"{DAY}.{feed.extension}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write
