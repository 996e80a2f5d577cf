"""Where in the text of a row each column stands, so that one value can be replaced and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from include.contracts.dialect import BLANKS, Dialect
from include.contracts.source import Column, Feed, Format

Span = tuple[int, int]


def span_of(raw: str, column: Column, feed: Feed, order: Sequence[str]) -> Span | None:
    """Begin and end of the value of ``column`` in the row ``raw``, without quotes; None where that cannot be told.

    ``order`` are the columns of the file, in their order.
    """
    if feed.format is Format.JSONL:
        return None if column.path else _of_key(raw, column.in_file)
    if feed.format is Format.FIXED:
        return _trimmed(raw, column.place - 1, column.place - 1 + column.width)
    if feed.format is Format.LOG:
        found = re.match(feed.dialect.log_pattern, raw)
        return found.span(column.in_file) if found else None
    spans = delimited(raw, feed.dialect)
    return spans[order.index(column.name)] if column.name in order and len(spans) == len(order) else None


def delimited(raw: str, dialect: Dialect) -> list[Span]:
    """The values of a row between delimiters, without their quotes."""
    found, at = list[Span](), 0
    while at >= 0:
        begin = _trimmed(raw, at, len(raw))[0] if dialect.trim else at
        if dialect.quote and raw.startswith(dialect.quote, begin):
            end = _closing(raw, begin + 1, dialect)
            found.append((begin + 1, end))
            at = raw.find(dialect.delimiter, end)
        else:
            at = raw.find(dialect.delimiter, begin)
            end = at if at >= 0 else len(raw)
            found.append(_trimmed(raw, begin, end) if dialect.trim else (begin, end))
        at = at + len(dialect.delimiter) if at >= 0 else -1
    return found


def _closing(raw: str, at: int, dialect: Dialect) -> int:
    """The place of the quote that ends the text beginning at ``at``."""
    while at < len(raw):
        is_escaped = raw[at] == dialect.escape and (dialect.escape != dialect.quote or raw[at + 1 : at + 2] == raw[at])
        if is_escaped:
            at += 2
        elif raw[at] == dialect.quote:
            return at
        else:
            at += 1
    return at


def _of_key(raw: str, name: str) -> Span | None:
    """The value of a key of a JSON object; None where the key is there twice, as in what is nested."""
    text = r'"((?:[^"\\]|\\.)*)"'
    found = list(re.finditer(rf'"{re.escape(name)}"\s*:\s*(?:{text}|([^\s,\[\]{{}}]+))', raw))
    if len(found) != 1:
        return None
    return found[0].span(1) if found[0][1] is not None else found[0].span(2)


def _trimmed(raw: str, begin: int, end: int) -> Span:
    """The same without blanks at both ends."""
    text = raw[begin:end]
    begin += len(text) - len(text.lstrip(BLANKS))
    return begin, begin + len(text.strip(BLANKS))
