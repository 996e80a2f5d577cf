"""The training set: features ⋈ labels of a range of days, in a fixed order, with its fingerprint and its time split."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from include.errors import NeedsAttentionError
from include.lake import delta
from include.use_cases.spec import UNKNOWN, Feature, Training, UseCase

KNOWN = "night"
"""The column of a labels table: the night from which a label is known."""

MOST_UNMATCHED = 0.01
"""The share of rows that may have features and no label yet, or the other way round: what comes late."""

type Floats = npt.NDArray[np.float32]
type Ints = npt.NDArray[np.int8]


class DataMissing(NeedsAttentionError):
    """Days or columns that a model needs are not there; the message lists them."""


@dataclass(frozen=True)
class Split:
    """Three consecutive ranges of days, each ``(first, last)``, both included; no validation is None."""

    train: tuple[date, date]
    valid: tuple[date, date] | None
    holdout: tuple[date, date]


@dataclass(frozen=True)
class Dataset:
    """Rows of features and label, sorted by day and entity, and what they were read from.

    Attributes:
        frame: entity, day, features, label.
        versions: the Delta version of each table it was read from, by table name.
        content_hash: sha256 of the frame.
    """

    frame: pl.DataFrame
    versions: dict[str, int]
    content_hash: str


def days_between(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def check_columns(case: UseCase, columns: list[str]) -> None:
    """Raise DataMissing unless a features table has exactly the columns that the use case names."""
    expected = {case.entity, case.day, *case.context, *case.feature_names}
    missing, extra = sorted(expected - set(columns)), sorted(set(columns) - expected)
    if missing or extra:
        raise DataMissing(
            f"{case.features_table} does not match the spec of {case.name}: "
            f"missing {', '.join(missing) or 'nothing'}; not in the spec {', '.join(extra) or 'nothing'}"
        )


def require_days(table: str, frame: pl.DataFrame, first: date, last: date, day: str) -> None:
    """Raise DataMissing listing the days of the range that have no row in ``frame``."""
    absent = sorted(set(days_between(first, last)) - set(frame[day].unique()))
    if absent:
        shown = ", ".join(map(str, absent[:10])) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        raise DataMissing(f"{table} has no rows for {len(absent)} of the days {first} to {last}: {shown}")


def training_range(training: Training, through: date) -> tuple[date, date]:
    """The days to read for a training whose newest label day is ``through``. Raises DataMissing when too few."""
    first = max(training.first_day, through - timedelta(training.window_days - 1))
    least = training.min_train_days + training.valid_days + training.holdout_days
    if (through - first).days + 1 < least:
        raise DataMissing(
            f"{least} days with complete look-back are needed to train and judge a model, from "
            f"{training.first_day} on; through {through} there are {max(0, (through - first).days + 1)}"
        )
    return first, through


def split_days(training: Training, first: date, last: date) -> Split:
    """Cut a range by time: the holdout is the last days, validation lies before it, the rest is for training."""
    holdout = last - timedelta(training.holdout_days - 1)
    valid = holdout - timedelta(training.valid_days)
    if valid <= first:
        raise DataMissing(f"{first} to {last} leaves no day to train on")
    return Split(
        (first, valid - timedelta(1)),
        (valid, holdout - timedelta(1)) if training.valid_days else None,
        (holdout, last),
    )


def load(case: UseCase, first: date, last: date) -> Dataset:
    """Features and labels of the days ``first`` to ``last``, joined on the entity.

    Both tables are read at the version they have now, which the result names; a label that was not known in the night
    of ``last`` is not there, so that the same days always give the same set. Every day must have features and labels. A
    row with features and no label, or the other way round, came late and is left out; where there are many such rows
    one of the two tables is wrong. Raises DataMissing or TableMissing.
    """
    versions = {table: delta.version("gold", table) for table in (case.features_table, case.labels_table)}
    features = delta.read_days(
        "gold", case.features_table, first, last, day=case.day, version=versions[case.features_table]
    )
    labels = delta.read_days("gold", case.labels_table, first, last, day=case.day, version=versions[case.labels_table])
    labels = labels.filter(pl.col(KNOWN) <= last)
    check_columns(case, features.columns)
    require_days(case.features_table, features, first, last, case.day)
    require_days(case.labels_table, labels, first, last, case.day)
    joined = features.join(labels.select(case.entity, case.label), on=case.entity, how="inner", validate="1:1")
    if features.height + labels.height - 2 * joined.height > MOST_UNMATCHED * features.height:
        raise DataMissing(
            f"{case.features_table} has {features.height} rows and {case.labels_table} {labels.height} for {first} to "
            f"{last}, but only {joined.height} have both"
        )
    frame = joined.select(case.entity, case.day, *case.feature_names, case.label).sort(case.day, case.entity)
    return Dataset(frame, versions, delta.content_hash(frame))


def encode(feature: Feature, values: pl.Series) -> pl.Series:
    """One feature as 32-bit floats: numbers as they are (null is missing), categories as their code.

    A category outside the vocabulary, and null, get the code of ``unknown``.
    """
    if feature.kind == "numeric":
        return values.cast(pl.Float32)
    codes = {level: float(code) for code, level in enumerate(feature.levels)}
    return values.replace_strict(codes, default=codes[UNKNOWN], return_dtype=pl.Float32)


def matrix(case: UseCase, frame: pl.DataFrame) -> Floats:
    """The features as a matrix, rows × features in the order of the spec; missing is NaN."""
    columns = [encode(feature, frame[feature.name]) for feature in case.features]
    return pl.DataFrame(columns).to_numpy().astype(np.float32, copy=False)


def labels_of(case: UseCase, frame: pl.DataFrame) -> Ints:
    """The label column, 0 or 1. Raises DataMissing when a row has another value or none."""
    values = frame[case.label]
    if not values.is_in([0, 1]).fill_null(False).all():
        raise DataMissing(f"{case.label} has values that are neither 0 nor 1")
    return values.to_numpy().astype(np.int8)


def between(case: UseCase, frame: pl.DataFrame, days: tuple[date, date]) -> pl.DataFrame:
    """The rows of a range of days, order kept."""
    return frame.filter(pl.col(case.day).is_between(*days))
