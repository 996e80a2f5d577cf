"""Features know what was known, and no more: dbt's tables beside an oracle that works each row out by other means.

And the proof that this would be noticed: leaks are planted one by one, and each must be seen. `make test` plants a few,
`make test-full` all of them and compares a hundred thousand rows; docs/leaks.md is the table of what sees what.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from deltalake import write_deltalake

from include.lake import candidate, dbt
from include.lake import spark as lake
from include.lake.publish import publish
from include.partitions import Partitions
from include.settings import HOME, settings
from include.sources import source
from include.sources.spec import table
from tests.use_cases.flight_delays import world as worlds
from tests.use_cases.flight_delays.bugs import BUGS, Bug
from tests.use_cases.flight_delays.oracle import Oracle, differences, disrupted, identity
from tests.use_cases.flight_delays.world import Row, World

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PAGE = HOME / "docs" / "leaks.md"
GOLD = "marts.flight_delays"
SAMPLE = (0, 2, 8, 13, 16)  # planted in `make test`; the others in `make test-full`
# The session of the tests instead of a server.
OUTPUT = {"type": "spark", "method": "session", "host": "none", "schema": "silver", "threads": 1}
PROFILE = {"nocturne": {"target": "spark", "outputs": {"spark": OUTPUT}}}


@dataclass
class Lake:
    """A lake in which ``world`` has landed, and a copy of the dbt project that builds the rest of it."""

    spark: SparkSession
    world: World
    project: Path

    def build(self, select: str, nights: Partitions) -> tuple[list[str], list[dbt.Candidate]]:
        """``dbt build``: the tests that failed, and the candidates. Fails where a model could not be built."""
        from dbt.cli.main import dbtRunner

        done = dbtRunner().invoke(
            [
                *("build", "--select", select, "--indirect-selection", "buildable", "--quiet"),
                *("--exclude-resource-type", "unit_test"),
                *("--project-dir", str(self.project), "--profiles-dir", str(self.project)),
                *("--vars", json.dumps({"from": str(nights.first), "to": str(nights.last)})),
            ]
        )
        assert not done.exception, done.exception
        target = self.project / "target"
        manifest, results = (json.loads((target / name).read_text()) for name in dbt.ARTIFACTS)
        ran = {one["unique_id"]: one for one in results["results"]}
        broken = {name: one["message"] for name, one in ran.items() if one["status"] in ("error", "skipped")}
        assert not broken
        failed = [name for name, one in ran.items() if one["status"] == "fail"]
        passed = {"results": [one for one in results["results"] if one["status"] == "success"]}
        return sorted(name.split(".")[2] for name in failed), dbt.candidates(manifest, passed, "")

    def build_silver(self) -> tuple[list[str], list[dbt.Candidate]]:
        """What draws on the feeds that have landed, for the whole time of the world."""
        select = " ".join(f"source:flights.{feed}+,marts.core" for feed in self.world.bronze())
        return self.build(select, Partitions(self.world.first - timedelta(1), self.world.last))

    def publish(self, built: list[dbt.Candidate]) -> None:
        for one in built:
            publish(self.spark, one.table, candidate.read(self.spark, one.name), [one.day], "TRUE")


@pytest.fixture(scope="module")
def small() -> World:
    """Two months with a change of the clocks among the days that are compared."""
    return worlds.make(date(2013, 2, 1), days=60, flights=24)


@contextmanager
def landed(spark: SparkSession, world: World, folder: Path) -> Iterator[Lake]:
    """The lake of ``world`` up to silver, in the installation of the settings; it is empty again afterwards."""
    project = folder / "project"
    shutil.copytree(HOME / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "profiles.yml").write_text(json.dumps(PROFILE))
    ansi = spark.conf.get("spark.sql.ansi.enabled")
    lake.create_layers(spark)
    found = world.bronze()
    flights = source("flights")
    for feed in flights.feeds:
        if feed.name in found:
            path = settings().lake / "bronze" / table(flights, feed)
            write_deltalake(str(path), found[feed.name], partition_by=["partition_day"])
            spark.sql(f"CREATE TABLE bronze.{table(flights, feed)} USING delta LOCATION '{path}'")
    here = Lake(spark, world, project)
    failed, built = here.build_silver()
    assert not failed
    here.publish(built)
    yield here
    for layer in lake.LAYERS:
        spark.sql(f"DROP SCHEMA IF EXISTS {layer} CASCADE")
    spark.conf.set("spark.sql.ansi.enabled", ansi)


@pytest.fixture(scope="module")
def built(spark: SparkSession, small: World, module_home: Path) -> Iterator[Lake]:
    with landed(spark, small, module_home) as lake_of_small:
        yield lake_of_small


def nights_of(world: World) -> Partitions:
    """The nights whose flights are compared: after the first weeks, through to the last day."""
    return Partitions(world.first + timedelta(worlds.LOOK_BACK_DAYS + 2), world.last - timedelta(1))


def rows_of(name: str) -> list[Row]:
    return pl.read_parquet(str(settings().lake / "candidate" / f"gold__flight_delays__{name}" / "*.parquet")).to_dicts()


def features_unlike(oracle: Oracle, nights: Partitions, sample: int | None = None) -> list[str]:
    """In what the candidate's features differ from the oracle's: rows that only one has, and values, flight by flight.

    ``sample`` limits how many rows' values are looked at, drawn by chance. Raises AssertionError where there are fewer.
    """
    expected = {identity(flight): flight for night in nights.days for flight in oracle.flights(night + timedelta(1))}
    there = {row["flight_id"]: row for row in rows_of("features")}
    found = [f"{one}: is in one of them only" for one in sorted(expected.keys() ^ there.keys())]
    both = sorted(expected.keys() & there.keys())
    if sample is not None:
        assert len(both) >= sample
        both = sorted(random.Random(sample).sample(both, sample), key=lambda one: expected[one]["flight_date"])
    for one in both:
        found += [f"{one}: {unlike}" for unlike in differences(there[one], oracle.features(expected[one]))]
    return found


def labels_unlike(world: World, nights: Partitions) -> list[str]:
    """In what the candidate's labels differ from the outcomes that have landed."""
    expected = {
        (identity(flown), flown["flight_date"], flown["night"], int(disrupted(flown)))
        for flown in world.actuals
        if nights.first <= flown["flight_date"] <= nights.last
    }
    there = {(row["flight_id"], row["flight_date"], row["night"], row["is_disrupted"]) for row in rows_of("labels")}
    return [f"{one[0]}: the label is another" for one in sorted(expected ^ there)]


