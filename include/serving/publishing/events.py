"""A day of predictions → events, of those keys alone whose content has changed since what a target last got.

What is to be sent is written down before anything is: the outbox and the ledger get it in one commit, with each event's
batch. How far the target has said yes follows. After a kill the same batches are sent from there on, byte for byte: an
event may come twice on the wire, and who keeps of each key the highest revision has it once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import polars as pl

from include.contracts.publishing import REVISION
from include.contracts.use_case import UseCase
from include.lake import commit
from include.serving.publishing import ledger
from include.serving.publishing.content import HASH, KEY, Day
from include.serving.publishing.ledger import Line
from include.serving.publishing.target import Outcome

CHECKPOINT = 5.0
"""Seconds after which it is written down how far the target has got. A kill has it get so much again."""

TRIES = 5
"""So often a plan is made anew where somebody has scored meanwhile."""

Event = dict[str, Any]


class Sender(Protocol):
    """What brings a batch to where it goes, and comes back when it is there."""

    def send(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Batch:
    """Events of a day that are sent together.

    Attributes:
        key: the same for the same events, whoever sends them and how often.
        number, of: which batch of how many, from 0.
        events: each ``key``, ``revision``, ``deleted``, and ``row``, which is null where the row is gone.
    """

    use_case: str
    day: str
    revision: int
    content: str
    number: int
    of: int
    events: list[Event]

    @property
    def key(self) -> str:
        return f"{self.use_case}:{self.day}:r{self.revision}:{self.content[:16]}:{self.number}"


class Events:
    """A target that gets events."""

    def __init__(self, case: UseCase, name: str, size: int, sender: Callable[[], Sender], run: str) -> None:
        self.case, self.name, self.size, self.run = case, name, size, run
        self._open = sender
        self._sender: Sender | None = None

    def close(self) -> None:
        if self._sender is not None:
            self._sender.close()

    def send(self, day: Day) -> Outcome:
        planned = self._planned(day)
        outcome = outcome_of(day, planned)
        if planned and outcome.verb == "sent":
            self._send(day, planned.line, planned.box)
        return outcome

    def _planned(self, day: Day) -> Plan | None:
        """What is to be sent, written down where it is new. Raises ConflictError where the day was scored meanwhile."""
        what = f"{self.name} of {self.case.name} {day.day}"
        with commit.committing():
            planned = plan(self.case, self.name, self.size, day)
            if planned and planned.is_new:
                commit.require_unchanged({f"gold.{self.case.predictions_table}": day.sequence.version}, what)
                box = ledger.outbox_change(self.case, self.name, day.day, planned.box)
                line = ledger.change(self.case, replace(planned.line, run=self.run))
                commit.commit_all([box, line], f"{what}, revision {planned.line.revision}")
        return planned

    def _send(self, day: Day, line: Line, box: pl.DataFrame) -> None:
        if self._sender is None:
            self._sender = self._open()
        done = written = line.done
        said = time.monotonic()
        try:
            for batch in batches(day, line, box):
                self._sender.send(batch)
                done = batch.number + 1
                if time.monotonic() - said > CHECKPOINT:
                    ledger.append(self.case, replace(line, done=done, run=self.run))
                    written, said = done, time.monotonic()
        finally:
            if done > written:
                ledger.append(self.case, replace(line, done=done, run=self.run))


@dataclass(frozen=True)
class Plan:
    """The line of what a target is to have of a day, its outbox then, and whether that is written down yet."""

    line: Line
    box: pl.DataFrame
    is_new: bool


def outcome_of(day: Day, planned: Plan | None) -> Outcome:
    """What comes of a day by its plan."""
    if planned is None:
        return Outcome("nothing")
    line = planned.line
    if line.content != day.content:
        return Outcome("newer", line.revision)
    if line.is_done and not planned.is_new:
        return Outcome("same", line.revision, day.rows.height, line.changed, line.gone)
    return Outcome("sent", line.revision, day.rows.height, line.changed, line.gone, begun=not planned.is_new)


def plan(case: UseCase, name: str, size: int, day: Day) -> Plan | None:
    """What the target is to have of ``day``: what was begun, or what it has, where the content is the same.

    None where the day has no predictions and never had any there.
    """
    last, box = ledger.last(case, name, day.day), ledger.outbox(case, name, day.day)
    if last is None and not day.rows.height:
        return None
    if last is not None and (last.content == day.content or last.state > day.sequence):
        return Plan(last, box, is_new=False)
    revision = last.revision + 1 if last else 1
    # What an earlier revision was to bring and perhaps did not, is in this one, changed or not.
    unsaid = (pl.col(REVISION) == last.revision) & (pl.col("batch") >= last.done) if last else pl.lit(False)
    before = box.with_columns(unsaid.alias("_unsaid"))
    now = day.marked.join(before, on=KEY, how="left")
    is_new = pl.col("hash").is_null() | (pl.col("hash") != pl.col(HASH)) | pl.col("gone") | pl.col("_unsaid")
    changed = now.filter(is_new).select(KEY, pl.col(HASH).alias("hash"), pl.lit(False).alias("gone"))
    left = before.join(day.marked, on=KEY, how="anti").filter(~pl.col("gone") | pl.col("_unsaid"))
    gone = left.select(KEY, "hash", pl.lit(True).alias("gone"))
    events = pl.concat([changed, gone]).sort(KEY).with_row_index("_number")
    events = events.select(
        pl.lit(name).alias("target"),
        pl.lit(day.day).alias("prediction_day"),
        KEY,
        "hash",
        pl.lit(revision, pl.Int32).alias(REVISION),
        "gone",
        (pl.col("_number") // size).cast(pl.Int32).alias("batch"),
    ).select(*ledger.OUTBOX)
    kept = box.join(events, on=KEY, how="anti")
    line = Line(
        target=name,
        prediction_day=day.day,
        revision=revision,
        content=day.content,
        created=day.sequence.created,
        version=day.sequence.version,
        rows=day.rows.height,
        changed=changed.height,
        gone=gone.height,
        batches=-(-events.height // size),
        done=0,
    )
    return Plan(line, pl.concat([kept, events]).sort(KEY), is_new=True)


def batches(day: Day, line: Line, box: pl.DataFrame) -> Iterator[Batch]:
    """What the target has not said yes to yet, in order."""
    rows = day.rows.hstack(day.marked.select(KEY))
    for number in range(line.done, line.batches):
        those = box.filter((pl.col(REVISION) == line.revision) & (pl.col("batch") == number)).sort(KEY)
        found = those.join(rows, on=KEY, how="left", maintain_order="left")
        events = [
            event(row, day.rows.columns, line.revision, is_gone=gone)
            for row, gone in zip(found.iter_rows(named=True), those["gone"], strict=True)
        ]
        yield Batch(day.case.name, str(day.day), line.revision, line.content, number, line.batches, events)


def event(row: Event, columns: list[str], revision: int, *, is_gone: bool) -> Event:
    """A row as an event. Values are as JSON has them; of one that is gone there is the key alone."""
    own = None if is_gone else {name: plain(row[name]) for name in columns} | {REVISION: revision}
    return {"key": json.loads(row[KEY]), REVISION: revision, "deleted": is_gone, "row": own}


def plain(value: Any) -> Any:
    """A value of a table as JSON can have it."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
