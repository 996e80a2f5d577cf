"""Write, audit, publish: how rows that passed their gate become what everybody reads.

A stage writes its result to a candidate, a folder of Parquet that nobody else reads, audits it there, and only
then has it published: :func:`prepare` compares it with what is published and writes the files of the partitions that
differ, :func:`commit` makes them part of their tables, all at once. A stage that fails anywhere before leaves the
earlier good days in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from uuid import uuid4

import polars as pl
from deltalake import DeltaTable

from include.core.errors import NeedsAttentionError
from include.core.settings import SPARK, settings
from include.core.storage import remove
from include.lake import commit, delta, digest, usage
from include.lake import spark as lake
from include.lake.commit import Added, Change
from include.lake.digest import NOTHING as NOTHING
from include.lake.digest import Content as Content
from include.lake.digest import Partition as Partition

log = logging.getLogger(__name__)

ATTEMPTS = 8

AT_ONCE = 2_000_000
"""Rows that are written in one go, which takes about 200 bytes of memory a row; for more, they are read once more."""

TIME = pl.Datetime("us", "UTC")

# Where people, and Spark, call a type otherwise than Delta's log does.
SPOKEN = {"byte": "tinyint", "short": "smallint", "integer": "int", "long": "bigint"}


class SchemaChangedError(NeedsAttentionError):
    """A candidate lacks a column of its published table, or has it in another type."""


class StaleCandidateError(NeedsAttentionError):
    """A candidate holds rows of other days than those to publish."""


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

    ``scope`` is a predicate over the partition columns, the first of which is the day. Columns in ``ignore`` (when a
    row arrived, say) do not count as content. ``rows`` are read twice, first to compare and then to write them.
    """

    table: str
    rows: pl.LazyFrame
    by: Sequence[str]
    scope: pl.Expr
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


def within(column: str, days: Iterable[date]) -> pl.Expr:
    """The predicate that ``column`` is one of ``days``."""
    wanted = sorted(set(days))
    return pl.col(column).is_in(wanted) if wanted else pl.lit(False)


def publish(
    table: str, rows: pl.LazyFrame, by: Sequence[str], scope: pl.Expr, ignore: Sequence[str] = ()
) -> Publication:
    """Publish one request by itself; see :class:`Request` and :func:`publish_all`."""
    return publish_all(lambda: Judged([Request(table, rows, by, scope, ignore)]), f"publish {table}")[0]


