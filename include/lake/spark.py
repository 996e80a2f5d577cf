"""The one Spark endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.settings import settings
from include.storage import for_spark

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LAYERS = ("bronze", "silver", "gold", "ledger", "candidate")


def session() -> SparkSession:
    """A session on the Spark Connect endpoint of the settings."""
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    # This builder, unlike that of ``pyspark.sql.connect``, also tells ``pyspark.sql.functions`` that no JVM is here.
    connected = SparkSession.builder.remote(settings().spark_url).getOrCreate()
    # A server that was killed is back in ten seconds; by default a client comes to wait a minute between two tries.
    connected.client.set_retry_policies([DefaultPolicy(max_retries=20, max_backoff=3000)])
    return connected


def create_layers(spark: SparkSession) -> None:
    """Create the schemas of the lake, each in its own folder, where they are not there yet."""
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {layer} LOCATION '{for_spark(settings().lake / layer)}'")
