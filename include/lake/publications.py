"""The ledger of publications: which content each partition has had, revision by revision, and which run brought it.

``ledger.publications`` is only ever added to. A partition whose content changes gets a new revision that names the one
it replaces. Its lines are committed together with the tables that they are about.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl

from include.lake import chain, delta, usage
from include.lake.commit import Change
from include.lake.publish import NOTHING, Content, Partition, Publication

log = logging.getLogger(__name__)

LAYER, TABLE = "ledger", "publications"
FEW = 5  # partitions that are named one by one

SCHEMA: dict[str, pl.DataType] = {
    "table": pl.String(),
    "partition_day": pl.Date(),
    "ingestion_date": pl.Date(),  # of a bronze table: in which the rows arrived; null elsewhere
    "revision": pl.Int32(),  # from 1 on
    "replaces": pl.Int32(),  # the revision that was there before; null for the first
    "version": pl.Int64(),  # of the Delta table, with this revision in it
    "rows": pl.Int64(),
    "content": pl.String(),  # equal where, and only where, the content is
    "columns": pl.String(),  # that count as content, as JSON, in the order in which they were hashed
    "rows_in": pl.Int64(),  # the completeness equation of the file that brought the rows; null above bronze
    "quarantined": pl.Int64(),
    "deduplicated": pl.Int64(),
    "source_file": pl.String(),  # within landing: the file that brought the rows; null above bronze
    "source_sha256": pl.String(),  # of its bytes when they were read
    "engine": pl.String(),  # that computed the rows, and its version
    "run": pl.String(),
    "published_at": pl.Datetime("us", "UTC"),
} | chain.SEALS


_PARTITION = ("table", "partition_day", "ingestion_date")


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
    if not delta.exists(LAYER, TABLE):
        return pl.DataFrame(schema=SCHEMA)
    return _whole(delta.read_all(LAYER, TABLE)).sort("published_at", "table", "partition_day", "revision")


def changes(
    publications: Sequence[Publication],
    versions: Mapping[str, int],
    run: str,
    terms: Mapping[tuple[str, Partition], Terms] | None = None,
    origins: Mapping[tuple[str, date], Origin] | None = None,
    engine: str | None = None,
    built: Mapping[str, Sequence[date]] | None = None,
) -> list[Change]:
    """The change that adds a line for each partition whose content is another than the ledger's last one has.

    ``versions`` are those that the tables will have. ``terms`` are looked up by table and partition, ``origins`` by
    table and night; of a night that is not there the origin stays what it was. A day of ``built``, by table, has a line
    also where it has no rows, which tells it from one that never ran. Says each revision that replaces an earlier one.
    Hold the lake's lease until it is committed.
    """
    publications = [_with_days(one, (built or {}).get(one.table, ())) for one in publications]
    last = _last_of(publications)
    now = datetime.now(UTC)
    lines = []
    for publication in publications:
        for partition, content in sorted(publication.content.items()):
            day, night = partition[0], partition[1] if len(partition) > 1 else None
            before = last.get((publication.table, day, night))
            if before and before["content"] == digest(content):
                continue
            if before is None and not content.rows and day not in (built or {}).get(publication.table, ()):
                continue
            own = (terms or {}).get((publication.table, partition))
            origin = (origins or {}).get((publication.table, night)) if night else None
            if origin is None and before and before["source_sha256"]:
                origin = Origin(before["source_file"], before["source_sha256"])
            lines.append(
                {
                    "table": publication.table,
                    "partition_day": day,
                    "ingestion_date": night,
                    "revision": before["revision"] + 1 if before else 1,
                    "replaces": before["revision"] if before else None,
                    "version": versions[publication.table],
                    "rows": content.rows,
                    "content": digest(content),
                    "columns": json.dumps(publication.columns) if publication.columns else None,
                    "rows_in": own.rows_in if own else None,
                    "quarantined": own.quarantined if own else None,
                    "deduplicated": own.deduplicated if own else None,
                    "source_file": origin.file if origin else None,
                    "source_sha256": origin.sha256 if origin else None,
                    "engine": engine,
                    "run": run,
                    "published_at": now,
                }
            )
    for line in _said_of_replaced([row for row in lines if row["replaces"]]):
        log.warning(line)
    own_columns = {name: kind for name, kind in SCHEMA.items() if name not in chain.SEALS}
    return [chain.change(f"{LAYER}.{TABLE}", pl.DataFrame(lines, schema=own_columns))] if lines else []


def _said_of_replaced(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is replaced, a line a partition; of a table of which much is, one line in all."""
    for table, group in groupby(sorted(rows, key=itemgetter("table")), key=itemgetter("table")):
        its = list(group)
        if len(its) > FEW:
            days, n = sorted(str(row["partition_day"]) for row in its), sum(row["rows"] for row in its)
            yield f"{table}: new revisions of {len(its)} days from {days[0]} to {days[-1]}, {n} rows"
            continue
        for row in its:
            yield (
                f"{table} {row['partition_day']}: revision {row['revision']} replaces {row['replaces']}, "
                f"{row['rows']} rows"
            )


