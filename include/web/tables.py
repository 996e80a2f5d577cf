"""Tables of the lake as pages read them: opened once, and what was read is kept until somebody commits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from threading import Lock
from typing import Any, cast

import polars as pl
from deltalake.exceptions import DeltaError

from include.lake import delta
from include.lake.tail import OtherTableError, Tail, advance, opened

MOST_KEPT = 300
"""So many answers are kept, the least used go first: what a page draws of a use case takes some 100 KiB."""


@dataclass
class _Open:
    tail: Tail
    turn: Lock = field(default_factory=Lock)


@dataclass(frozen=True)
class _Lines:
    """The lines of a ledger, as of ``version``, whose ``column`` is ``low`` or more."""

    version: int
    low: Any
    rows: pl.DataFrame


class Tables:
    """Reads the lake for pages. Threads may share one.

    A commit is noticed at the next question, for the price of a look at the table's log. A table that is not there is
    None, and one that is broken raises what ``delta.opened`` does.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._lines: dict[Any, _Lines] = {}
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

    def version(self, table: str) -> int | None:
        """The newest version of ``table``, which is ``<layer>.<name>``; None where there is no such table."""
        there = self._looked_at(table)
        return None if there is None else there.tail.version

    def _looked_at(self, table: str) -> _Open | None:
        with self._turn:
            there = self._open.get(table)
        if self._looked is not None:
            if there is not None and table in self._looked:
                return there
            self._looked.add(table)
        if there is not None:
            with there.turn:
                try:
                    advance(there.tail)
                    return there
                except OtherTableError:
                    with self._turn:
                        self._open.pop(table, None)
        try:
            found = _Open(opened(*cast("tuple[str, str]", tuple(table.split(".")))))
        except delta.TableMissingError:
            return None
        with self._turn:
            self._open[table] = found
        return found

    def kept[Answer](self, key: Any, made_of: Sequence[str], make: Callable[[], Answer]) -> Answer:
        """What ``make`` gives, once for each version of the tables that it is ``made_of``."""
        try:
            versions = tuple(self.version(table) for table in made_of)
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
        there = self._looked_at(table)
        if there is None:
            return []
        with there.turn:
            return there.tail.days()

    def scan(self, table: str) -> pl.LazyFrame | None:
        """All rows of ``table`` in the columns that it has; None where there is no such table."""
        there = self._looked_at(table)
        if there is None:
            return None
        with there.turn:
            return _scan(table, there.tail, None)

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
        what else they must be. Where the column is what the table is partitioned by, other days' files are not read.
        """
        wanted = {name: schema[name] for name in columns or schema}
        there = self._looked_at(table)
        if there is None:
            return pl.DataFrame(schema=wanted)
        with there.turn:
            scan = _scan(table, there.tail, between)
        if between is not None:
            scan = scan.filter(pl.col(between[0]).is_between(between[1], between[2]))
        if only is not None:
            scan = scan.filter(only)
        return _in(scan, wanted).collect()

    def lines(
        self, table: str, schema: Mapping[str, pl.DataType], columns: Sequence[str], since: tuple[str, Any]
    ) -> pl.DataFrame:
        """Lines of a ledger in the ``columns`` of ``schema``, from a value of a column on; that is one of them.

        Lines that are new are read, and nothing again: a ledger is only added to. Who asks for earlier ones than were
        asked for before has all read anew.
        """
        column, low = since
        key, own = ("lines", table, tuple(columns), column), {name: schema[name] for name in columns}
        there = self._looked_at(table)
        if there is None:
            return pl.DataFrame(schema=own)
        with self._turn:
            known = self._lines.get(key)
        with there.turn:
            version, is_led_on = there.tail.version, known is not None and known.low <= low and there.tail.is_plain
            new = there.tail.since(known.version) if known and is_led_on else None
            scan = _scan(table, there.tail, None) if new is None else there.tail.scan(new) if new else None
        parts = [known.rows.filter(pl.col(column) >= low)] if known and new is not None else []
        if scan is not None:
            parts.append(_in(scan.filter(pl.col(column) >= low), own).collect())
        found = pl.concat(parts, rechunk=len(parts) > 1)
        with self._turn:
            self._lines[key] = _Lines(version, low, found)
        return found


def _scan(table: str, tail: Tail, between: tuple[str, date, date] | None) -> pl.LazyFrame:
    """The rows of a table, at least those ``between``."""
    if not tail.is_plain:
        return delta.scan(*cast("tuple[str, str]", tuple(table.split("."))))
    return tail.scan(tail.of_days(*between[1:]) if between and between[0] == tail.day else tail.files)


def _in(scan: pl.LazyFrame, wanted: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """``scan`` in some columns and types; what it has not is null."""
    there = scan.collect_schema()
    return scan.select(
        (pl.col(name) if name in there else pl.lit(None)).cast(kind).alias(name) for name, kind in wanted.items()
    )
