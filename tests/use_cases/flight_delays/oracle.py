"""The features of a flight once more, by other means: row by row, from what has landed, as the catalogue words them.

Nothing here is shared with dbt's SQL, neither code nor the steps in between: no table of daily counts, no join over
days, no SQL. A value is worked out from the list of rows that had arrived by the night before the flight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

from tests.use_cases.flight_delays.world import Row, World

KINDS: dict[str, Callable[[Row], Any]] = {
    "carrier": lambda flight: flight["carrier"],
    "route": lambda flight: (flight["origin"], flight["dest"]),
    "origin": lambda flight: flight["origin"],
    "dest": lambda flight: flight["dest"],
    "origin_hour": lambda flight: (flight["origin"], minute(flight["sched_dep_time"]) // 60),
    "aircraft": lambda flight: flight["aircraft"],
    "flight_number": lambda flight: (flight["carrier"], flight["flight_number"]),
    "network": lambda flight: "every flight",
}


def minute(clock: int) -> int:
    """1435 is 875 minutes after midnight, and 2400 is midnight."""
    return clock // 100 % 24 * 60 + clock % 100


def disrupted(flown: Row) -> bool:
    return flown["dep_time"] is None or flown["arr_delay"] is None or flown["arr_delay"] > 15


def identity(flight: Row) -> str:
    return f"{flight['flight_date']}:{flight['carrier']}:{flight['flight_number']}:{flight['origin']}"


def share(flown: list[Row], judge: Callable[[Row], bool]) -> float | None:
    return sum(map(judge, flown)) / len(flown) if flown else None


def of_values(rows: list[Row], column: str) -> list[float]:
    return [row[column] for row in rows if row[column] is not None]


class Oracle:
    """Answers for a world: the features of each flight that was known in the night before its day."""

    def __init__(self, world: World) -> None:
        self.schedule = _by_day(world.schedule, "flight_date")
        self._actuals = _by_day(world.actuals, "flight_date")
        self._weather = _by_day(world.weather, "weather_date")
        self._registers = _by_day(world.planes, "partition_day")
        # The answers for a day serve all its flights that are alike.
        self._known = lru_cache(maxsize=2)(self._known_by)
        self._rates = lru_cache(maxsize=20_000)(self._rates_of)

    def flights(self, day: date) -> list[Row]:
        """The flights of ``day`` that can be predicted: those announced in a night before it."""
        return [flight for flight in self.schedule[day] if flight["ingestion_date"] < day]

    def features(self, flight: Row) -> Row:
        """Every column of the features table for ``flight``."""
        day = flight["flight_date"]
        before = day - timedelta(1)
        found: Row = {
            "flight_id": identity(flight),
            "flight_date": day,
            "carrier": flight["carrier"],
            "origin": flight["origin"],
            "sched_dep_hour": minute(flight["sched_dep_time"]) // 60,
            "sched_dep_minute": minute(flight["sched_dep_time"]),
            "sched_arr_minute": minute(flight["sched_arr_time"]),
            "distance_miles": flight["distance"],
            "day_of_week": day.isoweekday() % 7 + 1,
        }
        nights = [flight["ingestion_date"]]
        for kind, value_of in KINDS.items():
            rates, night = self._rates(day, kind, value_of(flight))
            found |= rates
            nights += [night] if night else []

        observed = [
            row
            for row in self._weather[before]
            if row["origin"] == flight["origin"] and row["ingestion_date"] <= before
        ]
        nights += [row["ingestion_date"] for row in observed]
        temperatures, humidities = of_values(observed, "temp"), of_values(observed, "humid")
        found |= {
            "weather_temp_mean_f": sum(temperatures) / len(temperatures) if temperatures else None,
            "weather_wind_max_mph": max(of_values(observed, "wind_speed"), default=None),
            "weather_precip_sum_in": sum(of_values(observed, "precip")) if of_values(observed, "precip") else None,
            "weather_visib_min_mi": min(of_values(observed, "visib"), default=None),
            "weather_pressure_min_mb": min(of_values(observed, "pressure"), default=None),
            "weather_humid_mean_pct": sum(humidities) / len(humidities) if humidities else None,
        }

        registers = [one for one in self._registers if one < day]
        register = max(registers) if registers else None
        plane = next((row for row in self._registers.get(register, []) if row["aircraft"] == flight["aircraft"]), None)
        year = plane["built_year"] if plane else None
        found |= {
            "aircraft_age_years": day.year - year if year is not None else None,
            "aircraft_seats": plane["seats"] if plane else None,
        }
        nights += [plane["ingestion_date"]] if plane else []
        return found | {"known_from": max(nights)}

    def _known_by(self, day: date) -> dict[str, dict[Any, list[Row]]]:
        """The flights of the 28 days before ``day`` of which the outcome had arrived by the night before, by kind."""
        known: dict[str, dict[Any, list[Row]]] = {kind: defaultdict(list) for kind in KINDS}
        for back in range(1, 29):
            for flown in self._actuals.get(day - timedelta(back), []):
                if flown["ingestion_date"] < day:
                    for kind, value_of in KINDS.items():
                        known[kind][value_of(flown)].append(flown)
        return known

    def _rates_of(self, day: date, kind: str, value: Any) -> tuple[Row, date | None]:
        """The features of flights that are alike in ``kind``, and the night in which the newest of these arrived."""
        alike = self._known(day)[kind].get(value, []) if value is not None else []

        def last(days: int) -> list[Row]:
            return [flown for flown in alike if (day - flown["flight_date"]).days <= days]

        found: Row = {f"{kind}_disrupted_rate_{days}d": share(last(days), disrupted) for days in (1, 7, 28)}
        if kind == "network":
            del found["network_disrupted_rate_28d"]
        if kind in ("network", "origin"):
            found[f"{kind}_cancelled_rate_1d"] = share(last(1), lambda flown: flown["dep_time"] is None)
        if kind in ("aircraft", "route", "flight_number"):
            found[f"{kind}_flights_28d"] = len(alike)
        return found, max((flown["ingestion_date"] for flown in alike), default=None)


def _by_day(rows: list[Row], column: str) -> dict[date, list[Row]]:
    found: dict[date, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[column]].append(row)
    return found


def differences(row: Row, expected: Row) -> list[str]:
    """The columns in which a row of the features table differs from the oracle's, with both values."""
    odd = row.keys() ^ expected.keys()
    found = [f"{name} is in one of them only" for name in sorted(odd)]
    for name in sorted(row.keys() & expected.keys()):
        a, b = row[name], expected[name]
        # The order in which Spark adds is its own: a mean may differ in its last digits, a share of counts may not.
        close = isinstance(a, float) and isinstance(b, float) and abs(a - b) <= 1e-9 * max(1.0, abs(b))
        if not close and (a != b or type(a) is not type(b)):
            found.append(f"{name} is {a!r}, not {b!r}")
    return found
