"""The corpus of bad files: each gets its verdict, and the verdicts are the table in docs/bad-files.md.

A file goes the whole way that decides about it: the look-through of `plan`, reading and judging, and the completeness
equation. Verdicts that change rewrite the page under var/report; copy it to docs/ if that was meant.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from include.contracts.source import Column, Compression, Feed, Format, Source
from include.ingestion import completeness, kernel, landing
from tests.ingestion.test_documents import HTML, LETTERS, PAGES, REFUSED, pdf

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-files.md"
DAY = date(2020, 6, 1)
FEED = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("number", "int", "which trip", required=True),
        Column("kind", "string", "by what", values=("bus", "tram")),
        Column("amount", "double", "how much"),
        Column("seen_at", "timestamp", "when"),
    ),
    key=("number",),
    day_column="day",
)
ZIPPED = replace(FEED, name="zipped", compression=Compression.GZIP)
LINES = replace(FEED, name="lines", format=Format.JSONL)
ZIPPED_LINES = replace(LINES, name="zipped_lines", compression=Compression.GZIP)
COLUMNS = replace(FEED, name="columns", format=Format.PARQUET)
NOTES = Feed(
    name="notes",
    description="notes",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("number", "int", "which note", required=True),
        Column("note", "string", "what it says"),
    ),
    key=("number",),
    day_column="day",
)
ORDERS = replace(
    LINES,
    name="orders",
    columns=(
        *FEED.columns[:2],
        Column("items", "array<struct<name:string,price:decimal(12,2)>>", "what was bought"),
        Column("city", "string", "where to", source_name=("address", "city")),
    ),
)
FEEDS = (FEED, ZIPPED, LINES, ZIPPED_LINES, COLUMNS, NOTES, ORDERS, LETTERS, PAGES)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, FEEDS)

HEADER = "day,number,kind,amount,seen_at"
ROWS = [f"2020-06-01,{n},bus,{n}.5,2020-06-01T05:00:00Z" for n in range(40)]
GOOD = "\n".join([HEADER, *ROWS, ""]).encode()


def with_rows(*rows: str) -> bytes:
    return GOOD + "".join(f"{row}\n" for row in rows).encode()


def with_column(name: str) -> bytes:
    return GOOD.replace(b"seen_at", f"seen_at,{name}".encode()).replace(b"Z\n", b"Z,me\n")


def flipped(content: bytes) -> bytes:
    """The middle byte of a gzip file, with all its bits changed."""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 0xFF
    return bytes(damaged)


SQUEEZED = gzip.compress(GOOD, compresslevel=0, mtime=0)  # the same bytes by any zlib

# What is wrong with the file → its content; the same as gzip where it is of a zipped feed.
PLAIN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: GOOD,
    "zero bytes": lambda: b"",
    "a header and no rows": lambda: f"{HEADER}\n".encode(),
    "cut off within a row": lambda: GOOD[:-20],
    "cut off within the header": lambda: HEADER[:9].encode(),
    "still being written: the last line has no end": lambda: GOOD.removesuffix(b"\n"),
    "random bytes": lambda: random.Random(7).randbytes(500),
    "a flipped bit in a text": lambda: GOOD.replace(b"bus", b"bts", 1),
    "a zero byte": lambda: GOOD.replace(b"bus", b"b\0s", 1),
    "UTF-16": lambda: GOOD.decode().encode("utf-16"),
    "Latin-1": lambda: with_rows("2020-06-01,99,bus,1,").replace(b"bus", b"b\xfcs"),
    "a byte-order mark of UTF-8": lambda: b"\xef\xbb\xbf" + GOOD,
    "line ends of Windows (CRLF)": lambda: GOOD.replace(b"\n", b"\r\n"),
    "line ends of the old Macintosh (CR)": lambda: GOOD.replace(b"\n", b"\r"),
    "a carriage return within a row": lambda: with_rows("2020-06-01,99,bus\r,1,"),
    "a line feed within quotes": lambda: with_rows('2020-06-01,99,"b', 'us",1,'),
    "a quote that is never closed": lambda: with_rows('2020-06-01,99,"bus,1,'),
    "blank lines, and lines of blanks": lambda: with_rows("", "   ", "\t"),
    "a blank line before the header": lambda: b"\n" + GOOD,
    "semicolons instead of commas": lambda: GOOD.replace(b",", b";"),
    "no header": lambda: GOOD.partition(b"\n")[2],
    "a column too few": lambda: GOOD.replace(b",seen_at", b""),
    "a column too many in the header alone": lambda: GOOD.replace(b"seen_at", b"seen_at,who"),
    "a column added at the end": lambda: GOOD.replace(b"seen_at", b"seen_at,who").replace(b"Z\n", b"Z,me\n"),
    "a column added in between": lambda: GOOD.replace(b"day,", b"day,who,").replace(b"2020-06-01,", b"2020-06-01,me,"),
    "a column added without a name": lambda: GOOD.replace(b"seen_at", b"seen_at,").replace(b"Z\n", b"Z,me\n"),
    "a column added whose name differs in case only (`Kind`)": lambda: with_column("Kind"),
    **{
        f"a column added that is named like one of ours or Spark's (`{name}`)": partial(with_column, name)
        for name in ("source_file", "partition_day", "_metadata", "_malformed")
    },
    "a column renamed": lambda: GOOD.replace(b"amount", b"price", 1),
    "columns in another order": lambda: re.sub(rb"(?m)^([^,]*),([^,]*),([^,]*),", rb"\1,\3,\2,", GOOD),
    "columns in another order, in the header alone": lambda: GOOD.replace(b"number,kind", b"kind,number"),
    "10,000 columns": lambda: ",".join(f"c{n}" for n in range(10_000)).encode() + b"\n",
    "a field of 50 MB": lambda: with_rows(f"2020-06-01,99,{'x' * 50_000_000},1,"),
    "a row with a value too few": lambda: with_rows("2020-06-01,99,bus,1"),
    "a row with a value too many": lambda: with_rows("2020-06-01,99,bus,1,,more"),
    "a text where a number should be": lambda: with_rows("2020-06-01,99,bus,much,"),
    "a number that a lenient reader would take (`1d`)": lambda: with_rows("2020-06-01,99,bus,1d,"),
    "a number beyond its type": lambda: with_rows("2020-06-01,99999999999,bus,1,"),
    "NaN": lambda: with_rows("2020-06-01,99,bus,NaN,"),
    "an infinity": lambda: with_rows("2020-06-01,99,bus,-Infinity,"),
    "a number that becomes infinite (`1e999`)": lambda: with_rows("2020-06-01,99,bus,1e999,"),
    "a day that is none": lambda: with_rows("2020-06-31,99,bus,1,"),
    "a day written otherwise (`2020-6-1`)": lambda: with_rows("2020-6-1,99,bus,1,"),
    "the row of another day": lambda: with_rows("2020-06-02,99,bus,1,"),
    "a time in the year 0001": lambda: with_rows("2020-06-01,99,bus,1,0001-01-01T00:00:00Z"),
    "a time in the year 9999": lambda: with_rows("2020-06-01,99,bus,1,9999-12-31T00:00:00Z"),
    "an unknown value in a closed set": lambda: with_rows("2020-06-01,99,boat,1,"),
    "a required value missing": lambda: with_rows("2020-06-01,,bus,1,"),
    "a whole number written as a fraction (`7.0`)": lambda: with_rows("2020-06-01,99.0,bus,1,"),
    "a number with an underscore, and one with a comma": lambda: with_rows(
        "2020-06-01,9_9,bus,1,", '2020-06-01,98,bus,"1,5",'
    ),
    "digits of another script": lambda: with_rows("2020-06-01,９９,bus,1,"),
    "blanks around a number": lambda: with_rows("2020-06-01, 99 ,bus,1,"),
    "a blank before the first column": lambda: with_rows(" 2020-06-01,99,bus,1,"),
    "a row of commas alone": lambda: with_rows(",,,,"),
    "a row of 25,000 columns": lambda: with_rows("," * 24_999),
    "the header once more": lambda: with_rows(HEADER),
    "a day that only the Julian calendar has": lambda: with_rows("1900-02-29,99,bus,1,"),
    "the 60th second of a minute": lambda: with_rows("2020-06-01,99,bus,1,2016-12-31T23:59:60Z"),
    "24 o'clock": lambda: with_rows("2020-06-01,99,bus,1,2020-06-01T24:00:00Z"),
    "a time zone of 19 hours": lambda: with_rows("2020-06-01,99,bus,1,2020-06-01T05:00:00+19:00"),
    "a time zone by its name": lambda: with_rows("2020-06-01,99,bus,1,2020-06-01T05:00:00 Europe/Warsaw"),
    "a time in nanoseconds": lambda: with_rows("2020-06-01,99,bus,1,2020-06-01T05:00:00.123456789Z"),
    "the same row twice": lambda: with_rows(ROWS[0]),
    "the same row, its values written otherwise": lambda: with_rows(
        "2020-06-01,+00,bus,5e-1,2020-06-01 07:00:00.000+02:00"
    ),
    "zero and minus zero": lambda: with_rows("2020-06-01,99,bus,0,", "2020-06-01,99,bus,-0,"),
    "the same key with other content": lambda: with_rows("2020-06-01,0,tram,1,"),
    "a tenth of the rows broken": lambda: with_rows(*(f"2020-06-01,{n},boat,1," for n in range(90, 95))),
}

NOTED = [f"2020-06-01,{n},fine" for n in range(40)]


def notes(*rows: str, header: str = "day,number,note", of: list[str] = NOTED) -> bytes:
    return "".join(f"{row}\n" for row in (header, *of, *rows)).encode()


TEXTS: dict[str, Callable[[], bytes]] = {
    "text, nothing": notes,
    "text, a line feed within the quotes of the last column": lambda: notes(
        '2020-06-01,90,"door stuck', 'driver called the depot"'
    ),
    "text, a line that begins with the closing quote": lambda: notes('2020-06-01,90,"door stuck', '"'),
    "text, a line feed of Windows within quotes": lambda: notes('2020-06-01,90,"door stuck', 'again"').replace(
        b"\n", b"\r\n"
    ),
    "text, a line within quotes that reads as a row": lambda: notes('2020-06-01,90,"a', "2020-06-01,91,b", 'c"'),
    "text, a quote in the last column that is never closed": lambda: notes('2020-06-01,91,"never closed', *NOTED),
    "text, two quotes that are never closed": lambda: notes('2020-06-01,90,"a', *NOTED, '2020-06-01,91,"b'),
    "text, a quote in the first column that is never closed": lambda: notes('"2020-06-01,90,a'),
    "text, a quote in the last column of the header that is never closed": lambda: notes(header='day,number,"note'),
    "text, a header over two lines": lambda: notes(header='day,number,"no\nte"'),
    "text, a quote where there are none around the text": lambda: notes('2020-06-01,90,a 16" pipe'),
    "text, two quotes where there are none around the text": lambda: notes('2020-06-01,90,acb""'),
    "text, more after the closing quote": lambda: notes('2020-06-01,90,"a" b'),
    "text, quotes within quotes that are not doubled": lambda: notes('2020-06-01,90,"JOHN "WAYNE""'),
    "text, a quote escaped by a backslash": lambda: notes('2020-06-01,90,"say \\"yes\\""'),
    "text, a blank before the quotes": lambda: notes('2020-06-01,90, "a, b"'),
    "text, single quotes": lambda: notes("2020-06-01,90,'a, b'"),
    "text, quotes around everything": lambda: notes(
        header='"day","number","note"', of=[f'"2020-06-01","{n}","a ""note"", or two"' for n in range(40)]
    ),
    "text, a byte-order mark before a header in quotes": lambda: (
        b"\xef\xbb\xbf" + notes(header='"day","number","note"')
    ),
    "text, a file that ends in its last closing quote": lambda: notes('2020-06-01,90,"a"').removesuffix(b"\n"),
    "text, a carriage return within quotes": lambda: notes('2020-06-01,90,"a\rb"'),
    "text, other line ends of Unicode (U+0085, U+2028)": lambda: notes(of=[f"{row}\x85\u2028" for row in NOTED]),
    "text, 150,000 letters and a broken row": lambda: notes(
        of=["2020-06-01,0," + "x" * 150_000, *NOTED[1:], "2020-06-01,ninety-one,fine"]
    ),
    "text, an empty text in quotes": lambda: notes(of=['2020-06-01,0,""', *NOTED[1:]]),
    "text, 100,000 quotes": lambda: notes(of=['2020-06-01,0,"' + '""' * 100_000 + '"', *NOTED[1:]]),
    "text, 100,000 quotes and one more": lambda: notes('2020-06-01,90,"' + '""' * 100_000),
    "text, a name of 150,000 letters in the header": lambda: notes(
        header="day,number,note," + "x" * 150_000, of=[f"{row},x" for row in NOTED]
    ),
    "text, an added column named like one of ours": lambda: notes(
        header="day,number,note,source_file", of=[f"{row},x" for row in NOTED]
    ),
}
GZIP: dict[str, Callable[[], bytes]] = {
    "gzip, nothing": lambda: SQUEEZED,
    "gzip, cut off": lambda: SQUEEZED[: len(SQUEEZED) // 2],
    "gzip, a byte flipped": lambda: flipped(SQUEEZED),
    "gzip, another checksum": lambda: SQUEEZED[:-8] + bytes(8),
    "gzip, not compressed at all": lambda: GOOD,
    "gzip, something after its end": lambda: SQUEEZED + b"more",
    "gzip, of two parts": lambda: gzip.compress(GOOD[:300], mtime=0) + gzip.compress(GOOD[300:], mtime=0),
}

OBJECTS: list[dict[str, Any]] = [
    {"day": "2020-06-01", "number": n, "kind": "bus", "amount": n + 0.5, "seen_at": "2020-06-01T05:00:00Z"}
    for n in range(40)
]


def objects(*more: str, of: list[dict[str, Any]] = OBJECTS) -> bytes:
    return "".join(f"{line}\n" for line in [*map(json.dumps, of), *more]).encode()


def changed(**values: Any) -> str:
    """One more object, with ``values`` instead of good ones."""
    return json.dumps(OBJECTS[0] | {"number": 99} | values)


def without(key: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != key} for row in rows]


SQUEEZED_LINES = gzip.compress(objects(), compresslevel=0, mtime=0)

JSONL: dict[str, Callable[[], bytes]] = {
    "JSON lines, nothing": objects,
    "JSON lines, zero bytes": lambda: b"",
    "JSON lines, blank lines only": lambda: b"\n \n",
    "JSON lines, cut off within a row": lambda: objects()[:-20],
    "JSON lines, a line that is cut off": lambda: objects('{"day": "2020-06-01", "numb'),
    "JSON lines, two objects on a line": lambda: objects(changed() + changed(number=98)),
    "JSON lines, something after an object": lambda: objects(changed() + " more"),
    "JSON lines, a list of objects instead": lambda: json.dumps(OBJECTS).encode() + b"\n",
    "JSON lines, one object over many lines": lambda: json.dumps(OBJECTS[0], indent=1).encode() + b"\n",
    "JSON lines, a line that is a number": lambda: objects("7"),
    "JSON lines, a CSV file": lambda: GOOD,
    "JSON lines, a byte-order mark of UTF-8": lambda: b"\xef\xbb\xbf" + objects(),
    "JSON lines, line ends of Windows (CRLF)": lambda: objects().replace(b"\n", b"\r\n"),
    "JSON lines, UTF-16": lambda: objects().decode().encode("utf-16"),
    "JSON lines, Latin-1": lambda: objects().replace(b"bus", b"b\xfcs"),
    "JSON lines, a zero byte": lambda: objects().replace(b"bus", b"b\0s", 1),
    "JSON lines, an escaped zero byte in a text": lambda: objects(changed(kind="bus\0")),
    "JSON lines, half a character (`\\ud800`)": lambda: objects(changed(kind="\ud800")),
    "JSON lines, line separators of Unicode (U+2028) in a text": lambda: objects(
        json.dumps(OBJECTS[0] | {"number": 99, "kind": "b\u2028us"}, ensure_ascii=False)
    ),
    "JSON lines, blank lines, and lines of blanks": lambda: objects("", "   ", "\t"),
    "JSON lines, an unknown key in one row": lambda: objects(changed(who="me")),
    "JSON lines, a key whose name differs in case only (`Kind`)": lambda: objects(changed(Kind="tram")),
    "JSON lines, keys that are named like ours or Spark's": lambda: objects(
        changed(source_file="mine", partition_day=1, _metadata={"file_name": "mine"}, value="mine")
    ),
    "JSON lines, an object without any key": lambda: objects("{}"),
    "JSON lines, nothing but objects without any key": lambda: b"{}\n{}\n",
    "JSON lines, a key with half a character (`\\ud800`)": lambda: objects(changed(**{"\ud800": 1})),
    "JSON lines, 900 lists within each other under an unknown key": lambda: objects(
        changed(who=0).replace('"who": 0', f'"who": {"[" * 900}{"]" * 900}')
    ),
    "JSON lines, a key renamed": lambda: objects().replace(b"amount", b"price"),
    "JSON lines, a key in no row": lambda: objects(of=without("amount", OBJECTS)),
    "JSON lines, a key absent in one row": lambda: objects(of=[*without("amount", OBJECTS[:1]), *OBJECTS[1:]]),
    "JSON lines, a required key absent in one row": lambda: objects(*map(json.dumps, without("number", OBJECTS[:1]))),
    "JSON lines, keys in another order": lambda: objects(of=[dict(reversed(row.items())) for row in OBJECTS]),
    "JSON lines, a key twice in a row": lambda: objects(changed().replace("}", ', "kind": "tram"}')),
    "JSON lines, a field of 50 MB": lambda: objects(changed(kind="x" * 50_000_000)),
    "JSON lines, 100,000 lists within each other": lambda: objects("[" * 100_000 + "]" * 100_000),
    "JSON lines, an object where a text should be": lambda: objects(changed(kind={"name": "bus"})),
    "JSON lines, an object where a number should be": lambda: objects(changed(amount={"euros": 1})),
    "JSON lines, a list where a time should be": lambda: objects(changed(seen_at=["2020-06-01T05:00:00Z"])),
    "JSON lines, a number where a text should be": lambda: objects(changed(kind=7)),
    "JSON lines, true where a number should be": lambda: objects(changed(amount=True)),
    "JSON lines, a number as text": lambda: objects(changed(amount="1.5")),
    "JSON lines, a text where a number should be": lambda: objects(changed(amount="much")),
    "JSON lines, a day as a number": lambda: objects(changed(day=20200601)),
    "JSON lines, a line feed after a number as text": lambda: objects(changed(number="99\n")),
    "JSON lines, a fraction where a whole number should be": lambda: objects(changed(number=99.5)),
    "JSON lines, a whole number with an exponent (`99e0`)": lambda: objects(changed().replace("99", "99e0")),
    "JSON lines, a number of 2,000 digits": lambda: objects(changed().replace("99", "9" * 2000)),
    "JSON lines, a number beyond its type": lambda: objects(changed(number=99999999999)),
    "JSON lines, NaN": lambda: objects(changed(amount=float("nan"))),
    "JSON lines, a number that becomes infinite (`1e999`)": lambda: objects(
        changed(amount=7.25).replace("7.25", "1e999")
    ),
    "JSON lines, an empty text": lambda: objects(changed(kind="")),
    "JSON lines, the row of another day": lambda: objects(changed(day="2020-06-02")),
    "JSON lines, the same row twice": lambda: objects(json.dumps(OBJECTS[0])),
    "JSON lines, the same row, its values written otherwise": lambda: objects(
        changed(number="00", amount="5e-1", seen_at="2020-06-01 07:00:00.000+02:00")
    ),
    "JSON lines, the same key with other content": lambda: objects(json.dumps(OBJECTS[0] | {"kind": "tram"})),
}
JSONL_GZIP: dict[str, Callable[[], bytes]] = {
    "JSON lines in gzip, nothing": lambda: SQUEEZED_LINES,
    "JSON lines in gzip, cut off": lambda: SQUEEZED_LINES[: len(SQUEEZED_LINES) // 2],
    "JSON lines in gzip, another checksum": lambda: SQUEEZED_LINES[:-8] + bytes(8),
}

TABLE = pyarrow.table(
    {
        "day": pyarrow.array([DAY] * 40),
        "number": pyarrow.array(range(40), pyarrow.int32()),
        "kind": ["bus"] * 40,
        "amount": [n + 0.5 for n in range(40)],
        "seen_at": pyarrow.array([datetime(2020, 6, 1, 5, tzinfo=UTC)] * 40, pyarrow.timestamp("us", "UTC")),
    }
)


def parquet(table: pyarrow.Table = TABLE, **options: Any) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written, **options)
    return written.getvalue()


def retyped(name: str, type_: pyarrow.DataType) -> bytes:
    at = TABLE.schema.get_field_index(name)
    return parquet(TABLE.set_column(at, name, TABLE[name].cast(type_)))


def other(name: str, value: Any, number: int = 99, **options: Any) -> bytes:
    """One more row, with another value of ``name``."""
    more = TABLE.slice(0, 1).to_pylist()[0] | {"number": number, name: value}
    return parquet(pyarrow.concat_tables([TABLE, pyarrow.Table.from_pylist([more], TABLE.schema)]), **options)


def replaced(name: str, values: pyarrow.Array) -> pyarrow.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), name, values)


def empty(name: str, type_: pyarrow.DataType) -> bytes:
    return parquet(replaced(name, pyarrow.nulls(40, type_)))


def miscounted(content: bytes) -> bytes:
    """Parquet whose footer says 41 rows; that of its group of rows still says 40."""
    at = content.rindex(b"\x16\x50\x19")  # the number of rows, before the list of groups; 80 is 40 in Thrift
    return content[: at + 1] + b"\x52" + content[at + 2 :]


def in_groups(*sizes: int) -> bytes:
    written, at = io.BytesIO(), 0
    with pyarrow.parquet.ParquetWriter(written, TABLE.schema) as writer:
        for size in sizes:
            writer.write_table(TABLE.slice(at, size))
            at += size
    return written.getvalue()


def not_utf8(**options: Any) -> bytes:
    """Two rows with Latin-1 in them, each another one, as Hive writes it."""
    texts = pyarrow.array([b"b\xfcs", b"b\xf6s", *[b"bus"] * 38])
    return parquet(replaced("kind", pyarrow.Array.from_buffers(pyarrow.string(), 40, texts.buffers())), **options)


def beyond(unit: str) -> bytes:
    """One time that is 2^60 units after 1970."""
    times = pyarrow.array([2**60, *[1_590_987_600] * 39]).cast(pyarrow.timestamp(unit, "UTC"))
    return parquet(replaced("seen_at", times))


def in_a_page(content: bytes) -> bytes:
    """One of the texts ``bus`` with its last letter changed: the page's checksum is not that of the page any more."""
    assert b"bus" in content
    return content.replace(b"bus", b"bun", 1)


