"""Write, audit, publish: how rows that passed their gate become what everybody reads.

A stage writes its result to a table in the schema ``candidate``, which nobody else reads, audits it there, and only
then calls :func:`publish`, which replaces exactly the days in question by one atomic commit. A stage that fails
anywhere before leaves the earlier good days in place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from include.errors import NeedsAttentionError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


class SchemaChangedError(NeedsAttentionError):
    """A candidate lacks a column of its published table, or has it in another type."""


class StaleCandidateError(NeedsAttentionError):
    """A candidate holds other days than those to publish: a later run has written over it."""


@dataclass(frozen=True)
class Publication:
    """What :func:`publish` did. ``changed`` are the days whose content was replaced; ``rows`` those of all days."""

    table: str
    rows: int
    changed: tuple[date, ...]

    def __str__(self) -> str:
        what = f"{len(self.changed)} days changed" if self.changed else "nothing changed"
        return f"{self.table}: {self.rows} rows, {what}"


def publish(
    spark: SparkSession, table: str, rows: DataFrame, day: str, days: Iterable[date], ignore: Sequence[str] = ()
) -> Publication:
    """Make ``rows`` the content of ``days`` in ``table``, a Delta table partitioned by the date column ``day``.

    Days whose content is what is published already are left alone, so that a rerun makes no new version. Columns in
    ``ignore`` (when a row arrived, say) do not count as content. A day without rows becomes empty. New columns are
    added to the table, null for earlier days; SchemaChangedError where one is gone or has another type,
    StaleCandidateError where ``rows`` has other days.
    """
    columns = _create(spark, table, rows.schema, day)
    wanted = sorted(set(days))
    content = [name for name in rows.columns if name not in ignore]
    new, old = _digests(spark, rows, spark.table(table), day, content, wanted)
    if strange := sorted(new.keys() - wanted):
        raise StaleCandidateError(
            f"the candidate of {table} holds {strange[0]} to {strange[-1]}, which this run is not for: a later run has "
            "written over it. Clear the run from its first task, not from this one."
        )
    changed = [one for one in wanted if new.get(one) != old.get(one)]
    if changed:
        view = f"publish__{table.replace('.', '__')}"
        rows.createOrReplaceTempView(view)
        names = ", ".join(f"`{name}`" for name in columns)
        inside = f"`{day}` IN ({_dates(changed)})"
        spark.sql(f"INSERT INTO {table} REPLACE WHERE {inside} SELECT {names} FROM {view} WHERE {inside}")
    return Publication(table, sum(count for count, _ in new.values()), tuple(changed))


def _dates(days: Iterable[date]) -> str:
    return ", ".join(f"DATE'{one}'" for one in days)


Digests = dict[date, tuple[int, int]]


def _digests(
    spark: SparkSession, new: DataFrame, old: DataFrame, day: str, content: list[str], days: list[date]
) -> tuple[Digests, Digests]:
    """Rows and content of each day, new and published: (count, order-independent sum of the rows' 64-bit hashes)."""
    from pyspark.sql import functions as F

    def digest(rows: DataFrame, which: str) -> DataFrame:
        # The hash passes over nulls, so that where they are has to be hashed too.
        values = [value for name in content for value in (F.col(name), F.col(name).isNull())]
        content_of = F.sum(F.xxhash64(*values).cast("decimal(38,0)"))
        return rows.groupBy(F.lit(which).alias("which"), F.col(day).alias("day")).agg(
            F.count("*").alias("rows"), content_of.alias("content")
        )

    # One question for both: what a small publication costs is its round trips.
    found = digest(new, "new").union(digest(old.where(F.col(day).isin(days)), "old")).collect()
    new_digests, old_digests = (
        {row["day"]: (row["rows"], int(row["content"])) for row in found if row["which"] == which}
        for which in ("new", "old")
    )
    return new_digests, old_digests


def _create(spark: SparkSession, table: str, schema: StructType, day: str) -> list[str]:
    """Make ``table`` able to take rows of ``schema`` and return its columns in their order."""
    if not spark.catalog.tableExists(table):
        columns = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in schema)
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) USING delta PARTITIONED BY (`{day}`)")
    there = {field.name: field.dataType for field in spark.table(table).schema}
    here = {field.name: field.dataType for field in schema}
    problems = [f"{name} is gone" for name in there if name not in here]
    problems += [
        f"{name} was {there[name].simpleString()} and is {here[name].simpleString()}"
        for name in here
        if name in there and here[name] != there[name]
    ]
    if problems:
        raise SchemaChangedError(
            f"{table} cannot take its new rows: {'; '.join(problems)}. Undo the change, or drop the table and load "
            f"its whole history again."
        )
    added = [name for name in here if name not in there]
    if added:
        definitions = ", ".join(f"`{name}` {here[name].simpleString()}" for name in added)
        spark.sql(f"ALTER TABLE {table} ADD COLUMNS ({definitions})")
    return [*there, *added]
