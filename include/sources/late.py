"""Late rows: those that came in a later file than their day's own.

They go to their own day's partition, beside the rows that were in time, and keep the night in which they arrived. Of
the rows of one key the first to arrive counts: a later one that is equal is a copy, one that differs breaks the
contract. So what is published is a function of the set of files, whatever the order in which they were ingested;
for that, ``bronze.<feed>__late`` keeps every late row, also those that lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from include.lake import delta
from include.lake.publish import within
from include.sources.spec import Feed, Source, table
from spark_jobs import ingest as job

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# Which of the terms of the completeness equation a late row counts for.
VERDICT = "_verdict"


def store(source: Source, feed: Feed) -> str:
    """The table of a feed's late rows, without its layer."""
    return f"{table(source, feed)}__late"


def has_store(source: Source, feed: Feed) -> bool:
    """Whether any late row of the feed has ever come."""
    return delta.exists("bronze", store(source, feed))


def in_time(feed: Feed) -> Column:
    """Whether a row of bronze was in its own day's file."""
    from pyspark.sql import functions as F

    return F.col("night") == F.date_sub("partition_day", feed.lead_days)


def resolve(
    spark: SparkSession, source: Source, feed: Feed, judged: DataFrame, nights: Sequence[date], days: Sequence[date]
) -> tuple[DataFrame, list[date]]:
    """The late rows of every day that this run touches, each with its verdict, and those days.

    ``judged`` is the run's candidate, of the files of ``days``, which arrived in ``nights``. Touched are the files' own
    days, the days of its late rows, and the days to which an earlier ingestion of the same nights had brought some.
    The result has the columns of bronze and ``_reason``, ``_raw`` and ``_verdict``.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    late = judged.where("_late").drop("_late")
    touched = set(days) | {row[0] for row in late.select("partition_day").distinct().collect()}
    if has_store(source, feed):
        kept = spark.table(f"bronze.{store(source, feed)}")
        formerly = kept.where(within("night", nights)).select("partition_day").distinct()
        touched |= {row[0] for row in formerly.collect()}
        others = kept.where(~F.expr(within("night", nights))).drop(VERDICT)
        late = late.unionByName(others)
    late = late.where(within("partition_day", touched))

    names = [column.name for column in feed.columns]
    content = job.content_of(*(F.col(name) for name in names))
    first = judged.where("_reason IS NULL AND NOT _copy AND NOT _late")
    if spark.catalog.tableExists(f"bronze.{table(source, feed)}"):
        published = spark.table(f"bronze.{table(source, feed)}").where(in_time(feed))
        published = published.where(within("partition_day", touched - set(days)))
        first = first.select(*names, "partition_day", "night").unionByName(
            published.select(*names, "partition_day", "night")
        )
    arrived = (
        first.select(*names, "partition_day", "night", F.lit(False).alias("_copy"), F.lit(False).alias("_is_late"))
        .unionByName(late.withColumn("_is_late", F.lit(True)), allowMissingColumns=True)
        .withColumn("_content", content)
    )
    # A copy within its own file comes after the row that it copies, and is one whatever becomes of that.
    order = Window.partitionBy("partition_day", *feed.unique).orderBy("night", "_copy")
    winner = arrived.withColumns(
        {
            "_winner": F.first("_content").over(order),
            "_winner_night": F.first("night").over(order),
            "_rank": F.row_number().over(order),
        }
    ).where("_is_late")
    lost = F.col("_rank") > 1
    differs = lost & ~F.col("_copy") & ~F.col("_content").eqNullSafe(F.col("_winner"))
    reason = F.format_string(
        f"another row has the same {', '.join(feed.unique)}, arrived in the night of %s and differs",
        F.col("_winner_night").cast("string"),
    )
    resolved = winner.withColumns(
        {
            "_reason": F.when(differs, reason),
            VERDICT: F.when(differs, "quarantined").when(lost, "deduplicated").otherwise("published"),
        }
    )
    columns = [*names, "partition_day", "night", "source_file", "arrived_at", "_reason", "_raw", "_copy", VERDICT]
    return resolved.select(*columns), sorted(touched)
