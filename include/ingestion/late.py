"""Late rows: those that came in a later file than their day's own.

They go to their own day's partition, beside the rows that were in time, and keep the night in which they arrived. Of
the rows of one key the first to arrive counts: a later one that is equal is a copy, one that differs breaks the
contract. So what is published is a function of the set of files, whatever the order in which they were ingested;
for that, ``bronze.<feed>__late`` keeps every late row, also those that lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from include.contracts.source import Feed, Source, table
from include.ingestion.verdicts import columns_of
from include.lake import delta
from include.lake.publish import within

# Which of the terms of the completeness equation a late row counts for.
VERDICT = "_verdict"


def store(source: Source, feed: Feed) -> str:
    """The table of a feed's late rows, without its layer."""
    return f"{table(source, feed)}__late"


def has_store(source: Source, feed: Feed) -> bool:
    """Whether any late row of the feed has ever come."""
    return delta.exists("bronze", store(source, feed))


def columns(feed: Feed) -> list[str]:
    """Those of the store, but for the verdict, which comes last."""
    return [name for name in columns_of(feed) if name not in ("_late", "_mended", "_twin")]


def resolve(
    source: Source, feed: Feed, judged: pl.LazyFrame, nights: Sequence[date], days: Sequence[date]
) -> tuple[pl.DataFrame, list[date]]:
    """The late rows of every day that this run touches, each with its verdict, and those days.

    ``judged`` is the run's candidate, of the files of ``days``, which arrived in ``nights``. Touched are the files' own
    days, the days of its late rows, and the days to which an earlier ingestion of the same nights had brought some.
    The result has the columns of bronze and ``_reason``, ``_raw`` and ``_verdict``.
    """
    late = judged.filter("_late").select(columns(feed)).collect()
    touched = set(days) | set(late["partition_day"])
    if has_store(source, feed):
        kept = delta.scan("bronze", store(source, feed))
        touched |= set(
            kept.filter(within("ingestion_date", nights)).select("partition_day").unique().collect().to_series()
        )
        others = kept.filter(~within("ingestion_date", nights) & within("partition_day", touched))
        late = pl.concat([late, others.select(columns(feed)).collect()])
    if not feed.unique:  # each row is a thing of its own
        return late.with_columns(pl.lit("published").alias(VERDICT)).select(*columns(feed), VERDICT), sorted(touched)
    return _with_verdicts(feed, late, _in_time(source, feed, judged, late, touched, days)), sorted(touched)


def _in_time(
    source: Source, feed: Feed, judged: pl.LazyFrame, late: pl.DataFrame, touched: set[date], days: Sequence[date]
) -> pl.DataFrame:
    """The good rows that were in their own day's file and have the key of a late one: of this run, and published."""
    names = [*(column.name for column in feed.columns), "partition_day", "ingestion_date"]
    rows = judged.filter(pl.col("_reason").is_null() & ~pl.col("_copy") & ~pl.col("_late")).select(names)
    others = touched - set(days)
    if others and delta.exists("bronze", table(source, feed)):
        published = delta.scan("bronze", table(source, feed)).filter(within("partition_day", others))
        was_in_time = pl.col("ingestion_date") == pl.col("partition_day") - timedelta(feed.lead_days)
        rows = pl.concat([rows, published.filter(was_in_time).select(names)])
    keys = ["partition_day", *feed.unique]
    return rows.join(late.lazy().select(keys).unique(), on=keys, how="semi", nulls_equal=True).collect()


def _with_verdicts(feed: Feed, late: pl.DataFrame, in_time: pl.DataFrame) -> pl.DataFrame:
    """``late`` with what becomes of each row. Of the rows of a key the first to arrive counts."""
    names, key = [column.name for column in feed.columns], ["partition_day", *feed.unique]
    first = in_time.with_columns(pl.lit(False).alias("_copy"), pl.lit(False).alias("_is_late"))
    arrived = pl.concat([first, late.with_columns(pl.lit(True).alias("_is_late"))], how="diagonal")
    # A copy within its own file comes after the row that it copies, and is one whatever becomes of that.
    arrived = arrived.sort("ingestion_date", "_copy", "_is_late", maintain_order=True)
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).first().over(key)) for name in names)
    lost = pl.int_range(pl.len()).over(key) > 0
    judged = arrived.with_columns(
        lost.alias("_lost"),
        (lost & ~pl.col("_copy") & differs).alias("_differs"),
        pl.col("ingestion_date").first().over(key).cast(pl.String).alias("_winner_night"),
    ).filter("_is_late")
    same = f"another row has the same {', '.join(feed.unique)}, arrived in the night of "
    reason = pl.concat_str(pl.lit(same), "_winner_night", pl.lit(" and differs"))
    verdict = pl.when("_differs").then(pl.lit("quarantined")).when("_lost").then(pl.lit("deduplicated"))
    return judged.with_columns(
        pl.when("_differs").then(reason).alias("_reason"), verdict.otherwise(pl.lit("published")).alias(VERDICT)
    ).select(*columns(feed), VERDICT)
