"""What a model's world looked like when it was trained: the distributions that drift is measured against.

A reference is a plain dictionary, stored as ``reference.json`` beside the model:

    inputs:   [{name, kind, levels}]    what the model takes, in its order; the place of a level is its code
    features: {name: {edges, shares, weight, psi_limit}}    over all days of the training set
    task:     {kind, classes or quantiles}                  what it predicts, as its task keeps it
    scores:   {column: {edges, shares}}                     over the holdout, which the model never saw
    holdout:  {first, last, quality: {...}, daily: {name: [...]}}       by the names of the task
    data:     {first, last}

Shares are those of ``metrics.bin_counts``: one more than there are edges, then the missing ones. ``weight`` is the
feature's share of the model's total gain. ``psi_limit`` is the largest PSI that a window of the training set itself
shows against all of it: a week is drifted when it differs from those months more than any week of them did.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import batched
from typing import Any

import numpy as np
import numpy.typing as npt

from include.contracts.use_case import Feature, UseCase
from include.ml import metrics, tasks
from include.ml.tasks import Task

type Reference = dict[str, Any]

AT_ONCE = 1_000_000
"""So many values are counted at once."""


def inputs_of(features: Sequence[Feature]) -> list[dict[str, Any]]:
    """``features`` as a reference keeps them: all that scoring needs, and nothing that only a gate does."""
    return [{"name": one.name, "kind": one.kind, "levels": list(one.levels)} for one in features]


def features_of(reference: Reference) -> tuple[Feature, ...]:
    """What a version takes, in its order and with its own codes, whatever the spec of today says."""
    return tuple(Feature(one["name"], one["kind"], vocabulary=tuple(one["levels"][:-1])) for one in reference["inputs"])


def feature_edges(feature: Feature, values: npt.NDArray[Any]) -> list[float]:
    """Inner bin edges of one feature column: between the codes of a categorical one, deciles of a numeric one."""
    if feature.kind == "categorical":
        return [code + 0.5 for code in range(len(feature.levels) - 1)]
    return metrics.bin_edges(values)


def counts_by_day(
    values: npt.NDArray[Any], day_index: npt.NDArray[Any], days: int, edges: list[float]
) -> npt.NDArray[np.int64]:
    """Bin counts of one column for each of ``days`` days, shape days × (len(edges) + 2).

    ``day_index`` says which day (0 to days − 1) each value belongs to.
    """
    width = len(edges) + 2
    counts = np.zeros(days * width, dtype=np.int64)
    for begin in range(0, len(values), AT_ONCE):  # what is counted takes several times the memory of the values
        some, of_day = values[begin : begin + AT_ONCE], day_index[begin : begin + AT_ONCE]
        bins = np.where(np.isnan(some), width - 1, np.searchsorted(np.asarray(edges), some, side="left"))
        counts += np.bincount(of_day.astype(np.int64) * width + bins, minlength=days * width)
    return counts.reshape(days, width)


def window_sums(per_day: npt.NDArray[np.int64], window: int) -> npt.NDArray[np.int64]:
    """Sums over each ``window`` consecutive days, shape (days − window + 1) × bins."""
    total = np.vstack([np.zeros((1, per_day.shape[1]), dtype=np.int64), per_day.cumsum(axis=0)])
    return np.asarray(total[window:] - total[:-window], dtype=np.int64)


def psi_limit(per_day: npt.NDArray[np.int64], window: int) -> float:
    """The largest PSI of any ``window`` consecutive days against all days; 0 where there are too few days."""
    if len(per_day) < window:
        return 0.0
    whole = metrics.shares(per_day.sum(axis=0))
    return max(metrics.psi(whole, metrics.shares(counts)) for counts in window_sums(per_day, window) if counts.sum())


def daily_quality(
    task: Task, labels: npt.NDArray[Any], scores: npt.NDArray[Any], days: npt.NDArray[Any]
) -> dict[str, list[float]]:
    """What is watched, for each day in order; of each value, the days that do not tell it are left out."""
    found: dict[str, list[float]] = {}
    for day in np.unique(days):
        of_day = days == day
        for name, value in task.daily(labels[of_day], scores[of_day]).items():
            found.setdefault(name, [])
            if not np.isnan(value):
                found[name].append(value)
    return found


def brought_forward(found: Reference) -> Reference:
    """A reference of any release as today's have it: before there were other tasks, each was binary."""
    if "task" in found:
        return found
    before = {name: part for name, part in found.items() if name != "score"}
    return before | {"task": {"kind": "binary"}, "scores": {"score": found["score"]}}


def build(
    case: UseCase,
    columns: Iterable[npt.NDArray[Any]],
    days: npt.NDArray[Any],
    weights: dict[str, float],
    holdout: tuple[date, date],
    holdout_labels: npt.NDArray[Any],
    holdout_scores: npt.NDArray[Any],
) -> Reference:
    """The reference of a model. ``columns`` are the features of its whole training set, and ``days`` are its days.

    The features come in the order of the spec. Each is looked at once, by itself, as many at a time as threads are.
    """
    task = tasks.of(case)
    unique_days, day_index = np.unique(days, return_inverse=True)

    def of_feature(feature: Feature, values: npt.NDArray[Any]) -> dict[str, Any]:
        edges = feature_edges(feature, values)
        per_day = counts_by_day(values, day_index, len(unique_days), edges)
        return {
            "edges": edges,
            "shares": metrics.shares(per_day.sum(axis=0)).tolist(),
            "weight": weights.get(feature.name, 0.0),
            "psi_limit": psi_limit(per_day, case.drift.drift_window_days),
        }

    features: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(case.training.threads) as threads:
        for some in batched(zip(case.features, columns, strict=True), case.training.threads):
            named, values = zip(*some, strict=True)
            features |= zip([one.name for one in named], threads.map(of_feature, named, values), strict=True)
    scores = {}
    for name, values in task.watched_values(task.frame(holdout_scores)).items():
        edges = metrics.bin_edges(values)
        scores[name] = {"edges": edges, "shares": metrics.shares(metrics.bin_counts(values, edges)).tolist()}
    first, last = np.datetime64(holdout[0]), np.datetime64(holdout[1])
    return {
        "inputs": inputs_of(case.features),
        "features": features,
        "task": task.recipe,
        "scores": scores,
        "holdout": {
            "first": str(holdout[0]),
            "last": str(holdout[1]),
            "quality": task.quality(holdout_labels, holdout_scores),
            "daily": daily_quality(task, holdout_labels, holdout_scores, days[(days >= first) & (days <= last)]),
        },
        "data": {"first": str(unique_days[0]), "last": str(unique_days[-1])},
    }
