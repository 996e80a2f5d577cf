"""Model versions in MLflow, and their promotion to champion.

Where MLflow is and how to log in, MLflow itself reads from its own environment variables. It is imported inside
functions: a night that only scores finds the champion in the ledger and its booster in a local cache, and needs none of
it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xgboost as xgb

from include.ml import ledger
from include.ml.dataset import DELTA_VERSION, DataMissing, Dataset, load
from include.ml.ledger import Champion
from include.ml.reference import Reference
from include.settings import settings
from include.use_cases.spec import Gates, UseCase, use_case

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from include.ml.train import Trained

MODEL_FILE, REFERENCE_FILE = "model.ubj", "reference.json"
REFUSED = "refused"
"""The tag on a version that failed its gates; its value is the reasons."""


class DamagedModel(RuntimeError):
    """What MLflow hands out for a version is not what was registered."""


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


@dataclass(frozen=True)
class Code:
    """The state of the repository: commit, whether files differ from it, and how tracked ones do."""

    commit: str
    dirty: bool
    diff: str


def code_state(home: Path) -> Code:
    """What git says about ``home``; ``unknown`` outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(home), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD").strip()
    if not commit:
        return Code("unknown", False, "")
    status = git("status", "--porcelain")
    return Code(commit, bool(status.strip()), f"{status}\n{git('diff', 'HEAD')}" if status.strip() else "")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def find(case: UseCase, key: str) -> Version | None:
    """The version that was registered for this request key, or None."""
    from mlflow import MlflowClient

    client = MlflowClient()
    found = client.search_model_versions(f"name = '{case.name}' and tags.request_key = '{key}'")
    # The lowest: should there ever be two, the first is the one that others have seen.
    return _version(client, min(found, key=lambda each: int(each.version))) if found else None


def _version(client: MlflowClient, found: ModelVersion) -> Version:
    tags = found.tags
    return Version(
        version=int(found.version),
        run_id=str(found.run_id),
        device=tags["device"],
        trained_from=date.fromisoformat(tags["trained_from"]),
        fitted_through=date.fromisoformat(tags["fitted_through"]),
        trained_through=date.fromisoformat(tags["trained_through"]),
        metrics=dict(client.get_run(str(found.run_id)).data.metrics),
    )


def register(case: UseCase, night: date, key: str, data: Dataset, trained: Trained) -> Version:
    """Log a run with everything needed to cook this model again, and register it with the alias ``challenger``."""
    import mlflow
    from mlflow.models.signature import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    model, reference = bytes(trained.booster.save_raw("ubj")), json.dumps(trained.reference, sort_keys=True, indent=1)
    code = code_state(settings().home)
    tags = {
        "request_key": key,
        "night": str(night),
        "content_hash": data.content_hash,
        "git_commit": code.commit,
        "git_dirty": str(code.dirty).lower(),
        "device": trained.device,
        "gpu": trained.gpu,
        "trained_from": trained.reference["data"]["first"],
        "fitted_through": str(trained.split.train[1]),
        "trained_through": trained.reference["data"]["last"],
        "model_sha256": sha256(model),
        "reference_sha256": sha256(reference.encode()),
        **{f"{DELTA_VERSION}{table}": str(version) for table, version in data.versions.items()},
    }
    training = asdict(case.training)
    params = training.pop("params") | training | {"features": len(case.features)}
    mlflow.set_experiment(case.name)
    with mlflow.start_run(run_name=f"{case.name} {night}", tags=tags) as run, tempfile.TemporaryDirectory() as folder:
        mlflow.log_params(params)
        # NaN is a metric that does not exist (an AUC without two classes); stores refuse or garble it.
        mlflow.log_metrics({name: value for name, value in trained.metrics.items() if not isnan(value)})
        (Path(folder) / REFERENCE_FILE).write_text(reference)
        (Path(folder) / "use_case.json").write_text(json.dumps(asdict(case), default=str, indent=1))
        if code.dirty:
            (Path(folder) / "diff.patch").write_text(code.diff)
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
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(case.name, "challenger", found.version)
    return Version(
        version=int(found.version),
        run_id=run.info.run_id,
        device=trained.device,
        trained_from=date.fromisoformat(tags["trained_from"]),
        fitted_through=date.fromisoformat(tags["fitted_through"]),
        trained_through=date.fromisoformat(tags["trained_through"]),
        metrics=trained.metrics,
    )


