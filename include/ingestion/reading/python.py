"""Values that Python has as objects, each written as a CSV would write it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from include.contracts.source import Column, Feed, Format
from include.ingestion import nested


def frame(
    rows: Sequence[Sequence[Any]], feed: Feed, names: Sequence[str], columns: Sequence[Column] = ()
) -> pl.DataFrame:
    """``rows``, whose values have the ``names``, as a piece of a file with ``columns``, or those of its feed."""
    places = {name: place for place, name in enumerate(names)}
    odd: list[list[str]] = [[] for _ in rows]
    texts = []
    for column in columns or feed.columns:
        place = places.get(column.name)
        values = [None] * len(rows) if place is None else [row[place] for row in rows]
        texts.append(pl.Series(column.name, _texts(values, column, feed, odd), dtype=pl.String))
    nothing = pl.lit(None, pl.String)
    said = pl.Series("_odd", ["; ".join(one) or None for one in odd], dtype=pl.String)
    return pl.DataFrame(texts).with_columns(nothing.alias("_text"), nothing.alias("_flaw"), said)


def _texts(values: Sequence[Any], column: Column, feed: Feed, odd: list[list[str]]) -> list[str | None]:
    found: list[str | None] = []
    dialect, is_untyped = feed.dialect, feed.format in (Format.XLSX, Format.XML)
    for value, wrong in zip(values, odd, strict=True):
        if isinstance(value, str):
            value = value.strip() if dialect.trim else value
            value = None if is_untyped and value in dialect.nulls else value
        if value is None:
            found.append(None)
            continue
        if column.is_nested:
            found.append(_nested(value, column, is_untyped, wrong))
            continue
        written = _written(value, column, feed)
        if "\0" in written:
            wrong.append(f"{column.name}: holds a zero byte")
        elif column.type == "binary" and not isinstance(value, str | bytes):
            wrong.append(f"{column.name}: {written[:100]} is no binary")
        elif isinstance(value, dict | list | bytes) and column.type == "string":
            wrong.append(f"{column.name}: {written[:100]} is no text")
        found.append(written)
    return found


def _nested(value: Any, column: Column, is_untyped: bool, wrong: list[str]) -> str | None:
    """``value`` as JSON; in a sheet or an element its text is that already."""
    if is_untyped and isinstance(value, str):
        return value
    try:
        return nested.written(value, column.shape, column.form)
    except RecursionError:
        wrong.append(f"{column.name}: {nested.TOO_DEEP}")
        return None


def _written(value: Any, column: Column, feed: Feed) -> str:
    """``value`` as the feed writes one of its kind."""
    if isinstance(value, bytes) and column.type == "binary":
        return nested.of_bytes(value, column.form)
    if isinstance(value, bool):
        return (feed.dialect.true if value else feed.dialect.false)[0]
    if isinstance(value, int | float | Decimal):
        return text(value).replace(".", feed.dialect.decimal) if column.type != "string" else text(value)
    if isinstance(value, datetime | date):
        if column.patterns:
            return value.strftime(column.patterns[0])
        if column.type == "date" and isinstance(value, datetime) and value.time() == time():
            return value.date().isoformat()
        if column.type == "timestamp" and not isinstance(value, datetime):
            return f"{value.isoformat()}T00:00"
    return text(value)


def text(value: Any) -> str:
    """``value`` as people write it: a whole number without a fraction, a moment as ISO 8601 has it."""
    match value:
        case str():
            return value
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case float():
            return repr(value)
        case Decimal():
            return format(value, "f")
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            seconds = value.total_seconds()
            return str(int(seconds)) if seconds.is_integer() else repr(seconds)
        case bytes():
            return value.decode("latin-1")
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