def nested() -> bytes:
    at = TABLE.schema.get_field_index("kind")
    return parquet(TABLE.set_column(at, "kind", pyarrow.array([{"name": "bus"}] * 40)))


PARQUET: dict[str, Callable[[], bytes]] = {
    "Parquet, nothing": parquet,
    "Parquet, zero bytes": lambda: b"",
    "Parquet, columns and no rows": lambda: parquet(TABLE.slice(0, 0)),
    "Parquet, cut off": lambda: parquet()[:-100],
    "Parquet, only its beginning": lambda: parquet()[:6],
    "Parquet, random bytes": lambda: random.Random(7).randbytes(500),
    "Parquet, a CSV file": lambda: GOOD,
    "Parquet, a byte of a page changed, pages with checksums": lambda: in_a_page(
        parquet(use_dictionary=False, compression="none", write_page_checksum=True, write_statistics=False)
    ),
    "Parquet, a column too few": lambda: parquet(TABLE.drop_columns("seen_at")),
    "Parquet, a column too many": lambda: parquet(TABLE.append_column("who", TABLE["kind"])),
    "Parquet, a column too many whose name differs in case only (`Kind`)": lambda: parquet(
        TABLE.append_column("Kind", TABLE["kind"])
    ),
    "Parquet, a column there twice": lambda: parquet(TABLE.append_column("kind", TABLE["kind"])),
    "Parquet, columns too many that are named like ours or Spark's": lambda: parquet(
        TABLE.append_column("source_file", TABLE["kind"])
        .append_column("partition_day", TABLE["kind"])
        .append_column("_metadata", TABLE["kind"])
    ),
    "Parquet, columns too many with dots, backticks and other columns in them": lambda: parquet(
        TABLE.append_column("kind.name", TABLE["kind"])
        .append_column("who`s", TABLE["kind"])
        .append_column("inner", pyarrow.array([{"kind": "tram", "Kind": [1, 2]}] * 40))
    ),
    "Parquet, a column too many without a name": lambda: parquet(TABLE.append_column(" ", TABLE["kind"])),
    "Parquet, a column without any value, of the type null": lambda: empty("kind", pyarrow.null()),
    "Parquet, a text without any value, written as a fraction": lambda: empty("kind", pyarrow.float64()),
    "Parquet, a required column without any value": lambda: empty("number", pyarrow.null()),
    "Parquet, a column renamed": lambda: parquet(TABLE.rename_columns({"amount": "Amount"})),
    "Parquet, columns in another order": lambda: parquet(TABLE.select(list(reversed(TABLE.column_names)))),
    "Parquet, a number that has become a text": lambda: retyped("number", pyarrow.string()),
    "Parquet, a wider number": lambda: retyped("number", pyarrow.int64()),
    "Parquet, a narrower number": lambda: retyped("number", pyarrow.int16()),
    "Parquet, a number without sign": lambda: retyped("number", pyarrow.uint32()),
    "Parquet, a fraction of 32 bits": lambda: retyped("amount", pyarrow.float32()),
    "Parquet, a decimal": lambda: retyped("amount", pyarrow.decimal128(10, 2)),
    "Parquet, a day with a time": lambda: retyped("day", pyarrow.timestamp("ms")),
    "Parquet, a time without a zone": lambda: retyped("seen_at", pyarrow.timestamp("us")),
    "Parquet, a time in milliseconds": lambda: retyped("seen_at", pyarrow.timestamp("ms", "UTC")),
    "Parquet, a time in nanoseconds": lambda: retyped("seen_at", pyarrow.timestamp("ns", "UTC")),
    "Parquet, a time of 96 bits": lambda: parquet(use_deprecated_int96_timestamps=True),
    "Parquet, texts by number (dictionary)": lambda: parquet(
        TABLE.set_column(2, "kind", TABLE["kind"].dictionary_encode())
    ),
    "Parquet, a text that is not UTF-8": lambda: not_utf8(),
    "Parquet, a text that is not UTF-8, by number (dictionary) or not": lambda: not_utf8(use_dictionary=False),
    "Parquet, a text that is not said to be one, as Impala writes it": lambda: retyped("kind", pyarrow.binary()),
    "Parquet, a text where a number should be, without statistics": lambda: parquet(
        replaced("amount", pyarrow.array(["1"] * 40)), write_statistics=False
    ),
    "Parquet, a column without any value, without statistics": lambda: parquet(
        replaced("kind", pyarrow.nulls(40, pyarrow.int8())), write_statistics=False
    ),
    "Parquet, a number of 64 bits without sign": lambda: retyped("number", pyarrow.uint64()),
    "Parquet, a footer that counts a row more than its groups": lambda: miscounted(parquet(store_schema=False)),
    "Parquet, a group without rows between others": lambda: in_groups(20, 0, 20),
    "Parquet, compressed with Brotli": lambda: parquet(compression="brotli"),
    "Parquet, compressed with Zstandard, pages of version 2": lambda: parquet(
        compression="zstd", data_page_version="2.0"
    ),
    "Parquet, fractions split by byte": lambda: parquet(
        use_dictionary=False, column_encoding={"amount": "BYTE_STREAM_SPLIT"}
    ),
    "Parquet, encrypted": lambda: b"PARE" + parquet()[4:-4] + b"PARE",
    "Parquet, no group of rows": lambda: parquet(TABLE.schema.empty_table(), row_group_size=1),
    "Parquet, a group for each row": lambda: parquet(row_group_size=1),
    "Parquet, a name in the footer that is not UTF-8": lambda: parquet(store_schema=False).replace(b"kind", b"k\xffnd"),
    "Parquet, a nested column": nested,
    "Parquet, NaN": lambda: other("amount", float("nan")),
    "Parquet, an infinity": lambda: other("amount", float("-inf")),
    "Parquet, a required value missing": lambda: other("number", None),
    "Parquet, a zero byte in a text": lambda: other("kind", "bus\0"),
    "Parquet, an unknown value in a closed set": lambda: other("kind", "boat"),
    "Parquet, the row of another day": lambda: other("day", date(2020, 6, 2)),
    "Parquet, a time in the year 9999": lambda: other("seen_at", datetime(9999, 12, 30, tzinfo=UTC)),
    "Parquet, a time in the year 1850, of 96 bits": lambda: other(
        "seen_at", datetime(1850, 1, 1, tzinfo=UTC), use_deprecated_int96_timestamps=True
    ),
    "Parquet, a time in the year 9999, of 96 bits": lambda: other(
        "seen_at", datetime(9999, 12, 30, tzinfo=UTC), use_deprecated_int96_timestamps=True
    ),
    "Parquet, a day in the year 1500": lambda: other("day", date(1500, 1, 1)),
    "Parquet, a time that no calendar has (2^60 µs)": lambda: beyond("us"),
    "Parquet, a time that no calendar has (2^60 ms)": lambda: beyond("ms"),
    "Parquet, the same row twice": lambda: parquet(pyarrow.concat_tables([TABLE, TABLE.slice(0, 1)])),
    "Parquet, the same key with other content": lambda: other("kind", "tram", number=0),
}
BOUGHT = [
    {"day": "2020-06-01", "number": n, "items": [{"name": "x", "price": 1.5}], "address": {"city": "Bern"}}
    for n in range(40)
]


