"""A row is the same row whichever format it is written in: every value of every type comes out as the CSV's would."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow
import pyarrow.parquet
import pytest

from include.contracts.dialect import Dialect
from include.contracts.source import Column, Compression, Feed, Form, Format
from include.core.settings import settings
from tests.ingestion.corpus import sheet
from tests.ingestion.judged import judged

FEED = Feed(
    name="trips",
    description="one column of each type",
    columns=(
        Column("number", "int", "which trip", required=True),
        Column("big", "bigint", "a number of 64 bits"),
        Column("amount", "double", "how much", "euro"),
        Column("price", "decimal(22,2)", "what it costs", "euro"),
        Column("size", "smallint", "a number of 16 bits"),
        Column("flag", "boolean", "whether"),
        Column("note", "string", "what else"),
        Column("day", "date", "the day"),
        Column("seen_at", "timestamp", "when", "UTC"),
    ),
    key=("number",),
)
NAMES = [column.name for column in FEED.columns]
WIDTH = 40  # signs of a value in a line of fixed width
# The values as a CSV has them, and as Parquet has them; JSON has them as `from_csv` says.
ROWS: list[tuple[list[str], list[Any]]] = [
    (
        [
            *("1", "9223372036854775807", "0.30000000000000004", "12345678901234567890.10", "32767", "true"),
            *("żółw – 車", "2020-06-01", "2020-06-01T05:00:00Z"),
        ],
        [
            *(1, 2**63 - 1, 0.1 + 0.2, Decimal("12345678901234567890.10"), 32767, True),
            *("żółw – 車", date(2020, 6, 1), datetime(2020, 6, 1, 5, tzinfo=UTC)),
        ],
    ),
    (
        [
            *("2", "-9223372036854775808", "1e-07", "-0.01", "-32768", "false"),
            *("007", "1900-01-01", "2020-10-25 00:30:00.000001Z"),
        ],
        [
            *(2, -(2**63), 1e-7, Decimal("-0.01"), -32768, False),
            *("007", date(1900, 1, 1), datetime(2020, 10, 25, 0, 30, 0, 1, tzinfo=UTC)),
        ],
    ),
    (
        ["3", "0", "-1.7976931348623157e308", "7", "0", "", "a, b", "2199-12-31", "2020-10-25 01:30:00Z"],
        [
            *(3, 0, -1.7976931348623157e308, Decimal("7.00"), 0, None),
            *("a, b", date(2199, 12, 31), datetime(2020, 10, 25, 1, 30, tzinfo=UTC)),
        ],
    ),
    (["4", *[""] * 8], [4, *[None] * 8]),
]
TYPES = [
    pyarrow.int32(),
    pyarrow.int64(),
    pyarrow.float64(),
    pyarrow.decimal128(22, 2),
    pyarrow.int16(),
    pyarrow.bool_(),
    pyarrow.string(),
    pyarrow.date32(),
    pyarrow.timestamp("us", "UTC"),
]


def from_csv(column: Column, text: str) -> Any:
    """What JSON has where the CSV has ``text``."""
    if not text:
        return None
    return json.loads(text) if column.type in ("int", "bigint", "smallint", "double", "boolean") else text


def csv_lines() -> bytes:
    rows = [",".join(f'"{text}"' if "," in text else text for text in texts) for texts, _ in ROWS]
    return ("\n".join([",".join(NAMES), *rows]) + "\n").encode()


def json_lines() -> bytes:
    rows = [{c.name: from_csv(c, t) for c, t in zip(FEED.columns, texts, strict=True)} for texts, _ in ROWS]
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@pytest.fixture
def folder(home: Path) -> Path:
    """Where the files of the feed land."""
    found = Path(str(settings().landing)) / "toys" / "trips"
    found.mkdir(parents=True)
    return found


def put(folder: Path, feed: Feed) -> Path:
    path = folder / f"2020-06-01.{feed.extension}"
    if feed.format is Format.PARQUET:
        columns = zip(*(values for _, values in ROWS), strict=True)
        arrays = [pyarrow.array(list(values), type_) for values, type_ in zip(columns, TYPES, strict=True)]
        pyarrow.parquet.write_table(pyarrow.table(arrays, NAMES), path)
    elif feed.format is Format.XLSX:
        path.write_bytes(sheet([NAMES, *(texts for texts, _ in ROWS)]))
    elif feed.format in (Format.FIXED, Format.LOG):
        width, between = (WIDTH, "") if feed.format is Format.FIXED else (0, "|")
        path.write_text("".join(between.join(f"{text:{width}}" for text in texts) + "\n" for texts, _ in ROWS))
    else:
        text = csv_lines() if feed.format is Format.CSV else json_lines()
        path.write_bytes(gzip.compress(text) if feed.compression else text)
    return path


FEEDS = [
    FEED,
    replace(FEED, compression=Compression.GZIP),
    replace(FEED, format=Format.JSONL),
    replace(FEED, format=Format.JSONL, compression=Compression.GZIP),
    replace(FEED, format=Format.PARQUET),
    replace(FEED, format=Format.XLSX),
    replace(
        FEED,
        format=Format.FIXED,
        columns=tuple(replace(one, place=n * WIDTH + 1, width=WIDTH) for n, one in enumerate(FEED.columns)),
    ),
    replace(FEED, format=Format.LOG, dialect=Dialect(pattern=r"\|".join(f"(?P<{name}>[^|]*)" for name in NAMES))),
]


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.extension)
def test_a_row_is_the_same_in_every_format(folder: Path, feed: Feed) -> None:
    rows = judged(feed, put(folder, feed)).sort("number")
    assert rows["_reason"].to_list() == [None] * len(ROWS)
    assert rows.select(NAMES).rows() == [tuple(values) for _, values in ROWS]
    assert rows["source_file"].unique().to_list() == [f"toys/trips/2020-06-01.{feed.extension}"]
    assert rows["partition_day"].unique().to_list() == [date(2020, 6, 1)]


TIMES = {0: "", 5: "", 1435: "", 2359: "", 2400: "", 1275: "no", 2399: "no", 2401: "no", -5: "no", 760: "no"}


@pytest.mark.parametrize("format_", [Format.CSV, Format.JSONL, Format.PARQUET])
def test_a_time_of_day_is_one_in_every_format(folder: Path, format_: Format) -> None:
    columns = (Column("number", "int", "which trip"), Column("at", "int", "when", "HHMM", form=Form.HHMM))
    feed = replace(FEED, columns=columns, format=format_)
    path = folder / f"2020-06-01.{format_}"
    rows = pl.DataFrame({"number": range(len(TIMES)), "at": list(TIMES)}, {"number": pl.Int32, "at": pl.Int32})
    writers = {Format.CSV: rows.write_csv, Format.JSONL: rows.write_ndjson, Format.PARQUET: rows.write_parquet}
    writers[format_](path)
    expected = {at: f"at: '{at}' is no time of day (HHMM)" if wrong else None for at, wrong in TIMES.items()}
    assert dict(judged(feed, path).select("at", "_reason").rows()) == expected


def test_only_an_int_is_a_time_of_day_as_hhmm() -> None:
    with pytest.raises(ValueError, match="column at: HHMM is of the type int, not of string"):
        Column("at", "string", "when", form=Form.HHMM)


def test_a_broken_line_of_json_is_quarantined_as_it_was(folder: Path) -> None:
    feed = replace(FEED, format=Format.JSONL)
    path = put(folder, feed)
    line = '{"number": 5, "note": {"text":   "nested"}, "flag": 1}'
    path.write_text(f"{line}\n")
    (row,) = judged(feed, path).to_dicts()
    assert row["_raw"] == line
    assert row["_reason"] == 'flag: 1 is no JSON boolean; note: {"text":"nested"} is no JSON string'


def test_days_may_differ_in_how_wide_their_numbers_are(folder: Path) -> None:
    feed = replace(FEED, columns=(FEED.columns[0], FEED.columns[1], FEED.columns[2]), format=Format.PARQUET)
    kinds = [
        (pyarrow.int8(), pyarrow.int16(), pyarrow.float32()),
        (pyarrow.int32(), pyarrow.int64(), pyarrow.float64()),
    ]
    for n, types in enumerate(kinds, start=1):
        arrays = [pyarrow.array([n], type_) for type_ in types]
        pyarrow.parquet.write_table(pyarrow.table(arrays, NAMES[:3]), folder / f"2020-06-0{n}.parquet")
    rows = judged(feed, *sorted(folder.iterdir())).sort("number")
    assert rows.select("number", "big", "amount", "_reason").rows() == [(1, 1, 1.0, None), (2, 2, 2.0, None)]


MONEY = Feed("money", "", (Column("n", "int", ""), Column("price", "decimal(22,2)", "")), ("n",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12345678901234567890.10", "12345678901234567890.10"),
        ("1.5", "1.50"),
        ("1.500", "1.50"),
        ("-.05", "-0.05"),
        ("007.10", "7.10"),
        ("1.234", None),  # a digit would be lost
        ("123456789012345678901.00", None),
        ("1e3", None),
        ("NaN", None),
    ],
)
@pytest.mark.parametrize("format_", [Format.CSV, Format.JSONL])
def test_money_keeps_all_its_digits_or_breaks_its_row(
    text: str, value: str | None, format_: Format, home: Path
) -> None:
    feed = replace(MONEY, format=format_)
    path = home / "landing" / "toys" / "money" / f"2020-06-01.{feed.extension}"
    path.parent.mkdir(parents=True)
    number = text if text[0].isdigit() and not text.startswith("0") else f'"{text}"'
    path.write_text(f"n,price\n1,{text}\n" if format_ is Format.CSV else f'{{"n": 1, "price": {number}}}\n')
    (row,) = judged(feed, path).to_dicts()
    assert (row["_reason"] is None) == (value is not None)
    assert value is None or row["price"] == Decimal(value)


@pytest.mark.parametrize("type_", ["decimal", "decimal(39,2)", "decimal(4,5)", "decimal(0,0)", "float", "varchar(3)"])
def test_a_type_that_nobody_knows_is_refused_when_the_spec_is_read(type_: str) -> None:
    with pytest.raises(ValueError, match="is none of string, smallint"):
        Column("price", type_, "")
