"""Delta tables through Polars and delta-rs: read days, replace days, nothing else.

Every table is ``<lake>/<layer>/<name>/`` and is partitioned by a day column. A write replaces a range of days in one
commit, and makes no commit at all when the content is already there: re-running changes nothing.
Never ``to_pyarrow_table``: it aborts the process at exit about every second time.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from io import BytesIO
from itertools import batched
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from include.core.errors import NeedsAttentionError
from include.core.lease import require_held
from include.core.settings import settings

if TYPE_CHECKING:
    from upath import UPath

ATTEMPTS = 8
HASHED_ROWS, AT_ONCE = 10_000, 8
"""So many rows become text in one go, which is larger than they are, and so many of these are in memory."""
# Columns that a migration has given another name, in versions of before it.
FORMER_NAMES = {"night": "ingestion_date"}
CONFIGURATION = {"delta.checkpointInterval": "20"}
"""Of each table: who opens one reads a checkpoint and what was committed since, by default up to 100 commits."""


class TableMissingError(NeedsAttentionError, FileNotFoundError):
    """A Delta table that is not there yet."""


class VersionMissingError(NeedsAttentionError):
    """A version of a Delta table that is not there, or not any more."""


@dataclass(frozen=True)
class Replaced:
    """What a write did: the table's version afterwards, rows in the range, and whether a commit was made."""

    version: int
    rows: int
    changed: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def table_path(layer: str, name: str) -> UPath:
    """Where the table ``name`` of ``layer`` is, whether it exists or not."""
    return settings().lake / layer / name


def storage_options() -> dict[str, str] | None:
    """What delta-rs must be told to reach the lake: nothing for a folder. Who may is for AWS's own chain to find."""
    if not settings().lake_uri.startswith("s3://"):
        return None
    # A commit is a put that fails where there is such a file already.
    options = {"aws_region": settings().s3_region, "conditional_put": "etag"}
    if endpoint := settings().s3_endpoint:
        options |= {"aws_endpoint": endpoint, "aws_allow_http": str(endpoint.startswith("http://")).lower()}
    return options


def exists(layer: str, name: str) -> bool:
    """Whether there is such a table."""
    return DeltaTable.is_deltatable(str(table_path(layer, name)), storage_options())


def opened(layer: str, name: str, version: int | None = None) -> DeltaTable:
    """A table, as it is or as it was.

    Raises TableMissingError, or VersionMissingError where the log has no such version.
    """
    path = table_path(layer, name)
    try:
        return DeltaTable(str(path), version=version, storage_options=storage_options())
    except DeltaError as error:
        if version is not None and exists(layer, name):
            version_now = opened(layer, name).version()
            raise VersionMissingError(
                f"{layer}.{name} has no version {version}: there never was one, or its log is gone. The newest is "
                f"{version_now}"
            ) from error
        if isinstance(error, TableNotFoundError):
            raise TableMissingError(f"table {layer}.{name} is missing: no Delta table at {path}") from None
        raise


def version(layer: str, name: str) -> int:
    """The newest version of a table. Raises TableMissingError."""
    return int(opened(layer, name).version())


def scan(layer: str, name: str, version: int | None = None) -> pl.LazyFrame:
    """A table to read from, as it is or as it was; nothing is read yet. Raises what ``opened`` does.

    Where a version of before a migration called a column something else, it has the name of now.
    """
    rows = pl.scan_delta(opened(layer, name, version))
    return rows if version is None else rows.rename(FORMER_NAMES, strict=False)


def require_whole(layer: str, name: str, version: int, first: date, last: date, *, day: str = "flight_date") -> None:
    """Raise VersionMissingError unless every file of an older version's days ``first`` to ``last`` is still there."""
    files = opened(layer, name, version).file_uris([(day, ">=", str(first)), (day, "<=", str(last))])
    # By their names, which are unique: one listing, and not a question for each file.
    left = {path.name for path in table_path(layer, name).rglob("*.parquet")}
    gone = [uri for uri in files if uri.rsplit("/", 1)[-1] not in left]
    if gone:
        raise VersionMissingError(
            f"{layer}.{name} version {version} has lost {len(gone)} of its {len(files)} files of {first} to {last}: a "
            f"vacuum removed them. Put them back from a backup, or read another version; the newest is "
            f"{opened(layer, name).version()}"
        )


def scan_days(
    layer: str, name: str, first: date, last: date, *, day: str = "flight_date", version: int | None = None
) -> pl.LazyFrame:
    """The rows of the days ``first`` to ``last``, both included, in no particular order, lazily.

    Only the partitions of those days are read. ``version`` reads an older version. Raises TableMissingError,
    VersionMissingError. Days without rows are simply not there: who needs every day checks.
    """
    return scan(layer, name, version).filter(pl.col(day).is_between(first, last))


