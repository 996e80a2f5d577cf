"""The lines of a landing file, some megabytes at a time."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.dialect import Dialect
from include.ingestion.files import unpacked

if TYPE_CHECKING:
    from upath import UPath

BLOCK = 16 << 20
"""Bytes that are read at once."""

BLANK = "".join(map(chr, range(ord(" ") + 1)))
"""What a line that is no row is made of."""


def blocks(path: UPath, dialect: Dialect) -> Iterator[pl.Series]:
    """The lines of ``path``; of those that end in CRLF the CR is still there."""
    for block in texts(path, dialect):
        yield lines_of(block, dialect)


def lines_of(block: str, dialect: Dialect) -> pl.Series:
    """The lines of one of ``texts``."""
    return pl.Series("_text", [block]).str.split(_end(dialect)).explode()


def _end(dialect: Dialect) -> str:
    return dialect.line_end if dialect.line_end not in ("", "any") else "\n"


def texts(path: UPath, dialect: Dialect) -> Iterator[str]:
    """The text of ``path`` in pieces of whole lines, without the end of the last one."""
    decoder: codecs.IncrementalDecoder | io.IncrementalNewlineDecoder
    decoder = codecs.getincrementaldecoder(dialect.encoding)("strict")
    if dialect.line_end == "any":
        decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
    rest, first = "", True
    with unpacked(path) as file:
        while True:
            piece = file.read(BLOCK)
            head, end, rest = (rest + decoder.decode(piece, final=not piece)).rpartition(_end(dialect))
            if first and (head or not piece):
                head, first = head.removeprefix("\ufeff"), False
                if not end:
                    rest = rest.removeprefix("\ufeff")
            if end:
                yield head
            if not piece:
                break
    if rest:
        yield rest
