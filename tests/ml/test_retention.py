"""Runs that no version came of go; what a version or a ledger names, or somebody made for himself, stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import pytest

from include.ml import retention as runs
from tests.ml.conftest import toy_case

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(180)


def forget() -> None:
    runs.delete(runs.to_delete(BEFORE), NOW)


@pytest.fixture
def client(home: Path, mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    case = toy_case()
    monkeypatch.setattr(runs, "use_cases", lambda: {case.name: case})
    mlflow.set_experiment("toy")
    return mlflow.MlflowClient()


def run(name: str, days: int, parent: str = "", **tags: str) -> str:
    """A run of a training that ended so many days ago, with a file."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    at = int((NOW - timedelta(days)).timestamp() * 1000)
    tags = {"request_key": name} | ({"mlflow.parentRunId": parent} if parent else {}) | tags
    made = client.create_run(experiment.experiment_id, at, tags, name)
    client.log_text(made.info.run_id, "trees", "model.ubj")
    client.set_terminated(made.info.run_id, "KILLED", at)
    return str(made.info.run_id)


def test_runs_that_no_version_came_of_go_first_and_their_files_a_month_later(client: mlflow.MlflowClient) -> None:
    killed = run("killed", 181)
    trial = run("trial of it", 181, parent=killed)
    young = run("young", 179)
    served = run("served", 400)
    kept_trial = run("trial", 400, parent=served)
    client.create_registered_model("toy")
    client.create_model_version("toy", f"runs:/{served}/model", served)
    with mlflow.start_run() as own:  # somebody's
        mlflow.log_param("a", 1)
    client.set_terminated(own.info.run_id, "FINISHED", int((NOW - timedelta(400)).timestamp() * 1000))
    forget()
    stages = {one: client.get_run(one).info.lifecycle_stage for one in (killed, trial)}
    assert set(stages.values()) == {"deleted"}
    for one in (young, served, kept_trial, own.info.run_id):
        assert client.get_run(one).info.lifecycle_stage == "active"
    assert runs.to_delete(BEFORE) == []
    assert [one.path for one in client.list_artifacts(killed)] == ["model.ubj"]
    later = NOW + timedelta(31)
    client.restore_run(trial)  # somebody wants it back
    assert killed in {one.info.run_id for one in runs.to_empty(later)}
    runs.empty(runs.to_empty(later))
    assert client.list_artifacts(killed) == []
    assert [one.path for one in client.list_artifacts(trial)] == ["model.ubj"]
    assert [one.path for one in client.list_artifacts(served)] == ["model.ubj"]
