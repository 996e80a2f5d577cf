"""One of several: the label is a class, a score is a probability for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from include.contracts.use_case import Multiclass, UseCase, class_slug
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

UNLIKELY = 0.1
"""A class is unlikely that was given less."""


@dataclass(frozen=True)
class MulticlassTask:
    """Labels are int64 codes of shape (rows,), scores float64 of shape (rows, classes), whose rows add up to 1.

    In the predictions table, ``predicted`` is the most likely class and ``score_<class>`` the probability of each: flat
    columns, which SQL, hashes and drift take as they are.
    """

    case: UseCase
    limits: Multiclass

    kind: ClassVar[str] = "multiclass"
    higher_is_better: ClassVar[frozenset[str]] = frozenset(
        {"auc", "average_precision", "accuracy", "baseline_accuracy", "skill"}
    )
    eval_metric: ClassVar[str] = "mlogloss"
    loss: ClassVar[str] = "log_loss"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.limits.classes

    @property
    def recipe(self) -> dict[str, Any]:
        return {"kind": self.kind, "classes": list(self.classes)}

    @property
    def params(self) -> dict[str, Any]:
        return {"objective": "multi:softprob", "num_class": len(self.classes)}

    @property
    def columns(self) -> dict[str, pl.DataType]:
        return {"predicted": pl.String(), **{name: pl.Float64() for name in self._score_columns}}

    @property
    def _score_columns(self) -> list[str]:
        return [f"score_{class_slug(one)}" for one in self.classes]

    @property
    def compared(self) -> tuple[Compared, ...]:
        return (
            Compared("auc", "AUC within days", self.limits.max_auc_loss),
            Compared("log_loss", "log loss", self.limits.max_log_loss_loss),
        )

    @property
    def watched(self) -> tuple[Watched, ...]:
        rise, gap = self.limits.quality_log_loss_rise, self.limits.quality_calibration_gap
        return (
            Watched("log_loss_rise", "log_loss", "higher", rise, "mean daily log loss rose by {value:.3f}"),
            Watched(
                "calibration_gap",
                "gap",
                "either",
                gap,
                "what the likeliest classes' scores are off by moved by {value:+.3f}",
            ),
            Watched(
                "unlikely_rise",
                "unlikely",
                "higher",
                self.limits.quality_unlikely_rise,
                "labels of unlikely classes rose by {value:.3f} in the root of their share",
            ),
        )

    def labels(self, values: pl.Series) -> Array:
        codes = {name: code for code, name in enumerate(self.classes)}
        found = values.cast(pl.String).replace_strict(codes, default=None, return_dtype=pl.Int64)
        if found.null_count():
            refuse(self.case, values, found.is_null(), f"none of the classes {', '.join(self.classes)}")
        return found.to_numpy()

    def check_learnable(self, labels: Array) -> None:
        if len(np.unique(labels)) == 1:
            raise constant(self.case, self.classes[labels[0]], len(labels))

    def class_weights(self, fitted: Array) -> tuple[float, ...]:
        weights = self.limits.class_weights
        if weights == "balanced":
            counts = np.bincount(fitted, minlength=len(self.classes))
            # A class that no row has teaches nothing, whatever it would count for.
            return tuple(float(len(fitted) / (np.count_nonzero(counts) * n)) if n else 1.0 for n in counts)
        return tuple(float(one) for one in weights)

    def scores(self, output: Array) -> Array:
        raw = of_shape(self.case, output, len(self.classes))
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))  # 32-bit shares do not quite add up to 1

    def frame(self, scores: Array) -> pl.DataFrame:
        names = np.asarray(self.classes, dtype=object)
        columns = dict(zip(self._score_columns, scores.T, strict=True))
        return pl.DataFrame({"predicted": names[scores.argmax(axis=1)].tolist(), **columns}, schema=self.columns)

    def scores_of(self, predictions: pl.DataFrame) -> Array:
        there = predictions.select(
            pl.col(name).fill_null(0.0) if name in predictions.columns else pl.lit(0.0).alias(name)
            for name in self._score_columns
        )
        return there.to_numpy()

    def decision(self, scores: Array) -> pl.Series | None:
        return None

    def explained(self, scores: Array) -> Array:
        return np.asarray(scores.argmax(axis=1))

    def problem(self, predictions: pl.DataFrame) -> str | None:
        scores = predictions.select(self._score_columns)
        good = scores.select(pl.all_horizontal(pl.all().is_between(0, 1).fill_null(False))).to_series().all()
        if not good:
            return "a score is not a probability"
        if not ((scores.sum_horizontal() - 1).abs() < 1e-9).all():
            return "the probabilities of a row do not add up to 1"
        return None

    def watched_values(self, predictions: pl.DataFrame) -> dict[str, Array]:
        return {name: predictions[name].to_numpy() for name in self._score_columns}

    def quality(self, labels: Array, scores: Array) -> dict[str, float]:
        chosen, likely = scores.argmax(axis=1), scores.max(axis=1)
        right = (chosen == labels).astype(np.int8)
        codes, rows = np.unique(labels, return_counts=True)
        aucs = [metrics.auc((labels == code).astype(np.int8), scores[:, code]) for code in codes]
        return {
            "n": float(len(labels)),
            "accuracy": float(right.mean()),
            "mean_score": float(likely.mean()),
            # By the rows of each class: the AUC of one that has two rows is all chance. NaN of one class alone.
            "auc": float(np.average(aucs, weights=rows)),
            # Each class alike: it is asked for where some are rare.
            "average_precision": float(
                np.mean(
                    [metrics.average_precision((labels == code).astype(np.int8), scores[:, code]) for code in codes]
                )
            ),
            "log_loss": metrics.log_loss_of_classes(labels, scores),
            "brier": metrics.brier_of_classes(labels, scores),
            "calibration_error": metrics.calibration_error(right, likely),
        }

    def by_day(self, labels: Array, scores: Array, day_of: Array, days: int) -> dict[str, ByDay]:
        each = [
            comparison.pairs_in_order((labels == code).astype(np.int8), scores[:, code], day_of, days)
            for code in np.unique(labels)
        ]
        pairs = ByDay(np.sum([one.sums for one in each], axis=0), np.sum([one.counts for one in each], axis=0))
        losses = metrics.log_losses_of_classes(labels, scores)
        return {"auc": pairs, "log_loss": comparison.mean(losses, day_of, days)}

    def usual(self, fitted: Array) -> dict[str, float]:
        """The rows to learn each class from."""
        counts = np.bincount(fitted, minlength=len(self.classes))
        return {f"fitted_rows_{class_slug(one)}": float(n) for one, n in zip(self.classes, counts, strict=True)}

    def always(self, fitted: Array) -> Array:
        return self._frequencies(np.bincount(fitted, minlength=len(self.classes)))

    @staticmethod
    def _frequencies(counts: Array) -> Array:
        """Of shape (1, classes). A class that training never had has a little, so that no log loss is infinite."""
        return np.asarray((counts + 0.5) / (counts + 0.5).sum())[np.newaxis]

    def off(self, labels: Array, scores: Array) -> Array:
        return np.asarray(scores.max(axis=1) - (scores.argmax(axis=1) == labels))

    def balance(self, labels: Array, fitted: Array) -> dict[str, Array]:
        return {f"rows of {one}": (labels == code).astype(np.float64) for code, one in enumerate(self.classes)}

    def beside(self, usual: Mapping[str, float], rows: pl.DataFrame, labels: Array, output: Array) -> dict[str, float]:
        """The baseline's accuracy, and the log loss of the classes' frequencies in training.

        ``skill`` is the share by which the model's log loss is below that of the frequencies.
        """
        counts = np.asarray([usual[f"fitted_rows_{class_slug(one)}"] for one in self.classes])
        baseline = metrics.log_loss_of_classes(labels, np.repeat(self._frequencies(counts), len(labels), axis=0))
        own = metrics.log_loss_of_classes(labels, self.scores(output))
        return {
            "baseline_accuracy": float((self._baseline(rows, int(counts.argmax())) == labels).mean()),
            "baseline_log_loss": baseline,
            "skill": 1 - own / baseline,
        }

    def _baseline(self, holdout: pl.DataFrame, usual: int) -> Array:
        """The class that the baseline gives each row; where it gives none, the one that is usual in training."""
        if self.limits.baseline is None:
            return np.full(holdout.height, usual)
        codes = {name: code for code, name in enumerate(self.classes)}
        values = holdout[self.limits.baseline].cast(pl.String)
        return values.replace_strict(codes, default=usual, return_dtype=pl.Int64).to_numpy()

    def daily(self, labels: Array, scores: Array) -> dict[str, float]:
        right = scores.argmax(axis=1) == labels
        gap = float(scores.max(axis=1).mean() - right.mean())
        loss = metrics.log_loss_of_classes(labels, scores)
        return {"log_loss": loss, "gap": gap, "unlikely": self._unlikely(labels, scores)}

    @staticmethod
    def _unlikely(labels: Array, scores: Array) -> float:
        """How many labels are of a class that got less than a tenth, beside the expected; as roots of the shares.

        Labels that are wrong show most where hardly any should be.
        """
        if len(labels) < TELLING_ROWS:
            return NAN
        found = (scores[np.arange(len(labels)), labels] < UNLIKELY).mean()
        expected = np.where(scores < UNLIKELY, scores, 0.0).sum(axis=1).mean()
        return float(np.sqrt(found) - np.sqrt(expected))

    def against(self, labels: Array, scores: Array) -> float:
        chance = 1 / scores.shape[1]
        right = float((scores.argmax(axis=1) == labels).mean())
        return (chance - right) / float(np.sqrt(chance * (1 - chance) / len(labels)))

    def reasons(self, found: Mapping[str, float], champion: Mapping[str, float] = NOBODY) -> list[str]:
        gates, theirs = self.limits, {name: champion.get(name, NAN) for name in ("auc", "skill", "accuracy")}
        rows = {one: found.get(f"fitted_rows_{class_slug(one)}", NAN) for one in self.classes}
        few = {one: n for one, n in rows.items() if not n >= gates.min_class_rows}
        value, skill = found.get("auc", NAN), found.get("skill", NAN)
        accuracy, baseline = found.get("accuracy", NAN), found.get("baseline_accuracy", NAN)
        error, by = found.get("calibration_error", NAN), gates.baseline or "always the most frequent class"
        lowest = at_least(gates.min_auc, theirs["auc"], FAR * gates.max_auc_loss)
        least = at_least(gates.min_skill, theirs["skill"], FAR * gates.max_log_loss_loss)
        lift = at_least(gates.min_lift, theirs["accuracy"] - baseline, FAR * gates.max_auc_loss)
        largest = at_most(gates.max_calibration_error, champion.get("calibration_error", NAN), SLACK)
        # Written as "not good", so that NaN fails.
        reasons = [
            f"{self.case.label} is {one} in {n:.0f} rows that it was fitted on, fewer than {gates.min_class_rows}: too "
            "few to learn the class"
            for one, n in few.items()
        ]
        if not value >= lowest:
            reasons.append(f"AUC {value:.4f} is below {lowest:.4g}: something is missing")
        if not value <= gates.max_auc:  # whatever the champion has: a leak may be in what it takes as well
            reasons.append(f"AUC {value:.4f} is above {gates.max_auc}: something leaks")
        if not skill >= least:
            reasons.append(f"log loss is {skill:.1%} below that of the classes' frequencies, less than {least:.1%}")
        if not accuracy - baseline >= lift:
            reasons.append(f"accuracy {accuracy:.4f} adds less than {lift:.4g} to {baseline:.4f} of {by}")
        if not error <= largest:
            reasons.append(f"calibration error {error:.4f} is above {largest:.4g}")
        return reasons

    def summary(self, found: Mapping[str, float]) -> str:
        return f"accuracy {found['accuracy']:.4f} and AUC {found['auc']:.4f}"
