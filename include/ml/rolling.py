"""Scores of the days of a training set by models that knew none of them: what quality is on days that are yet to come.

The holdout of a champion is a fortnight, and a fortnight says little about how much the quality of days scatters. So
the same recipe is fitted on the first days alone, and scores those that follow, and again with these, as nights would
have had it. These models are thrown away.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.ml import imbalance, tasks
from include.ml.imbalance import Weights
from include.ml.reference import Scored
from include.ml.scoring import feature_types
from include.ml.tasks.interface import Array

BEGINS = (2 / 6, 3 / 6, 4 / 6, 5 / 6)
"""The shares of the days after which a model is fitted; each scores the days up to the next one."""

LEAST_DAYS = 42
"""Fewer days than this make no models that are worth asking."""

MOST_VALUES = 20_000_000
"""So many values at most are fitted on: of larger training sets every n-th row, as a day needs but some hundreds."""


def every(rows: int, features: int) -> int:
    """Each how manieth row is taken of so many."""
    return max(1, -(-rows * max(features, 1) // MOST_VALUES))


def scored(case: UseCase, values: Array, labels: Array, days: Array, rounds: int, weights: Weights) -> Scored | None:
    """The later two thirds of the rows, scored by models of the days before; None where there are too few days.

    ``values`` are rows × features, sorted by ``days``. ``rounds`` is how many trees the champion has, ``weights`` what
    a row of each class counts for. Days that a model was fitted on and whose labels share time with those that it
    scores are left out of the fit.
    """
    dates, index = np.unique(days, return_inverse=True)
    if len(dates) < LEAST_DAYS:
        return None
    task, found = tasks.of(case), []
    ends = [round(share * len(dates)) for share in (*BEGINS, 1)]
    for begin, end in pairwise(ends):
        known = days < dates[begin] - np.timedelta64(case.label_days, "D")
        within = (index >= begin) & (index < end)
        if len(np.unique(labels[known])) < 2:  # nothing is learned of one label
            continue
        booster = _fitted(case, values[known], labels[known], rounds, weights)
        found.append((labels[within], task.scores(booster.inplace_predict(values[within])), days[within]))
    if not found:
        return None
    return Scored(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _fitted(case: UseCase, values: Array, labels: Array, rounds: int, weights: Weights) -> xgb.Booster:
    rows = xgb.QuantileDMatrix(
        values,
        labels,
        weight=imbalance.of_rows(weights, labels),
        feature_names=list(case.feature_names),
        feature_types=feature_types(case.features),
        enable_categorical=True,
        max_bin=int(case.training.params.get("max_bin", 256)),
        nthread=case.training.threads,
    )
    training = case.training
    params = {**tasks.of(case).params, **training.params, "seed": training.seed, "nthread": training.threads}
    return imbalance.corrected(weights, xgb.train(params, rows, rounds))
