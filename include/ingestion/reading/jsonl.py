"""JSON lines."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from include.contracts.source import Column, Feed
from include.ingestion import nested
from include.ingestion.nested import Number
from include.ingestion.reading import paths, text

if TYPE_CHECKING:
    from upath import UPath


def pieces(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    columns = paths.columns(feed)
    for block in text.texts(path, feed.dialect):
        lines = text.lines_of(block, feed.dialect)
        if "\r" in block:
            lines = lines.str.strip_suffix("\r")
        lines = lines.filter(lines.str.strip_chars(text.BLANK) != "")
        found = _quickly(block, lines, columns)
        yield _one_by_one(lines, columns) if found is None else found


# What JSON has for a value of each type where all is as it should be, and Polars for it.
_USUAL: dict[str, tuple[Any, pl.DataType]] = {
    "string": (str | None, pl.String()),
    "smallint": (int | None, pl.Int64()),
    "int": (int | None, pl.Int64()),
    "bigint": (int | None, pl.Int64()),
    "double": (float | None, pl.Float64()),
    "boolean": (bool | None, pl.Boolean()),
    "date": (str | None, pl.String()),
    "timestamp": (str | None, pl.String()),
    "binary": (str | None, pl.String()),
}


@lru_cache
def _decoder(columns: tuple[Column, ...], is_usual: bool) -> msgspec.json.Decoder[list[Any]]:
    """Of a list of objects, of which only what is named is kept; what an object lacks is null."""
    names = {f"c{place}": name for name, place in _places(columns).items()}
    fields = [(field, _kind(columns, name, is_usual), None) for field, name in names.items()]
    row: Any = msgspec.defstruct("Row", fields, rename=names, gc=False)
    return msgspec.json.Decoder(list[row], float_hook=Number)


def _places(columns: Sequence[Column]) -> dict[str, int]:
    """Which field of a decoded row each name of the file is."""
    return {name: n for n, name in enumerate(dict.fromkeys(column.in_file for column in columns))}


def _kind(columns: Sequence[Column], name: str, is_usual: bool) -> Any:
    """What is decoded of what the file calls ``name``: of what is nested, nothing."""
    column = next(one for one in columns if one.in_file == name)
    return msgspec.Raw | None if column.is_nested else _USUAL[column.type][0] if is_usual else Any


@contextmanager
def _without_collection() -> Iterator[None]:
    """Nothing made here refers to itself, and there is much of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _quickly(block: str, lines: pl.Series, columns: tuple[Column, ...]) -> pl.DataFrame | None:
    """The same as ``_one_by_one``, column by column; None where a value asks for a closer look."""
    if "\\u0000" in block:
        return None
    array = "[" + block.replace("\n", ",") + "]"
    # A double of JSON's would not have a decimal's digits.
    may_be_usual = all(column.kind in _USUAL or column.is_nested for column in columns)
    found = _decoded(array, columns, len(lines), is_usual=True) if may_be_usual else None
    # A number in quotes is a number as well, and what is no text is shown as one.
    found = found or _decoded(array, columns, len(lines), is_usual=False)
    if found is None:
        return None
    nothing = pl.lit(None, pl.String)
    return pl.DataFrame(found).with_columns(lines.alias("_text"), nothing.alias("_flaw"), nothing.alias("_odd"))


def _decoded(array: str, columns: tuple[Column, ...], rows: int, is_usual: bool) -> list[pl.Series] | None:
    """The columns of a JSON array of objects as text; None where it is none, or a value is not as it should be."""
    try:
        with _without_collection():
            found = _decoder(columns, is_usual).decode(array)
    except (msgspec.DecodeError, RecursionError):  # as of half a character, or a blank line
        return None
    if len(found) != rows:
        return None
    texts, places = [], _places(columns)
    for column in columns:
        values = list(map(attrgetter(f"c{places[column.in_file]}"), found))
        if column.is_nested:
            text: pl.Series | None = _raw(values)
        else:
            text = _usual(values, column) if is_usual else _texts(values, column)
        if text is None:
            return None
        texts.append(text.alias(column.name))
    return texts


def _raw(values: list[msgspec.Raw | None]) -> pl.Series:
    texts = (None if value is None else bytes(value).decode() for value in values)
    return pl.Series([None if text == "null" else text for text in texts], dtype=pl.String)


def _usual(values: list[Any], column: Column) -> pl.Series | None:
    try:
        return pl.Series(values, dtype=_USUAL[column.type][1]).cast(pl.String)
    except (OverflowError, TypeError):
        return None


def _texts(values: list[Any], column: Column) -> pl.Series | None:
    """``values`` as text, where nothing is odd about any of them."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        return pl.Series(values, dtype=pl.String)
    if column.type == "boolean" and kinds == {bool}:
        return pl.Series(values, dtype=pl.Boolean).cast(pl.String)
    if column.type in ("string", "boolean", "binary") or not kinds <= {str, int, Number}:
        return None
    if kinds == {Number}:
        return pl.Series(values, dtype=pl.String)
    return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)


def _one_by_one(lines: pl.Series, columns: Sequence[Column]) -> pl.DataFrame:
    """By what JSON says a value is: 5 is no text and "5" no number, an object is not its text."""
    values: dict[str, list[str | None]] = {column.name: [] for column in columns}
    odds: list[str | None] = []
    for line in lines:
        found, odd = dict(nested.DECODER.decode(line)), []
        for column in columns:
            value = found.get(column.in_file)
            is_text = isinstance(value, str) and not column.is_nested
            text, deep = (value, "") if value is None or is_text else nested.json_of(value)
            if deep:
                odd.append(f"{column.name}: {deep}")
            if text is not None and not column.is_nested:
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
    elif column.type in ("string", "binary") or (column.type == "boolean" and not isinstance(value, bool)):
        odd.append(f"{column.name}: {text} is no JSON {column.type}")
    return text, odd
