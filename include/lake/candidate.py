"""Candidates: what a stage has written and its gates have not passed yet. Nobody else reads them.

Each try of each run has its own, so that neither a run of the same night beside it nor a statement that outlives a
killed worker can reach into what is being audited. That is why they need no transaction log: they are plain Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import uuid4

from include.errors import NeedsAttentionError
from include.partitions import Partitions
from include.settings import settings
from include.storage import remove as remove_path

if TYPE_CHECKING:
    import polars as pl
    from pyspark.sql import DataFrame, SparkSession
    from upath import UPath


class CandidateMissingError(NeedsAttentionError):
    """A candidate has been published and removed, so that there is nothing to audit or publish again."""


def suffix(nights: Partitions) -> str:
    """What sets this try's candidates apart; another one at each call."""
    return f"__{re.sub(r'[^0-9]+', '_', nights.key)}__{uuid4().hex[:8]}"


def name(table: str, suffix: str) -> str:
    """The candidate for ``table``, which is ``<layer>.<table>``."""
    return f"candidate.{table.replace('.', '__')}{suffix}"


def folder(name: str) -> UPath:
    """Where the files of a candidate are."""
    return settings().lake.joinpath(*name.split("."))


def exists(name: str) -> bool:
    return folder(name).exists()


def write(name: str, parts: Iterable[pl.DataFrame], *, if_any: bool = False) -> int:
    """Make a candidate of ``parts``, a file each, and return its rows. ``if_any``: none where there are no parts.

    Raises FileExistsError where there is one: what is being audited must not change under the audit.
    """
    rows = 0
    if not if_any:
        _begin(name)
    for number, part in enumerate(parts):
        if if_any and not number:
            _begin(name)
        with (folder(name) / f"part-{number:05}.parquet").open("wb") as file:
            part.write_parquet(file)
        rows += part.height
    return rows


def _begin(name: str) -> None:
    if exists(name):
        raise FileExistsError(f"{name} is there already: each try has a candidate of its own")
    folder(name).mkdir(parents=True)


def rows(name: str) -> pl.LazyFrame:
    """The rows of a candidate, without Spark. Raises CandidateMissingError where it is gone."""
    import polars as pl

    from include.lake import delta

    files = sorted(folder(name).glob("*.parquet")) if exists(name) else []
    if not files:
        raise CandidateMissingError(f"{name} has been published and removed. Clear the run from its first task.")
    return pl.scan_parquet([str(file) for file in files], storage_options=delta.storage_options())


def remove(names: Iterable[str]) -> None:
    """Remove candidates that Spark's catalogue does not know; those that are gone already are no error."""
    for one in names:
        remove_path(folder(one))


def read(spark: SparkSession, name: str) -> DataFrame:
    """The rows of a candidate. Raises CandidateMissingError where it is gone."""
    if not spark.catalog.tableExists(name):
        raise CandidateMissingError(f"{name} has been published and removed. Clear the run from its first task.")
    return spark.table(name)


def discard(spark: SparkSession, names: Iterable[str]) -> None:
    """Drop candidates; those that are gone already are no error."""
    for one in names:
        spark.sql(f"DROP TABLE IF EXISTS {one}")
