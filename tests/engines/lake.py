"""A lake with the demonstration's rows, written without any engine: what each is to compute the same from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from examples import seattle
from examples.replay import files_of_night
from include.contracts.source import Column
from include.sources import source

TYPES: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "double": pl.Float64(),
    "int": pl.Int32(),
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
}


def _typed(column: Column) -> pl.Expr:
    """A column of a landing file, as its spec has it."""
    in_file = pl.col(column.in_file).alias(column.name)
    if column.type == "timestamp":
        return in_file.str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    return in_file.str.to_date(column.patterns[0]) if column.patterns else in_file.cast(TYPES[column.type])


def bronze(lake: Path, nights: Iterable[date]) -> list[str]:
    """Write the tables of the sources as ingestion would have by the end of ``nights``; their names."""
    rows: dict[str, list[pl.DataFrame]] = {}
    for night in nights:
        arrived = [("flights", *file) for file in files_of_night(night)]
        arrived.append(("seattle_weather", "daily", night, seattle.file_of_night(night)))
        for of, feed, day, frame in arrived:
            known = frame.select(_typed(column) for column in source(of).feed(feed).columns)
            kept = {
                "partition_day": pl.lit(day),
                "ingestion_date": pl.lit(night),
                "source_file": pl.lit(f"{of}/{feed}/{day}.csv"),
                "arrived_at": pl.lit(datetime(night.year, night.month, night.day, 23, tzinfo=UTC)),
            }
            rows.setdefault(f"bronze.{of}__{feed}", []).append(
                known.with_columns(**kept).cast({"arrived_at": pl.Datetime("us", "UTC")})
            )
    for table, frames in rows.items():
        write(lake, table, pl.concat(frames), ["partition_day", "ingestion_date"])
    return list(rows)


def write(lake: Path, table: str, rows: pl.DataFrame, by: list[str]) -> None:
    """Make ``rows`` the content of ``<layer>.<name>``."""
    rows.write_delta(lake.joinpath(*table.split(".")), mode="overwrite", delta_write_options={"partition_by": by})
