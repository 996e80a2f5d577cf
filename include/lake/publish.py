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
from uuid import uuid4

from include.errors import NeedsAttentionError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType


class SchemaChangedError(NeedsAttentionError):
    """A candidate lacks a column of its published table, or has it in another type."""


class StaleCandidateError(NeedsAttentionError):
    """A candidate holds rows of other days than those to publish."""


# One Delta partition: the values of its columns, the day first.
Partition = tuple[date, ...]


@dataclass(frozen=True)
class Content:
    """How many rows a partition has, and the order-independent sum of the rows' 64-bit hashes."""

    rows: int
    hash: int


NOTHING = Content(0, 0)


@dataclass(frozen=True)
class Publication:
    """What :func:`publish` did: the content of every partition in question as it now is, and which were replaced."""

    table: str
    content: dict[Partition, Content]
    replaced: tuple[Partition, ...]

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.content.values())

    @property
    def changed(self) -> tuple[date, ...]:
        """The days of which something was replaced."""
        return tuple(sorted({partition[0] for partition in self.replaced}))

    def __str__(self) -> str:
        what = f"{len(self.changed)} days changed" if self.changed else "nothing changed"
        return f"{self.table}: {self.rows} rows, {what}"


def within(column: str, days: Iterable[date]) -> str:
    """The SQL predicate that ``column`` is one of ``days``."""
    wanted = ", ".join(f"DATE'{one}'" for one in sorted(set(days)))
    return f"`{column}` IN ({wanted})" if wanted else "FALSE"


def publish(
    spark: SparkSession, table: str, rows: DataFrame, by: Sequence[str], scope: str, ignore: Sequence[str] = ()
) -> Publication:
    """Make ``rows`` the content of ``scope`` in ``table``, a Delta table partitioned by the date columns ``by``.

    ``scope`` is an SQL predicate over the partition columns, the first of which is the day. Partitions whose content is
    what is published already are left alone, so that a rerun makes no new version. Columns in ``ignore`` (when a row
    arrived, say) do not count as content. A partition without rows becomes empty. New columns are added to the table,
    null for earlier days; SchemaChangedError where one is gone or has another type, StaleCandidateError where ``rows``
    has some outside of ``scope``.
    """
    columns = _create(spark, table, rows.schema, by)
    content = [name for name in rows.columns if name not in ignore]
    new, old = _contents(spark, rows, spark.table(table), by, scope, content)
    replaced = sorted(one for one in new.keys() | old.keys() if new.get(one) != old.get(one))
    if replaced:
        # Of this call's own: another one that replaced the view in between would have these partitions emptied.
        view = f"publish__{uuid4().hex}"
        rows.createTempView(view)
        names = ", ".join(f"`{name}`" for name in columns)
        inside = _exactly(by, replaced)
        try:
            spark.sql(f"INSERT INTO {table} REPLACE WHERE {inside} SELECT {names} FROM {view} WHERE {inside}")
        finally:
            spark.catalog.dropTempView(view)
    return Publication(table, dict.fromkeys(replaced, NOTHING) | new, tuple(replaced))


def _exactly(by: Sequence[str], partitions: Iterable[Partition]) -> str:
    """The SQL predicate of ``partitions``, in the few words that REPLACE WHERE takes: IN, AND, OR."""
    days: dict[Partition, list[date]] = {}
    for day, *rest in partitions:
        days.setdefault(tuple(rest), []).append(day)
    terms = [
        " AND ".join([within(by[0], those), *(within(name, [value]) for name, value in zip(by[1:], rest, strict=True))])
        for rest, those in days.items()
    ]
    return " OR ".join(f"({term})" for term in terms)


Contents = dict[Partition, Content]


def _contents(
    spark: SparkSession, new: DataFrame, old: DataFrame, by: Sequence[str], scope: str, content: list[str]
) -> tuple[Contents, Contents]:
    """The content of each partition in ``scope``, new and published. Raises StaleCandidateError."""
    from pyspark.sql import functions as F

    def digest(rows: DataFrame, which: str) -> DataFrame:
        # The hash passes over nulls, so that where they are has to be hashed too.
        values = [value for name in content for value in (F.col(name), F.col(name).isNull())]
        hashes = F.sum(F.xxhash64(*values).cast("decimal(38,0)")).alias("hash")
        return rows.groupBy(F.lit(which).alias("which"), *by).agg(F.count("*").alias("rows"), hashes)

    # One question for both: what a small publication costs is its round trips.
    both = digest(new, "new").union(digest(old.where(scope), "old"))
    found = both.withColumn("inside", F.coalesce(F.expr(scope), F.lit(False))).collect()
    if strange := sorted(str(row[by[0]]) for row in found if not row["inside"]):
        raise StaleCandidateError(
            f"the candidate holds {strange[0]} to {strange[-1]}, which this run is not for. "
            "Clear the run from its first task, not from this one."
        )
    new_contents, old_contents = (
        {
            tuple(row[name] for name in by): Content(row["rows"], int(row["hash"]))
            for row in found
            if row["which"] == one
        }
        for one in ("new", "old")
    )
    return new_contents, old_contents


def _create(spark: SparkSession, table: str, schema: StructType, by: Sequence[str]) -> list[str]:
    """Make ``table`` able to take rows of ``schema`` and return its columns in their order."""
    if not spark.catalog.tableExists(table):
        columns = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in schema)
        spark.sql(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) USING delta PARTITIONED BY ({', '.join(by)})")
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
