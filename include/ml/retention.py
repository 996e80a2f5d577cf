"""Runs of MLflow that no version came of: trainings that were killed or failed, with their trials."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from include.ml import errors, ledger, rollouts
from include.use_cases import use_cases

if TYPE_CHECKING:
    from mlflow.entities import Run

RESTORABLE = timedelta(days=30)
"""How long a deleted run has its files still, so that somebody can have it back: ``mlflow runs restore``."""
RETIRED = "nocturne.retired_at"
_PARENT = "mlflow.parentRunId"


def to_delete(before: datetime) -> list[Run]:
    """The runs of our trainings that ended before ``before`` and that no version of any model names.

    Neither one whose parent or child a version names, nor anybody's own, which has no request key.
    """
    with errors.of_mlflow("to list the runs of trainings"):
        named = _named()
        found = [run for run in _runs(before) if "request_key" in run.data.tags and run.info.status != "RUNNING"]
        kept = named | {run.data.tags.get(_PARENT, "") for run in found if run.info.run_id in named}
        return [run for run in found if run.info.run_id not in kept and run.data.tags.get(_PARENT, "") not in named]


def delete(runs: list[Run], now: datetime) -> None:
    """Delete ``runs``: MLflow shows them no more, and can restore them."""
    from mlflow import MlflowClient

    client = MlflowClient()
    with errors.of_mlflow("to delete runs that no version came of"):
        for run in runs:
            client.set_tag(run.info.run_id, RETIRED, now.isoformat(timespec="seconds"))
            client.delete_run(run.info.run_id)


def to_empty(now: datetime) -> list[Run]:
    """The runs that ``delete`` has deleted ``RESTORABLE`` ago, which have files still.

    Not by ``mlflow gc``: with the runs that it is told it also takes every experiment and model that is deleted.
    """
    from mlflow import MlflowClient

    client, last = MlflowClient(), (now - RESTORABLE).isoformat(timespec="seconds")
    with errors.of_mlflow("to list deleted runs"):
        named = _named()
        return [
            run
            for run in _runs(now, deleted=True)
            if "" < run.data.tags.get(RETIRED, "") < last
            and run.info.run_id not in named
            and client.list_artifacts(run.info.run_id)
        ]


def empty(runs: list[Run]) -> None:
    """Remove the files of ``runs``, and of what they have logged as models."""
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client = MlflowClient()
    with errors.of_mlflow("to remove the files of deleted runs"):
        for run in runs:
            its = f"source_run_id = '{run.info.run_id}'"
            for model in client.search_logged_models([run.info.experiment_id], its):
                get_artifact_repository(model.artifact_location).delete_artifacts()
                client.delete_logged_model(model.model_id)
            get_artifact_repository(run.info.artifact_uri).delete_artifacts()


def _named() -> set[str]:
    """The runs that versions name, of any model, or a ledger of ours."""
    from include.ml.registry import registered

    named = {str(one.run_id) for one in registered()}
    for case in use_cases().values():
        named |= {one.run_id for one in ledger.read(case)} | {one.run_id for one in rollouts.read(case)}
    return named


def _runs(before: datetime, *, deleted: bool = False) -> Iterator[Run]:
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client, view = MlflowClient(), ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    experiments = [client.get_experiment_by_name(name) for name in use_cases()]
    ids = [one.experiment_id for one in experiments if one is not None]
    ended, token = f"attributes.end_time < {int(before.timestamp() * 1000)}", ""
    while ids:
        page = client.search_runs(ids, ended, view, max_results=1000, page_token=token or None)
        yield from page
        if not (token := page.token or ""):
            return
