"""From features to scores: the one way in which a booster is asked, in training, in a night and for a single row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Feature, UseCase
from include.ml import dataset, errors, model_files, tasks
from include.ml.dataset import Floats
from include.ml.ledger import Champion
from include.ml.reference import features_of
from include.ml.tasks.interface import Array

VERSION = "model_version"
"""The column of a predictions table that says which version a row is scored by."""


def feature_types(features: Sequence[Feature]) -> list[str]:
    """XGBoost's type of each feature: ``c`` for codes of categories, ``q`` for quantities."""
    return ["c" if feature.kind == "categorical" else "q" for feature in features]


def output(case: UseCase, booster: xgb.Booster, features: Sequence[Feature], frame: pl.DataFrame) -> Array:
    """What the booster gives for each row of ``frame``, in its order, on the ``features`` that it was fitted on.

    Its task makes scores of it. Raises UnfitFeatureError, and ModelRefusedError where they are others than the
    booster's.
    """
    return predicted(case, booster, features, [dataset.matrix(features, frame)])


def predicted(case: UseCase, booster: xgb.Booster, features: Sequence[Feature], matrices: Iterable[Floats]) -> Array:
    """The same of rows that are encoded already and come in matrices, rows × features; at least one."""
    found = []
    for values in matrices:
        with errors.of_xgboost(f"to score {len(values)} rows of {case.features_table}"):
            rows = xgb.DMatrix(
                values,
                feature_names=[feature.name for feature in features],
                feature_types=feature_types(features),
                nthread=case.training.threads,
                enable_categorical=True,
            )
            found.append(booster.predict(rows))
    return np.concatenate(found)


def score_rows(case: UseCase, champion: Champion, rows: pl.DataFrame) -> pl.DataFrame:
    """Entity, day, what is predicted, and model version of each row, by one champion on the features that it takes.

    Raises DataMissingError, UnfitFeatureError, ModelRefusedError, DamagedModelError, OtherTaskError, and
    UnfitOutputError where a row of what the model gives is no prediction of its task.
    """
    reference = model_files.load_reference(case, champion)
    features, task = features_of(reference), tasks.of_version(case, reference["task"])
    dataset.check_columns(case, rows.columns, features, who=f"version {champion.model_version} of {case.name}")
    given = output(case, model_files.load_booster(case, champion), features, rows)
    predicted = task.frame(task.scores(given))
    if problem := task.problem(predicted):
        raise tasks.UnfitOutputError(f"{case.name}: {problem}; look at the objective of that version's training")
    version = pl.lit(champion.model_version, dtype=pl.Int64).alias(VERSION)
    return rows.select(*case.entity, case.day).hstack(predicted).with_columns(version)