def publish_all(
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
    for attempt in range(ATTEMPTS):
        asked = judged()
        prepared = prepare_all(asked.requests)
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


def prepare_all(requests: Sequence[Request]) -> list[Prepared]:
    """Prepare several requests side by side: for the small tables of a night most of a call is waiting."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(prepare, requests))


def prepare(request: Request) -> Prepared:
    """Compare a request with its table, and write the files of the partitions that differ."""
    table, by = request.table, request.by
    rows = request.rows.with_columns(pl.col(pl.Datetime).cast(TIME))
    schema = rows.collect_schema()
    columns = _create(table, schema, by)
    # Before it is read: whatever is committed meanwhile, the commit is then refused.
    there = usage.opened(table)
    base = int(there.version())
    if base == 0:  # new, or one that Spark was not told of since whoever made it was killed
        announce_to_spark(table)
    content = [name for name in schema if name not in request.ignore]
    new = digest.contents(rows, by, content)
    _require_inside(new, by, request.scope)
    old = _published(there, by, request.scope, content)
    replaced = sorted(one for one in new.keys() | old.keys() if new.get(one) != old.get(one))
    publication = Publication(table, dict.fromkeys(replaced, NOTHING) | new, tuple(replaced), tuple(content))
    if not replaced:
        return Prepared(publication, Change(table, base))
    folder = f"candidate/{table.replace('.', '__')}__{replaced[0][0]:%Y_%m_%d}__{uuid4().hex[:8]}__files"
    added = [
        file
        for some in _goes({one: new[one].rows for one in replaced if one in new})
        for file in _written(folder, rows.select(columns), by, some)
    ]
    replacing = set(replaced)
    gone = commit.files_of(there, lambda values: tuple(values[name] for name in by) in replacing)
    return Prepared(publication, Change(table, base, tuple(added), tuple(gone)), folder)


def _require_inside(found: Iterable[Partition], by: Sequence[str], scope: pl.Expr) -> None:
    """Raise StaleCandidateError where one of the partitions ``found`` is not in ``scope``, or is of no day."""
    partitions = _frame(found, by)
    inside = partitions.filter(pl.all_horizontal(pl.col(by).is_not_null()), scope)
    if strange := sorted(map(str, partitions.join(inside, on=by, how="anti", nulls_equal=True)[by[0]])):
        raise StaleCandidateError(
            f"the candidate holds {strange[0]} to {strange[-1]}, which this run is not for. "
            "Clear the run from its first task, not from this one."
        )


def _published(
    there: DeltaTable, by: Sequence[str], scope: pl.Expr, content: Sequence[str]
) -> dict[Partition, Content]:
    """The content of each published partition in ``scope``, of which alone the files are read.

    So what a night reads does not grow with the nights before it.
    """
    known = usage.files_of(there).select(pl.col(f"partition.{name}").alias(name) for name in by)
    wanted = known.unique().filter(scope)
    if wanted.is_empty():
        return {}
    return digest.contents(_of(pl.scan_delta(there), by, wanted), by, content)


def _of(rows: pl.LazyFrame, by: Sequence[str], partitions: pl.DataFrame) -> pl.LazyFrame:
    """The rows of ``partitions``. Each column by itself tells Polars which files it need not open."""
    found = rows.filter(pl.col(name).is_in(partitions[name].unique().to_list()) for name in by)
    return found if len(by) == 1 else found.join(partitions.lazy(), on=by, how="semi")


def _frame(partitions: Iterable[Partition], by: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(list(partitions), dict.fromkeys(by, pl.Date), orient="row")


def _goes(rows: Mapping[Partition, int]) -> Iterator[list[Partition]]:
    """Partitions that are written together: no more rows than ``AT_ONCE``, unless one partition has more by itself.

    What is written to many files waits in memory until a file has enough of it for a part of its own.
    """
    together, number = list[Partition](), 0
    for partition, own in rows.items():
        if together and number + own > AT_ONCE:
            yield together
            together, number = [], 0
        together.append(partition)
        number += own
    if together:
        yield together


def _written(folder: str, rows: pl.LazyFrame, by: Sequence[str], partitions: Sequence[Partition]) -> list[Added]:
    """Write the rows of ``partitions`` to ``folder`` of the lake, and tell the files."""
    root = settings().lake / folder
    sunk = list[tuple[str, int, int]]()
    _of(rows, by, _frame(partitions, by)).sink_parquet(
        pl.PartitionBy(str(root), key=by, include_key=False, file_path_provider=_place),
        maintain_order=False,
        mkdir=True,
        storage_options=delta.storage_options(),
        sinked_paths_callback=lambda told: sunk.extend((one.path, one.num_rows, one.num_bytes) for one in told.paths),
    )
    found = []
    for path, number, size in sorted(sunk):
        place = path[path.index(folder) + len(folder) + 1 :]
        partition = dict(part.split("=", 1) for part in place.split("/")[:-1])
        found.append(Added(f"{folder}/{place}", place, size, number, partition))
    return found


def _place(file: pl.io.partition.FileProviderArgs) -> str:
    """Where a file lies in its table, and on its way there. Its name is one that no other file has."""
    partition = {name: str(value) for name, value in file.partition_keys.row(0, named=True).items()}
    return commit.path_within(partition, f"part-{uuid4().hex}.parquet")


def _create(table: str, schema: pl.Schema, by: Sequence[str]) -> list[str]:
    """Make ``table`` able to take rows of ``schema`` and return its columns in their order."""
    digest.require_known(table, schema)
    wanted = commit.schema_of(pl.DataFrame(schema=schema))
    commit.create(table, wanted, by)
    there = {field.name: field.type for field in usage.opened(table).schema().fields}
    here = {field.name: field.type for field in wanted.fields}
    problems = [f"{name} is gone" for name in there if name not in here]
    problems += [
        f"{name} was {_spoken(there[name])} and is {_spoken(here[name])}"
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


def _spoken(kind: object) -> str:
    """A type of Delta's as Spark calls it."""
    name = str(getattr(kind, "type", kind))
    return SPOKEN.get(name, name)


def announce_to_spark(table: str) -> None:
    """Make Spark's catalogue know a new table, which dbt reads by its name. Nothing where no Spark is set up."""
    if settings().has_spark and settings().engine == SPARK:
        lake.register(lake.session(), table)
