"""Ledgers: tables that are only ever added to, whose lines are sealed one to the next.

Each line has its ``line`` number and a ``seal``: a hash of itself and of the seal before it. A line that is edited,
taken out or put in between is found by whoever goes through the chain (``make verify``). It is no protection from
somebody who writes all seals anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

import polars as pl
from deltalake.exceptions import DeltaError

from include.lake import commit, delta

log = logging.getLogger(__name__)

SEALS: dict[str, pl.DataType] = {"line": pl.Int64(), "seal": pl.String()}
FIRST = ""
"""What the first line is sealed to."""
MANY_FILES = 32
"""So many files of a ledger become one before the next is added: who reads a ledger opens all of them."""


def change(table: str, lines: pl.DataFrame) -> commit.Change:
    """The change that adds ``lines`` to the ledger ``table``, sealed. Hold the lake's lease.

    Each change is a file, and a night makes several. Where there are many, they are merged first, by a commit of its
    own that changes no line: what a night reads must not grow with the nights before it.
    """
    merge_files(table)
    return commit.frame_change(table, sealed(lines, *last(table)), [], lambda values: False)


def merge_files(table: str) -> None:
    """Have the ledger ``table`` lie in one file, where it lies in ``MANY_FILES`` or more. Hold the lake's lease."""
    layer, name = table.split(".")
    if not delta.exists(layer, name):
        return
    there = delta.opened(layer, name)
    if len(there.file_uris()) < MANY_FILES:
        return
    try:
        there.optimize.compact()
    except DeltaError as error:  # somebody who holds no lease has written: the next line tries again
        log.warning("the files of %s were not merged: %s", table, error)


def append(table: str, lines: pl.DataFrame, what: str) -> None:
    """Add ``lines`` to the ledger ``table``, which is made where it is missing."""
    with commit.committing():
        commit.commit_all([change(table, lines)], what)


def last(table: str) -> tuple[int, str]:
    """The number and the seal of a ledger's last line."""
    layer, name = table.split(".")
    if not delta.exists(layer, name):
        return 0, FIRST
    rows = delta.scan(layer, name)
    if "seal" not in rows.collect_schema().names():
        return 0, FIRST
    found = rows.select(SEALS.keys()).drop_nulls().sort("line").tail(1).collect()
    return (found["line"][0], found["seal"][0]) if found.height else (0, FIRST)


def sealed(lines: pl.DataFrame, number: int, seal: str) -> pl.DataFrame:
    """``lines`` with their numbers and seals, following the line ``number`` that has ``seal``."""
    seals = []
    for row in lines.iter_rows(named=True):
        seal = _seal(seal, row)
        seals.append(seal)
    numbers = range(number + 1, number + 1 + lines.height)
    return lines.with_columns(pl.Series("line", numbers, pl.Int64), pl.Series("seal", seals, pl.String))


def broken(lines: pl.DataFrame) -> list[str]:
    """Where the chain of a whole ledger does not hold, in words; empty where it does.

    Lines of before there were seals have none and are passed over.
    """
    if "seal" not in lines.columns:
        return []
    problems, seal, number = [], FIRST, 0
    for row in lines.filter(pl.col("line").is_not_null()).sort("line").iter_rows(named=True):
        if row["line"] != number + 1:
            what = "is there twice" if row["line"] <= number else f"follows line {number}"
            problems.append(f"line {row['line']} {what}: a line was taken out or put in")
        elif row["seal"] != _seal(seal, {name: row[name] for name in row if name not in SEALS}):
            problems.append(f"line {row['line']} is not as it was written: {_shown(row)}")
        # From here on by what is there, so that one edited line is one problem.
        seal, number = row["seal"], row["line"]
    return problems


def _seal(before: str, row: dict[str, Any]) -> str:
    # Without nulls: a column that comes later must not break the lines that lack it.
    values = {name: value for name, value in row.items() if value is not None}
    return hashlib.sha256(f"{before}{json.dumps(values, sort_keys=True, default=str)}".encode()).hexdigest()


def _shown(row: dict[str, Any]) -> str:
    named = [f"{name} {value}" for name, value in row.items() if value is not None and name not in SEALS]
    return ", ".join(named[:4])
