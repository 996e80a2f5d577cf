"""What people told of other readers of such files, each tried here: docs/decisions/files-as-written.md lists them."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from upath import UPath

from include.contracts.dialect import Dialect
from include.contracts.source import Column, Feed, Format
from include.ingestion import landing
from include.ingestion.counting import records
from include.ingestion.files import UnreadableFileError
from tests.ingestion.judged import judged

DAY = date(2024, 6, 1)
NOTHING: list[str] = []


def feed(kind: Format, *columns: Column, **more: Any) -> Feed:
    return Feed("things", "", columns, (columns[0].name,), format=kind, max_quarantined_share=0.9, **more)


def read(home: Path, of: Feed, content: bytes) -> tuple[list[tuple[Any, ...]], list[str]]:
    """The published rows, and why others are in the quarantine."""
    path = UPath(home / "landing" / "toys" / "things" / f"{DAY}.{of.extension}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    file = landing.look_through(path, of)
    found = judged(of, path, there=file["columns"])
    assert found.height == file["rows"]
    sound = found.filter(found["_reason"].is_null()).select(column.name for column in of.columns)
    return sorted(sound.rows(), key=str), found["_reason"].drop_nulls().to_list()


def stored(table: Any, kind: Format) -> bytes:
    from pyarrow import orc, parquet

    made = io.BytesIO()
    {Format.ORC: orc.write_table, Format.PARQUET: parquet.write_table}[kind](table, made)
    return made.getvalue()


ID, TEXT = Column("id", "bigint", "", source_name="@id"), Column("text", "string", "")
XSI = "http://www.w3.org/2001/XMLSchema-instance"


def test_two_attributes_of_one_name_are_two_columns(home: Path) -> None:
    """databricks/spark-xml#74: of ``xsi:type`` and ``type`` whichever came last was read."""
    columns = (ID, Column("own", "string", "", source_name="@type"))
    columns = (*columns, Column("other", "string", "", source_name=f"@{{{XSI}}}type"))
    rows = f'<a xmlns:x="{XSI}"><e id="1" x:type="abc" type="xyz"/><e id="2" type="xyz" x:type="abc"/></a>'
    found = read(home, feed(Format.XML, *columns, within="e"), rows.encode())
    assert found == ([(1, "xyz", "abc"), (2, "xyz", "abc")], NOTHING)


def test_the_attributes_of_an_element_without_children_are_columns(home: Path) -> None:
    """databricks/spark-xml#39: they were not read."""
    columns = (ID, Column("price", "double", ""), Column("unit", "string", "", source_name="price/@unit"))
    rows = b'<a><e id="1"><price unit="EUR">5</price></e><e id="2"><price>6</price></e></a>'
    assert read(home, feed(Format.XML, *columns, within="e"), rows) == ([(1, 5.0, "EUR"), (2, 6.0, None)], NOTHING)


def test_a_document_may_begin_with_a_mark(home: Path) -> None:
    """enso-org/enso#9849: JSON of PowerShell could not be read."""
    rows = b'\xef\xbb\xbf[{"text": "x"}]'
    assert read(home, feed(Format.JSON, TEXT), rows) == ([("x",)], NOTHING)


@pytest.mark.parametrize("text", [r"\ud800x", r"x\udc00", r"\ud800\ud83d\ude00", r"\\\ud800"])
def test_half_a_character_is_refused(text: str, home: Path) -> None:
    """lloyd/yajl#232: the parser made a question mark of it, or broke the one after it."""
    with pytest.raises(UnreadableFileError, match="half a character"):
        read(home, feed(Format.JSON, TEXT), f'[{{"text": "{text}"}}]'.encode())


