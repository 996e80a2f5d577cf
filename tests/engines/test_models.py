"""Every model of the dbt project comes out the same on both engines, column by column; its unit tests pass on both."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from include.services import credentials, jars
from include.services.health import WELL, spark_health
from include.services.launch import child_environment
from include.services.programs import Program, programs
from include.settings import EMBEDDED, SPARK, Settings
from tests.engines.conftest import free_port
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


@contextmanager
def engine(settings: Settings) -> Iterator[dict[str, str]]:
    """While this lasts the engine of ``settings`` runs; the environment of its clients."""
    credentials.generate(settings)
    for folder in (settings.var / "spark" / "tmp", settings.log, settings.run):
        folder.mkdir(parents=True, exist_ok=True)
    if settings.engine == SPARK:
        jars.fetch(settings)
    program = next(one for one in programs(settings) if one.name == "spark")
    with (settings.log / "spark.log").open("w") as log:
        service = subprocess.Popen(
            program.argv, env=child_environment(settings, program), cwd=program.folder, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 120
        while spark_health("127.0.0.1", settings.spark_port, 2) != WELL:
            assert service.poll() is None, (settings.log / "spark.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client = Program("test", [], settings.var, secrets=frozenset({"SPARK_REMOTE"}))
        yield child_environment(settings, client)
    finally:
        service.kill()
        service.wait()


def dbt(settings: Settings, environment: dict[str, str], nights: tuple[date, date], *arguments: str) -> None:
    project = str(settings.home / "dbt_project")
    of_run = {
        "NOCTURNE_FROM": str(nights[0]),
        "NOCTURNE_TO": str(nights[1]),
        "NOCTURNE_CANDIDATE_SUFFIX": f"__{settings.engine}",
    }
    argv = [sys.executable, "-m", "include.lake.spark"]  # Apache Spark's catalogue learns the tables by itself
    subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=300)
    argv = [sys.executable, "-m", "dbt.cli.main", *arguments, "--project-dir", project, "--profiles-dir", project]
    argv += ["--target-path", str(settings.var / "target"), "--log-path", str(settings.log)]
    done = subprocess.run(argv, env=environment | of_run, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-4000:]


def rows(lake: Path, layer: str, table: str, which: str) -> pl.DataFrame:
    """A candidate, its rows in one order."""
    folder = lake / "candidate" / f"{layer}__{table}__{which}"
    found = pl.read_delta(str(folder)) if which == EMBEDDED else pl.read_parquet(sorted(folder.glob("*.parquet")))
    return found.sort(found.columns)


def same(lake: Path, layer: str, table: str) -> int:
    spark, embedded = (rows(lake, layer, table, which) for which in (SPARK, EMBEDDED))
    assert embedded.schema == spark.schema
    different = [name for name in spark.columns if not spark[name].equals(embedded[name])]
    assert different == [], f"{layer}.{table}"
    return spark.height


def test_these_are_all_of_the_marts() -> None:
    assert {path.stem for path in MODELS.rglob("*.sql")} == {*DAYS, *GOLD}


def test_every_model_is_equal_on_both_engines(tmp_path: Path) -> None:
    pytest.importorskip("pysail", reason="the embedded engine is not installed")
    lake = tmp_path / "lake"
    bronze(lake, days(FIRST, LAST))
    both = [
        Settings(var=tmp_path / name, lake_uri=str(lake), engine=name, spark_port=free_port())
        for name in (EMBEDDED, SPARK)
    ]
    marts = ("build", "--indirect-selection", "buildable", "--exclude-resource-type", "unit_test", "--select")
    with engine(both[0]) as first, engine(both[1]) as second:
        of = list(zip(both, (first, second), strict=True))
        for settings, environment in of:
            dbt(settings, environment, (FIRST, LAST), *marts, "marts.core")
        assert {table for table in DAYS if same(lake, "silver", table)} == set(DAYS)
        for table, day in DAYS.items():
            write(lake, f"silver.{table}", rows(lake, "silver", table, SPARK), [day])
        for settings, environment in of:
            dbt(settings, environment, (FIRST, LAST), *marts, "marts.flight_delays")
            dbt(settings, environment, (FIRST, LAST), "test", "--select", "test_type:unit")
        assert {table for table in GOLD if same(lake, "gold", table)} == set(GOLD)
