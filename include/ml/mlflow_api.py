"""What MLflow has, read over its REST API: for those who show it to a person who waits.

MLflow's own client, which trainings use (``registry``), takes 1.6 seconds and 150 MB to import: more than all the rest
of ``trace``, which Airflow's page of a prediction runs as a process of its own.
"""

from __future__ import annotations

from typing import Any

import httpx

from include.contracts.use_case import UseCase
from include.core.settings import MLFLOW_USER, Settings, settings

SECONDS = 30


def get(path: str, of: Settings | None = None, **params: str) -> dict[str, Any]:
    """The JSON answer of ``path``, as ``runs/get``. Raises httpx.HTTPError, and NotSetUpError without a password."""
    of = of or settings()
    answer = httpx.get(
        f"{of.mlflow_url}/api/2.0/mlflow/{path}",
        params=params,
        auth=(MLFLOW_USER, of.secret("mlflow_admin_password")),
        timeout=SECONDS,
    )
    answer.raise_for_status()
    return dict(answer.json())


def tags(version: dict[str, Any]) -> dict[str, str]:
    """The tags of a model version as the API writes it."""
    return {tag["key"]: tag["value"] for tag in version.get("tags", [])}


def tags_of(case: UseCase, version: int) -> dict[str, str] | None:
    """What MLflow has of a version: from its server, or where that is down from its database. None without either."""
    try:
        return tags(get("model-versions/get", name=case.name, version=str(version))["model_version"])
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.NOT_FOUND:
            return None
        raise
    except (httpx.TransportError, FileNotFoundError):
        return _from_database(case, version)


def _from_database(case: UseCase, version: int) -> dict[str, str] | None:
    if not settings().mlflow_database.exists():
        return None
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{settings().mlflow_database}")
    try:
        return dict(client.get_model_version(case.name, str(version)).tags)
    except mlflow.MlflowException:
        return None
