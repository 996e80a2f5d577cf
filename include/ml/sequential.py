"""A test that may be looked at every night: whether the mean of daily differences lies above or below a number.

Testing by betting (Waudby-Smith and Ramdas 2024; Shafer 2021). Whoever doubts that the mean is at most ``at`` bets
each day that the next difference is larger. Of the claim true, the capital is a non-negative supermartingale that
begins with 1, and exceeds ``1 / level`` at any time at all with a chance of at most ``level`` (Ville 1939): a look
costs nothing, and no number of looks has to be planned.

A bet needs bounds, and a difference of two losses has none that would be of use. So a difference counts as far as
``WIDE`` times what differences were off so far, and no farther: what is tested is the mean of the differences so cut,
given the days before. That is exact for any number of days. It is the mean itself where no day is that far off, and is
less than what one wild day would make of it otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[np.float64]

STAKES = np.asarray([0.03, 0.1, 0.25, 0.5, 0.75, 0.95])
"""Shares of the capital that are bet each day, by as many players with the same capital at first. How far the truth
lies from what is claimed says which of them does best; all together they need not know."""

WIDE = 3.0
"""A difference counts as far as so many standard deviations of the differences before it."""

WARM_UP = 4
"""The first differences say how far differences scatter, and nobody bets on them."""

LEAST = 1e-12
"""Two that predict the same differ by nothing, whose standard deviation is nothing."""


@dataclass(frozen=True)
class Interval:
    """What is known of a mean after any number of looks. Minus and plus infinity where nothing is."""

    low: float
    high: float


def blocks(differences: Sequence[float], overlap: int) -> Array:
    """The means of ``overlap`` differences after each other, whose labels share time; what is left over waits."""
    values = np.asarray(differences, dtype=np.float64)
    whole = len(values) // overlap
    return values[: whole * overlap].reshape(whole, overlap).mean(axis=1)


def bounds_of_bets(differences: Array) -> Array:
    """How far each difference counts, by those before it; NaN of the first ones, on which nobody bets."""
    found = np.full(len(differences), np.nan)
    for n in range(WARM_UP, len(differences)):
        found[n] = max(WIDE * float(differences[:n].std(ddof=1)), LEAST)
    return found


def capital(differences: Array, bounds: Array, at: float, side: int) -> Array:
    """The capital after each day of those who doubt a claim; it begins with 1.

    ``side`` is 1 where the claim is that the mean is at most ``at``, and -1 where it is that it is at least that.
    """
    if not len(differences):
        return np.ones(0)
    gains = np.clip(side * (differences - at) / np.where(np.isnan(bounds), np.inf, bounds), -1.0, 1.0)
    return np.asarray(np.exp(np.log1p(np.outer(gains, STAKES)).cumsum(axis=0)).mean(axis=1))


def reached(differences: Array, bounds: Array, at: float, side: int, level: float) -> npt.NDArray[np.bool_]:
    """After each day, whether the claim of :func:`capital` was ever refuted by then, at ``level``."""
    return np.asarray(np.maximum.accumulate(capital(differences, bounds, at, side)) >= 1 / level)


def interval(differences: Array, bounds: Array, below: float, above: float) -> Interval:
    """What the mean lies between. It lies below the low end at any look at all with a chance of at most ``below``.

    And above the high end with one of at most ``above``. A number is outside exactly where :func:`reached` says so.
    """
    return Interval(_end(differences, bounds, 1, below), _end(differences, bounds, -1, above))


def _end(differences: Array, bounds: Array, side: int, level: float) -> float:
    """The number farthest to that ``side`` which is refuted; infinite where none is. Capital is monotone in ``at``."""
    if not len(differences):
        return -side * float("inf")

    def refuted(at: float) -> bool:
        return bool(reached(differences, bounds, at, side, level)[-1])

    reach = float(np.ptp(differences)) + 2 * float(np.nan_to_num(bounds, nan=0.0).max()) + LEAST
    inside, outside = float(differences.mean()) + side * reach, float(differences.mean()) - side * reach
    if not refuted(outside):
        return -side * float("inf")
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if refuted(middle) else (middle, outside)
    return outside


def chance_of_better(differences: Array) -> float:
    """The posterior probability that the mean is below zero, of differences of a normal law; 0.5 of fewer than three.

    With the prior of Jeffreys, which knows nothing: the mean is Student's t about that of the differences.
    """
    from scipy import stats

    n = len(differences)
    if n < 3:
        return 0.5
    error = float(differences.std(ddof=1)) / np.sqrt(n)
    mean = float(differences.mean())
    return float(stats.t.cdf(-mean / error, n - 1)) if error > LEAST else 0.5 * (1 - float(np.sign(mean)))
