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
from include.ml.reference import Reference, features_of
from include.ml.tasks import Task
from include.ml.tasks.interface import Array

VERSION = "model_version"
"""The column of a predictions table that says which version a row is scored by; null where by none."""

SCORED_BY = "scored_by"
"""The column that says whether that is the champion of the day, the one before it, what is usual (``prior``), or a
challenger that is rolled out and has this row's entity in its share."""
CHAMPION, PREVIOUS, PRIOR, CANARY = "champion", "previous champion", "prior", "canary"
SHADOW = "shadow"
"""By whom the rows of a shadow table are: both versions of a rollout, whichever is not published."""

FEATURES = "features_content"
"""The column of a predictions table that says which content of its day's features a row was made from.

As ``content`` of the ledger of publications has it; null of a day that was published before there was that ledger."""

DECISION, REASONS = "decision", "reasons"
"""The columns of what to do by the spec's value or cost, and of the features that moved a prediction most."""


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
            _require_same(booster, features)
            # Without a matrix of XGBoost's own, which would take as much memory again, and some of the time.
            found.append(booster.inplace_predict(values))
    return np.concatenate(found)


def _require_same(booster: xgb.Booster, features: Sequence[Feature]) -> None:
    """Raise ValueError unless the booster was fitted on ``features``, in their order: it goes by their places alone."""
    names = [feature.name for feature in features]
    if booster.feature_names is not None and booster.feature_names != names:
        others = sorted(set(booster.feature_names) ^ set(names)) or ["their order"]
        raise ValueError(f"it was fitted on other features, or in another order: {', '.join(others[:5])}")


def _matrix(case: UseCase, features: Sequence[Feature], values: Floats) -> xgb.DMatrix:
    return xgb.DMatrix(
        values,
        feature_names=[feature.name for feature in features],
        feature_types=feature_types(features),
        nthread=case.training.threads,
        enable_categorical=True,
    )


def framed(task: Task, scores: Array) -> pl.DataFrame:
    """What is predicted, and what to do by that where the spec says what it is worth."""
    found, decided = task.frame(scores), task.decision(scores)
    return found if decided is None else found.with_columns(decided.alias(DECISION))


def reasons(
    case: UseCase, booster: xgb.Booster, features: Sequence[Feature], values: Floats, outputs: Array, most: int
) -> pl.Series:
    """The ``most`` features that moved each row's prediction most, with by how much: ``hour +0.41; carrier -0.22``.

    They are SHAP values, exact, in what the trees add up: log odds of a class, the unit of a number. ``outputs`` has
    the number of the output that each row is explained for, where there are several.
    """
    with errors.of_xgboost(f"to explain {len(values)} rows of {case.features_table}"):
        parts = booster.predict(_matrix(case, features, values), pred_contribs=True)
    if parts.ndim == 3:
        parts = parts[np.arange(len(parts)), outputs]
    parts = parts[:, :-1]  # the last one is what is added for every row
    most = min(most, parts.shape[1])
    order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :most]
    names = pl.Series([feature.name for feature in features], dtype=pl.String)
    said = pl.DataFrame(
        {
            f"{place}": _moved(names.gather(order[:, place]), parts[np.arange(len(parts)), order[:, place]])
            for place in range(most)
        }
    )
    return said.select(pl.concat_str(pl.all(), separator="; ").alias(REASONS)).to_series()


def _moved(names: pl.Series, by: Array) -> pl.Series:
    sizes = pl.Series(by, dtype=pl.Float64)
    signs = pl.select(pl.when(sizes < 0).then(pl.lit("-")).otherwise(pl.lit("+"))).to_series()
    # Of three digits behind the point: two machines may differ in the last ones of a 32-bit sum.
    shown = sizes.abs().round(3).cast(pl.String)
    return pl.select(pl.concat_str(names, pl.lit(" "), signs, shown)).to_series()


def of_champions[Frame: (pl.DataFrame, pl.LazyFrame)](predictions: Frame) -> Frame:
    """``predictions`` without those that somebody else than the champion of their day has made."""
    if SCORED_BY not in predictions.lazy().collect_schema().names():  # made before any could be
        return predictions
    return predictions.filter(pl.col(SCORED_BY).fill_null(CHAMPION) == CHAMPION)


def of_others(predictions: pl.DataFrame) -> pl.DataFrame:
    """Those of ``predictions`` that somebody else than the champion of their day had to make; a canary was meant to."""
    marked = SCORED_BY in predictions.columns
    return predictions.filter(~pl.col(SCORED_BY).is_in([CHAMPION, CANARY])) if marked else predictions.clear()


def score_rows(case: UseCase, champion: Champion, rows: pl.DataFrame) -> pl.DataFrame:
    """Entity, day, what is predicted, and model version of each row, by one champion on the features that it takes.

    With the decision and the reasons, where the spec asks for them.

    Raises DataMissingError, UnfitFeatureError, ModelRefusedError, DamagedModelError, OtherTaskError, and
    UnfitOutputError where a row of what the model gives is no prediction of its task.
    """
    reference = model_files.load_reference(case, champion)
    dataset.check_columns(
        case, rows.columns, features_of(reference), who=f"version {champion.model_version} of {case.name}"
    )
    return scored_by(case, champion.model_version, model_files.load_booster(case, champion), reference, rows)


def scored_by(
    case: UseCase, version: int, booster: xgb.Booster, reference: Reference, rows: pl.DataFrame
) -> pl.DataFrame:
    """The same by a version whose files are read already, as on an executor: each row by itself, whatever is beside it.

    Raises UnfitFeatureError, ModelRefusedError, OtherTaskError and UnfitOutputError.
    """
    features, task = features_of(reference), tasks.of_version(case, reference["task"])
    values = dataset.matrix(features, rows)
    scores = task.scores(predicted(case, booster, features, [values]))
    made = framed(task, scores)
    if problem := task.problem(made):
        raise tasks.UnfitOutputError(f"{case.name}: {problem}; look at the objective of that version's training")
    if most := case.scoring.reasons:
        made = made.with_columns(reasons(case, booster, features, values, task.explained(scores), most))
    stamp = pl.lit(version, dtype=pl.Int64).alias(VERSION)
    return rows.select(*case.entity, case.day).hstack(made).with_columns(stamp)
