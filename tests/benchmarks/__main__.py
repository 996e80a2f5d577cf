"""``make bench``: ours beside a named peer, in the same run. Ratios, medians and spread, to var/report/bench.json."""

from __future__ import annotations

import argparse
import json
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from include.settings import settings
from tests.benchmarks import ingest


def summary(comparison: dict[str, Any]) -> dict[str, Any]:
    """Medians and extremes of each side, and of the ratio within a turn."""
    totals = {name: [sum(turn.values()) for turn in turns] for name, turns in comparison["turns"].items()}
    totals["ratio"] = [a / b for a, b in zip(totals["ours"], totals["bare"], strict=True)]
    return {
        name: {"median": round(median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}
        for name, values in totals.items()
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000_000], help="rows of the file")
    arguments.add_argument("--turns", type=int, default=3)
    given = arguments.parse_args()
    console = Console(width=110)
    report: dict[str, Any] = {}
    for rows in given.rows:
        console.print(f"CSV to published bronze, {rows:,} rows")
        comparison = ingest.compare(rows, given.turns, console.print)
        report[f"ingest_{rows}"] = comparison | {"summary": summary(comparison)}
    shown = Table(title="Landing file to published bronze, beside a bare PySpark-to-Delta write")
    for name in ("rows", "ours", "bare", "ratio"):
        shown.add_column(name, justify="right")
    for one in report.values():
        cells = [
            f"{found['median']:g} ({found['min']:g} to {found['max']:g})"
            for found in (one["summary"][name] for name in ("ours", "bare", "ratio"))
        ]
        shown.add_row(f"{one['rows']:,}", *cells)
    console.print(shown)
    path = settings().report / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1))
    console.print(f"all figures: {path}")


main()