def written(layer: str, name: str, column: str, day: date) -> tuple[int, datetime] | None:
    """The newest version of a table that brought rows of ``day``, and when (UTC).

    ``column`` is what the table is partitioned by. A merge of small files brings none. None where the table's log,
    which Delta cuts after a month, does not go back so far. Raises TableMissingError.
    """
    opened(layer, name)
    for path in sorted((table_path(layer, name) / "_delta_log").glob("*.json"), reverse=True):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        added = [one["add"] for one in actions if "add" in one]
        if any(one["dataChange"] and one["partitionValues"].get(column) == str(day) for one in added):
            milliseconds = next(one["commitInfo"]["timestamp"] for one in actions if "commitInfo" in one)
            return int(path.stem), datetime.fromtimestamp(milliseconds / 1000, UTC)
    return None


def read_days(
    layer: str,
    name: str,
    first: date,
    last: date,
    *,
    columns: Sequence[str] | None = None,
    day: str = "flight_date",
    version: int | None = None,
) -> pl.DataFrame:
    """The rows of :func:`scan_days`, read; ``columns`` limits what comes back."""
    rows = scan_days(layer, name, first, last, day=day, version=version)
    return (rows.select(columns) if columns else rows).collect()


def read_all(layer: str, name: str, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """A whole table, or some columns of it: for ledgers, which are small. Raises TableMissingError."""
    rows = scan(layer, name)
    return (rows.select(columns) if columns else rows).collect()


def content_hash(frame: pl.DataFrame) -> str:
    """sha256 over columns, types and rows; neither the order of rows nor that of columns matters, multiplicity does."""
    columns = sorted(frame.columns)
    return hash_in_order([frame.select(columns).sort(columns, nulls_last=True, maintain_order=True)])


def hash_in_order(frames: Iterable[pl.DataFrame]) -> str:
    """sha256 over columns, types and rows in their order, which may be cut into frames anywhere.

    The order of columns does not matter.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor(2) as threads:  # Polars writes a small frame in one, and sha256 waits for it
        for number, frame in enumerate(frames):
            columns = sorted(frame.columns)
            if number == 0:
                digest.update(repr([(name, str(frame.schema[name])) for name in columns]).encode())
            for some in batched(frame.select(columns).iter_slices(HASHED_ROWS), AT_ONCE):
                for text in threads.map(_text, some):
                    digest.update(text.getbuffer())
    return digest.hexdigest()


def _text(rows: pl.DataFrame) -> BytesIO:
    """Text, not Arrow bytes: these do not depend on chunks or on the library's version.

    With every string quoted, an empty one differs from a null.
    """
    text = BytesIO()
    rows.write_csv(text, include_header=False, quote_style="non_numeric", null_value="")
    return text


def replace_days(
    layer: str, name: str, frame: pl.DataFrame, first: date, last: date, *, day: str = "flight_date"
) -> Replaced:
    """Make ``frame`` the whole content of the days ``first`` to ``last`` of a table, in one commit.

    The table is created, partitioned by ``day``, where it is missing. Writes nothing when the content is the same
    already. A concurrent commit is retried. Raises ValueError when a row lies outside the range.
    """
    outside = frame.filter(~pl.col(day).is_between(first, last) | pl.col(day).is_null())
    if outside.height:
        raise ValueError(f"{layer}.{name}: {outside.height} rows lie outside {first} to {last} or have no {day}")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(0.05 * 2**attempt * (0.5 + random.random()))  # noqa: S311  # to part those who try again
        try:
            return _replace_once(layer, name, frame, first, last, day)
        except DeltaError as error:
            # Somebody else committed, or created the table, in between. It may be this very content: look again.
            conflict = isinstance(error, CommitFailedError) or "already exists" in str(error)
            if not conflict or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _replace_once(layer: str, name: str, frame: pl.DataFrame, first: date, last: date, day: str) -> Replaced:
    if not exists(layer, name):
        require_held()
        path, options = str(table_path(layer, name)), storage_options()
        write_deltalake(
            path, frame, partition_by=[day], mode="error", configuration=CONFIGURATION, storage_options=options
        )
        return Replaced(version(layer, name), frame.height, True)
    table = opened(layer, name)
    current = pl.scan_delta(table).filter(pl.col(day).is_between(first, last)).collect()
    # The table's types win, as they do when delta-rs writes: or an Int64 frame would never equal its Int32 table.
    if set(frame.columns) == set(current.columns):
        frame = frame.select(current.columns).cast(current.schema)
    if current.height == frame.height and content_hash(current) == content_hash(frame):
        return Replaced(int(table.version()), frame.height, False)
    require_held()
    predicate = f"{day} >= '{first}' AND {day} <= '{last}'"
    if frame.height:
        # A column that is new becomes part of the table, null in its other rows.
        grows: Literal["merge"] | None = "merge" if set(frame.columns) - set(current.columns) else None
        write_deltalake(table, frame, mode="overwrite", schema_mode=grows, predicate=predicate)
    else:
        table.delete(predicate)
    return Replaced(int(table.version()), frame.height, True)


def append(layer: str, name: str, frame: pl.DataFrame) -> int:
    """Add rows to a ledger, which is created where it is missing. Returns the new version.

    A column that is new becomes part of it, null for earlier rows.
    """
    path = str(table_path(layer, name))
    write_deltalake(path, frame, mode="append", schema_mode="merge", storage_options=storage_options())
    return version(layer, name)
