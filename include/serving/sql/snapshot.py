"""Tables of the lake as a statement sees them: each at one version, without what its user may not see."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import reduce
from operator import and_

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
from deltalake import DeltaTable

from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.lake import delta
from include.serving.sql.access import LAYERS, Role, Rows, RulesError, Table
from include.serving.sql.personal import Personal

BATCH_ROWS = 32_768
LOOKS = 5
"""How often versions are read again where somebody published meanwhile."""


class UnsettledError(NeedsAttentionError):
    """Tables were published faster than their versions could be read."""


def tables() -> list[Table]:
    """Every Delta table of silver and gold, as the lake has them now."""
    found = []
    for layer in LAYERS:
        folder = settings().lake / layer
        if folder.exists():
            found += [Table(layer, one.name) for one in folder.iterdir() if (one / "_delta_log").exists()]
    return sorted(found, key=str)


class Lake:
    """Reads versions of tables. What it knows of a version is kept until the table has a newer one."""

    def __init__(self, personal: Personal) -> None:
        self.personal = personal
        self._lock = threading.Lock()
        self._kept: dict[Table, tuple[int, ds.Dataset]] = {}

    def cut(self, wanted: Iterable[Table]) -> dict[Table, tuple[int, ds.Dataset]]:
        """The newest version of each table, such that at one moment all of these were the newest.

        The lake has no transaction of several tables: so versions are read until they read the same twice. A table
        that is gone is left out. Raises UnsettledError.
        """
        names = sorted(set(wanted), key=str)
        opened = _opened(names)
        for _ in range(LOOKS):
            again = _opened(names) if len(opened) > 1 else opened
            if {one: table.version() for one, table in again.items()} == {
                one: table.version() for one, table in opened.items()
            }:
                return {one: (int(table.version()), self._dataset(one, table)) for one, table in again.items()}
            opened = again
        raise UnsettledError("tables of this statement are published one after the other: try again in a moment")

    def _dataset(self, name: Table, table: DeltaTable) -> ds.Dataset:
        version = int(table.version())
        with self._lock:
            kept = self._kept.get(name)
        if kept is None or kept[0] != version:
            path = delta.table_path(name.layer, name.name)
            # Arrow's own file system where it is a folder: delta-rs's may abort the process when this one ends.
            local = (
                None if "://" in str(path) else pyarrow.fs.SubTreeFileSystem(str(path), pyarrow.fs.LocalFileSystem())
            )
            whole = table.to_pyarrow_dataset(filesystem=local)
            kept = (version, _by_partition(whole, table.metadata().partition_columns))
            with self._lock:
                self._kept[name] = kept
        return kept[1]

    def shown(self, role: Role, wanted: Iterable[Table]) -> dict[Table, tuple[int, ds.Dataset]]:
        """Of the tables that a role may read, what it is shown of each, with its version."""
        cut = self.cut(one for one in wanted if role.may_read(one))
        visible = {name: (version, self._visible(role, name, dataset)) for name, (version, dataset) in cut.items()}
        return {name: (version, dataset) for name, (version, dataset) in visible.items() if dataset is not None}

    def _visible(self, role: Role, name: Table, dataset: ds.Dataset) -> ds.Dataset | None:
        schema: pa.Schema = dataset.schema
        # who may see all of it reads without dbt, also where that does not compile
        personal = frozenset[str]() if role.personal else self.personal.of(name)
        rules = role.filters(name)
        columns = role.columns(name, schema.names, personal)
        if not columns or any(rule.column not in schema.names for rule in rules):
            return None
        rows = [_is_one_of(rule, schema.field(rule.column).type) for rule in rules]
        return Shown(dataset, columns, reduce(and_, rows) if rows else None)


class Shown(ds.Dataset):
    """What a role is shown of a dataset: some of its columns, and the rows that a filter lets through.

    DuckDB asks for a scan of the columns and rows that it needs. Files are left out by their partition; rows are
    filtered here, once they have the table's types. Arrow's own scan filters before, by the types of each file, and has
    no comparisons for the text that Polars writes (string_view).
    """

    def __init__(self, whole: ds.FileSystemDataset, columns: Sequence[str], rows: pc.Expression | None) -> None:
        self._whole, self._rows = whole, rows
        self._schema = pa.schema([whole.schema.field(one) for one in columns])

    @property
    def schema(self) -> pa.Schema:
        """The columns that are shown."""
        return self._schema

    def scanner(self, columns: Sequence[str] | None = None, filter: pc.Expression | None = None) -> ds.Scanner:  # noqa: A002  # as Arrow calls it
        """Reads ``columns`` (all that are shown) of the rows that ``filter`` lets through."""
        wanted = self._schema.names if columns is None else list(columns)
        result = pa.schema([self._schema.field(one) for one in wanted])
        both = [one for one in (self._rows, filter) if one is not None]
        if not both:
            return ds.Scanner.from_batches(self._batches(wanted, None), schema=result)
        keep = reduce(and_, both)
        # an expression does not list its columns: those whose name is in its text are more than enough
        read = [one for one in self._whole.schema.names if one in wanted or one in str(keep)]
        batches = (batch.filter(keep).select(wanted) for batch in self._batches(read, keep))
        return ds.Scanner.from_batches(batches, schema=result)

    def _batches(self, columns: list[str], keep: pc.Expression | None) -> Iterator[pa.RecordBatch]:
        files = list(self._whole.get_fragments(keep))
        part = ds.FileSystemDataset(files, self._whole.schema, self._whole.format, self._whole.filesystem)
        scan = part.scanner(columns=columns, batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=2)
        yield from scan.to_batches()


def _by_partition(dataset: ds.FileSystemDataset, partitioned_by: Sequence[str]) -> ds.FileSystemDataset:
    """The same files, each known by its partition alone.

    What delta-rs makes of statistics leaves out files that have rows: of a column that a file does not have it says
    that its values are at least null, which no row is (deltalake 1.6.6).
    """
    files = []
    for file in dataset.get_fragments():
        keys = ds.get_partition_keys(file.partition_expression)
        known = [
            pc.field(one).is_null() if keys.get(one) is None else pc.field(one) == pc.scalar(keys[one])
            for one in partitioned_by
        ]
        expression = reduce(and_, known) if known else None
        files.append(dataset.format.make_fragment(file.path, dataset.filesystem, partition_expression=expression))
    return ds.FileSystemDataset(files, dataset.schema, dataset.format, dataset.filesystem)


def _is_one_of(rule: Rows, kind: pa.DataType) -> pc.Expression:
    try:
        values = pa.array([str(one) for one in rule.values]).cast(kind)
    except pa.ArrowInvalid:
        raise RulesError(f"config/sql.toml: {rule.column} of {rule.table} is {kind}, not {rule.values}") from None
    return pc.field(rule.column).isin(values)


def _opened(names: list[Table]) -> dict[Table, DeltaTable]:
    found = {}
    for one in names:
        with suppress(delta.TableMissingError):
            found[one] = delta.opened(one.layer, one.name)
    return found
