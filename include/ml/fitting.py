"""Fit a booster on the rows of a split, on the device that was asked for."""

import json
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import xgboost as xgb
from xgboost.callback import CallbackContainer, TrainingCallback

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.ml import errors, gpu, imbalance, tasks
from include.ml.checkpoint import Checkpoint, History
from include.ml.dataset import Split
from include.ml.encoded import Batches, Encoded, encoded, on_disk
from include.ml.imbalance import Weights

type Device = Literal["cpu", "cuda"]

EVERY_SECONDS = 20.0
"""How often a training says how far it is, and is kept. To keep it takes milliseconds; a kill costs as much as this."""

LOADED_ROUNDS = 25
"""After so many rounds on a GPU the booster is loaded from its own bytes, killed or not, and only then it is kept.

What XGBoost has there beside the trees, the sums of them for each row or where sampled columns are drawn, differs in
its last digits, or its place, from what it has of loaded trees. On the CPU it is the same.
"""


class WrongDeviceError(NeedsAttentionError):
    """A booster was not trained where it was meant to be."""


def choose_device(requested: str) -> Device:
    """``auto`` becomes ``cuda`` where there are a GPU and an XGBoost that can use it, else ``cpu``.

    Raises ValueError for another word, and WrongDeviceError when ``cuda`` is asked for and cannot be had.
    """
    if requested not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is `{requested}`; it must be auto, cpu or cuda (NOCTURNE_DEVICE)")
    if requested == "cpu":
        return "cpu"
    usable = bool(xgb.build_info().get("USE_CUDA")) and bool(gpu.names())
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


@dataclass(frozen=True)
class Matrices:
    """Rows as XGBoost trains on them: those that are learned, and those that say when to stop, with the same bins.

    ``weights`` are what a row of each class counts for in both.
    """

    train: xgb.DMatrix
    valid: xgb.DMatrix | None
    weights: Weights


def matrices(case: UseCase, rows: Encoded, split: Split, device: Device) -> Matrices:
    """The rows of a split in bins: in memory, or on disk beside ``rows`` where they would take more than the setting.

    On the CPU it makes no difference to the bins how they are cut into batches: XGBoost takes in one row after the
    other. For a GPU the bins are made there where CuPy is installed, which takes a fifth of the time, and how they are
    cut makes a difference; batches are always as large. Raises WrongDeviceError where it must be there and is not.
    """
    learned = rows.between(split.train)
    large = on_disk(learned.stop - learned.start, case.features, settings().matrix_gib)
    kind = xgb.ExtMemQuantileDMatrix if large else xgb.QuantileDMatrix
    put = gpu.to_gpu() if device == "cuda" else None
    if large and device == "cuda" and put is None:
        raise WrongDeviceError(
            f"the bins of {learned.stop - learned.start} rows take more than {settings().matrix_gib:g} GiB, and so "
            "many reach a GPU by CuPy only: install cupy-cuda13x, or train on the CPU (NOCTURNE_DEVICE=cpu), or raise "
            "NOCTURNE_MATRIX_GIB where there is memory"
        )
    if large:
        print(f"the bins of {learned.stop - learned.start} rows are kept on disk: over {settings().matrix_gib:g} GiB")

    weights = tasks.of(case).class_weights(rows.labels[learned])

    def of(which: slice, like: xgb.DMatrix | None) -> xgb.DMatrix:
        cache = rows.folder / "bins" if large else None
        return kind(
            Batches(rows, which, weights, cache, put or np.asarray),
            max_bin=int(case.training.params.get("max_bin", 256)),
            nthread=case.training.threads,
            enable_categorical=True,
            ref=like,
        )

    train = of(learned, None)
    return Matrices(train, None if split.valid is None else of(rows.between(split.valid), train), weights)


def fit(
    case: UseCase,
    rows: Encoded | pl.DataFrame,
    split: Split,
    device: Device,
    *,
    callbacks: Sequence[TrainingCallback] = (),
    checkpoint: Checkpoint | None = None,
) -> xgb.Booster:
    """Train on ``split.train``, stopping by ``split.valid`` where there is one.

    ``rows`` are encoded, or a frame of features and labels, sorted by day. ``callbacks`` are XGBoost's; where the
    classes have weights, they see the booster as it is with these. With a ``checkpoint``, a training that was killed
    goes on, and gives the same bytes as one that was not.

    Raises UnfitFeatureError, UnfitLabelError, WrongDeviceError after a fallback, ModelRefusedError for data or
    parameters that XGBoost does not take.
    """
    asked = f"to train {case.name} with the parameters of include/use_cases/{case.name}/spec.py"
    with (
        encoded(case, [rows]) if isinstance(rows, pl.DataFrame) else nullcontext(rows) as found,
        errors.of_xgboost(asked),
        warnings.catch_warnings(record=True) as warned,
    ):
        warnings.simplefilter("always")
        bins = matrices(case, found, split, device)
        booster = boost(case, bins, device, callbacks=callbacks, checkpoint=checkpoint)
    said = [str(one.message) for one in warned]
    # A misspelt parameter would train another model than the one that was asked for, with no more than this.
    if unused := [line for text in said for line in text.splitlines() if line.endswith("are not used.")]:
        raise errors.ModelRefusedError(f"XGBoost refuses {asked}: {unused[0]}")
    for text in said:
        print(text)
    assert_device(booster, device)
    booster = imbalance.corrected(bins.weights, booster)
    # Judge and score on the CPU always, so that one version gives one set of scores.
    booster.set_param({"device": "cpu"})
    return booster


