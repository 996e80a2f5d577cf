"""The figures of a night, as they are stored; ``include.ml.summaries`` makes them.

``gold.<case>__figures`` has a row for each night, figure and name of what it is of. Counts come in bins whose edges the
version keeps, so that those of a month are the sum of its days (``merged``); each row has all that a page draws of it,
so that a page needs neither rows nor the model. Nothing is decided by them. What is measured again gives the same rows.

The figures, by ``figure`` and ``feature``:

    distribution   a feature: counts in the bins of training, and what training had there; value: its share of the gain
    scores         a column of the predictions: the same, of the holdout
    within         a slice, ``column=value``: counts and sums of each feature and score within it
    calibration    what is predicted, or a quantile: rows, sums of scores and of labels by bins of the score
    quality        a watched metric, of the day whose labels are known now
    promise        the same on the holdout: mean of its days, where 19 of 20 of them lie, and what is tolerated
    freshness      features, predictions, labels: how many days before the night is the newest event date that there is
    completeness   scored: rows that their champion has scored, of all; labelled: those whose label is known; shares
    duplicates     rows whose key another row has too; a number
    missing        values that are null, of all; a share
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from include.contracts.use_case import UseCase
from include.lake import delta

SCHEMA: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "figure": pl.String(),
    "feature": pl.String(),
    "day": pl.Date(),  # the event date that it is of
    "n": pl.Int64(),  # rows that it stands on
    "value": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "bins": pl.String(),  # JSON: Bins; of a distribution ``expected``, ``levels``; of a promise what is tolerated
    "model_version": pl.Int64(),
}

DISTRIBUTION, SCORES, CALIBRATION = "distribution", "scores", "calibration"
QUALITY, PROMISE, WITHIN = "quality", "promise", "within"
FRESHNESS, COMPLETENESS, DUPLICATES, MISSING = "freshness", "completeness", "duplicates", "missing"


type Within = Mapping[str, Mapping[str, Mapping[str, list[Any]]]]
"""A slice on a day, by ``inputs`` and ``scores``: ``counts`` of each column by bins, missing ones last, and ``sums``
(sum and sum of squares, in widths of the column in training) of each number."""


@dataclass(frozen=True)
class Bins:
    """Counts of rows by bins; with sums of scores and of labels where it is a calibration.

    There is one bin more than there are inner ``edges``; a distribution has another one, the last, for missing values.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    scores: tuple[float, ...] = ()
    labels: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Bins:
        return cls(*(tuple(found.get(name, ())) for name in ("edges", "counts", "scores", "labels")))

    def __add__(self, other: Bins) -> Bins:
        """Of the rows of both. Raises ValueError where their bins are others."""
        if self.edges != other.edges:
            raise ValueError("what was counted in other bins cannot be added")
        return Bins(
            self.edges,
            tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)),
            tuple(a + b for a, b in zip(self.scores, other.scores, strict=True)),
            tuple(a + b for a, b in zip(self.labels, other.labels, strict=True)),
        )


def merged(found: Iterable[Bins]) -> Bins | None:
    """All of them together: a month is the sum of its days. None of none; raises ValueError where edges differ."""
    whole = None
    for one in found:
        whole = one if whole is None else whole + one
    return whole


def within_of(days: Iterable[Within], kind: str, column: str) -> dict[str, float | None]:
    """Mean, spread and missing share of a ``column`` within a slice, of some ``days`` together; None is not told.

    ``kind`` is ``inputs`` or ``scores``. All that is stored adds up, so that a month is the sum of its days.
    """
    told = [one[kind] for one in days if column in one.get(kind, {}).get("counts", {})]
    counts = [sum(of) for of in zip(*(one["counts"][column] for one in told), strict=True)]
    rows = sum(counts)
    found: dict[str, float | None] = {"mean": None, "spread": None, "missing": counts[-1] / rows if rows else None}
    present = rows - counts[-1] if counts else 0
    if present and all(column in one["sums"] for one in told):
        total, square = (sum(of) for of in zip(*(one["sums"][column] for one in told), strict=True))
        mean = total / present
        found |= {"mean": mean, "spread": max(square / present - mean**2, 0.0) ** 0.5}
    return found


def read(case: UseCase, first: date, last: date) -> pl.DataFrame:
    """The stored figures of the nights ``first`` to ``last``; empty where there are none."""
    if not delta.exists("gold", case.figures_table):
        return pl.DataFrame(schema=SCHEMA)
    return delta.read_days("gold", case.figures_table, first, last, day="partition_day")
