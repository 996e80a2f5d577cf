"""A lake of a few days with all that a trace reads: landing files, both ledgers, a manifest, features, predictions.

No Spark and no MLflow: what they leave is written down as literals. Coins are tossed; a feature row of a day looks at
the tosses of the two days before and at the newest register of coins until the evening before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.governance import trace
from include.lake import delta
from include.lake.dbt import artifacts
from include.lake.publications import Origin
from include.lake.publish import Content, Partition, Publication
from include.ml import ledger
from tests.conftest import installed
from tests.governance.stages import NIGHT, NIGHTS, Stages
from tests.ml.conftest import FIRST, toy_case, toy_rows
from tests.publications import record

DAY = FIRST + timedelta(9)
COIN = f"{DAY}-7"


def node(schema: str, alias: str, *depends_on: str, materialized: str = "candidate", **meta: Any) -> dict[str, Any]:
    return {
        "resource_type": "model",
        "schema": schema,
        "alias": alias,
        "config": {"materialized": materialized, "meta": meta},
        "depends_on": {"nodes": list(depends_on)},
    }


MANIFEST = {
    "sources": {
        "source.p.coins.tosses": {"schema": "bronze", "identifier": "coins__tosses"},
        "source.p.coins.register": {"schema": "bronze", "identifier": "coins__register"},
    },
    "nodes": {
        "model.p.stg_tosses": node("silver", "stg_tosses", "source.p.coins.tosses", materialized="ephemeral"),
        "model.p.tosses": node("silver", "tosses", "model.p.stg_tosses"),
        "model.p.register": node("silver", "register", "source.p.coins.register"),
        "model.p.history": node("silver", "history", "model.p.tosses", materialized="ephemeral"),
        "model.p.toy__features": node(
            "gold",
            "toy__features",
            "model.p.history",
            "model.p.tosses",
            "model.p.register",
            draws_on={"tosses": [-2, -1], "register": [None, -1]},
        ),
        "model.p.toy__labels": node("gold", "toy__labels", "model.p.tosses"),
        "test.p.unique": {"resource_type": "test"},
    },
}


@dataclass
class Lake:
    """Publishes into the lake as the stages do."""

    case: UseCase

    def land(self, feed: str, day: date, text: str) -> Origin:
        """Put a file into landing."""
        path = settings().landing / "coins" / feed / f"{day}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return Origin(f"coins/{feed}/{day}.csv", hashlib.sha256(text.encode()).hexdigest())

    def publish(self, table: str, partition: Partition, content: int, origin: Origin | None = None) -> None:
        """A line of the ledger of publications. ``content`` stands for the rows."""
        origins = {(table, partition[-1]): origin} if origin else None
        record([Publication(table, {partition: Content(1, content)}, ())], f"{table} run", None, origins)

    def ingest(self, feed: str, day: date, night: date, text: str) -> None:
        """Land a file and publish it to bronze and silver."""
        number = int.from_bytes(text.encode()[:6])
        self.publish(f"bronze.coins__{feed}", (day, night), number, self.land(feed, night, text))
        self.publish(f"silver.{feed}", (day,), number)

    def features(self, day: date, content: int = 1, shift: float = 0.0) -> None:
        rows = toy_rows(day, 1, shift).drop("is_head")
        delta.replace_days("gold", self.case.features_table, rows, day, day)
        self.publish(f"gold.{self.case.features_table}", (day,), content)

    def score(self, day: date, score: float = 0.5) -> None:
        ids = toy_rows(day, 1).select("coin_id", "flight_date")
        rows = ids.with_columns(score=pl.lit(score), model_version=pl.lit(1, pl.Int64))
        delta.replace_days("gold", self.case.predictions_table, rows, day, day)

    def trace(self, coin: str = COIN, tags: dict[str, str] | None = None) -> trace.Trace:
        trace.state.cache_clear()
        return trace.trace(self.case, coin, lambda version: tags)


@pytest.fixture(scope="session")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``var`` in which such a lake is. Its many commits take seconds, to copy them none."""
    with installed(tmp_path_factory.mktemp("scored")) as var:
        fill(Lake(toy_case()))
        return var


@pytest.fixture
def lake(scored: Path, home: Path) -> Lake:
    """A test's own copy of it."""
    shutil.copytree(scored, home, dirs_exist_ok=True)
    return Lake(toy_case())


def fill(found: Lake) -> None:
    """Tosses of the days 1 to 9, a register of 1 and of 5; day 10 is scored by a champion of the first days."""
    for table in ("bronze.coins__tosses", "bronze.coins__register", "silver.tosses", "silver.register"):
        delta.append(*table.split("."), pl.DataFrame({"day": [FIRST]}))
    for n in range(9):
        found.ingest("tosses", FIRST + timedelta(n), FIRST + timedelta(n), f"tosses of day {n}")
    for n in (0, 4):
        found.ingest("register", FIRST + timedelta(n), FIRST + timedelta(n), f"register of day {n}")
    for n in range(3, 10):
        found.features(FIRST + timedelta(n))
    ledger.append(
        found.case,
        model_version=1,
        effective_from=DAY,
        decided_by="gates",
        reason="passed",
        run_id="run",
        model_sha256="5a",
        reference_sha256="5b",
        trained_from=FIRST + timedelta(3),
        fitted_through=FIRST + timedelta(4),
        trained_through=FIRST + timedelta(5),
    )
    found.score(DAY)
    manifest()


def manifest() -> None:
    folder = artifacts("toy_features")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))


def day(n: int) -> date:
    """The n-th day, counted from 1."""
    return FIRST + timedelta(n - 1)


@pytest.fixture(scope="session")
def twelve(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[date, date], int]]:
    """The ``var`` after twelve nights, the last of the training set first, and what has arrived."""
    with installed(tmp_path_factory.mktemp("twelve")) as var, pytest.MonkeyPatch.context() as patch:
        case = toy_case()
        patch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
        shutil.copytree(world / "var", var, dirs_exist_ok=True)
        stages = Stages(case)
        stages.ingest(NIGHT - timedelta(1))
        stages.nights(NIGHTS)
        return var, stages.arrived
