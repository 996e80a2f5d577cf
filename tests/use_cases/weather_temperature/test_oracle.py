"""What dbt makes of two months of hours is what an oracle works out from them, row by row, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.use_cases.weather_temperature.spec import SPEC
from tests.use_cases import lakes
from tests.use_cases.flight_delays import world
from tests.use_cases.lakes import Lake, Row, unlike
from tests.use_cases.weather_temperature import oracle

pytestmark = pytest.mark.integration

FIRST, DAYS = date(2013, 2, 1), 60
KEY = (*SPEC.entity, SPEC.day)
# With a change of the clocks among them, and days on which LaGuardia has been silent for more than a week.
NIGHTS = Partitions(FIRST + timedelta(30), FIRST + timedelta(DAYS - 2))
SILENT = Partitions(date(2013, 3, 5), date(2013, 3, 14))


@pytest.fixture(scope="module")
def hours() -> list[Row]:
    """Hours that came late by a day or two, without a temperature or a pressure, and days without any."""
    rows = world.make(FIRST, DAYS, flights=1).weather
    return [row for row in rows if row["origin"] != "LGA" or row["weather_date"] not in SILENT.days]


@pytest.fixture(scope="module", params=lakes.ENGINES)
def gold(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hours: list[Row]
) -> Iterator[dict[str, pl.DataFrame]]:
    with lakes.empty(request.param, tmp_path_factory.mktemp("lake")) as lake:
        yield built(lake, hours)


def built(lake: Lake, hours: list[Row]) -> dict[str, pl.DataFrame]:
    lake.write("bronze.flights__weather", pl.DataFrame(hours, schema=world.WEATHER), ["partition_day"])
    lake.build("fct_weather_hourly", Partitions(FIRST, FIRST + timedelta(DAYS - 1)))
    return lake.build(f"marts.use_cases.{SPEC.name}", NIGHTS)


def test_features_are_those_of_the_oracle(gold: dict[str, pl.DataFrame], hours: list[Row]) -> None:
    expected = [row for night in NIGHTS.days for row in oracle.features(hours, night + timedelta(1))]
    assert unlike(gold[f"gold.{SPEC.features_table}"], expected, KEY) == []
    silent = [row for row in expected if row["weather_date"] == SILENT.last]
    assert [row["origin"] for row in silent] == ["EWR", "JFK"]
    assert any(row["temp_mean_f_1d"] is None for row in expected)


def test_labels_are_those_of_the_oracle(gold: dict[str, pl.DataFrame], hours: list[Row]) -> None:
    expected = [row for night in NIGHTS.days for row in oracle.labels(hours, night)]
    assert unlike(gold[f"gold.{SPEC.labels_table}"], expected, KEY) == []
    assert any(row["ingestion_date"] > row["weather_date"] for row in expected)
