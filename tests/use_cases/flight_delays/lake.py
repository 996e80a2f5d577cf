"""A lake with silver of a made-up world, on which dbt builds features, and what differs in them from the oracle's."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from deltalake import write_deltalake

from include.contracts.source import table
from include.core.partitions import Partitions
from include.core.settings import HOME, settings
from include.lake import candidate, dbt
from include.lake import spark as lake
from include.lake.publish import publish
from include.sources import source
from tests.use_cases.flight_delays import world as worlds
from tests.use_cases.flight_delays.oracle import Oracle, differences, disrupted, identity
from tests.use_cases.flight_delays.world import Row, World

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOLD = "marts.use_cases.flight_delays"
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
        nodes = (manifest["nodes"][name] for name, one in ran.items() if one["status"] == "fail")
        failed = {(node.get("test_metadata") or node)["name"] for node in nodes}
        passed = {"results": [one for one in results["results"] if one["status"] == "success"]}
        return sorted(failed), dbt.candidates(manifest, passed, "")

    def build_silver(self) -> tuple[list[str], list[dbt.Candidate]]:
        """What draws on the feeds that have landed, for the whole time of the world."""
        select = " ".join(f"source:flights.{feed}+,marts.core" for feed in self.world.bronze())
        return self.build(select, Partitions(self.world.first - timedelta(1), self.world.last))

    def publish(self, built: list[dbt.Candidate]) -> None:
        for one in built:
            publish(one.table, candidate.rows(one.name), [one.day], pl.lit(True))
            lake.register(self.spark, one.table)


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
        (identity(flown), flown["flight_date"], flown["ingestion_date"], int(disrupted(flown)))
        for flown in world.actuals
        if nights.first <= flown["flight_date"] <= nights.last
    }
    there = {
        (row["flight_id"], row["flight_date"], row["ingestion_date"], row["is_disrupted"]) for row in rows_of("labels")
    }
    return [f"{one[0]}: the label is another" for one in sorted(expected ^ there)]
