"""Maintenance of the lake: compaction, retention, vacuum, and the sweep of candidates that failed tries left.

Each has a function that only looks (``to_compact``, ``to_retain``, ``to_vacuum``, ``to_sweep``) and one that does what
that one says (``compact``, ``retain``, ``vacuum``, ``sweep``), one table after the other, each in the ledger. All are
safe to repeat: what is gone already is not planned again. Nobody publishes while a step is at a table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.source import Feed, Mode, Source, completeness_table
from include.contracts.source import table as table_of
from include.core.errors import NeedsAttentionError
from include.core.settings import SPARK, settings
from include.core.storage import for_spark
from include.lake import candidate, commit, delta, removals, usage
from include.lake.removals import Removal, recorded
from include.lake.usage import files_of, opened, path_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

MANY_FILES = 32
"""A table is compacted when that makes so many files fewer; for less, a new version is not worth it."""

CANDIDATE_DAYS = 3
"""A candidate this old belongs to no run any more: time enough for whoever wants to see why a try failed."""

DAY = "partition.partition_day"

FOR_EVER = "interval 36500 days"
KEPT = {"delta.logRetentionDuration": FOR_EVER, "delta.deletedFileRetentionDuration": FOR_EVER}
"""On a table with pinned versions: its log stays readable, and neither a plain VACUUM by anybody removes their files
nor does Delta refuse to travel that far back."""

# The Delta versions that have to stay readable, by table.
Pins = Mapping[str, Sequence[int]]


class RefusedError(NeedsAttentionError):
    """Part of maintenance was left undone, because a person has to look first. The rest is done."""


@dataclass
class Plan:
    """What a step would remove, and what it will not touch, with the reason."""

    removals: list[Removal] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.removals + other.removals, self.refused + other.refused)


def plan(sources: Iterable[Source], pins: Pins) -> Plan:
    """Everything that maintenance would do now. Changes nothing.

    A step may find more when its turn comes: what a compaction replaces, a later vacuum removes.
    """
    return to_compact() + to_retain(sources) + to_vacuum(pins) + to_sweep()


def require_nothing_refused(sources: Iterable[Source], pins: Pins) -> None:
    """Raise RefusedError, naming what a person has to look at, where there is something."""
    if refused := (to_retain(sources) + to_vacuum(pins)).refused:
        raise RefusedError("\n".join(refused))


def _carry_out(look: Callable[[], Plan], act: Callable[[Removal], object], run: str) -> None:
    """Do what ``look`` finds, one removal after the other, each in the ledger before it happens and after it."""
    for closed in removals.settle(run):
        log.warning("an earlier try was killed; it came to %s", closed)
    for removal in look().removals:
        with recorded(removal, run), commit.committing():
            act(removal)
        log.info("%s", removal)


def _of_files(what: removals.Kind, table: str, files: pl.DataFrame, rows: int | None = 0) -> Removal:
    return Removal(what, table, files.height, int(files["bytes"].sum()), rows, paths=tuple(files["path"]))


def is_spool(table: str) -> bool:
    """Whether Spark's stream writes ``table``: its own commits do not see those of others that are made meanwhile.

    With the embedded engine no stream runs, so that there is nothing to be beside.
    """
    return table.endswith("__stream")


def _at(table: str) -> str:
    """A table as Spark finds it without a catalogue."""
    return f"delta.`{for_spark(path_of(table))}`"


# --- compaction ---


def to_compact() -> Plan:
    """The tables with many small files that can be merged."""
    plan = Plan()
    for table in usage.tables():
        files = usage.mergeable(files_of(opened(table)))
        if files.height >= MANY_FILES:
            plan.removals.append(_of_files("compaction", table, files))
    return plan


def compact(spark: SparkSession, run: str) -> None:
    """Merge small files. The content stays as it is, and so do older versions, until they are vacuumed."""

    def merge(removal: Removal) -> None:
        if is_spool(removal.table) and settings().engine == SPARK:
            spark.sql(f"OPTIMIZE {_at(removal.table)}")
        else:
            opened(removal.table).optimize.compact()

    _carry_out(to_compact, merge, run)


# --- retention ---


def to_retain(sources: Iterable[Source]) -> Plan:
    """The days of bronze that are older than their feeds keep them, with what was kept beside them and their counts."""
    plan, today = Plan(), datetime.now(UTC).date()
    for source in sources:
        days_gone: list[Removal] = []
        cutoffs: dict[str, date] = {}
        for feed in source.feeds:
            table = f"bronze.{table_of(source, feed)}"
            if not feed.retention_days or not _exists(table):
                continue
            days = sorted(set(files_of(opened(table))[DAY]))
            cutoff = first_kept(feed, days, today)
            if cutoff is None:
                continue
            if refusal := too_many(table, feed, days, cutoff):
                plan.refused.append(refusal)
                continue
            cutoffs[feed.name] = cutoff
            for beside in ("", "__quarantine", "__mended", "__late"):
                days_gone += _days_before(f"{table}{beside}", cutoff)
            # What no night has taken yet is in none of these.
            days_gone += _days_before(f"{table}__stream", feed.night(cutoff), "ingestion_date")
        # The counts go first: transform refuses a night without them. With them, and without the rows that they
        # count, it would take the night for an empty one and publish that.
        plan.removals += [*_counts_before(f"bronze.{completeness_table(source)}", cutoffs), *days_gone]
    return plan


def first_kept(feed: Feed, days: Sequence[date], today: date) -> date | None:
    """The first of the published ``days``, which are sorted, that ``feed`` keeps; None where it keeps them all.

    Counted from the newest day that is there and not from today, so that a replayed year is not wiped as it arrives.
    A day that cannot have arrived by ``today`` is a mistake and does not count. The snapshot in effect on the first
    day kept stays, however old it is.
    """
    arrived = [day for day in days if day <= feed.due(today)]
    if not feed.retention_days or not arrived:
        return None
    first = arrived[-1] - timedelta(feed.retention_days)
    if feed.mode is Mode.SNAPSHOT:
        first = max((day for day in arrived if day <= first), default=arrived[0])
    return first if first > days[0] else None


def too_many(table: str, feed: Feed, days: Sequence[date], cutoff: date) -> str | None:
    """Why the days before ``cutoff`` are not removed, where there are suspiciously many; else None.

    A week adds seven days and takes seven. One stray file of a much later day would take all others.
    """
    old = sum(day < cutoff for day in days)
    if old <= len(days) - old:
        return None
    return (
        f"{table}: keeping {feed.retention_days} days would remove {old} of {len(days)}. Is its newest day, "
        f"{days[-1]}, a mistake? Then delete that one; if not, lower retention_days in steps."
    )


def _days_before(table: str, cutoff: date, day: str = "partition_day") -> list[Removal]:
    if not _exists(table):
        return []
    column = f"partition.{day}"
    files = files_of(opened(table)).filter(pl.col(column) < cutoff)
    if files.is_empty():
        return []
    rows = None if files["rows"].has_nulls() else int(files["rows"].sum())
    return [_of_days(_of_files("retention", table, files, rows), files[column], f"{day} < '{cutoff}'")]


def _counts_before(table: str, cutoffs: Mapping[str, date]) -> list[Removal]:
    """The lines of a completeness table that count the days before each feed's cutoff."""
    if not cutoffs or not _exists(table):
        return []
    predicate = " OR ".join(f"(feed = '{feed}' AND partition_day < '{day}')" for feed, day in cutoffs.items())
    old = [(pl.col("feed") == feed) & (pl.col("partition_day") < day) for feed, day in cutoffs.items()]
    rows = delta.read_all(*table.split(".")).filter(pl.any_horizontal(old))
    if rows.is_empty():
        return []
    files = files_of(opened(table)).filter(pl.col("partition.ingestion_date").is_in(rows["ingestion_date"].implode()))
    return [_of_days(_of_files("retention", table, files, rows.height), rows["partition_day"], predicate)]


