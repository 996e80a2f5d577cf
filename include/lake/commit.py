"""The one committer: a change of a published table is files that are added and files that are removed.

Each change is committed against the version of its table that was judged, and is refused where anybody has committed
since. The changes that belong together, as those of a night's feeds, are written to a journal first: a kill between
two tables leaves an entry that the next commit finishes before it does anything else. So a reader sees all of a night
or, for the hundredths of a second that the commits take, a part of it; and never a part of it that stays.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from include.core.errors import NeedsAttentionError, NocturneError
from include.core.lease import LostLeaseError, lease, require_held, token
from include.core.settings import settings
from include.lake import delta, usage

if TYPE_CHECKING:
    from upath import UPath

log = logging.getLogger(__name__)

MARK, TOKEN = "nocturne", "nocturne_token"
"""What a commit's information calls the publication that it belongs to, and the token of the lease that it was made
under; 0 on one machine, where no holder of the lake's lease can outlive it."""

LEASE = "lake"

NEW = -1
"""The version of a table that does not exist."""


class ConflictError(NocturneError):
    """A table is not any more as it was judged: somebody has committed since. Judge again."""


class JournalError(NeedsAttentionError):
    """A publication that was begun cannot be finished, since others have written to its tables."""


@dataclass(frozen=True)
class Added:
    """A data file: where it is now (within the lake), where it goes (within its table), and what the log says of it."""

    source: str
    path: str
    size: int
    rows: int
    partition: dict[str, str]


@dataclass(frozen=True)
class Removed:
    """A data file that is no part of the next version."""

    path: str
    size: int
    partition: dict[str, str]


@dataclass(frozen=True)
class Change:
    """One table's part of a publication: against version ``base``, which may be without files on either side."""

    table: str
    base: int
    added: tuple[Added, ...] = ()
    removed: tuple[Removed, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.removed)


def version_of(table: str) -> int:
    """The newest version of ``<layer>.<name>``; ``NEW`` where there is no such table."""
    layer, name = table.split(".")
    return delta.version(layer, name) if delta.exists(layer, name) else NEW


def versions_of(tables: Iterable[str]) -> dict[str, int]:
    """The same of several."""
    return {table: version_of(table) for table in tables}


def create(table: str, schema: Schema, by: Sequence[str]) -> None:
    """Make an empty table, partitioned by ``by``, where there is none."""
    layer, name = table.split(".")
    if delta.exists(layer, name):
        return
    try:
        DeltaTable.create(
            str(delta.table_path(layer, name)),
            schema,
            partition_by=list(by),
            configuration=delta.CONFIGURATION,
            storage_options=delta.storage_options(),
        )
    except DeltaError:
        if not delta.exists(layer, name):  # or somebody else was a moment faster
            raise


def add_columns(table: str, fields: Sequence[Field]) -> None:
    """Add columns, null for the rows that are there. Those that are there already are passed over."""
    there = usage.opened(table)
    names = {field.name for field in there.schema().fields}
    if new := [field for field in fields if field.name not in names]:
        there.alter.add_columns(new)


def frame_change(table: str, frame: pl.DataFrame, by: Sequence[str], gone: Callable[[dict[str, Any]], bool]) -> Change:
    """The change that adds the rows of ``frame`` and removes each file whose partition ``gone`` says yes to.

    The table is created, or gets the columns that are new, where that is needed. For tables of ours that are small:
    counts and ledgers. Hold the lake's lease from before the rows were made until after the commit.
    """
    layer, name = table.split(".")
    create(table, schema_of(frame), by)
    there = delta.opened(layer, name)
    known = {field.name for field in there.schema().fields}
    add_columns(table, [field for field in schema_of(frame).fields if field.name not in known])
    there = delta.opened(layer, name)
    # The table's types win, as they do when delta-rs writes.
    types = pl.scan_delta(there).collect_schema()
    frame = frame.cast({column: types[column] for column in frame.columns})
    added = []
    for rows in frame.partition_by(by) if by else [frame]:
        partition = {column: str(rows[column][0]) for column in by}
        file = delta.table_path(layer, name) / path_within(partition, f"part-{uuid4().hex}.parquet")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            rows.drop(by).write_parquet(out)
        size = file.stat().st_size
        place = path_within(partition, file.name)
        added.append(Added(f"{layer}/{name}/{place}", place, size, rows.height, partition))
    return Change(table, there.version(), tuple(added), tuple(files_of(there, gone)))


