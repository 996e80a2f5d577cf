"""Reading landing files: piece by piece, every value still as text. One reader a format.

A piece is a frame with the feed's columns as text and

- ``_text``: the row as it is written, null where there is no such text;
- ``_flaw``: why the row could not be taken apart into the columns, null where it could;
- ``_odd``: what is wrong with its values that their texts no longer show.

Memory does not grow with the file. Rows are counted elsewhere (``landing.look_through``), by other code.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from include.sources.files import UnreadableFileError, unpacked
from include.sources.spec import Column, Feed, Format

if TYPE_CHECKING:
    import pyarrow
    from upath import UPath

BLOCK = 16 << 20
"""Bytes of text that are read at once."""

BATCH = 200_000
"""Rows of Parquet that are read at once."""

BLANK = "".join(map(chr, range(ord(" ") + 1)))
"""What a line that is no row is made of."""

# A column of a CSV row, by RFC 4180: a quote within quotes is doubled.
FIELD = r'"(?:[^"]|"")*"|[^",]*'
# The same for Python, with patterns that never step back: one that does runs out of stack on a long text.
_QUOTED = '"[^"]*+(?:""[^"]*+)*+"'
_QUOTED_ONE = re.compile(_QUOTED)
_ONE = re.compile(f'(?:{_QUOTED}|[^",]*+)')
_BEFORE = re.compile(f'(?:(?:{_QUOTED}|[^",]*+),)*+')

MICROSECONDS = 86_400_000_000  # of a day
CALENDAR = 10_000 * 366
"""Days from 1970 beyond which nothing is written as a date."""


def pieces(path: UPath, feed: Feed, there: Sequence[str] = ()) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``, which has the columns ``there``, or those of its feed, in that order.

    Raises UnreadableFileError, naming the file, where it cannot be read after all.
    """
    if feed.format is Format.PARQUET:
        yield from _parquet(path, feed.columns, there)
        return
    with unpacked(path) as file:
        for number, lines in enumerate(_blocks(file)):
            if feed.format is Format.CSV:
                names = there or [column.name for column in feed.columns]
                yield _csv(_rows(lines[1:] if number == 0 else lines), feed.columns, names)
            else:
                yield _jsonl(_rows(lines), feed.columns)


def _blocks(file: IO[bytes]) -> Iterator[pl.Series]:
    """The lines of a file of text without their ends, some megabytes at a time."""
    rest, first = b"", True
    while piece := file.read(BLOCK):
        head, end, rest = (rest + piece).rpartition(b"\n")
        if not end:
            continue
        if first:
            head, first = head.removeprefix(codecs.BOM_UTF8), False
        lines = pl.Series("_text", [head.decode()]).str.split("\n").explode()
        yield lines.str.strip_suffix("\r") if b"\r" in head else lines
    if rest:
        yield pl.Series("_text", [rest.decode()])  # whoever looked through the file has refused such a line


def _rows(lines: pl.Series) -> pl.Series:
    return lines.filter(lines.str.strip_chars(BLANK) != "")


def _csv(lines: pl.Series, columns: Sequence[Column], names: Sequence[str]) -> pl.DataFrame:
    """Taken apart is only what RFC 4180 lets be taken apart in one way."""
    with_quotes = lines.str.contains('"', literal=True)
    parts = [_plain(lines.filter(~with_quotes), names)]
    if with_quotes.any():
        parts.append(_with_quotes(lines.filter(with_quotes), names))
    values = [pl.col(str(names.index(column.name))).alias(column.name) for column in columns]
    return pl.concat(parts).select(*values, "_text", "_flaw", pl.lit(None, pl.String).alias("_odd"))


def _plain(lines: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    """Rows without any quote: a comma is a comma. Columns by their places, since nobody knows what they are called."""
    places = [str(place) for place in range(len(names))]
    whole = pl.col("_text").str.count_matches(",", literal=True) == len(names) - 1
    fields = pl.col("_text").str.split_exact(",", len(names) - 1).struct.rename_fields(places)
    return (
        pl.DataFrame({"_text": lines})
        .select("_text", whole.alias("_whole"), fields.alias("_fields"))
        .unnest("_fields")
        .select(
            *(pl.when(pl.col("_whole") & (pl.col(place) != "")).then(pl.col(place)) for place in places),
            "_text",
            pl.when(~pl.col("_whole")).then(pl.lit(f"not {len(names)} columns")).alias("_flaw"),
        )
    )


def _with_quotes(lines: pl.Series, names: Sequence[str]) -> pl.DataFrame:
    places = [str(place) for place in range(len(names))]
    row = ",".join([f"({FIELD})"] * len(names))
    fields = pl.col("_text").str.extract_groups(rf"\A{row}\z").struct.rename_fields(places)
    found = pl.DataFrame({"_text": lines}).select("_text", fields.alias("_fields")).unnest("_fields")
    broken = found[places[0]].is_null()
    flaws = pl.Series([_wrong_quote(line, names) for line in lines.filter(broken)], dtype=pl.String)
    values = [
        pl.when(pl.col(place).str.starts_with('"'))
        .then(pl.col(place).str.slice(1, pl.col(place).str.len_chars() - 2).str.replace_all('""', '"', literal=True))
        .when(pl.col(place) != "")
        .then(pl.col(place))
        for place in places
    ]
    flaw = pl.Series("_flaw", [None] * len(lines), dtype=pl.String).scatter(broken.arg_true(), flaws)
    return found.select(*values, "_text").with_columns(flaw)


def _wrong_quote(line: str, names: Sequence[str]) -> str:
    """In which column of a CSV row a quote is wrong, and how; that columns are missing or too many where none is."""
    before = _BEFORE.match(line)
    assert before is not None  # it matches nothing, too
    rest, place = line[before.end() :], len(_fields(before[0]))
    if _ONE.fullmatch(rest):
        return f"not {len(names)} columns"
    if not rest.startswith('"'):
        why = "a quote within a text that is not in quotes"
    elif _QUOTED_ONE.match(rest):
        why = "more text after the closing quote"
    else:
        why = "a quote that its line does not close"
    return f"{names[place] if place < len(names) else 'after the last column'}: {why}"


def _fields(text: str) -> list[str]:
    """The columns of ``text``, each followed by a comma."""
    found, at = [], 0
    while at < len(text):
        one = _ONE.match(text, at)
        assert one is not None
        found.append(one[0])
        at = one.end() + 1
    return found


class Number(str):
    """A number of JSON, as it is written."""


# Whoever looked through the file has refused what only a lenient reader takes.
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number)


