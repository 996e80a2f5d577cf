"""The unit of everything: one night, or a range of nights.

A partition is a business day. Its key is ``YYYY-MM-DD``; a range of days that is processed as one unit, as history
is, has the key ``YYYY-MM-DD..YYYY-MM-DD``. :func:`of_run` is the only way a task learns its dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from include.errors import NeedsAttentionError

SEPARATOR = ".."

ANNOUNCED = "announced"
"""The XCom in which a task leaves the partition keys that its asset event carries."""

HOW_TO_GIVE_ONE = (
    "Give the run its day: a partition key such as 2013-06-01 in the Trigger dialog, the parameters `from` and `to` "
    "for a range, or `make backfill from=2013-06-01 to=2013-06-07`."
)


class NoPartitionError(NeedsAttentionError):
    """The run was started without saying which day or days it is for."""


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
        """The partitions of a key, ``2013-06-01`` or ``2013-01-01..2013-05-31``. Raises ValueError naming the key."""
        first, _, last = key.partition(SEPARATOR)
        try:
            return cls(date.fromisoformat(first), date.fromisoformat(last or first))
        except ValueError as error:
            raise ValueError(f"{key!r} is no partition key (YYYY-MM-DD or YYYY-MM-DD..YYYY-MM-DD): {error}") from None

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


def of_run(context: Mapping[str, Any]) -> Partitions:
    """The partitions an Airflow run is for: its partition key, or its parameters ``from`` and ``to``.

    Raises NoPartitionError, saying how to give one, where the run has neither.
    """
    run = context["dag_run"]
    if run.partition_key:
        return Partitions.parse(run.partition_key)
    params = context["params"]
    first, last = params.get("from"), params.get("to")
    if not (first or last):
        raise NoPartitionError(f"run {run.run_id} of {run.dag_id} has no partition. {HOW_TO_GIVE_ONE}")
    return Partitions.parse(f"{first or last}{SEPARATOR}{last or first}")
