"""The audit log: who logged in, decided, changed or removed what."""

from __future__ import annotations

import argparse
import getpass
import json
from datetime import UTC, date, datetime, time

import polars as pl
from rich.table import Table

from include.cli.console import console, show
from include.cli.options import day, flag


def audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=day, default=date.min, help="first day, UTC (all)")
    parser.add_argument("--who", default="", help="of this account alone, or of names with this in them")
    parser.add_argument("--action", default="", help="of this kind alone, as login or promotion")
    flag(parser, "--json", "one JSON object a line")
    flag(parser, "--anchor", "take the log for whole as it is, after the lake was put back from an older backup")


def audit(given: argparse.Namespace) -> int:
    """Print the log, the newest last. 0 where it is as it was written, else 1, with what is not."""
    from include.governance import decisions
    from include.lake import audit as log

    if given.anchor:
        log.anchor_anew(getpass.getuser())
    decisions.collect()  # those that were made a moment ago
    rows = log.read(datetime.combine(given.since, time(), UTC) if given.since > date.min else None)
    rows = rows.filter(pl.col("who").str.contains(given.who, literal=True)) if given.who else rows
    rows = rows.filter(pl.col("action") == given.action) if given.action else rows
    rows = rows.sort("happened_at", "line")
    problems = [*log.broken(), *decisions.cut_off()]
    if given.json:
        for row in rows.iter_rows(named=True):
            print(json.dumps(row, default=str))
    else:
        show(_table(rows))
    for problem in problems:
        console.print(f"[red]NOT as it was written[/red]: {problem}")
    return int(bool(problems))


def _table(rows: pl.DataFrame) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("when (UTC)", "action", "on", "who", "detail", "ledger"):
        shown.add_column(name)
    for row in rows.iter_rows(named=True):
        pointer = f"{row['ledger']} line {row['ledger_line']}" if row["ledger"] else ""
        moment = f"{row['happened_at']:%Y-%m-%d %H:%M:%S}"
        shown.add_row(moment, row["action"], row["subject"], row["who"], row["detail"], pointer)
    return shown
