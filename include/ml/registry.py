"""Model versions in MLflow.

Where MLflow is and how to log in, MLflow itself reads from its own environment variables. It is imported inside
functions: a night that only scores finds the champion in the ledger and its booster in a local cache, and needs none of
it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.ml import environment, errors, evaluation, ledger, model_files, record, tasks
from include.ml.code import Code
from include.ml.dataset import DELTA_VERSION, DataMissingError, Dataset, load
from include.ml.model_files import MODEL_FILE, REFERENCE_FILE, USE_CASE_FILE, sha256
from include.ml.reference import Reference, features_of

if TYPE_CHECKING:
    from mlflow import ActiveRun, MlflowClient
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models.signature import ModelSignature

    from include.ml.ledger import Champion
    from include.ml.search import Found
    from include.ml.train import Keys, Trained


EVALUATION_FILE = "evaluation.json"
"""All that was measured, as an artifact of the run: of some of it MLflow shows the most telling as metrics."""


class UnknownRecipeError(NeedsAttentionError):
    """A version in MLflow that no training of ours has registered: what it was made of is not known."""


@dataclass(frozen=True)
class Version:
    """A registered version. ``metrics`` and dates are those that its training has written down."""

    version: int
    run_id: str
    device: str
    trained_from: date
    fitted_through: date
    trained_through: date
    metrics: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: dates as text."""
        return {key: str(value) if isinstance(value, date) else value for key, value in asdict(self).items()}


def finish_killed(case: UseCase) -> None:
    """Finish or end what trainings have begun in MLflow and not ended. Hold the lease of trainings: none is running.

    A training was killed, or lost MLflow's answer, and what it had asked for was done twice. A run that had come to
    register its version is finished, any other run of ours that seems to be running is ended as killed, and each half
    of a model as failed. Of two versions of one run the second goes. The newest version has the alias ``challenger``.
    """
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelStatus

    client = MlflowClient()
    with errors.of_mlflow(f"to list the runs of {case.name}"):
        experiment = client.get_experiment_by_name(case.name)
        if experiment is None:
            return
        here, registered = [experiment.experiment_id], {str(one.run_id): one for one in _without_doubles(case, client)}
        for run in client.search_runs(here, "attributes.status = 'RUNNING'"):
            if "request_key" not in run.data.tags:
                continue  # somebody's own
            made = run.info.run_id in registered
            client.set_terminated(run.info.run_id, "FINISHED" if made else "KILLED")
            print(f"run {run.info.run_id} of a training that did not end: {'finished' if made else 'ended as killed'}")
        # The newest are enough: each training looks.
        newly_logged = client.search_logged_models(
            here, max_results=50, order_by=[{"field_name": "creation_timestamp", "ascending": False}]
        )
        for model in newly_logged:
            if model.status == LoggedModelStatus.PENDING and _is_ours(client, model.source_run_id):
                client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        newest = max((one for one in registered.values() if "request_key" in one.tags), key=number_of, default=None)
        if newest is not None and client.get_registered_model(case.name).aliases.get("challenger") != newest.version:
            client.set_registered_model_alias(case.name, "challenger", str(newest.version))


def _is_ours(client: MlflowClient, run_id: str | None) -> bool:
    return bool(run_id) and "request_key" in client.get_run(str(run_id)).data.tags


def _without_doubles(case: UseCase, client: MlflowClient) -> list[ModelVersion]:
    """The versions of ``case``, after those were deleted that came twice: MLflow's client asks again where an answer is
    lost, and a version is made each time. What was judged or served stays, whoever has made it."""
    known = {one.model_version for one in record.judgements(case)} | {one.model_version for one in ledger.read(case)}
    first: dict[tuple[str, str], ModelVersion] = {}
    kept = []
    for one in sorted(_of(case), key=number_of):
        key = one.tags.get("request_key", one.version)  # without: somebody's own
        of = first.setdefault((str(one.run_id), key), one)
        if of is one or number_of(one) in known:
            kept.append(one)
        else:
            print(f"version {one.version} of {case.name} is version {of.version} once more, and is deleted")
            client.delete_model_version(case.name, one.version)
    return kept


