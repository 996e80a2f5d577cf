"""Pure metric functions on arrays. Unless they say otherwise, scores are probabilities, and labels are 0 or 1.

scikit-learn and SciPy have some of them, with equal values (``tests/ml/test_metrics.py`` compares). These are used
because scikit-learn takes seconds to import and twenty times as long for the rows of one day, most of it to check its
arguments, and SciPy's Jensen-Shannon distance is NaN for one in seven pairs of nearly equal distributions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]

FLOOR = 1e-4
"""Shares below this are raised to it before a logarithm, so that an empty bin does not make a distance infinite."""


BIN_ROWS = 50
"""So many rows at least has a bin of the calibration error: the mean of their labels is within .07 of the true one."""


def auc(label: Array, score: Array) -> float:
    """Area under the ROC curve, ties counted half. NaN when one class is absent."""
    positives = int(np.sum(label == 1))
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = _ranks(score)
    return float((ranks[label == 1].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def _ranks(score: Array) -> npt.NDArray[np.float64]:
    """The rank of each row, from 1; rows of one score share the middle of their ranks."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0
    return np.asarray(middle[inverse], dtype=np.float64)


def log_losses(label: Array, score: Array) -> Array:
    """The negative log likelihood of each row, in nats."""
    p = np.clip(np.asarray(score, dtype=np.float64), 1e-7, 1 - 1e-7)
    return -np.where(label == 1, np.log(p), np.log(1 - p))


def log_loss(label: Array, score: Array) -> float:
    """Mean negative log likelihood, in nats a row."""
    return float(np.mean(log_losses(label, score)))


def brier(label: Array, score: Array) -> float:
    """Mean squared difference of score and label."""
    return float(np.mean((np.asarray(score, dtype=np.float64) - label) ** 2))


def calibration_error(label: Array, score: Array, bins: int | None = None) -> float:
    """Expected calibration error: |mean score − mean label| over equally filled bins of the score, row-weighted.

    There are ten ``bins``, or fewer where they would have less than ``BIN_ROWS`` rows, which differ from the mean of
    their scores by chance. Rows of one score are in one bin, whatever their order; a bin is then larger than the
    others, or empty.
    """
    bins = bins or min(10, max(1, len(score) // BIN_ROWS))
    bin_of = ((_ranks(score) - 0.5) * bins / len(score)).astype(np.int64)
    off = np.bincount(bin_of, weights=np.asarray(score, dtype=np.float64) - label)
    return float(np.abs(off).sum() / len(label))


def top_decile_lift(label: Array, score: Array) -> float:
    """How many times the base rate the tenth of rows with the highest scores has. NaN without positives.

    Of rows that share the score at the end of that tenth each counts in part, as any of them could be in it.
    """
    base = float(np.mean(label))
    if base == 0:
        return float("nan")
    top = max(1, len(score) // 10)
    return hits_at_top(label, score, top) / top / base


def log_losses_of_classes(label: Array, scores: Array) -> Array:
    """The negative log likelihood, in nats, of each code ``label`` under ``scores`` of shape (rows, classes)."""
    return np.asarray(-np.log(np.clip(scores[np.arange(len(label)), label], 1e-7, 1)))


def average_precision(label: Array, score: Array) -> float:
    """The mean precision over the positives, of all rows whose score is at least theirs. NaN without positives.

    Rows of one score come in together, whatever their order. Chance has the base rate.
    """
    positives = int(np.sum(label == 1))
    if positives == 0:
        return float("nan")
    _, group = np.unique(-np.asarray(score, dtype=np.float64), return_inverse=True)  # the highest score first
    rows, hits = np.bincount(group), np.bincount(group, weights=label == 1)
    return float((hits * hits.cumsum() / rows.cumsum()).sum() / positives)


def hits_at_top(label: Array, score: Array, top: int) -> float:
    """How many positives the ``top`` rows of highest score have.

    Of rows that share the score at their end each counts in part, as any of them could be among them.
    """
    if top >= len(score):
        return float(np.sum(label == 1))
    last = np.partition(score, -top)[-top]
    above, tied = label[score > last], label[score == last]
    return float(above.sum() + tied.mean() * (top - len(above)))


def log_loss_of_classes(label: Array, scores: Array) -> float:
    """Its mean over the rows."""
    return float(np.mean(log_losses_of_classes(label, scores)))


def brier_of_classes(label: Array, scores: Array) -> float:
    """Mean squared distance, between 0 and 2, of ``scores`` (rows, classes) from the class that it was (codes)."""
    return float(np.mean(((scores - np.eye(scores.shape[1])[label]) ** 2).sum(axis=1)))


def pinball_losses(label: Array, scores: Array, quantiles: Sequence[float]) -> Array:
    """The same of each row."""
    under, levels = label[:, np.newaxis] - scores, np.asarray(quantiles)
    return np.asarray(np.maximum(levels * under, (levels - 1) * under).mean(axis=1))


def pinball_loss(label: Array, scores: Array, quantiles: Sequence[float]) -> float:
    """Mean loss of predicted quantiles, in the label's unit; ``scores`` has the shape (rows, quantiles)."""
    return float(np.mean(pinball_losses(label, scores, quantiles)))


def quality(label: Array, score: Array) -> dict[str, float]:
    """All of the above in one dictionary, with ``n``, ``base_rate`` and ``mean_score``."""
    return {
        "n": float(len(label)),
        "base_rate": float(np.mean(label)),
        "mean_score": float(np.mean(score)),
        "auc": auc(label, score),
        "average_precision": average_precision(label, score),
        "log_loss": log_loss(label, score),
        "brier": brier(label, score),
        "calibration_error": calibration_error(label, score),
        "top_decile_lift": top_decile_lift(label, score),
    }


def bin_edges(values: Array, bins: int = 10) -> list[float]:
    """Inner edges that cut ``values`` (missing ignored) into at most ``bins`` equally filled bins, and a few more.

    A value so frequent that it would fill a bin and more (a constant, a flag, a common maximum) has a bin of its own:
    to leave it is a move, upwards or downwards.
    """
    present = np.asarray(values[~np.isnan(values)], dtype=np.float64)
    if not len(present):
        return []
    cuts, times = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)), return_counts=True)
    frequent = cuts[times > 1]
    # The next lower number of 32 bits, which is what features are; of 64 bits, that below 0 is too small to rely on.
    own = np.concatenate([np.nextafter(frequent.astype(np.float32), np.float32(-np.inf)), frequent])
    # Where a frequent value cuts an ordinary bin, what is left of it may be a sliver, whose share is all noise.
    ordered = np.sort(present)
    others = [
        cut
        for cut in cuts[1:-1][times[1:-1] == 1]
        if all(_between(ordered, cut, edge) * 2 * bins >= len(present) for edge in own)
    ]
    return [float(edge) for edge in np.unique(np.concatenate([own, others]))]


