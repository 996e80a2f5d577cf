"""Whether a challenger may replace the champion: a paired test on the same days, looked at a few times.

The day is the unit. The rows of one day share what happened on it, so that a thousand of them are nothing like a
thousand pieces of evidence; what a metric would be without each day in turn says how much it scatters (the jackknife,
Efron and Stein 1981). A challenger is *not inferior* where what it gains on the champion lies above minus the margin
with the level's certainty, and *worse* where it lies below zero. Between the two there is too little evidence.

A challenger that waits is looked at again when more days have labels. Each look is a chance to be wrong, so that the
level is spent over the looks (Lan and DeMets 1983, by Pocock's function): all of them together let a challenger through
that is worse by the margin no more often than the level says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from include.ml import metrics

type Array = npt.NDArray[np.float64]
type Days = npt.NDArray[np.intp]


@dataclass(frozen=True)
class ByDay:
    """A metric that is a quotient of sums over days, or with ``root`` the square root of one.

    ``sums`` and ``counts`` have a number for each day.
    """

    sums: Array
    counts: Array
    root: bool = False

    def of(self, weights: Array) -> Array:
        """The metric of selections of days: ``weights``, of shape (selections, days), say how often each is in one.

        NaN where a selection has nothing to measure.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (weights @ self.sums) / (weights @ self.counts)
        return np.sqrt(found) if self.root else found


def mean(values: Array, day_of: Days, days: int, *, root: bool = False) -> ByDay:
    """The mean of ``values``, one a row, or with ``root`` the root of it. ``day_of`` has each row's day, from 0."""
    rows = np.bincount(day_of, minlength=days).astype(np.float64)
    return ByDay(np.bincount(day_of, weights=values, minlength=days), rows, root)


def pairs_in_order(labels: npt.NDArray[np.int8], scores: Array, day_of: Days, days: int) -> ByDay:
    """Of the pairs of a positive and a negative row **of one day**, the share that scores have in order: AUC by days.

    Predictions of one day are ranked among each other, and nobody ranks those of different days. These are left out
    for the sake of certainty too: their order hangs on the few ways in which whole days differ; the scatter doubles.
    """
    order = np.argsort(day_of, kind="stable")
    ends = np.bincount(day_of, minlength=days).cumsum()
    sums, counts = np.zeros(days), np.zeros(days)
    for day, rows in enumerate(np.split(order, ends[:-1])):
        positives = float((labels[rows] == 1).sum())
        counts[day] = positives * (len(rows) - positives)
        sums[day] = metrics.auc(labels[rows], scores[rows]) * counts[day] if counts[day] else 0.0
    return ByDay(sums, counts)


def average_precision(labels: npt.NDArray[np.int8], scores: Array, day_of: Days, days: int) -> ByDay:
    """The average precision **within days**; a day counts by its positives, since it is a mean over these."""
    return _of_positives(labels, scores, day_of, days, lambda y, s: metrics.average_precision(y, s) * float(y.sum()))


def recall(labels: npt.NDArray[np.int8], scores: Array, day_of: Days, days: int, top: Callable[[int], int]) -> ByDay:
    """Of all positives, the share among the highest scores of their day; ``top`` says how many of a day's rows."""
    return _of_positives(labels, scores, day_of, days, lambda y, s: metrics.hits_at_top(y, s, top(len(y))))


def _of_positives(
    labels: npt.NDArray[np.int8],
    scores: Array,
    day_of: Days,
    days: int,
    sum_of: Callable[[npt.NDArray[np.int8], Array], float],
) -> ByDay:
    """A mean over positives: ``sum_of`` is its sum over those of one day, of that day's labels and scores."""
    order = np.argsort(day_of, kind="stable")
    ends = np.bincount(day_of, minlength=days).cumsum()
    sums, counts = np.zeros(days), np.zeros(days)
    for day, rows in enumerate(np.split(order, ends[:-1])):
        counts[day] = float((labels[rows] == 1).sum())
        sums[day] = sum_of(labels[rows], scores[rows]) if counts[day] else 0.0
    return ByDay(sums, counts)


@dataclass(frozen=True)
class Gain:
    """By how much a challenger is better than the champion in one metric, and how certain that is.

    Attributes:
        value: in the metric's unit, or as a share of the champion's value; positive where the challenger is better.
        error: its standard error; NaN where the days do not tell.
        freedom: the degrees of freedom of that.
    """

    value: float
    error: float
    freedom: float

    def above(self, level: float) -> float:
        """The bound that the true gain lies above, but for ``level``; minus infinity where the days do not tell."""
        return self._bound(-1, level)

    def below(self, level: float) -> float:
        """The bound that the true gain lies below, but for ``level``."""
        return self._bound(1, level)

    def _bound(self, side: int, level: float) -> float:
        from scipy import stats

        if not (np.isfinite(self.value) and np.isfinite(self.error) and self.freedom >= 1):
            return side * float("inf")
        return self.value + side * float(stats.t.isf(level, self.freedom)) * self.error


def gain(ours: ByDay, theirs: ByDay, *, higher: bool, relative: bool = False, overlap: int = 1) -> Gain:
    """What ``ours`` gains on ``theirs``, both of the same ``days``.

    ``higher`` says that the metric is better when higher. The labels of ``overlap`` days in a row share time with each
    other, so that so many of them are worth one.
    """
    days = len(ours.sums)
    without_each = np.vstack([np.ones(days), 1 - np.eye(days)]) if days > 1 else np.ones((1, days))
    own, other = ours.of(without_each), theirs.of(without_each)
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = (own - other) * (1 if higher else -1) / (np.abs(other) if relative else 1)
    whole, left, spans = float(gains[0]), gains[1:], days / overlap
    if spans <= 1 or days < 2:
        return Gain(whole, float("nan"), 0.0)
    # Days that overlap are alike: dividing by the independent ones less one makes up for it, as in metrics.py.
    variance = (days - 1) / days * float(((left - left.mean()) ** 2).sum()) * (days - 1) / (spans - 1)
    return Gain(whole, float(np.sqrt(variance)), spans - 1)


@cache
def levels(looks: tuple[int, ...], level: float) -> tuple[float, ...]:
    """The level to test at in each of ``looks``, rising numbers of days, so that all together keep ``level``.

    For sums of independent days, whose correlation between two looks is known: the chance to pass first in each is what
    Pocock's spending function allots it (Armitage, McPherson and Rowe 1969).
    """
    from scipy import optimize, stats

    spent = [0.0, *(level * float(np.log1p((np.e - 1) * days / looks[-1])) for days in looks)]
    found, before = [], 0
    # The sum of all days so far where nothing has passed: its density at some nodes, times their weights.
    nodes, mass = np.zeros(1), np.ones(1)
    points, weights = np.polynomial.legendre.leggauss(256)
    for n, days in enumerate(looks):
        step, lowest = float(np.sqrt(days - before)), -9 * float(np.sqrt(days))

        def excess(bound: float, step: float = step, n: int = n, nodes: Array = nodes, mass: Array = mass) -> float:
            return float((mass * stats.norm.sf((bound - nodes) / step)).sum()) - (spent[n + 1] - spent[n])

        bound = optimize.brentq(excess, 0.0, -lowest)
        found.append(float(stats.norm.sf(bound / np.sqrt(days))))
        half = (bound - lowest) / 2
        ahead = half * points + (bound + lowest) / 2
        mass = stats.norm.pdf((ahead[:, np.newaxis] - nodes) / step) / step @ mass * weights * half
        nodes, before = ahead, days
    return tuple(found)