def show_champion(case: UseCase) -> None:
    """Give the champion of the ledger the alias ``champion``. Hold ``ledger.deploying``, or an older one may win."""
    from mlflow import MlflowClient

    champion = ledger.latest_champion(case)
    if champion is None:
        return
    with errors.of_mlflow(f"to show that version {champion.model_version} of {case.name} is champion"):
        MlflowClient().set_registered_model_alias(case.name, "champion", str(champion.model_version))


def fitted(case: UseCase, recipe_key: str) -> xgb.Booster | None:
    """What an earlier try has fitted by this recipe and could not register; None where there is none.

    It is the one that the ledger of trainings names, by its checksum.
    """
    made = [one.model_sha256 for one in record.trainings(case) if one.recipe_key == recipe_key]
    return model_files.fitted(case, made[-1]) if made else None


def require_experiment(case: UseCase) -> None:
    """Raise RegistryRefusedError where MLflow will take no run of ``case``, since somebody deleted its experiment."""
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to tell about the experiment {case.name}"):
        found = MlflowClient().get_experiment_by_name(case.name)
    if found is not None and found.lifecycle_stage != "active":
        raise errors.RegistryRefusedError(
            f"MLflow refuses to register a version of {case.name}: the experiment of that name was deleted there, and "
            f"keeps its name. Restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
        )


def find(case: UseCase, request_key: str, recipe_key: str = "", champion: Champion | None = None) -> Version | None:
    """The version that was registered for this request, or that answers it, or None.

    A version of the same recipe answers it where it is the ``champion`` itself, or learned from earlier days than that:
    trained again, it would be the same model, and could not replace it.
    """
    with errors.of_mlflow(f"to look for a version of {case.name}"):
        found = [one for one in _of(case) if one.tags.get("request_key") == request_key]
        if champion is not None and not found:
            found = [one for one in _of(case) if one.tags.get("recipe_key") == recipe_key and _is_old(one, champion)]
        # The lowest: should there ever be two, the first is the one that others have seen.
        oldest = min(found, key=number_of, default=None)
        if oldest is None:
            return None
        training = training_of(case, oldest)
        model_files.forget_fitted(case, training.model_sha256)  # the try that has registered it did not come so far
        return _version(oldest, training)


def _is_old(found: ModelVersion, champion: Champion) -> bool:
    through = date.fromisoformat(tag(found, "trained_through"))
    return number_of(found) == champion.model_version or through < champion.trained_through


def training_of(case: UseCase, found: ModelVersion) -> record.Training:
    """What our ledger knows of the training that a version came of. Raises UnknownRecipeError where it knows nothing.

    That is so of a version of an earlier release as well: it goes on where it is champion, and is not promoted again.
    """
    training = record.training_of(case, tag(found, "request_key"), tag(found, "model_sha256"))
    if training is None:
        raise UnknownRecipeError(
            f"version {found.version} of {found.name} is in MLflow, and gold.{case.trainings_table} knows no training "
            f"of its files: its tags were changed, or an earlier release has registered it. Train a version with the "
            f"DAG {found.name}_train"
        )
    return training


def _version(found: ModelVersion, training: record.Training) -> Version:
    return Version(
        version=number_of(found),
        run_id=str(found.run_id),
        device=training.device,
        trained_from=training.trained_from,
        fitted_through=training.fitted_through,
        trained_through=training.trained_through,
        metrics=training.metrics,
    )


def _of(case: UseCase) -> list[ModelVersion]:
    return list(registered(f"name = '{case.name}'"))


def number_of(found: ModelVersion) -> int:
    return int(found.version)


def tag(found: ModelVersion, name: str) -> str:
    """What our training wrote down about a version. Raises UnknownRecipeError where it did not."""
    if name not in found.tags:
        raise UnknownRecipeError(
            f"version {found.version} of {found.name} in MLflow has no tag `{name}`: no training registered it, or the "
            f"tag was taken off. Train a version with the DAG {found.name}_train, or put the tag back"
        )
    return str(found.tags[name])


