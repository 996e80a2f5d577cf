"""A registered version is whole: loaded from MLflow, it gives rows as they stand the platform's scores."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import mlflow
import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import ledger, promotion, scoring, train
from tests.ml.conftest import FIRST
from tests.ml.worlds import SALES, WEATHER, World
from tests.s3 import free_port

pytestmark = pytest.mark.usefixtures("home", "mlflow_store")


def both(case: UseCase, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The platform's predictions of ``rows``, and those of the version as MLflow loads it."""
    champion = ledger.latest_champion(case)
    assert champion is not None
    own = scoring.score_rows(case, champion, rows).drop(*case.key, scoring.VERSION)
    loaded = mlflow.pyfunc.load_model(f"models:/{case.name}@champion")
    return own, pl.from_pandas(loaded.predict(rows.to_pandas()))


def test_rows_as_they_stand_get_the_platform_s_scores(toy: UseCase) -> None:
    """Texts of which one was never seen, a null of each kind, and columns that are no features."""
    promotion.promote("toy", train.train("toy", FIRST + timedelta(29), "cpu")["version"])
    rows = delta.read_all("gold", toy.features_table).with_columns(
        metal=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("metal"),
        weight=pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise("weight"),
    )
    assert "tin" in rows["metal"], "no level of the spec"
    own, served = both(toy, rows)
    assert served.equals(own)


@pytest.mark.parametrize("world", [WEATHER, SALES], ids=["multiclass", "quantiles"])
def test_of_other_tasks_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world.found(monkeypatch)
    world.write(FIRST, 40)
    promotion.promote(world.case.name, train.train(world.case.name, FIRST + timedelta(39), "cpu")["version"])
    own, served = both(world.case, delta.read_all("gold", world.case.features_table))
    assert served.equals(own)


def champion_of(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[UseCase, pl.DataFrame]:
    """A use case with a champion, and all rows of features with their labels."""
    case = world.found(monkeypatch).case
    world.write(FIRST, 40)
    promotion.promote(case.name, train.train(case.name, FIRST + timedelta(39), "cpu")["version"])
    labels = delta.read_all("gold", case.labels_table).select(*case.key, case.label)
    return case, delta.read_all("gold", case.features_table).join(labels, on=case.key)


def retried(ask: Callable[[], httpx.Response], seconds: float) -> httpx.Response:
    """The answer of a server that is about to come up."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask().raise_for_status()
        except httpx.TransportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


QUIET = {"log_model_explainability": False}


def test_mlflow_evaluates_a_version_that_predicts_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    case, rows = champion_of(SALES, monkeypatch)
    predicted = mlflow.pyfunc.load_model(f"models:/{case.name}@champion").predict(rows.to_pandas())["predicted"]
    found = mlflow.models.evaluate(
        f"models:/{case.name}@champion",
        rows.to_pandas(),
        targets=case.label,
        predictions="predicted",
        model_type="regressor",
        evaluator_config=QUIET,
    )
    errors = rows[case.label].to_numpy() - predicted.to_numpy()
    assert found.metrics["mean_absolute_error"] == pytest.approx(abs(errors).mean())


def test_mlflow_evaluates_the_predictions_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions, and not the version: of a classifier MLflow takes one column only, and it gives a score each too."""
    case, rows = champion_of(WEATHER, monkeypatch)
    given = mlflow.pyfunc.load_model(f"models:/{case.name}@champion").predict(rows.to_pandas())
    scored = rows.to_pandas().assign(predicted=given["predicted"].to_numpy())
    found = mlflow.models.evaluate(
        data=scored,
        targets=case.label,
        predictions="predicted",
        model_type="classifier",
        evaluator_config=QUIET,
    )
    assert found.metrics["accuracy_score"] == pytest.approx((scored["predicted"] == scored[case.label]).mean())


@pytest.mark.full
def test_mlflow_serves_it(toy: UseCase) -> None:
    promotion.promote("toy", train.train("toy", FIRST + timedelta(29), "cpu")["version"])
    rows = delta.read_all("gold", toy.features_table).head(5)
    own, _ = both(toy, rows)
    port = free_port()
    command = ["mlflow", "models", "serve", "-m", "models:/toy@champion", "--env-manager", "local", "-p", str(port)]
    with subprocess.Popen([sys.executable, "-m", *command], start_new_session=True) as server:
        try:
            asked = {"dataframe_split": json.loads(rows.to_pandas().to_json(orient="split", date_format="iso"))}
            answer = retried(lambda: httpx.post(f"http://127.0.0.1:{port}/invocations", json=asked), seconds=60)
            assert pl.DataFrame(answer.json()["predictions"]).equals(own)
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def test_no_pickle_is_kept(toy: UseCase) -> None:
    train.train("toy", FIRST + timedelta(29), "cpu")
    folder = Path(mlflow.artifacts.download_artifacts("models:/toy/1"))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"model.ubj", "reference.json", "served.py"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
