"""Columns that are within a column of the file: read as the JSON of the whole, and taken out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import polars as pl

from include.contracts import shapes
from include.contracts.shapes import Shape
from include.contracts.source import Column, Feed
from include.ingestion import nested


@dataclass(frozen=True)
class Whole(Column):
    """A column of the file of which only what is at some paths is wanted."""

    within: Shape = field(default_factory=lambda: Shape("struct"))

    def __post_init__(self) -> None:
        """Nobody wrote it: there is nothing to check."""

    @property
    def shape(self) -> Shape:
        return self.within


def columns(feed: Feed) -> tuple[Column, ...]:
    """The columns that a reader takes from a file of ``feed``."""
    return _columns(feed.columns)


@lru_cache
def _columns(promised: tuple[Column, ...]) -> tuple[Column, ...]:
    within = [column for column in promised if column.path]
    wholes = [
        Whole(
            _name(name),
            "struct<>",
            "",
            source_name=name,
            form=next((one.form for one in within if one.in_file == name), None),
            within=shapes.of_paths([(one.path, one.type) for one in within if one.in_file == name]),
        )
        for name in dict.fromkeys(column.in_file for column in within)
    ]
    return (*(column for column in promised if not column.path), *wholes)


def _name(in_file: str) -> str:
    """A name that no column has."""
    return f"within {in_file}"


def taken_out(rows: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """``rows`` of ``columns`` with those that are promised."""
    if not any(column.path for column in feed.columns):
        return rows
    found, odd = list[pl.Series](), [rows["_odd"]]
    decoded: dict[str, list[Any]] = {}
    for column in feed.columns:
        if not column.path:
            found.append(rows[column.name])
            continue
        if column.in_file not in decoded:
            decoded[column.in_file], words = _decoded(rows[_name(column.in_file)], column.in_file)
            odd.append(words)
        texts, words = _at(decoded[column.in_file], column)
        found.append(texts)
        odd.append(words)
    said = pl.select(pl.concat_str(odd, separator="; ", ignore_nulls=True)).to_series()
    return pl.DataFrame([*found, rows["_text"], rows["_flaw"], said.set(said == "", None).alias("_odd")])


def _decoded(texts: pl.Series, name: str) -> tuple[list[Any], pl.Series]:
    nodes, words = list[Any](), list[str | None]()
    for text in texts:
        try:
            nodes.append(None if text is None else nested.DECODER.decode(text))
            words.append(None)
        except RecursionError:
            nodes.append(None)
            words.append(f"{name}: {nested.TOO_DEEP}")
    return nodes, pl.Series(words, dtype=pl.String)


def _at(nodes: Sequence[Any], column: Column) -> tuple[pl.Series, pl.Series]:
    """What is at the path of ``column``, as text, and what is wrong there, null where nothing is."""
    texts, odd = list[str | None](), list[str | None]()
    for node in nodes:
        one, words = nested.at(node, column.path)
        text, more = (None, words) if words else nested.text_of(one, column)
        texts.append(text)
        odd.append(f"{column.name}: {words or more}" if words or more else None)
    return pl.Series(column.name, texts, dtype=pl.String), pl.Series(odd, dtype=pl.String)
