"""A table that is looked at again and again: of its log is read what it has gained since, and nothing else.

delta-rs, asked for a newer version, reads the log from its checkpoint on (delta-io/delta-rs#4276): the more nights a
table has, the longer. Here a commit costs what it has added and removed. Whatever is not an added or a removed file
(other columns, another protocol, a table that was removed and made again, a log that was cut) opens the table anew.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from include.core.storage import stamp
from include.lake import delta

if TYPE_CHECKING:
    from upath import UPath

CHANGES = 500
"""So many commits are remembered, for those who keep what they have read of a ledger."""


CASTS = pl.ScanCastOptions(
    integer_cast="upcast",
    float_cast="upcast",
    datetime_cast=["nanosecond-downcast", "convert-timezone"],
    missing_struct_fields="insert",
    extra_struct_fields="ignore",
)
"""Files of before a column became wider, and of Spark, which may keep nanoseconds."""


@dataclass(frozen=True)
class Commit:
    """What a commit did to the rows: files that have new ones, and whether any were taken away."""

    version: int
    added: tuple[str, ...]
    took: bool


class OtherTableError(Exception):
    """What was read of a table does not lead on to what it is now: it has to be opened anew."""


@dataclass
class Tail:
    """A table as it was when somebody last looked: its version, and its files with the day that each is of.

    Attributes:
        day: the column that it is partitioned by first; empty where by none.
        is_plain: whether its rows are those of its Parquet files, and what partition one is of is in its path. Of
            others delta-rs and Polars know how to read them.
    """

    folder: UPath
    version: int
    schema: pl.Schema
    partitions: tuple[str, ...]
    is_plain: bool
    stamp: str
    files: dict[str, str | None] = field(default_factory=dict)
    by_day: dict[str, set[str]] = field(default_factory=dict)
    commits: deque[Commit] = field(default_factory=lambda: deque(maxlen=CHANGES))

    @property
    def day(self) -> str:
        return self.partitions[0] if self.partitions else ""

    def days(self) -> list[date]:
        """The days of which the table has rows, rising."""
        return sorted(date.fromisoformat(day) for day in self.by_day)

    def scan(self, paths: Iterable[str]) -> pl.LazyFrame:
        """The rows of some of its files, with all columns of the table. Of a table that is plain."""
        found = [f"{self.folder}/{path}" for path in sorted(paths)]
        if not found:
            return pl.LazyFrame(schema=self.schema)
        hive = {name: self.schema[name] for name in self.partitions}
        return pl.scan_parquet(
            found,
            glob=False,
            hive_partitioning=bool(hive),
            hive_schema=hive or None,
            schema={name: kind for name, kind in self.schema.items() if name not in hive},
            missing_columns="insert",
            extra_columns="ignore",
            cast_options=CASTS,
            storage_options=delta.storage_options(),
        )

    def of_days(self, first: date, last: date) -> Iterator[str]:
        """The files of the days ``first`` to ``last``, both included."""
        low, high = str(first), str(last)
        for day, paths in self.by_day.items():
            if low <= day <= high:
                yield from paths

    def since(self, version: int) -> list[str] | None:
        """The files that have brought rows after ``version``, of a table that is only added to.

        None where rows were taken away since, or more was committed than is remembered.
        """
        new = [one for one in self.commits if one.version > version]
        if len(new) != self.version - version or any(one.took for one in new):
            return None
        return [path for one in new for path in one.added]


def opened(layer: str, name: str) -> Tail:
    """The newest version of a table. Raises what ``delta.opened`` does."""
    there, folder = delta.opened(layer, name), delta.table_path(layer, name)
    partitions, version = tuple(there.metadata().partition_columns), int(there.version())
    found = Tail(
        folder, version, pl.Schema(there.schema()), partitions, _is_plain(there), _stamp(_entry(folder, version))
    )
    actions = pl.DataFrame(there.get_add_actions(flatten=True))
    values = [f"partition.{column}" for column in partitions]
    for path, *of in actions.select("path", *(pl.col(value).cast(pl.String) for value in values)).iter_rows():
        _add(found, unquote(path), dict(zip(partitions, of, strict=True)))
    return found


def advance(tail: Tail) -> None:
    """Bring ``tail`` to the newest version. Raises OtherTableError where it has to be opened anew.

    After an error ``tail`` is good for nothing.
    """
    if not tail.stamp or _stamp(_entry(tail.folder, tail.version)) != tail.stamp:
        raise OtherTableError(f"{tail.folder} has no version {tail.version} as it was read")
    while True:
        entry = _entry(tail.folder, tail.version + 1)
        now = _stamp(entry)  # before it is read: what replaces it meanwhile is noticed the next time
        if not now:
            return
        try:
            actions = [json.loads(line) for line in entry.read_text().splitlines() if line.strip()]
            _apply(tail, actions)
        except (ValueError, KeyError, AttributeError, OSError) as error:
            raise OtherTableError(f"{entry}: {error}") from error
        tail.version, tail.stamp = tail.version + 1, now


def _apply(tail: Tail, actions: Collection[Mapping[str, Any]]) -> None:
    if any("metaData" in action or "protocol" in action for action in actions):
        raise OtherTableError(f"{tail.folder} has other columns, or another protocol")
    added, took = list[str](), False
    for action in actions:
        if remove := action.get("remove"):
            _remove(tail, unquote(remove["path"]))
            took |= remove["dataChange"]
    for action in actions:  # a file may be removed and added in one commit
        if add := action.get("add"):
            path = unquote(add["path"])
            _add(tail, path, add["partitionValues"])
            added += [path] if add["dataChange"] else []
    tail.commits.append(Commit(tail.version + 1, tuple(added), took))


def _add(tail: Tail, path: str, values: Mapping[str, str | None]) -> None:
    _remove(tail, path)
    tail.files[path] = day = values[tail.day] if tail.day else None
    if day is not None:
        tail.by_day.setdefault(day, set()).add(path)
    tail.is_plain &= ":" not in path and all(
        f"{column}={values[column]}" in path.split("/")[:-1] for column in tail.partitions if values[column] is not None
    )


def _remove(tail: Tail, path: str) -> None:
    day = tail.files.pop(path, None)
    if day is not None:
        tail.by_day[day].discard(path)
        if not tail.by_day[day]:
            del tail.by_day[day]


def _is_plain(there: DeltaTable) -> bool:
    """Whether the table has no deletion vectors, no renamed columns, nor anything else that a reader must know of."""
    return bool(there.protocol().min_reader_version == 1)


def _entry(folder: UPath, version: int) -> UPath:
    return folder / f"_delta_log/{version:020}.json"


def _stamp(path: UPath) -> str:
    """What changes when a commit is replaced by another one; empty where it is not there."""
    try:
        return stamp(path)
    except FileNotFoundError:
        return ""
