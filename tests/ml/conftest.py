"""A tiny use case with a real lake, a real XGBoost and a real MLflow (on SQLite) under a temporary folder."""

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Binary, DriftPolicy, Feature, Training, UseCase
from include.lake import delta

FIRST = date(2020, 1, 1)
ROWS = 60


def toy_case(**changes: object) -> UseCase:
    """30 days train a model, the last 7 of them judge it."""
    values: dict[str, object] = {
        "name": "toy",
        "description": "whether a coin falls on its head",
        "owner": "tests",
        "sources": ("coins",),
        "entity": ("coin_id",),
        "day": "flight_date",
        "label": "is_head",
        # Wide margins: seven days of 60 coins do not tell two good models from each other any better.
        "task": Binary(
            min_auc=0.6,
            max_auc=0.95,
            baseline="noise",
            max_calibration_error=0.2,
            max_auc_loss=0.2,
            max_log_loss_loss=0.3,
        ),
        "context": ("known_from",),
        "features": (
            Feature("weight"),
            Feature("metal", "categorical", vocabulary=("gold", "iron")),
            Feature("noise"),
        ),
        "training": Training(
            params={"objective": "binary:logistic", "max_depth": 2, "learning_rate": 0.3},
            rounds=8,
            first_day=FIRST,
            holdout_days=7,
            min_train_days=10,
            threads=1,
        ),
        "drift": DriftPolicy(cool_down_days=5),
    }
    return UseCase(**(values | changes))  # type: ignore[arg-type]


def toy_rows(first: date, days: int, shift: float = 0.0) -> pl.DataFrame:
    """Coins of some days, features and label together; a day has the same rows whichever range it is asked with.

    ``shift`` moves the weights: the inputs drift, and with them the scores.
    """
    frames = []
    for n in range(days):
        day = first + timedelta(n)
        random = np.random.default_rng(day.toordinal())
        weight = random.normal(size=ROWS)
        metal = random.choice(["gold", "iron", "tin"], ROWS)
        likely = 1 / (1 + np.exp(-1.5 * weight - (metal == "gold")))
        frames.append(
            pl.DataFrame(
                {
                    "coin_id": [f"{day}-{i}" for i in range(ROWS)],
                    "flight_date": [day] * ROWS,
                    "known_from": [day - timedelta(1)] * ROWS,
                    "weight": weight + shift,
                    "metal": metal,
                    "noise": random.normal(size=ROWS),
                    "is_head": (random.random(ROWS) < likely).astype(np.int32),
                }
            )
        )
    return pl.concat(frames)


def write_days(case: UseCase, first: date, days: int, *, shift: float = 0.0, labels: bool = True) -> None:
    """Put toy days into the lake, as dbt would."""
    rows, last = toy_rows(first, days, shift), first + timedelta(days - 1)
    delta.replace_days("gold", case.features_table, rows.drop("is_head"), first, last)
    if labels:
        kept = rows.select("coin_id", "flight_date", "is_head", ingestion_date="flight_date")
        delta.replace_days("gold", case.labels_table, kept, first, last)


@pytest.fixture
def lake(home: Path) -> Path:
    """An empty lake."""
    return home / "lake"


@pytest.fixture
def toy(lake: Path, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """The toy use case, found by its name, with 30 days of features and labels."""
    case = toy_case()
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    write_days(case, FIRST, 30)
    return case


@pytest.fixture(scope="session")
def middle(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state that ``tests/ml/crossing.py`` describes: two champions have served, one version waits, one is new."""
    from tests.ml import crossing

    folder = tmp_path_factory.mktemp("middle") / "state"
    crossing.build(world, folder)
    return folder


@pytest.fixture
def deployed(world: Path, lake: Path, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """The toy use case with its champion, in this test's own copy of the lake; no MLflow is there."""
    case = toy_case()
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    shutil.copytree(world / "var", lake.parent, dirs_exist_ok=True)
    return case


@pytest.fixture
def mlflow_store(empty_mlflow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fresh MLflow of this test's own."""
    import mlflow

    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)  # artifacts go to ./mlruns
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield
    mlflow.set_tracking_uri(before)
