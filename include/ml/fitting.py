"""Fit a booster on the rows of a split, on the device that was asked for."""

import json
import warnings
from typing import Literal

import numpy as np
import polars as pl
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.ml import dataset, errors, tasks
from include.ml.dataset import Split
from include.ml.scoring import feature_types

type Device = Literal["cpu", "cuda"]


class WrongDeviceError(NeedsAttentionError):
    """A booster was not trained where it was meant to be."""


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