def _between(ordered: Array, one: float, other: float) -> int:
    """How many of the sorted values lie above the lower of two edges, and not above the upper one."""
    low, high = np.searchsorted(ordered, sorted([one, other]), side="right")
    return int(high - low)


FEW_EDGES = 256


def bin_counts(values: Array, edges: Sequence[float]) -> npt.NDArray[np.int64]:
    """Rows in each of ``len(edges) + 1`` bins, then the missing ones. A value equal to an edge is below it."""
    missing = int(np.count_nonzero(np.isnan(values)))
    if len(edges) <= FEW_EDGES:  # to count what is below each is forty times as fast as to find a place for each value
        up_to = [np.count_nonzero(values <= edge) for edge in _of_type(edges, values.dtype)]
        inner = np.diff([0, *up_to, len(values) - missing])
    else:
        places = np.searchsorted(np.asarray(edges), values[~np.isnan(values)], side="left")
        inner = np.bincount(places, minlength=len(edges) + 1)
    return np.append(inner, missing).astype(np.int64)


def _of_type(edges: Sequence[float], dtype: np.dtype[Any]) -> Array:
    """The largest numbers of ``dtype`` that are not above ``edges``: just as many values are up to them."""
    wide = np.asarray(edges, dtype=np.float64)
    if dtype != np.float32:
        return wide
    narrow = wide.astype(np.float32)
    return np.where(narrow > wide, np.nextafter(narrow, np.float32(-np.inf)), narrow)


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


def z_of_difference(reference: Sequence[float], current: Sequence[float], overlap: int = 1) -> float:
    """How many standard errors the mean of ``current`` lies above that of ``reference`` (Welch); 0 without evidence.

    Each value is one day's: days are independent of each other to a degree that the rows of a day are not. Where the
    labels of ``overlap`` days in a row share time with each other, days / overlap of them are independent. A sample
    that is too short to show its own scatter has that of the other one.
    """
    if len(reference) < 2 or len(current) < 2:
        return 0.0
    first, second = (_variance_beside(*pair, overlap) for pair in ((reference, current), (current, reference)))
    if first is None or second is None:
        return 0.0
    difference = float(np.mean(np.asarray(current, np.float64)) - np.mean(np.asarray(reference, np.float64)))
    return _z(difference, float(np.sqrt(first + second)))


def z_of_mean(values: Sequence[float], overlap: int = 1) -> float:
    """How many standard errors the mean of ``values`` lies above 0, as in :func:`z_of_difference`."""
    variance = _variance_of_mean(values, overlap) if len(values) > 1 else None
    return 0.0 if variance is None else _z(float(np.mean(values)), float(np.sqrt(variance)))


def _z(difference: float, error: float) -> float:
    if error == 0:
        return 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    return difference / error


def _variance_beside(values: Sequence[float], other: Sequence[float], overlap: int) -> float | None:
    """The squared standard error of the mean of ``values``, by the scatter of ``other`` where they show none."""
    own, told = _variance_of_mean(values, overlap), _variance_of_mean(other, overlap)
    if own is not None or told is None:
        return own
    # The mean of a sample shorter than one span scatters as that of one span does.
    return told * _spans(other, overlap) / max(1.0, _spans(values, overlap))


def _spans(values: Sequence[float], overlap: int) -> float:
    """How many independent days ``values`` are worth."""
    return len(values) / overlap


def _variance_of_mean(values: Sequence[float], overlap: int) -> float | None:
    """The squared standard error of the mean; None where there are fewer than two independent days.

    Days that overlap are alike, so that they scatter less about their own mean than about the true one: dividing by
    the independent days less one, as by the days less one otherwise, makes up for it.
    """
    spans = _spans(values, overlap)
    if spans < 2:
        return None
    found = np.asarray(values, dtype=np.float64)
    return float(found.var(ddof=1) / len(found) * ((len(found) - 1) / (spans - 1)))
