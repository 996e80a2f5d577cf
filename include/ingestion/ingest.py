"""Landing to bronze in steps: load, audit, publish. Each is one Airflow task, and safe to repeat."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import TypedDict

import polars as pl

from include.contracts.source import Feed, Source, completeness_table, table
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import completeness, counting, kernel, landing, late, verdicts
from include.ingestion.completeness import TERMS, Counts
from include.ingestion.landing import Plan, path_of
from include.lake import candidate, commit, delta, publications, publish
from include.lake.commit import Change
from include.lake.publications import Origin, Terms
from include.lake.publish import Judged, Partition, Publication, Request, within

log = logging.getLogger(__name__)

BY = ("partition_day", "ingestion_date")
BESIDE = ("arrived_at", "run", "file_columns")  # what a row in quarantine is told by, and is no content of it
MOST_NUMBERED = 10_000  # rows in quarantine whose lines are looked up, for which their file is read once more

# The candidate table of each feed.
Candidates = dict[str, str]


class Resolved(TypedDict):
    """The late rows that a feed's run has to do with: the table of them, and the days that are touched."""

    candidate: str
    days: list[str]


class Audited(TypedDict):
    """What an audit found: the equation of each file, and the late rows of each feed that has any.

    ``versions`` are those of the published tables by which late rows were judged.
    """

    counts: list[Counts]
    late: dict[str, Resolved]
    versions: dict[str, int]


class NotIngestedError(NeedsAttentionError):
    """Nothing of a source has been ingested for the nights asked for."""


class IncompleteError(NeedsAttentionError):
    """Rows of a file are unaccounted for, or too many broke the contract. Nothing was published."""


def load(source: Source, nights: Partitions, plan: Plan) -> Candidates:
    """Read the files of ``plan`` into one new candidate a feed, every row with its verdict.

    Raises UnreadableFileError, and ChangedFileError where a file is not what was looked through.
    """
    suffix = candidate.suffix(nights)
    candidates = {feed: candidate.name(f"bronze.{table(source, source.feed(feed))}", suffix) for feed in plan}

    def load_feed(feed: Feed) -> None:
        before = landing.stamps(source, feed, plan[feed.name])
        folder = landing.folder_of(source, feed)
        files = {
            folder / name: (date.fromisoformat(day), file["columns"])
            for day, batch in plan[feed.name].items()
            for name, file in batch["files"].items()
        }
        rows = kernel.run(feed, files, candidates[feed.name])
        # The ledger names the bytes that rows came from: these must be the ones that were read.
        landing.check_unchanged(source, feed, plan[feed.name], before)
        log.info("%s: %d files with %d rows loaded", feed.name, len(files), rows)

    _for_each_feed(source, plan, load_feed)
    return candidates


def audit(source: Source, nights: Partitions, plan: Plan, candidates: Candidates) -> Audited:
    """Check every candidate against the completeness equation, and return the equation's terms.

    ``rows in = published + quarantined + deduplicated`` must hold exactly for each feed and day, where *rows in* was
    counted in the file by other code than read it. Late rows are compared with what has arrived before and after
    them. Raises IncompleteError, naming feed and day.
    """
    versions = commit.versions_of(_judged_by(source, plan))  # before any of them is read

    def audit_feed(feed: Feed) -> tuple[list[Counts], Resolved | None]:
        rows = kernel.judged(candidates[feed.name])
        counts, any_late = completeness.counted(rows, feed, plan)
        resolved = None
        if any_late or late.has_store(source, feed):
            resolved = _resolve(source, nights, plan, feed, rows)
            counts = completeness.with_late(source, feed, counts, resolved["candidate"], resolved["days"])
        own = {str(day) for day in landing.days_of(plan, feed)}
        if problems := [
            line for row in counts if row["partition_day"] in own for line in completeness.complete(feed, row)
        ]:
            raise IncompleteError("\n".join(problems))
        return counts, resolved

    audited = _for_each_feed(source, plan, audit_feed)
    return {
        "counts": [row for counts, _ in audited for row in counts],
        "late": {counts[0]["feed"]: resolved for counts, resolved in audited if resolved},
        "versions": versions,
    }


def _judged_by(source: Source, plan: Plan) -> list[str]:
    """The published tables that decide what becomes of a row: none, where no row may come late."""
    feeds = [feed for feed in map(source.feed, plan) if feed.late_days or late.has_store(source, feed)]
    tables = [f"bronze.{name}" for feed in feeds for name in (table(source, feed), late.store(source, feed))]
    return [*tables, f"bronze.{completeness_table(source)}"] if tables else []


