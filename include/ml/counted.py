"""What a night's rows are counted into, once: by it evidence is told, distances are measured, and figures are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import UseCase
from include.ml import dataset, evidence, metrics, slices, tasks
from include.ml.evidence import Floats
from include.ml.reference import Reference, features_of, scores_by_day
from include.ml.slices import Groups, Ints, Layout, Sliced


@dataclass(frozen=True)
class Column:
    """A column of a day: its counts by the bins of training, the missing ones last; its numbers and their floors."""

    counts: Ints
    numbers: Floats
    floors: Floats


@dataclass(frozen=True)
class Counted:
    """The rows of a night, of the day just scored. What has no rows is not there.

    Attributes:
        inputs, scores: by feature, and by column of the predictions.
        input_rows, score_rows: of how many rows.
        constant: the columns of the predictions that are one value.
        within_inputs, within_scores: the same within slices; None where nothing is watched within any.
    """

    inputs: Mapping[str, Column]
    input_rows: int
    scores: Mapping[str, Column]
    score_rows: int
    constant: frozenset[str]
    within_inputs: Sliced | None
    within_scores: Sliced | None


def counted(case: UseCase, reference: Reference, features: pl.DataFrame, predictions: pl.DataFrame) -> Counted:
    """Count the rows of a day. Slices of predictions are those of the features of the same key."""
    names = list(reference.get("within", {}))
    inputs, scores, constant = dict[str, Column](), dict[str, Column](), list[str]()
    within_inputs = within_scores = None
    groups = slices.grouped(names, features) if names and features.height else None
    if features.height:
        taken = features_of(reference)
        values = dataset.matrix(taken, features)
        edges = {one.name: reference["features"][one.name]["edges"] for one in taken}
        for n, one in enumerate(taken):
            inputs[one.name] = _of_feature(one.kind, values[:, n], edges[one.name])
        if groups:
            within_inputs = slices.of_day(Layout(taken), edges, values, groups, _numbers(inputs))
    if predictions.height:
        columns = tasks.of_version(case, reference["task"]).watched_values(predictions)
        edges = {name: reference["scores"][name]["edges"] for name in columns}
        for name, given in columns.items():
            numbers, floors = scores_by_day(given, np.zeros(len(given), np.intp), 1, edges[name])
            scores[name] = Column(metrics.bin_counts(given, edges[name]), numbers[0], floors[0])
            if np.ptp(given) == 0:
                constant.append(name)
        if groups:
            layout = Layout(slices.columns_of_scores(columns), of_number=2)
            own = in_order(case.key, groups, predictions, features)
            within_scores = slices.of_day(layout, edges, np.column_stack(list(columns.values())), own, _numbers(scores))
    return Counted(
        inputs, features.height, scores, predictions.height, frozenset(constant), within_inputs, within_scores
    )


def _of_feature(kind: str, values: npt.NDArray[Any], edges: list[float]) -> Column:
    counts = metrics.bin_counts(values, edges)
    if kind == "categorical":
        numbers, floors = evidence.shares_by_day(counts[np.newaxis, :-1])
    else:
        numbers, floors = evidence.numeric_by_day(values, np.zeros(len(values), np.intp), 1, edges)
    return Column(counts, numbers[0], floors[0])


def _numbers(columns: Mapping[str, Column]) -> dict[str, Floats]:
    return {name: one.numbers for name, one in columns.items()}


def in_order(key: Sequence[str], groups: Groups, predictions: pl.DataFrame, features: pl.DataFrame) -> Groups:
    """The slices of each row of ``predictions``: those of the features of the same ``key``, which ``groups`` has."""
    keys, own = features.select(key), predictions.select(key)
    if own.equals(keys):  # both are sorted, and mostly have the same rows
        return groups
    there = keys.with_row_index("place_").unique(key, keep="first")
    places = own.join(there, on=key, how="left", maintain_order="left")["place_"]
    known, at = places.is_not_null().to_numpy(), places.fill_null(0).to_numpy()
    return Groups(groups.names, tuple(np.where(known, one[at], len(groups.names)) for one in groups.codes))
