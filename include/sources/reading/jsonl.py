"""JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from include.sources.reading import text
from include.sources.spec import Column, Feed

if TYPE_CHECKING:
    from upath import UPath


def pieces(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    for lines in text.blocks(path, feed.dialect):
        lines = lines.str.strip_suffix("\r")
        yield _values(lines.filter(lines.str.strip_chars(text.BLANK) != ""), feed.columns)


class Number(str):
    """A number of JSON, as it is written."""


# Whoever looked through the file has refused what only a lenient reader takes.
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)


def _values(lines: pl.Series, columns: Sequence[Column]) -> pl.DataFrame:
    """By what JSON says a value is: 5 is no text and "5" no number, an object is not its text."""
    values: dict[str, list[str | None]] = {column.name: [] for column in columns}
    odds: list[str | None] = []
    for line in lines:
        found, odd = _DECODER.decode(line), []
        for column in columns:
            value = found.get(column.in_file)
            text = None if value is None else value if isinstance(value, str) else _as_json(value)
            if text is not None:
                text, wrong = _odd_json(column, value, text)
                odd += wrong
            values[column.name].append(text)
        odds.append("; ".join(odd) or None)
    texts = pl.DataFrame(values, {column.name: pl.String() for column in columns})
    nothing = pl.lit(None, pl.String).alias("_flaw")
    return texts.with_columns(lines.alias("_text"), nothing, pl.Series("_odd", odds, dtype=pl.String))


def _odd_json(column: Column, value: Any, text: str) -> tuple[str, list[str]]:
    """``text`` such that it can be written, and what is wrong with the ``value`` that it does not show."""
    odd = []
    if isinstance(value, str) and not isinstance(value, Number):
        if "\0" in text:
            odd.append(f"{column.name}: holds a zero byte")
        if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
            odd.append(f"{column.name}: holds half a character")
            text = text.encode(errors="backslashreplace").decode()
    elif column.type == "string" or (column.type == "boolean" and not isinstance(value, bool)):
        odd.append(f"{column.name}: {text} is no JSON {column.type}")
    return text, odd


def _as_json(value: Any) -> str:
    """A decoded value as JSON again, its numbers as they were."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_as_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_json, value)) + "]"
    return str(value) if isinstance(value, Number) else json.dumps(value)
