"""A lake with the demonstration's rows, written without any engine: what each is to compute the same from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from examples.replay import files_of_night
from include.sources.flights.spec import SOURCE

TYPES: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "double": pl.Float64(),
    "int": pl.Int32(),
    "string": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
}


def _typed(name: str, type_: str) -> pl.Expr:
    """The column ``name`` of a landing file in the type of its spec."""
    if type_ == "timestamp":
        return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    return pl.col(name).cast(TYPES[type_])


def bronze(lake: Path, nights: Iterable[date]) -> list[str]:
    """Write the tables of ``flights`` as ingestion would have by the end of ``nights``; their names."""
    feeds = {feed.name: feed for feed in SOURCE.feeds}
    rows: dict[str, list[pl.DataFrame]] = {}
    for night in nights:
        for feed, day, frame in files_of_night(night):
            known = frame.select(_typed(column.name, column.type) for column in feeds[feed].columns)
            kept = {
                "partition_day": pl.lit(day),
                "night": pl.lit(night),
                "source_file": pl.lit(f"flights/{feed}/{day}.csv"),
                "arrived_at": pl.lit(datetime(night.year, night.month, night.day, 23, tzinfo=UTC)),
            }
            rows.setdefault(feed, []).append(known.with_columns(**kept).cast({"arrived_at": pl.Datetime("us", "UTC")}))
    for feed, frames in rows.items():
        write(lake, f"bronze.flights__{feed}", pl.concat(frames), ["partition_day", "night"])
    return [f"bronze.flights__{feed}" for feed in rows]


def write(lake: Path, table: str, rows: pl.DataFrame, by: list[str]) -> None:
    """Make ``rows`` the content of ``<layer>.<name>``."""
    rows.write_delta(lake.joinpath(*table.split(".")), mode="overwrite", delta_write_options={"partition_by": by})