def bought(wrong: str, **values: Any) -> Callable[[], bytes]:
    """One more order, with ``values``, in which what is ``wrong`` stands for "?"."""
    return lambda: objects(json.dumps(BOUGHT[0] | {"number": 99} | values).replace('"?"', wrong), of=BOUGHT)


NESTED: dict[str, Callable[[], bytes]] = {
    "nested, nothing": lambda: objects(of=BOUGHT),
    "nested, a text where a number should be": bought('"x"', items=[{}, {"price": "?"}]),
    "nested, a number with a digit too many": bought("1.005", items=[{"price": "?"}]),
    "nested, an unknown key": bought("1", items=[{"colour": "?"}]),
    "nested, a key twice": bought('"a", "name": "b"', items=[{"name": "?"}]),
    "nested, an object where a list should be": bought("{}", items="?"),
    "nested, 900 lists within each other": bought("[" * 900 + "]" * 900, items="?"),
    "nested, a text on the way to what is taken out": bought('"Bern"', address="?"),
    "nested, a list at the end of a path": bought('["Bern"]', address={"city": "?"}),
    "nested, half a character": bought('"\\ud800"', items=[{"name": "?"}]),
}
DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "PDF, nothing": lambda: pdf("one", "two"),
    **{f"PDF, {name}": make for name, (feed, make, _) in REFUSED.items() if feed is LETTERS},
    "PDF, a date that is none": lambda: pdf(*["x"] * 30, info="/CreationDate (soon)"),
}
WEB_PAGES: dict[str, Callable[[], bytes]] = {
    "HTML, nothing": lambda: HTML,
    **{f"HTML, {name}": make for name, (feed, make, _) in REFUSED.items() if feed is PAGES},
}
CORPUS = (
    (FEED, PLAIN),
    (ZIPPED, GZIP),
    (LINES, JSONL),
    (ZIPPED_LINES, JSONL_GZIP),
    (COLUMNS, PARQUET),
    (NOTES, TEXTS),
    (ORDERS, NESTED),
    (LETTERS, DOCUMENTS),
    (PAGES, WEB_PAGES),
)