def test_the_world_has_what_the_oracle_is_asked_about(small: World) -> None:
    """Every way to be wrong has rows that would show it."""
    lateness = {(row["night"] - row["flight_date"]).days for row in small.actuals}
    assert lateness >= {0, 1, 2, 6, 7, 8, 27, 28, 29}
    assert {row["sched_dep_time"] for row in small.schedule} >= {0, 2359, 2400}
    assert any(row["night"] >= row["flight_date"] for row in small.schedule)
    assert any(row["aircraft"] is None for row in small.schedule)
    hours = dict.fromkeys(small.days, 0)
    for row in small.weather:
        hours[row["weather_date"]] += row["origin"] == "JFK"
    assert set(hours.values()) == {0, 23, 24}
    flown = {row["flight_date"] for row in small.actuals}
    assert any(day not in flown for day in small.days)
    compared = nights_of(small)
    registers = {row["partition_day"] for row in small.planes}
    assert len(registers & set(compared.days)) >= 2
    assert compared.first < date(2013, 3, 10) < compared.last


def test_features_are_those_of_the_oracle(built: Lake) -> None:
    nights = nights_of(built.world)
    failed, _ = built.build(GOLD, nights)
    assert failed == []
    assert features_unlike(Oracle(built.world), nights) == []
    assert labels_unlike(built.world, nights) == []


def seen_by(lake: Lake, bug: Bug) -> tuple[list[str], list[str]]:
    """The dbt tests that ``bug`` fails, and in what the result differs from the oracle's. The project is left whole."""
    world, nights = lake.world, nights_of(lake.world)
    before = bug.plant(lake.project)
    failed: list[str] = []
    try:
        if bug.silver:
            failed, candidates = lake.build_silver()
            lake.publish(candidates)
        failed += lake.build(GOLD, nights)[0]
        return failed, features_unlike(Oracle(world), nights) + labels_unlike(world, nights)
    finally:
        for path, text in before.items():
            path.write_text(text)
        if bug.silver:
            lake.publish(lake.build_silver()[1])


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    """What saw each planted leak, as a line of the page."""
    return {}


@pytest.mark.parametrize(
    "bug",
    [pytest.param(one, id=one.name, marks=[] if n in SAMPLE else [pytest.mark.full]) for n, one in enumerate(BUGS)],
)
def test_a_planted_leak_is_seen(built: Lake, bug: Bug, seen: dict[str, str]) -> None:
    failed, unlike = seen_by(built, bug)
    assert unlike, f"nobody would notice: {bug.name}"
    flights = {one.split(": ")[0] for one in unlike}
    columns = sorted({one.split(": ")[1].split(" is ")[0] for one in unlike})
    shown = ", ".join(columns[:3]) + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
    seen[bug.name] = f"| {bug.name} | {', '.join(failed) or '-'} | {len(flights)} rows: {shown} |"


def page(seen: dict[str, str]) -> str:
    lines = [
        "# Planted leaks, and what sees them",
        "",
        "Made by `tests/use_cases/flight_delays/test_leaks.py`: each of these mistakes is made in a copy of the dbt",
        "project, which then builds a month on Spark. The tests are dbt's own, which every night runs before it",
        "publishes. The oracle works each row out again from what has landed, by other means than SQL, and sees all;",
        "rows are those of the month that differ from it.",
        "",
        "| the mistake | dbt's tests | the oracle |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(seen[bug.name] for bug in BUGS)]) + "\n"


@pytest.mark.full
def test_the_page_says_what_sees_each_leak(seen: dict[str, str], home: Path) -> None:
    assert len(seen) == len(BUGS), "run the whole module: the page is of all planted leaks"
    made = home / PAGE.name
    made.write_text(page(seen))
    assert PAGE.exists(), f"cp {made} {PAGE}"
    assert made.read_text() == PAGE.read_text(), f"if that was meant: cp {made} {PAGE}"


@pytest.mark.full
def test_a_hundred_thousand_rows_of_a_year(spark: SparkSession, home: Path) -> None:
    """Both changes of the clocks, every distance of lateness, every gap, many times."""
    world = worlds.make(date(2013, 1, 1), days=366, flights=340)
    nights = Partitions(world.first, world.last - timedelta(1))
    with landed(spark, world, home) as year:
        assert year.build(GOLD, nights)[0] == []
        assert features_unlike(Oracle(world), nights, sample=100_000) == []
