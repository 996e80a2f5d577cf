"""JSON documents, XML, ORC and Avro: the rows that they hold, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow
import pytest
from pyarrow import orc

from include.contracts.source import Column, Feed, Format
from include.ingestion import landing
from include.ingestion.files import UnreadableFileError
from tests.ingestion.conftest import Put
from tests.ingestion.judged import judged

DAY, NOON = date(2024, 6, 1), datetime(2024, 6, 1, 12, tzinfo=UTC)
FEED = Feed(
    "things",
    "",
    (
        Column("day", "date", "the day", required=True),
        Column("number", "int", "which", required=True),
        Column("what", "string", "what"),
        Column("amount", "double", "how much"),
        Column("price", "decimal(12,2)", "what it costs"),
        Column("flag", "boolean", "whether"),
        Column("seen_at", "timestamp", "when", source_name="seenAt"),
    ),
    key=("number",),
    day_column="day",
    max_quarantined_share=0.9,
)
ROWS: list[tuple[Any, ...]] = [
    (DAY, 1, "żółw", 1.5, Decimal("1234567890.10"), True, NOON),
    (DAY, 2, 'a "b", <c> & d', -0.25, Decimal("-0.01"), False, NOON),
    (DAY, 3, None, None, None, None, None),
]
NAMES = [column.in_file for column in FEED.columns]


def documents(**more: Any) -> list[dict[str, Any]]:
    """The rows as JSON has them; what has no value is not said."""
    found = []
    for row in ROWS:
        there = {name: value for name, value in zip(NAMES, row, strict=True) if value is not None}
        said = {name: str(value) if isinstance(value, date | Decimal) else value for name, value in there.items()}
        found.append(said | more)
    return found


def in_json(rows: list[dict[str, Any]] | None = None) -> bytes:
    return json.dumps({"meta": {"count": 3, "rows": [1]}, "data": {"rows": rows or documents()}}, indent=1).encode()


def in_xml(rows: list[dict[str, Any]] | None = None) -> bytes:
    from xml.sax.saxutils import escape, quoteattr

    lines = ['<?xml version="1.0" encoding="utf-8"?>', '<x:export xmlns:x="urn:x"><head><row>no</row></head>']
    for row in rows or documents():
        inner = "".join(f"<x:{name}>{escape(str(value))}</x:{name}>" for name, value in row.items() if name != "number")
        lines.append(f"<x:thing number={quoteattr(str(row['number']))}>{inner}</x:thing>")
    return "\n".join([*lines, "</x:export>"]).encode()


TABLE = pyarrow.table(
    [pyarrow.array(list(values)) for values in zip(*ROWS, strict=True)],
    names=NAMES,
).cast(
    pyarrow.schema(
        [
            ("day", pyarrow.date32()),
            ("number", pyarrow.int32()),
            ("what", pyarrow.string()),
            ("amount", pyarrow.float64()),
            ("price", pyarrow.decimal128(12, 2)),
            ("flag", pyarrow.bool_()),
            ("seenAt", pyarrow.timestamp("us", "UTC")),
        ]
    )
)


def in_orc(table: pyarrow.Table = TABLE) -> bytes:
    made = io.BytesIO()
    orc.write_table(table, made)
    return made.getvalue()


def in_avro() -> bytes:
    types: list[Any] = [
        {"type": "int", "logicalType": "date"},
        "int",
        "string",
        "double",
        {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        "boolean",
        {"type": "long", "logicalType": "timestamp-micros"},
    ]
    fields = [{"name": name, "type": ["null", type_]} for name, type_ in zip(NAMES, types, strict=True)]
    made = io.BytesIO()
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    fastavro.writer(made, {"type": "record", "name": "thing", "fields": fields}, rows, codec="deflate")
    return made.getvalue()


of_xml = tuple(replace(one, source_name="@number") if one.name == "number" else one for one in FEED.columns)
FEEDS: dict[str, tuple[Feed, Callable[[], bytes]]] = {
    "json": (replace(FEED, format=Format.JSON, within="data.rows"), in_json),
    "xml": (replace(FEED, format=Format.XML, within="thing", columns=of_xml), in_xml),
    "orc": (replace(FEED, format=Format.ORC), in_orc),
    "avro": (replace(FEED, format=Format.AVRO), in_avro),
}


@pytest.mark.parametrize("kind", FEEDS)
def test_the_same_rows_come_of_every_format(kind: str, put: Put) -> None:
    feed, make = FEEDS[kind]
    path = put(feed, make())
    assert landing.look_through(path, feed)["rows"] == 3
    found = judged(feed, path)
    assert found["_reason"].to_list() == [None] * 3
    assert sorted(found.select(column.name for column in FEED.columns).rows(), key=lambda row: row[1]) == ROWS


@pytest.mark.parametrize("kind", FEEDS)
@pytest.mark.parametrize("damage", ["empty", "cut off", "another format", "a byte changed"])
def test_a_damaged_file_is_refused_and_shows_nothing_of_it(kind: str, damage: str, put: Put) -> None:
    feed, make = FEEDS[kind]
    whole = make()
    content = {
        "empty": b"",
        "cut off": whole[: len(whole) * 2 // 3],
        "another format": b"day,number\nsecret,1\n",
        "a byte changed": whole.replace(b"1", b"\x00", 1) if kind in ("json", "xml") else whole[:-7] + bytes(7),
    }[damage]
    with pytest.raises(UnreadableFileError) as refused:
        landing.look_through(put(feed, content), feed)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("json", b'{"data": {"rows": {}}}', "there is no array at 'data.rows'"),
        ("json", b"[]", "there is no array at 'data.rows'"),
        ("json", b'{"data": {"rows": []}}', "no rows"),
        ("json", b'{"data": {"rows": [{"day": 1, "day": 2}]}}', "row 1 has a key twice"),
        ("json", b'{"data": {"rows": [{"day": 1}, 7]}}', "after row 1 there is something else than an object"),
        ("json", in_json(documents(amount=1))[:-1].replace(b'"what"', b'"name"') + b"}", "column what is missing"),
        ("xml", b"<a><thing/></a>", "none of its columns is there"),
        ("xml", b"<a><other/></a>", "no rows"),
        ("xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a><thing number="1">&b;</thing></a>', "it declares its own entities"),
        ("orc", in_orc(TABLE.drop_columns("amount")), "column amount is missing"),
    ],
)
def test_a_file_that_is_not_of_its_feed_is_refused(kind: str, content: bytes, said: str, put: Put) -> None:
    feed, _ = FEEDS[kind]
    with pytest.raises(UnreadableFileError, match=said):
        landing.look_through(put(feed, content), feed)


def test_a_broken_value_breaks_its_row_alone(put: Put) -> None:
    for kind, make in (("json", in_json), ("xml", in_xml)):
        feed, _ = FEEDS[kind]
        rows = [*documents(), documents()[0] | {"number": 9, "amount": "much"}]
        path = put(feed, make(rows))
        assert landing.look_through(path, feed)["rows"] == 4
        assert [one for one in judged(feed, path)["_reason"].to_list() if one] == ["amount: 'much' is no double"]


def test_a_list_or_an_object_is_no_text(put: Put) -> None:
    feed, _ = FEEDS["json"]
    path = put(feed, in_json([documents()[0] | {"what": {"a": [1]}}]))
    assert judged(feed, path)["_reason"].to_list() == ['what: {"a": [1]} is no text']


def test_a_column_of_orc_in_another_type_is_judged_row_by_row(put: Put) -> None:
    """ORC of engines that know no dates has them as text; nobody promised that each is one."""
    feed = Feed("days", "", (Column("n", "int", "", required=True), Column("day", "date", "")), ("n",))
    feed = replace(feed, format=Format.ORC, max_quarantined_share=1)
    path = put(feed, in_orc(pyarrow.table({"n": [1, 2, 3], "day": ["2024-06-01", "soon", None]})))
    assert landing.look_through(path, feed)["rows"] == 3
    found = judged(feed, path).sort("n")
    assert found.select("n", "day", "_reason").rows() == [
        (1, date(2024, 6, 1), None),
        (2, None, "day: 'soon' is no date"),
        (3, None, None),
    ]
    nested = pyarrow.table({"n": [1], "day": [{"at": "2024-06-01"}]})
    with pytest.raises(UnreadableFileError, match="column day is nested"):
        landing.look_through(put(feed, in_orc(nested)), feed)
