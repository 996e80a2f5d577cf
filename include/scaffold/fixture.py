"""A few rows of a sample as landing files again, for the tests of a new source, without what is personal in them.

Text keeps its dialect: what stands before the first row, then rows as they were written. Parquet is written anew. A
file of another format can only be taken as it is.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import re
import string
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
from upath import UPath

from include.contracts.naming import ISO
from include.contracts.source import Column, Compression, Feed, Format
from include.ingestion import counting
from include.ingestion.files import unpacked
from include.scaffold.errors import ScaffoldError
from include.scaffold.fields import span_of
from include.scaffold.sample import Sample, landing_name, read_rows

ROWS = 8  # of a file
MOST_BYTES = 256_000  # of a file that is taken as it is
TELLING = 6  # signs: a shorter text, as m, is also a part of others that have nothing to do with it
LONG = 4  # digits: with fewer a number fits into any type
ATTEMPTS = 200  # to find a text that is not there yet
OF_LINES = (Format.CSV, Format.JSONL, Format.FIXED, Format.LOG)


def files_of(sample: Sample, feed: Feed, day: date, personal: Sequence[str], rows: int = ROWS) -> dict[str, bytes]:
    """The landing files of ``day`` by their names below the feed's folder, with at most ``rows`` rows each.

    ``feed`` is the sample's with its day column. Values of the columns ``personal`` are replaced by others of the same
    shape. Raises ScaffoldError where that cannot be done in a file of this format.
    """
    found = {}
    for name, path in sample.files.items():
        own = sample.rows.filter(pl.col("source_file") == str(path)).with_row_index("_place")
        its = own.filter(is_of_day(sample, feed, day))
        if its.is_empty():
            continue
        columns = [column for column in feed.columns if column.name in personal]
        found[landing_name(feed, name, day)] = _file(path, feed, own, its.head(rows), columns)
    return found


def is_of_day(sample: Sample, feed: Feed, day: date) -> pl.Expr:
    """Which rows of ``sample`` are of ``day``: by their own day, or by that of their file.

    Of files none of which is of ``day``, as of a table that came on another day, those of the last day.
    """
    if feed.day_column:
        return pl.col(feed.day_column) == day
    days = sample.rows["partition_day"]
    return pl.col("partition_day") == (day if day in days else days.max())


def _file(path: UPath, feed: Feed, own: pl.DataFrame, chosen: pl.DataFrame, personal: Sequence[Column]) -> bytes:
    if feed.format is Format.PARQUET:
        content = _parquet(path, chosen, personal)
    elif feed.format in OF_LINES:
        content = _lines(path, feed, chosen, personal)
    else:
        return _whole(path, feed, own, chosen, personal)
    _check(path, feed, content, chosen, personal)
    return content


def _whole(path: UPath, feed: Feed, own: pl.DataFrame, chosen: pl.DataFrame, personal: Sequence[Column]) -> bytes:
    whole = path.read_bytes()
    if personal or (chosen.height < own.height and feed.day_column) or len(whole) > MOST_BYTES:
        odd = ", ".join(column.name for column in personal)
        raise ScaffoldError(
            f"{path}: a source has tests with a few of its rows, and a file of {feed.format} can only be taken whole. "
            f"Give a sample of at most {ROWS} rows of one day" + (f", with made-up values in {odd}" if odd else "")
        )
    return whole


def _lines(path: UPath, feed: Feed, chosen: pl.DataFrame, personal: Sequence[Column]) -> bytes:
    """What is before the first row of the file, whatever is wrong with that one, and the rows ``chosen``."""
    text, order = _text(path, feed), counting.count(path, feed.content)[1]
    begin = text.find(next(counting.RECORDS[feed.format](path, feed.content))[1])
    raws = [str(raw) for raw in chosen["_raw"]]
    for column in personal:
        raws = _replaced(raws, chosen[column.name], column, feed, order)
    ends = _line_end(text, feed)
    return packed("".join([text[:begin], *(raw + ends for raw in raws)]).encode(feed.dialect.encoding), feed, path)


def _check(path: UPath, feed: Feed, content: bytes, chosen: pl.DataFrame, personal: Sequence[Column]) -> None:
    """Raise ScaffoldError unless ``content`` is read as the rows ``chosen``, with other values in ``personal``."""
    with tempfile.TemporaryDirectory() as folder:
        copy = UPath(folder) / path.name
        copy.write_bytes(content)
        # Of which day they are the name of the copy may not say.
        found, broken = read_rows(replace(feed, day_column=""), {path.name: copy})
    others = [column.name for column in feed.content.columns if column not in personal and column.type != "string"]
    if broken or found.height != chosen.height or not found.select(others).equals(chosen.select(others)):
        shown = f" ({broken[0].partition(':')[0]})" if broken else ""
        raise ScaffoldError(
            f"{path}: {chosen.height} of its rows, taken out of it for the fixture of the tests, are read as others"
            f"{shown}: put a few made-up rows in the sample, each of them sound"
        )


def _text(path: UPath, feed: Feed) -> str:
    with unpacked(path) as file:
        return file.read().decode(feed.dialect.encoding)


def _line_end(text: str, feed: Feed) -> str:
    if feed.dialect.line_end not in ("", "any"):
        return feed.dialect.line_end
    return "\r\n" if "\r\n" in text else "\n"


def _replaced(raws: Sequence[str], values: pl.Series, column: Column, feed: Feed, order: Sequence[str]) -> list[str]:
    """``raws`` with other values in ``column``: there alone, and a text that tells who it is wherever it stands."""
    spans = [
        None if value is None else span_of(raw, column, feed, order) for raw, value in zip(raws, values, strict=True)
    ]
    there = [raw[span[0] : span[1]] for raw, span in zip(raws, spans, strict=True) if span]
    made_up = _made_up(column, there)
    found = []
    for raw, span, value in zip(raws, spans, values, strict=True):
        if value is not None and (span is None or (column.type == "string" and "\\" in raw[span[0] : span[1]])):
            raise _irreplaceable(column)
        if span is None:
            found.append(raw)
            continue
        text = raw[span[0] : span[1]]
        parts = [raw[: span[0]], raw[span[1] :]]
        if column.type == "string" and len(text) >= TELLING:
            parts = [part.replace(text, made_up[text]) for part in parts]
        found.append(made_up[text].join(parts))
    return found


def _irreplaceable(column: Column) -> ScaffoldError:
    return ScaffoldError(
        f"{column.name} looks personal and cannot be replaced in the fixture: put made-up rows in the sample"
    )


def _made_up(column: Column, texts: Sequence[str]) -> dict[str, str]:
    """For each of ``texts``, as a file has them, another one that the column can have too; no two are equal.

    Raises ScaffoldError where there are none.
    """
    found: dict[str, str] = {}
    for n, text in enumerate(sorted(set(texts))):
        others = (_other(column, text, random.Random(f"{n} {again}"), texts) for again in range(ATTEMPTS))  # noqa: S311  # of its place, and nothing of the value
        # Of yes and no there are only two.
        other = next((one for one in others if column.type == "boolean" or one not in found.values()), None)
        if other is None:
            raise _irreplaceable(column)
        found[text] = other
    return found


def _other(column: Column, text: str, chance: random.Random, texts: Sequence[str]) -> str:
    """A text of the same shape: letters for letters, digits for digits, a day for a day."""
    if column.form is None and column.is_number:
        return _with_digits(text, chance)
    if column.type == "string":
        return "".join(_other_sign(sign, chance) for sign in text)
    if column.type == "boolean":
        return chance.choice(sorted(set(texts)))
    pattern = column.patterns[0] if column.patterns else ISO
    if column.type == "date" and not re.search("%[^dmYyjbB]", pattern):
        return _other_day(chance).strftime(pattern)
    if column.type == "timestamp" and not column.patterns and re.match(r"\d{4}-\d\d-\d\d", text):
        return f"{_other_day(chance)}{text[10:]}"
    raise _irreplaceable(column)


def _with_digits(text: str, chance: random.Random) -> str:
    """A number as long as ``text``, that fits where that one does: a long one begins with 1."""
    first = next((at for at, sign in enumerate(text) if sign.isdigit() and sign != "0"), -1)
    is_long = sum(sign.isdigit() for sign in text) >= LONG
    return "".join(
        "1" if at == first and is_long else chance.choice("123456789") if sign.isdigit() and at >= first >= 0 else sign
        for at, sign in enumerate(text)
    )


def _other_sign(sign: str, chance: random.Random) -> str:
    if sign.isdigit():
        return chance.choice("123456789")
    if sign.isalpha():
        return chance.choice(string.ascii_lowercase if sign.islower() else string.ascii_uppercase)
    return sign


def _other_day(chance: random.Random) -> date:
    return date(1970, 1, 1) + timedelta(chance.randrange(10_000))


def _parquet(path: UPath, chosen: pl.DataFrame, personal: Sequence[Column]) -> bytes:
    with path.open("rb") as file:
        rows = pl.read_parquet(file)[chosen["_place"].to_list()]
    for column in personal:
        there = rows[column.in_file]
        texts = [None if one is None else str(one) for one in there]
        made_up = _made_up(column, [one for one in texts if one is not None])
        others = [None if one is None else made_up[one] for one in texts]
        rows = rows.with_columns(_typed(pl.Series(column.in_file, others, dtype=pl.String), there.dtype))
    out = io.BytesIO()
    rows.write_parquet(out)
    return out.getvalue()


def _typed(texts: pl.Series, dtype: pl.DataType) -> pl.Series:
    if isinstance(dtype, pl.Boolean):
        return texts == "True"
    if isinstance(dtype, pl.Date):
        return texts.str.to_date()
    return texts.str.to_datetime().cast(dtype) if isinstance(dtype, pl.Datetime) else texts.cast(dtype)


def packed(content: bytes, feed: Feed, path: UPath) -> bytes:
    """``content`` as the feed's files are packed."""
    match feed.compression:
        case Compression.NONE:
            return content
        case Compression.GZIP:
            return gzip.compress(content, mtime=0)
        case Compression.BZIP2:
            return bz2.compress(content)
        case Compression.XZ:
            return lzma.compress(content)
        case Compression.ZSTD:
            import pyarrow as pa

            return bytes(pa.compress(content, codec="zstd", asbytes=True))
        case Compression.ZIP:
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as folder:
                folder.writestr(path.stem, content)
            return out.getvalue()
