"""The ledger of publications: which content each partition has had, revision by revision, and which run brought it.

``ledger.publications`` is only ever added to. A partition whose content changes gets a new revision that names the one
it replaces. It is written after the tables: a task that was killed in between adds the line when it is tried again,
since it compares contents and not what it did.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from include.lake import delta
from include.lake.publish import Content, Partition, Publication

log = logging.getLogger(__name__)

LAYER, TABLE = "ledger", "publications"

SCHEMA: dict[str, pl.DataType] = {
    "table": pl.String(),
    "partition_day": pl.Date(),
    "night": pl.Date(),  # of a bronze table: in which the rows arrived; null elsewhere
    "revision": pl.Int32(),  # from 1 on
    "replaces": pl.Int32(),  # the revision that was there before; null for the first
    "version": pl.Int64(),  # of the Delta table, with this revision in it
    "rows": pl.Int64(),
    "content": pl.String(),  # equal where, and only where, the content is
    "rows_in": pl.Int64(),  # the completeness equation of the file that brought the rows; null above bronze
    "quarantined": pl.Int64(),
    "deduplicated": pl.Int64(),
    "source_file": pl.String(),  # within landing: the file that brought the rows; null above bronze
    "source_sha256": pl.String(),  # of its bytes when they were read
    "run": pl.String(),
    "published_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Terms:
    """What the completeness equation says of the file that brought a partition."""

    rows_in: int
    quarantined: int
    deduplicated: int


@dataclass(frozen=True)
class Origin:
    """The landing file that brought a partition of bronze: its path within landing, and the sha256 of its bytes."""

    file: str
    sha256: str


def read() -> pl.DataFrame:
    """Every line, the oldest first. Empty where nothing has been published."""
    empty = pl.DataFrame(schema=SCHEMA)
    if not delta.exists(LAYER, TABLE):
        return empty
    # A ledger that was begun before a column was thought of has it from its next line on.
    lines = pl.concat([empty, delta.read_all(LAYER, TABLE)], how="diagonal")
    return lines.sort("published_at", "table", "partition_day", "revision")


def record(
    publications: Sequence[Publication],
    run: str,
    terms: Mapping[tuple[str, Partition], Terms] | None = None,
    origins: Mapping[tuple[str, date], Origin] | None = None,
) -> pl.DataFrame:
    """Add a line for each partition whose content is another than the ledger's last one has. Returns the new lines.

    ``terms`` are looked up by table and partition, ``origins`` by table and night; of a night that is not there the
    origin stays what it was. Says each revision that replaces an earlier one.
    """
    there = read().filter(pl.col("table").is_in([one.table for one in publications]))
    last = {
        (row["table"], row["partition_day"], row["night"]): row for row in there.sort("revision").iter_rows(named=True)
    }
    now = datetime.now(UTC)
    lines = []
    for publication in publications:
        version: int | None = None
        for partition, content in sorted(publication.content.items()):
            day, night = partition[0], partition[1] if len(partition) > 1 else None
            before = last.get((publication.table, day, night))
            if (before and before["content"] == digest(content)) or (before is None and not content.rows):
                continue
            version = delta.version(*publication.table.split(".")) if version is None else version
            own = (terms or {}).get((publication.table, partition))
            origin = (origins or {}).get((publication.table, night)) if night else None
            if origin is None and before and before["source_sha256"]:
                origin = Origin(before["source_file"], before["source_sha256"])
            lines.append(
                {
                    "table": publication.table,
                    "partition_day": day,
                    "night": night,
                    "revision": before["revision"] + 1 if before else 1,
                    "replaces": before["revision"] if before else None,
                    "version": version,
                    "rows": content.rows,
                    "content": digest(content),
                    "rows_in": own.rows_in if own else None,
                    "quarantined": own.quarantined if own else None,
                    "deduplicated": own.deduplicated if own else None,
                    "source_file": origin.file if origin else None,
                    "source_sha256": origin.sha256 if origin else None,
                    "run": run,
                    "published_at": now,
                }
            )
    added = pl.DataFrame(lines, schema=SCHEMA)
    if added.height:
        delta.append(LAYER, TABLE, added)
    for row in added.filter(pl.col("replaces").is_not_null()).iter_rows(named=True):
        log.warning(
            "%s %s: revision %d replaces %d, %d rows",
            *(row[n] for n in ("table", "partition_day", "revision", "replaces", "rows")),
        )
    return added


def digest(content: Content) -> str:
    """``content`` in one word."""
    return f"{content.rows}:{content.hash}"


def days_of(tables: Sequence[str], nights: Sequence[date]) -> list[date]:
    """The days of which any of ``tables`` has ever had rows that arrived in one of ``nights``."""
    lines = read().filter(pl.col("table").is_in(tables) & pl.col("night").is_in(nights))
    return sorted(lines["partition_day"].unique().to_list())
