"""Cells of wide tables as rows, whatever the format of their file."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from include.contracts.source import Column, Feed
from include.contracts.wide import CELL, Wide
from include.ingestion import values


def unpivoted(rows: pl.DataFrame, feed: Feed, wide: Wide, cells: Sequence[Column]) -> pl.DataFrame:
    """A piece of a file of ``feed`` that has ``cells``, with one row for each; a row that is broken stays one."""
    names = [column.name for column in cells]
    beside = [name for name in rows.columns if name not in names]
    whole, broken = rows.filter(pl.col("_flaw").is_null()), rows.filter(pl.col("_flaw").is_not_null())
    found = whole.unpivot(on=names, index=beside, variable_name="_cell", value_name=wide.value)
    if not wide.keep_empty:
        value = next(column for column in feed.columns if column.name == wide.value)
        found = found.filter(values.missing(value, feed.dialect, pl.col(wide.value)).is_not_null())
    called = {column.name: wide.name_of(column.in_file) for column in cells}
    found = found.with_columns(_odd_of_cells(found, wide.value))
    found = found.with_columns(pl.col("_cell").replace_strict(called, return_dtype=pl.String).alias(wide.into))
    nothing = pl.lit(None, pl.String)
    broken = broken.select(*beside, nothing.alias(wide.into), nothing.alias(wide.value))
    order = [*(column.name for column in feed.columns), "_text", "_flaw", "_odd"]
    return pl.concat([found.select(order), broken.select(order)])


def _odd_of_cells(rows: pl.DataFrame, value: str) -> pl.Series:
    """What is odd about each of ``rows``: its own cell, and the columns beside, but no other cell of its line."""
    odd = rows["_odd"]
    if odd.null_count() == len(odd):
        return odd
    said = [_own(one, cell, value) if one else None for one, cell in zip(odd, rows["_cell"], strict=True)]
    return pl.Series("_odd", said, dtype=pl.String)


def _own(odd: str, cell: str, value: str) -> str | None:
    kept = []
    for one in odd.split("; "):
        column, colon, what = one.partition(": ")
        if column == cell:
            kept.append(f"{value}{colon}{what}")
        elif not column.startswith(CELL):
            kept.append(one)
    return "; ".join(kept) or None