def publish_all(
    source: Source, nights: Partitions, plan: Plan, candidates: Candidates, audited: Audited, run: str = "by hand"
) -> list[Publication]:
    """Publish the audited candidates: good rows to bronze, the others to quarantine, the counts to completeness.

    All of it becomes visible together. What another run has published since the audit is looked at first: the audit is
    then made again. Returns what became of each feed's table. Raises what ``audit`` does, and ChangedFileError where a
    file is not what was loaded any more.
    """
    found, again = audited, list[Audited]()

    def judged() -> Judged:
        nonlocal found
        for name in plan:
            landing.check_unchanged(source, source.feed(name), plan[name])
        if commit.has_changed(found["versions"]):
            log.info("another run has published since the audit, which is made again")
            found = audit(source, nights, plan, candidates)
            again.append(found)
        requests = [one for name in plan for one in _requests(source, source.feed(name), plan, candidates, found, run)]
        return Judged(requests, found["versions"])

    def also(versions: Mapping[str, int], published: Sequence[Publication]) -> list[Change]:
        terms = {
            (f"bronze.{table(source, source.feed(row['feed']))}", _own_partition(row)): Terms(
                row["rows_in"], row["quarantined"], row["deduplicated"]
            )
            for row in found["counts"]
        }
        return [
            *completeness.changes(source, plan, found["counts"]),
            *publications.changes(published, versions, run, terms, _origins(source, plan), f"polars {pl.__version__}"),
        ]

    try:
        published = publish.publish_all(judged, f"{source.name} {nights}", also)
    finally:
        candidate.remove([one["candidate"] for each in again for one in each["late"].values()])
    for one in published:
        log.info("%s", one)
    feeds = {f"bronze.{table(source, source.feed(name))}" for name in plan}
    return [one for one in published if one.table in feeds]


def _requests(
    source: Source, feed: Feed, plan: Plan, candidates: Candidates, audited: Audited, run: str
) -> list[Request]:
    """What a feed's candidate makes of its published tables."""
    name, nights, resolved = (
        f"bronze.{table(source, feed)}",
        landing.nights_of(plan, feed),
        audited["late"].get(feed.name),
    )
    judged = kernel.judged(candidates[feed.name])
    scope = within("ingestion_date", nights)
    if resolved:
        touched = within("partition_day", map(date.fromisoformat, resolved["days"]))
        came_late = pl.col("ingestion_date") > pl.col("partition_day") - timedelta(feed.lead_days)
        scope = scope | (touched & came_late)
    requests = [Request(name, _good(judged, resolved), BY, scope, ["arrived_at"])]
    # A feed whose rows never broke their contract has no quarantine, and one without rules nothing that they mended.
    broken = any(row["quarantined"] for row in audited["counts"] if row["feed"] == feed.name)
    if broken or delta.exists("bronze", f"{table(source, feed)}__quarantine"):
        told = _with_origin(source, feed, plan, _refused(judged, resolved), run)
        requests.append(Request(f"{name}__quarantine", told, BY, scope, BESIDE))
    if feed.mends or delta.exists("bronze", f"{table(source, feed)}__mended"):
        told = _with_origin(source, feed, plan, _mended(judged), run)
        requests.append(Request(f"{name}__mended", told, BY, within("ingestion_date", nights), BESIDE))
    if resolved:
        rows = candidate.rows(resolved["candidate"])
        requests.append(Request(f"bronze.{late.store(source, feed)}", rows, BY, scope, ["arrived_at"]))
    return requests


def _origins(source: Source, plan: Plan) -> dict[tuple[str, date], Origin]:
    """The file that brought each night's rows of each bronze table; of several, what all of them are named like."""
    found: dict[tuple[str, date], Origin] = {}
    for name, batches in plan.items():
        feed = source.feed(name)
        for day, batch in batches.items():
            path = path_of(source, feed, date.fromisoformat(day)).relative_to(settings().landing)
            night = feed.night(date.fromisoformat(day))
            found[f"bronze.{table(source, feed)}", night] = Origin(path.as_posix(), batch["sha256"])
    return found


def discard(candidates: Candidates, audited: Audited) -> None:
    """Drop what was only needed on the way."""
    resolved = [one["candidate"] for one in audited["late"].values()]
    twins = map(kernel.twins_of, candidates.values())
    candidate.remove([*candidates.values(), *twins, *resolved])


def ingested(source: Source, nights: Partitions) -> list[str]:
    """The feeds of which a file was ingested in ``nights``, in the order of the spec.

    None where the source is closed on all of them. Raises NotIngestedError where there should be some.
    """
    name = completeness_table(source)
    found: set[str] = set()
    if delta.exists("bronze", name):
        rows = delta.read_days("bronze", name, nights.first, nights.last, columns=["feed"], day="ingestion_date")
        found = set(rows["feed"])
    if not found and any(map(source.expects_files, nights.days)):
        raise NotIngestedError(f"nothing of {source.name} has been ingested for {nights}: ingest it first")
    return [feed.name for feed in source.feeds if feed.name in found]