def schema_of(frame: pl.DataFrame) -> Schema:
    """The Delta schema of a frame."""
    return Schema.from_arrow(frame.to_arrow(compat_level=pl.CompatLevel.oldest()).schema)


def path_within(partition: dict[str, str], name: str) -> str:
    """Where a file of ``partition`` lies within its table."""
    return "/".join([*(f"{column}={quote(value)}" for column, value in partition.items()), name])


def files_of(there: DeltaTable, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[Removed]:
    """The files of a version whose partition, the values by column, is ``wanted``."""
    for one in pl.DataFrame(there.get_add_actions(flatten=True)).iter_rows(named=True):
        values = {name.removeprefix("partition."): one[name] for name in one if name.startswith("partition.")}
        if wanted(values):
            text = {name: str(value) for name, value in values.items()}
            yield Removed(one["path"], one["size_bytes"], text)


def commit(change: Change, publication: str) -> int:
    """Commit one change, and return the version that has it. Raises ConflictError where ``base`` is not the newest."""
    if change.is_empty:
        return change.base
    there = usage.opened(change.table, change.base)
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        AddAction(one.path, one.size, one.partition, now, True, json.dumps({"numRecords": one.rows}))
        for one in change.added
    ]
    actions += [
        RemoveAction(
            path=one.path, data_change=True, deletion_timestamp=now, size=one.size, partition_values={**one.partition}
        )
        for one in change.removed
    ]
    try:
        there.create_write_transaction(
            actions,
            "append",
            there.schema(),
            there.metadata().partition_columns,
            # Not once more against a newer version, as delta-rs would by itself.
            commit_properties=CommitProperties(
                custom_metadata={MARK: publication, TOKEN: str(token(LEASE))}, max_commit_retries=0
            ),
        )
    except CommitFailedError as error:
        raise ConflictError(f"{change.table} has changed since version {change.base}: {error}") from None
    return change.base + 1


@contextmanager
def committing() -> Iterator[None]:
    """Nobody else commits meanwhile, and nothing is left half-done by an earlier one."""
    with lease(LEASE):
        recover()
        yield


def moment() -> datetime:
    """A time, now, at which nobody commits: what is published by then can be read, and what comes later cannot."""
    with committing():
        return datetime.now(UTC)


def commit_all(changes: Sequence[Change], what: str) -> dict[str, int]:
    """Commit ``changes``, all of them or none, and return the version that has each, by table.

    ``what`` says in the journal what it is for. Hold ``committing``. Raises ConflictError, and changes nothing, where
    a table has been committed to since the version that its change was judged against; LostLeaseError where a lease
    that this process had has run out.
    """
    require_held()
    require_unchanged({change.table: change.base for change in changes}, what)
    changes = [change for change in changes if not change.is_empty]
    if not changes:
        return {}
    identity = uuid4().hex
    entry = journal() / f"{identity}.json"
    by = token(LEASE)
    body = {"publication": identity, "what": what, "token": by, "changes": [asdict(change) for change in changes]}
    write_whole(entry, json.dumps(body))
    return _carry_out(entry, identity, changes, by)


def require_unchanged(versions: Mapping[str, int], what: str) -> None:
    """Raise ConflictError unless each table has the version that it was judged by."""
    if changed := has_changed(versions):
        raise ConflictError(f"{', '.join(changed)} changed while {what} was being judged")


def has_changed(versions: Mapping[str, int]) -> list[str]:
    """The tables that have another version than ``versions`` says. To be made, and empty, is no change."""

    def same(table: str, version: int) -> bool:
        now = version_of(table)
        made = version == NEW and now == 0
        return now == version or (made and not usage.opened(table).file_uris())

    return [table for table, version in versions.items() if not same(table, version)]


