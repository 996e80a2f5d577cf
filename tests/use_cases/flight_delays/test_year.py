"""A hundred thousand rows of features beside the oracle's: both changes of the clocks, every lateness, every gap."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.core.partitions import Partitions
from tests.use_cases.flight_delays import world as worlds
from tests.use_cases.flight_delays.lake import GOLD, features_unlike, landed
from tests.use_cases.flight_delays.oracle import Oracle

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.mark.full
def test_a_hundred_thousand_rows_of_a_year(spark: SparkSession, home: Path) -> None:
    world = worlds.make(date(2013, 1, 1), days=366, flights=340)
    nights = Partitions(world.first, world.last - timedelta(1))
    with landed(spark, world, home) as year:
        assert year.build(GOLD, nights)[0] == []
        assert features_unlike(Oracle(world), nights, sample=100_000) == []
