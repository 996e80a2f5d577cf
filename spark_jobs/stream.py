"""Events as they come → a spool, and the spool → nights.

extract → load by a streaming query, then a cut for each night that is over. Imports PySpark alone, so that it also runs
on a cluster without the rest of the repository: ``spark-submit stream.py < job.json``. The job comes by standard input,
since its options may hold a password.

The spool is a Delta table with **every** event as it came:

- ``origin`` and ``position``: which event it is, by file and line, or by partition of its topic and offset;
- ``value``: its text, null where it has none;
- ``arrived_at``: when it was put where it was found; ``arrived_on`` is that day, UTC;
- ``ingestion_date``: the one whose landing file has it; null until one is cut that takes it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from uuid import uuid4

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

EVENT = ("origin", "position")
BY = ("arrived_on", "ingestion_date")
# Among the table's files, so that nobody loses or restores one without the other. Delta passes over such a folder.
CHECKPOINT = "/_checkpoint"
NOT_UTF8 = "not UTF-8: "  # makes it no JSON, so that nobody takes what is damaged for sound
REPLACEMENT = "\ufffd"  # what Spark puts in the place of bytes that are no text


class Job(TypedDict):
    """What to spool: ``options`` are those of Spark's source ``format``, which is text or kafka."""

    format: str
    options: dict[str, str]
    spool: str


def extract(spark: SparkSession, job: Job) -> DataFrame:
    """The events as they come: ``origin``, ``position``, ``value`` and ``arrived_at``."""
    found = spark.readStream.format(job["format"]).options(**job["options"]).load()
    return files(found, job["options"]["path"]) if job["format"] == "text" else records(found)


def files(found: DataFrame, folder: str) -> DataFrame:
    """The lines of whole files: of a part of one nobody could say which line it begins with."""
    # Below the folder: where that is moved to, its files are the same ones.
    above = Path(folder).as_uri().replace("file:///", "file:/") + "/"
    lines = found.select(
        sf.replace(sf.col("_metadata.file_path"), sf.lit(above), sf.lit("")).alias("origin"),
        sf.col("_metadata.file_modification_time").alias("arrived_at"),
        sf.is_valid_utf8("value").alias("sound"),
        sf.posexplode(sf.split("value", "\r?\n")).alias("before", "line"),
    ).where(sf.col("line").rlike(r"[^\x00-\x20]"))
    return lines.select(
        "origin",
        (sf.col("before") + 1).cast("bigint").alias("position"),
        _text(sf.col("line"), sf.col("sound") | ~sf.contains("line", sf.lit(REPLACEMENT))),
        "arrived_at",
    )


def records(found: DataFrame) -> DataFrame:
    """The records of Kafka. One without a value, as which a key is deleted, is an event too."""
    text = sf.col("value").cast("string")
    return found.select(
        sf.concat_ws("-", "topic", "partition").alias("origin"),
        sf.col("offset").alias("position"),
        _text(text, sf.is_valid_utf8(text)),
        sf.col("timestamp").alias("arrived_at"),
    )


def _text(text: Column, sound: Column) -> Column:
    return sf.when(sound, text).otherwise(sf.concat(sf.lit(NOT_UTF8), sf.make_valid_utf8(text))).alias("value")


def dated(events: DataFrame) -> DataFrame:
    """``events`` with the day of their arrival, which belong to no night yet."""
    # A time that is still to come would keep its event from every night until then.
    at = sf.least("arrived_at", sf.current_timestamp())
    # By the seconds since 1970: whatever zone the session is in, a night ends at midnight UTC.
    day = sf.date_from_unix_date(sf.floor(sf.unix_seconds("arrived_at") / 86400).cast("int"))
    return events.withColumn("arrived_at", at).withColumns(
        {"arrived_on": day, "ingestion_date": sf.lit(None).cast("date")}
    )


def start(spark: SparkSession, job: Job, every: float | None = None) -> StreamingQuery:
    """Begin to spool where the last query came to. One that still runs, in whichever session, is stopped by Spark.

    What is there now and no more; or, looking ``every`` so many seconds, until it is stopped.
    """
    columns = "origin string, position bigint, value string, arrived_at timestamp, arrived_on date, ingestion_date date"
    spark.sql(f"CREATE TABLE IF NOT EXISTS {job['spool']} ({columns}) USING delta PARTITIONED BY ({', '.join(BY)})")
    folder = spark.sql(f"DESCRIBE DETAIL {job['spool']}").collect()[0]["location"]
    spooling = dated(extract(spark, job)).writeStream.format("delta").option("checkpointLocation", folder + CHECKPOINT)
    triggered = spooling.trigger(processingTime=f"{every} seconds") if every else spooling.trigger(availableNow=True)
    return triggered.start(folder)


def cut(spark: SparkSession, spool: str, night: str) -> None:
    """Give ``night`` the events that have arrived by its end and belong to no night yet, in one commit.

    Once it, or a later one, has events, it gets no more: what comes after that is for the next night that is cut. An
    event that is in the spool a second time, as after the loss of a checkpoint, goes.
    """
    events, end = spark.table(spool), f"DATE'{night}'"
    uncut = events.where(f"arrived_on <= {end} AND ingestion_date IS NULL")
    if not events.where(f"ingestion_date >= {end}").isEmpty() or uncut.isEmpty():
        return
    known = events.where("ingestion_date IS NOT NULL").select(*EVENT)
    new = uncut.dropDuplicates(list(EVENT)).join(known, list(EVENT), "left_anti")
    view = f"cut__{uuid4().hex}"
    new.withColumn("ingestion_date", sf.expr(end)).createTempView(view)
    try:
        # The night has nothing yet. It is named because what is written must be in what is replaced. Spool and night
        # are arguments of the task: nothing that an event has brought.
        spark.sql(
            f"INSERT INTO {spool} REPLACE WHERE arrived_on <= {end} "  # noqa: S608
            f"AND (ingestion_date IS NULL OR ingestion_date = {end}) "
            f"SELECT origin, position, value, arrived_at, arrived_on, ingestion_date FROM {view}"
        )
    finally:
        spark.catalog.dropTempView(view)


def of_night(spark: SparkSession, spool: str, night: str) -> DataFrame:
    """The ``value`` of each event of ``night``, in an order that is always the same."""
    return spark.table(spool).where(f"ingestion_date = DATE'{night}'").orderBy(*EVENT).select("value")


def main() -> None:
    job: Job = json.load(sys.stdin)
    start(SparkSession.builder.appName("stream").getOrCreate(), job).awaitTermination()


if __name__ == "__main__":
    main()