def touched(source: Source, nights: Partitions) -> list[date]:
    """The earlier nights whose days have, or had, rows that arrived in ``nights``."""
    found: set[date] = set()
    for feed in source.feeds:
        days = publications.days_of([f"bronze.{table(source, feed)}"], nights.days)
        found |= {feed.night(day) for day in days}
    return sorted(found - set(nights.days))


def _own_partition(row: Counts) -> Partition:
    return date.fromisoformat(row["partition_day"]), date.fromisoformat(row["ingestion_date"])


def _good(judged: pl.LazyFrame, resolved: Resolved | None) -> pl.LazyFrame:
    """The rows for bronze: those in time, and the late ones of every touched day."""
    good = judged.filter(TERMS["published"]).drop(verdicts.BOOKKEEPING)
    if not resolved:
        return good
    rows = candidate.rows(resolved["candidate"]).filter(pl.col(late.VERDICT) == "published")
    return pl.concat([good, rows.select(good.collect_schema().names())])


def _refused(judged: pl.LazyFrame, resolved: Resolved | None) -> pl.LazyFrame:
    """The rows for the quarantine."""
    columns = [*BY, "source_file", "arrived_at", pl.col("_reason").alias("reason"), pl.col("_raw").alias("raw")]
    refused = judged.filter(TERMS["quarantined"]).select(columns)
    if not resolved:
        return refused
    rows = candidate.rows(resolved["candidate"]).filter(pl.col(late.VERDICT) == "quarantined")
    return pl.concat([refused, rows.select(columns)])


def _mended(judged: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that are sound since a rule has mended them, a late one included."""
    mended = judged.filter(pl.col("_mended").is_not_null() & pl.col("_reason").is_null() & ~pl.col("_copy"))
    return mended.select(
        *BY, "source_file", "arrived_at", pl.col("_mended").alias("rules"), pl.col("_raw").alias("raw")
    )


def refused(source: Source, plan: Plan, candidates: Candidates, audited: Audited) -> pl.DataFrame:
    """The rows of audited ``candidates`` that would go to quarantine: feed, night, reason, raw."""
    found = [pl.DataFrame(schema={"feed": pl.String, "ingestion_date": pl.Date, "reason": pl.String, "raw": pl.String})]
    for name in plan:
        rows = _refused(kernel.judged(candidates[name]), audited["late"].get(name))
        own = rows.filter(within("ingestion_date", landing.nights_of(plan, source.feed(name))))
        found.append(
            own.select(pl.lit(name).alias("feed"), "ingestion_date", "reason", "raw").collect(engine="streaming")
        )
    return pl.concat(found)


def _with_origin(source: Source, feed: Feed, plan: Plan, rows: pl.LazyFrame, run: str) -> pl.LazyFrame:
    """``rows`` with their lines, the run, and the columns of their file in its order, by which a raw line is read."""
    ours = [column.name for column in feed.content.columns]
    columns = {
        f"{source.name}/{feed.name}/{name}": json.dumps(file["columns"] or ours)
        for batch in plan[feed.name].values()
        for name, file in batch["files"].items()
    }
    known = pl.col("source_file").replace_strict(columns, default=None, return_dtype=pl.String)
    return _with_lines(feed, rows).with_columns(pl.lit(run).alias("run"), known.alias("file_columns"))


def _with_lines(feed: Feed, refused: pl.LazyFrame) -> pl.LazyFrame:
    """``refused`` with the line of each row in its file, for the first few thousand of them."""
    raws: dict[str, set[str]] = {}
    for file, raw in refused.select("source_file", "raw").limit(MOST_NUMBERED).collect().iter_rows():
        raws.setdefault(file, set()).add(raw)
    lines = [
        (file, raw, line)
        for file, of_file in raws.items()
        if (path := settings().landing / file).exists()  # a late row's file may be gone by now
        for raw, line in counting.line_numbers(path, feed.content, of_file).items()
    ]
    schema = {"source_file": pl.String, "raw": pl.String, "line": pl.Int32}
    numbered = pl.LazyFrame(lines, schema=schema, orient="row")
    return refused.join(numbered, on=["source_file", "raw"], how="left")


def _for_each_feed[T](source: Source, plan: Plan, step: Callable[[Feed], T]) -> list[T]:
    # Polars lets go of Python's lock; and much of what is done for a small file is waiting.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(step, (feed for feed in source.feeds if feed.name in plan)))


def _resolve(source: Source, nights: Partitions, plan: Plan, feed: Feed, judged: pl.LazyFrame) -> Resolved:
    """Give the late rows their verdicts, in a candidate of their own."""
    rows, days = late.resolve(source, feed, judged, landing.nights_of(plan, feed), landing.days_of(plan, feed))
    name = candidate.name(f"bronze.{late.store(source, feed)}", candidate.suffix(nights))
    candidate.write(name, [rows])
    return {"candidate": name, "days": [str(day) for day in days]}
