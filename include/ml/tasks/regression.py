"""How much: the label is a number, a score is its mean, or its quantiles with the median as the prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from include.contracts.use_case import Cost, Regression, UseCase
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
    Watched,
    at_least,
    at_most,
    constant,
    of_shape,
    refuse,
)

LARGEST = float(np.finfo(np.float32).max)

FAR_OFF = 5.0
"""So many times what is usual of the day is far off: of a normal distribution one row in 1,300 is."""


def quantile_column(quantile: float) -> str:
    """The column of a quantile: ``q10`` for 0.1, ``q2_5`` for 0.025."""
    return f"q{100 * quantile:.10g}".replace(".", "_")


@dataclass(frozen=True)
class RegressionTask:
    """Labels are float64 of shape (rows,), scores float64 of shape (rows, 1) or (rows, quantiles), in rising order.

    In the predictions table, ``predicted`` is the mean or the median; ``q10`` and the like are the other quantiles.
    """

    case: UseCase
    limits: Regression

    kind: ClassVar[str] = "regression"
    higher_is_better: ClassVar[frozenset[str]] = frozenset({"skill", "r2"})

    @property
    def quantiles(self) -> tuple[float, ...]:
        return self.limits.quantiles

    @property
    def error(self) -> str:
        """The metric that the prediction makes smallest: ``mae`` for the median, ``rmse`` for the mean."""
        return "mae" if self.quantiles else "rmse"

    @property
    def loss(self) -> str:
        return "pinball_loss" if self.quantiles else "rmse"

    @property
    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind, "quantiles": list(self.quantiles)}

    @property
    def params(self) -> dict[str, Any]:
        if self.quantiles:
            return {"objective": "reg:quantileerror", "quantile_alpha": list(self.quantiles)}
        return {"objective": "reg:squarederror"}

    @property
    def eval_metric(self) -> str:
        return "quantile" if self.quantiles else "rmse"

    @property
    def _column_of(self) -> dict[str, int]:
        """Which number of a score is in which column."""
        if not self.quantiles:
            return {"predicted": 0}
        others = {quantile_column(q): n for n, q in enumerate(self.quantiles) if q != 0.5}
        return {"predicted": self._middle, **others}

    @property
    def _middle(self) -> int:
        return self.quantiles.index(0.5) if self.quantiles else 0

    @property
    def _promised(self) -> float:
        """The share of labels that should be between the outermost quantiles; NaN without two."""
        return self.quantiles[-1] - self.quantiles[0] if len(self.quantiles) > 1 else NAN

    @property
    def columns(self) -> dict[str, pl.DataType]:
        return {name: pl.Float64() for name in self._column_of}

    @property
    def compared(self) -> tuple[Compared, ...]:
        found = (Compared(self.error, self.error.upper(), self.limits.max_error_loss, relative=True),)
        margin = self.limits.cost.max_loss if self.limits.cost else None
        return found if margin is None else (*found, Compared("cost", "cost a row", margin, relative=True))

    @property
    def watched(self) -> tuple[Watched, ...]:
        gates, name = self.limits, self.error.upper()
        far = "labels far off rose by {value:.3f} in the root of their share"
        rise, off = (
            f"mean daily {name} rose by {{value:.1%}}",
            f"what predictions are off by moved by {{value:+.2f}} of the {name}",
        )
        found = (
            Watched("error_rise", "error", "higher", gates.quality_error_rise, rise, unit="error"),
            Watched("bias", "bias", "either", gates.quality_bias, off, unit="error"),
            Watched("far_rise", "far", "higher", gates.quality_far_rise, far),
        )
        if np.isnan(self._promised):
            return found
        words = "the share of labels between the quantiles moved by {value:+.3f}"
        return (*found, Watched("coverage_gap", "coverage_gap", "either", gates.quality_coverage_gap, words))

    def labels(self, values: pl.Series) -> Array:
        if not values.dtype.is_numeric():
            everything = pl.repeat(True, len(values), eager=True)
            refuse(self.case, values, everything, f"of the type {values.dtype}, and no numbers")
        numbers = values.cast(pl.Float64)
        # XGBoost keeps labels as 32-bit floats, in which a larger one is infinite.
        good = (numbers.is_finite() & (numbers.abs() <= LARGEST)).fill_null(False)
        if not good.all():
            refuse(self.case, values, ~good, "no numbers, or infinite, or too large for a 32-bit float")
        return numbers.to_numpy()

    def check_learnable(self, labels: Array) -> None:
        if (labels == labels[0]).all():
            raise constant(self.case, f"{labels[0]:g}", len(labels))

    def class_weights(self, fitted: Array) -> tuple[float, ...]:
        return ()

    def scores(self, output: Array) -> Array:
        if not self.quantiles:
            return of_shape(self.case, output)[:, np.newaxis]
        single = output[:, np.newaxis] if output.ndim == 1 else output
        # In rising order, which is never farther from the true quantiles than the model's own order.
        return np.sort(of_shape(self.case, single, len(self.quantiles)), axis=1)

    def frame(self, scores: Array) -> pl.DataFrame:
        return pl.DataFrame({name: scores[:, n] for name, n in self._column_of.items()}, schema=self.columns)

    def scores_of(self, predictions: pl.DataFrame) -> Array:
        in_order = sorted(self._column_of, key=self._column_of.__getitem__)
        return predictions.select(in_order).to_numpy()

    def decision(self, scores: Array) -> pl.Series | None:
        cost = self.limits.cost
        return None if cost is None else pl.Series(scores[:, self._cheapest(cost)])

    def explained(self, scores: Array) -> Array:
        return np.full(len(scores), self._middle)

    def problem(self, predictions: pl.DataFrame) -> str | None:
        scores = self.scores_of(predictions).astype(np.float64)
        if not np.isfinite(scores).all():
            return "a prediction is not a finite number"
        return "quantiles are not in rising order" if (np.diff(scores, axis=1) < 0).any() else None

    def watched_values(self, predictions: pl.DataFrame) -> dict[str, Array]:
        return {"predicted": predictions["predicted"].to_numpy()}

    def quality(self, labels: Array, scores: Array) -> dict[str, float]:
        off = scores[:, self._middle] - labels
        scatter = float(((labels - labels.mean()) ** 2).sum())
        found = {
            "n": float(len(labels)),
            "mean_label": float(labels.mean()),
            "mean_score": float(scores[:, self._middle].mean()),
            "mae": float(np.abs(off).mean()),
            "rmse": float(np.sqrt((off**2).mean())),
            "bias": float(off.mean()),
            "r2": 1 - float((off**2).sum()) / scatter if scatter else NAN,
        }
        if self.quantiles:
            found["pinball_loss"] = metrics.pinball_loss(labels, scores, self.quantiles)
        if len(self.quantiles) > 1:
            found["coverage"] = _covered(labels, scores)
        if cost := self.limits.cost:
            found["cost"] = float(self._costs(cost, labels, scores).mean())
        return found

    def _costs(self, cost: Cost, labels: Array, scores: Array) -> Array:
        """What each row costs where the quantile that costs least is taken, or the prediction where it is not there."""
        off = scores[:, self._cheapest(cost)] - labels
        return np.maximum(cost.over * off, -cost.under * off)

    def _cheapest(self, cost: Cost) -> int:
        """The number of the quantile that costs least, or of the prediction where it is not predicted."""
        return next((n for n, q in enumerate(self.quantiles) if abs(q - cost.level) < 1e-9), self._middle)

    def by_day(self, labels: Array, scores: Array, day_of: Array, days: int) -> dict[str, ByDay]:
        off, root = scores[:, self._middle] - labels, self.error == "rmse"
        found = {self.error: comparison.mean(off**2 if root else np.abs(off), day_of, days, root=root)}
        if self.quantiles:
            found["pinball_loss"] = comparison.mean(
                metrics.pinball_losses(labels, scores, self.quantiles), day_of, days
            )
        if cost := self.limits.cost:
            found["cost"] = comparison.mean(self._costs(cost, labels, scores), day_of, days)
        return found

    def usual(self, fitted: Array) -> dict[str, float]:
        return {"usual": float(np.median(fitted) if self.quantiles else fitted.mean())}

    def always(self, fitted: Array) -> Array:
        return np.quantile(fitted, self.quantiles)[np.newaxis] if self.quantiles else np.asarray([[fitted.mean()]])

    def off(self, labels: Array, scores: Array) -> Array:
        return np.asarray(scores[:, self._middle] - labels)

    def balance(self, labels: Array, fitted: Array) -> dict[str, Array]:
        return {f"mean {self.case.label}": labels / fitted.std()}

    def beside(self, usual: Mapping[str, float], rows: pl.DataFrame, labels: Array, output: Array) -> dict[str, float]:
        """The baseline's error and that of always saying what is usual in training, and how many quantiles cross.

        ``skill`` is the share by which the model's error is below the smaller one of the two.
        """
        values, always = rows[self.limits.baseline].cast(pl.Float64), usual["usual"]
        baseline = self._error(labels, values.fill_null(values.median()).fill_null(always).to_numpy())
        constant = self._error(labels, np.full(len(labels), always))
        own, best = self._error(labels, self.scores(output)[:, self._middle]), min(baseline, constant)
        found = {
            f"baseline_{self.error}": baseline,
            f"constant_{self.error}": constant,
            "skill": 1 - own / best if best else NAN,
        }
        if self.quantiles and output.ndim > 1:
            found["crossed"] = float((np.diff(output, axis=1) < 0).any(axis=1).mean())
        return found

    def _error(self, labels: Array, predicted: Array) -> float:
        off = predicted - labels
        return float(np.abs(off).mean()) if self.error == "mae" else float(np.sqrt((off**2).mean()))

    def daily(self, labels: Array, scores: Array) -> dict[str, float]:
        middle = scores[:, self._middle]
        found = {
            "error": self._error(labels, middle),
            "bias": float((middle - labels).mean()),
            "far": _far(middle - labels),
        }
        if len(self.quantiles) > 1:
            found["coverage_gap"] = _covered(labels, scores) - self._promised
        return found

    def against(self, labels: Array, scores: Array) -> float:
        predicted = scores[:, self._middle]
        if len(labels) < 3 or not (np.ptp(labels) and np.ptp(predicted)):
            return 0.0
        return float(-np.corrcoef(labels, predicted)[0, 1] * np.sqrt(len(labels)))

    def reasons(self, found: Mapping[str, float], champion: Mapping[str, float] = NOBODY) -> list[str]:
        gates, name, theirs = self.limits, self.error.upper(), champion.get("skill", NAN)
        skill = found.get("skill", NAN)
        least = at_least(gates.min_skill, theirs, FAR * gates.max_error_loss)
        own, baseline, constant = (found.get(f"{of}{self.error}", NAN) for of in ("", "baseline_", "constant_"))
        best, of = (constant, "always the same") if constant < baseline else (baseline, f"{gates.baseline} alone")
        side = "below" if skill >= 0 else "above"
        beside = f"{name} {own:.4g} is {abs(skill):.1%} {side} {best:.4g} of {of}"
        reasons = []
        # Written as "not good", so that NaN fails.
        if not skill >= least:
            reasons.append(f"{beside}, and not {least:.1%} below: something is missing")
        if not skill <= gates.max_skill:  # whatever the champion has: a leak may be in what it takes as well
            reasons.append(f"{beside}, more than {gates.max_skill:.1%}: something leaks")
        if len(self.quantiles) > 1:
            crossed, coverage = found.get("crossed", NAN), found.get("coverage", NAN)
            if not crossed <= gates.max_crossed:
                reasons.append(f"the quantiles of {crossed:.1%} of the rows cross, over {gates.max_crossed:.1%}")
            largest = at_most(gates.max_coverage_gap, abs(champion.get("coverage", NAN) - self._promised), SLACK)
            if not abs(coverage - self._promised) <= largest:
                reasons.append(
                    f"{coverage:.1%} of the labels are between the outermost quantiles, which promise "
                    f"{self._promised:.1%}: off by more than {largest:.1%}"
                )
        return reasons

    def summary(self, found: Mapping[str, float]) -> str:
        return f"{self.error.upper()} {found[self.error]:.4g}, {found['skill']:.1%} below the baseline's,"


def _far(off: Array) -> float:
    """The root of the share of rows that are off by more than ``FAR_OFF`` times what is usual of the day.

    A day on which all are off by more has no more of them: labels that are wrong are what it has more of.
    """
    if len(off) < TELLING_ROWS:
        return NAN
    distance = np.abs(off - np.median(off))
    return float(np.sqrt((distance > FAR_OFF * np.median(distance)).mean()))


def _covered(labels: Array, scores: Array) -> float:
    """The share of labels between the outermost quantiles."""
    return float(((labels >= scores[:, 0]) & (labels <= scores[:, -1])).mean())
