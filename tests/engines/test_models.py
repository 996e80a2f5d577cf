"""Every model of the dbt project comes out the same on both engines, column by column; its unit tests pass on both."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from include import engines
from include.partitions import Partitions
from include.services.checks import Problem
from include.settings import EMBEDDED, SPARK, Settings, settings
from tests.engines.lake import bronze, days, write

pytestmark = pytest.mark.integration

FIRST, LAST = date(2013, 1, 1), date(2013, 1, 12)
MODELS = Path(__file__).resolve().parents[2] / "dbt_project" / "models" / "marts"
DAYS = {
    "dim_aircraft": "snapshot_date",
    "dim_aircraft_history": "valid_from",
    "dim_airlines": "snapshot_date",
    "dim_airports": "snapshot_date",
    "fct_flights": "flight_date",
    "fct_scheduled_flights": "flight_date",
    "fct_weather_hourly": "weather_date",
}
GOLD = ("flight_delays__features", "flight_delays__labels")


def test_these_are_all_of_the_marts() -> None:
    assert {path.stem for path in MODELS.rglob("*.sql")} == {*DAYS, *GOLD}


def test_every_model_is_equal_on_both_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = tmp_path / "lake"
    bronze(lake, days(FIRST, LAST))
    monkeypatch.setenv("NOCTURNE_LAKE_URI", str(lake))
    settings.cache_clear()
    nights, of = Partitions(FIRST, LAST), {}
    with ExitStack() as both:
        for name in (EMBEDDED, SPARK):
            own = engines.beside(settings(), name, tmp_path)
            of[f"__{name}"] = own, both.enter_context(engines.running(own))
        for suffix, (own, environment) in of.items():
            engines.build(own, environment, nights, suffix, "marts.core")
        compared = same()
        assert {table for table, rows in compared.items() if rows} == {f"silver.{table}" for table in DAYS}
        for table, rows in engines.built(f"__{SPARK}").items():
            write(lake, table, rows, [DAYS[table.removeprefix("silver.")]])
        for suffix, (own, environment) in of.items():
            engines.build(own, environment, nights, suffix, "marts.flight_delays")
            engines.dbt(own, environment, nights, suffix, "test", "--select", "test_type:unit")
        compared = same()
        assert {table for table, rows in compared.items() if rows} >= {f"gold.{table}" for table in GOLD}


def same() -> dict[str, int]:
    """The rows of each table, none of whose values differs between the engines."""
    embedded, spark = (engines.built(f"__{name}") for name in (EMBEDDED, SPARK))
    assert embedded.keys() == spark.keys()
    assert {table: engines.differences(embedded[table], spark[table]) for table in spark} == {
        table: [] for table in spark
    }
    return {table: rows.height for table, rows in spark.items()}


def test_a_value_that_differs_is_named() -> None:
    one = pl.DataFrame({"id": [1, 2, 3], "x": [0.5, None, 2.0]})
    assert engines.differences(one, one.reverse()) == []
    assert engines.differences(one, one.with_columns(x=pl.Series([0.5, 1.0, 2.0]))) == ["x: 1 of 3 values"]
    assert engines.differences(one, one.head(2)) == ["the number of rows: 3 and 2"]
    assert "Int32" in engines.differences(one, one.cast({"id": pl.Int32}))[0]


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    here = Settings(lake_uri="s3://bucket/lake")
    with pytest.raises(Problem, match="a lake in S3 has one engine"):
        engines.beside(here, EMBEDDED, tmp_path)
