"""Evidence over nights that a number is not as it was, with a stated rate of false alarms.

A *number* is one figure a day: the mean of a feature, a share, an AUC. What it does on quiet days is learned from days
of the champion's own training (:class:`Quiet`): its level, which follows the season; what is usual of each weekday; how
much of yesterday's difference is there today; and how far days lie from what that foretells. Each night takes one step
(:func:`step`): what was foretold is compared with what came, by likelihood ratios of a change of some size and of none.

For one size of change, with λ = ``KEPT`` and the likelihood ratio L of the night,

    e = (1 − λ) · L(the change came tonight) + λ · e before · L(it came earlier)

is a Shiryaev-Roberts e-detector that forgets. While nothing changes, the expectation of e is at most 1 in every night,
however many nights there were, so that e reaches 1/α in at most a share α of quiet nights (Markov), and on average not
before 1/(α (1 − λ)) nights. A weighted mean of such values is one too: many sizes, numbers, features and slices are
averaged, and none has to be paid for by a stricter limit. What is learned here is stored and read as plain lists.

What the numbers of a day are off is mostly shared: a storm moves fifty of them. So each is also held against what the
others of the same day tell of it (:class:`Beside`): a number that moves alone stands out by far more than by itself.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]

KEPT, KEPT_OF_PROMISED = 6 / 7, 27 / 28
"""λ: a change that began is looked for over about a week, and of what was promised, which follows no season, over a
month. Evidence that grows by less than -ln λ a night never adds up: of inputs, that much is weather and season."""

FOLLOWS = 1 / 28
"""The share of each night's difference by which the level follows: what takes a month or more is season."""

SIZES = (0.75, 1.5, 3.0, 6.0, 12.0, 24.0)
"""The changes that are looked for, in usual distances of a day."""

FREEDOM = 8.0
"""Days scatter about what is foretold with the tails of Student's t of so many degrees of freedom: real ones do."""

MOST_OFF = SIZES[-1]
"""As far off counts as what is farther: farther than the largest change, this and none would be alike."""

MOST_APART = 80.0
"""So many usual sizes at most a surprise counts in what stands beside it: one column that is broken breaks no other."""

MOST = 1e9
"""As large as evidence for one change becomes, so that it can fade when the change is over."""

PACKED_FROM, PACKED_STEP = -11.0, 0.0005
"""The logarithm of evidence that is packed: from where on and in which steps. The largest, ``MOST``, is at 20.7."""

FARTHEST = 8.0
"""A single value counts as at most so many spreads away from the middle: no row carries a day."""

MOST_MEMORY = 0.98
"""No difference is taken to last longer: half of it is gone after a month."""

UNTOLD = 1e300
"""The scale of a number that quiet days do not tell."""

UNSEEN, UNSEEN_OF_LATER = 1.5, 1.1
"""Days scatter so much more in seasons that a champion has not seen than in those that it learned from; hardly more
where it was learned on later days than those that a model is made of."""

SHRUNK = 0.3
"""What is added to the variance of each number, in its own, before the others foretell it: days are few."""

LEAST_BESIDE, MOST_BESIDE = 42, 500
"""Fewer days than this tell nothing of how numbers hang together. So many numbers at most are held beside each other:
what it takes grows with their square."""

LEAST_BESIDE_OFF = 0.02
"""No distance beside the others counts for less than this: of a mean, a fiftieth of the column's width. A schedule that
is revised moves its minutes by that much beside its hours, for good, and no model minds."""

FOLDS, LATER = 5, (0.5, 0.625, 0.75, 0.875, 1.0)
"""How far off the others are is learned on weeks that they were not learned from, a fifth of them at a time, and on
days that came later: what hangs together in spring may not in summer. The larger one counts."""

NARROW = 0.05
"""Added to a spread before its logarithm, so that a column of one value has one."""

LEAST_DAYS, LEAST_WEEKS = 7, 4
"""Fewer days than this tell nothing about quiet ones, and fewer weeks nothing about weekdays."""

