"""Candidates: what a stage has written and its gates have not passed yet. Nobody else reads them.

Each try of each run has its own, so that neither a run of the same night beside it nor a statement that outlives a
killed worker can reach into what is being audited. That is why they need no transaction log: they are plain Parquet,
which Spark writes in a quarter of the time of a Delta table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import uuid4

from include.errors import NeedsAttentionError
from include.partitions import Partitions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class CandidateMissingError(NeedsAttentionError):
    """A candidate has been published and removed, so that there is nothing to audit or publish again."""


def suffix(nights: Partitions) -> str:
    """What sets this try's candidates apart; another one at each call."""
    return f"__{re.sub(r'[^0-9]+', '_', nights.key)}__{uuid4().hex[:8]}"


def name(table: str, suffix: str) -> str:
    """The candidate for ``table``, which is ``<layer>.<table>``."""
    return f"candidate.{table.replace('.', '__')}{suffix}"


def read(spark: SparkSession, name: str) -> DataFrame:
    """The rows of a candidate. Raises CandidateMissingError where it is gone."""
    if not spark.catalog.tableExists(name):
        raise CandidateMissingError(f"{name} has been published and removed. Clear the run from its first task.")
    return spark.table(name)


def discard(spark: SparkSession, names: Iterable[str]) -> None:
    """Drop candidates; those that are gone already are no error."""
    for one in names:
        spark.sql(f"DROP TABLE IF EXISTS {one}")