def boost(
    case: UseCase,
    of: Matrices,
    device: Device,
    *,
    callbacks: Sequence[TrainingCallback] = (),
    checkpoint: Checkpoint | None = None,
) -> xgb.Booster:
    """The trees, with early stopping those up to the best one. As ``xgboost.train``, which cannot go on where it was.

    ``xgboost.train`` counts rounds from 0 again when it is given a booster, so that rows and columns would be drawn
    anew as in the first rounds, and it forgets how long ago validation was best. Here what is drawn in a round follows
    from seed and round alone, and when to stop from the history, which the checkpoint has.
    """
    training, task = case.training, tasks.of(case)
    params = {**task.params, **training.params, "seed": training.seed, "nthread": training.threads, "device": device}
    params["seed_per_iteration"] = True
    evals = [] if of.valid is None else [(of.valid, "valid")]
    if evals:
        params["eval_metric"] = task.eval_metric
    kept = checkpoint.load() if checkpoint is not None else None

    def loaded(model: bytearray | None) -> xgb.Booster:
        return xgb.Booster(params, [of.train, *(one for one, _ in evals)], model_file=model)

    booster = loaded(kept[0] if kept else None)
    own: list[TrainingCallback] = [Progress(training.rounds, checkpoint, 1 if device == "cpu" else LOADED_ROUNDS)]
    if evals and training.early_stopping_rounds:
        own.append(Stopping(training.early_stopping_rounds))
    container = CallbackContainer([*callbacks, *own])
    begin = booster.num_boosted_rounds() if kept else 0
    if kept:
        container.history |= kept[1]  # type: ignore[arg-type]  # cross-validation has pairs there
        print(f"going on after round {begin} of {training.rounds}, where the training was when it ended")
    booster = container.before_training(booster)
    for number in range(begin, training.rounds):
        if device != "cpu" and number > begin and number % LOADED_ROUNDS == 0:
            booster = loaded(booster.save_raw("ubj"))
        if container.before_iteration(booster, number, of.train, evals):
            break
        booster.update(of.train, number)
        if container.after_iteration(booster, number, of.train, evals):
            break
    booster = container.after_training(booster)
    if evals:
        # Keep the trees that early stopping chose and no others: what is stored is what predicts.
        booster = booster[: booster.best_iteration + 1]
    return booster.reset()


class Stopping(TrainingCallback):
    """Stop when the validation loss has not fallen for ``rounds`` rounds, and remember the best one in the booster.

    All of it follows from the history of the losses, so that it is the same after a training went on.
    """

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self._rounds = rounds

    def before_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        if not evals_log:
            return False
        losses = losses_of(evals_log)
        return len(losses) - 1 - losses.index(min(losses)) >= self._rounds

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        losses = losses_of(evals_log)
        best = losses.index(min(losses))
        if best == epoch:
            model.set_attr(best_score=str(losses[best]), best_iteration=str(best))
        return False


class Progress(TrainingCallback):
    """Every ``EVERY_SECONDS``: a line on how far the training is. And the checkpoint, then or after the round when it
    can be kept, which is each of ``rounds_kept``."""

    def __init__(self, rounds: int, checkpoint: Checkpoint | None, rounds_kept: int) -> None:
        super().__init__()
        self._rounds, self._checkpoint, self._rounds_kept = rounds, checkpoint, rounds_kept
        self._begun = self._told = self._kept = time.monotonic()

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        now = time.monotonic()
        if now - self._told >= EVERY_SECONDS:
            self._told = now
            loss = f", validation loss {losses_of(evals_log)[-1]:.5g}" if evals_log else ""
            print(f"round {epoch + 1} of {self._rounds}{loss}, {now - self._begun:.0f} s", flush=True)
        is_due = now - self._kept >= EVERY_SECONDS and (epoch + 1) % self._rounds_kept == 0
        if self._checkpoint is not None and is_due:
            self._kept = now
            self._checkpoint.save(model, evals_log)
        return False


def losses_of(history: History) -> list[float]:
    """The last metric of the last rows that are evaluated, after each round."""
    return list(list(history.values())[-1].values())[-1]


def gain_shares(booster: xgb.Booster) -> dict[str, float]:
    """Each used feature's share of the total gain; they add up to 1."""
    gains = {name: float(np.sum(gain)) for name, gain in booster.get_score(importance_type="total_gain").items()}
    total = sum(gains.values())
    return {name: gain / total for name, gain in gains.items()} if total else {}