def tags_of(case: UseCase, version: int) -> dict[str, str]:
    """What was written down about a version when it was registered. Raises MlflowException for an unknown one."""
    from mlflow import MlflowClient

    return dict(MlflowClient().get_model_version(case.name, str(version)).tags)


def pinned() -> dict[str, list[int]]:
    """The Delta versions of tables, ``gold.<name>``, that any registered version of any model was trained on.

    Also of models whose use case is gone: what holds a table's version is the registry, until somebody deletes there.
    """
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

    Raises DamagedModel where MLflow's copy is not what was registered.
    """
    found = sorted(_registered(f"name = '{case.name}'"), key=lambda each: int(each.version))
    return {
        int(one.version): json.loads(
            cached(case, int(one.version), str(one.run_id), REFERENCE_FILE, one.tags["reference_sha256"]).read_text()
        )
        for one in found
    }


def training_set(case: UseCase, version: int) -> Dataset:
    """The rows that a registered version was trained on, its holdout included, as the tables were then.

    Raises MlflowException for an unknown version, VersionMissing where a table was vacuumed by others than the upkeep,
    and DataMissing where the columns of the spec or the rows of the tables are not those of that training any more.
    """
    from mlflow import MlflowClient

    tags = MlflowClient().get_model_version(case.name, str(version)).tags
    first, last, night = (date.fromisoformat(tags[name]) for name in ("trained_from", "trained_through", "night"))
    versions = {table: int(tags[f"{DELTA_VERSION}{table}"]) for table in (case.features_table, case.labels_table)}
    data = load(case, first, last, as_of=night, versions=versions)
    if data.content_hash != tags["content_hash"]:
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
    Raises MlflowException for an unknown version.

    Returns ``promoted``, ``version``, ``reasons`` (of a refusal), ``effective_from`` (of a promotion), ``replaces``.
    """
    from mlflow import MlflowClient

    case, client = use_case(name), MlflowClient()
    with ledger.lock(case):
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
            model_sha256=found.tags["model_sha256"],
            reference_sha256=found.tags["reference_sha256"],
            trained_from=known.trained_from,
            fitted_through=known.fitted_through,
            trained_through=known.trained_through,
        )
        client.set_registered_model_alias(case.name, "champion", str(version))
        return answer | {"promoted": True, "effective_from": str(row.effective_from)}


def cached(case: UseCase, version: int, run_id: str, file: str, expected: str) -> Path:
    """The path of a version's file on this machine, downloaded where it is missing or damaged.

    Its checksum is compared with ``expected`` every time. Raises DamagedModel when MLflow's copy differs too.
    """
    path = settings().var / "cache" / "models" / case.name / str(version) / file
    if path.exists() and sha256(path.read_bytes()) == expected:
        return path
    import mlflow

    source = {
        MODEL_FILE: f"models:/{case.name}/{version}",
        REFERENCE_FILE: f"runs:/{run_id}/{REFERENCE_FILE}",
    }[file]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fetched = Path(mlflow.artifacts.download_artifacts(source, dst_path=folder))
        fetched = fetched / file if fetched.is_dir() else fetched
        if sha256(fetched.read_bytes()) != expected:
            raise DamagedModel(
                f"{file} of {case.name} version {version} in MLflow does not have the checksum that it was registered "
                f"with, {expected}: restore the artifact store, or roll back to another version"
            )
        # Into place in one step: another task never reads half a file.
        fetched.replace(path)
    return path


def load_booster(case: UseCase, champion: Champion) -> xgb.Booster:
    """A champion's booster, for the CPU."""
    path = cached(case, champion.model_version, champion.run_id, MODEL_FILE, champion.model_sha256)
    booster = xgb.Booster(model_file=str(path))
    booster.set_param({"device": "cpu", "nthread": case.training.threads})
    return booster


def load_reference(case: UseCase, champion: Champion) -> Reference:
    """The distributions a champion's drift is measured against."""
    path = cached(case, champion.model_version, champion.run_id, REFERENCE_FILE, champion.reference_sha256)
    found: Reference = json.loads(path.read_text())
    return found
