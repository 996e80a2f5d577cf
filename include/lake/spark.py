"""The one Spark endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.settings import settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LAYERS = ("bronze", "silver", "gold", "candidate")


def session() -> SparkSession:
    """A session on the Spark Connect endpoint of the settings."""
    from pyspark.sql import SparkSession

    return SparkSession.builder.remote(settings().spark_url).getOrCreate()


def create_layers(spark: SparkSession) -> None:
    """Create the schemas of the lake, each in its own folder, where they are not there yet."""
    for layer in LAYERS:
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {layer} LOCATION '{settings().lake / layer}'")