def _of_days(removal: Removal, days: pl.Series, predicate: str) -> Removal:
    found = sorted(set(days))
    return replace(removal, first_day=found[0], last_day=found[-1], predicate=predicate)


def retain(spark: SparkSession, sources: Iterable[Source], run: str) -> None:
    """Remove the days that are too old, in one commit a table."""

    def delete(removal: Removal) -> None:
        if is_spool(removal.table) and settings().engine == SPARK:
            # Names and days of specs: nothing that a file has brought.
            spark.sql(f"DELETE FROM {_at(removal.table)} WHERE {removal.predicate}")  # noqa: S608
        else:
            opened(removal.table).delete(removal.predicate)

    of = list(sources)
    _carry_out(lambda: to_retain(of), delete, run)


# --- vacuum ---


def to_vacuum(pins: Pins) -> Plan:
    """The files that no version of the last ``vacuum_hours`` and no pinned version needs."""
    plan = Plan()
    for table in usage.tables():
        keep = sorted(pins.get(table, ()))
        if lost := [version for version in keep if not _readable(table, version)]:
            plan.refused.append(
                f"{table}: a registered model was trained on version {', '.join(map(str, lost))}, which cannot be read "
                "any more. Nothing of the table is vacuumed until its log is restored or those models are deleted."
            )
            continue
        there = opened(table)
        if not keep and there.metadata().configuration.items() >= KEPT.items():
            plan.refused.append(
                f"{table}: models were trained on it once, and the registry names none now. Is it the right registry? "
                f"Then unset {' and '.join(KEPT)} of the table, and it is vacuumed as any other."
            )
            continue
        # Only ever a dry run: it makes no commit, and what goes is what the ledger says. `full`: a checkpoint forgets
        # files that were replaced long ago.
        unneeded = there.vacuum(
            settings().vacuum_hours, dry_run=True, enforce_retention_duration=False, full=True, keep_versions=keep
        )
        # The log goes on naming a file that has been removed already. Hadoop's checksums are no version's files, so
        # that all of them are in the list; each goes with its file.
        folder = path_of(table)
        paths = [path for path in unneeded if not Path(path).name.startswith(".") and (folder / path).exists()]
        if paths:
            size = usage.size(folder / path for path in paths)
            plan.removals.append(Removal("vacuum", table, len(paths), size, paths=tuple(paths)))
    return plan


