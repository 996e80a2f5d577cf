"""What the lake holds: its tables, whether they are as they were published, what is in quarantine, its layout.

What each command needs is imported when it runs: ``migrate`` is a step of every start.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from datetime import date

from rich.table import Table

from include.cli.console import console, show
from include.cli.options import day, flag
from include.core.settings import settings

SHOWN = 20
"""So many problems of a kind are shown one by one."""
WORD = 12
"""So many digits of what a table holds are enough to tell two lakes apart."""


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


def lake(given: argparse.Namespace) -> int:
    """Print a row a table, then what maintenance has removed and what it did not come to finish."""
    from include.lake import publications, removals, usage

    found, content = usage.report(), publications.held()
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("table", "rows", "files", "small", "MB", "MB on disk", "version", "content"):
        shown.add_column(name, justify="left" if name == "table" else "right")
    for one in found["tables"]:
        rows = "" if one["rows"] is None else str(one["rows"])
        counts = (rows, str(one["files"]), str(one["small"]), megabytes(one["bytes"]), megabytes(one["disk_bytes"]))
        shown.add_row(one["table"], *counts, str(one["version"]), content.get(one["table"], "")[:WORD])
    left = found["candidates"]
    shown.add_row("candidate.*", "", "", "", "", megabytes(left["bytes"]), f"{left['tables']} tables", "")
    show(shown)
    for removal in removals.unfinished():
        console.print(f"[red]begun and not finished[/red]: {removal}")
    return 0


def verify(given: argparse.Namespace) -> int:
    """0 where all is well, 1 where something is not."""
    from include.governance.verify import verify

    begun = time.monotonic()
    found = verify()
    for what, problems in found.items():
        print(f"{'ok' if not problems else 'NOT':4}{what}")
        for problem in problems[:SHOWN]:
            print(f"      {problem}")
        if len(problems) > SHOWN:
            print(f"      and {len(problems) - SHOWN} more")
    number = sum(map(len, found.values()))
    word = f"{number} problems" if number else "all is as it was published"
    print(f"{settings().lake_uri or settings().lake}: {word} ({time.monotonic() - begun:.1f} s)")
    return 1 if number else 0


def quarantine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True)
    parser.add_argument("--feed", default="", help="this one alone")
    parser.add_argument("--from", dest="first", type=day, default=date.min, help="first night")
    parser.add_argument("--to", dest="last", type=day, default=date.max, help="last night, included")
    flag(parser, "--all", "show what is personal as well")


def quarantine(given: argparse.Namespace) -> int:
    """Print the report of a source as JSON."""
    from include.governance.quarantine import report
    from include.sources import source

    of = source(given.source)
    feeds = [of.feed(given.feed)] if given.feed else of.feeds
    print(json.dumps(asdict(report(of, feeds, given.first, given.last, shows_all=given.all))))
    return 0


def migrate_arguments(parser: argparse.ArgumentParser) -> None:
    flag(parser, "--dry-run", "say what would be done, and do nothing")


def migrate(given: argparse.Namespace) -> int:
    """Print a line for each table. Raises NewerLakeError, UnknownTableError."""
    from include.lake.migrations import migrate

    for line in migrate(given.dry_run):
        print(line)
    return 0
