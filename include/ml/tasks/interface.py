"""What training, scoring, promotion and monitoring ask of a task, so that none of them knows a metric by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.ml.comparison import ByDay

type Array = npt.NDArray[Any]

NAN = float("nan")
NOBODY: Mapping[str, float] = {}
"""The metrics of a champion where there is none."""
FAR = 5
"""Beside a champion, a limit refuses what misses it and is so many margins worse than the champion; else the test does.

On few days, two that are as good differ by a margin or two."""
TELLING_ROWS = 50
"""Of fewer rows, a day does not tell how many labels are where hardly any should be."""
SLACK = 0.05
"""The same for shares that are off, as of calibration: so much more than the champion's."""


class UnfitLabelError(NeedsAttentionError):
    """A label column has values that the task cannot learn from; the message names use case, column and values."""


@dataclass(frozen=True)
class Compared:
    """A metric that a challenger may lose little of to the champion, on the same days.

    ``margin`` is what it may lose, in the metric's unit, or with ``relative`` as a share of the champion's value.
    """

    metric: str
    words: str
    margin: float
    relative: bool = False


@dataclass(frozen=True)
class Watched:
    """A daily value that the quality sensor watches, and the measurement that it becomes.

    Attributes:
        metric: the measurement's name.
        daily: the daily value, by its name in ``Task.daily``.
        worse: ``lower`` or ``higher`` than in the holdout, or away from it in ``either`` direction.
        limit: so much worse it may be; not negative.
        words: a format string that says in a sentence what a ``value`` that is so much worse means.
        unit: the daily value whose mean over the holdout is one unit of the measurement; empty: as it is.
        beside: another watched metric; what goes with it on quiet days is no change of this one. Empty: none.
    """

    metric: str
    daily: str
    worse: Literal["lower", "higher", "either"]
    limit: float
    words: str
    unit: str = ""
    beside: str = ""


class Task(Protocol):
    """A kind of label: how it is learned, predicted, judged and watched.

    ``scores`` are the model's output as the platform keeps it, a row of it for each row of features; what shape they
    have is the task's own affair. ``labels`` are encoded.
    """

    kind: ClassVar[str]
    """The name of the task, which a version keeps."""

    higher_is_better: ClassVar[frozenset[str]]
    """The metrics, of all that the task computes, that are better when higher; the others are better when lower."""

    @property
    def recipe(self) -> dict[str, Any]:
        """What a version must know of its task to be scored, JSON-able: ``kind``, and what the outputs are of."""
        ...

    @property
    def params(self) -> dict[str, Any]:
        """XGBoost's parameters that follow from the task; those of the spec come on top."""
        ...

    @property
    def eval_metric(self) -> str:
        """XGBoost's metric that early stopping looks at."""
        ...

    @property
    def loss(self) -> str:
        """The metric that a fit makes smaller, by its name in :meth:`by_day`."""
        ...

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns of the predictions table that hold what is predicted, in their order."""
        ...

    @property
    def compared(self) -> tuple[Compared, ...]: ...

    @property
    def watched(self) -> tuple[Watched, ...]:
        """The most telling first."""
        ...

    def labels(self, values: pl.Series) -> Array:
        """The label column, checked and encoded. Raises UnfitLabelError."""
        ...

    def check_learnable(self, labels: Array) -> None:
        """Raise UnfitLabelError where nothing can be learned from these labels, all those that a model is fitted on."""
        ...

    def class_weights(self, fitted: Array) -> tuple[float, ...]:
        """How many rows a row of each code counts for in a fit on the labels ``fitted``; empty: one each."""
        ...

    def scores(self, output: Array) -> Array:
        """Scores of what a booster gave. Raises UnfitOutputError where it is not of this task."""
        ...

    def frame(self, scores: Array) -> pl.DataFrame:
        """Scores as ``columns``."""
        ...

    def scores_of(self, predictions: pl.DataFrame) -> Array:
        """``frame`` the other way round. A class that the predictions have no column of has the probability 0."""
        ...

    def decision(self, scores: Array) -> pl.Series | None:
        """What to do with each row, by what the spec says that it is worth or costs; None where it says nothing."""
        ...

    def explained(self, scores: Array) -> Array:
        """The number of the booster's output that each row's prediction is, where it has several."""
        ...

    def problem(self, predictions: pl.DataFrame) -> str | None:
        """What is wrong with some row of predictions; None where each is one."""
        ...

    def watched_values(self, predictions: pl.DataFrame) -> dict[str, Array]:
        """The numbers whose distributions are compared over time, by column: one a row, each."""
        ...

    def quality(self, labels: Array, scores: Array) -> dict[str, float]:
        """All metrics of some rows, ``n`` among them; NaN where one is not defined."""
        ...

    def by_day(self, labels: Array, scores: Array, day_of: Array, days: int) -> dict[str, ByDay]:
        """What each metric is made of that versions can be compared by, day by day; ``compared`` has some of them.

        ``day_of`` has the number of each row's day, from 0.
        """
        ...

    def usual(self, fitted: Array) -> dict[str, float]:
        """What gates have to know of the labels that a model was fitted on: what is usual, and how often what is."""
        ...

    def always(self, fitted: Array) -> Array:
        """The scores of one row, as an array of one, of whoever says the same of every row: what is usual."""
        ...

    def off(self, labels: Array, scores: Array) -> Array:
        """By how much each row's prediction is above what was true; of classes, that of the likeliest one."""
        ...

    def balance(self, labels: Array, fitted: Array) -> dict[str, Array]:
        """What must not move between training and holdout, a number a row, by its words.

        Of classes, whether it is that class; of numbers, the label in standard deviations of the ``fitted`` ones.
        """
        ...

    def beside(self, usual: Mapping[str, float], rows: pl.DataFrame, labels: Array, output: Array) -> dict[str, float]:
        """What else gates ask for: the baseline on ``rows``, and what quality is relative to it.

        ``usual`` has what :meth:`usual` said of the model's training, ``labels`` are those of ``rows``, ``output`` is
        the booster's.
        """
        ...

    def daily(self, labels: Array, scores: Array) -> dict[str, float]:
        """What is watched, of the rows of one day; NaN where the day does not tell."""
        ...

    def against(self, labels: Array, scores: Array) -> float:
        """By how many standard errors of independent rows the predictions of a day say the opposite of what came.

        Of no skill at all it is about 0, and of good predictions far below; 0 where the day does not tell.
        """
        ...

    def reasons(self, found: Mapping[str, float], champion: Mapping[str, float] = NOBODY) -> list[str]:
        """Why a challenger with these metrics must not become champion. One that is missing fails.

        ``champion`` has the champion's on the same rows, and a limit that a good one reaches is no stricter than it,
        less ``FAR`` margins: what both miss is the season's doing, and which of them is better the comparison says. A
        limit that only a leak passes stays as it is.
        """
        ...

    def summary(self, found: Mapping[str, float]) -> str:
        """The metric that says most, in words."""
        ...


