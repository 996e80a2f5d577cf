"""Features and labels of weather_temperature once more, without SQL: from the hours that landed, as the catalogue words
them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, timedelta

from tests.use_cases.lakes import Row


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def features(hours: list[Row], day: date) -> list[Row]:
    """The rows of ``day``: one an airport of which an hour of the 7 days before had arrived by the evening before."""
    known = [hour for hour in hours if hour["ingestion_date"] < day and 1 <= (day - hour["weather_date"]).days <= 28]
    lately = {hour["origin"] for hour in known if (day - hour["weather_date"]).days <= 7}
    return [_row([hour for hour in known if hour["origin"] == origin], origin, day) for origin in sorted(lately)]


def _row(known: list[Row], origin: str, day: date) -> Row:
    def of(column: str, first: int, last: int) -> list[float | None]:
        """Values of the hours of ``first`` to ``last`` days ago, in their order."""
        within = [hour for hour in known if first <= (day - hour["weather_date"]).days <= last]
        return [hour[column] for hour in sorted(within, key=lambda hour: hour["observed_at"])]

    yesterday = [value for value in of("temp", 1, 1) if value is not None]
    temp, pressure = mean(yesterday), mean(of("pressure", 1, 1))
    angle = 2 * math.pi * day.timetuple().tm_yday / 365
    return {
        "origin": origin,
        "weather_date": day,
        "known_from": max(hour["ingestion_date"] for hour in known),
        "no_change_f": 0.0,
        "temp_mean_f_1d": temp,
        "temp_last_gap_f_1d": less(yesterday[-1], temp) if yesterday else None,
        "temp_range_f_1d": max(yesterday) - min(yesterday) if yesterday else None,
        "temp_change_f_2d": less(temp, mean(of("temp", 2, 2))),
        **{f"temp_gap_f_{days}d": less(mean(of("temp", 1, days)), temp) for days in (3, 7, 28)},
        "pressure_mean_mb_1d": pressure,
        "pressure_change_mb_2d": less(pressure, mean(of("pressure", 2, 2))),
        "humid_mean_pct_1d": mean(of("humid", 1, 1)),
        "wind_mean_mph_1d": mean(of("wind_speed", 1, 1)),
        "season_sine": math.sin(angle),
        "season_cosine": math.cos(angle),
    }


def labels(hours: list[Row], day: date) -> list[Row]:
    """The rows of ``day``: one an airport that has a temperature of it, and of the day before by its evening."""
    before = day - timedelta(1)
    found = []
    for origin in sorted({hour["origin"] for hour in hours}):
        mine = [hour for hour in hours if hour["origin"] == origin and hour["temp"] is not None]
        today = [hour for hour in mine if hour["weather_date"] == day]
        known = [hour["temp"] for hour in mine if hour["weather_date"] == before and hour["ingestion_date"] <= before]
        if today and known:
            found.append(
                {
                    "origin": origin,
                    "weather_date": day,
                    "ingestion_date": max(hour["ingestion_date"] for hour in today),
                    "temp_change_f": less(mean(hour["temp"] for hour in today), mean(known)),
                }
            )
    return found
