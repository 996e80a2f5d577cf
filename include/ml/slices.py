"""The numbers of features and of scores within declared slices, each beside all rows of the same day.

What a day does to all rows is nobody's own: a slice is watched by its difference from them. Of each column a slice has
rows, values, their sum and the sum of their squares, and counts by the bins of training; all of these add up, so that
those of a month are the sum of its days. Which slices there are is declared in the spec, and is decided when a model is
trained: the largest values of each column, so that neither a night nor its rows grow with what comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import Feature
from include.ml import evidence
from include.ml.evidence import Floats

type Ints = npt.NDArray[np.int64]

NONE = "(none)"
"""The value of a slice whose column is null."""

LEAST_ROWS = 10
"""A slice of fewer rows a day tells less in a season than what is left to say of it."""

MOST_NUMBERS = 5_000
"""So many numbers at most are watched of all slices together; of more, the smallest slices are left out."""

MOST_ROWS = 100_000
"""Of a larger day every n-th row is looked at within slices: their means are as sure as a day's can be."""

MOST_VALUES = 20_000_000
"""So many values of a training set, as many rows of each day as make them, teach what is quiet in slices."""

LEAST_OFF = 0.25
"""No distance from all rows counts for less: of a mean, a quarter of the column's width. Fleets and timetables of one
slice or another move by a fifth of a width for good, and no model minds."""

SIZES = (1.5, 3.0, 6.0, 12.0, 24.0)
"""The changes that are looked for in slices, in usual distances of a day: what is smaller shows in all rows or not."""

FREEDOM = 5.0
"""Days scatter within slices with longer tails than those of all rows: one night within one slice is no evidence."""

SHARE = 0.25
"""The share of slices in the evidence of a sensor that watches all rows as well."""


@dataclass(frozen=True)
class Groups:
    """Which rows are in which slice.

    Attributes:
        names: ``column=value``.
        codes: for each slice column the place of each row's value in ``names``, or ``len(names)`` for others; (rows,).
    """

    names: tuple[str, ...]
    codes: tuple[npt.NDArray[np.intp], ...]

    def every(self, step: int) -> Groups:
        """The same of each ``step``-th row."""
        return Groups(self.names, tuple(one[::step] for one in self.codes)) if step > 1 else self

    def sums(self, of: Floats) -> Floats:
        """The sums of the columns of ``of`` (rows × columns) over the rows of each slice (slices × columns)."""
        inside = np.zeros((len(self.names) + 1, len(of)))
        for one in self.codes:
            inside[one, np.arange(len(of))] = 1
        return np.asarray(inside[:-1] @ of)

    def by_day(self, day_index: npt.NDArray[Any], days: int, of: Floats | None = None) -> Floats:
        """The rows of each day and slice, or their sum ``of`` something; days × slices."""
        width = len(self.names) + 1
        found = np.zeros(days * width)
        for one in self.codes:
            found += np.bincount(day_index * width + one, weights=of, minlength=days * width)
        return found.reshape(days, width)[:, :-1]

    def counts(self, bins: npt.NDArray[np.intp], width: int) -> Ints:
        """How many rows of each slice are in each of ``width`` bins, whose place in each row is ``bins``."""
        found = np.zeros((len(self.names) + 1) * width, np.int64)
        for one in self.codes:
            found += np.bincount(one * width + bins, minlength=len(found))
        return found.reshape(-1, width)[:-1]


def grouped(names: Sequence[str], frame: pl.DataFrame) -> Groups:
    """Which rows of ``frame`` are in which of the slices ``names``."""
    return placed(names, {column: frame[column] for column in columns_of(names)})


def placed(names: Sequence[str], columns: Mapping[str, pl.Series]) -> Groups:
    """The same of ``columns`` by their names."""
    places: dict[str, dict[str, int]] = {column: {} for column in columns}
    for place, name in enumerate(names):
        column, value = name.split("=", 1)
        places[column][value] = place
    codes = (
        values.cast(pl.String)
        .fill_null(NONE)
        .replace_strict(places[column], default=len(names), return_dtype=pl.Int64)
        .to_numpy()
        .astype(np.intp)
        for column, values in columns.items()
    )
    return Groups(tuple(names), tuple(codes))


def columns_of(names: Iterable[str]) -> list[str]:
    """The columns of slices, in their order."""
    return list(dict.fromkeys(name.split("=", 1)[0] for name in names))