QUANTILES = (0.5, 0.9, 0.97)
"""Of the distances of quiet days: the scale is such that the tails of Student's t lie outside of all of these."""


@dataclass(frozen=True)
class Quiet:
    """What some numbers do on quiet days. Arrays have one entry a number; ``week`` has a row of seven for each.

    Attributes:
        level: where they ended, or what was promised of them.
        week: what is added on Monday to Sunday.
        memory: the share of a day's difference from the level that is still there on the next.
        scale: how far a day usually lies from what is foretold, in the number's unit.
    """

    level: Floats
    week: Floats
    memory: Floats
    scale: Floats

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).tolist() for name in ("level", "week", "memory", "scale")}

    def rounded(self) -> Quiet:
        """With four digits after the point, where there are very many of them."""
        return Quiet(*(np.round(getattr(self, name), 4) for name in ("level", "week", "memory", "scale")))

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Quiet:
        return cls(*(np.asarray(kept[name], dtype=np.float64) for name in ("level", "week", "memory", "scale")))


@dataclass(frozen=True)
class State:
    """Where some numbers stand after a night; of ``values`` (numbers × changes), each is the e of one change.

    ``off`` is by how much each number was off its level on ``day``, the last one that had rows.
    """

    day: date | None
    level: Floats
    off: Floats
    values: Floats

    @property
    def evidence(self) -> float:
        """The e-value of all of them together."""
        return float(self.values.mean()) if self.values.size else 1.0

    @property
    def by_number(self) -> Floats:
        return np.asarray(self.values.mean(axis=1))

    def to_dict(self) -> dict[str, Any]:
        numbers = {name: getattr(self, name).tolist() for name in ("level", "off", "values")}
        return {"day": str(self.day) if self.day else None, **numbers}

    def packed(self) -> dict[str, Any]:
        """The same of many numbers, in a fifth of the room; :meth:`rounded` has it as it is read back."""
        stored = self.level.astype("<f4").tobytes() + self.off.astype("<f4").tobytes() + self._steps().tobytes()
        return {
            "day": str(self.day) if self.day else None,
            "numbers": len(self.level),
            "packed": base64.b64encode(stored).decode(),
        }

    def rounded(self) -> State:
        """As :meth:`packed` keeps it. Evidence is rounded down, so that its expectation stays below 1."""
        values = np.exp(self._steps() * PACKED_STEP + PACKED_FROM)
        level, off = (one.astype("<f4").astype(np.float64) for one in (self.level, self.off))
        return State(self.day, level, off, values)

    def _steps(self) -> npt.NDArray[np.uint16]:
        # What was rounded down already is not rounded down again for a bit that its logarithm has lost.
        steps = (np.log(np.maximum(self.values, 1e-300)) - PACKED_FROM) / PACKED_STEP + 1e-6
        return np.asarray(np.clip(steps, 0, 2**16 - 1).astype("<u2"))

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> State:
        if "packed" in kept:
            return cls._unpacked(kept)
        numbers = (np.asarray(kept[name], dtype=np.float64) for name in ("level", "off", "values"))
        return cls(date.fromisoformat(kept["day"]) if kept["day"] else None, *numbers)

    @classmethod
    def _unpacked(cls, kept: dict[str, Any]) -> State:
        stored, numbers = base64.b64decode(kept["packed"]), kept["numbers"]
        level, off = np.frombuffer(stored, "<f4", 2 * numbers).astype(np.float64).reshape(2, numbers)
        steps = np.frombuffer(stored, "<u2", offset=8 * numbers).reshape(numbers, -1)
        values = np.exp(steps * PACKED_STEP + PACKED_FROM)
        return cls(date.fromisoformat(kept["day"]) if kept["day"] else None, level, off, values)


