"""A year of made-up flights in which everything happens that can make a feature know too much, or too little.

Late rows at every distance from the day that looks back at them, flights that tie in all that they are compared by,
midnight under both its names, both changes of the clocks, days without flights, weather or schedule, cancelled and
diverted flights, aircraft that nobody planned or that differ from the plan, and registers that change between flights.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

Row = dict[str, Any]

NEW_YORK = ZoneInfo("America/New_York")
ORIGINS, DESTINATIONS, CARRIERS = ("EWR", "JFK", "LGA"), ("ATL", "BOS", "ORD", "SEA"), ("AA", "B6", "UA")
LOOK_BACK_DAYS = 28
IN_TIME = 0


@dataclass(frozen=True)
class World:
    """What has landed: the rows of each feed's bronze table, and the days ``first`` to ``last`` that it is about."""

    first: date
    last: date
    schedule: list[Row]
    actuals: list[Row]
    weather: list[Row]
    planes: list[Row]

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(n) for n in range((self.last - self.first).days + 1)]

    def bronze(self) -> dict[str, pl.DataFrame]:
        """The feeds' tables by name, in the types of their contract."""
        return {
            "schedule": pl.DataFrame(self.schedule, schema=SCHEDULE),
            "actuals": pl.DataFrame(self.actuals, schema=ACTUALS),
            "weather": pl.DataFrame(self.weather, schema=WEATHER),
            "planes": pl.DataFrame(self.planes, schema=PLANES),
        }


ARRIVAL: dict[str, Any] = {"partition_day": pl.Date, "ingestion_date": pl.Date}
FLIGHT: dict[str, Any] = {
    "flight_date": pl.Date,
    "carrier": pl.String,
    "flight_number": pl.Int32,
    "origin": pl.String,
    "dest": pl.String,
    "sched_dep_time": pl.Int32,
    "aircraft": pl.String,
}
SCHEDULE = FLIGHT | {"sched_arr_time": pl.Int32, "distance": pl.Float64} | ARRIVAL
ACTUALS = FLIGHT | {"dep_time": pl.Int32, "dep_delay": pl.Float64, "arr_delay": pl.Float64} | ARRIVAL
WEATHER: dict[str, Any] = {
    "weather_date": pl.Date,
    "origin": pl.String,
    "observed_at": pl.Datetime("us", "UTC"),
    "temp": pl.Float64,
    "humid": pl.Float64,
    "wind_speed": pl.Float64,
    "precip": pl.Float64,
    "pressure": pl.Float64,
    "visib": pl.Float64,
} | ARRIVAL
PLANES: dict[str, Any] = {
    "aircraft": pl.String,
    "built_year": pl.Int32,
    "manufacturer": pl.String,
    "model": pl.String,
    "seats": pl.Int32,
} | ARRIVAL