def register(case: UseCase, night: date, keys: Keys, data: Dataset, trained: Trained, code: Code) -> Version:
    """Log a run with everything needed to cook this model again, and register it with the alias ``challenger``.

    What decides is written down first, in a ledger of ours, and the booster is kept until MLflow has it. ``code`` is
    that before the fit. What a kill in between, or a lost answer of MLflow, leaves behind, ``finish_killed`` mends.
    """
    model, reference = bytes(trained.booster.save_raw("ubj")), json.dumps(trained.reference, sort_keys=True, indent=1)
    tags = {
        "request_key": keys.request,
        "recipe_key": keys.recipe,
        "partition": str(night),
        "content_hash": data.content_hash,
        "git_commit": code.commit,
        "git_dirty": str(code.dirty).lower(),
        "git_reason": code.reason,
        "device": trained.device,
        "gpu": trained.gpu,
        "trained_from": trained.reference["data"]["first"],
        "fitted_through": str(trained.split.train[1]),
        "trained_through": trained.reference["data"]["last"],
        "model_sha256": sha256(model),
        "reference_sha256": sha256(reference.encode()),
        **{f"{DELTA_VERSION}{table}": str(version) for table, version in data.versions.items()},
    }
    files = {
        REFERENCE_FILE: reference,
        USE_CASE_FILE: json.dumps(asdict(case), default=str, indent=1),
        EVALUATION_FILE: json.dumps(finite(trained.metrics | trained.timings), sort_keys=True, indent=1),
    }
    if code.dirty:
        files["diff.patch"] = code.diff
    training = record.Training(
        request_key=keys.request,
        recipe_key=keys.recipe,
        partition=night,
        model_sha256=tags["model_sha256"],
        reference_sha256=tags["reference_sha256"],
        content_hash=data.content_hash,
        trained_from=date.fromisoformat(tags["trained_from"]),
        fitted_through=trained.split.train[1],
        holdout_from=trained.split.holdout[0],
        trained_through=date.fromisoformat(tags["trained_through"]),
        device=trained.device,
        champion=trained.champion,
        metrics=finite(trained.metrics | trained.timings),
        versions=dict(data.versions),
        code=environment.code_key(code),
        environment=environment.of_training(),
        seconds=trained.seconds,
        evaluation=evaluation.VERSION,
        chosen=trained.searched.chosen if trained.searched else {},
        searched=trained.searched.summary() if trained.searched else {},
    )
    model_files.keep_fitted(case, model)
    record.append_training(case, training)
    with errors.of_mlflow(f"to register a version of {case.name} for the night {night} (its model is kept meanwhile)"):
        _register_with(case, f"{case.name} {night}", tags, files, trained)
        finish_killed(case)
        found = min((one for one in _of(case) if one.tags.get("request_key") == keys.request), key=number_of)
    model_files.forget_fitted(case, training.model_sha256)
    return _version(found, training)


def finite(found: dict[str, float]) -> dict[str, float]:
    """Without what does not exist, as an AUC without two classes: JSON and stores have no NaN.

    What is not there passes no gate.
    """
    return {name: value for name, value in found.items() if isfinite(value)}


def _register_with(case: UseCase, run_name: str, tags: dict[str, str], files: dict[str, str], trained: Trained) -> None:
    """Log a run, and make a version of it."""
    import mlflow

    training = asdict(case.training)
    training.pop("search")
    params = training.pop("params") | training | {"features": len(case.features)}
    mlflow.set_experiment(case.name)
    with mlflow.start_run(run_name=run_name, tags=tags) as run, tempfile.TemporaryDirectory() as folder:
        if trained.searched is not None:
            params |= trained.searched.chosen | {
                f"search_{name}": of for name, of in trained.searched.summary().items()
            }
            _log_trials(run, trained.searched, tags["request_key"])
        mlflow.log_params(params)
        mlflow.log_metrics(evaluation.shown(finite(trained.metrics | trained.timings)))
        for name, content in files.items():
            (Path(folder) / name).write_text(content)
        mlflow.log_artifacts(folder)
        (Path(folder) / MODEL_FILE).write_bytes(trained.booster.save_raw("ubj"))
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"model": str(Path(folder) / MODEL_FILE), "reference": str(Path(folder) / REFERENCE_FILE)},
            # Given, because guessing them takes several seconds in a child process.
            pip_requirements=[f"mlflow=={mlflow.__version__}", f"xgboost=={xgb.__version__}"],
            signature=signature(case),
        )
        # The tags go with the creation: a version is never there without its request key.
        mlflow.register_model(logged.model_uri, case.name, await_registration_for=30, tags=tags)


