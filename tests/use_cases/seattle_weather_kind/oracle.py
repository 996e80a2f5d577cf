"""Features and labels of seattle_weather_kind once more, without SQL: from the days that landed, as the catalogue words
them."""

from __future__ import annotations

import math
from datetime import date

from include.use_cases.seattle_weather_kind.spec import KINDS
from tests.use_cases.lakes import Row


def features(days: list[Row], day: date) -> list[Row]:
    """The row of ``day``; none where no report of the 7 days before had arrived by the evening before."""
    known = {(day - row["weather_date"]).days: row for row in days if row["ingestion_date"] < day}
    known = {ago: row for ago, row in known.items() if 1 <= ago <= 28}
    if not any(ago <= 7 for ago in known):
        return []
    week = [row for ago, row in known.items() if ago <= 7]
    nothing: Row = dict.fromkeys(("weather", "precipitation", "temp_max", "temp_min", "wind"))
    yesterday = known.get(1, nothing)
    angle = 2 * math.pi * day.timetuple().tm_yday / 365
    return [
        {
            "station": "SEA",
            "weather_date": day,
            "known_from": max(row["ingestion_date"] for row in known.values()),
            "kind_1d": yesterday["weather"],
            **{f"{kind}_share_7d": _share(week, kind) for kind in KINDS},
            **{f"{kind}_share_28d": _share(list(known.values()), kind) for kind in KINDS},
            "precip_mm_1d": yesterday["precipitation"],
            "precip_mean_mm_7d": sum(row["precipitation"] for row in week) / len(week),
            "temp_max_c_1d": yesterday["temp_max"],
            "temp_min_c_1d": yesterday["temp_min"],
            "temp_max_mean_c_7d": sum(row["temp_max"] for row in week) / len(week),
            "temp_range_c_1d": yesterday["temp_max"] - yesterday["temp_min"] if 1 in known else None,
            "wind_ms_1d": yesterday["wind"],
            "season_sine": math.sin(angle),
            "season_cosine": math.cos(angle),
        }
    ]


def _share(days: list[Row], kind: str) -> float:
    return sum(row["weather"] == kind for row in days) / len(days)


def labels(days: list[Row], day: date) -> list[Row]:
    """The row of ``day``, where it is known."""
    return [
        {"station": "SEA", "weather_date": day, "ingestion_date": row["ingestion_date"], "kind": row["weather"]}
        for row in days
        if row["weather_date"] == day
    ]