def test_half_a_character_is_found_wherever_a_piece_of_the_file_ends(home: Path, monkeypatch: Any) -> None:
    for size in range(1, 40):
        monkeypatch.setattr(records, "PIECE", size)
        with pytest.raises(UnreadableFileError, match="half a character"):
            read(home, feed(Format.JSON, TEXT), rb'[{"text": "\ud83d\ude00 \\\ud83d"}]')
        assert read(home, feed(Format.JSON, TEXT), rb'[{"text": "\ud83d\ude00\\ud83d"}]')[0] == [("😀\\ud83d",)]


def test_whole_characters_and_what_only_looks_like_half_of_one_are_texts(home: Path) -> None:
    rows = rb'[{"text": "\ud83d\ude00"}, {"text": "\ud83d\ude00\ud83d\ude00"}, {"text": "a\\ud800"}]'
    assert read(home, feed(Format.JSON, TEXT), rows)[0] == [("a\\ud800",), ("😀",), ("😀😀",)]


def test_large_whole_numbers_keep_their_digits(home: Path) -> None:
    """pandas-dev/pandas#33766: 72057594038135102 became …104."""
    number = Column("number", "bigint", "")
    rows = [{"number": 72057594038135102}, {"number": "72057594038135103"}]
    wanted = [(72057594038135102,), (72057594038135103,)]
    assert read(home, feed(Format.JSON, number), json.dumps(rows).encode()) == (wanted, NOTHING)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    assert read(home, feed(Format.JSONL, number), lines.encode()) == (wanted, NOTHING)


@pytest.mark.parametrize("kind", [Format.ORC, Format.PARQUET])
def test_nanoseconds_are_read_where_they_say_nothing_more(kind: Format, home: Path) -> None:
    """pandas-dev/pandas#31572, duckdb/duckdb#9852: pandas writes them, and readers refuse or cut them."""
    import pyarrow

    second = 1_717_243_200_000_000_000
    times = pyarrow.array([second, second + 1_000, second + 1, None], pyarrow.timestamp("ns", "UTC"))
    of = feed(kind, Column("at", "timestamp", ""))
    sound, broken = read(home, of, stored(pyarrow.table({"at": times}), kind))
    noon = datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert sorted(at for (at,) in sound if at) == [noon, noon.replace(microsecond=1)]
    assert broken == ["at: has nanoseconds, and a timestamp has microseconds"]


def test_a_day_before_the_calendar_changed_is_broken_and_not_shifted(home: Path) -> None:
    """NVIDIA/cudf#11691: ORC's days before 1582 came out days off."""
    import pyarrow

    days = pyarrow.table({"day": pyarrow.array([date(1500, 3, 1), DAY], pyarrow.date32())})
    found = read(home, feed(Format.ORC, Column("day", "date", "")), stored(days, Format.ORC))
    assert found == ([(DAY,)], ["day: '1500-03-01' is not between 1900 and 2199"])


@pytest.mark.parametrize("is_nested", [True, False])
def test_a_date_of_avro_is_a_date_where_its_schema_says_so(is_nested: bool, home: Path) -> None:
    """duckdb/duckdb-avro#10: it came as a number of days. Where the schema only seems to say it, it is none."""
    import fastavro

    said: dict[str, Any] = {"type": "int", "logicalType": "date"}
    field = {"name": "day", "type": said} if is_nested else {"name": "day", **said}
    made = io.BytesIO()
    value: Any = date(2023, 12, 17) if is_nested else 19708
    fastavro.writer(made, {"type": "record", "name": "r", "fields": [field]}, [{"day": value}])
    found = read(home, feed(Format.AVRO, Column("day", "date", "")), made.getvalue())
    assert found == (([(date(2023, 12, 17),)], NOTHING) if is_nested else ([], ["day: '19708' is no date"]))


FIXED = (Column("name", "string", "", place=1, width=4), Column("n", "int", "", place=5, width=3))


def test_a_value_that_fills_its_column_ends_where_the_spec_says(home: Path) -> None:
    """pandas-dev/pandas#5056, #21970: borders found in the first lines cut the values of later ones."""
    assert read(home, feed(Format.FIXED, *FIXED), b"a     1\nabcd123\n") == ([("a", 1), ("abcd", 123)], NOTHING)


