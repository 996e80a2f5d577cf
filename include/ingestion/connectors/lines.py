"""A landing file of JSON lines."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import TYPE_CHECKING

from include.ingestion.files import opened

if TYPE_CHECKING:
    from upath import UPath


def write(part: UPath, zipped: bool, lines: Iterable[str]) -> int:
    """Write ``lines`` and return how many. The same ones make the same bytes."""
    count = 0
    with opened(part, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if zipped else raw as file:
        for line in lines:
            file.write(line.encode() + b"\n")
            count += 1
        if not count:
            # A file without a byte could also be a damaged one.
            file.write(b"\n")
    return count