def begin(quiet: Quiet, sides: Sequence[int] = (-1, 1), ways: int = 1, sizes: Sequence[float] | None = None) -> State:
    """Where numbers stand that nobody has watched yet. ``sides`` are the directions in which a change counts.

    ``ways`` is 2 where each number is also held beside the others; ``sizes`` None: ``SIZES``.
    """
    changed = ways * len(changes(sides, sizes))
    return State(None, quiet.level, np.zeros_like(quiet.level), np.ones((len(quiet.level), changed), np.float64))


def resumed(state: State, sides: Sequence[int] = (-1, 1), ways: int = 1, sizes: Sequence[float] | None = None) -> State:
    """``state`` as today's changes take it: one of a release that looked for other changes keeps its evidence."""
    width = ways * len(changes(sides, sizes))
    if state.values.shape[1:] == (width,):
        return state
    return replace(state, values=np.repeat(state.values.mean(axis=1, keepdims=True), width, axis=1))


def changes(sides: Sequence[int], sizes: Sequence[float] | None = None) -> Floats:
    """The changes that are looked for, in usual distances of a day, in the order of ``State.values``."""
    return np.asarray([side * size for side in sides for size in (SIZES if sizes is None else sizes)])


def likelihood_ratio(z: Floats, change: Floats, freedom: float = FREEDOM) -> Floats:
    """How much likelier ``z`` is where it is ``change`` too high than where it is not, by Student's t."""
    own, changed = 1 + z**2 / freedom, 1 + (z - change) ** 2 / freedom
    return np.asarray((own / changed) ** ((freedom + 1) / 2))


@dataclass(frozen=True)
class Surprise:
    """By how much the numbers of a day are off: ``off`` the level, ``counted`` of it, and ``left`` beyond the foretold.

    ``seen`` says which the day tells, ``memory`` what was left of the difference before.
    """

    day: date
    seen: npt.NDArray[np.bool_]
    off: Floats
    counted: Floats
    memory: Floats
    left: Floats


def surprise(
    quiet: Quiet, state: State, day: date, numbers: Floats, *, sides: Sequence[int] = (-1, 1), tolerated: float = 0.0
) -> Surprise:
    """By how much the ``numbers`` of ``day`` are off. NaN is a number that the day does not tell: it is off by nothing.

    ``tolerated`` is how far from the level a number may be before that is a change.
    """
    seen = ~np.isnan(numbers)
    off = np.where(seen, numbers - quiet.week[:, day.weekday()] - state.level, 0.0)
    counted = off if not tolerated else _beyond(off, tolerated, sides)
    passed = (day - state.day).days if state.day else 1
    memory = quiet.memory ** max(passed, 1)
    return Surprise(day, seen, off, counted, memory, np.where(seen, counted - memory * state.off, 0.0))


def advanced(
    quiet: Quiet,
    state: State,
    found: Surprise,
    floor: Floats,
    beside: Floats | None = None,
    *,
    sides: Sequence[int] = (-1, 1),
    follows: float = FOLLOWS,
    kept: float = KEPT,
    sizes: Sequence[float] | None = None,
    freedom: float = FREEDOM,
) -> State:
    """The state after the day of a surprise. ``beside`` is by how many usual distances each number is off those beside
    it; see :func:`step` for the rest."""
    z = found.left / np.maximum(quiet.scale, floor)
    of = [z] if beside is None else [z, beside]
    change = changes(sides, sizes)[np.newaxis]
    lasting = change * (1 - found.memory)[:, np.newaxis]
    each = [np.clip(one, -MOST_OFF, MOST_OFF)[:, np.newaxis] for one in of]
    tonight = np.hstack([likelihood_ratio(one, change, freedom) for one in each])
    earlier = np.hstack([likelihood_ratio(one, lasting, freedom) for one in each])
    values = np.minimum((1 - kept) * tonight + kept * state.values * earlier, MOST)
    return State(
        found.day if found.seen.any() else state.day,
        np.where(found.seen, state.level + follows * found.off, state.level),
        np.where(found.seen, found.counted, state.off),
        np.where(found.seen[:, np.newaxis], values, state.values),
    )


