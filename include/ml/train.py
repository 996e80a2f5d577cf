"""Train a challenger: on the device that was asked for, judged on later days than it was trained on."""

import hashlib
import json
import time
import warnings
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.lease import lease
from include.core.settings import settings
from include.ml import dataset, environment, errors, ledger, model_files, reference, registry, tasks
from include.ml.code import Code, code_state
from include.ml.dataset import Dataset, Split
from include.ml.reference import features_of
from include.ml.scoring import feature_types, output
from include.use_cases import use_case

type Device = Literal["cpu", "cuda"]

TURN_SECONDS = 6 * 3600.0
"""How long a training waits for another one of the same use case to end."""


class WrongDeviceError(NeedsAttentionError):
    """A booster was not trained where it was meant to be."""


@dataclass(frozen=True)
class Trained:
    """A fitted booster and what is known of it.

    Attributes:
        metrics: flat, as MLflow takes them; on the holdout unless named otherwise.
        reference: see ``include.ml.reference``.
        champion: the champion that it is to be compared with, its version, or None where there is none.
    """

    booster: xgb.Booster
    device: Device
    gpu: str
    split: Split
    metrics: dict[str, float]
    reference: reference.Reference
    champion: int | None
    seconds: float = 0.0


def gpu_names() -> list[str]:
    """The NVIDIA GPUs of this machine by name; empty where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [
            str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(index)))
            for index in range(pynvml.nvmlDeviceGetCount())
        ]
    finally:
        pynvml.nvmlShutdown()


def choose_device(requested: str) -> Device:
    """``auto`` becomes ``cuda`` where there are a GPU and an XGBoost that can use it, else ``cpu``.

    Raises ValueError for another word, and WrongDeviceError when ``cuda`` is asked for and cannot be had.
    """
    if requested not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is `{requested}`; it must be auto, cpu or cuda (NOCTURNE_DEVICE)")
    if requested == "cpu":
        return "cpu"
    usable = bool(xgb.build_info().get("USE_CUDA")) and bool(gpu_names())
    if requested == "cuda" and not usable:
        raise WrongDeviceError(
            "device cuda was asked for, but no GPU is visible, or this XGBoost is built without CUDA"
        )
    return "cuda" if usable else "cpu"


def assert_device(booster: xgb.Booster, device: Device) -> None:
    """Raise WrongDeviceError unless the booster says it trained on ``device``: XGBoost only warns of a fallback."""
    actual = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    if actual.split(":")[0] != device:
        raise WrongDeviceError(f"meant to train on {device}, but XGBoost trained on {actual}")


def quantile_matrix(case: UseCase, frame: pl.DataFrame, like: xgb.QuantileDMatrix | None = None) -> xgb.QuantileDMatrix:
    """Rows as XGBoost trains on them; ``like`` gives the bins, for validation data."""
    return xgb.QuantileDMatrix(
        dataset.matrix(case.features, frame),
        tasks.of(case).labels(frame[case.label]),
        feature_names=list(case.feature_names),
        feature_types=feature_types(case.features),
        max_bin=int(case.training.params.get("max_bin", 256)),
        nthread=case.training.threads,
        enable_categorical=True,
        ref=like,
    )


def fit(case: UseCase, frame: pl.DataFrame, split: Split, device: Device) -> xgb.Booster:
    """Train on ``split.train``, stopping by ``split.valid`` where there is one.

    Raises WrongDeviceError after a fallback, ModelRefusedError for data or parameters that XGBoost does not take.
    """
    asked = f"to train {case.name} with the parameters of include/use_cases/{case.name}/spec.py"
    with errors.of_xgboost(asked), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        booster = _fitted(case, frame, split, device)
    said = [str(one.message) for one in warned]
    # A misspelt parameter would train another model than the one that was asked for, with no more than this.
    if unused := [line for text in said for line in text.splitlines() if line.endswith("are not used.")]:
        raise errors.ModelRefusedError(f"XGBoost refuses {asked}: {unused[0]}")
    for text in said:
        print(text)
    assert_device(booster, device)
    # Judge and score on the CPU always, so that one version gives one set of scores.
    booster.set_param({"device": "cpu"})
    return booster


def _fitted(case: UseCase, frame: pl.DataFrame, split: Split, device: Device) -> xgb.Booster:
    training = case.training
    task = tasks.of(case)
    params = {**task.params, **training.params, "seed": training.seed, "nthread": training.threads, "device": device}
    rows = quantile_matrix(case, dataset.between(case, frame, split.train))
    if split.valid is None:
        return xgb.train(params, rows, training.rounds)
    booster = xgb.train(
        {**params, "eval_metric": task.eval_metric},
        rows,
        training.rounds,
        evals=[(quantile_matrix(case, dataset.between(case, frame, split.valid), like=rows), "valid")],
        early_stopping_rounds=training.early_stopping_rounds,
        verbose_eval=False,
    )
    # Keep the trees that early stopping chose and no others: what is stored is what predicts.
    return booster[: booster.best_iteration + 1]


def gain_shares(booster: xgb.Booster) -> dict[str, float]:
    """Each used feature's share of the total gain; they add up to 1."""
    gains = {name: float(np.sum(gain)) for name, gain in booster.get_score(importance_type="total_gain").items()}
    total = sum(gains.values())
    return {name: gain / total for name, gain in gains.items()} if total else {}


