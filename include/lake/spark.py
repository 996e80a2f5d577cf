"""The one Spark endpoint, and its catalogue, which is derived from the lake: ``python -m include.lake.spark``."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

from include.core.errors import NeedsAttentionError
from include.core.settings import EMBEDDED, settings
from include.core.storage import for_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LAYERS = ("bronze", "silver", "gold", "ledger")


def session() -> SparkSession:
    """A session on the Spark Connect endpoint of the settings."""
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    # This builder, unlike that of ``pyspark.sql.connect``, also tells ``pyspark.sql.functions`` that no JVM is here.
    connected = SparkSession.builder.remote(settings().spark_connection).getOrCreate()
    # A server that was killed is back in ten seconds; by default a client comes to wait a minute between two tries.
    connected.client.set_retry_policies([DefaultPolicy(max_retries=20, max_backoff=3000)])
    return connected


class ApacheSparkWantedError(NeedsAttentionError):
    """What only Apache Spark can do was asked of an installation that runs the embedded engine."""


def apache_spark(what: str) -> SparkSession:
    """A session for ``what`` only Apache Spark can do. Raises ApacheSparkWantedError where it is not what runs."""
    if settings().engine == EMBEDDED:
        raise ApacheSparkWantedError(
            f"{what} needs Apache Spark, and the engine here is the embedded one: set NOCTURNE_ENGINE=spark, then "
            "`make down` and `make up`"
        )
    return session()


def engine() -> str:
    """What computes behind the endpoint and its version, as a publication records it."""
    if settings().engine == EMBEDDED:
        return f"sail {version('pysail')}"
    return f"spark {session().version}"


def interrupt() -> None:
    """End what this process has running on Spark; it would go on there without anybody to take the result."""
    if "pyspark.sql.connect.session" not in sys.modules:
        return
    from pyspark.sql.connect.session import SparkSession

    if session := SparkSession._default_session:
        session.interruptAll()


def create_layers(spark: SparkSession) -> None:
    """Create the schemas of the lake, each in its own folder, where they are not there yet."""
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {layer} LOCATION '{for_spark(settings().lake / layer)}'")


def register(spark: SparkSession, table: str) -> None:
    """Make Spark's catalogue know ``<layer>.<name>``, a Delta table of the lake."""
    if not spark.catalog.tableExists(table):
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table} USING delta LOCATION '{_place(table)}'")


def _place(table: str) -> str:
    return for_spark(settings().lake.joinpath(*table.split(".")))


def register_tables(spark: SparkSession) -> tuple[list[str], dict[str, str]]:
    """Have the catalogue know every Delta table of the lake, as ``<layer>.<name>``.

    Returns those that were new to it, and for each that cannot be read why not. The lake is the truth and the catalogue
    only points into it: one that was lost, or removed because the installation has moved, comes back from the tables'
    own logs.
    """
    from pyspark.errors import PySparkException

    from include.lake import usage  # Polars, which a DAG file that names this module must not import

    create_layers(spark)
    known = {
        f"{layer}.{row['tableName']}" for layer in LAYERS for row in spark.sql(f"SHOW TABLES IN {layer}").collect()
    }
    new, broken = list[str](), dict[str, str]()

    for table in usage.tables():
        if table in known:
            continue
        try:
            register(spark, table)
        except PySparkException as error:  # one table must not keep the others away
            broken[table] = str(error).strip().partition("\n")[0]
        else:
            new.append(table)
    return new, broken


if __name__ == "__main__":
    from include.lake import commit

    try:
        with commit.committing():  # which finishes what a kill has left
            pass
    except commit.JournalError as error:
        print(error)
    connected = session()
    connected.sql("SELECT 1").collect()  # which proves more than an open port
    # the embedded engine is told of each table as a request names it
    new, broken = register_tables(connected) if settings().engine != EMBEDDED else ([], {})
    if new:
        print(f"{len(new)} tables of the lake are new to Spark's catalogue")
    for table, reason in broken.items():
        print(f"{table} cannot be read: {reason}")
    connected.stop()
