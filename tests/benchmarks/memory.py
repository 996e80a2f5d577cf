"""The memory of ingesting a file beside that of one with a tenth of its rows: it must not grow with the file."""

from __future__ import annotations

import resource
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import date
from typing import Any

from include.settings import HOME, settings
from include.storage import remove
from tests.benchmarks.ingest import DAY, SOURCE, make_file, ours

MEASURE = "from tests.benchmarks.memory import measure; measure()"


def measure() -> None:
    """Ingest the file that is there, in a process of its own; print the most memory that it took, in MiB."""
    seconds = ours(DAY)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, sum(seconds.values()))


def forget() -> None:
    """Remove whatever an earlier benchmark has published, and its files."""
    for path in (settings().lake / "bronze").glob(f"{SOURCE.name}__*"):
        remove(path)
    remove(settings().landing / SOURCE.name)


def peak(rows: int, day: date, say: Callable[[str], None]) -> dict[str, float]:
    forget()
    path = make_file(rows, day)
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.PIPE, text=True)
    mib, seconds = map(float, done.stdout.split())
    say(f"  {rows:,} rows, {path.stat().st_size / 2**20:,.0f} MiB: at most {mib:,.0f} MiB of memory, {seconds:.0f} s")
    forget()
    return {"mib": mib}


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Files of the largest of ``--rows``, and of a tenth of it; MiB."""
    rows = max(given.rows)
    say(f"memory of ingesting {rows:,} rows beside {rows // 10:,}")
    turns: dict[str, list[dict[str, float]]] = {f"{rows:,} rows": [], f"{rows // 10:,} rows": []}
    for _ in range(given.turns):
        for side, count in zip(turns, (rows, rows // 10), strict=True):
            turns[side].append(peak(count, DAY, say))
    return {f"memory, {rows:,} rows (MiB)": {"rows": rows, "turns": turns}}
