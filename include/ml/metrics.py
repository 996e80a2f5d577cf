"""Pure metric functions on arrays. Scores are probabilities in [0, 1], labels are 0 or 1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]

FLOOR = 1e-4
"""Shares below this are raised to it before a logarithm, so that an empty bin does not make a distance infinite."""


def auc(label: Array, score: Array) -> float:
    """Area under the ROC curve, ties counted half. NaN when one class is absent."""
    positives = int(np.sum(label == 1))
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(counts) - (counts - 1) / 2.0
    ranks = middle_rank[inverse]
    return float((ranks[label == 1].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def log_loss(label: Array, score: Array) -> float:
    """Mean negative log likelihood, in nats a row."""
    p = np.clip(np.asarray(score, dtype=np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(label == 1, np.log(p), np.log(1 - p))))


def brier(label: Array, score: Array) -> float:
    """Mean squared difference of score and label."""
    return float(np.mean((np.asarray(score, dtype=np.float64) - label) ** 2))


def calibration_error(label: Array, score: Array, bins: int = 10) -> float:
    """Expected calibration error: |mean score − mean label| over equally filled bins of the score, row-weighted."""
    order = np.argsort(score, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(float(score[i].mean()) - float(label[i].mean())) * len(i) for i in parts) / len(label))


def top_decile_lift(label: Array, score: Array) -> float:
    """How many times the base rate the tenth of rows with the highest scores has. NaN without positives."""
    base = float(np.mean(label))
    if base == 0:
        return float("nan")
    top = np.argsort(-score, kind="stable")[: max(1, len(score) // 10)]
    return float(np.mean(label[top])) / base


def quality(label: Array, score: Array) -> dict[str, float]:
    """All of the above in one dictionary, with ``n``, ``base_rate`` and ``mean_score``."""
    return {
        "n": float(len(label)),
        "base_rate": float(np.mean(label)),
        "mean_score": float(np.mean(score)),
        "auc": auc(label, score),
        "log_loss": log_loss(label, score),
        "brier": brier(label, score),
        "calibration_error": calibration_error(label, score),
        "top_decile_lift": top_decile_lift(label, score),
    }


def bin_edges(values: Array, bins: int = 10) -> list[float]:
    """Inner edges that cut ``values`` (missing ignored) into at most ``bins`` equally filled bins; ties merge bins."""
    present = values[~np.isnan(values)]
    if not len(present):
        return []
    return [float(edge) for edge in np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)[1:-1]))]


def bin_counts(values: Array, edges: Sequence[float]) -> npt.NDArray[np.int64]:
    """Rows in each of ``len(edges) + 1`` bins, then the missing ones. A value equal to an edge is below it."""
    present = values[~np.isnan(values)]
    inner = np.bincount(np.searchsorted(np.asarray(edges), present, side="left"), minlength=len(edges) + 1)
    return np.append(inner, len(values) - len(present)).astype(np.int64)


def shares(counts: Array) -> npt.NDArray[np.float64]:
    """Counts as shares of their sum. Raises ValueError for no rows at all."""
    total = counts.sum()
    if total <= 0:
        raise ValueError("no rows: a distribution needs at least one")
    return np.asarray(counts / total, dtype=np.float64)


def _floored(values: Array) -> npt.NDArray[np.float64]:
    raised = np.maximum(np.asarray(values, dtype=np.float64), FLOOR)
    return np.asarray(raised / raised.sum(), dtype=np.float64)


def psi(reference: Array, current: Array) -> float:
    """Population stability index of two distributions over the same bins: ≥ 0, and 0 for equal ones, symmetric."""
    if len(reference) != len(current):
        raise ValueError(f"{len(reference)} reference bins and {len(current)} current ones")
    r, c = _floored(reference), _floored(current)
    return max(0.0, float(np.sum((c - r) * np.log(c / r))))


def jensen_shannon(reference: Array, current: Array) -> float:
    """Jensen-Shannon distance with base 2: between 0 (equal) and 1 (nothing in common)."""
    r, c = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    middle = (r + c) / 2

    def divergence(a: Array) -> float:
        held = a > 0
        return float(np.sum(a[held] * np.log2(a[held] / middle[held])))

    return float(np.sqrt(min(1.0, max(0.0, (divergence(r) + divergence(c)) / 2))))


def z_of_difference(reference: Sequence[float], current: Sequence[float]) -> float:
    """How many standard errors the mean of ``current`` lies above that of ``reference`` (Welch); 0 without evidence.

    Each value is one day's: days are independent of each other to a degree that the flights of a day are not.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if len(a) < 2 or len(b) < 2:
        return 0.0
    error = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    difference = float(b.mean() - a.mean())
    if error == 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return difference / error
