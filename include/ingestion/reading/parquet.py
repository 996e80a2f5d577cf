"""Parquet, each value written as a CSV would write it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.source import Column, Feed, Form
from include.ingestion.files import UnreadableFileError, is_no_damage, unpacked
from include.ingestion.reading import arrow, paths

if TYPE_CHECKING:
    import pyarrow
    from upath import UPath

BATCH = 200_000
"""Rows that are read at once."""

MICROSECONDS = 86_400_000_000  # of a day
CALENDAR = 10_000 * 366
"""Days from 1970 beyond which nothing is written as a date."""


def pieces(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    import pyarrow
    import pyarrow.parquet

    # A column without any value may be of any type, and is not looked at.
    empty = {column.in_file for column in feed.columns if there and column.name not in there}
    columns = paths.columns(feed)
    wanted = list(dict.fromkeys(column.in_file for column in columns if column.in_file not in empty))
    with unpacked(path) as file:
        try:
            reader = pyarrow.parquet.ParquetFile(
                file, page_checksum_verification=True, coerce_int96_timestamp_unit="us"
            )
            for batch in reader.iter_batches(batch_size=BATCH, columns=wanted):
                yield texts_of(batch, columns)
        except (pyarrow.ArrowException, OSError) as error:
            if is_no_damage(error):
                raise
            raise UnreadableFileError(
                f"{path}: it cannot be read: a page of it is damaged, or has a time in it that no calendar has. "
                "Replace the file and clear the run from its first task."
            ) from None


def texts_of(batch: pyarrow.RecordBatch, columns: Sequence[Column]) -> pl.DataFrame:
    """The rows of ``batch`` as a piece of a file."""
    none = pl.repeat(None, batch.num_rows, dtype=pl.String, eager=True)
    texts, odd = [], []
    names = batch.schema.names
    for column in columns:
        if column.in_file not in names:
            texts.append(none.alias(column.name))
            continue
        text, wrong = _text_of(batch.column(names.index(column.in_file)), column)
        texts.append(text.alias(column.name))
        odd += wrong
    flaws = pl.select(pl.concat_str(odd, separator="; ", ignore_nulls=True)).to_series() if odd else none
    flaws = flaws.set(flaws == "", None)
    return pl.DataFrame([*texts, none.alias("_text"), none.alias("_flaw"), flaws.alias("_odd")])


def _text_of(values: pyarrow.Array, column: Column) -> tuple[pl.Series, list[pl.Series]]:
    """The values of a column as text, and for each what is wrong with it beside that, null where nothing is.

    By the type that the file has them in: whether a text is one of the column's own type is judged as anywhere else.
    """
    import pyarrow
    import pyarrow.types as of

    if column.is_nested:
        return pl.Series(arrow.texts_of(values, column.shape, column.form, _time), dtype=pl.String), []
    if of.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind, odd = values.type, list[pl.Series]()
    if any(is_it(kind) for is_it in (of.is_string, of.is_large_string, of.is_binary, of.is_large_binary)) or (
        of.is_fixed_size_binary(kind)
    ):
        content = pl.Series(pl.from_arrow(values.cast(pyarrow.large_binary())))
        return (_encoded(content, column), []) if column.type == "binary" else _parquet_text(content, column.name)
    if of.is_decimal(kind):
        return pl.Series(pl.from_arrow(values.cast(pyarrow.string()))), []
    if of.is_timestamp(kind):
        # Arrow says where a time of milliseconds is too far away for microseconds. Without a zone it is UTC.
        odd = _with_nanoseconds(values, column.name)
        values = values.cast(pyarrow.timestamp("us", kind.tz), safe=kind.unit != "ns")
    found = pl.Series(pl.from_arrow(values))
    if of.is_floating(kind):
        text = found.cast(pl.Float64).cast(pl.String)
        return text.replace({"inf": "Infinity", "-inf": "-Infinity"}), []
    if of.is_date(kind) or of.is_timestamp(kind):
        return _of_calendar(found), odd
    return found.cast(pl.String), []


def _encoded(values: pl.Series, column: Column) -> pl.Series:
    return values.bin.encode("hex" if column.form is Form.HEX else "base64")


def _time(values: pyarrow.Array) -> pl.Series:
    """Dates or times within nested values as text. Of nanoseconds none is cut off."""
    import pyarrow

    if isinstance(values.type, pyarrow.TimestampType):
        finest = pyarrow.timestamp("us", values.type.tz)
        try:
            values = values.cast(finest)
        except pyarrow.ArrowInvalid:
            return pl.Series(values.cast(pyarrow.string()).to_pylist(), dtype=pl.String)
    return _of_calendar(pl.Series(pl.from_arrow(values)))


def _of_calendar(found: pl.Series) -> pl.Series:
    """Dates or times as text."""
    if found.dtype == pl.Date:
        return _written(found.cast(pl.Int32), found, "%Y-%m-%d", "days")
    found = found.dt.replace_time_zone(None)
    return _written(found.cast(pl.Int64) // MICROSECONDS, found, "%Y-%m-%d %H:%M:%S%.6fZ", "µs")


def _with_nanoseconds(values: pyarrow.Array, name: str) -> list[pl.Series]:
    """For each of the times that has more than microseconds that it does: pandas writes nanoseconds, nearly all 000."""
    if values.type.unit != "ns":
        return []
    more = pl.Series(pl.from_arrow(values)).dt.nanosecond() % 1000 != 0
    said = f"{name}: has nanoseconds, and a timestamp has microseconds"
    return [pl.select(pl.when(more).then(pl.lit(said))).to_series()] if more.any() else []


def _written(days: pl.Series, values: pl.Series, how: str, unit: str) -> pl.Series:
    """Days or times as text; what is too far away for a calendar, by how far it is."""
    near = days.is_between(-CALENDAR, CALENDAR)
    if near.all():
        return values.dt.strftime(how)
    text = values.set(~near, None).dt.strftime(how)
    far = [f"{value} {unit} from 1970-01-01" for value in values.filter(~near).to_physical()]
    return text.scatter((~near).arg_true(), pl.Series(far, dtype=pl.String))


def _parquet_text(values: pl.Series, name: str) -> tuple[pl.Series, list[pl.Series]]:
    no_text = pl.repeat(False, len(values), eager=True)
    try:
        text = values.cast(pl.String)
    except pl.exceptions.ComputeError:
        # Bytes with which no other reader could read the table. As Latin-1 they can be read in the quarantine.
        no_text = pl.Series([one is not None and not _is_utf8(one) for one in values])
        names = ("latin-1" if odd else "utf-8" for odd in no_text)
        shown = [None if one is None else one.decode(name) for one, name in zip(values, names, strict=True)]
        text = pl.Series(shown, dtype=pl.String)
    said = {
        f"{name}: not UTF-8, shown as Latin-1": no_text,
        f"{name}: holds a zero byte": text.str.contains("\0", literal=True).fill_null(False),
    }
    odd = [pl.select(pl.when(where).then(pl.lit(what))).to_series() for what, where in said.items() if where.any()]
    return text, odd


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