def _with_days(publication: Publication, days: Iterable[date]) -> Publication:
    """``publication`` with a partition of no rows for each of ``days`` that has none."""
    return replace(publication, content={(day,): NOTHING for day in days} | publication.content)


def contents_of(table: str, days: Sequence[date]) -> dict[date, str]:
    """The newest content of each of ``days`` of a table above bronze, in one word; without those never published."""
    if not delta.exists(LAYER, TABLE):
        return {}
    wanted = (pl.col("table") == table) & pl.col("partition_day").is_in(list(days))
    lines = delta.scan(LAYER, TABLE).filter(wanted).select("partition_day", "revision", "content").collect()
    return dict(lines.sort("revision").select("partition_day", "content").iter_rows())


def held() -> dict[str, str]:
    """What each table holds, in one word: a sha256 of the newest content of its partitions.

    Of two installations, in whatever way they came to it, the word is the same where, and only where, the rows are.
    """
    newest = read().sort("revision").unique(_PARTITION, keep="last").filter(pl.col("rows") > 0).sort(_PARTITION)
    lines = newest.select("table", pl.concat_str(*_PARTITION[1:], "content", separator=" ", ignore_nulls=True))
    return {
        str(table): hashlib.sha256("\n".join(group.to_series(1)).encode()).hexdigest()
        for (table,), group in lines.group_by("table", maintain_order=True)
    }


def known(table: str, days: Sequence[date]) -> set[date]:
    """The ones of ``days`` of which ``table`` was ever published, be it without rows."""
    found = set(usage.days_of(table))  # which may be older than the ledger
    if delta.exists(LAYER, TABLE):
        lines = delta.scan(LAYER, TABLE).filter((pl.col("table") == table) & pl.col("partition_day").is_in(days))
        found |= set(lines.select("partition_day").collect().to_series())
    return found & set(days)


def _last_of(publications: Sequence[Publication]) -> dict[tuple[str, date, date | None], dict[str, Any]]:
    """The last line of each partition that ``publications`` are about."""
    if not delta.exists(LAYER, TABLE):
        return {}
    days = {partition[0] for publication in publications for partition in publication.content}
    # Of the tables and days in question alone: what a night does must not grow with the ledger.
    wanted = pl.col("table").is_in([one.table for one in publications]) & pl.col("partition_day").is_in(days)
    lines = _whole(delta.scan(LAYER, TABLE).filter(wanted).collect()).sort("revision")
    return {(row["table"], row["partition_day"], row["ingestion_date"]): row for row in lines.iter_rows(named=True)}


def _whole(lines: pl.DataFrame) -> pl.DataFrame:
    """A ledger that was begun before a column was thought of has it from its next line on."""
    return pl.concat([pl.DataFrame(schema=SCHEMA), lines], how="diagonal")


def digest(content: Content) -> str:
    """``content`` in one word."""
    return f"{content.rows}:{content.hash}"


def days_of(tables: Sequence[str], nights: Sequence[date]) -> list[date]:
    """The days of which any of ``tables`` has ever had rows that arrived in one of ``nights``."""
    if not delta.exists(LAYER, TABLE):
        return []
    lines = delta.scan(LAYER, TABLE).filter(pl.col("table").is_in(tables) & pl.col("ingestion_date").is_in(nights))
    return sorted(lines.select("partition_day").unique().collect().to_series().to_list())


def since(moment: datetime, table: str, days: Sequence[date] | None) -> set[str]:
    """The runs that have published new content of ``days`` of ``table``, or of any day, after ``moment``."""
    if not delta.exists(LAYER, TABLE):
        return set()
    wanted = (pl.col("table") == table) & (pl.col("published_at") > moment)
    if days is not None:
        wanted &= pl.col("partition_day").is_in(days)
    return set(delta.scan(LAYER, TABLE).filter(wanted).select("run").collect().to_series())
