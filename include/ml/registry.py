"""Model versions in MLflow, and their promotion to champion.

Where MLflow is and how to log in, MLflow itself reads from its own environment variables. It is imported inside
functions: a night that only scores finds the champion in the ledger and its booster in a local cache, and needs none of
it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xgboost as xgb

from include.contracts.use_case import Feature, Gates, UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.ml import errors, ledger
from include.ml.code import Code
from include.ml.dataset import DELTA_VERSION, DataMissing, Dataset, load
from include.ml.ledger import Champion
from include.ml.reference import Reference, features_of, inputs_of
from include.use_cases import use_case

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from include.ml.train import Trained

MODEL_FILE, REFERENCE_FILE, USE_CASE_FILE = "model.ubj", "reference.json", "use_case.json"
REFUSED = "refused"
"""The tag on a version that failed its gates; its value is the reasons."""


class DamagedModel(NeedsAttentionError):
    """What MLflow hands out for a version is not what was registered."""


class UnknownRecipe(NeedsAttentionError):
    """A version in MLflow that no training of ours has registered: what it was made of is not known."""


@dataclass(frozen=True)
class Version:
    """A registered version. ``metrics`` are those of its run; dates as in the ledger."""

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


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def finish_killed(case: UseCase) -> None:
    """Finish or end what a killed training has begun in MLflow. Hold the lease of trainings: none is running then.

    A run that had come to register its version is finished, and that version has the alias ``challenger`` if it is the
    newest; any other run of ours that seems to be running is ended as killed, and its half of a model as failed.
    """
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelStatus

    client = MlflowClient()
    with errors.of_mlflow(f"to list the runs of {case.name}"):
        experiment = client.get_experiment_by_name(case.name)
        if experiment is None:
            return
        here, registered = [experiment.experiment_id], {str(one.run_id): one for one in _of(case)}
        for run in client.search_runs(here, "attributes.status = 'RUNNING'"):
            if "request_key" not in run.data.tags:
                continue  # somebody's own
            made = run.info.run_id in registered
            for model in client.search_logged_models(here, f"source_run_id = '{run.info.run_id}'"):
                if model.status == LoggedModelStatus.PENDING:
                    client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
            client.set_terminated(run.info.run_id, "FINISHED" if made else "KILLED")
            print(f"run {run.info.run_id} of a training that was killed: {'finished' if made else 'ended as killed'}")
        newest = max((one for one in registered.values() if "request_key" in one.tags), key=_number, default=None)
        if newest is not None and client.get_registered_model(case.name).aliases.get("challenger") != newest.version:
            client.set_registered_model_alias(case.name, "challenger", str(newest.version))


def find(case: UseCase, key: str) -> Version | None:
    """The version that was registered for this request key, or None."""
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to look for a version of {case.name}"):
        found = [one for one in _of(case) if one.tags.get("request_key") == key]
        # The lowest: should there ever be two, the first is the one that others have seen.
        return _version(MlflowClient(), min(found, key=_number)) if found else None


def _of(case: UseCase) -> list[ModelVersion]:
    return list(_registered(f"name = '{case.name}'"))


def _number(found: ModelVersion) -> int:
    return int(found.version)


def _tag(found: ModelVersion, name: str) -> str:
    """What our training wrote down about a version. Raises UnknownRecipe where it did not."""
    if name not in found.tags:
        raise UnknownRecipe(
            f"version {found.version} of {found.name} in MLflow has no tag `{name}`: no training registered it, or the "
            f"tag was taken off. Train a version with the DAG {found.name}_train, or put the tag back"
        )
    return str(found.tags[name])


def _version(client: MlflowClient, found: ModelVersion) -> Version:
    return Version(
        version=_number(found),
        run_id=str(found.run_id),
        device=_tag(found, "device"),
        trained_from=date.fromisoformat(_tag(found, "trained_from")),
        fitted_through=date.fromisoformat(_tag(found, "fitted_through")),
        trained_through=date.fromisoformat(_tag(found, "trained_through")),
        metrics=dict(client.get_run(str(found.run_id)).data.metrics),
    )


def register(case: UseCase, night: date, key: str, data: Dataset, trained: Trained, code: Code) -> Version:
    """Log a run with everything needed to cook this model again, and register it with the alias ``challenger``.

    ``code`` is that before the fit. A kill in between is mended by ``finish_killed``.
    """
    model, reference = bytes(trained.booster.save_raw("ubj")), json.dumps(trained.reference, sort_keys=True, indent=1)
    tags = {
        "request_key": key,
        "night": str(night),
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
    files = {REFERENCE_FILE: reference, USE_CASE_FILE: json.dumps(asdict(case), default=str, indent=1)}
    if code.dirty:
        files["diff.patch"] = code.diff
    with errors.of_mlflow(f"to register a version of {case.name} for the night {night}"):
        version, run_id = _registered_with(case, f"{case.name} {night}", tags, files, trained)
    return Version(
        version=version,
        run_id=run_id,
        device=trained.device,
        trained_from=date.fromisoformat(tags["trained_from"]),
        fitted_through=date.fromisoformat(tags["fitted_through"]),
        trained_through=date.fromisoformat(tags["trained_through"]),
        metrics=trained.metrics,
    )


def _registered_with(
    case: UseCase, run_name: str, tags: dict[str, str], files: dict[str, str], trained: Trained
) -> tuple[int, str]:
    """The number of the new version, and the id of its run."""
    import mlflow
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    training = asdict(case.training)
    params = training.pop("params") | training | {"features": len(case.features)}
    mlflow.set_experiment(case.name)
    with mlflow.start_run(run_name=run_name, tags=tags) as run, tempfile.TemporaryDirectory() as folder:
        mlflow.log_params(params)
        # NaN is a metric that does not exist (an AUC without two classes); stores refuse it, and make a large number of
        # an infinite one. What is not there passes no gate.
        mlflow.log_metrics({name: value for name, value in trained.metrics.items() if isfinite(value)})
        for name, content in files.items():
            (Path(folder) / name).write_text(content)
        mlflow.log_artifacts(folder)
        logged = mlflow.xgboost.log_model(
            trained.booster,
            name="model",
            # Given, because guessing them takes several seconds in a child process.
            pip_requirements=[f"xgboost=={xgb.__version__}"],
            signature=ModelSignature(
                inputs=Schema([ColSpec(DataType.float, name, required=False) for name in case.feature_names]),
                outputs=Schema([ColSpec(DataType.float)]),
            ),
            metadata={"levels": {feature.name: list(feature.levels) for feature in case.features if feature.levels}},
        )
        # The tags go with the creation: a version is never there without its request key.
        found = mlflow.register_model(logged.model_uri, case.name, await_registration_for=30, tags=tags)
    mlflow.MlflowClient().set_registered_model_alias(case.name, "challenger", found.version)
    return _number(found), run.info.run_id


def tags_of(case: UseCase, version: int) -> dict[str, str]:
    """What was written down about a version when it was registered. Raises MlflowException for an unknown one."""
    from mlflow import MlflowClient

    return dict(MlflowClient().get_model_version(case.name, str(version)).tags)


def pinned() -> dict[str, list[int]]:
    """The Delta versions of tables, ``gold.<name>``, that any registered version of any model was trained on.

    Also of models whose use case is gone: what holds a table's version is the registry, until somebody deletes there.
    """
    with errors.of_mlflow("to list the registered versions"):
        found = {
            (f"gold.{name.removeprefix(DELTA_VERSION)}", int(version))
            for one in _registered()
            for name, version in one.tags.items()
            if name.startswith(DELTA_VERSION)
        }
    pins: dict[str, list[int]] = {}
    for table, version in sorted(found):
        pins.setdefault(table, []).append(version)
    return pins


def references(case: UseCase) -> dict[int, Reference]:
    """What is known of each registered version's training data, by version. Its ``features`` are what it takes.

    A version that somebody registered by hand has none and is not there. Raises DamagedModel where MLflow's copy is not
    what was registered.
    """
    found = sorted((one for one in _of(case) if "reference_sha256" in one.tags), key=_number)
    return {
        _number(one): json.loads(
            cached(case, _number(one), str(one.run_id), REFERENCE_FILE, one.tags["reference_sha256"]).read_text()
        )
        for one in found
    }


def training_set(case: UseCase, version: int) -> Dataset:
    """The rows that a registered version was trained on, its holdout included, as the tables were then.

    They have the features that the version takes, whatever the spec says today.

    Raises RegistryRefused for an unknown version, UnknownRecipe for one that no training registered, VersionMissing
    where a table was vacuumed by others than the upkeep, and DataMissing where the columns or rows of the tables are
    not those of that training any more.
    """
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to tell about version {version} of {case.name}"):
        found = MlflowClient().get_model_version(case.name, str(version))
    first, last, night = (
        date.fromisoformat(_tag(found, name)) for name in ("trained_from", "trained_through", "night")
    )
    versions = {
        table: int(_tag(found, f"{DELTA_VERSION}{table}")) for table in (case.features_table, case.labels_table)
    }
    features = features_of(_reference(case, version, str(found.run_id), _tag(found, "reference_sha256")))
    data = load(case, first, last, as_of=night, versions=versions, features=features)
    if data.content_hash != _tag(found, "content_hash"):
        raise DataMissing(
            f"{case.name} version {version} was not trained on what {case.features_table} and {case.labels_table} have "
            f"at versions {' and '.join(map(str, versions.values()))}: the tables were made anew since"
        )
    return data


def _registered(which: str | None = None) -> Iterator[ModelVersion]:
    """Every registered version, of all models or of those that MLflow's filter ``which`` names."""
    from mlflow import MlflowClient

    client, token = MlflowClient(), None
    while True:
        page = client.search_model_versions(which, page_token=token)
        yield from page
        if not (token := page.token):
            return