def recover() -> list[str]:
    """Finish what a kill has left half-done. Returns what that was. Hold the lake's lease.

    Raises JournalError where somebody has written to one of its tables without finishing it first.
    """
    done = []
    for entry in unfinished():
        body = json.loads(entry.read_text())
        changes = [_change(one) for one in body["changes"]]
        log.warning("finishing what was begun and not finished: %s", body["what"])
        try:
            _carry_out(entry, body["publication"], changes, body.get("token", 0))
        except LostLeaseError as error:
            if entry.exists():
                raise JournalError(f"{body['what']} was begun and cannot be finished: {error}: {entry}") from None
            continue
        except (ConflictError, FileNotFoundError) as error:
            raise JournalError(
                f"{body['what']} was begun and cannot be finished: {error}. Somebody has written to the table by other "
                f"means than Nocturne's. `make verify` says where tables and ledgers part; once that is mended, remove "
                f"{entry}"
            ) from None
        done.append(body["what"])
    return done


def settle() -> None:
    """Finish what a kill has left half-done, where there is something.

    For who reads a ledger in order to decide what to add to it: a line that is begun would be finished by the next
    commit, which then adds a second one.
    """
    if unfinished():
        with committing():
            pass


def unfinished() -> list[UPath]:
    """The entries of the journal: each a publication that was begun and not finished, or is under way."""
    folder = journal()
    return sorted(folder.glob("*.json")) if folder.exists() else []


def journal() -> UPath:
    """The folder of the journal, beside the layers."""
    return settings().lake / "_journal"


def _carry_out(entry: UPath, identity: str, changes: Sequence[Change], by: int) -> dict[str, int]:
    """Every step may have been done by an earlier try. ``by`` is the token of who has written the entry.

    Raises LostLeaseError where that one had lost the lake's lease before it wrote it. The entry is gone then, unless a
    part of it was committed.
    """
    done = {change.table: _done_at(change, identity) for change in changes}
    if not any(done.values()):
        try:
            for change in changes:
                _require_no_later(change, usage.opened(change.table), by)
        except LostLeaseError:
            _forget(entry)
            raise
    for change in changes:
        if done[change.table] is None:
            _move(change)
    for change in changes:
        if done[change.table] is None:
            done[change.table] = commit(_on_the_newest(change, by), identity)
    _forget(entry)
    return {table: version for table, version in done.items() if version is not None}


def _forget(entry: UPath) -> None:
    entry.unlink(missing_ok=True)


def _done_at(change: Change, identity: str) -> int | None:
    """The version in which an earlier try has committed ``change``; None where none has."""
    there = usage.opened(change.table)
    newer = there.version() - change.base
    if newer <= 0:
        return None
    found = [one["version"] for one in there.history(newer) if one.get(MARK) == identity]
    return int(found[0]) if found else None


def _require_no_later(change: Change, there: DeltaTable, by: int) -> None:
    """Raise LostLeaseError where a later holder of the lake's lease than ``by`` has committed since ``base``."""
    newer = there.version() - change.base
    tokens = [int(one.get(TOKEN, 0)) for one in there.history(newer)] if newer > 0 else []
    if 0 < by < max(tokens, default=0):
        raise LostLeaseError(
            f"{change.table}: the lake's lease was held by token {by} and has run out, and a later holder, by token "
            f"{max(tokens)}, has committed since: nothing more was"
        )


def _on_the_newest(change: Change, by: int) -> Change:
    """``change`` as one of the newest version, where what came between has not touched the same partitions.

    Nobody of ours can have come between who held the lake's lease: one who took it after us has a higher token, and
    what we were about to do was judged by what was there before. Raises LostLeaseError then, and ConflictError where
    somebody else has come between, on the same partitions.
    """
    there = usage.opened(change.table)
    if there.version() == change.base:
        return change
    _require_no_later(change, there, by)
    own = [one.partition for one in change.added] + [one.partition for one in change.removed]
    now = [one.path for one in files_of(there, lambda values: True) if one.partition and one.partition in own]
    if sorted(now) != sorted(one.path for one in change.removed):
        raise ConflictError(f"{change.table} has other files than in version {change.base}")
    return replace(change, base=there.version())


def _move(change: Change) -> None:
    """Bring the files to their places in the table's folder."""
    folder = delta.table_path(*change.table.split("."))
    for one in change.added:
        source, target = settings().lake / one.source, folder / one.path
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def write_whole(path: UPath, text: str) -> None:
    """Write a file such that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(path, Path):
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(path)
    else:
        path.write_text(text)  # a put is


def _change(body: dict[str, Any]) -> Change:
    return Change(
        body["table"],
        body["base"],
        tuple(Added(**one) for one in body["added"]),
        tuple(Removed(**one) for one in body["removed"]),
    )