def step(
    quiet: Quiet,
    state: State,
    day: date,
    numbers: Floats,
    floor: Floats,
    *,
    sides: Sequence[int] = (-1, 1),
    follows: float = FOLLOWS,
    tolerated: float = 0.0,
    kept: float = KEPT,
) -> State:
    """The state after ``day``, whose ``numbers`` came. Pure; NaN is a number that the day does not tell: it stays.

    ``floor`` is how far a number of so many rows lies from the truth by chance alone: no distance counts for less.
    ``tolerated`` is how far from the level a number may be before that is a change, ``kept`` how much of last night's
    evidence stands.
    """
    found = surprise(quiet, state, day, numbers, sides=sides, tolerated=tolerated)
    return advanced(quiet, state, found, floor, sides=sides, follows=follows, kept=kept)


def _beyond(off: Floats, tolerated: float, sides: Sequence[int]) -> Floats:
    """What of a difference is more than is tolerated; where one direction counts, the other is no merit."""
    if len(sides) == 1:
        return np.asarray(off - sides[0] * tolerated)
    return np.asarray(np.sign(off) * np.maximum(np.abs(off) - tolerated, 0.0))


def learn(
    numbers: Floats, days: Sequence[date], *, follows: float = FOLLOWS, overlap: int = 1, unseen: float = UNSEEN
) -> Quiet | None:
    """What numbers (days × numbers, NaN where a day does not tell one) do on quiet ``days``; None of too few days.

    ``follows`` is what they will be watched with: 0 takes their mean for what is promised. Where the labels of
    ``overlap`` days in a row share time with each other, so many days tell as much as one. ``unseen`` is by how much
    more days scatter that are yet to come.
    """
    if len(days) < LEAST_DAYS:
        return None
    apart = float(np.median(np.diff([day.toordinal() for day in days])))
    weekdays = np.asarray([day.weekday() for day in days]) if apart == 1 else None
    learned = [_learned(numbers[:, n], weekdays, follows, overlap) for n in range(numbers.shape[1])]
    level, week, memory, scale = (np.asarray(part, dtype=np.float64) for part in zip(*learned, strict=True))
    # Event dates that are a week apart tell what is left after a week: this is kept by the day.
    return Quiet(level, week.reshape(len(learned), 7), memory ** (1 / apart), np.minimum(scale * unseen, UNTOLD))


def _learned(
    values: Floats, weekdays: npt.NDArray[Any] | None, follows: float, overlap: int
) -> tuple[float, Floats, float, float]:
    """Level, week, memory and scale of one number; of event dates that are no days in a row, ``weekdays`` is None."""
    seen = ~np.isnan(values)
    if seen.sum() < LEAST_DAYS:  # it is never told, or hardly ever: no distance counts
        return 0.0, np.zeros(7), 0.0, UNTOLD
    values, week = values[seen], np.zeros(7)
    if weekdays is not None and len(values) >= 7 * LEAST_WEEKS:
        week = _week(values, weekdays[seen])
        values = values - week[weekdays[seen]]
    level = float(values[:28].mean() if follows else values.mean())
    off = np.empty(len(values))
    for n, value in enumerate(values):
        off[n] = value - level
        level += follows * off[n]
    memory = _memory(off)
    return level, week, memory, _scale(off[1:] - memory * off[:-1], len(off) / overlap)


def _week(values: Floats, weekdays: npt.NDArray[Any]) -> Floats:
    """What each weekday differs by from the week around it; less, where few weeks tell it."""
    around = np.convolve(values, np.ones(7) / 7, mode="same")
    around[:3], around[-3:] = around[3], around[-4]
    found = np.zeros(7)
    for weekday in range(7):
        its = (values - around)[weekdays == weekday]
        found[weekday] = its.sum() / (len(its) + 3)
    return found


