"""``make bench``: ours beside a named peer, in the same run. Ratios, medians and spread, to var/report/bench.json."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from include.core.settings import settings

# Modules, each with ``run``, which gives comparisons by name: each turn's seconds (or MiB) of ours and of one peer.
# Imported when they run: that of the GPU needs little more than XGBoost, and no Spark.
BENCHMARKS = (
    "ingest",
    "dialects",
    "memory",
    "features",
    "history",
    "point_in_time",
    "expectations",
    "training",
    "scoring",
    "drift",
    "gpu",
    "health",
    "metrics",
)


def summary(comparison: dict[str, Any]) -> dict[str, Any]:
    """Medians and extremes of each side, and of the ratio within a turn."""
    totals = {
        side: [turn.get("seconds", turn.get("mib")) for turn in turns] for side, turns in comparison["turns"].items()
    }
    ours, peer = totals.values()
    totals["ratio"] = [a / b for a, b in zip(ours, peer, strict=True)]
    return {
        name: {"median": round(median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}
        for name, values in totals.items()
    }


def show(console: Console, comparisons: dict[str, Any]) -> None:
    """One row a comparison; the peer is named in it."""
    shown = Table(title="Ours beside a peer: median and extremes, seconds where nothing else is said")
    for name in ("benchmark", "ours", "peer", "ratio"):
        shown.add_column(name, justify="left" if name == "benchmark" else "right")
    for name, comparison in comparisons.items():
        cells = [f"{one['median']:g} ({one['min']:g} to {one['max']:g})" for one in comparison["summary"].values()]
        _, peer, _ = comparison["summary"]
        shown.add_row(name, cells[0], f"{peer}: {cells[1]}", cells[2])
    console.print(shown)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, help="not all of them")
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000_000], help="of ingest, memory")
    given = arguments.parse_args()
    console = Console(width=120)
    path = settings().report / "bench.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # What is not measured this time keeps its figures of the last one.
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    measured: dict[str, Any] = {}
    for name in given.only:
        benchmark = import_module(f"tests.benchmarks.{name}")
        for comparison, found in benchmark.run(given, console.print).items():
            measured[comparison] = found | {"summary": summary(found)}
        path.write_text(json.dumps(report | measured, indent=1))
    show(console, measured)
    console.print(f"all figures: {path}")


# A benchmark may start processes, which import this module.
if __name__ == "__main__":
    main()
