"""The stages of a small use case, run by the functions that its tasks run, on a lake of a test's own.

Coins again. A feature of a day is moved by what was tossed on the two days before it, as far as that had arrived by the
evening before; what was tossed is a number, which a late row or a corrected file changes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import polars as pl

from include.contracts.use_case import UseCase
from include.core.partitions import Partitions
from include.governance import staleness
from include.lake import candidate, commit, dbt
from include.lake.dbt import Build, Candidate, artifacts
from include.lake.publish import Content, Publication
from include.ml import monitor
from include.serving import batch
from tests.ml.conftest import FIRST, toy_rows
from tests.publications import record

DAY = timedelta(1)
NIGHT = FIRST + 29 * DAY
NIGHTS = [NIGHT + n * DAY for n in range(12)]


def model(schema: str, alias: str, *parents: str, **meta: Any) -> dict[str, Any]:
    return {
        "resource_type": "model",
        "package_name": "p",
        "schema": schema,
        "alias": alias,
        "raw_code": f"select 1 -- of {alias}",
        "config": {"materialized": "candidate", "meta": meta},
        "depends_on": {"nodes": list(parents), "macros": []},
    }


def manifest() -> dict[str, Any]:
    return {
        "sources": {"source.p.coins.tosses": {"schema": "bronze", "identifier": "coins__tosses"}},
        "macros": {},
        "nodes": {
            "model.p.tosses": model("silver", "tosses", "source.p.coins.tosses"),
            "model.p.toy__features": model("gold", "toy__features", "model.p.tosses", draws_on={"tosses": [-2, -1]}),
            "model.p.toy__labels": model("gold", "toy__labels", "model.p.tosses"),
        },
    }


@dataclass
class Stages:
    """Each does what a night does of it; the nights are the days of the coins, and ``arrived`` is what has come."""

    case: UseCase
    arrived: dict[tuple[date, date], int] = field(default_factory=dict)
    sql: dict[str, Any] = field(default_factory=manifest)

    def ingest(self, day: date, night: date | None = None, tossed: int = 1) -> None:
        """Rows of ``day`` come in the file of ``night``, by default its own: bronze and silver."""
        self.arrived[day, night or day] = tossed
        bronze = Publication("bronze.coins__tosses", {(day, night or day): Content(1, tossed)}, ())
        record([bronze], "ingest")
        record([Publication("silver.tosses", {(day,): Content(1, self.known(day, date.max))}, ())], "transform")

    def known(self, day: date, through: date) -> int:
        """What is known of ``day`` in the night ``through``, as a number."""
        its = ((night, tossed) for (of, night), tossed in self.arrived.items() if of == day and night <= through)
        return sum(tossed * (1 + (night - day).days) for night, tossed in its)

    def build(self, first: date, last: date | None = None) -> Build:
        """The candidates of features and labels of some nights, as they would be now."""
        begun, nights = commit.moment(), Partitions(first, last or first)
        folder = artifacts(f"{self.case.name}_features")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(self.sql))
        features = pl.concat([self.features(night + DAY) for night in nights.days])
        labels = pl.concat([self.labels(night) for night in nights.days])
        suffix, made = f"__{first:%Y_%m_%d}__{uuid4().hex[:8]}", []
        for table, rows, lead in (
            (f"gold.{self.case.features_table}", features, 1),
            (f"gold.{self.case.labels_table}", labels, 0),
        ):
            candidate.write(candidate.name(table, suffix), [rows])
            made.append(vars(Candidate(candidate.name(table, suffix), table, "flight_date", lead)))
        return {"nights": nights.key, "also": [], "begun": begun.isoformat(), "engine": "e", "candidates": made}

    def features(self, day: date) -> pl.DataFrame:
        moved = sum(self.known(day - n * DAY, day - DAY) for n in (1, 2))
        return toy_rows(day, 1, shift=moved / 100).drop("is_head")

    def labels(self, day: date) -> pl.DataFrame:
        return toy_rows(day, 1).select("coin_id", "flight_date", "is_head", ingestion_date="flight_date")

    def publish(self, build: Build) -> None:
        dbt.publish_built("toy_features", build, "features", staleness.recording(self.case))

    def predict(self, first: date, last: date | None = None) -> dict[str, Any]:
        return batch.predict(self.case.name, first + DAY, (last or first) + DAY)

    def measure(self, first: date, last: date | None = None) -> dict[str, Any]:
        nights = Partitions(first, last or first)
        with staleness.measuring(self.case, nights):
            return monitor.measure(self.case.name, nights.first, nights.last)

    def run(self, stage: str, first: date, last: date | None = None) -> None:
        """A stage as its DAG does it, with those behind it: each announces to the next."""
        if stage == "features":
            self.publish(self.build(first, last))
        if stage in ("features", "predict"):
            self.predict(first, last)
        self.measure(first, last)

    def nights(self, nights: Sequence[date]) -> None:
        for night in nights:
            self.ingest(night)
            self.run("features", night)
