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
import string
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl
from upath import UPath

from include.contracts.source import Column, Compression, Feed, Format
from include.ingestion.files import unpacked
from include.scaffold.errors import ScaffoldError
from include.scaffold.sample import Sample, landing_name

ROWS = 8  # of a file
MOST_BYTES = 256_000  # of a file that is taken as it is
OF_LINES = (Format.CSV, Format.JSONL, Format.FIXED, Format.LOG)


def files_of(sample: Sample, feed: Feed, day: date, personal: Sequence[str], rows: int = ROWS) -> dict[str, bytes]:
    """The landing files of ``day`` by their names below the feed's folder, with at most ``rows`` rows each.

    ``feed`` is the sample's with its day column. Values of the columns ``personal`` are replaced by others of the same
    shape. Raises ScaffoldError where that cannot be done in a file of this format.
    """
    found = {}
    for name, path in sample.files.items():
        own = sample.rows.filter(pl.col("source_file") == str(path)).with_row_index("_place")
        its = own.filter(pl.col(feed.day_column) == day) if feed.day_column else own
        if its.is_empty():
            continue
        columns = [column for column in feed.columns if column.name in personal]
        found[landing_name(feed, name, day)] = _file(path, feed, own, its.head(rows), columns)
    return found


def _file(path: UPath, feed: Feed, own: pl.DataFrame, chosen: pl.DataFrame, personal: Sequence[Column]) -> bytes:
    made_up = {column.name: _made_up(chosen[column.name]) for column in personal}
    if feed.format is Format.PARQUET:
        return _parquet(path, chosen, {column.in_file: made_up[column.name] for column in personal})
    if feed.format in OF_LINES:
        text = _text(path, feed)
        begin = text.find(own["_raw"][0])
        lines = [_replaced(row, made_up) + _line_end(text, feed) for row in chosen.iter_rows(named=True)]
        return packed("".join([text[:begin], *lines]).encode(feed.dialect.encoding), feed, path)
    whole = path.read_bytes()
    if personal or (chosen.height < own.height and feed.day_column) or len(whole) > MOST_BYTES:
        odd = ", ".join(column.name for column in personal)
        raise ScaffoldError(
            f"{path}: a source has tests with a few of its rows, and a file of {feed.format} can only be taken whole. "
            f"Give a sample of at most {ROWS} rows of one day" + (f", with made-up values in {odd}" if odd else "")
        )
    return whole


def _text(path: UPath, feed: Feed) -> str:
    with unpacked(path) as file:
        return file.read().decode(feed.dialect.encoding)


def _line_end(text: str, feed: Feed) -> str:
    if feed.dialect.line_end not in ("", "any"):
        return feed.dialect.line_end
    return "\r\n" if "\r\n" in text else "\n"


def _replaced(row: Mapping[str, Any], made_up: Mapping[str, Mapping[Any, str]]) -> str:
    raw = str(row["_raw"])
    for name, values in made_up.items():
        if row[name] is None:
            continue
        if str(row[name]) not in raw:
            raise ScaffoldError(
                f"{name} looks personal and cannot be replaced in the fixture: put made-up rows in the sample"
            )
        raw = raw.replace(str(row[name]), values[row[name]])
    return raw


def _made_up(values: pl.Series) -> dict[Any, str]:
    """For each of ``values`` another text of the same shape: letters for letters, digits for digits."""
    return {one: _alike(str(one), n) for n, one in enumerate(values.drop_nulls().unique().sort())}


def _alike(text: str, seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311  # the same for the same place in the fixture, and nothing of the value

    def other(sign: str) -> str:
        if sign.isdigit():
            return chance.choice("123456789")
        if sign.isalpha():
            return chance.choice(string.ascii_lowercase if sign.islower() else string.ascii_uppercase)
        return sign

    return "".join(map(other, text))


def _parquet(path: UPath, chosen: pl.DataFrame, made_up: Mapping[str, Mapping[Any, str]]) -> bytes:
    with path.open("rb") as file:
        rows = pl.read_parquet(file)[chosen["_place"].to_list()]
    for name, values in made_up.items():
        there = rows[name]
        texts = [None if one is None else values[one] for one in there]
        rows = rows.with_columns(pl.Series(name, texts, dtype=pl.String).cast(there.dtype).alias(name))
    out = io.BytesIO()
    rows.write_parquet(out)
    return out.getvalue()


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