def test_a_tab_in_lines_of_fixed_width_breaks_its_row(home: Path) -> None:
    """pandas-dev/pandas#21970 and its kin: a tab is one sign and as wide as anybody likes."""
    found = read(home, feed(Format.FIXED, *FIXED), b"a\t  1\nab    2 \t\n")
    assert found == ([("ab", 2)], ["longer than its 7 signs, or with a tab in it"])


def book(rows: list[list[Any]], formats: dict[str, str], is_of_mac: bool = False) -> bytes:
    made, written = openpyxl.Workbook(), io.BytesIO()
    if is_of_mac:
        made.epoch = CALENDAR_MAC_1904
    sheet = made.active
    for row in rows:
        sheet.append(row)
    for cell, format_ in formats.items():
        sheet[cell].number_format = format_
    made.save(written)
    return written.getvalue()


@pytest.mark.parametrize("is_of_mac", [False, True])
def test_a_book_of_a_macintosh_has_the_same_days(is_of_mac: bool, home: Path) -> None:
    """woahdae/simple_xlsx_reader#14: without its other epoch all days are four years off."""
    columns = (Column("day", "date", ""), Column("at", "timestamp", ""))
    content = book([["day", "at"], [DAY, datetime(2024, 6, 1, 12)]], {}, is_of_mac)
    assert read(home, feed(Format.XLSX, *columns), content) == ([(DAY, datetime(2024, 6, 1, 12, tzinfo=UTC))], NOTHING)


def test_a_time_is_the_one_that_excel_shows(home: Path) -> None:
    """tafia/calamine#602, tidyverse/readxl#187: 10:00:00 came as 09:59:59."""
    content = book([["at"], [45444.416666666664], [39750.6222222222]], {"A2": "yyyy-mm-dd hh:mm:ss", "A3": "hh:mm"})
    sound, broken = read(home, feed(Format.XLSX, Column("at", "timestamp", "")), content)
    assert sorted(at for (at,) in sound) == [
        datetime(2008, 10, 29, 14, 56, tzinfo=UTC),
        datetime(2024, 6, 1, 10, tzinfo=UTC),
    ]
    assert broken == NOTHING


def test_a_percentage_is_the_number_in_its_cell(home: Path) -> None:
    """tidyverse/readxl#462: 15.5 % is 0.155 in a cell; a text with a mark is broken."""
    content = book([["share"], [0.155]], {"A2": "0.0%"})
    assert read(home, feed(Format.XLSX, Column("share", "double", "")), content) == ([(0.155,)], NOTHING)
    of_texts = feed(Format.XLSX, Column("share", "double", ""))
    assert read(home, of_texts, book([["share"], [0.155], ["15.5%"]], {"A2": "0.0%"}))[1] == [
        "share: '15.5%' is no double"
    ]


def test_an_hour_that_clocks_have_twice_costs_its_rows_and_no_more(home: Path) -> None:
    """pandas-dev/pandas#14402: one such time, and the whole file could not be read."""
    at = Column("at", "timestamp", "", pattern="%m-%d-%Y %H:%M:%S", timezone="America/Chicago")
    rows = b"at\n11-01-2015 01:00:03\n11-01-2015 02:00:03\n"
    found = read(home, feed(Format.CSV, at), rows)
    assert found == (
        [(datetime(2015, 11, 1, 8, 0, 3, tzinfo=UTC),)],
        ["at: '11-01-2015 01:00:03' is no timestamp"],
    )


def test_quotes_within_quotes_of_utf_16_are_read(home: Path) -> None:
    of = feed(Format.CSV, TEXT, Column("n", "int", ""), dialect=Dialect(encoding="utf-16"))
    assert read(home, of, 'text,n\n"say ""x"", y",1\n'.encode("utf-16")) == ([('say "x", y', 1)], NOTHING)