# Where people told of such a file, which another program had read wrongly or not at all.
REPORTS = {
    "text, a line feed within the quotes of the last column": "databricks/spark-csv#311",
    "text, a line within quotes that reads as a row": "duckdb/duckdb#14177",
    "text, a line that begins with the closing quote": "iamantony/qtcsv#37",
    "text, a quote where there are none around the text": "melihbirim/csvql#94",
    "text, two quotes where there are none around the text": "NVIDIA/cudf#11948",
    "text, quotes within quotes that are not doubled": "stevehansen/csv#114",
    "text, a blank before the quotes": "pola-rs/polars#15011",
    "text, an empty text in quotes": "osiegmar/FastCSV#20",
    "text, other line ends of Unicode (U+0085, U+2028)": "tototoshi/scala-csv#137",
    "text, 150,000 letters and a broken row": "frictionlessdata/frictionless-py#914",
    "a column too few": "duckdb/duckdb#11296",
    "a row of commas alone": "apache/spark#44946",
    "a blank before the first column": "pola-rs/polars#12763",
    "a whole number written as a fraction (`7.0`)": "pola-rs/polars#22358",
    "the 60th second of a minute": "NVIDIA/cudf#11593",
    "the same row, its values written otherwise": "wireservice/csvkit#1248",
}


