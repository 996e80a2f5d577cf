"""A version trained again from its record alone, and compared byte by byte; or what differs, where it is another one.

The record: the spec as it was, the rows by their content, the seeds, the code and the environment. The rows are read
from the versions of the tables that were read then; where these are gone, or the tables were made anew, from those of
now, if they have the same content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import TYPE_CHECKING, Any

from include.contracts.search import Range, Search
from include.contracts.use_case import (
    Binary,
    Cost,
    DriftPolicy,
    Evaluation,
    Feature,
    Multiclass,
    Promotion,
    Regression,
    Scoring,
    TaskSpec,
    Training,
    UseCase,
    Value,
)
from include.core.errors import BadRequestError
from include.core.settings import settings
from include.lake.delta import VersionMissingError
from include.ml import code, dataset, environment, errors, fitting, model_files, record, registry, search, train
from include.ml.dataset import DataMissingError, Dataset
from include.ml.fitting import Device

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TASKS: Mapping[str, type[TaskSpec]] = {"binary": Binary, "multiclass": Multiclass, "regression": Regression}


class NotOnRecordError(BadRequestError):
    """What a version was made of is not on record."""


@dataclass(frozen=True)
class Reproduced:
    """How a version came out that was trained again.

    Attributes:
        equal: whether model and reference are the same, byte by byte.
        rows: where the rows were read: ``the versions of then`` or ``the tables of now``.
        differs: what is not as it was then, each in a sentence; of an equal version these have made no difference.
    """

    version: int
    equal: bool
    rows: str
    differs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = "byte-equal" if self.equal else "another model"
        beside = f"; {'; '.join(self.differs)}" if self.differs else ""
        return f"version {self.version}: {what}, from the rows of {self.rows}{beside}"


def reproduce(name: str, version: int) -> Reproduced:
    """Train ``version`` of the model ``name`` again. Nothing is written.

    Raises NotOnRecordError, RegistryRefusedError for an unknown version, DamagedModelError where its files are not
    those of the training, and WrongDeviceError where the device that it was trained on is not here.
    """
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to tell about version {version} of {name}"):
        found = MlflowClient().get_model_version(name, str(version))
    case, training = _spec_of(name, found), _training_of(name, found)
    case = search.applied(case, training.chosen)
    data, rows, differs = _rows(case, training)
    differs += _circumstances(training)
    if data is None:
        return Reproduced(version, False, rows, differs)
    device: Device = fitting.choose_device(training.device)
    trained = train.fit_and_judge(case, data, device, None)
    model = model_files.sha256(bytes(trained.booster.save_raw("ubj")))
    reference = model_files.sha256(json.dumps(trained.reference, sort_keys=True, indent=1).encode())
    equal = (model, reference) == (training.model_sha256, training.reference_sha256)
    if not equal and not differs:
        differs.append("nothing that is on record differs: look at the machine")
    return Reproduced(version, equal, rows, differs)


def _training_of(name: str, found: ModelVersion) -> record.Training:
    try:
        training = registry.training_of(_named(name), found)
    except registry.UnknownRecipeError as error:
        raise NotOnRecordError(f"{error}; what it was made of is not on record") from error
    if not training.versions:
        raise NotOnRecordError(f"version {found.version} of {name} is of a release that kept no such record")
    return training


def _named(name: str) -> UseCase:
    """Enough of a use case to find its ledgers by, also where its spec is gone."""
    feature = Feature("_")
    spec = Training(params={}, rounds=1, first_day=date.min)
    return UseCase(name, "", "", ("_",), ("_e",), "_d", "_l", Binary(baseline="_"), (feature,), spec)


def spec_then(name: str, version: int) -> UseCase:
    """The spec of ``version`` of the model ``name`` as it was when that was trained.

    Raises RegistryRefusedError for an unknown version.
    """
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to tell about version {version} of {name}"):
        found = MlflowClient().get_model_version(name, str(version))
    return _spec_of(name, found)


def _spec_of(name: str, found: ModelVersion) -> UseCase:
    """The spec as it was when the version was trained, whatever it is today."""
    with errors.of_mlflow(f"to hand out the spec of version {found.version} of {name}"):
        kept = model_files.text_of(name, str(found.run_id), model_files.USE_CASE_FILE)
    return spec_of(json.loads(kept))


def spec_of(kept: Mapping[str, Any]) -> UseCase:
    """A spec from the JSON of its dataclasses, as a run keeps it."""
    task = dict(kept["task"])
    kind = "multiclass" if "classes" in task else "regression" if "quantiles" in task else "binary"
    return UseCase(
        **{name: _tuples(value) for name, value in kept.items() if name not in _PARTS},
        task=TASKS[kind](**_tuples(task) | _worth(task)),
        features=tuple(Feature(**_tuples(one)) for one in kept["features"]),
        training=_training_spec(kept["training"]),
        drift=_drift_policy(kept["drift"]),
        promotion=Promotion(**_tuples(kept.get("promotion", {}))),
        evaluation=Evaluation(**_tuples(kept.get("evaluation", {}))),
        scoring=Scoring(**kept.get("scoring", {})),
    )


def _drift_policy(kept: Mapping[str, Any]) -> DriftPolicy:
    """Without the limits of an earlier release, by which no model was made."""
    known = {one.name for one in fields(DriftPolicy)}
    return DriftPolicy(**{name: value for name, value in kept.items() if name in known})


def _training_spec(kept: Mapping[str, Any]) -> Training:
    values = dict(kept) | {"first_day": date.fromisoformat(kept["first_day"])}
    if found := values.get("search"):
        space = {name: Range(**one) if isinstance(one, Mapping) else tuple(one) for name, one in found["space"].items()}
        values["search"] = Search(**found | {"space": space})
    return Training(**values)


def _worth(task: Mapping[str, Any]) -> dict[str, Value | Cost]:
    """The parts of a task that are dataclasses themselves."""
    parts: dict[str, type[Value | Cost]] = {"value": Value, "cost": Cost}
    return {name: part(**task[name]) for name, part in parts.items() if task.get(name)}


_PARTS = ("task", "features", "training", "drift", "promotion", "evaluation", "scoring")


def _tuples(value: Any) -> Any:
    """JSON has lists where a spec has tuples."""
    if isinstance(value, Mapping):
        return {name: _tuples(one) for name, one in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _rows(case: UseCase, training: record.Training) -> tuple[Dataset | None, str, list[str]]:
    """The training set, where it was read, and what is wrong with it; None where its rows are not to be had."""
    days = (training.trained_from, training.trained_through)
    said = []
    for where, versions in (("the versions of then", training.versions), ("the tables of now", None)):
        try:
            data = dataset.load(case, *days, as_of=training.partition, versions=versions, with_answers=True)
        except (VersionMissingError, DataMissingError) as error:
            said.append(f"{where}: {error}")
            continue
        if data.content_hash == training.content_hash:
            return data, where, []
        said.append(f"{where} have other rows: content {data.content_hash[:12]}, and then {training.content_hash[:12]}")
    return None, "nowhere", said


def _circumstances(training: record.Training) -> list[str]:
    """What is not as it was then, beside the rows."""
    now = code.code_state(settings().home)
    found = []
    if (then := training.code) != (today := environment.code_key(now)):
        found.append(f"the code is {today}, and was {then}")
    for name, value in environment.of_training().items():
        if (was := training.environment.get(name, "none")) != value:
            found.append(f"{name} is {value}, and was {was}")
    return found
