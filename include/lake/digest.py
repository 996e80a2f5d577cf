"""What a partition holds in two numbers: how many rows, and the sum of their 64-bit hashes. By numpy, without Spark.

The hash of a row is Spark's ``xxhash64(c1, c1 IS NULL, c2, c2 IS NULL, ...)``, bit by bit: the ledgers of every
installation hold sums of it, and whoever doubts one can have Spark work it out again. The columns are chained, each is
hashed with the hash of those before it as seed; a null leaves the hash as it is, so that where nulls are is hashed too.
A struct is chained as columns are. Of a list, and of a map's entries, Spark's own is of no use: it says the same of
[[1], [2]] and of [[1, 2]], of [] and of [null]. So it is the length, and the sum of the elements' hashes, each with its
place as seed.
Our own code, since no library hashes a column with another seed for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from include.core.errors import NeedsAttentionError

# One Delta partition: the values of its columns, the day first.
Partition = tuple[date, ...]
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Rows = slice | NDArray[np.intp]

SEED = 42
BATCH = 100_000
"""So many rows at a time are hashed: what is on the way then stays near the processor, however large a table is."""

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)

# Hashed as four bytes, and as eight. A time is microseconds, whatever Polars counts it in.
_SHORT = (pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Date, pl.Float32)
_LONG = (pl.Int64, pl.Float64, pl.Datetime)


class UnknownTypeError(NeedsAttentionError):
    """A column is of a type whose values cannot be hashed as Spark would."""


@dataclass(frozen=True)
class Content:
    """How many rows a partition has, and the order-independent sum of the rows' 64-bit hashes."""

    rows: int
    hash: int


NOTHING = Content(0, 0)


def require_known(of: str, schema: Mapping[str, pl.DataType]) -> None:
    """Raise UnknownTypeError where a column of ``of`` cannot be hashed."""
    for name, kind in schema.items():
        if not _is_known(kind):
            raise UnknownTypeError(
                f"column {name} of {of} has the type {kind}, by which contents cannot be compared: make it text, a "
                "number, a boolean, a date or a time"
            )


def _is_known(kind: Any) -> bool:
    if isinstance(kind, pl.List):
        return _is_known(kind.inner)
    if isinstance(kind, pl.Struct):
        return all(_is_known(field.dtype) for field in kind.fields)
    return isinstance(kind, (*_SHORT, *_LONG, pl.Decimal, pl.String, pl.Binary, pl.Null))


