"""What the contract of a source lets through, the feature gate of a use case on it lets through.

The gate fails a whole day, the contract one row.
"""

import pytest

from include.sources import source
from include.use_cases import use_case

SEATTLE, TEMPERATURE = (
    ("seattle_weather_kind", "seattle_weather", "daily"),
    ("weather_temperature", "flights", "weather"),
)
# use case, source and feed → column → the features that have its values or means, and those that are differences of two
MADE_OF = {
    (*SEATTLE, "precipitation"): (("precip_mm_1d", "precip_mean_mm_7d"), ()),
    (*SEATTLE, "temp_max"): (("temp_max_c_1d", "temp_max_mean_c_7d"), ("temp_range_c_1d",)),
    (*SEATTLE, "temp_min"): (("temp_min_c_1d",), ("temp_range_c_1d",)),
    (*SEATTLE, "wind"): (("wind_ms_1d",), ()),
    (*TEMPERATURE, "temp"): (
        ("temp_mean_f_1d",),
        ("temp_last_gap_f_1d", "temp_change_f_2d", "temp_gap_f_3d", "temp_gap_f_7d", "temp_gap_f_28d"),
    ),
    (*TEMPERATURE, "pressure"): (("pressure_mean_mb_1d",), ("pressure_change_mb_2d",)),
    (*TEMPERATURE, "humid"): (("humid_mean_pct_1d",), ()),
    (*TEMPERATURE, "wind_speed"): (("wind_mean_mph_1d",), ()),
}


@pytest.mark.parametrize(("case", "of", "feed", "column"), MADE_OF)
def test_no_row_that_keeps_the_contract_fails_its_day(case: str, of: str, feed: str, column: str) -> None:
    promised = next(one for one in source(of).feed(feed).columns if one.name == column)
    features = {one.name: one for one in use_case(case).features}
    low, high = promised.minimum, promised.maximum
    assert low is not None
    assert high is not None
    values, differences = MADE_OF[case, of, feed, column]
    bounds = [(name, low, high) for name in values] + [(name, low - high, high - low) for name in differences]
    for name, least, most in bounds:
        assert features[name].low <= least < most <= features[name].high, name


def test_a_kind_of_weather_is_one_that_the_model_knows() -> None:
    [feed] = source("seattle_weather").feeds
    case = use_case("seattle_weather_kind")
    kinds = next(one.values for one in feed.columns if one.name == "weather")
    assert kinds == case.task.classes == case.features[0].vocabulary
