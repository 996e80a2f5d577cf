"""Landing to bronze in steps: load, audit, publish. Each is one Airflow task, and safe to repeat."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from include.errors import NeedsAttentionError
from include.lake import candidate, delta
from include.lake import spark as lake
from include.lake.publish import Publication, publish
from include.partitions import Partitions
from include.quality import contract, gate
from include.settings import settings
from include.sources.landing import Plan, path_of
from include.sources.spec import Feed, Source, as_json, table
from spark_jobs import ingest as job

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)

# The right side of the completeness equation, and which rows of a candidate each of its terms counts.
TERMS = {
    "published": "_reason IS NULL AND NOT _copy",
    "quarantined": "_reason IS NOT NULL AND NOT _copy",
    "deduplicated": "_copy",
}

# The candidate table of each feed.
Candidates = dict[str, str]


class NotIngestedError(NeedsAttentionError):
    """Nothing of a source has been ingested for the nights asked for."""


class IncompleteError(NeedsAttentionError):
    """Rows of a file are unaccounted for, or too many broke the contract. Nothing was published."""


def load(source: Source, nights: Partitions, plan: Plan) -> Candidates:
    """Read the files of ``plan`` with Spark into one new candidate table a feed, every row with its verdict."""
    spark = lake.session()
    lake.create_layers(spark)
    suffix = candidate.suffix(nights)
    candidates = {feed: candidate.name(f"bronze.{table(source, source.feed(feed))}", suffix) for feed in plan}

    def load_feed(feed: Feed) -> None:
        files = [str(path_of(source, feed, day)) for day in _days(plan, feed)]
        job.run(
            spark,
            {
                "landing": str(settings().landing),
                "files": files,
                "feed": as_json(feed),
                "candidate": candidates[feed.name],
            },
        )
        log.info("%s: %d files with %d rows loaded", feed.name, len(files), sum(plan[feed.name].values()))

    _for_each_feed(source, plan, load_feed)
    return candidates


def audit(source: Source, nights: Partitions, plan: Plan, candidates: Candidates) -> list[dict[str, str | int]]:
    """Check every candidate against its contract and the completeness equation, and return the equation's terms.

    ``rows in = published + quarantined + deduplicated`` must hold exactly for each feed and day, where *rows in* was
    counted in the file by other code than read it. Raises IncompleteError or GateFailedError, naming feed and day.
    """
    spark = lake.session()

    def audit_feed(feed: Feed) -> list[dict[str, str | int]]:
        rows = candidate.read(spark, candidates[feed.name])
        counts = _count(rows, feed, plan)
        problems = [line for row in counts for line in complete(feed, row)]
        if problems:
            raise IncompleteError("\n".join(problems))
        gate.check(f"bronze.{table(source, feed)}", nights.key, _good(rows), contract.suite(feed))
        return counts

    return [row for rows in _for_each_feed(source, plan, audit_feed) for row in rows]


def publish_all(
    source: Source, plan: Plan, candidates: Candidates, counts: list[dict[str, str | int]]
) -> list[Publication]:
    """Publish the audited candidates: good rows to bronze, the others to quarantine, the counts to completeness."""
    spark = lake.session()
    quarantined = {feed: sum(int(row["quarantined"]) for row in counts if row["feed"] == feed) for feed in plan}

    def publish_feed(feed: Feed) -> Publication:
        name, days = f"bronze.{table(source, feed)}", _days(plan, feed)
        judged = candidate.read(spark, candidates[feed.name])
        broken = judged.where(TERMS["quarantined"])
        rows = broken.selectExpr("partition_day", "source_file", "arrived_at", "_reason AS reason", "_raw AS raw")
        # The quarantine first: a kill in between must not leave rows that are in neither. A feed whose rows never
        # broke their contract has none.
        if quarantined[feed.name] or spark.catalog.tableExists(f"{name}__quarantine"):
            publish(spark, f"{name}__quarantine", rows, "partition_day", days, ignore=["arrived_at"])
        done = publish(spark, name, _good(judged), "partition_day", days, ignore=["arrived_at"])
        log.info("%s", done)
        return done

    published = _for_each_feed(source, plan, publish_feed)
    _record(source, counts)
    return published


def ingested(source: Source, nights: Partitions) -> list[str]:
    """The feeds of which a file was ingested in ``nights``, in the order of the spec. Raises NotIngestedError."""
    name = f"{source.name}__completeness"
    found: set[str] = set()
    if delta.exists("bronze", name):
        rows = delta.read_days("bronze", name, nights.first, nights.last, columns=["feed"], day="night")
        found = set(rows["feed"])
    if not found:
        raise NotIngestedError(f"nothing of {source.name} has been ingested for {nights}: ingest it first")
    return [feed.name for feed in source.feeds if feed.name in found]


def complete(feed: Feed, row: dict[str, str | int]) -> list[str]:
    """What is wrong with the completeness equation of one feed and day; empty where it holds."""
    rows, quarantined = int(row["rows_in"]), int(row["quarantined"])
    accounted = int(row["published"]) + quarantined + int(row["deduplicated"])
    problems = []
    if rows != accounted:
        problems.append(
            f"{feed.name} {row['partition_day']}: the file has {rows} rows and {accounted} are accounted for ({row})"
        )
    if quarantined > feed.max_quarantined_share * rows:
        problems.append(
            f"{feed.name} {row['partition_day']}: {quarantined} of {rows} rows break the contract, more than the "
            f"{feed.max_quarantined_share:.0%} allowed; see _reason in the candidate table"
        )
    return problems


def _days(plan: Plan, feed: Feed) -> list[date]:
    return [date.fromisoformat(day) for day in plan[feed.name]]


def _good(judged: DataFrame) -> DataFrame:
    return judged.where(TERMS["published"]).drop(*job.BOOKKEEPING)


def _for_each_feed[T](source: Source, plan: Plan, step: Callable[[Feed], T]) -> list[T]:
    # Spark Connect serves calls side by side; for the small tables of a night most of a call is waiting.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(step, (feed for feed in source.feeds if feed.name in plan)))


def _count(judged: DataFrame, feed: Feed, plan: Plan) -> list[dict[str, str | int]]:
    from pyspark.sql import functions as F

    terms = [F.expr(f"count_if({verdict})").alias(term) for term, verdict in TERMS.items()]
    found = judged.groupBy("partition_day").agg(*terms).collect()
    by_day = {str(row["partition_day"]): row for row in found}
    counts: list[dict[str, str | int]] = []
    for day, rows in plan[feed.name].items():
        night = str(feed.night(date.fromisoformat(day)))
        accounted = {term: by_day[day][term] if day in by_day else 0 for term in TERMS}
        counts.append({"night": night, "feed": feed.name, "partition_day": day, "rows_in": rows, **accounted})
    return counts


def _record(source: Source, counts: list[dict[str, str | int]]) -> None:
    rows = pl.DataFrame(counts).with_columns(pl.col("night", "partition_day").str.to_date())
    name, nights = f"{source.name}__completeness", [date.fromisoformat(str(row["night"])) for row in counts]
    first, last = min(nights), max(nights)
    if delta.exists("bronze", name):
        # A range may have nights without files, whose earlier counts stay.
        there = delta.read_days("bronze", name, first, last, day="night")
        rows = pl.concat([rows, there.join(rows, on="night", how="anti").select(rows.columns)])
    delta.replace_days("bronze", name, rows, first, last, day="night")
