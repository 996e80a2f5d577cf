"""Every model of the dbt project comes out the same on both engines, column by column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.core.settings import EMBEDDED, SPARK, Settings, settings
from include.local import compare_engines
from include.local.checks import InstallationError
from include.use_cases import use_cases
from tests.engines.lake import bronze, write

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
    "fct_seattle_weather_daily": "weather_date",
    "fct_weather_hourly": "weather_date",
}
SOURCES = ("flights", "seattle_weather")  # those whose files a replay makes
CASES = [case for case in use_cases().values() if set(case.sources) <= set(SOURCES)]
GOLD = tuple(table for case in CASES for table in (case.features_table, case.labels_table))


def test_these_are_all_of_the_marts() -> None:
    there = {path.stem for source in SOURCES for path in (MODELS / "core" / source).glob("*.sql")}
    assert there == {*DAYS}


Both = dict[str, tuple[Settings, dict[str, str]]]


@contextmanager
def both(nights: Partitions, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    """Suffix of candidates → settings and environment of the clients, an engine each; bronze of ``nights`` is there."""
    lake = folder / "lake"
    bronze(lake, nights.days)
    monkeypatch.setenv("NOCTURNE_LAKE_URI", str(lake))
    settings.cache_clear()
    with ExitStack() as running:
        of = {f"__{name}": compare_engines.beside(settings(), name, folder) for name in (EMBEDDED, SPARK)}
        yield {suffix: (own, running.enter_context(compare_engines.running(own))) for suffix, own in of.items()}


def built(engines_of: Both, nights: Partitions, *select: str) -> dict[str, int]:
    """The rows of each table that ``select`` names, built on both engines: none of its values differs."""
    for suffix, (own, environment) in engines_of.items():
        compare_engines.build(own, environment, nights, suffix, *select)
    return same()


@pytest.mark.full
def test_a_model_is_equal_on_both_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them, for the comparing itself. `make test` compares what all of them publish, in test_chain."""
    nights = Partitions(FIRST, FIRST)
    with both(nights, tmp_path, monkeypatch) as of:
        compared = built(of, nights, "fct_weather_hourly")
    assert list(compared) == ["silver.fct_weather_hourly"]
    assert compared["silver.fct_weather_hourly"] > 0


@pytest.mark.full
def test_every_model_is_equal_on_both_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nights = Partitions(FIRST, LAST)
    with both(nights, tmp_path, monkeypatch) as of:
        compared = built(of, nights, *(f"marts.core.{source}" for source in SOURCES))
        assert {table for table, rows in compared.items() if rows} == {f"silver.{table}" for table in DAYS}
        for table, rows in compare_engines.built(f"__{SPARK}").items():
            write(tmp_path / "lake", table, rows, [DAYS[table.removeprefix("silver.")]])
        compared = built(of, nights, *(f"marts.use_cases.{case.name}" for case in CASES))
        assert {table for table, rows in compared.items() if rows} >= {f"gold.{table}" for table in GOLD}


def same() -> dict[str, int]:
    """The rows of each table, none of whose values differs between the engines."""
    embedded, spark = (compare_engines.built(f"__{name}") for name in (EMBEDDED, SPARK))
    assert embedded.keys() == spark.keys()
    assert {table: compare_engines.differences(embedded[table], spark[table]) for table in spark} == {
        table: [] for table in spark
    }
    return {table: rows.height for table, rows in spark.items()}


def test_a_value_that_differs_is_named() -> None:
    one = pl.DataFrame({"id": [1, 2, 3], "x": [0.5, None, 2.0]})
    assert compare_engines.differences(one, one.reverse()) == []
    assert compare_engines.differences(one, one.with_columns(x=pl.Series([0.5, 1.0, 2.0]))) == ["x: 1 of 3 values"]
    assert compare_engines.differences(one, one.head(2)) == ["the number of rows: 3 and 2"]
    assert "Int32" in compare_engines.differences(one, one.cast({"id": pl.Int32}))[0]


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    here = Settings(lake_uri="s3://bucket/lake")
    with pytest.raises(InstallationError, match="a lake in S3 has one engine"):
        compare_engines.beside(here, EMBEDDED, tmp_path)