class UnfitOutputError(NeedsAttentionError, ValueError):
    """A booster gives something else than its task predicts: the objective in the spec is of another task."""


def refuse(case: UseCase, values: pl.Series, bad: pl.Series, are: str) -> NoReturn:
    """Raise UnfitLabelError for the ``values`` that are ``bad``: which, and how often."""
    counts = values.filter(bad).cast(pl.String).fill_null("null").value_counts(sort=True).head(3)
    shown = ", ".join(f"{value} in {rows} rows" for value, rows in counts.iter_rows())
    raise UnfitLabelError(
        f"{case.name}: {case.label} has values that are {are}: {shown}. Mend {case.labels_table} in dbt, or the "
        f"task in include/use_cases/{case.name}/spec.py"
    )


def constant(case: UseCase, value: Any, rows: int) -> UnfitLabelError:
    """The error where all rows that a model is fitted on have one label."""
    return UnfitLabelError(
        f"{case.name}: {case.label} is {value} in all {rows} rows that a model would be fitted on, so that there is "
        f"nothing to learn. Look at {case.labels_table} in dbt"
    )


def at_least(limit: float, theirs: float, slack: float) -> float:
    """The limit that a metric must reach: that of the spec, or ``slack`` less than ``theirs`` if that is lower."""
    return min(limit, theirs - slack) if theirs == theirs else limit


def at_most(limit: float, theirs: float, slack: float) -> float:
    """The limit that a metric must not pass: that of the spec, or ``slack`` more than ``theirs`` if that is higher."""
    return max(limit, theirs + slack) if theirs == theirs else limit


def of_shape(case: UseCase, output: Array, *width: int) -> Array:
    """``output`` as 64-bit floats. Raises UnfitOutputError unless it has one row of ``width`` numbers for each row."""
    if output.shape[1:] != width:
        raise UnfitOutputError(
            f"{case.name}: the model gives {'x'.join(map(str, output.shape[1:])) or 'one'} numbers a row, and its task "
            f"takes {width[0] if width else 'one'}: take the objective out of the params of "
            f"include/use_cases/{case.name}/spec.py, the task brings its own"
        )
    return output.astype(np.float64)