def gate_reasons(gates: Gates, found: Mapping[str, float], champion: int | None) -> list[str]:
    """Why a challenger with these metrics must not become champion; empty when it may.

    ``champion`` is the version that it would replace. A metric that is missing fails its gate.
    """
    nan = float("nan")
    value, baseline = found.get("auc", nan), found.get("baseline_auc", nan)
    error = found.get("calibration_error", nan)
    reasons = []
    # Written as "not good", so that NaN fails.
    if not value >= gates.min_auc:
        reasons.append(f"AUC {value:.4f} is below {gates.min_auc}: something is missing")
    if not value <= gates.max_auc:
        reasons.append(f"AUC {value:.4f} is above {gates.max_auc}: something leaks")
    if not value - baseline >= gates.min_lift:
        reasons.append(f"AUC {value:.4f} adds less than {gates.min_lift} to {baseline:.4f} of {gates.baseline} alone")
    if not error <= gates.max_calibration_error:
        reasons.append(f"calibration error {error:.4f} is above {gates.max_calibration_error}")
    return reasons + (_against_champion(gates, found, champion) if champion is not None else [])


def _against_champion(gates: Gates, found: Mapping[str, float], champion: int) -> list[str]:
    if found.get("champion_version") != champion:
        return [f"it was not compared with the champion, version {champion}: train again"]
    if not found.get("compared_days", 0) >= 1:
        return [f"version {champion} was fitted on all of the holdout's days, so nothing fair can be compared"]
    reasons = []
    nan = float("nan")
    lost = found.get("compared_champion_auc", nan) - found.get("compared_challenger_auc", nan)
    if not lost <= gates.max_auc_loss:
        reasons.append(f"it loses {lost:.4f} of AUC to version {champion} on the same days, over {gates.max_auc_loss}")
    worse = found.get("compared_challenger_log_loss", nan) - found.get("compared_champion_log_loss", nan)
    if not worse <= gates.max_log_loss_loss:
        reasons.append(
            f"its log loss is {worse:.4f} above version {champion}'s on the same days, over {gates.max_log_loss_loss}"
        )
    return reasons