def chosen(features: Sequence[Feature], groups: Mapping[str, npt.NDArray[np.bool_]], days: int) -> list[str]:
    """The slices that features are watched within, of ``groups``, which say of some rows of ``days`` days who is in."""
    rows = {name: int(inside.sum()) for name, inside in groups.items()}
    large = sorted((name for name in rows if rows[name] >= LEAST_ROWS * days), key=lambda name: (-rows[name], name))
    kept = set(large[: MOST_NUMBERS // max(Layout(tuple(features)).width, 1)])
    return [name for name in rows if name in kept]


@dataclass(frozen=True)
class Layout:
    """Where the numbers of each column lie among those of a slice: of a number mean, spread and missing share (of a
    score the first two), of a category the share of each level."""

    columns: tuple[Feature, ...]
    of_number: int = 3

    @cached_property
    def places(self) -> dict[str, slice]:
        found, at = dict[str, slice](), 0
        for one in self.columns:
            size = self.of_number if one.kind == "numeric" else len(one.levels)
            found[one.name], at = slice(at, at + size), at + size
        return found

    @property
    def width(self) -> int:
        return max((one.stop for one in self.places.values()), default=0)

    def weights(self, of_column: Mapping[str, float], without: str) -> Floats:
        """The weight of each number, 1 together. ``without`` is the column of the slice, which is one value there."""
        found = np.zeros(self.width)
        for name, at in self.places.items():
            found[at] = (of_column.get(name, 0.0) if name != without else 0.0) / (at.stop - at.start)
        return found / (found.sum() or 1.0)

    def by_column(self, numbers: Floats) -> dict[str, float]:
        """The sum of ``numbers`` of each column."""
        begins = [at.start for at in self.places.values()]
        return dict(zip(self.places, np.add.reduceat(numbers, begins).tolist(), strict=True)) if begins else {}


def columns_of_scores(names: Iterable[str]) -> tuple[Feature, ...]:
    """Columns of predictions, for a layout."""
    return tuple(Feature(name) for name in names)


@dataclass(frozen=True)
class Sliced:
    """A day within slices, with what of it adds up. Arrays have a row for each slice.

    Attributes:
        rows: of each slice, as many as were looked at.
        counts: rows by the bins of training, the missing ones last, by column.
        sums: sum and sum of squares of numeric columns, in widths of the column in training, by column; slices × 2.
        numbers: what is watched, less the same of all rows of the day; NaN is what the day does not tell.
        floors: how far each may be off by chance.
    """

    names: tuple[str, ...]
    rows: Floats
    counts: dict[str, Ints]
    sums: dict[str, Floats]
    numbers: Floats
    floors: Floats


def of_day(
    layout: Layout,
    edges: Mapping[str, Sequence[float]],
    values: npt.NDArray[Any],
    groups: Groups,
    whole: Mapping[str, Floats],
) -> Sliced:
    """What a day's ``values`` (rows × columns of ``layout``) are within slices.

    ``edges`` are the inner edges of the bins of each column, ``whole`` the numbers of all rows of the day.
    """
    step = max(1, -(-len(values) // MOST_ROWS))
    values, groups = values[::step], groups.every(step)
    numeric = [n for n, one in enumerate(layout.columns) if one.kind == "numeric"]
    middles, widths = np.asarray(
        [evidence.middle_and_spread(edges[layout.columns[n].name]) for n in numeric] or np.empty((0, 2))
    ).T
    z = (values[:, numeric].astype(np.float64) - middles) / widths
    there = ~np.isnan(z)
    z = np.where(there, np.clip(z, -evidence.FARTHEST, evidence.FARTHEST), 0.0)
    rows, (present, total, square) = groups.sums(np.ones((len(values), 1))), map(groups.sums, (there, z, z * z))
    numbers = np.empty((len(groups.names), layout.width))
    floors, counts, sums = np.empty_like(numbers), dict[str, Ints](), dict[str, Floats]()
    of_numeric = evidence.numeric_of(rows, present, total, square)
    for place, n in enumerate(numeric):
        name = layout.columns[n].name
        at = layout.places[name]
        numbers[:, at], floors[:, at] = (one[:, place, : layout.of_number] for one in of_numeric)
        sums[name] = np.column_stack([total[:, place], square[:, place]])
    for n, one in enumerate(layout.columns):
        column, width = values[:, n], len(edges[one.name]) + 2
        bins = np.where(np.isnan(column), width - 1, np.searchsorted(np.asarray(edges[one.name]), column, side="left"))
        counts[one.name] = groups.counts(bins, width)
        if one.kind != "numeric":
            at = layout.places[one.name]
            numbers[:, at], floors[:, at] = evidence.shares_by_day(counts[one.name][:, :-1])
    for name, at in layout.places.items():
        numbers[:, at] -= whole[name][: at.stop - at.start]
    return Sliced(groups.names, rows[:, 0], counts, sums, numbers, np.maximum(floors, LEAST_OFF))


def column_by_day(
    column: Feature,
    values: npt.NDArray[Any],
    day_index: npt.NDArray[Any],
    days: int,
    groups: Groups,
    edges: Sequence[float],
) -> tuple[Floats, Floats]:
    """The numbers of one column within slices, each day, and their floors (days × slices × numbers)."""
    rows = groups.by_day(day_index, days)
    if column.kind == "numeric":
        middle, width = evidence.middle_and_spread(edges)
        z = np.clip((values.astype(np.float64) - middle) / width, -evidence.FARTHEST, evidence.FARTHEST)
        there = ~np.isnan(z)
        z = np.where(there, z, 0.0)
        parts = (groups.by_day(day_index, days, one) for one in (there.astype(np.float64), z, z * z))
        return evidence.numeric_of(rows, *parts)
    levels = [groups.by_day(day_index, days, (values == code).astype(np.float64)) for code in range(len(column.levels))]
    numbers, floors = evidence.shares_by_day(np.stack(levels, axis=-1).reshape(-1, len(levels)).astype(np.int64))
    return numbers.reshape(days, -1, len(levels)), floors.reshape(days, -1, len(levels))
