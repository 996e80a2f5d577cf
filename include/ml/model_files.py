"""The files of a version on this machine: its booster and its reference, fetched from MLflow once and checked always.

A night that only scores needs no more than these, and no MLflow.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import xgboost as xgb

from include.contracts.use_case import Feature, UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.ml import errors
from include.ml.ledger import Champion
from include.ml.reference import Reference, brought_forward, inputs_of

MODEL_FILE, REFERENCE_FILE, USE_CASE_FILE = "model.ubj", "reference.json", "use_case.json"

KEPT_DAYS = 30
"""How long a fitted booster is kept that no try has registered."""


class DamagedModelError(NeedsAttentionError):
    """What MLflow hands out for a version is not what was registered."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _folder(case: UseCase, version: int) -> Path:
    """Where the files of a version are on this machine."""
    return settings().var / "cache" / "models" / case.name / str(version)


def cached(case: UseCase, version: int, run_id: str, file: str, expected: str) -> Path:
    """The path of a version's file on this machine, downloaded where it is missing or damaged.

    Its checksum is compared with ``expected`` every time. Raises DamagedModelError when MLflow's copy differs too, or
    is not there.
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            found = _downloaded(source, path.name, folder, f"{path.name} of version {version} of {case.name}")
        except (errors.RegistryRefusedError, FileNotFoundError) as error:
            raise DamagedModelError(
                f"{path.name} of {case.name} version {version} is not to be had from MLflow ({source}): restore the "
                "artifact store, or roll back to another version"
            ) from error
        if expected is not None and sha256(found.read_bytes()) != expected:
            raise DamagedModelError(
                f"{path.name} of {case.name} version {version} in MLflow does not have the checksum that it was "
                f"registered with, {expected}: restore the artifact store, or roll back to another version"
            )
        # Into place in one step: another task never reads half a file.
        found.replace(path)
    return path


def _downloaded(source: str, file: str, folder: str, what: str) -> Path:
    """The ``file`` of ``source``, an address of MLflow's, in ``folder``.

    Raises RegistryAwayError, RegistryRefusedError, and FileNotFoundError where MLflow is well and has no such file: its
    client says "does not exist" of what it was too slow to hand out, and "internal error" of what does not exist.
    """
    import mlflow

    try:
        with errors.of_mlflow(f"to hand out {what}"):
            found = Path(mlflow.artifacts.download_artifacts(source, dst_path=folder))
            found = next(found.rglob(file), found / file) if found.is_dir() else found
            found.stat()
            return found
    except (errors.RegistryRefusedError, errors.RegistryAwayError, FileNotFoundError) as error:
        with errors.of_mlflow(f"to hand out {what}"):
            there = _files_of(source)
        if file in there:
            raise errors.RegistryAwayError(f"MLflow has {what}, and did not hand it out: {error}") from error
        raise FileNotFoundError(f"MLflow has no {what}") from error


def _files_of(source: str) -> set[str]:
    """The names of the files of a run, or of a version."""
    import mlflow

    if source.startswith("runs:/"):
        return {Path(one.path).name for one in mlflow.MlflowClient().list_artifacts(source.split("/")[1])}
    listed = [mlflow.artifacts.list_artifacts(artifact_uri=f"{source}{part}") for part in ("", "/artifacts")]
    return {Path(one.path).name for part in listed for one in part}


def text_of(name: str, run_id: str, file: str) -> str:
    """A small text that a run of the model ``name`` keeps.

    Raises DamagedModelError where it is not to be had, and RegistryAwayError where it may be later.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            what = f"{file} of the run {run_id} of {name}"
            return _downloaded(f"runs:/{run_id}/{file}", file, folder, what).read_text()
        except (errors.RegistryRefusedError, FileNotFoundError) as error:
            raise DamagedModelError(
                f"{file} of the run {run_id} of {name} is not to be had from MLflow: {error}"
            ) from error


def keep_fitted(case: UseCase, model: bytes) -> None:
    """Keep a fitted booster, as UBJSON, until its version is registered: MLflow may be away by then."""
    path = _fitted(case, sha256(model))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(model)
    Path(file.name).replace(path)


def fitted(case: UseCase, expected: str) -> xgb.Booster | None:
    """The booster that was kept, of the checksum ``expected``; None where it is not there, or is another one."""
    path = _fitted(case, expected)
    if not path.exists() or sha256(path.read_bytes()) != expected:
        return None
    booster = xgb.Booster(model_file=str(path))
    booster.set_param({"device": "cpu", "nthread": case.training.threads})
    return booster


def forget_fitted(case: UseCase, model_sha256: str) -> None:
    """Remove what was kept of a booster that is registered, and what nobody has come back for in ``KEPT_DAYS``."""
    _fitted(case, model_sha256).unlink(missing_ok=True)
    before = time.time() - KEPT_DAYS * 86400
    for path in _fitted(case, "").parent.glob("*"):
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


def _fitted(case: UseCase, model_sha256: str) -> Path:
    return settings().var / "cache" / "fitted" / case.name / f"{model_sha256}.ubj"


def load_booster(case: UseCase, champion: Champion) -> xgb.Booster:
    """A champion's booster, for the CPU."""
    return booster_of(case, champion.model_version, champion.run_id, champion.model_sha256)


def booster_of(case: UseCase, version: int, run_id: str, expected: str) -> xgb.Booster:
    """The booster of a version whose UBJSON has the checksum ``expected``, for the CPU.

    Raises DamagedModelError before anything of another content is parsed.
    """
    path = cached(case, version, run_id, MODEL_FILE, expected)
    with errors.of_xgboost(f"to load version {version} of {case.name}"):
        booster = xgb.Booster(model_file=str(path))
    booster.set_param({"device": "cpu", "nthread": case.training.threads})
    return booster


def load_reference(case: UseCase, champion: Champion) -> Reference:
    """The distributions a champion's drift is measured against, and the ``inputs`` that it takes.

    Raises DamagedModelError where either is not to be had.
    """
    return reference_of(case, champion.model_version, champion.run_id, champion.reference_sha256)


def reference_of(case: UseCase, version: int, run_id: str, expected: str) -> Reference:
    """The reference of a version whose ``reference.json`` has the checksum ``expected``, in today's form."""
    found: Reference = json.loads(cached(case, version, run_id, REFERENCE_FILE, expected).read_text())
    if "inputs" not in found:
        found["inputs"] = _inputs_of_then(case, version, run_id, found)
    return brought_forward(found)


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
    raise DamagedModelError(
        f"{USE_CASE_FILE} of the run {run_id} does not tell what version {version} of {case.name} takes: restore the "
        f"artifact store, or train another version with the DAG {case.name}_train"
    )