def _memory(off: Floats) -> float:
    """The share of a difference that is still there on the next day.

    Few days show too little of it (Kendall 1954), and to take it for less than it is makes false alarms: the fewer they
    are, the more it is taken for.
    """
    days, squares = len(off), float(off @ off)
    if not squares:
        return 0.0
    shown = float(off[:-1] @ off[1:]) / squares
    return float(np.clip(shown + (1 + 3 * shown) / days + (1 - shown) * (4 / days) ** 2, 0.0, MOST_MEMORY))


def _scale(errors: Floats, independent: float) -> float:
    """A scale by which no more days lie far away than Student's t has there, and more where few days tell it."""
    found = np.quantile(np.abs(errors), QUANTILES)
    return float(np.max(found / _T_QUANTILES)) * (1 + 1 / independent**0.5)


def _scale_of_all(errors: Floats) -> float:
    """The same, by which not even the one day lies too far away that is farthest of all.

    What the others tell of a number leaves little, and where it is nothing for months, as the share that is missing of
    a column, a single day is beyond any scale that the others have.
    """
    days = len(errors)
    return max(_scale(errors, days), float(np.max(np.abs(errors))) / _t_quantile(1 - 0.5 / days))


def _t_quantile(share: float) -> float:
    """The quantile of |t| at ``share``, by the expansion of Cornish and Fisher: SciPy takes a second to import."""
    z = NormalDist().inv_cdf((1 + share) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / FREEDOM + second / FREEDOM**2 + third / FREEDOM**3


_T_QUANTILES = np.asarray([_t_quantile(share) for share in QUANTILES])


# --- numbers beside each other ---


@dataclass(frozen=True)
class Beside:
    """How the surprises of numbers hang together on quiet days.

    Attributes:
        usual: the size of a surprise of each number, in its unit.
        weights: numbers × numbers; column n says what the surprises of the others, in their usual size, take from that
            of number n. Its own weight is 1.
        scale: how far each usually is from what the others tell of it, in its usual size.
    """

    usual: Floats
    weights: Floats
    scale: Floats

    def off(self, left: Floats, floor: Floats) -> Floats:
        """By how many usual distances numbers are off those beside them. ``left`` are their surprises of one day."""
        sized = np.clip(left / self.usual, -MOST_APART, MOST_APART)
        return np.asarray(sized @ self.weights / np.maximum(self.scale, floor / self.usual))

    def to_dict(self) -> dict[str, Any]:
        """With three digits of what is learned from a hundred days: it is most of what a reference holds."""
        return {
            "usual": self.usual.tolist(),
            "weights": [[round(one, 3) for one in row] for row in self.weights.tolist()],
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Beside:
        return cls(*(np.asarray(kept[name], dtype=np.float64) for name in ("usual", "weights", "scale")))


def surprises(quiet: Quiet, numbers: Floats, days: Sequence[date], *, follows: float = FOLLOWS) -> Floats:
    """What each of ``days`` (days × numbers) was off what was foretold, less the first, as :func:`step` sees it."""
    there = ~np.isnan(numbers[:28])
    first = np.where(there, numbers[:28], 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    level = np.where(there.any(axis=0), first, quiet.level)  # ``quiet`` has the one where they ended
    state, found = State(None, level, np.zeros_like(level), np.empty((len(level), 0))), []
    for day, of_day in zip(days, numbers, strict=True):
        one = surprise(quiet, state, day, of_day)
        found.append(one.left)
        state = State(day, state.level + follows * one.off, np.where(one.seen, one.counted, state.off), state.values)
    return np.asarray(found[1:])


def learn_beside(left: Floats, floor: Floats) -> tuple[Beside, Floats] | None:
    """How numbers hang together, from what they were off on quiet days (days × numbers); None where days are few.

    With it, by how many usual distances each was off those beside it on these days, each foretold by other weeks.

    Each is foretold by all others at once by ridge regression, which the inverse of their correlations gives for all
    numbers together. ``floor`` is how far each is off by the chance of its rows: what never moved has that size.
    """
    days, numbers = left.shape
    if days < LEAST_BESIDE or numbers < 2:
        return None
    usual = np.maximum(np.sqrt((left**2).mean(axis=0)), np.maximum(floor, 1e-12))
    sized, fold = left / usual, (np.arange(days) // 7) % FOLDS
    rest = np.empty_like(sized)
    for one in range(FOLDS):
        rest[fold == one] = sized[fold == one] @ _weights(sized[fold != one])
    later = np.vstack([sized[a:b] @ _weights(sized[:a]) for a, b in pairwise(round(days * at) for at in LATER)])
    scale = np.asarray([max(_scale_of_all(rest[:, n]), _scale_of_all(later[:, n])) for n in range(numbers)])
    found = Beside(usual, _weights(sized), np.maximum(scale, LEAST_BESIDE_OFF / usual))
    return found, rest / found.scale


def _weights(sized: Floats) -> Floats:
    inverse = np.linalg.inv(sized.T @ sized / len(sized) + SHRUNK * np.eye(sized.shape[1]))
    return np.asarray(inverse / np.diag(inverse))


# --- what quiet nights come to ---

DRAWS, NIGHTS = 20, 56
"""So many times quiet weeks are drawn again, and so many nights are watched each time."""

CALM_SHARES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""The shares of quiet nights of which it is kept what evidence reaches in them."""

AT_ONCE = 2_000_000
"""So many likelihood ratios a night are as many as a training has time for: of more numbers there are fewer draws."""


@dataclass(frozen=True)
class Calm:
    """What some numbers were off on quiet days, in usual distances (days × numbers), and how they are watched."""

    off: Floats
    memory: Floats
    weight: Floats
    sides: tuple[int, ...] = (-1, 1)
    kept: float = KEPT
    sizes: tuple[float, ...] | None = None
    freedom: float = FREEDOM


def calm_evidence(parts: Sequence[Calm], seed: int = 0) -> list[float] | None:
    """What the evidence of ``parts`` together reaches in ``CALM_SHARES`` of the nights; None of too few.

    The nights are quiet weeks, drawn again, with all their numbers together, so that what hangs together stays so.
    """
    days = min((len(one.off) for one in parts), default=0)
    if days < 7 * LEAST_WEEKS:
        return None
    ratios = sum(one.off.shape[1] * len(changes(one.sides, one.sizes)) for one in parts)
    random = np.random.default_rng(seed)
    draws = int(np.clip(AT_ONCE // max(ratios, 1), 3, DRAWS))
    starts = random.integers(0, days - 6, (draws, NIGHTS // 7))
    nights = (starts[:, :, np.newaxis] + np.arange(7)).reshape(draws, NIGHTS)
    found = np.zeros((draws, NIGHTS))
    for one in (some for part in parts for some in _some_at_once(part)):
        change = changes(one.sides, one.sizes)
        # Each day is drawn many times, and its ratios are the same each time.
        z = np.clip(one.off[len(one.off) - days :], -MOST_OFF, MOST_OFF)[:, :, np.newaxis]
        tonight = likelihood_ratio(z, change, one.freedom)
        earlier = likelihood_ratio(z, change * (1 - one.memory)[:, np.newaxis], one.freedom)
        for draw in range(draws):
            values = np.ones(tonight.shape[1:])
            for night, day in enumerate(nights[draw]):
                values = np.minimum((1 - one.kept) * tonight[day] + one.kept * values * earlier[day], MOST)
                found[draw, night] += one.weight @ values.mean(axis=1)
    shares: list[float] = np.quantile(found, 1 - np.asarray(CALM_SHARES)).tolist()
    return shares


def _some_at_once(of: Calm) -> Iterator[Calm]:
    """``of``, so many numbers at a time that what is kept of their days stays small."""
    size = max(1, AT_ONCE // (len(of.off) * len(changes(of.sides, of.sizes))))
    for at in (slice(begin, begin + size) for begin in range(0, len(of.memory), size)):
        yield replace(of, off=of.off[:, at], memory=of.memory[at], weight=of.weight[at])


def calm_at(kept: Sequence[float], share: float) -> float:
    """What quiet evidence reaches in ``share`` of the nights, by what :func:`calm_evidence` found."""
    return float(np.interp(share, CALM_SHARES, kept))


# --- the numbers of a day ---


def middle_and_spread(edges: Sequence[float]) -> tuple[float, float]:
    """Where a numeric column has its middle, and how wide it is, by the inner edges of its bins, which are deciles.

    A column that is one value throughout has next to no width: every other value is as far as can be.
    """
    if not len(edges):
        return 0.0, 1.0
    ordered = np.asarray(edges, dtype=np.float64)
    middle = float(np.median(ordered))
    width = float(ordered[-1] - ordered[0]) / (2 * NormalDist().inv_cdf(0.9))
    return middle, max(width, 1e-6 * (1 + abs(middle)))


def numeric_by_day(
    values: npt.NDArray[Any], day_index: npt.NDArray[Any], days: int, edges: Sequence[float]
) -> tuple[Floats, Floats]:
    """Mean, spread and missing share of a numeric column, each day (days × 3), and their floors (days × 3).

    Mean and spread are in widths of the column in training. The spread is as its logarithm and the share as the arcsine
    of its root, which scatter alike wherever they lie. A day without a value tells neither mean nor spread.
    """
    middle, width = middle_and_spread(edges)
    there = ~np.isnan(values)
    of_day = day_index[there]
    z = values[there].astype(np.float64)
    z -= middle
    z /= width
    np.clip(z, -FARTHEST, FARTHEST, out=z)
    return numeric_of(
        _sums(day_index, days),
        _sums(of_day, days),
        _sums(of_day, days, z),
        _sums(of_day, days, np.square(z, out=z)),
    )


def numeric_of(rows: Floats, present: Floats, total: Floats, square: Floats) -> tuple[Floats, Floats]:
    """The same of what was summed up: rows, values, their sum and that of their squares, in widths, of any one shape.

    That shape has the three numbers of each as its last axis.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / present
        missing = np.arcsin(np.sqrt(np.clip(1 - present / rows, 0, 1)))
        variance = np.maximum(square / present - mean**2, 0.0)
        one_row = FARTHEST**2 / np.maximum(present, 1)
        narrow, without = (np.log(np.sqrt(np.maximum(of, 0)) + NARROW) for of in (variance, variance - one_row))
    of_rows = np.broadcast_to(share_floor(rows), missing.shape)
    floors = np.stack([mean_floor(present), np.maximum(narrow - without, NARROW / 5), of_rows], axis=-1)
    # One row is a column of its own width: two tell how wide a day is.
    told = np.stack([mean, np.where(present > 1, narrow, np.nan), missing], axis=-1)
    return told, np.nan_to_num(floors, nan=1.0)


def _sums(day_index: npt.NDArray[Any], days: int, of: Floats | None = None) -> Floats:
    """The rows of each day, or their sum ``of`` something. A night has one day, which needs no index."""
    if days == 1:
        return np.asarray([len(day_index) if of is None else of.sum()], dtype=np.float64)
    return np.bincount(day_index, weights=of, minlength=days).astype(np.float64)


def shares_by_day(counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The share of each level of a category, each day, and their floors; both, and ``counts``, are days × levels."""
    rows = counts.sum(axis=1, keepdims=True).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.arcsin(np.sqrt(counts / rows))
    return found, np.broadcast_to(share_floor(rows), found.shape)


def mean_floor(rows: Floats) -> Floats:
    """What one row can do to a mean of so many; of few rows, how far it lies from the truth by chance."""
    rows = np.maximum(rows, 1)
    return np.asarray(np.minimum(FARTHEST / rows, 1 / np.sqrt(rows)))


def share_floor(rows: Floats) -> Floats:
    """How far the arcsine of a share's root lies from the truth by chance, of so many rows."""
    return np.asarray(0.5 / np.sqrt(np.maximum(rows, 1)))
