"""The upstream of ``seattle_weather``: every night a file with the line of its day, as the data set has it.

Not part of the platform, which knows landing files only. The data is ``seattle-weather.csv`` of the package
``vega_datasets``: 1,461 days, 2012 to 2015.
"""

from __future__ import annotations

from datetime import date
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from examples.replay import folder_of, write
from include.core.partitions import Partitions

if TYPE_CHECKING:
    from upath import UPath

FIRST_TO_LAST = Partitions.parse("2012-01-01..2015-12-31")


@cache
def _days() -> pl.DataFrame:
    """The data set, all of it as text: a file has its numbers and dates as they are written there."""
    return pl.read_csv(folder_of("vega_datasets") / "_data" / "seattle-weather.csv", infer_schema=False)


def file_of_night(night: date) -> pl.DataFrame:
    """The rows of the file that arrives in ``night``: one, and for a day outside the data none."""
    return _days().filter(pl.col("date") == f"{night:%Y/%m/%d}")


def replay(landing: UPath, nights: Partitions) -> int:
    """Write the landing files of ``nights`` below ``landing/seattle_weather``; returns how many nights have one."""
    count = 0
    for night in nights.days:
        rows = file_of_night(night)
        if not rows.is_empty():
            write(landing / "seattle_weather" / "daily" / f"{night}.csv", rows)
            count += 1
    return count
