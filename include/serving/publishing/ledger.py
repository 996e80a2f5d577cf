"""The ledger of what was published: a line for each revision that a target got of a day, and for how far it has come.

``gold.<case>__published`` is sealed. Beside it ``gold.<case>__outbox`` has, of targets that get events, the last event
of each key: what is in no event yet, and what has to be withdrawn, is told by it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

import polars as pl

from include.contracts.use_case import UseCase
from include.lake import chain, commit, delta
from include.lake.commit import Change
from include.serving.publishing.content import KEY, State

SCHEMA: dict[str, pl.DataType] = {
    "target": pl.String(),
    "prediction_day": pl.Date(),
    "revision": pl.Int32(),
    "content": pl.String(),
    "created": pl.Int64(),  # of the table of predictions, in milliseconds …
    "version": pl.Int64(),  # … and its version
    "rows": pl.Int64(),
    "changed": pl.Int64(),
    "gone": pl.Int64(),
    "batches": pl.Int32(),
    "done": pl.Int32(),  # batches that the target has said yes to, the first ones
    "run": pl.String(),
    "published_at": pl.Datetime("us", "UTC"),
}
OUTBOX: dict[str, pl.DataType] = {
    "target": pl.String(),
    "prediction_day": pl.Date(),
    KEY: pl.String(),
    "hash": pl.String(),  # of the row that the event brought
    "revision": pl.Int32(),
    "gone": pl.Boolean(),
    "batch": pl.Int32(),  # of that revision, from 0
}
BY = ["target", "prediction_day"]


@dataclass(frozen=True)
class Line:
    """How far the publication of one revision of a day to a target has come."""

    target: str
    prediction_day: date
    revision: int
    content: str
    created: int
    version: int
    rows: int
    changed: int
    gone: int
    batches: int
    done: int
    run: str = ""

    @property
    def is_done(self) -> bool:
        return self.done == self.batches

    @property
    def state(self) -> State:
        return State(self.created, self.version)


def last(case: UseCase, target: str, day: date) -> Line | None:
    """The newest line of a day and target; None where it was never published there."""
    if not delta.exists("gold", case.published_table):
        return None
    found = delta.scan("gold", case.published_table).filter(
        (pl.col("target") == target) & (pl.col("prediction_day") == day)
    )
    row = found.sort("line").tail(1).drop("published_at", *chain.SEALS).collect()
    return Line(**row.row(0, named=True)) if row.height else None


def published(case: UseCase, target: str) -> set[date]:
    """The days that a target has ever got something of."""
    if not delta.exists("gold", case.published_table):
        return set()
    found = delta.scan("gold", case.published_table).filter(pl.col("target") == target)
    return set(found.select("prediction_day").unique().collect().to_series())


def change(case: UseCase, line: Line) -> Change:
    """The change that adds ``line``. Hold the lake's lease."""
    frame = pl.DataFrame([asdict(line) | {"published_at": datetime.now(UTC)}], schema=SCHEMA)
    return chain.change(f"gold.{case.published_table}", frame)


def append(case: UseCase, line: Line) -> None:
    """Write ``line`` down."""
    with commit.committing():
        commit.commit_all([change(case, line)], f"{line.target} of {case.name} {line.prediction_day}")


def outbox(case: UseCase, target: str, day: date) -> pl.DataFrame:
    """The last event of each key that a target got, or is to get, of a day."""
    if not delta.exists("gold", case.outbox_table):
        return pl.DataFrame(schema=OUTBOX)
    rows = delta.scan("gold", case.outbox_table)
    return rows.filter((pl.col("target") == target) & (pl.col("prediction_day") == day)).select(*OUTBOX).collect()


def outbox_change(case: UseCase, target: str, day: date, rows: pl.DataFrame) -> Change:
    """The change that makes ``rows`` the outbox of a day and target. Hold the lake's lease."""
    return commit.frame_change(
        f"gold.{case.outbox_table}",
        rows.select(*OUTBOX),
        BY,
        lambda values: values["target"] == target and str(values["prediction_day"]) == str(day),
    )
