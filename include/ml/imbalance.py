"""Classes that count for more than their rows in a fit, and scores that are probabilities all the same.

A fit in which a row of class k counts for w_k rows learns the odds of a world where class k is w_k times as frequent:
its margins are too high by log w_k, whatever the features say (Elkan 2001; Saerens and others 2002). So log w_k is
taken off the margin that each of its predictions begins with, which is a number of the booster itself
(``base_score``): what is stored is what predicts, here, in MLflow and wherever else the file is loaded.
"""

from __future__ import annotations

import json
import re

import numpy as np
import numpy.typing as npt
import xgboost as xgb

from include.ml.tasks.interface import Array

type Weights = tuple[float, ...]
"""What a row of each code counts for; empty where each counts for one."""

_BASE_SCORE = re.compile(rb'"base_score":"([^"]*)"')


def of_rows(weights: Weights, labels: Array) -> npt.NDArray[np.float32] | None:
    """What each row counts for; None where each counts for one."""
    return np.asarray(weights, dtype=np.float32)[labels] if weights else None


def without(weights: Weights, output: Array) -> Array:
    """The probabilities of a fit with ``weights`` as those of one without: shape (rows,) or (rows, classes)."""
    if not weights:
        return output
    if output.ndim == 1:
        negative, positive = weights
        return np.asarray(output / positive / (output / positive + (1 - output) / negative))
    found = output / np.asarray(weights)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def corrected(weights: Weights, booster: xgb.Booster) -> xgb.Booster:
    """``booster``, fitted with ``weights``, with log w taken off where its margins begin."""
    if not weights:
        return booster
    raw = bytes(booster.save_raw("json"))
    (found,) = _BASE_SCORE.findall(raw)
    begins = np.atleast_1d(np.asarray(json.loads(found), dtype=np.float64))
    if len(weights) == 2 and len(begins) == 1:  # a probability, as the objective has it
        odds = begins / (1 - begins) * weights[0] / weights[1]
        begins = odds / (1 + odds)
    else:
        begins = np.broadcast_to(begins, (len(weights),)) - np.log(weights)
    said = ",".join(f"{one:.9E}" for one in begins)
    fixed = xgb.Booster()
    fixed.load_model(bytearray(_BASE_SCORE.sub(b'"base_score":"[%s]"' % said.encode(), raw)))
    return fixed