def require_values(data: Dataset, theirs: reference.Reference, who: str) -> None:
    """Raise UnfitFeatureError for a number that is null throughout and was not where the champion ``who`` learned.

    It was lost on the way here. One that never had a value teaches nothing, and does no harm.
    """
    for feature in data.case.features:
        known = theirs["features"].get(feature.name)
        if feature.kind == "numeric" and known and known["shares"][-1] < 1 and data.frame[feature.name].is_null().all():
            raise dataset.UnfitFeatureError(
                f"{feature.name} is null in all {data.frame.height} rows of {data.first} to {data.last}, and was not "
                f"where {who} learned: mend it in dbt, or take it out of include/use_cases/{data.case.name}/spec.py"
            )


def fit_and_judge(case: UseCase, data: Dataset, device: Device, champion: ledger.Champion | None) -> Trained:
    """Fit on a training set and measure on its holdout. ``champion`` is whom it is to be compared with later."""
    begun, task, frame = time.monotonic(), tasks.of(case), data.frame
    first, last = cast(date, frame[case.day].min()), cast(date, frame[case.day].max())
    absent = set(dataset.days_between(first, last)) - set(frame[case.day].unique())
    split = dataset.split_days(case, first, last, absent)
    task.labels(frame[case.label])  # all of them, the holdout's too, before the fit
    fitted = task.labels(dataset.between(case, frame, split.train)[case.label])
    task.check_learnable(fitted)
    booster = fit(case, frame, split, device)
    holdout = dataset.between(case, frame, split.holdout)
    labels, given = task.labels(holdout[case.label]), output(case, booster, case.features, holdout)
    scores = task.scores(given)
    usual = task.usual(fitted)
    found = task.quality(labels, scores) | usual | task.beside(usual, holdout, labels, given)
    found |= {"trees": float(booster.num_boosted_rounds()), "rows": float(frame.height)}
    seen = reference.build(
        case,
        dataset.matrix(case.features, frame),
        frame[case.day].to_numpy(),
        gain_shares(booster),
        split.holdout,
        labels,
        scores,
    )
    gpu = gpu_names()[0] if device == "cuda" else ""
    version = champion.model_version if champion else None
    return Trained(booster, device, gpu, split, found, seen, version, round(time.monotonic() - begun, 3))


@dataclass(frozen=True)
class Keys:
    """What makes two trainings the same.

    Attributes:
        recipe: of what the model is made: rows, features, parameters, task, code, device and library.
        request: of what is asked: the recipe in a partition, with the gates and the champion to compare it with.
    """

    recipe: str
    request: str


def keys_of(
    case: UseCase, night: date, content_hash: str, code: Code, device: Device, champion: ledger.Champion | None
) -> Keys:
    """The keys of a training of ``case`` in ``night`` on rows of ``content_hash``."""
    recipe = _digest(
        case.name,
        content_hash,
        asdict(case.training),
        [asdict(feature) for feature in case.features],
        tasks.of(case).recipe,
        case.label_days,
        environment.code_key(code),
        device,
        xgb.__version__,
    )
    gates = (asdict(case.task), asdict(case.promotion))
    return Keys(recipe, _digest(recipe, str(night), gates, champion.model_version if champion else None))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def train(name: str, night: date, device: str | None = None) -> dict[str, Any]:
    """Task: train a challenger of use case ``name`` on the labels known in ``night``, and register it.

    Reads features and labels, writes to MLflow only. The same request again returns the version that is there.
    ``device`` is auto, cpu or cuda; None takes the setting. Raises DataMissingError, TableMissingError,
    UnfitFeatureError, UnfitLabelError, OtherTaskError, WrongDeviceError, ModelRefusedError, RegistryRefusedError: what
    of it can be known before the fit, before the fit.

    Returns ``version``, ``run_id``, ``created``, ``device``, ``trained_from``, ``fitted_through``,
    ``trained_through``, ``metrics``, and the Delta ``versions`` of the tables that were read.
    """
    case = use_case(name)
    # One at a time: of two equal requests the second finds what the first has made.
    with lease(f"train {case.name}", patience=TURN_SECONDS):
        first, last = dataset.training_range(case, night)
        data = dataset.load(case, first, last, as_of=night)
        registry.finish_killed(case)
        where, code = choose_device(device or settings().device), code_state(settings().home)
        champion = ledger.latest_champion(case)
        keys = keys_of(case, night, data.content_hash, code, where, champion)
        if existing := registry.find(case, keys.request, keys.recipe, champion):
            return existing.to_dict() | {"created": False, "versions": data.versions}
        registry.require_experiment(case)
        if champion is not None:
            theirs, who = model_files.load_reference(case, champion), f"version {champion.model_version} of {case.name}"
            tasks.of_version(case, theirs["task"])
            dataset.check_columns(case, data.columns, features_of(theirs), who=who)
            require_values(data, theirs, who)
        trained = fit_and_judge(case, data, where, champion)
        return registry.register(case, night, keys, data, trained, code).to_dict() | {
            "created": True,
            "versions": data.versions,
        }
