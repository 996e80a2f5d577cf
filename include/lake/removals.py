"""The ledger of removals: what maintenance took out of the lake, when, and in which run. Append-only.

A removal is written down before it happens, with the files it names, and again when it is through. A kill in between
leaves a line that was begun and not finished; the next step of maintenance looks at what is left of its files and
closes it with what has really gone. Written only afterwards, a kill would leave a removal that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Literal
from uuid import uuid4

import polars as pl

from include.lake import chain, delta, usage

type Kind = Literal["compaction", "retention", "vacuum", "sweep", "drop"]

LAYER, NAME = "ledger", "removals"

SCHEMA: dict[str, pl.DataType] = {
    "removal": pl.String(),  # joins the lines of one removal
    "state": pl.String(),  # begun, done, interrupted (it was closed by a later step)
    "at": pl.Datetime("us", "UTC"),
    "run": pl.String(),
    "what": pl.String(),
    "table": pl.String(),
    "first_day": pl.Date(),
    "last_day": pl.Date(),
    "predicate": pl.String(),
    "files": pl.Int64(),
    "bytes": pl.Int64(),
    "rows": pl.Int64(),
    "paths": pl.List(pl.String()),
}


@dataclass(frozen=True)
class Removal:
    """What goes, or went.

    Attributes:
        first_day, last_day, predicate: of a retention: the days that go, and the condition that names their rows.
        rows: that nobody can read any more; 0 where only copies and older versions go, None where nobody counted.
        paths: its files, within the table's folder.
    """

    what: Kind
    table: str
    files: int
    bytes: int
    rows: int | None = 0
    first_day: date | None = None
    last_day: date | None = None
    predicate: str = ""
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        days = f" of {self.first_day} to {self.last_day}" if self.first_day else ""
        rows = f", {self.rows} rows" if self.rows else ""
        return f"{self.what} of {self.table}: {self.files} files{days}, {self.bytes / 1e6:.1f} MB{rows}"


def _append(identity: str, state: str, run: str, removal: Removal) -> None:
    line = {"removal": identity, "state": state, "at": datetime.now(UTC), "run": run} | asdict(removal)
    lines = pl.DataFrame([line | {"paths": list(removal.paths)}], schema=SCHEMA)
    chain.append(f"{LAYER}.{NAME}", lines, f"the removal {identity}")


@contextmanager
def recorded(removal: Removal, run: str) -> Iterator[None]:
    """Around a removal: a line before it, and another one after it went well."""
    identity = uuid4().hex
    _append(identity, "begun", run, removal)
    yield
    _append(identity, "done", run, replace(removal, paths=()))


def read() -> pl.DataFrame:
    """The whole ledger, oldest line first; empty where nothing was ever removed."""
    if not delta.exists(LAYER, NAME):
        return pl.DataFrame(schema=SCHEMA)
    return delta.read_all(LAYER, NAME).sort("at")


def _open() -> list[dict[str, Any]]:
    lines = read()
    closed = lines.filter(pl.col("state") != "begun")["removal"]
    return lines.filter((pl.col("state") == "begun") & ~pl.col("removal").is_in(closed.implode())).to_dicts()


def _removal(line: dict[str, Any]) -> Removal:
    known = {name: line[name] for name in Removal.__dataclass_fields__}
    return Removal(**known | {"paths": tuple(line["paths"])})


def unfinished() -> list[Removal]:
    """What was begun and neither finished nor closed: it is under way, or was killed."""
    return [_removal(line) for line in _open()]


def settle(run: str) -> list[Removal]:
    """Close what an earlier try began and did not finish, with what of it has gone. Returns what was closed.

    Only one step of maintenance runs at a time, so that what is open was killed. What is left is planned anew.
    """
    closed = []
    for line in _open():
        gone = what_has_gone(_removal(line))
        _append(line["removal"], "interrupted", run, gone)
        closed.append(gone)
    return closed


def what_has_gone(removal: Removal) -> Removal:
    """The part of a removal that has happened.

    A commit, which takes files out of the newest version, has happened or has not; of a deletion of files some may
    be left.
    """
    folder = usage.path_of(removal.table)
    if removal.what in ("retention", "compaction"):
        left = set(removal.paths) & set(usage.files_of(usage.opened(removal.table))["path"])
    else:
        left = {path for path in removal.paths if (folder / path).exists()}
    return replace(
        removal,
        files=removal.files - len(left),
        bytes=removal.bytes - usage.size(folder / path for path in left),
        rows=0 if left else removal.rows,
        paths=(),
    )
