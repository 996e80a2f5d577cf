"""What the tables of the lake take: rows, files, bytes, and how many files are small.

Read from each table's log and folder; nothing here writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from deltalake import DeltaTable

from include.core.settings import settings
from include.lake import delta

if TYPE_CHECKING:
    from upath import UPath

SMALL_BYTES = 16 * 2**20
"""Opening a file costs as much as reading some megabytes of it: below this a file is small."""

CANDIDATE = re.compile(r"\w+__\w+?__\d[\d_]*__[0-9a-f]{8}(__twins|__files)?")
"""The folder of a candidate: layer, table, key and what sets the try apart."""


@dataclass(frozen=True)
class Usage:
    """One table.

    Attributes:
        rows: None where a file does not say how many it has.
        files, bytes: of the newest version.
        small: files below ``SMALL_BYTES``.
        mergeable: those of them that a compaction can merge; files of different partitions cannot become one.
        version: the newest.
        disk_bytes: of all data files in its folder, those of older versions included.
    """

    table: str
    rows: int | None
    files: int
    bytes: int
    small: int
    mergeable: int
    version: int
    disk_bytes: int


def path_of(table: str) -> UPath:
    """Where the table ``<layer>.<name>`` is."""
    return delta.table_path(*table.split("."))


def tables() -> list[str]:
    """Every Delta table of the lake, as ``<layer>.<name>``."""
    found = (log.parts[-3:-1] for log in settings().lake.glob("*/*/_delta_log"))
    return sorted(f"{layer}.{name}" for layer, name in found if layer != "candidate")


def opened(table: str, version: int | None = None) -> DeltaTable:
    """A table, as it is or as it was."""
    layer, name = table.split(".")
    return delta.opened(layer, name, version)


def files_of(table: DeltaTable) -> pl.DataFrame:
    """The data files of a version: ``path`` within the table, ``bytes``, ``rows``, and ``partition.<column>``."""
    found = pl.DataFrame(table.get_add_actions(flatten=True))
    rows = pl.col("num_records") if "num_records" in found.columns else pl.lit(None, pl.Int64)
    partitions = [name for name in found.columns if name.startswith("partition.")]
    return found.select("path", pl.col("size_bytes").alias("bytes"), rows.alias("rows"), *partitions)


def days_of(table: str) -> set[date]:
    """The days, which ``table`` is partitioned by, of which it has rows; none where there is no such table."""
    if not delta.exists(*table.split(".")):
        return set()
    there = opened(table)
    (day, *_) = there.metadata().partition_columns
    return set(files_of(there)[f"partition.{day}"])


def mergeable(files: pl.DataFrame) -> pl.DataFrame:
    """Those of ``files`` that are small and not the only small one of their partition."""
    small = files.filter(pl.col("bytes") < SMALL_BYTES)
    partitions = [name for name in files.columns if name.startswith("partition.")]
    return small.filter((pl.len().over(partitions) if partitions else pl.len()) > 1)


def usage(table: str) -> Usage:
    """What ``table`` takes."""
    there = opened(table)
    files = files_of(there)
    return Usage(
        table=table,
        rows=None if files["rows"].has_nulls() else int(files["rows"].sum()),
        files=files.height,
        bytes=int(files["bytes"].sum()),
        small=files.filter(pl.col("bytes") < SMALL_BYTES).height,
        mergeable=mergeable(files).height,
        version=int(there.version()),
        disk_bytes=size(path_of(table).rglob("*.parquet"), but="_delta_log"),
    )


def candidates() -> list[UPath]:
    """The folders of candidates, of whatever age."""
    folder = settings().lake / "candidate"
    return sorted(one for one in folder.glob("*") if one.is_dir() and CANDIDATE.fullmatch(one.name))


def size(files: Iterable[UPath], but: str = "") -> int:
    """Bytes of ``files``, of those still there, leaving out what lies in a folder ``but``."""
    found = 0
    for one in files:
        if but not in one.parts[:-1]:
            try:
                found += one.stat().st_size
            except FileNotFoundError:  # a night may end, and drop its candidates, meanwhile
                continue
    return found


def report() -> dict[str, Any]:
    """Every table, and the candidates together, as plain data."""
    folders = candidates()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tables": [asdict(usage(table)) for table in tables()],
        "candidates": {"tables": len(folders), "bytes": size(one for f in folders for one in f.rglob("*"))},
    }


def write_report(**extra: Any) -> Path:
    """Write the report, with ``extra``, to ``var/report/lake.json``."""
    path = settings().report / "lake.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report() | extra, indent=1, default=str) + "\n")
    return path