def _jsonl(lines: pl.Series, columns: Sequence[Column]) -> pl.DataFrame:
    """By what JSON says a value is: 5 is no text and "5" no number, an object is not its text."""
    values: dict[str, list[str | None]] = {column.name: [] for column in columns}
    odds: list[str | None] = []
    for line in lines:
        found, odd = _DECODER.decode(line), []
        for column in columns:
            value = found.get(column.name)
            text = None if value is None else value if isinstance(value, str) else _as_json(value)
            if text is not None:
                text, wrong = _odd_json(column, value, text)
                odd += wrong
            values[column.name].append(text)
        odds.append("; ".join(odd) or None)
    texts = pl.DataFrame(values, {column.name: pl.String() for column in columns})
    nothing = pl.lit(None, pl.String).alias("_flaw")
    return texts.with_columns(lines.alias("_text"), nothing, pl.Series("_odd", odds, dtype=pl.String))


def _odd_json(column: Column, value: Any, text: str) -> tuple[str, list[str]]:
    """``text`` such that it can be written, and what is wrong with the ``value`` that it does not show."""
    odd = []
    if isinstance(value, str) and not isinstance(value, Number):
        if "\0" in text:
            odd.append(f"{column.name}: holds a zero byte")
        if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
            odd.append(f"{column.name}: holds half a character")
            text = text.encode(errors="backslashreplace").decode()
    elif column.type == "string" or (column.type == "boolean" and not isinstance(value, bool)):
        odd.append(f"{column.name}: {text} is no JSON {column.type}")
    return text, odd


def _as_json(value: Any) -> str:
    """A decoded value as JSON again, its numbers as they were."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_as_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_as_json, value)) + "]"
    return str(value) if isinstance(value, Number) else json.dumps(value)


def _parquet(path: UPath, columns: Sequence[Column], there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Each value written as a CSV would write it."""
    import pyarrow
    import pyarrow.parquet

    # A column without any value may be of any type, and is not looked at.
    wanted = [column.name for column in columns if not there or column.name in there]
    with unpacked(path) as file:
        try:
            reader = pyarrow.parquet.ParquetFile(
                file, page_checksum_verification=True, coerce_int96_timestamp_unit="us"
            )
            for batch in reader.iter_batches(batch_size=BATCH, columns=wanted):
                yield _texts_of(batch, columns)
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise UnreadableFileError(
                f"{path}: it cannot be read: a page of it is damaged, or has a time in it that no calendar has. "
                "Replace the file and clear the run from its first task."
            ) from None


def _texts_of(batch: pyarrow.RecordBatch, columns: Sequence[Column]) -> pl.DataFrame:
    none = pl.repeat(None, batch.num_rows, dtype=pl.String, eager=True)
    texts, odd = [], []
    names = batch.schema.names
    for column in columns:
        if column.name not in names:
            texts.append(none.alias(column.name))
            continue
        text, wrong = _text_of(batch.column(names.index(column.name)), column)
        texts.append(text.alias(column.name))
        odd += wrong
    flaws = pl.select(pl.concat_str(odd, separator="; ", ignore_nulls=True)).to_series() if odd else none
    flaws = flaws.set(flaws == "", None)
    return pl.DataFrame([*texts, none.alias("_text"), none.alias("_flaw"), flaws.alias("_odd")])


def _text_of(values: pyarrow.Array, column: Column) -> tuple[pl.Series, list[pl.Series]]:
    """The values of a column as text, and for each what is wrong with it beside that, null where nothing is."""
    import pyarrow
    import pyarrow.types

    if pyarrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if column.type == "string":
        return _parquet_text(pl.Series(pl.from_arrow(values.cast(pyarrow.large_binary()))), column.name)
    if column.type == "timestamp":
        # Arrow says where a time of milliseconds is too far away for microseconds. Without a zone it is UTC.
        values = values.cast(pyarrow.timestamp("us", values.type.tz))
    found = pl.Series(pl.from_arrow(values))
    if column.type == "double":
        text = found.cast(pl.Float64).cast(pl.String)
        return text.replace({"inf": "Infinity", "-inf": "-Infinity"}), []
    if column.type == "date":
        return _written(found.cast(pl.Int32), found, "%Y-%m-%d", "days"), []
    if column.type == "timestamp":
        found = found.dt.replace_time_zone(None)
        return _written(found.cast(pl.Int64) // MICROSECONDS, found, "%Y-%m-%d %H:%M:%S%.6fZ", "µs"), []
    return found.cast(pl.String), []


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
