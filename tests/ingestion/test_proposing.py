"""What ``make source-check`` cannot know it says; and a file that does not fit its feed points there."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from upath import UPath

from include.contracts.source import Column, Compression, Feed, Finished, Format
from include.ingestion import landing
from include.ingestion.files import UnreadableFileError
from include.ingestion.proposing import Proposal, UnknownFileError, propose
from tests import commands
from tests.ingestion.corpus import CASES

JSON, XML, CSV = b'[{"a": 1}]', b"<rows><row><a>1</a></row></rows>", b"a,b\n1,x\n2,y\n"


def proposed(folder: Path, name: str, content: bytes | str) -> Proposal:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return propose(UPath(path))


def of(kind: Format) -> Feed:
    place = {"place": 1, "width": 3} if kind is Format.FIXED else {}
    within = "row" if kind is Format.XML else ""
    return Feed("things", "", (Column("a", "int", "", **place),), ("a",), format=kind, within=within)


@pytest.mark.parametrize(
    ("kind", "content", "looks"),
    [
        (Format.CSV, JSON, "It looks like JSON, and its feed says CSV. "),
        (Format.CSV, CASES["Parquet"]().content, "It looks like PARQUET, and its feed says CSV. "),
        (Format.CSV, CASES["Excel"]().content, "It looks like XLSX, and its feed says CSV. "),
        (Format.CSV, gzip.compress(CSV, mtime=0), "It looks packed, as gzip. "),
        (Format.JSON, XML, "It looks like XML, and its feed says JSON. "),
        (Format.JSONL, CSV, ""),
        (Format.XML, JSON, "It looks like JSON, and its feed says XML. "),
        (Format.XLSX, CSV, ""),
        (Format.PARQUET, CASES["ORC"]().content, "It looks like ORC, and its feed says PARQUET. "),
        (Format.ORC, CASES["Avro"]().content, "It looks like AVRO, and its feed says ORC. "),
        (Format.AVRO, CSV, ""),
        (Format.FIXED, "żółw\n".encode("utf-16"), ""),
    ],
)
def test_a_file_of_another_kind_says_what_it_looks_like_and_who_knows(
    kind: Format, content: bytes, looks: str, home: Path
) -> None:
    path = home / "landing" / "toys" / "things" / f"2024-06-01.{kind}"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError) as refused:
        landing.look_through(UPath(path), of(kind))
    assert str(refused.value).endswith(f". {looks}How it is written: make source-check file={path}")


@pytest.mark.parametrize("kind", Format)
def test_of_an_empty_file_nothing_is_proposed(kind: Format, home: Path) -> None:
    with pytest.raises(UnknownFileError, match="the file is empty"):
        proposed(home, f"things.{kind}", b"")


def test_what_is_in_a_file_counts_and_not_its_name(home: Path) -> None:
    found = proposed(home, "things.csv", JSON)
    assert (found.feed.format, found.rows, found.sound) == (Format.JSON, 1, 1)
    assert "name its files .json: a night looks for such alone" in found.notes


@pytest.mark.parametrize("line", ["<34>Oct 11 22:14:15 host su: failed", "[12:00] started", "[ 0.1] kernel"])
def test_a_log_that_begins_as_a_document_would_is_none(line: str, home: Path) -> None:
    assert proposed(home, "things.log", f"{line}\n" * 5).feed.format not in (Format.JSON, Format.XML)


def test_another_array_is_another_feed(home: Path) -> None:
    document = {"stations": [{"id": 1}, {"id": 2}], "data": {"readings": [{"id": n, "value": 1.5} for n in range(3)]}}
    found = proposed(home, "things.json", json.dumps(document))
    assert found.feed.within == "data.readings"
    assert found.notes == ["there is another array, at 'stations', with 2 objects: another feed"]


def test_what_is_nested_is_kept_or_left_out_where_nobody_can_say_of_what_type_it_is(home: Path) -> None:
    found = proposed(home, "things.json", '[{"id": 1, "tags": ["x"], "no": []}, {"id": 2, "tags": [], "no": []}]')
    assert [(column.name, column.type) for column in found.feed.columns] == [("id", "int"), ("tags", "array<string>")]
    assert found.notes == [
        "tags is nested: what is at ('tags', 0) could be a column: that as source_name",
        "no is left out: it is nested, or has no values",
    ]


ORDERS = """<x:orders xmlns:x="urn:x" xmlns:y="urn:y"><x:head><x:made>today</x:made></x:head>
<x:order id="1"><y:day>2024-06-01</y:day><y:price unit="EUR">1,50</y:price><x:of><x:line no="1"/></x:of></x:order>
<x:order id="2"><y:day>2024-06-01</y:day><y:price unit="EUR">20,00</y:price><x:of><x:line no="1"/></x:of></x:order>
</x:orders>"""


def test_the_rows_of_xml_are_the_outer_elements_that_are_there_often(home: Path) -> None:
    found = proposed(home, "things.xml", ORDERS)
    assert (found.feed.within, found.feed.dialect.decimal) == ("order", ",")
    columns = [(column.name, column.type, column.in_file) for column in found.feed.columns]
    assert columns == [
        ("id", "int", "@id"),
        ("day", "date", "day"),
        ("price", "double", "price"),
        ("price_unit", "string", "price/@unit"),
    ]
    assert found.notes == [
        "day_column could be 'day', which is one day in all rows",
        "of is left out: it has elements of its own",
        "elements line are another table, of 2",
    ]


def test_a_document_that_is_cut_off_is_refused_and_not_read_in_part(home: Path) -> None:
    with pytest.raises(UnreadableFileError, match="damaged, or no XML"):
        proposed(home, "things.xml", ORDERS[:-20])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("things.json", b'{"a": []}\n', "nothing in it is a column: a is left out"),
        ("things.json", b'{"a": [1, 2]\n', "no array in it has objects"),
        ("things.xml", b"<a><b/><b/></a>", "no element in it has values"),
        ("things.html", b"<!DOCTYPE html><p>x</p>", "a page of the web"),
        ("things.gz", gzip.compress(CASES["Avro"]().content), "AVRO, which packs itself: unpack it"),
        ("things.csv", gzip.compress(CSV, mtime=0), "name it with .gz at its end"),
    ],
)
def test_what_nobody_can_read_is_said(name: str, content: bytes, said: str, home: Path) -> None:
    with pytest.raises(UnknownFileError, match=said):
        proposed(home, name, content)


def test_of_fixed_width_the_borders_that_could_be_elsewhere_are_said(home: Path) -> None:
    found = proposed(home, "things.txt", CASES["fixed width"]().content)
    assert found.notes[:2] == [
        "where these columns begin is assumed, for every line has several blanks there: column_2, column_4",
        "that these columns begin where numbers end, or digits and letters meet, is assumed: column_3, column_5",
    ]
    # A number may grow to the left, and is not cut then: the blanks before it are its own.
    amount = found.feed.columns[3]
    assert (amount.place, amount.width, amount.type) == (30, 11, "double")


def test_widths_of_bytes_are_said(home: Path) -> None:
    found = proposed(home, "things.txt", "Zoë     1\nMüller  2\nAnna     3\nPeter    4\n")
    assert any("its widths are of bytes" in note for note in found.notes)


def test_the_types_that_a_file_says_itself_are_those_of_its_feed(home: Path) -> None:
    """Also where all its numbers are small: the next file's may not be."""
    import pyarrow
    from pyarrow import orc, parquet

    table = pyarrow.table({"n": [1, 2], "day": ["2024-06-01", "2024-06-02"], "nested": [[1], [2]]})
    for name, write in (("things.parquet", parquet.write_table), ("things.orc", orc.write_table)):
        write(table, home / name)
        found = propose(UPath(home / name))
        types = {one.name: one.type for one in found.feed.columns}
        assert types == {"n": "bigint", "day": "string", "nested": "array<int>"}
        assert (found.rows, found.sound) == (2, 2)


def test_columns_that_differ_by_a_number_may_be_readings(home: Path) -> None:
    found = proposed(home, "things.csv", "at,s 1,s 2,s 17,x1\n2024-06-01,1,2,3,4\n2024-06-02,2,3,4,5\n")
    assert found.notes == [
        "s 1, s 2 and 1 more may be readings of one kind. As rows they are "
        "wide=Wide(into=…, value=…, columns=r's\\\\ ([0-9]+)')"
    ]


def test_it_is_printed_to_be_pasted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "readings.xml.gz"
    path.write_bytes(gzip.compress(ORDERS.encode()))
    assert commands.run("source-check", "--file", str(path), "--name", "orders") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("ORDERS = Feed(")
    assert 'within="order"' in printed
    assert "compression=Compression.GZIP" in printed
    assert "2 of 2 rows would be published" in printed
    assert "of is left out: it has elements of its own" in printed
    names: dict[str, object] = {"Column": Column, "Compression": Compression, "Feed": Feed, "Format": Format}
    from include.contracts.dialect import Dialect

    exec(printed, names | {"Dialect": Dialect, "Finished": Finished})