def promote(name: str, version: int, decided_by: str = "gates") -> dict[str, Any]:
    """Task: make ``version`` champion of use case ``name`` from the first day not scored yet, if it passes its gates.

    Writes one ledger row and moves the alias ``champion``; or tags the version ``refused`` with the reasons, and
    leaves the ledger as it is. Asking again gives the same answer and writes nothing.
    Raises RegistryRefused for an unknown version, UnknownRecipe for one that no training registered.

    Returns ``promoted``, ``version``, ``reasons`` (of a refusal), ``effective_from`` (of a promotion), ``replaces``.
    """
    from mlflow import MlflowClient

    case, client = use_case(name), MlflowClient()
    with ledger.deploying(case), errors.of_mlflow(f"to promote version {version} of {case.name}"):
        found = client.get_model_version(case.name, str(version))
        rows, champion = ledger.read(case), ledger.latest_champion(case)
        answer = {"promoted": False, "version": version, "reasons": [], "effective_from": None, "replaces": None}
        answer["replaces"] = champion.model_version if champion else None
        earlier = next((row for row in rows if row.model_version == version), None)
        if earlier is not None:
            # An earlier try may have died between the ledger and the alias. Never move it back, though.
            if champion is not None and champion.model_version == version:
                client.set_registered_model_alias(case.name, "champion", str(version))
            replaced = ledger.pick([row for row in rows if row.decided_at < earlier.decided_at], date.max)
            answer["replaces"] = replaced.model_version if replaced else None
            return answer | {"promoted": True, "effective_from": str(earlier.effective_from)}
        if REFUSED in found.tags:
            return answer | {"reasons": json.loads(found.tags[REFUSED])}
        known = _version(client, found)
        reasons = gate_reasons(case.gates, known.metrics, champion.model_version if champion else None)
        if reasons:
            client.set_model_version_tag(case.name, str(version), REFUSED, json.dumps(reasons))
            return answer | {"reasons": reasons}
        row = ledger.append(
            case,
            model_version=version,
            effective_from=ledger.first_free_day(case, known.trained_through),
            decided_by=decided_by,
            reason=f"passed all gates with AUC {known.metrics['auc']:.4f} on its holdout",
            run_id=known.run_id,
            model_sha256=_tag(found, "model_sha256"),
            reference_sha256=_tag(found, "reference_sha256"),
            trained_from=known.trained_from,
            fitted_through=known.fitted_through,
            trained_through=known.trained_through,
        )
        client.set_registered_model_alias(case.name, "champion", str(version))
        return answer | {"promoted": True, "effective_from": str(row.effective_from)}