def vacuum(pins: Pins, run: str) -> None:
    """Remove files that nobody needs; have Delta keep what a model was trained on readable."""
    for table in sorted(pins.keys() & set(usage.tables())):
        keep_readable(table)

    def unlink(removal: Removal) -> None:
        for path in (path_of(removal.table) / path for path in removal.paths):
            path.unlink(missing_ok=True)
            path.with_name(f".{path.name}.crc").unlink(missing_ok=True)

    _carry_out(lambda: to_vacuum(pins), unlink, run)


def keep_readable(table: str) -> None:
    """Set ``KEPT`` on a table, once."""
    with commit.committing():
        there = opened(table)
        if there.metadata().configuration.items() >= KEPT.items():
            return
        there.alter.set_table_properties(KEPT)
    log.info("%s: its log stays, for the models trained on it", table)


def _readable(table: str, version: int) -> bool:
    try:
        opened(table, version)
    except delta.VersionMissingError:
        return False
    return True


# --- sweep ---


def to_sweep() -> Plan:
    """The candidates that failed tries left, and that nobody has touched for ``CANDIDATE_DAYS``."""
    plan, before = Plan(), time.time() - CANDIDATE_DAYS * 86400
    for folder in usage.candidates():
        files = [one for one in folder.rglob("*") if one.is_file()]
        if max(one.stat().st_mtime for one in (folder, *files)) < before:
            paths = tuple(str(one.relative_to(folder)) for one in files)
            plan.removals.append(
                Removal("sweep", f"candidate.{folder.name}", len(files), usage.size(files), paths=paths)
            )
    return plan


def sweep(run: str) -> None:
    """Remove them."""
    _carry_out(to_sweep, lambda removal: candidate.remove([removal.table]), run)


def _exists(table: str) -> bool:
    return delta.exists(*table.split("."))
