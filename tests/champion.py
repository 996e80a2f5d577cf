"""What takes seconds to make and is copied by tests of several folders: an empty MLflow, and a first champion.

tests/conftest.py has them for all, so that a process of tests makes each once.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from include.core.settings import settings
from tests.ml.conftest import FIRST, toy_case, write_days


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty MLflow database. Migrating takes seconds, copying it none."""
    import mlflow

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def world(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state after the first night: 30 days in the lake, a champion trained on them, its files in the cache."""
    import mlflow

    from include.ml import ledger, model_files, promotion, train

    case, home = toy_case(), tmp_path_factory.mktemp("world")
    shutil.copy(empty_mlflow, home / "mlflow.db")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("NOCTURNE_VAR", str(home / "var"))
        patch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
        settings.cache_clear()
        mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
        write_days(case, FIRST, 30)
        promotion.promote("toy", train.train("toy", FIRST + timedelta(29), "cpu")["version"])
        champion = ledger.latest_champion(case)
        assert champion is not None
        model_files.load_booster(case, champion)
        model_files.load_reference(case, champion)
    mlflow.set_tracking_uri(before)
    settings.cache_clear()
    return home
