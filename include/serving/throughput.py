"""What each scoring took: seconds, rows a second, memory, GPU, and by the price of the machine what it cost.

``ledger.scorings`` has a line for each. Two runs of the same content differ in these, and so they are in no table whose
content a rerun must not change.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.lake import chain, delta

LAYER, TABLE = "ledger", "scorings"
LEDGER = f"{LAYER}.{TABLE}"

SCHEMA: dict[str, pl.DataType] = {
    "use_case": pl.String(),
    "at": pl.Datetime("us", "UTC"),  # when it ended
    "first_day": pl.Date(),  # event dates
    "last_day": pl.Date(),
    "rows": pl.Int64(),
    "seconds": pl.Float64(),  # from the features in the lake to the predictions in the lake
    "peak_mib": pl.Float64(),  # most memory of the process meanwhile; null where the system does not tell
    "device": pl.String(),
    "gpu": pl.String(),  # its name; empty on a CPU
    "gpu_seconds": pl.Float64(),
    "price": pl.Float64(),  # of an hour of the machine; 0 where nobody has said
    "changed": pl.Boolean(),  # whether the predictions are others than before
}


@dataclass
class Run:
    """A scoring that is under way. Who scores on a GPU says so here."""

    rows: int = 0
    changed: bool = False
    device: str = "cpu"
    gpu: str = ""
    gpu_seconds: float = 0.0

    def has_done(self, result: dict[str, Any]) -> dict[str, Any]:
        """Take ``rows`` and ``changed`` from ``result``, which is returned."""
        self.rows, self.changed = result["rows"], result["changed"]
        return result


@contextmanager
def measured(case: UseCase, first: date, last: date) -> Iterator[Run]:
    """Around a scoring of the days ``first`` to ``last``: what it took is written down when it went well.

    One that had nothing to score leaves no line.
    """
    run, begun = Run(), time.monotonic()
    _forget_peak()
    yield run
    seconds = time.monotonic() - begun
    if not run.rows:
        return
    line = asdict(run) | {
        "use_case": case.name,
        "at": datetime.now(UTC),
        "first_day": first,
        "last_day": last,
        "seconds": round(seconds, 3),
        "peak_mib": _peak_mib(),
        "price": settings().machine_hour_price,
    }
    chain.append(LEDGER, pl.DataFrame([line], schema=SCHEMA), f"what scoring {case.name} took")


def _forget_peak() -> None:
    """Have the kernel count the peak of this process's memory from now on, where it can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float | None:
    """The most memory that the process has had: since ``_forget_peak``, or where there is no such thing, ever."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def read() -> pl.DataFrame:
    """All lines with what follows from them, the oldest first; empty where there are none.

    ``rows_a_second``, and ``cost_a_thousand``: what a thousand predictions cost, null where the price is unknown.
    """
    if delta.exists(LAYER, TABLE):
        lines = delta.read_all(LAYER, TABLE, columns=list(SCHEMA)).sort("at")
    else:
        lines = pl.DataFrame(schema=SCHEMA)
    return with_rates(lines)


def with_rates(lines: pl.DataFrame) -> pl.DataFrame:
    """``lines`` of the ledger with ``rows_a_second`` and ``cost_a_thousand``."""
    seconds = pl.col("seconds").clip(lower_bound=1e-3)
    cost = pl.col("price") * seconds / 3600 / pl.col("rows") * 1000
    return lines.with_columns(
        rows_a_second=pl.col("rows") / seconds,
        cost_a_thousand=pl.when((pl.col("price") > 0) & (pl.col("rows") > 0)).then(cost),
    )