def contents(rows: pl.LazyFrame, by: Sequence[str], columns: Sequence[str]) -> dict[Partition, Content]:
    """What each partition of ``rows`` by the columns ``by`` has in ``columns``. The order of rows has no part in it."""
    found: dict[Partition, Content] = {}
    needed = rows.select(*dict.fromkeys([*by, *columns]))
    for batch in needed.collect_batches(chunk_size=BATCH, maintain_order=False):
        hashes = pl.Series(row_hashes(batch, columns))
        # In halves, whose sums have room in 64 bits.
        halves = batch.select(by).with_columns(high=hashes // 2**32, low=hashes & 0xFFFFFFFF)
        sums = halves.group_by(by).agg(pl.len(), pl.col("high", "low").sum())
        for *partition, number, high, low in sums.iter_rows():
            before = found.get(key := tuple(partition), NOTHING)
            found[key] = Content(before.rows + number, before.hash + (high << 32) + low)
    return found


def row_hashes(frame: pl.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """The hash of each row's ``columns``, in their order. Raises UnknownTypeError."""
    require_known("these rows", {name: frame.schema[name] for name in columns})
    hashes = np.full(frame.height, SEED, np.uint64)
    for name in columns:
        hashes = _chained(frame[name].rechunk(), hashes)
    return hashes.view(np.int64)


def _chained(values: pl.Series, hashes: Hashes) -> Hashes:
    """``hashes`` with what ``values`` add to them, and where these are null."""
    if values.null_count() == 0:
        return _four(np.uint64(0), _value(values, hashes))
    nulls = values.is_null().to_numpy()
    hashes = np.where(nulls, hashes, _value(values, hashes))
    return _four(nulls.astype(np.uint64), hashes)


def _value(values: pl.Series, seeds: Hashes) -> Hashes:
    """``values`` hashed, each with its seed. What comes out for a null means nothing."""
    kind = values.dtype
    if isinstance(kind, pl.Null):
        return seeds
    if isinstance(kind, pl.Struct):
        for field in kind.fields:
            seeds = _chained(values.struct.field(field.name).rechunk(), seeds)
        return seeds
    if isinstance(kind, pl.List):
        return _list(values, seeds)
    if isinstance(kind, pl.String | pl.Binary):
        return _text(values, seeds)
    if isinstance(kind, pl.Decimal):
        return _decimal(values, seeds)
    if isinstance(kind, pl.Float32 | pl.Float64):
        filled = values.fill_null(0).to_numpy() + 0  # by which −0.0 becomes 0.0
        filled[np.isnan(filled)] = np.nan  # and of the many NaNs there is one
        bits = filled.view(np.uint32).astype(np.uint64) if isinstance(kind, pl.Float32) else filled.view(np.uint64)
    else:
        if isinstance(kind, pl.Datetime):
            values = values.dt.cast_time_unit("us")
        wide = values.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
        bits = wide & np.uint64(0xFFFFFFFF) if isinstance(kind, _SHORT) else wide
    return _four(bits, seeds) if isinstance(kind, _SHORT) else _eight(bits, seeds)


def _list(values: pl.Series, seeds: Hashes) -> Hashes:
    lengths = values.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    starts, some = np.cumsum(lengths) - lengths, lengths > 0
    sums = np.zeros(len(lengths), np.uint64)
    if some.any():
        places = np.arange(lengths.sum()) - np.repeat(starts, lengths)
        each = _chained(values.filter(pl.Series(some)).explode().rechunk(), places.view(np.uint64))
        sums[some] = np.add.reduceat(each, starts[some])
    return _eight(sums, _eight(lengths.view(np.uint64), seeds))


def _text(values: pl.Series, seeds: Hashes) -> Hashes:
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    return _bytes(np.frombuffer(data or b"", np.uint8), offsets[:-1], np.diff(offsets), seeds)


def _decimal(values: pl.Series, seeds: Hashes) -> Hashes:
    """Up to 18 digits as a long; else as Java's bytes of a BigInteger: the first first, and no more than it takes."""
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    words = np.frombuffer(array.buffers()[1], "<u8").reshape(-1, 2)[array.offset : array.offset + len(array)]
    if cast(pl.Decimal, values.dtype).precision <= 18:
        return _eight(words[:, 0], seeds)
    data = np.ascontiguousarray(words).view(np.uint8).reshape(-1, 16)[:, ::-1]
    sign = np.where(data[:, :1] >= 128, 255, 0)
    # A byte can be left out where it, and the first bit behind it, say no more than the sign.
    idle = (data[:, :-1] == sign) & ((data[:, 1:] >= 128) == (sign == 255))
    skipped = np.cumprod(idle, axis=1).sum(axis=1)
    return _bytes(np.ascontiguousarray(data).ravel(), 16 * np.arange(len(data)) + skipped, 16 - skipped, seeds)


def _bytes(data: NDArray[np.uint8], starts: Numbers, lengths: Numbers, seeds: Hashes) -> Hashes:
    """XXH64 of the pieces of ``data``, each with its seed: a step takes some bytes of every piece that has so many."""
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    words, halves = _words(padded, np.dtype("<u8")), _words(padded, np.dtype("<u4"))
    hashes, at, left = seeds + _P5, starts.copy(), lengths & 31
    if (rows := _where(lengths >= 32)) is not None:
        hashes[rows] = _stripes(words, starts[rows], lengths[rows], seeds[rows])
        at[rows] += lengths[rows] & ~31
    hashes += lengths.view(np.uint64)
    for step in range(1, 4):
        if (rows := _where(left >= 8 * step)) is not None:
            hashes[rows] ^= _spread(words[at[rows]])
            hashes[rows] = _rotated(hashes[rows], 27) * _P1 + _P4
            at[rows] += 8
    if (rows := _where(left & 4 != 0)) is not None:
        hashes[rows] ^= halves[at[rows]].astype(np.uint64) * _P1
        hashes[rows] = _rotated(hashes[rows], 23) * _P2 + _P3
        at[rows] += 4
    for step in range(1, 4):
        if (rows := _where(left & 3 >= step)) is not None:
            hashes[rows] ^= padded[at[rows]].astype(np.uint64) * _P5
            hashes[rows] = _rotated(hashes[rows], 11) * _P1
            at[rows] += 1
    return _mixed(hashes)


def _stripes(words: Hashes, starts: Numbers, lengths: Numbers, seeds: Hashes) -> Hashes:
    """What XXH64 makes of the whole 32 bytes at a time that pieces begin with."""
    lanes = np.stack([seeds + _P1 + _P2, seeds + _P2, seeds, seeds - _P1])
    rows = np.arange(len(starts))
    for step in range(int(lengths.max()) // 32):
        rows = rows[lengths[rows] >= 32 * (step + 1)]
        for lane in range(4):
            word = words[starts[rows] + 32 * step + 8 * lane]
            lanes[lane, rows] = _rotated(lanes[lane, rows] + word * _P2, 31) * _P1
    hashes = sum((_rotated(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)), np.uint64(0))
    for lane in lanes:
        hashes = (hashes ^ _spread(lane)) * _P1 + _P4
    return np.asarray(hashes)


def _words(data: NDArray[np.uint8], kind: np.dtype[Any]) -> NDArray[Any]:
    """The number at every byte of ``data``, without a copy."""
    return np.ndarray((len(data) - kind.itemsize + 1,), kind, data, strides=(1,))


def _where(mask: NDArray[np.bool_]) -> Rows | None:
    """The rows of ``mask``: often all, which need not be looked up, or none."""
    number = np.count_nonzero(mask)
    if number == 0:
        return None
    return slice(None) if number == len(mask) else np.flatnonzero(mask)


def _four(bits: Hashes | np.uint64, seeds: Hashes) -> Hashes:
    return _mixed(_rotated((seeds + (_P5 + np.uint64(4))) ^ (bits * _P1), 23) * _P2 + _P3)


def _eight(bits: Hashes, seeds: Hashes) -> Hashes:
    return _mixed(_rotated((seeds + (_P5 + np.uint64(8))) ^ _spread(bits), 27) * _P1 + _P4)


def _spread(words: Hashes) -> Hashes:
    return _rotated(words * _P2, 31) * _P1


def _rotated(values: Hashes, by: int) -> Hashes:
    rotated = values << np.uint64(by)
    rotated |= values >> np.uint64(64 - by)
    return rotated


def _mixed(hashes: Hashes) -> Hashes:
    hashes ^= hashes >> np.uint64(33)
    hashes *= _P2
    hashes ^= hashes >> np.uint64(29)
    hashes *= _P3
    hashes ^= hashes >> np.uint64(32)
    return hashes
