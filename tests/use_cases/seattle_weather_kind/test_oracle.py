"""What dbt makes of two months of days is what an oracle works out from them, row by row, on both engines.

And what is not each row of the population once is not published: dbt's test says so, which every use case has.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.local.checks import InstallationError
from include.use_cases.seattle_weather_kind.spec import KINDS, SPEC
from tests.use_cases import lakes
from tests.use_cases.lakes import Lake, Row, unlike
from tests.use_cases.seattle_weather_kind import oracle

pytestmark = pytest.mark.integration

FIRST, DAYS = date(2012, 2, 1), 70
KEY = (*SPEC.entity, SPEC.day)
NIGHTS = Partitions(FIRST + timedelta(30), FIRST + timedelta(DAYS - 2))
GOLD, FEATURES = f"marts.use_cases.{SPEC.name}", f"gold.{SPEC.features_table}"
SCHEMA: dict[str, Any] = {
    "weather_date": pl.Date,
    "precipitation": pl.Float64,
    "temp_max": pl.Float64,
    "temp_min": pl.Float64,
    "wind": pl.Float64,
    "weather": pl.String,
    "partition_day": pl.Date,
    "ingestion_date": pl.Date,
}


@pytest.fixture(scope="module")
def days() -> list[Row]:
    """Days of which a tenth came late, as after a release from quarantine, some are missing, and ten in a row are."""
    chance = random.Random(7)
    rows = []
    for day in Partitions(FIRST, FIRST + timedelta(DAYS - 1)).days:
        late = timedelta(chance.choice((1, 2, 6, 7)) if chance.random() < 0.2 else 0)
        if chance.random() < 0.9 and not date(2012, 3, 12) <= day <= date(2012, 3, 21):
            rows.append(
                {
                    "weather_date": day,
                    "precipitation": chance.choice((0.0, 0.0, 1.3, 10.9)),
                    "temp_max": round(chance.uniform(0, 30), 1),
                    "temp_min": round(chance.uniform(-10, 10), 1),
                    "wind": round(chance.uniform(0, 9), 1),
                    "weather": chance.choice(KINDS),
                    "partition_day": day,
                    "ingestion_date": day + late,
                }
            )
    return rows


@pytest.fixture(scope="module", params=lakes.ENGINES)
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, days: list[Row]) -> Iterator[Lake]:
    """One with silver."""
    with lakes.empty(request.param, tmp_path_factory.mktemp("lake")) as made:
        made.write("bronze.seattle_weather__daily", pl.DataFrame(days, schema=SCHEMA), ["partition_day"])
        made.build("marts.core.seattle_weather", Partitions(FIRST, FIRST + timedelta(DAYS - 1)))
        yield made


@pytest.fixture(scope="module")
def gold(lake: Lake) -> dict[str, pl.DataFrame]:
    return lake.build(GOLD, NIGHTS)


def test_features_are_those_of_the_oracle(gold: dict[str, pl.DataFrame], days: list[Row]) -> None:
    expected = [row for night in NIGHTS.days for row in oracle.features(days, night + timedelta(1))]
    assert unlike(gold[FEATURES], expected, KEY) == []
    assert len(expected) < len(NIGHTS.days)
    assert {row["kind_1d"] for row in expected} == {*KINDS, None}


def test_labels_are_those_of_the_oracle(gold: dict[str, pl.DataFrame], days: list[Row]) -> None:
    expected = [row for night in NIGHTS.days for row in oracle.labels(days, night)]
    assert unlike(gold[f"gold.{SPEC.labels_table}"], expected, KEY) == []
    assert any(row["ingestion_date"] > row["weather_date"] for row in expected)


def test_rows_that_are_missing_doubled_or_made_up_stop_the_night(lake: Lake, gold: dict[str, pl.DataFrame]) -> None:
    """Also where the number of rows of a day is right."""
    good = gold[FEATURES].sort(KEY)
    of_another = good[1:2].with_columns(station=pl.lit("PDX"))
    lake.tamper(FEATURES, pl.concat([good[2:], of_another, good[2:3]]))  # without the first two, the third one twice
    with pytest.raises(
        InstallationError, match=r"(?s)Failure in test same_rows_seattle_weather_kind__features.*Got 4 results"
    ):
        lake.test(GOLD, NIGHTS)
