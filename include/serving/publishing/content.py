"""What is published of a day: its predictions, without what they were made of, and what tells one content from another.

A row's hash and a day's content are of values alone. A column that is null stands for one that is not there: the table
of predictions gets columns from later versions' classes, and no earlier day has changed by that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from include.contracts.publishing import REVISION
from include.contracts.use_case import UseCase
from include.lake import delta, usage
from include.ml.scoring import FEATURES
from include.serving.publishing.errors import TargetRefusedError

HASH, KEY = "_hash", "_key"
"""Columns beside those of the predictions: the hash of a row, and its key as JSON."""


@dataclass(frozen=True, order=True)
class State:
    """Which of two states of the table of predictions is the newer one.

    Attributes:
        created: when the table was made, in milliseconds: one that is made anew counts its versions from 0 again.
        version: of the Delta table.
    """

    created: int
    version: int

    def __str__(self) -> str:
        return f"version {self.version}"


@dataclass(frozen=True)
class Day:
    """The predictions of one event date, as they are published.

    Attributes:
        rows: the key, then what is predicted, in the order of the key.
        marked: the columns ``HASH`` and ``KEY`` of each of the rows.
        content: sha256 over all rows; equal where, and only where, they are.
        sequence: of the table that they were read from.
    """

    case: UseCase
    day: date
    rows: pl.DataFrame
    marked: pl.DataFrame
    content: str
    sequence: State


def days(case: UseCase, wanted: Sequence[date]) -> Iterator[Day]:
    """Each of the ``wanted`` days as the table of predictions has it now: of one version, a day at a time in memory.

    Raises TableMissingError, and TargetRefusedError where a value is no number.
    """
    there = delta.opened("gold", case.predictions_table)
    sequence = State(int(there.metadata().created_time or 0), int(there.version()))
    scan = pl.scan_delta(there)
    for day in wanted:
        yield of(case, day, scan.filter(pl.col(case.day) == day).collect(), sequence)


def scored(case: UseCase) -> set[date]:
    """The days that have predictions."""
    return usage.days_of(f"gold.{case.predictions_table}")


def of(case: UseCase, day: date, predictions: pl.DataFrame, sequence: State) -> Day:
    """A day of ``predictions``, all of its rows. Raises TargetRefusedError."""
    others = [name for name in predictions.columns if name not in (*case.key, FEATURES)]
    if REVISION in others:
        raise TargetRefusedError(f"{case.name} predicts a column {REVISION}, as targets call theirs")
    rows = predictions.select(*case.key, *others).sort(case.key)
    require_numbers(case, rows)
    marked = rows.select(hashed(rows.columns).alias(HASH), keyed(case).alias(KEY))
    marked = marked.with_columns(pl.col(HASH).map_elements(digest, pl.String))
    return Day(case, day, rows, marked, digest("\n".join(marked[HASH])), sequence)


def require_numbers(case: UseCase, rows: pl.DataFrame) -> None:
    """Raise TargetRefusedError, naming the first, where a value is NaN or infinite: most targets hold no such thing."""
    for name, kind in rows.schema.items():
        if not kind.is_float():
            continue
        odd = rows.filter(pl.col(name).is_not_null() & ~pl.col(name).is_finite())
        if odd.height:
            key = ", ".join(str(odd[one][0]) for one in case.key)
            raise TargetRefusedError(
                f"gold.{case.predictions_table}: {name} of {key} is {odd[name][0]}, and of {odd.height - 1} more rows "
                "of that day: no target takes that. Look at the model and the features of that row, and score it again"
            )


def keyed(case: UseCase) -> pl.Expr:
    """The key of each row as JSON, in the order of the spec."""
    return pl.struct(case.key).struct.json_encode()


def hashed(columns: Sequence[str]) -> pl.Expr:
    """The values of each row in one text, whatever the order of columns, without nulls."""
    parts = [pl.when(pl.col(name).is_not_null()).then(pl.struct(name).struct.json_encode()) for name in sorted(columns)]
    return pl.concat_str(parts, separator="\n", ignore_nulls=True)


def digest(text: str) -> str:
    """sha256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()
