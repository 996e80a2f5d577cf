"""What each feature of a day looks like, in a row of a small table: what the days after it are compared with.

``gold.<case>__profiles`` has a row for each event date and feature, published together with the features that it is
of. Rows, nulls, lowest, highest and, where they are few, the different values with their counts are such that those of
several days give that of all of them; quantiles and relations are not, and are not merged. The columns
``<aspect>_change`` say how far the day was from the days before it (``include/quality/faults.py``), null where there
were too few of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import Feature, UseCase
from include.lake import delta, publications, publish, usage
from include.lake.publish import Judged, Request

if TYPE_CHECKING:
    from include.lake.commit import Change
    from include.lake.publish import Publication

type Floats = npt.NDArray[np.float64]

DAY = "event_date"

QUANTILES = np.linspace(0.025, 0.975, 20)
MOST_VALUES = 64
"""So many different values of a day are listed, with how many rows have each; a number that has more has none listed,
of a category the most frequent are."""

MOST_RELATED = 64
"""Of so many numbers, the first of the spec, is kept how each goes with the others: their square is what that costs."""
MOST_RELATED_ROWS = 10_000
"""Of a day that has more rows, so many are looked at for that: a correlation of them is certain to a hundredth."""

ASPECTS = ("missing", "shape", "distinct", "top", "beyond", "weekly")
"""In what a day can differ from the days before it."""

SCHEMA: dict[str, pl.DataType] = {
    DAY: pl.Date(),
    "feature": pl.String(),
    "rows": pl.Int64(),
    "nulls": pl.Int64(),
    "distinct": pl.Int64(),  # different values; null is none
    "top": pl.Int64(),  # rows that have the most frequent value
    "lowest": pl.Float64(),
    "highest": pl.Float64(),
    "quantiles": pl.List(pl.Float64()),  # of a number, at QUANTILES
    "values": pl.List(pl.Float64()),  # of a number, rising; null where they are more than MOST_VALUES
    "levels": pl.List(pl.String()),  # of a category, the most frequent first
    "counts": pl.List(pl.Int64()),  # of rows that have each of values or levels
    "beside": pl.List(pl.String()),  # of a number, the numbers that it is seen beside
    "relations": pl.List(pl.Float64()),  # its rank correlation with each of them; 0 where either has one value
    "accepted": pl.Boolean(),  # a person has let it through: what changed then is no measure of what sound days do
    **{f"{name}_change": pl.Float64() for name in ASPECTS},
}
CHANGES = tuple(name for name in SCHEMA if name.endswith("_change"))
"""What hangs on which days were there when a day was judged, as where nights run at the same time: no content of it."""
MEASURED = tuple(name for name in SCHEMA if name != "accepted" and name not in CHANGES)


def of_days(case: UseCase, features: Sequence[Feature], rows: pl.LazyFrame) -> pl.DataFrame:
    """The profiles of each day of ``rows``: the columns ``MEASURED``, sorted by day, features in their order.

    Rows are read once, some days at a time. Raises UnfitFeatureError for what is no number where one is expected.
    """
    from include.ml import dataset

    columns = dict.fromkeys([case.day, *case.entity, *(feature.name for feature in features)])
    a_day = rows.group_by(case.day).len().sort(case.day).collect(engine="streaming")
    found = [pl.DataFrame(schema={name: SCHEMA[name] for name in MEASURED})]
    for days in dataset.parts(a_day.rows()):
        part = dataset.between(case, rows, days).select(*columns).collect(engine="streaming").sort(case.day)
        for (day,), of_day in part.group_by(case.day, maintain_order=True):
            lines = [{DAY: day, "rows": of_day.height, **line} for line in _of_day(case, features, of_day)]
            found.append(pl.DataFrame(lines, schema=found[0].schema))
    return pl.concat(found)


def _of_day(case: UseCase, features: Sequence[Feature], rows: pl.DataFrame) -> Iterator[dict[str, Any]]:
    from include.ml import dataset

    numbers = [feature for feature in features if not feature.levels]
    table = np.full((len(numbers), rows.height), np.nan, np.float32)
    for values, feature in zip(table, numbers, strict=True):
        values[:] = dataset.encode(feature, rows[feature.name]).to_numpy()
    names = [feature.name for feature in numbers]
    related = _relations(names[:MOST_RELATED], table[:MOST_RELATED], rows.select(case.entity))
    table.sort(axis=1)  # each by itself; NaN comes last
    in_order = dict(zip(names, table, strict=True))
    for feature in features:
        of_kind = _of_levels(rows[feature.name]) if feature.levels else _of_numbers(in_order[feature.name])
        yield {"feature": feature.name, **of_kind, **related.get(feature.name, {})}


def _of_numbers(values: npt.NDArray[np.float32]) -> dict[str, Any]:
    """The profile of a sorted column of numbers, NaN for nulls, which are last."""
    filled = int(np.searchsorted(values, np.nan))
    there = values[:filled].astype(np.float64)
    line: dict[str, Any] = {"nulls": len(values) - filled, "distinct": 0}
    if not filled:
        return line
    begins = np.flatnonzero(np.diff(there, prepend=np.nan) != 0)
    counts = np.diff(begins, append=filled)
    line |= {"distinct": len(begins), "top": int(counts.max()), "lowest": there[0], "highest": there[-1]}
    line["quantiles"] = quantiles(there[:, None], QUANTILES)[:, 0].tolist()
    if len(begins) <= MOST_VALUES:
        line |= {"values": there[begins].tolist(), "counts": counts.tolist()}
    return line


def _of_levels(values: pl.Series) -> dict[str, Any]:
    counts = values.cast(pl.String).alias("level").drop_nulls().value_counts(name="rows")
    line: dict[str, Any] = {"nulls": values.null_count(), "distinct": counts.height}
    if counts.height:
        most = counts.sort(["rows", "level"], descending=[True, False]).head(MOST_VALUES)
        line |= {"top": most["rows"][0], "levels": most["level"].to_list(), "counts": most["rows"].to_list()}
    return line


def _relations(
    names: Sequence[str], table: npt.NDArray[np.float32], entities: pl.DataFrame
) -> dict[str, dict[str, Any]]:
    """Of each number of ``table``, numbers × rows, its rank correlation with the others.

    What is missing has the middle rank. Rounded, so that the order of rows is nothing to it; where rows are many, those
    whose entity has the lowest hashes are looked at.
    """
    if len(entities) > MOST_RELATED_ROWS:
        hashes = entities.hash_rows(seed=0).to_numpy()
        table = table[:, np.argpartition(hashes, MOST_RELATED_ROWS)[:MOST_RELATED_ROWS]]
    frame = pl.DataFrame(dict(zip(names, table, strict=True)), nan_to_null=True)
    ranks = frame.select(pl.all().rank().fill_null((pl.all().count() + 1) / 2)).to_numpy()
    ranks = ranks - ranks.mean(axis=0)
    sizes = np.sqrt((ranks**2).sum(axis=0))
    ranks = np.divide(ranks, sizes, out=np.zeros_like(ranks), where=sizes > 0)
    found = (ranks.T @ ranks).round(3) + 0.0  # no -0
    return {name: {"beside": names, "relations": own.tolist()} for name, own in zip(names, found, strict=True)}


def quantiles(in_order: Floats, at: Floats) -> Floats:
    """The quantiles ``at`` of each column of ``in_order``, each sorted with NaN at its end: len(at) × columns.

    What lies between two values is interpolated; NaN where a column has none.
    """
    number = np.count_nonzero(~np.isnan(in_order), axis=0)
    place = np.multiply.outer(at, np.maximum(number - 1, 0))
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(number - 1, 0))
    columns = np.arange(in_order.shape[1])
    low, high = in_order[below, columns], in_order[above, columns]
    return np.asarray(low + (high - low) * (place - below))


# --- the table ---


def read(case: UseCase, first: date, last: date) -> pl.DataFrame:
    """The published profiles of the days ``first`` to ``last``, in the columns of ``SCHEMA``; empty where none are."""
    nothing = pl.DataFrame(schema=SCHEMA)
    if not delta.exists("gold", case.profiles_table):
        return nothing
    found = delta.read_days("gold", case.profiles_table, first, last, day=DAY)
    # A table that was begun before an aspect was thought of has it from its next day on.
    return pl.concat([nothing, found], how="diagonal").select(SCHEMA.keys()).sort(DAY, "feature")


def lacking(case: UseCase, first: date, last: date) -> list[date]:
    """The days ``first`` to ``last`` whose features are published and whose profiles are not, as those of an
    installation that was older than the profiles."""
    there = usage.days_of(f"gold.{case.features_table}") - usage.days_of(f"gold.{case.profiles_table}")
    return sorted(day for day in there if first <= day <= last)


def add(case: UseCase, found: pl.DataFrame, run: str) -> list[Publication]:
    """Publish the profiles ``found``, of days whose features are published."""
    table, days = f"gold.{case.profiles_table}", found[DAY].unique().sort().to_list()

    def lines(versions: Mapping[str, int], published: Sequence[Publication]) -> Sequence[Change]:
        return publications.changes(published, versions, run)

    request = Request(table, found.lazy(), [DAY], publish.within(DAY, days), CHANGES)
    return publish.publish_all(lambda: Judged([request]), f"profiles of {case.name}", lines)
