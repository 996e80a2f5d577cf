"""Yes or no: the label is 0 or 1, a score is the probability of 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from include.contracts.use_case import Binary, UseCase, Value
from include.ml import comparison, metrics
from include.ml.comparison import ByDay
from include.ml.tasks.interface import (
    FAR,
    NAN,
    NOBODY,
    SLACK,
    TELLING_ROWS,
    Array,
    Compared,
    UnfitLabelError,
    Watched,
    at_least,
    at_most,
    constant,
    of_shape,
    refuse,
)


@dataclass(frozen=True)
class BinaryTask:
    """Labels are int8 of shape (rows,), scores float64 of shape (rows,)."""

    case: UseCase
    limits: Binary

    kind: ClassVar[str] = "binary"
    higher_is_better: ClassVar[frozenset[str]] = frozenset(
        {
            "auc",
            "average_precision",
            "baseline_auc",
            "recall_at_budget",
            "top_decile_lift",
            "value",
            "value_without",
        }
    )
    eval_metric: ClassVar[str] = "logloss"
    loss: ClassVar[str] = "log_loss"

    @property
    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind}

    @property
    def params(self) -> dict[str, Any]:
        return {"objective": "binary:logistic"}

    @property
    def columns(self) -> dict[str, pl.DataType]:
        return {"score": pl.Float64()}

    @property
    def compared(self) -> tuple[Compared, ...]:
        limits = self.limits
        asked_for = (
            ("average_precision", "average precision within days", limits.max_average_precision_loss),
            ("recall_at_budget", "recall at the budget", limits.max_recall_loss),
            ("value", "value a row", limits.value.max_loss if limits.value else None),
        )
        return (
            Compared("auc", "AUC within days", limits.max_auc_loss),
            Compared("log_loss", "log loss", limits.max_log_loss_loss),
            *(Compared(metric, words, margin) for metric, words, margin in asked_for if margin is not None),
        )

    @property
    def watched(self) -> tuple[Watched, ...]:
        drop, gap = self.limits.quality_auc_drop, self.limits.quality_calibration_gap
        return (
            Watched("auc_drop", "auc", "lower", drop, "mean daily AUC fell by {value:.3f}"),
            Watched("calibration_gap", "gap", "either", gap, "what scores are off by moved by {value:+.3f}"),
            Watched(
                "low_rise",
                "low",
                "higher",
                self.limits.quality_low_rise,
                "among the lowest scores positives rose by {value:.3f} in the root of their share",
                beside="calibration_gap",  # a storm lifts the lowest scores' share by less than all others'
            ),
        )

    def labels(self, values: pl.Series) -> Array:
        numeric = values.dtype.is_numeric() or values.dtype == pl.Boolean
        good = values.cast(pl.Float64).is_in([0.0, 1.0]) if numeric else pl.repeat(False, len(values), eager=True)
        if not good.fill_null(False).all():
            refuse(self.case, values, ~good.fill_null(False), "neither 0 nor 1")
        return values.cast(pl.Int8).to_numpy()

    def check_learnable(self, labels: Array) -> None:
        counts = np.bincount(labels, minlength=2)
        rare = int(counts.argmin())
        if counts[rare] == 0:
            raise constant(self.case, 1 - rare, len(labels))
        if counts[rare] == 1:
            raise UnfitLabelError(
                f"{self.case.name}: {self.case.label} is {rare} in 1 of {len(labels)} rows that a model would be "
                "fitted on, and one row is no pattern. Take more days, or look at the labels in dbt"
            )

    def class_weights(self, fitted: Array) -> tuple[float, ...]:
        weight = self.limits.positive_weight
        if weight == "balanced":
            weight = float((fitted == 0).sum() / (fitted == 1).sum())
        return () if weight == 1 else (1.0, float(weight))

    def scores(self, output: Array) -> Array:
        return of_shape(self.case, output)

    def frame(self, scores: Array) -> pl.DataFrame:
        return pl.DataFrame({"score": scores}, schema=self.columns)

    def scores_of(self, predictions: pl.DataFrame) -> Array:
        return predictions["score"].to_numpy()

    def decision(self, scores: Array) -> pl.Series | None:
        value = self.limits.value
        return None if value is None else pl.Series(scores >= value.threshold)

    def explained(self, scores: Array) -> Array:
        return np.zeros(len(scores), dtype=np.int64)

    def problem(self, predictions: pl.DataFrame) -> str | None:
        good = predictions["score"].is_between(0, 1).fill_null(False).all()
        return None if good else "a score is not a probability"

    def watched_values(self, predictions: pl.DataFrame) -> dict[str, Array]:
        return {"score": self.scores_of(predictions)}

    def quality(self, labels: Array, scores: Array) -> dict[str, float]:
        """With ``value`` a row, and ``value_without``: that of acting on all rows or on none, whichever is more."""
        found = metrics.quality(labels, scores)
        if value := self.limits.value:
            always = np.where(labels == 1, value.true_positive, value.false_positive).mean()
            never = np.where(labels == 1, value.false_negative, value.true_negative).mean()
            found |= {
                "value": float(self._values(value, labels, scores).mean()),
                "value_without": float(max(always, never)),
            }
        return found

    @staticmethod
    def _values(value: Value, labels: Array, scores: Array) -> Array:
        """What each row is worth where one acts from the threshold on."""
        acted = np.where(labels == 1, value.true_positive, value.false_positive)
        left = np.where(labels == 1, value.false_negative, value.true_negative)
        return np.where(scores >= value.threshold, acted, left)

    def _top(self, rows: int) -> int:
        """How many of a day's rows can be acted on."""
        limits = self.limits
        return limits.budget_per_day or max(1, round(rows * (limits.budget_share or 0)))

    def by_day(self, labels: Array, scores: Array, day_of: Array, days: int) -> dict[str, ByDay]:
        found = {
            "auc": comparison.pairs_in_order(labels, scores, day_of, days),
            "log_loss": comparison.mean(metrics.log_losses(labels, scores), day_of, days),
            "average_precision": comparison.average_precision(labels, scores, day_of, days),
        }
        if self.limits.has_budget:
            found["recall_at_budget"] = comparison.recall(labels, scores, day_of, days, self._top)
        if value := self.limits.value:
            found["value"] = comparison.mean(self._values(value, labels, scores), day_of, days)
        return found

    def usual(self, fitted: Array) -> dict[str, float]:
        return {}

    def always(self, fitted: Array) -> Array:
        return np.asarray([fitted.mean()])

    def off(self, labels: Array, scores: Array) -> Array:
        return np.asarray(scores - labels)

    def balance(self, labels: Array, fitted: Array) -> dict[str, Array]:
        return {f"rows with {self.case.label}": labels.astype(np.float64)}

    def beside(self, usual: Mapping[str, float], rows: pl.DataFrame, labels: Array, output: Array) -> dict[str, float]:
        """``baseline_auc``: of ranking by the baseline feature alone; missing values rank in the middle.

        ``recall_at_budget``, where there is a budget: of the positives, those among the highest scores of their day.
        """
        values = rows[self.limits.baseline].cast(pl.Float64)
        found = {"baseline_auc": metrics.auc(labels, values.fill_null(values.median()).to_numpy())}
        if self.limits.has_budget:
            day_of = rows[self.case.day].rank("dense").to_numpy().astype(np.intp) - 1
            caught = comparison.recall(labels, self.scores(output), day_of, int(day_of.max()) + 1, self._top)
            found["recall_at_budget"] = float(caught.sums.sum() / caught.counts.sum()) if labels.any() else NAN
        return found

    def daily(self, labels: Array, scores: Array) -> dict[str, float]:
        return {
            "auc": metrics.auc(labels, scores),
            "gap": float(scores.mean() - labels.mean()),
            "low": _among_the_lowest(labels, scores),
        }

    def against(self, labels: Array, scores: Array) -> float:
        positives = int((labels == 1).sum())
        pairs = positives * (len(labels) - positives)
        error = float(np.sqrt((len(labels) + 1) / (12 * pairs))) if pairs else 1.0
        return (0.5 - metrics.auc(labels, scores)) / error if pairs else 0.0

    def reasons(self, found: Mapping[str, float], champion: Mapping[str, float] = NOBODY) -> list[str]:
        gates, theirs, off = self.limits, champion.get("auc", NAN), champion.get("calibration_error", NAN)
        value, baseline = found.get("auc", NAN), found.get("baseline_auc", NAN)
        error, rate = found.get("calibration_error", NAN), found.get("base_rate", NAN)
        lowest = at_least(gates.min_auc, theirs, FAR * gates.max_auc_loss)
        lift = at_least(gates.min_lift, theirs - baseline, FAR * gates.max_auc_loss)
        largest = at_most(gates.max_calibration_error, off, SLACK)
        reasons = []
        # Written as "not good", so that NaN fails.
        if not value >= lowest:
            one = f": {self.case.label} is {rate:.0f} in all rows of the holdout" if rate in (0, 1) else ""
            reasons.append(f"AUC {value:.4f} is below {lowest:.4g}{one or ': something is missing'}")
        if not value <= gates.max_auc:  # whatever the champion has: a leak may be in what it takes as well
            reasons.append(f"AUC {value:.4f} is above {gates.max_auc}: something leaks")
        if not value - baseline >= lift:
            reasons.append(f"AUC {value:.4f} adds less than {lift:.4g} to {baseline:.4f} of {gates.baseline} alone")
        if not error <= largest:
            reasons.append(f"calibration error {error:.4f} is above {largest:.4g}")
        return reasons

    def summary(self, found: Mapping[str, float]) -> str:
        return f"AUC {found['auc']:.4f}"


def _among_the_lowest(labels: Array, scores: Array) -> float:
    """How many of the tenth of a day's rows with the lowest scores are positive, beside what is expected of the day.

    Both as the root of their share. Scores are first moved, in log odds, to the share of positives that the day has: a
    storm makes all of them too low, and that is the day's doing. Labels that are turned round show most where hardly
    any should be positive, whatever the day is like.
    """
    rows = len(labels)
    if rows < TELLING_ROWS:
        return NAN
    share = float(np.clip(labels.mean(), 0.5 / rows, 1 - 0.5 / rows))
    odds = np.log(np.clip(scores, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(scores, 1e-6, 1 - 1e-6))
    low, high = -20.0, 20.0
    for _ in range(30):  # halved so often, it is known to a few millionths
        middle = (low + high) / 2
        low, high = (low, middle) if _logistic(odds + middle).mean() > share else (middle, high)
    lowest = np.argsort(scores, kind="stable")[: rows // 10]
    expected = _logistic(odds[lowest] + (low + high) / 2).mean()
    return float(np.sqrt(labels[lowest].mean()) - np.sqrt(expected))


def _logistic(odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-odds)))
