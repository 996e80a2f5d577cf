"""What the contract of a source lets through, the feature gate lets through; other rows belong into quarantine.

The gate fails a whole day, the contract one row.
"""

import pytest

from include.sources.flights.spec import SOURCE
from include.use_cases.flight_delays.spec import SPEC

HOURS = 25  # of the longest day
# feature → the column that it is made of, and how many of its values one value of the feature may be the sum of
MADE_OF = {
    "distance_miles": ("schedule", "distance", 1),
    "weather_temp_mean_f": ("weather", "temp", 1),
    "weather_wind_max_mph": ("weather", "wind_speed", 1),
    "weather_precip_sum_in": ("weather", "precip", HOURS),
    "weather_visib_min_mi": ("weather", "visib", 1),
    "weather_pressure_min_mb": ("weather", "pressure", 1),
    "weather_humid_mean_pct": ("weather", "humid", 1),
    "aircraft_seats": ("planes", "seats", 1),
}


@pytest.mark.parametrize("name", MADE_OF)
def test_no_row_that_keeps_the_contract_fails_its_day(name: str) -> None:
    feed, column, values = MADE_OF[name]
    promised = next(one for one in SOURCE.feed(feed).columns if one.name == column)
    feature = next(one for one in SPEC.features if one.name == name)
    assert promised.minimum is not None
    assert promised.maximum is not None
    assert feature.low is not None
    assert feature.high is not None
    assert feature.low <= promised.minimum
    assert promised.maximum * values <= feature.high


def test_a_scheduled_time_is_a_time_of_day() -> None:
    """The gate's highest minute is that of midnight at the end of the day."""
    times = [one for feed in SOURCE.feeds for one in feed.columns if one.unit == "HHMM"]
    assert {one.name for one in times} == {"sched_dep_time", "sched_arr_time", "dep_time", "arr_time"}
    assert all(one.form == "HHMM" for one in times)
