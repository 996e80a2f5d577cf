"""Files in which each line is a row: of fixed width, or of a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.dialect import BLANKS, Long
from include.contracts.source import Feed
from include.ingestion.reading import delimited

if TYPE_CHECKING:
    from upath import UPath

_TEXT = pl.col("_text")


def of_fixed_width(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Each column from its place on, without the blanks that fill it up. Raises UnreadableFileError."""
    end = max(column.place - 1 + column.width for column in feed.columns)
    fits = pl.lit(True) if feed.dialect.long_rows is Long.CUT else _TEXT.str.strip_chars_end().str.len_chars() <= end
    has_tab = _TEXT.str.strip_chars_end().str.contains("\t", literal=True)  # nobody knows how wide one is
    for lines in delimited.records(path, feed.dialect.of_lines):
        values = [
            delimited.value(_TEXT.str.slice(one.place - 1, one.width).str.strip_chars(BLANKS), feed.dialect)
            for one in feed.columns
        ]
        yield _frame(
            lines.to_frame(), values, feed, fits & ~has_tab, f"longer than its {end} signs, or with a tab in it"
        )


def of_log(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Each column by the group of its name. Raises UnreadableFileError."""
    groups = _TEXT.str.extract_groups(rf"\A(?P<_line>{feed.dialect.log_pattern})\z")
    values = [delimited.value(pl.col("_groups").struct.field(one.in_file), feed.dialect) for one in feed.columns]
    fits = pl.col("_groups").struct.field("_line").is_not_null()
    for lines in delimited.records(path, feed.dialect.of_lines):
        rows = lines.to_frame().with_columns(groups.alias("_groups"))
        yield _frame(rows, values, feed, fits, "the line is not as the pattern says")


def _frame(rows: pl.DataFrame, values: Sequence[pl.Expr], feed: Feed, fits: pl.Expr, flaw: str) -> pl.DataFrame:
    named = [value.alias(column.name) for value, column in zip(values, feed.columns, strict=True)]
    return rows.select(
        *named, _TEXT, pl.when(~fits).then(pl.lit(flaw)).alias("_flaw"), pl.lit(None, pl.String).alias("_odd")
    )
