"""The memory of ingesting a file beside that of one with a tenth of its rows: it must not grow with the file."""

from __future__ import annotations

import resource
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from include.contracts.source import Feed, Source
from include.core.settings import HOME
from tests.benchmarks.dialects import FEEDS, OTHERS, forget, ours, write
from tests.benchmarks.ingest import DAY, make_file

MEASURE = "import sys; from tests.benchmarks.memory import measure; measure(sys.argv[1])"
FORMATS = FEEDS | OTHERS
ROWS = 1_000_000  # of all but plain CSV, which has --rows
OF = {"Excel": 125_000, "ORC": 300_000}  # a million cells; what an engine writes in one stripe


def source(feed: Feed) -> Source:
    return Source("bench_dialects", "made up", "nobody", "nobody", "0 0 * * *", 1, DAY, (feed,))


def measure(name: str) -> None:
    """Ingest the file that is there, in a process of its own; print the most memory that it took, in MiB."""
    seconds = ours(source(FORMATS[name]), DAY)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, seconds)


def peak(name: str, rows: int, say: Callable[[str], None]) -> dict[str, float]:
    of = source(FORMATS[name])
    forget(of)
    made = Path(str(make_file(rows, DAY)))
    plain = made.rename(made.with_name("plain"))
    write(of.feeds[0], of, plain, DAY)
    plain.unlink()
    command = [sys.executable, "-c", MEASURE, name]
    done = subprocess.run(command, cwd=HOME, check=True, stdout=subprocess.PIPE, text=True)
    mib, seconds = map(float, done.stdout.split())
    say(f"  {name}, {rows:,} rows: at most {mib:,.0f} MiB of memory, {seconds:.0f} s")
    forget(of)
    return {"mib": mib}


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Files of each format, and of a tenth of it; MiB."""
    found = {}
    for name in FORMATS:
        rows = max(given.rows) if name == "plain CSV" else OF.get(name, ROWS)
        turns: dict[str, list[dict[str, float]]] = {f"{rows:,} rows": [], f"{rows // 10:,} rows": []}
        for _ in range(given.turns):
            for side, count in zip(turns, (rows, rows // 10), strict=True):
                turns[side].append(peak(name, count, say))
        found[f"memory, {name}, {rows:,} rows (MiB)"] = {"rows": rows, "turns": turns}
    return found
