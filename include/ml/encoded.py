"""A training set as a model takes it, on disk: a file of 32-bit floats for each feature.

The tables are read once, part by part, and each part is encoded and forgotten. What comes after, be it a matrix of
bins, for which XGBoost asks for the rows several times, or a look at one column, reads these files. So no step needs
all rows with all features in memory, and labels alone are kept there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Feature, UseCase
from include.core.scratch import scratch
from include.ml import dataset, imbalance, slices, tasks
from include.ml.dataset import Floats
from include.ml.imbalance import Weights
from include.ml.scoring import feature_types
from include.ml.slices import Groups
from include.ml.tasks.interface import Array

BATCH_ROWS = 250_000
"""So many rows at a time are handed to XGBoost, as 32-bit floats."""

BYTES = np.dtype(np.float32).itemsize


@dataclass(frozen=True)
class Encoded:
    """The rows of a training set, sorted by day.

    Attributes:
        folder: has a file for each feature, named by its place, of as many 32-bit floats as there are rows.
        days: the days that have rows, in their order.
        ends: for each day, the number of the row that follows its last one.
        labels: encoded by the task of ``case``, of shape (rows,).
        values: of each column by which the spec has slices, its values, in the order of their codes.
    """

    case: UseCase
    folder: Path
    days: tuple[date, ...]
    ends: tuple[int, ...]
    labels: Array
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def within(self, names: Sequence[str]) -> Groups:
        """Which rows are in which of the slices ``names``, as ``column=value``."""
        found = []
        for column in slices.columns_of(names):
            places = {name: place for place, name in enumerate(names)}
            place_of = [places.get(f"{column}={value}", len(names)) for value in self.values[column]]
            codes = np.fromfile(self.folder / _slice_file(self.case, column), np.int32)
            found.append(np.asarray(place_of, np.intp)[codes])
        return Groups(tuple(names), tuple(found))

    @property
    def rows(self) -> int:
        return len(self.labels)

    @property
    def day_of(self) -> Array:
        """The day of each row, datetime64[D] of shape (rows,)."""
        return np.repeat(np.array(self.days, dtype="datetime64[D]"), np.diff((0, *self.ends)))

    def between(self, days: tuple[date, date]) -> slice:
        """Which rows are of the days from the first to the last, both included."""
        ends = (0, *self.ends)
        before, through = (sum(one < days[0] for one in self.days), sum(one <= days[1] for one in self.days))
        return slice(ends[before], ends[through])

    def column(self, place: int, rows: slice | None = None) -> Floats:
        """The feature at ``place``, of all rows or of some."""
        begin, end = (0, self.rows) if rows is None else (rows.start, rows.stop)
        return np.fromfile(self.folder / str(place), np.float32, end - begin, offset=begin * BYTES)

    def columns(self) -> Iterator[Floats]:
        """The features in their order, one in memory at a time."""
        return (self.column(place) for place in range(len(self.case.features)))

    def matrix(self, rows: slice) -> Floats:
        """Some rows as a matrix, rows × features."""
        values = np.empty((len(self.case.features), rows.stop - rows.start), np.float32)
        for place in range(len(values)):
            values[place] = self.column(place, rows)
        return values.T

    def matrices(self, rows: slice) -> Iterator[Floats]:
        """The same in several, of at most ``BATCH_ROWS`` rows each."""
        for begin in range(rows.start, rows.stop, BATCH_ROWS):
            yield self.matrix(slice(begin, min(begin + BATCH_ROWS, rows.stop)))


class Batches(xgb.DataIter):
    """The rows of some days for XGBoost, ``BATCH_ROWS`` at a time, each time from the first."""

    def __init__(
        self,
        rows: Encoded,
        which: slice,
        weights: Weights = (),
        cache: Path | None = None,
        put: Callable[[Floats], Any] = np.asarray,
    ) -> None:
        """``weights`` are what a row of each class counts for. ``cache`` is what the names of XGBoost's files begin
        with, where it keeps any. ``put`` brings a batch to where its bins are made."""
        self._rows, self._which, self._weights, self._at, self._put = rows, which, weights, which.start, put
        super().__init__(cache_prefix=None if cache is None else str(cache))

    def next(self, input_data: Callable[..., None]) -> bool:
        if self._at >= self._which.stop:
            return False
        rows = slice(self._at, min(self._at + BATCH_ROWS, self._which.stop))
        case = self._rows.case
        input_data(
            data=self._put(self._rows.matrix(rows)),
            label=self._rows.labels[rows],
            weight=imbalance.of_rows(self._weights, self._rows.labels[rows]),
            feature_names=list(case.feature_names),
            feature_types=feature_types(case.features),
        )
        self._at = rows.stop
        return True

    def reset(self) -> None:
        self._at = self._which.start


@contextmanager
def encoded(case: UseCase, frames: Iterable[pl.DataFrame]) -> Iterator[Encoded]:
    """Rows that come in frames, sorted by day, as they are needed meanwhile.

    Raises UnfitLabelError and UnfitFeatureError, and ValueError where a day comes after a later one.
    """
    task, labels, rows_of = tasks.of(case), [], dict[date, int]()
    places: dict[str, dict[str, int]] = {}
    with scratch(f"{case.name}-rows") as folder:
        with ExitStack() as stack:
            files = [stack.enter_context((folder / str(place)).open("wb")) for place in range(len(case.features))]
            threads = stack.enter_context(ThreadPoolExecutor(case.training.threads))
            for frame in frames:
                labels.append(task.labels(frame[case.label]))
                _count(rows_of, frame[case.day])
                columns = [frame[name] for name in case.feature_names]
                deque(threads.map(_write, files, case.features, columns), maxlen=0)  # raises what one of them raises
                for column in (name for name in case.evaluation.slices if name in frame.columns):
                    with (folder / _slice_file(case, column)).open("ab") as file:
                        _write_values(file, frame[column], places.setdefault(column, {}))
        if list(rows_of) != sorted(rows_of):
            raise ValueError(f"the rows of {case.name} are not sorted by {case.day}")
        ends = tuple(np.cumsum(list(rows_of.values())).tolist())
        known = np.concatenate(labels) if labels else np.empty(0)
        yield Encoded(case, folder, tuple(rows_of), ends, known, {name: list(of) for name, of in places.items()})


def _write(file: BinaryIO, feature: Feature, values: pl.Series) -> None:
    require_exact(feature, values)
    dataset.encode(feature, values).to_numpy().tofile(file)


def _slice_file(case: UseCase, column: str) -> str:
    return f"slice-{case.evaluation.slices.index(column)}"


def _write_values(file: BinaryIO, values: pl.Series, places: dict[str, int]) -> None:
    """The code of each value, which is its place among those of the column; new ones are added to ``places``."""
    text = values.cast(pl.String).fill_null(slices.NONE)
    for value in text.unique(maintain_order=True):
        places.setdefault(value, len(places))
    text.replace_strict(places, return_dtype=pl.Int32).to_numpy().tofile(file)


def _count(rows_of: dict[date, int], days: pl.Series) -> None:
    """Add the rows of each day; where a day comes again after another one, ``rows_of`` ends up out of order."""
    runs = days.rle().struct.unnest()
    for rows, day in runs.iter_rows():
        if day in rows_of and next(reversed(rows_of)) != day:
            raise ValueError(f"{day} comes again after {next(reversed(rows_of))}: the rows are not sorted by day")
        rows_of[day] = rows_of.get(day, 0) + rows


def require_exact(feature: Feature, values: pl.Series) -> None:
    """Raise UnfitFeatureError for a whole number that 32-bit floats do not have: from 2^24 on, not all are there.

    In a column of floats rounding is expected. In one of integers it would make two keys or two times one.
    """
    if feature.kind != "numeric" or not values.dtype.is_integer():
        return
    rounded = values.cast(pl.Float32).cast(pl.Float64) != values.cast(pl.Float64)
    if count := int(rounded.sum()):
        example = values.filter(rounded)[0]
        raise dataset.UnfitFeatureError(
            f"{feature.name} has {count} of {len(values)} values, as {example}, that 32-bit floats round, as XGBoost "
            "takes them: whole numbers beyond 16,777,216 (2^24). If it is a quantity that may be rounded, cast it to "
            "double in dbt; a key is no feature, and of a time take the distance to another one"
        )


def quantised_bytes(rows: int, features: int) -> int:
    """The most memory that XGBoost's bins take: 4 bytes a value where some are missing, 1 to 2 in a copy by column."""
    return rows * features * 6


def on_disk(rows: int, features: Sequence[Feature], most: float) -> bool:
    """Whether the bins of so many rows are kept on disk, ``most`` GiB being the memory they may take.

    A function of the rows and a setting, never of the memory that is free at the moment.
    """
    return quantised_bytes(rows, len(features)) > most * 2**30