def make(first: date, days: int, flights: int, seed: int = 7) -> World:
    """``days`` days from ``first`` on with about ``flights`` flights each; the same for the same arguments."""
    chance = random.Random(seed)
    last = first + timedelta(days - 1)
    tails = [f"N{n:03}" for n in range(max(6, flights // 4))]
    schedule: list[Row] = []
    actuals: list[Row] = []
    weather: list[Row] = []
    for n in range(days):
        day = first + timedelta(n)
        mood = chance.random()  # days differ, so that a window that is off by one shows
        # On a day off nobody flies; on another the upstream brought no weather.
        if n % 23 != 11:
            for planned in _schedule(chance, day, flights, tails):
                schedule.append(planned)
                if n % 19 != 7:
                    actuals.append(_flown(chance, planned, mood, tails))
        if n % 17 != 5:
            weather += _weather(chance, day)
    return World(first, last, schedule, actuals, weather, _registers(chance, first, days, tails))


def _schedule(chance: random.Random, day: date, flights: int, tails: list[str]) -> list[Row]:
    rows: dict[tuple[str, int, str], Row] = {}
    for _ in range(flights):
        # Few numbers and few times: many flights share them.
        carrier, number, origin = chance.choice(CARRIERS), chance.randint(1, flights), chance.choice(ORIGINS)
        rows[carrier, number, origin] = {
            "flight_date": day,
            "carrier": carrier,
            "flight_number": number,
            "origin": origin,
            "dest": chance.choice(DESTINATIONS),
            "sched_dep_time": chance.choice((0, 5, 600, 659, 700, 1200, 2359, 2400)),
            "sched_arr_time": chance.choice((0, 830, 1415, 2400)),
            "aircraft": chance.choice([*tails, None]),
            "distance": float(chance.randint(90, 2600)),
            "partition_day": day,
            # The evening before, or, of a flight that was added later, a night of or after its day.
            "ingestion_date": day - timedelta(1)
            if chance.random() < 0.95
            else day + timedelta(chance.choice((0, 0, 1, 9))),
        }
    return list(rows.values())


def _flown(chance: random.Random, planned: Row, mood: float, tails: list[str]) -> Row:
    cancelled = chance.random() < 0.1
    # A diverted flight left and has no delay of arrival.
    arrived = not cancelled and chance.random() > 0.05
    late = chance.random() < mood
    identity = {name: planned[name] for name in FLIGHT}
    swapped = {"aircraft": chance.choice(tails)} if chance.random() < 0.1 else {}
    # On the boundary of what each look-back may know, and anywhere else.
    lateness = chance.choice((1, 1, 2, 6, 7, 8, 27, 28, 29, 35)) if chance.random() < 0.15 else IN_TIME
    return (
        identity
        | swapped
        | {
            "dep_time": None if cancelled else 1200,
            "dep_delay": None if cancelled else float(chance.randint(-5, 90)),
            "arr_delay": float(chance.choice((16, 95)) if late else chance.choice((-20, 0, 15))) if arrived else None,
            "partition_day": planned["flight_date"],
            "ingestion_date": planned["flight_date"] + timedelta(lateness),
        }
    )


def _weather(chance: random.Random, day: date) -> list[Row]:
    """An observation for each hour of the local day, which has 23 or 25 where the clocks change."""
    start, end = (datetime.combine(one, time(), NEW_YORK).astimezone(UTC) for one in (day, day + timedelta(1)))
    base = chance.uniform(0, 60)
    rows = []
    for origin in ORIGINS:
        for hour in range((end - start) // timedelta(hours=1)):
            rows.append(
                {
                    "weather_date": day,
                    "origin": origin,
                    "observed_at": start + timedelta(hours=hour),
                    "temp": round(base + hour, 2) if chance.random() > 0.05 else None,
                    "humid": round(chance.uniform(0, 100), 2),
                    "wind_speed": round(base + chance.uniform(0, 40), 2),
                    "precip": chance.choice((0.0, 0.0, 0.01, 1.5)),
                    "pressure": round(980 + chance.uniform(0, 60), 1) if chance.random() > 0.2 else None,
                    "visib": chance.choice((10.0, 10.0, 0.25, 3.0)),
                    "partition_day": day,
                    "ingestion_date": day + timedelta(chance.choice((1, 2)) if chance.random() < 0.1 else IN_TIME),
                }
            )
    return rows


def _registers(chance: random.Random, first: date, days: int, tails: list[str]) -> list[Row]:
    """A register every few weeks, some aircraft in it, each time with other values; none in the first weeks."""
    rows = []
    for n in range(LOOK_BACK_DAYS + 4, days, 13):
        day = first + timedelta(n)
        for tail in tails:
            if chance.random() < 0.9:
                year = chance.choice((None, *range(1985, 2013)))
                rows.append(
                    {
                        "aircraft": tail,
                        "built_year": year,
                        "manufacturer": "AIRBUS",
                        "model": "A320",
                        "seats": chance.randint(20, 400),
                        "partition_day": day,
                        "ingestion_date": day,
                    }
                )
    return rows
