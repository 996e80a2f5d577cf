"""What the feature gate has refused, and what of it a person has accepted since the world has really changed so.

Both are lines of a sealed ledger, ``gold.<case>__faults``. An acceptance is of what was shown: of that feature on that
day, in those aspects, and hardly any farther. Anything else of the day is refused as before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.core.lease import lease
from include.core.partitions import Partitions
from include.lake import chain
from include.ml import record
from include.quality.faults import Accepted, Fault

type Word = Literal["refuse", "accept", "fail"]

GATE = "the feature gate"

SCHEMA: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "event_date": pl.Date(),
    "feature": pl.String(),
    "word": pl.String(),
    "kind": pl.String(),
    "changes": pl.String(),  # JSON: by aspect how far
    "said": pl.String(),
    "who": pl.String(),
    "why": pl.String(),
    "said_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Line:
    """One line of the ledger.

    Attributes:
        partition_day: the night that made the features of ``event_date``.
        word: ``refuse``, by the gate, or ``accept``, by a person; ``fail`` where the rows of a day break the
            expectations of the spec, which nobody can accept, and is of no feature by itself.
        kind, changes, said: what was refused, as it was told.
    """

    partition_day: date
    event_date: date
    feature: str
    word: Word
    kind: str
    changes: dict[str, float]
    said: str
    who: str
    why: str
    said_at: datetime

    @property
    def of(self) -> tuple[date, str]:
        return (self.event_date, self.feature)


class NothingRefusedError(BadRequestError):
    """Nothing was refused that could be accepted; the message says what was."""


def night_of(case: UseCase, day: date) -> date:
    """The night that makes the features of an event date."""
    return day - timedelta(case.horizon_days)


def read(case: UseCase) -> list[Line]:
    """The whole ledger, in its order. Raises BrokenLedgerError."""
    rows = record.lines(f"gold.{case.faults_table}", SCHEMA)
    return [Line(**row | {"changes": json.loads(row["changes"])}) for row in rows.iter_rows(named=True)]


def of_days(case: UseCase, days: Collection[date]) -> Accepted:
    """What was accepted of ``days``: by day and feature, of each aspect how far."""
    found: dict[tuple[date, str], dict[str, float]] = {}
    for line in read(case):
        if line.word == "accept" and line.event_date in days:
            known = found.setdefault(line.of, {})
            known |= {name: max(far, known.get(name, 0.0)) for name, far in line.changes.items()}
    return found


def refuse(case: UseCase, found: Sequence[Fault]) -> None:
    """Write down what the gate refuses. What it has refused in the same words already is not written again."""
    if not found:
        return
    with _taking_turns(case):
        last = {line.of: line for line in read(case)}
        new = [
            Line(
                night_of(case, one.day),
                one.day,
                one.feature,
                "refuse",
                one.kind,
                one.changes,
                one.said,
                GATE,
                "",
                _now(),
            )
            for one in found
            if (known := last.get((one.day, one.feature))) is None or (known.word, known.said) != ("refuse", one.said)
        ]
        _append(case, new, f"what the feature gate of {case.name} refuses")


def fail(case: UseCase, days: Collection[date], said: str) -> None:
    """Write down that the rows of ``days`` broke the expectations of the spec, where that is not written already."""
    with _taking_turns(case):
        known = {line.event_date for line in read(case) if line.word == "fail"}
        new = [
            Line(night_of(case, day), day, "", "fail", "expectations", {}, said, GATE, "", _now())
            for day in sorted(set(days) - known)
        ]
        _append(case, new, f"what the feature gate of {case.name} refuses")


def refused(case: UseCase, nights: Partitions) -> list[Line]:
    """Of each feature and day of ``nights`` what was refused last, and not accepted since."""
    last = {line.of: line for line in read(case) if nights.first <= line.partition_day <= nights.last}
    return [line for line in last.values() if line.word == "refuse"]


def plan(case: UseCase, nights: Partitions, features: Collection[str]) -> list[Line]:
    """What accepting ``features`` of ``nights`` would let through; nothing is written. Raises NothingRefusedError."""
    there = refused(case, nights)
    found = [line for line in there if line.feature in features]
    if absent := sorted(set(features) - {line.feature for line in found}):
        others = sorted({line.feature for line in there} - set(features))
        known = (
            f"refused, and not accepted yet, are: {', '.join(others)}" if others else "nothing else is refused there"
        )
        raise NothingRefusedError(
            f"of {nights} the feature gate of {case.name} has refused no {', '.join(absent)}: {known}"
        )
    return found


def accept(case: UseCase, nights: Partitions, features: Collection[str], who: str, why: str) -> list[Line]:
    """Let ``features`` of ``nights`` through at the next try. Returns what was accepted. Raises NothingRefusedError."""
    with _taking_turns(case):
        found = [replace(one, word="accept", who=who, why=why, said_at=_now()) for one in plan(case, nights, features)]
        _append(case, found, f"what {who} accepts of {case.name}")
    return found


def _taking_turns(case: UseCase) -> AbstractContextManager[None]:
    return lease(f"faults of {case.name}")


def _now() -> datetime:
    return datetime.now(UTC)


def _append(case: UseCase, lines: Sequence[Line], what: str) -> None:
    rows = [asdict(line) | {"changes": json.dumps(line.changes, sort_keys=True)} for line in lines]
    if rows:
        chain.append(f"gold.{case.faults_table}", pl.DataFrame(rows, schema=SCHEMA), what)
