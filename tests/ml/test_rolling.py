"""Days are scored by models that knew none of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.ml import metrics, rolling
from include.ml.imbalance import Weights
from include.ml.tasks.interface import Array
from tests.ml.conftest import FIRST, toy_case

DAYS, ROWS = 60, 100


def rows(seed: int = 1) -> tuple[Array, Array, Array]:
    """Features, labels that have nothing to do with them, and days."""
    random = np.random.default_rng(seed)
    days = np.repeat(np.datetime64(FIRST) + np.arange(DAYS), ROWS)
    values = random.normal(size=(DAYS * ROWS, 3)).astype(np.float32)
    values[:, 1] = random.integers(0, 3, DAYS * ROWS)  # the codes of a category
    return values, random.integers(0, 2, DAYS * ROWS), days


def test_what_a_model_has_learned_by_heart_does_not_help_it() -> None:
    """The last feature says what the label of the row is, but not on the days of the first third."""
    values, labels, days = rows()
    early = days < days[0] + np.timedelta64(DAYS // 3, "D")
    values[:, 2] = np.where(early, 0, labels + 0.01 * values[:, 2])
    found = rolling.scored(toy_case(), values, labels, days, 8, ())
    assert found is not None
    assert np.unique(found.days).tolist() == np.unique(days[~early]).tolist()
    first = found.days < np.datetime64(FIRST) + np.timedelta64(DAYS // 2, "D")
    assert abs(metrics.auc(found.labels[first], found.scores[first]) - 0.5) < 0.1  # it had not seen that it tells
    assert metrics.auc(found.labels[~first], found.scores[~first]) > 0.9  # later models had


def test_labels_that_share_time_with_the_scored_days_are_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels, days = rows()
    seen: list[int] = []
    real = rolling._fitted

    def fitted(case: UseCase, some: Array, labels: Array, rounds: int, weights: Weights) -> xgb.Booster:
        seen.append(len(some) // ROWS)
        return real(case, some, labels, rounds, weights)

    monkeypatch.setattr(rolling, "_fitted", fitted)
    rolling.scored(replace(toy_case(), label_days=5), values, labels, days, 2, ())
    assert seen == [15, 25, 35, 45]


def test_few_days_make_no_models() -> None:
    values, labels, days = rows()
    few = days < days[0] + np.timedelta64(rolling.LEAST_DAYS - 1, "D")
    assert rolling.scored(toy_case(), values[few], labels[few], days[few], 8, ()) is None


def test_of_a_large_training_set_every_nth_row_is_taken() -> None:
    assert rolling.every(1_000, 10) == 1
    assert rolling.every(100_000_000, 25) * rolling.MOST_VALUES >= 100_000_000 * 25