def _log_trials(run: ActiveRun, found: Found, request_key: str) -> None:
    """Each trial of a search as a child of the training's run, with its score after each step."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    from include.ml.search import STEPS

    client = MlflowClient()
    for one in found.trials:
        began, ended = int(1000 * one.began), int(1000 * (one.began + one.seconds))
        name = f"trial {one.number}" if one.number else "trial 0: the spec's own parameters"
        # With the key, a run that a kill leaves behind is known as ours and ended (``finish_killed``).
        tags = {
            MLFLOW_PARENT_RUN_ID: run.info.run_id,
            "request_key": request_key,
            "pruned": str(one.pruned).lower(),
            "trial": str(one.number),
        }
        child = client.create_run(run.info.experiment_id, began, tags, name).info.run_id
        steps = one.steps if one.pruned else {**one.steps, STEPS: one.score}
        client.log_batch(
            child,
            [Metric(found.metric, score, ended, step) for step, score in steps.items() if isfinite(score)],
            [Param(name, str(value)) for name, value in one.params.items()],
        )
        client.set_terminated(child, "FINISHED", ended)


def signature(case: UseCase) -> ModelSignature:
    """What a version takes, as the features table has it, and what it gives, as the predictions table has it."""
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    text, number = DataType.string, DataType.double
    inputs: list[Any] = [ColSpec(text if one.levels else number, one.name, required=False) for one in case.features]
    outputs: list[Any] = [
        ColSpec(text if isinstance(kind, pl.String) else number, name) for name, kind in tasks.of(case).columns.items()
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def pinned() -> dict[str, list[int]]:
    """The Delta versions of tables, ``gold.<name>``, that any registered version of any model was trained on.

    Also of models whose use case is gone: what holds a table's version is the registry, until somebody deletes there.
    """
    with errors.of_mlflow("to list the registered versions"):
        found = {
            (f"gold.{name.removeprefix(DELTA_VERSION)}", int(version))
            for one in registered()
            for name, version in one.tags.items()
            if name.startswith(DELTA_VERSION)
        }
    pins: dict[str, list[int]] = {}
    for table, version in sorted(found):
        pins.setdefault(table, []).append(version)
    return pins


def references(case: UseCase) -> dict[int, Reference]:
    """What is known of each registered version's training data, by version. Its ``features`` are what it takes.

    A version that somebody registered by hand has none and is not there. Raises DamagedModelError where MLflow's copy
    is not what was registered.
    """
    found = sorted((one for one in _of(case) if "reference_sha256" in one.tags), key=number_of)
    return {
        number_of(one): json.loads(
            model_files.cached(
                case, number_of(one), str(one.run_id), REFERENCE_FILE, one.tags["reference_sha256"]
            ).read_text()
        )
        for one in found
    }


def training_set(case: UseCase, version: int) -> Dataset:
    """The rows that a registered version was trained on, its holdout included, as the tables were then.

    They have the features that the version takes, whatever the spec says today.

    Raises RegistryRefusedError for an unknown version, UnknownRecipeError for one that no training registered,
    VersionMissingError where a table was vacuumed by others than maintenance, and DataMissingError where the columns or
    rows of the tables are not those of that training any more.
    """
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to tell about version {version} of {case.name}"):
        found = MlflowClient().get_model_version(case.name, str(version))
    partition = "partition" if "partition" in found.tags else "night"  # as earlier versions say it
    first, last, night = (
        date.fromisoformat(tag(found, name)) for name in ("trained_from", "trained_through", partition)
    )
    tables = [case.features_table, case.labels_table]
    if f"{DELTA_VERSION}{case.labelled_table}" in found.tags:
        tables.append(case.labelled_table)
    versions = {table: int(tag(found, f"{DELTA_VERSION}{table}")) for table in tables}
    features = features_of(model_files.reference_of(case, version, str(found.run_id), tag(found, "reference_sha256")))
    data = load(case, first, last, as_of=night, versions=versions, features=features)
    if data.content_hash != tag(found, "content_hash"):
        raise DataMissingError(
            f"{case.name} version {version} was not trained on what {case.features_table} and {case.labels_table} have "
            f"at versions {' and '.join(map(str, versions.values()))}: the tables were made anew since"
        )
    return data


def registered(which: str | None = None) -> Iterator[ModelVersion]:
    """Every registered version, of all models or of those that MLflow's filter ``which`` names."""
    from mlflow import MlflowClient

    client, token = MlflowClient(), None
    while True:
        page = client.search_model_versions(which, page_token=token)
        yield from page
        if not (token := page.token):
            return