def verdict(name: str, feed: Feed, content: bytes) -> str:
    """What becomes of a file with ``content``."""
    path = landing.path_of(SOURCE, feed, DAY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        file = landing.look_through(path, feed)
    except landing.UnreadableFileError as refused:
        # What every refusal ends in: how to look at the file.
        said, _, advice = str(refused).removeprefix(f"{path}: ").partition(" How it is written: ")
        assert advice in ("", f"make source-check file={path}")
        return f"**refused**: {said.removesuffix('.')}"
    try:
        kernel.run(feed, {path: (DAY, file["columns"])}, name)
    except landing.UnreadableFileError as failed:
        return f"**the load fails**: {str(failed).partition(f'{path}: ')[2]}"
    judged = kernel.judged(name)
    batch: landing.Batch = {"rows": file["rows"], "sha256": file["sha256"], "files": {path.name: file}}
    (counts,), _ = completeness.counted(judged, feed, {feed.name: {str(DAY): batch}})
    if problems := completeness.complete(feed, counts):
        return f"**the night fails**: {problems[0].removeprefix(f'{feed.name} {DAY}: ')}"
    reasons = Counter(judged.filter(completeness.TERMS["quarantined"]).collect()["_reason"])
    said = [f"**published**: {counts['published']} rows"]
    said += [f"without the new column {name}" for name in (counts["added_columns"],) if name]
    said += [f"quarantined: {n} × {reason}" for reason, n in sorted(reasons.items())]
    said += [f"copies dropped: {n}" for n in (counts["deduplicated"],) if n]
    return "; ".join(said)


@pytest.fixture(scope="module")
def verdicts(module_home: Path) -> dict[str, str]:
    cases = {name: (feed, make) for feed, files in CORPUS for name, make in files.items()}
    return {
        name: verdict(f"candidate.bad_{number}", feed, make())
        for number, (name, (feed, make)) in enumerate(cases.items())
    }


def page(verdicts: dict[str, str]) -> str:
    lines = [
        "# What becomes of a bad file",
        "",
        "Made by `tests/ingestion/test_bad_files.py`: each file has good rows, 40 where it is a table, and this wrong",
        "with it. *Refused* and *the night fails* mean that nothing of the night is published, and the earlier state",
        "stands.",
        "",
        "| wrong with the file | what becomes of it |",
        "|---|---|",
    ]
    cell = str.maketrans({"|": "\\|", "\n": " ", "\0": "\\0"})
    lines += [f"| {name} | {said.translate(cell)} |" for name, said in verdicts.items()]
    lines += ["", "People have told of some of them, which another program had read wrongly or not at all:", ""]
    lines += [
        f"- {name}: [{report}](https://github.com/{report.replace('#', '/issues/')})"
        for name, report in REPORTS.items()
    ]
    return "\n".join(lines) + "\n"


def test_every_bad_file_gets_the_verdict_of_the_page(verdicts: dict[str, str], home: Path) -> None:
    made = home / PAGE.name
    made.write_text(page(verdicts))
    assert PAGE.exists(), f"cp {made} {PAGE}"
    assert made.read_text() == PAGE.read_text(), f"if that was meant: cp {made} {PAGE}"


# Of the newer formats: nothing wrong with the content, whatever is odd about how it is written.
GOOD_ONES = (
    "JSON lines, nothing",
    "JSON lines, a byte-order mark of UTF-8",
    "JSON lines, line ends of Windows (CRLF)",
    "JSON lines, keys in another order",
    "JSON lines, a key absent in one row",
    "JSON lines in gzip, nothing",
    "text, nothing",
    "text, quotes around everything",
    "text, a byte-order mark before a header in quotes",
    "text, other line ends of Unicode (U+0085, U+2028)",
    "text, an empty text in quotes",
    "text, 100,000 quotes",
    "Parquet, nothing",
    "Parquet, columns in another order",
    "Parquet, a narrower number",
    "Parquet, a fraction of 32 bits",
    "Parquet, a time without a zone",
    "Parquet, a time in milliseconds",
    "Parquet, a time of 96 bits",
    "Parquet, texts by number (dictionary)",
    "Parquet, a column without any value, of the type null",
    "Parquet, a text without any value, written as a fraction",
    "Parquet, compressed with Zstandard, pages of version 2",
    "Parquet, a group for each row",
    "Parquet, a text that is not said to be one, as Impala writes it",
    "Parquet, a column without any value, without statistics",
    "Parquet, a group without rows between others",
    "Parquet, compressed with Brotli",
    "Parquet, fractions split by byte",
)


# They have fewer rows than 40.
GOOD_DOCUMENTS = ("PDF, nothing", "HTML, nothing")

# Their one more row is a good one.
GOOD_ROW_MORE = (
    "zero and minus zero",
    "JSON lines, a number as text",
    "JSON lines, an unknown key in one row",
    "JSON lines, a key whose name differs in case only (`Kind`)",
    "JSON lines, keys that are named like ours or Spark's",
    "JSON lines, 900 lists within each other under an unknown key",
    "text, a line feed within the quotes of the last column",
    "text, a line that begins with the closing quote",
    "text, a line feed of Windows within quotes",
)


def test_what_is_good_is_published_whole(verdicts: dict[str, str]) -> None:
    for name in ("nothing", "gzip, nothing", "gzip, of two parts", "a byte-order mark of UTF-8", *GOOD_ONES):
        assert verdicts[name] == "**published**: 40 rows", name


def test_no_broken_value_is_published(verdicts: dict[str, str]) -> None:
    """Whatever the verdict, never more rows than the 40 good ones."""
    sound = ("**refused**", "**the load fails**", "**the night fails**", *(f"**published**: {n}" for n in (38, 39, 40)))
    assert {name for name, said in verdicts.items() if not said.startswith(sound)} == {*GOOD_ROW_MORE, *GOOD_DOCUMENTS}


def test_the_equation_never_has_to_catch_what_the_look_through_accepted(verdicts: dict[str, str]) -> None:
    """Rows are counted by other code than reads them; where both accept a file they agree on its rows."""
    assert [name for name, said in verdicts.items() if "are accounted for" in said] == []
