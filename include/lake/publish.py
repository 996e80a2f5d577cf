"""Write, audit, publish: how rows that passed their gate become what everybody reads.

A stage writes its result to a table in the schema ``candidate``, which nobody else reads, audits it there, and only
then has it published: :func:`prepare` compares it with what is published and writes the files of the partitions that
differ, :func:`commit` makes them part of their tables, all at once. A stage that fails anywhere before leaves the
earlier good days in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import unquote
from uuid import uuid4

from include.errors import NeedsAttentionError
from include.settings import settings
from include.storage import for_spark, remove

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

    from include.lake.commit import Added, Change

log = logging.getLogger(__name__)

ATTEMPTS = 8


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
    """What was published: the content of every partition in question as it now is, and which were replaced.

    ``columns`` are those that count as content, in the order in which they were hashed.
    """

    table: str
    content: dict[Partition, Content]
    replaced: tuple[Partition, ...]
    columns: tuple[str, ...] = ()

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


@dataclass(frozen=True)
class Request:
    """Make ``rows`` the content of ``scope`` in ``table``, a Delta table partitioned by the date columns ``by``.

    ``scope`` is an SQL predicate over the partition columns, the first of which is the day. Columns in ``ignore`` (when
    a row arrived, say) do not count as content.
    """

    table: str
    rows: DataFrame
    by: Sequence[str]
    scope: str
    ignore: Sequence[str] = ()


@dataclass(frozen=True)
class Judged:
    """Requests, and the version of each other table that their rows were judged by."""

    requests: Sequence[Request]
    reads: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A request, compared with its table at the version ``change.base``; its files are in ``folder`` of the lake."""

    publication: Publication
    change: Change
    folder: str = field(default="", compare=False)


def within(column: str, days: Iterable[date]) -> str:
    """The SQL predicate that ``column`` is one of ``days``."""
    wanted = ", ".join(f"DATE'{one}'" for one in sorted(set(days)))
    return f"`{column}` IN ({wanted})" if wanted else "FALSE"


def publish(
    spark: SparkSession, table: str, rows: DataFrame, by: Sequence[str], scope: str, ignore: Sequence[str] = ()
) -> Publication:
    """Publish one request by itself; see :class:`Request` and :func:`publish_all`."""
    return publish_all(spark, lambda: Judged([Request(table, rows, by, scope, ignore)]), f"publish {table}")[0]


def publish_all(
    spark: SparkSession,
    judged: Callable[[], Judged],
    what: str,
    also: Callable[[Mapping[str, int], Sequence[Publication]], Sequence[Change]] = lambda versions, published: (),
) -> list[Publication]:
    """Publish what ``judged`` says, all of it at once, and return what became of each.

    Partitions whose content is what is published already are left alone, so that a rerun makes no new version. A
    partition without rows becomes empty. New columns are added to the table, null for earlier days. Where somebody else
    has committed to a table since it was read or compared, ``judged`` is asked again, and what it says compared again.
    ``also`` makes the changes that go with it (counts, ledgers), while nobody else commits: it is told the version that
    each table will have, and what is published.

    Raises SchemaChangedError where a column is gone or has another type, StaleCandidateError where rows lie outside of
    their scope.
    """
    from include.lake import commit

    for attempt in range(ATTEMPTS):
        asked = judged()
        prepared = prepare_all(spark, asked.requests)
        try:
            with commit.committing():
                commit.require_unchanged(asked.reads, what)
                changes = [one.change for one in prepared]
                versions = {change.table: change.base + (not change.is_empty) for change in changes}
                published = [one.publication for one in prepared]
                commit.commit_all([*changes, *also(versions, published)], what)
            return published
        except commit.ConflictError as conflict:
            if attempt == ATTEMPTS - 1:
                raise
            log.info("%s; it is compared again", conflict)
        finally:
            for one in prepared:
                if one.folder:
                    remove(settings().lake / one.folder)
    raise AssertionError("unreachable")


def prepare_all(spark: SparkSession, requests: Sequence[Request]) -> list[Prepared]:
    """Prepare several requests side by side: for the small tables of a night most of a call is waiting."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda one: prepare(spark, one), requests))


def prepare(spark: SparkSession, request: Request) -> Prepared:
    """Compare a request with its table, and write the files of the partitions that differ."""
    from include.lake import commit, usage

    columns = _create(spark, request.table, request.rows.schema, request.by)
    # Before it is read: whatever is committed meanwhile, the commit is then refused.
    base = commit.version_of(request.table)
    content = [name for name in request.rows.columns if name not in request.ignore]
    new, old = _contents(spark, request.rows, spark.table(request.table), request.by, request.scope, content)
    replaced = sorted(one for one in new.keys() | old.keys() if new.get(one) != old.get(one))
    publication = Publication(request.table, dict.fromkeys(replaced, NOTHING) | new, tuple(replaced), tuple(content))
    if not replaced:
        return Prepared(publication, commit.Change(request.table, base))
    folder = f"candidate/{request.table.replace('.', '__')}__{replaced[0][0]:%Y_%m_%d}__{uuid4().hex[:8]}__files"
    rows = request.rows.select(*columns).where(_exactly(request.by, replaced)).hint("rebalance", *request.by)
    rows.write.partitionBy(*request.by).parquet(for_spark(settings().lake / folder))
    # As they were when they were compared, and not as they are now.
    there = usage.opened(request.table, base)
    gone = commit.files_of(there, lambda values: tuple(values[name] for name in request.by) in replaced)
    change = commit.Change(request.table, base, tuple(_written(folder)), tuple(gone))
    return Prepared(publication, change, folder)


def _written(folder: str) -> Iterable[Added]:
    """The files that Spark has written to ``folder`` of the lake."""
    import pyarrow.parquet

    from include.lake.commit import Added

    root = settings().lake / folder
    for path in sorted(root.rglob("*.parquet")):
        place = path.relative_to(root).as_posix()
        partition = dict(part.split("=", 1) for part in place.split("/")[:-1])
        with path.open("rb") as file:
            rows = pyarrow.parquet.read_metadata(file).num_rows
        values = {name: unquote(value) for name, value in partition.items()}
        yield Added(f"{folder}/{place}", place, path.stat().st_size, rows, values)


def _exactly(by: Sequence[str], partitions: Iterable[Partition]) -> str:
    """The SQL predicate of ``partitions``."""
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
        return digests(rows, by, content).withColumn("which", F.lit(which))

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


def digests(rows: DataFrame, by: Sequence[str], content: Sequence[str]) -> DataFrame:
    """A row a partition: ``by``, the number of ``rows``, and their ``hash``, in which the order of rows has no part."""
    from pyspark.sql import functions as F

    # The hash passes over nulls, so that where they are has to be hashed too.
    values = [value for name in content for value in (F.col(name), F.col(name).isNull())]
    hashes = F.sum(F.xxhash64(*values).cast("decimal(38,0)")).alias("hash")
    return rows.groupBy(*by).agg(F.count("*").alias("rows"), hashes)


def _create(spark: SparkSession, table: str, schema: StructType, by: Sequence[str]) -> list[str]:
    """Make ``table`` able to take rows of ``schema`` and return its columns in their order."""
    from deltalake import Schema

    from include.lake import commit
    from include.lake import spark as lake

    # Any of them may be null, whatever Spark knows of these rows.
    wanted = Schema.from_json(schema.json().replace('"nullable":false', '"nullable":true'))
    commit.create(table, wanted, by)
    lake.register(spark, table)
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
        commit.add_columns(table, [field for field in wanted.fields if field.name in added])
    return [*there, *added]
