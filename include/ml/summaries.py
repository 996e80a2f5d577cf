"""Make the figures of a night (``include.ml.figures``) while it is measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from include.contracts.use_case import UseCase
from include.lake import delta, usage
from include.ml import scoring, tasks
from include.ml.counted import Counted
from include.ml.figures import (
    CALIBRATION,
    COMPLETENESS,
    DISTRIBUTION,
    DUPLICATES,
    FRESHNESS,
    MISSING,
    PROMISE,
    QUALITY,
    SCHEMA,
    SCORES,
    WITHIN,
    Bins,
)
from include.ml.reference import Reference, features_of, quality_units
from include.ml.slices import Ints
from include.ml.tasks.interface import Array, Task

if TYPE_CHECKING:
    from include.ml.ledger import Champion
    from include.ml.monitor import Night

PROBABILITIES = tuple(round(n / 10, 1) for n in range(1, 10))
"""The inner edges of the bins of a probability: the same for all versions, so that their days can be added."""


def calibration(labels: Array, scores: Array, edges: Iterable[float] = PROBABILITIES) -> Bins:
    """Rows, sum of ``scores`` and sum of ``labels`` in each bin of the score."""
    inner = np.asarray(list(edges), dtype=np.float64)
    of = np.searchsorted(inner, scores, side="left")
    rows, size = np.bincount(of, minlength=len(inner) + 1), len(inner) + 1
    sums = [np.bincount(of, weights=np.asarray(one, dtype=np.float64), minlength=size) for one in (scores, labels)]
    return Bins(tuple(inner.tolist()), tuple(rows.tolist()), *(tuple(np.round(one, 9).tolist()) for one in sums))


def calibrations(task: Task, reference: Reference, labels: Array, scores: Array) -> dict[str, Bins]:
    """The calibration of what a task predicts, by its name.

    Of classes that of the likeliest one, whose label is whether it was right; of numbers in the bins of the holdout's
    predictions; of a quantile one bin: what it promises, and whether labels were at most as high.
    """
    if task.kind == "binary":
        return {"score": calibration(labels, scores)}
    if task.kind == "multiclass":
        return {"likeliest": calibration(scores.argmax(axis=1) == labels, scores.max(axis=1))}
    columns = task.watched_values(task.frame(scores))
    edges = dict.fromkeys(reference["scores"].get("predicted", {}).get("edges", ()))
    found = {"predicted": calibration(labels, columns["predicted"], edges)}
    for quantile, values in zip(task.recipe.get("quantiles", ()), scores.T if scores.ndim == 2 else (), strict=False):
        found[f"quantile {quantile:g}"] = calibration(labels <= values, np.full(len(labels), quantile), ())
    return found


def promises(task: Task, reference: Reference, day: date) -> Iterator[Figure]:
    """What each watched value was on the days of the holdout, and by how much it may be worse, in its own unit."""
    daily = reference["holdout"]["daily"]
    units = quality_units(task, daily)
    for watched in task.watched:
        values = np.asarray(daily.get(watched.daily, ()), dtype=np.float64)
        if len(values) > 1:
            low, high = np.quantile(values, (0.025, 0.975))
            more = json.dumps({"worse": watched.worse, "tolerated": watched.limit * units[watched.metric]})
            yield Figure(PROMISE, watched.daily, day, len(values), float(values.mean()), float(low), float(high), more)


@dataclass
class Kept:
    """The figures of some nights, collected while they are measured, and stored together.

    ``known`` has the days of the tables whose age is told, which are looked up once.
    """

    case: UseCase
    rows: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, set[date]] = field(default_factory=dict)

    def add(self, champion: Champion, reference: Reference, night: Night, of_night: Counted) -> None:
        """Take the figures of ``night``, which ``champion`` has scored. ``of_night`` are its counts."""
        task = tasks.since(tasks.of_version(self.case, reference["task"]), tasks.of(self.case))
        found = [
            *_distributions(reference, night, of_night),
            *_of_scores(self.case, reference, night, of_night),
            *_within(night, of_night),
            *_of_labels(self.case, task, reference, night),
            *self._completeness(night),
            *self._freshness(night),
        ]
        key = {"partition_day": night.night, "model_version": champion.model_version}
        self.rows += [vars(one) | key for one in found]

    def _completeness(self, night: Night) -> Iterator[Figure]:
        """Of rows that are to be scored and that are to have labels; how many are, is counted when it is stored."""
        rows = night.features.height
        if rows:
            twice = rows - night.features.select(self.case.key).n_unique()
            yield Figure(COMPLETENESS, "scored", night.scored, rows, None)
            yield Figure(DUPLICATES, "", night.scored, rows, float(twice))
        yield Figure(COMPLETENESS, "labelled", night.labelled, 0, float(night.matured.height))

    def _freshness(self, night: Night) -> Iterator[Figure]:
        case = self.case
        for what, table, newest in (
            ("features", case.features_table, night.scored),
            ("predictions", case.predictions_table, night.scored),
            ("labels", case.labels_table, night.labelled),
        ):
            if table not in self.known:
                self.known[table] = usage.days_of(f"gold.{table}")
            there = [day for day in self.known[table] if day <= newest]
            if what == "labels" and not night.matured.height:  # those of that day were not known, or are of nobody's
                there = [day for day in there if day < newest]
            age = float((night.night - max(there)).days) if there else None
            yield Figure(FRESHNESS, what, newest, int(bool(there)), age)

    def store(self) -> None:
        """Replace these nights of the table of figures; nothing is written where they are the same."""
        if not self.rows:
            return
        found = self._counted(pl.DataFrame(self.rows, schema=SCHEMA))
        nights = found["partition_day"]
        delta.replace_days("gold", self.case.figures_table, found, min(nights), max(nights), day="partition_day")

    def _counted(self, found: pl.DataFrame) -> pl.DataFrame:
        """``found`` with the shares of completeness: of the rows that champions have scored, of all days at once."""
        case, of = self.case, pl.col("figure") == COMPLETENESS
        scored, labelled = of & (pl.col("feature") == "scored"), of & (pl.col("feature") == "labelled")
        days = found.filter(of)["day"]
        counts = pl.DataFrame(schema={"day": pl.Date(), scoring.VERSION: pl.Int64(), "rows": pl.Int64()})
        if delta.exists("gold", case.predictions_table):
            scan = delta.scan_days("gold", case.predictions_table, min(days), max(days), day=case.day)
            by = (pl.col(case.day).alias("day"), pl.col(scoring.VERSION).cast(pl.Int64))
            counts = scoring.of_champions(scan).group_by(*by).agg(pl.len().cast(pl.Int64).alias("rows")).collect()
        # A labelled day is the version's that is measured; a scored one may be the next champion's already.
        of_version = found.join(counts, on=["day", scoring.VERSION], how="left", maintain_order="left")["rows"]
        whole = counts.group_by("day").agg(pl.col("rows").sum())
        of_day = found.join(whole, on="day", how="left", maintain_order="left")["rows"]
        counted = found.with_columns(pl.when(labelled).then(of_version.fill_null(0)).otherwise(pl.col("n")).alias("n"))
        share = (
            pl.when(scored)
            .then(of_day.fill_null(0) / pl.col("n"))
            .when(labelled & (pl.col("n") > 0))
            .then(pl.col("value") / pl.col("n"))
            .when(labelled)
            .then(None)
        )
        return counted.with_columns(value=share.otherwise(pl.col("value")))


@dataclass(frozen=True)
class Figure:
    """One row of the table, less its night and version."""

    figure: str
    feature: str
    day: date
    n: int
    value: float | None
    low: float | None = None
    high: float | None = None
    bins: str | None = None


def _json(bins: Bins, **more: Any) -> str:
    return json.dumps({name: value for name, value in vars(bins).items() if value != ()} | more)


def _distributions(reference: Reference, night: Night, counted: Counted) -> Iterator[Figure]:
    if not counted.inputs:
        return
    missing = 0
    for feature in features_of(reference):
        of, rows = reference["features"][feature.name], counted.input_rows
        bins = _of_counts(of["edges"], counted.inputs[feature.name].counts)
        missing += night.features[feature.name].null_count()
        more = {"expected": of["shares"]} | ({"levels": list(feature.levels)} if feature.levels else {})
        yield Figure(DISTRIBUTION, feature.name, night.scored, rows, of["weight"], bins=_json(bins, **more))
    total = counted.input_rows * len(counted.inputs)
    yield Figure(MISSING, "", night.scored, total, missing / total if total else None)


def _of_counts(edges: Iterable[float], counts: Ints) -> Bins:
    return Bins(tuple(float(edge) for edge in edges), tuple(counts.tolist()))


def _of_scores(case: UseCase, reference: Reference, night: Night, counted: Counted) -> Iterator[Figure]:
    if not counted.scores:
        return
    columns = tasks.of_version(case, reference["task"]).watched_values(night.predictions)
    for name, column in counted.scores.items():
        of, mean = reference["scores"][name], float(np.mean(columns[name]))
        bins = _json(_of_counts(of["edges"], column.counts), expected=of["shares"])
        yield Figure(SCORES, name, night.scored, counted.score_rows, mean, bins=bins)


def _within(night: Night, counted: Counted) -> Iterator[Figure]:
    """Features and scores within slices: a row for each slice."""
    for place, name in enumerate(counted.within_inputs.names if counted.within_inputs else ()):
        told, rows = {}, 0.0
        for what, of in (("inputs", counted.within_inputs), ("scores", counted.within_scores)):
            if of is not None:
                counts = {column: one[place].tolist() for column, one in of.counts.items()}
                sums = {column: np.round(one[place], 3).tolist() for column, one in of.sums.items()}
                told[what] = {"counts": counts, "sums": sums}
                rows = rows or of.rows[place]
        yield Figure(WITHIN, name, night.scored, int(rows), None, bins=json.dumps(told, separators=(",", ":")))


def _of_labels(case: UseCase, task: Task, reference: Reference, night: Night) -> Iterator[Figure]:
    yield from promises(task, reference, night.labelled)
    if not night.matured.height:
        return
    labels, scores = task.labels(night.matured[case.label]), task.scores_of(night.matured)
    for name, value in task.daily(labels, scores).items():
        yield Figure(QUALITY, name, night.labelled, len(labels), value if np.isfinite(value) else None)
    for name, bins in calibrations(task, reference, labels, scores).items():
        yield Figure(CALIBRATION, name, night.labelled, len(labels), None, bins=_json(bins))
