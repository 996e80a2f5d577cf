"""A registered version is whole: loaded from MLflow, it gives rows as they stand the platform's scores."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import ledger, promotion, scoring, train
from tests.ml.conftest import FIRST
from tests.ml.worlds import SALES, WEATHER, World

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


def test_no_pickle_is_kept(toy: UseCase) -> None:
    train.train("toy", FIRST + timedelta(29), "cpu")
    folder = Path(mlflow.artifacts.download_artifacts("models:/toy/1"))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"model.ubj", "reference.json", "served.py"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
