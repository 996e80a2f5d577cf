"""Tables of the lake as pages read them: opened once, and what was read is kept until somebody commits."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from typing import Any, cast

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from include.lake import delta

MOST_KEPT = 300
"""So many answers are kept, the least used go first: what a page draws of a use case takes some 100 KiB."""

REOPEN_SECONDS = 600.0
"""A table is opened anew after so long: one that was removed and made again counts its versions from 0."""


@dataclass
class _Open:
    table: DeltaTable
    at: float
    turn: Lock = field(default_factory=Lock)


class Tables:
    """Reads the lake for pages. Threads may share one.

    A commit is noticed at the next question, for the price of a look at the table's log. A table that is not there is
    None, and one that is broken raises what ``delta.opened`` does.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._looked: set[str] | None = None
        self._turn = Lock()

    @contextmanager
    def once(self) -> Iterator[None]:
        """While this lasts, each table is looked at once: all that is asked is of one moment. For one thread."""
        self._looked = set()
        try:
            yield
        finally:
            self._looked = None

    def opened(self, table: str) -> DeltaTable | None:
        """The newest version of ``table``, as ``<layer>.<name>``."""
        with self._turn:
            there = self._open.get(table)
        if self._looked is not None:
            if there is not None and table in self._looked:
                return there.table
            self._looked.add(table)
        if there is not None and time.monotonic() - there.at < REOPEN_SECONDS:
            with there.turn:
                try:
                    there.table.update_incremental()
                    return there.table
                except DeltaError:
                    pass  # opened anew, it says what is wrong with it
        try:
            found = delta.opened(*cast("tuple[str, str]", tuple(table.split("."))))
        except delta.TableMissingError:
            with self._turn:
                self._open.pop(table, None)
            return None
        with self._turn:
            self._open[table] = _Open(found, time.monotonic())
        return found

    def kept[Answer](self, key: Any, made_of: Sequence[str], make: Callable[[], Answer]) -> Answer:
        """What ``make`` gives, once for each version of the tables that it is ``made_of``."""
        try:
            versions = tuple(there.version() if (there := self.opened(table)) else None for table in made_of)
        except DeltaError:  # who makes it says which table is broken; it may be mended any moment
            return make()
        name = (key, tuple(made_of), versions)
        with self._turn:
            if name in self._kept:
                self._kept.move_to_end(name)
                return cast("Answer", self._kept[name])
        found = make()
        with self._turn:
            self._kept[name] = found
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return found

    def days(self, table: str) -> list[date]:
        """The days that ``table`` is partitioned by and has rows of, rising; none where there is no such table."""
        return self.kept("days", [table], lambda: _days(self.opened(table)))

    def rows(
        self,
        table: str,
        schema: Mapping[str, pl.DataType],
        columns: Sequence[str] = (),
        between: tuple[str, date, date] | None = None,
        only: pl.Expr | None = None,
    ) -> pl.DataFrame:
        """Rows of ``table`` in the ``columns`` of ``schema``, all by default; empty where there is no such table.

        What an earlier release did not store is null. ``between`` has a column and its first and last day; ``only`` is
        what else they must be.
        """
        wanted = {name: schema[name] for name in columns or schema}
        empty, there = pl.DataFrame(schema=wanted), self.opened(table)
        if there is None:
            return empty
        scan = pl.scan_delta(there)
        names = scan.collect_schema().names()
        if between is not None:
            scan = scan.filter(pl.col(between[0]).is_between(between[1], between[2]))
        if only is not None:
            scan = scan.filter(only)
        found = scan.select(name for name in wanted if name in names).collect()
        return pl.concat([empty, found.cast({name: wanted[name] for name in found.columns})], how="diagonal")


def _days(there: DeltaTable | None) -> list[date]:
    if there is None:
        return []
    (day, *_) = there.metadata().partition_columns
    files = pl.DataFrame(there.get_add_actions(flatten=True))
    return sorted(set(files[f"partition.{day}"].drop_nulls()))
