"""A PostgreSQL table → Parquet, read by Spark over JDBC."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import TYPE_CHECKING

from include.lake import spark as lake
from include.sources.connectors import Database
from include.sources.connectors.connections import connection
from include.sources.connectors.errors import RefusedError, UpstreamError
from include.sources.spec import Feed, Mode, Source
from include.storage import for_spark, remove

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
    from upath import UPath

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10  # seconds
# What of a connection's extra the driver is told.
PASSED_ON = ("sslmode", "sslrootcert", "sslcert", "sslkey")


def fetch(connector: Database, source: Source, feed: Feed, day: date, part: UPath) -> bool:
    """Write the rows of ``day`` to ``part``, in the order of their key. Returns whether the night has a file."""
    from pyspark.errors import PySparkException

    spark, login = lake.session(), options_of(connector, connection(connector.connection))
    try:
        rows, bounds = look(spark, login, connector, day)
    except PySparkException as error:
        # Spark does not say which database: it keeps the whole address to itself.
        first = str(error).strip().partition("\n")[0]
        raise UpstreamError(f"{connector.table} by the connection {connector.connection}: {first}") from error
    if not rows and feed.mode is not Mode.UPSERT:
        return False
    found = as_promised(read(spark, login, connector, feed, day, bounds), feed)
    # Each part is read by a connection that sees a moment of its own.
    if (written := write(found, feed, part)) != rows:
        raise UpstreamError(
            f"{connector.table} {day}: {rows} rows were there and {written} came, it has changed in between"
        )
    log.info("%s %s: %d rows", connector.table, day, rows)
    return True


def options_of(connector: Database, login: Connection) -> dict[str, str]:
    """How to reach the database and log in, in Spark's words."""
    if not (login.host and login.schema):
        raise RefusedError(f"the connection {connector.connection} names no host, or no database as its schema")
    host = f"[{login.host}]" if ":" in login.host else login.host
    extra = login.extra_dejson
    return {
        "url": f"jdbc:postgresql://{host}:{login.port or 5432}/{login.schema}",
        "driver": "org.postgresql.Driver",
        "user": login.login or "",
        "password": login.password or "",
        "fetchsize": str(connector.fetch_size),
        "connectTimeout": str(CONNECT_TIMEOUT),
        "socketTimeout": str(connector.timeout),
        # What the night's bounds mean, and what a time without a zone means.
        "sessionInitStatement": "SET TIME ZONE 'UTC'",
        "preferTimestampNTZ": "true",
    } | {name: str(extra[name]) for name in PASSED_ON if name in extra}


def look(
    spark: SparkSession, login: dict[str, str], connector: Database, day: date
) -> tuple[int, tuple[str, str] | None]:
    """How many rows the night has, and the first and last value of the partition column, where it has one."""
    column = quoted(connector.partition) if connector.partition else "NULL"
    what = f"count(*) AS rows, min({column})::text AS low, max({column})::text AS high"
    (found,) = ask(spark, login, f"SELECT {what} {night(connector, day)}").load().collect()
    bounds = (found["low"], found["high"]) if found["low"] is not None else None
    return found["rows"], connector.bounds or bounds


def read(
    spark: SparkSession,
    login: dict[str, str],
    connector: Database,
    feed: Feed,
    day: date,
    bounds: tuple[str, str] | None,
) -> DataFrame:
    """The night's rows. The bounds say where to cut them into parts; rows outside of them are in the outer parts."""
    names = [column.name for column in feed.columns]
    asked = dict.fromkeys([*names, *filter(None, [connector.partition])])
    rows = ask(spark, login, f"SELECT {', '.join(map(quoted, asked))} {night(connector, day)}")
    if connector.partition and bounds:
        rows = rows.options(
            partitionColumn=connector.partition,
            lowerBound=bounds[0],
            upperBound=bounds[1],
            numPartitions=connector.partitions,
        )
    return rows.load()


def as_promised(rows: DataFrame, feed: Feed) -> DataFrame:
    """Decimals become doubles where that is promised. Every other type stays, and is looked at as any file's is."""
    from pyspark.sql import functions as F

    written = dict(rows.dtypes)

    def value(name: str, type_: str) -> Column:
        is_decimal = written[name].startswith("decimal") and type_ == "double"
        return F.col(name).cast("double").alias(name) if is_decimal else F.col(name)

    return rows.select(*(value(column.name, column.type) for column in feed.columns))


def write(rows: DataFrame, feed: Feed, part: UPath) -> int:
    """Write ``rows`` as the one file ``part`` and return how many they are. The same rows make the same file."""
    import pyarrow.parquet

    folder = part.with_name(f"{part.stem}.spark.part")  # Spark writes folders
    try:
        rows.repartition(1).sortWithinPartitions(*feed.unique).write.parquet(for_spark(folder))
        (file,) = folder.glob("part-*.parquet")
        file.replace(part)
    finally:
        remove(folder)
    with part.open("rb") as written:
        return int(pyarrow.parquet.read_metadata(written).num_rows)


def ask(spark: SparkSession, login: dict[str, str], query: str) -> DataFrameReader:
    """A reader of what ``query`` brings."""
    return spark.read.format("jdbc").options(**login, dbtable=f"({query}) AS night")


def night(connector: Database, day: date) -> str:
    """Where the rows of ``day`` are. The bounds have no type of their own: they take that of the column."""
    table, column = ".".join(map(quoted, connector.table.split("."))), quoted(connector.watermark)
    return f"FROM {table} WHERE {column} >= '{day}' AND {column} < '{day + timedelta(1)}'"


def quoted(name: str) -> str:
    """``name`` as an identifier of SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'
