"""The unit of everything: one night, or a range of nights.

A partition is a business day. Its key is ``YYYY-MM-DD``; a range of days that is processed as one unit, as history
is, has the key ``YYYY-MM-DD..YYYY-MM-DD``. :func:`of_run` is the only way a task learns its dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from include.core.errors import BadRequestError, NeedsAttentionError

SEPARATOR = ".."

ANNOUNCED = "announced"
"""The XCom in which a task leaves the partition keys that its asset event carries."""

MOST_DAYS = 7_400  # some twenty years: a range that is longer has a slip in one of its years

HOW_TO_GIVE_ONE = (
    "Give the run its day: a partition key such as 2013-06-01 in the Trigger dialog, the parameters `from` and `to` "
    "for a range, or `make backfill from=2013-06-01 to=2013-06-07`."
)


class NoPartitionError(NeedsAttentionError):
    """The run was started without saying which day or days it is for."""


class BadPartitionError(BadRequestError, ValueError):
    """What should name a run's days does not, or names such as cannot be. Says what was given and how it is written."""


@dataclass(frozen=True, order=True)
class Partitions:
    """The days ``first`` to ``last``, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"a range of days ends before it begins: {self.first} to {self.last}")

    @classmethod
    def parse(cls, key: str) -> Partitions:
        """The partitions of a key, ``2013-06-01`` or ``2013-01-01..2013-05-31``. Raises BadPartitionError naming it."""
        first, _, last = key.partition(SEPARATOR)
        try:
            found = cls(_day(first), _day(last or first))
        except ValueError as error:
            raise BadPartitionError(
                f"{key[:60]!r} is no partition key (YYYY-MM-DD or YYYY-MM-DD..YYYY-MM-DD): {error}"
            ) from None
        if (days := (found.last - found.first).days + 1) > MOST_DAYS:
            raise BadPartitionError(f"{key!r} are {days} days, more than {MOST_DAYS}: is one of its years mistyped?")
        return found

    @property
    def key(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}{SEPARATOR}{self.last}"

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(n) for n in range((self.last - self.first).days + 1)]

    def shift(self, days: int) -> Partitions:
        """The same number of days, ``days`` later."""
        return Partitions(self.first + timedelta(days), self.last + timedelta(days))

    def __str__(self) -> str:
        return self.key


def _day(text: str) -> date:
    """A day as keys have it. Python would also take 20130601 and 2013-W22-6, which no other part writes."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(f"{text[:30]!r} is not written as YYYY-MM-DD")
    return date.fromisoformat(text)


def ranges(days: Iterable[date]) -> list[Partitions]:
    """``days``, in order, as ranges of days that follow each other."""
    found: list[Partitions] = []
    for day in days:
        if found and day == found[-1].last + timedelta(1):
            found[-1] = Partitions(found[-1].first, day)
        else:
            found.append(Partitions(day, day))
    return found


def require_past(nights: Partitions) -> None:
    """Raise BadPartitionError where ``nights`` reach into days that have not begun anywhere on earth."""
    today = datetime.now(UTC).date()
    if nights.last > today + timedelta(1):
        raise BadPartitionError(
            f"{nights} reaches into the future (today is {today}): a night can be run once its day is over"
        )


def of_run(context: Mapping[str, Any]) -> Partitions:
    """The partitions an Airflow run is for: its partition key, or its parameters ``from`` and ``to``.

    Raises NoPartitionError, saying how to give one, where the run has neither, and BadPartitionError where it is none.
    """
    run = context["dag_run"]
    nights = Partitions.parse(run.partition_key) if run.partition_key else _of_params(run, context["params"])
    require_past(nights)
    return nights


def _of_params(run: Any, params: Mapping[str, Any]) -> Partitions:
    first, last = params.get("from"), params.get("to")
    if not (first or last):
        raise NoPartitionError(f"run {run.run_id} of {run.dag_id} has no partition. {HOW_TO_GIVE_ONE}")
    return Partitions.parse(f"{first or last}{SEPARATOR}{last or first}")