def _folder(case: UseCase, version: int) -> Path:
    """Where the files of a version are on this machine."""
    return settings().var / "cache" / "models" / case.name / str(version)


def cached(case: UseCase, version: int, run_id: str, file: str, expected: str) -> Path:
    """The path of a version's file on this machine, downloaded where it is missing or damaged.

    Its checksum is compared with ``expected`` every time. Raises DamagedModel when MLflow's copy differs too, or is not
    there.
    """
    path = _folder(case, version) / file
    if path.exists() and sha256(path.read_bytes()) == expected:
        return path
    source = {
        MODEL_FILE: f"models:/{case.name}/{version}",
        REFERENCE_FILE: f"runs:/{run_id}/{REFERENCE_FILE}",
    }[file]
    return _fetched(case, version, source, path, expected)


def _fetched(case: UseCase, version: int, source: str, path: Path, expected: str | None) -> Path:
    """A file of MLflow's, put to ``path`` if its checksum is ``expected``; None where nobody noted it down."""
    import mlflow

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            with errors.of_mlflow(f"to hand out {path.name} of version {version} of {case.name}"):
                found = Path(mlflow.artifacts.download_artifacts(source, dst_path=folder))
                found = found / path.name if found.is_dir() else found
                content = found.read_bytes()
        except (errors.RegistryRefused, FileNotFoundError) as error:
            raise DamagedModel(
                f"{path.name} of {case.name} version {version} is not to be had from MLflow ({source}): restore the "
                "artifact store, or roll back to another version"
            ) from error
        if expected is not None and sha256(content) != expected:
            raise DamagedModel(
                f"{path.name} of {case.name} version {version} in MLflow does not have the checksum that it was "
                f"registered with, {expected}: restore the artifact store, or roll back to another version"
            )
        # Into place in one step: another task never reads half a file.
        found.replace(path)
    return path


def load_booster(case: UseCase, champion: Champion) -> xgb.Booster:
    """A champion's booster, for the CPU."""
    path = cached(case, champion.model_version, champion.run_id, MODEL_FILE, champion.model_sha256)
    with errors.of_xgboost(f"to load version {champion.model_version} of {case.name}"):
        booster = xgb.Booster(model_file=str(path))
    booster.set_param({"device": "cpu", "nthread": case.training.threads})
    return booster


def load_reference(case: UseCase, champion: Champion) -> Reference:
    """The distributions a champion's drift is measured against, and the ``inputs`` that it takes.

    Raises DamagedModel where either is not to be had.
    """
    return _reference(case, champion.model_version, champion.run_id, champion.reference_sha256)


def _reference(case: UseCase, version: int, run_id: str, expected: str) -> Reference:
    found: Reference = json.loads(cached(case, version, run_id, REFERENCE_FILE, expected).read_text())
    if "inputs" not in found:
        found["inputs"] = _inputs_of_then(case, version, run_id, found)
    return found


def _inputs_of_then(case: UseCase, version: int, run_id: str, reference: Reference) -> list[dict[str, Any]]:
    """What a version takes whose reference does not say so yet: as the spec had it that its run has kept."""
    path = _folder(case, version) / USE_CASE_FILE
    for fetch in (False, True):
        if fetch:
            _fetched(case, version, f"runs:/{run_id}/{USE_CASE_FILE}", path, None)
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text())["features"]
            features = [Feature(one["name"], one["kind"], vocabulary=tuple(one["vocabulary"])) for one in kept]
            # Nobody noted down its checksum, but the reference's: the two must speak of the same features.
            codes = {one.name: len(one.levels) - 1 for one in features if one.levels}
            edges = {name: len(of["edges"]) for name, of in reference["features"].items() if name in codes}
            if {one.name for one in features} == set(reference["features"]) and codes == edges:
                return inputs_of(features)
    raise DamagedModel(
        f"{USE_CASE_FILE} of the run {run_id} does not tell what version {version} of {case.name} takes: restore the "
        f"artifact store, or train another version with the DAG {case.name}_train"
    )
