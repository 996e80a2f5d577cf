"""Nested and binary values: kept or taken out, the same in every format, and what does not fit breaks its row alone."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import orc

from include.contracts import shapes
from include.contracts.source import Column, Feed, Form, Format
from include.ingestion import counting, landing
from include.ingestion.files import UnreadableFileError
from include.ingestion.proposing import propose
from tests.ingestion.conftest import Put
from tests.ingestion.judged import judged

DAY = date(2024, 6, 1)
ITEMS = "array<struct<price:decimal(12,2),pieces:int,seen_at:timestamp>>"
ADDRESS = "struct<city:string,tags:array<string>,since:date,flag:boolean,mark:binary>"
FEED = Feed(
    "orders",
    "",
    (
        Column("number", "int", "which", required=True),
        Column("items", ITEMS, "what was bought"),
        Column("sizes", "map<string,double>", "how large"),
        Column("address", ADDRESS, "where to"),
        Column("seal", "binary", "who signed"),
        Column("city", "string", "where to", source_name=("address", "city")),
        Column("tag", "string", "the first one", source_name=("address", "tags", 0)),
        Column("price", "decimal(12,2)", "of the second item", source_name=("items", 1, "price")),
    ),
    key=("number",),
    format=Format.JSONL,
    max_quarantined_share=0.9,
)
KEPT = tuple(column for column in FEED.columns if not column.path)
NAMES = [column.name for column in KEPT]
ARROW = pyarrow.schema(
    [
        ("number", pyarrow.int32()),
        (
            "items",
            pyarrow.list_(
                pyarrow.struct(
                    [
                        ("price", pyarrow.decimal128(12, 2)),
                        ("pieces", pyarrow.int32()),
                        ("seen_at", pyarrow.timestamp("us", "UTC")),
                    ]
                )
            ),
        ),
        ("sizes", pyarrow.map_(pyarrow.string(), pyarrow.float64())),
        (
            "address",
            pyarrow.struct(
                [
                    ("city", pyarrow.string()),
                    ("tags", pyarrow.list_(pyarrow.string())),
                    ("since", pyarrow.date32()),
                    ("flag", pyarrow.bool_()),
                    ("mark", pyarrow.binary()),
                ]
            ),
        ),
        ("seal", pyarrow.binary()),
    ]
)
AVRO: dict[str, Any] = {
    "number": "int",
    "items": {
        "type": "array",
        "items": {
            "type": "record",
            "name": "item",
            "fields": [
                {
                    "name": "price",
                    "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}],
                },
                {"name": "pieces", "type": ["null", "int"]},
                {"name": "seen_at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
            ],
        },
    },
    "sizes": {"type": "map", "values": ["null", "double"]},
    "address": {
        "type": "record",
        "name": "address",
        "fields": [
            {"name": "city", "type": ["null", "string"]},
            {"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
            {"name": "since", "type": ["null", {"type": "int", "logicalType": "date"}]},
            {"name": "flag", "type": ["null", "boolean"]},
            {"name": "mark", "type": ["null", "bytes"]},
        ],
    },
    "seal": "bytes",
}
ROWS: list[dict[str, Any]] = [
    {
        "number": 1,
        "items": [
            {"price": Decimal("1234567890.10"), "pieces": 2, "seen_at": datetime(2024, 6, 1, 12, tzinfo=UTC)},
            {"price": Decimal("-0.01"), "pieces": None, "seen_at": None},
        ],
        "sizes": {"width": 1.5, "height": None, "ä b": 1e-7},
        "address": {"city": 'Zürich "7"', "tags": ["a", None, ""], "since": DAY, "flag": True, "mark": b"\x00\xff"},
        "seal": b"",
    },
    {"number": 2, "items": [], "sizes": {}, "address": dict.fromkeys(["city", "tags", "since", "flag", "mark"])},
    {"number": 3},
]


def plain(value: Any) -> Any:
    """``value`` as JSON has it; what has no value is not said."""
    match value:
        case dict():
            return {key: plain(one) for key, one in value.items() if one is not None}
        case list():
            return [plain(one) for one in value]
        case bytes():
            return base64.b64encode(value).decode()
        case Decimal() | date():
            return str(value)
    return value


def in_json_lines(rows: list[dict[str, Any]]) -> bytes:
    kept_nulls = [{**plain(row), **({"sizes": row["sizes"]} if row.get("sizes") else {})} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in kept_nulls).encode()


def in_json(rows: list[dict[str, Any]]) -> bytes:
    return b"[" + b",".join(in_json_lines(rows).splitlines()) + b"]"


def in_parquet(rows: list[dict[str, Any]]) -> bytes:
    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, ARROW), made)
    return made.getvalue()


def in_orc(rows: list[dict[str, Any]]) -> bytes:
    made = io.BytesIO()
    orc.write_table(pyarrow.Table.from_pylist(rows, ARROW), made)
    return made.getvalue()


def in_avro(rows: list[dict[str, Any]]) -> bytes:
    made = io.BytesIO()
    fields = [{"name": name, "type": ["null", type_]} for name, type_ in AVRO.items()]
    fastavro.writer(made, {"type": "record", "name": "order", "fields": fields}, rows)
    return made.getvalue()


def in_csv(rows: list[dict[str, Any]]) -> bytes:
    made = io.StringIO()
    table = csv.writer(made, lineterminator="\n")
    table.writerow(NAMES)
    for line in in_json_lines(rows).decode().splitlines():
        row = json.loads(line)
        cells = [row.get(name) for name in NAMES]
        table.writerow([json.dumps(one) if isinstance(one, dict | list) else one for one in cells])
    return made.getvalue().encode()


WRITERS: dict[Format, Callable[[list[dict[str, Any]]], bytes]] = {
    Format.JSONL: in_json_lines,
    Format.JSON: in_json,
    Format.PARQUET: in_parquet,
    Format.ORC: in_orc,
    Format.AVRO: in_avro,
}


def expected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` as bronze has them: a map is its entries in the order of their keys."""
    found = []
    for row in rows:
        own = {name: row.get(name) for name in NAMES}
        if own["sizes"] is not None:
            own["sizes"] = [{"key": key, "value": own["sizes"][key]} for key in sorted(own["sizes"])]
        address, items = own["address"] or {}, own["items"] or []
        tags = address.get("tags") or [None]
        more = {"city": address.get("city"), "tag": tags[0], "price": items[1]["price"] if len(items) > 1 else None}
        found.append(own | more)
    return found


@pytest.mark.parametrize("format_", WRITERS)
def test_the_same_rows_come_of_every_format(format_: Format, put: Put) -> None:
    feed = replace(FEED, format=format_)
    path = put(feed, WRITERS[format_](ROWS))
    assert landing.look_through(path, feed)["rows"] == 3
    found = judged(feed, path).sort("number")
    assert found["_reason"].to_list() == [None] * 3
    assert found.select(column.name for column in FEED.columns).to_dicts() == expected(ROWS)


def test_in_a_table_of_lines_a_nested_value_is_json(put: Put) -> None:
    feed = replace(FEED, columns=KEPT, format=Format.CSV)
    content = in_csv(ROWS[:1]) + b'4,"[{""price"": 1.005}]",,,\n5,a,,,\n'
    found = judged(feed, put(feed, content)).sort("number")
    assert found.head(1).select(NAMES).to_dicts() == [
        {name: None if name == "seal" else value for name, value in expected(ROWS)[0].items() if name in NAMES}
    ]
    assert found["_reason"].to_list() == [
        None,
        "items[0].price: '1.005' is no decimal(12,2)",
        "items: 'a' is no array in JSON",
    ]


BAD: dict[str, tuple[str, str]] = {
    "a text where a number should be": (
        '{"items": [{}, {}, {"price": "x"}]}',
        "items[2].price: 'x' is no decimal(12,2)",
    ),
    "too large": ('{"items": [{"pieces": 2147483648}]}', "items[0].pieces: '2147483648' is no int"),
    "a digit too many": ('{"items": [{"price": 1.005}]}', "items[0].price: '1.005' is no decimal(12,2)"),
    "a day of another age": (
        '{"address": {"since": "0001-01-01"}}',
        "address.since: '0001-01-01' is not between 1900 and 2199",
    ),
    "a number where a text should be": ('{"address": {"city": 7}}', "address.city: 7 is no string"),
    "a number where a boolean should be": ('{"address": {"flag": 1}}', "address.flag: 1 is no boolean"),
    "a number where bytes should be": ('{"address": {"mark": 1234}}', "address.mark: 1234 is no binary"),
    "an object where a text should be": ('{"address": {"city": {"a": 1}}}', 'address.city: {"a":1} is no string'),
    "an object where an array should be": ('{"items": {"price": 1}}', 'items: {"price":1} is no array'),
    "an array where an object should be": ('{"address": [1]}', "address: [1] is no struct"),
    "a flat value where a map should be": ('{"sizes": 5}', "sizes: 5 is no map"),
    "no number in a map": ('{"sizes": {"a": 1, "b c": "x"}}', "sizes[\"b c\"]: 'x' is no double"),
    "a key that nobody promised": ('{"address": {"town": "x"}}', "address.town: is no part of the promise"),
    "a key twice": ('{"address": {"city": "a", "city": "b"}}', "address: the key city is there twice"),
    "a key of a map twice": ('{"sizes": {"a": 1, "a": 2}}', "sizes: the key a is there twice"),
    "deeper than promised": (
        '{"address": {"tags": [[["x"]]]}}',
        'address.tags[0]: [["x"]] is no string',
    ),
    "a zero byte": ('{"address": {"city": "a\\u0000b"}}', "address.city: holds a zero byte"),
    "half a character": ('{"address": {"tags": ["\\ud800"]}}', "address.tags[0]: holds half a character"),
}


# Half a character is no JSON to the parser of documents: there it costs the file (test_reports.py).
IN_DOCUMENTS = [case for case in BAD if case != "half a character"]


@pytest.mark.parametrize(
    ("format_", "case"), [*((Format.JSONL, case) for case in BAD), *((Format.JSON, case) for case in IN_DOCUMENTS)]
)
def test_what_does_not_fit_breaks_its_row_alone(case: str, format_: Format, put: Put) -> None:
    line, reason = BAD[case]
    feed = replace(FEED, columns=KEPT, format=format_)
    whole = json.dumps({name: plain(ROWS[0][name]) for name in NAMES})
    lines = [whole, '{"number": 2, ' + line[1:]]
    content = "\n".join(lines) + "\n" if format_ is Format.JSONL else f"[{','.join(lines)}]"
    path = put(feed, content.encode())
    assert landing.look_through(path, feed)["rows"] == 2
    assert judged(feed, path).sort("number")["_reason"].to_list() == [None, reason]


def test_in_parquet_too_what_does_not_fit_breaks_its_row_alone(put: Put) -> None:
    items = pyarrow.list_(pyarrow.struct([("price", pyarrow.string()), ("more", pyarrow.int8())]))
    rows: list[dict[str, Any]] = [
        {"number": 1, "items": [{"price": "1.50"}]},
        {"number": 2, "items": [{"price": "1.50"}, {"price": "x"}]},
        {"number": 3, "items": [{"price": "1.50", "more": 1}]},
        {"number": 4, "sizes": [("a", float("nan"))]},
        {"number": 5, "sizes": [("a", 1.0), ("a", 2.0)]},
        {"number": 6, "address": {"since": 99999999}},
        {"number": 7, "address": {"city": b"\xff"}},
    ]
    address = pyarrow.struct([("since", pyarrow.int32()), ("city", pyarrow.binary())])
    fields = [ARROW.field("number"), pyarrow.field("items", items), ARROW.field("sizes")]
    schema = pyarrow.schema([*fields, pyarrow.field("address", address), ARROW.field("seal")])
    made = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, schema)
    far = table["address"].combine_chunks()
    far = pyarrow.StructArray.from_arrays(
        [far.field(0).view(pyarrow.date32()), far.field(1)], ["since", "city"], mask=far.is_null()
    )
    pyarrow.parquet.write_table(table.set_column(3, "address", far), made)
    feed = replace(FEED, columns=KEPT, format=Format.PARQUET)
    assert judged(feed, put(feed, made.getvalue())).sort("number")["_reason"].to_list() == [
        None,
        "items[1].price: 'x' is no decimal(12,2)",
        "items[0].more: is no part of the promise",
        "sizes[\"a\"]: 'nan' is no double",
        "sizes: the key a is there twice",
        "address.since: '99999999 days from 1970-01-01' is no date",
        'address.city: {"bytes":"/w=="} is no string',
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            '{"address": "x"}',
            'city: "x" is no struct, in which city should be; tag: "x" is no struct, in which tags[0] should be',
        ),
        ('{"address": {"city": 5}}', "city: 5 is no string"),
        ('{"address": {"city": "a", "city": "b"}}', "city: the key city is there twice"),
        ('{"address": {"tags": {"a": 1}}}', 'tag: {"a":1} is no array, in which [0] should be'),
        ('{"items": [{}, {"price": "x"}]}', "price: 'x' is no decimal(12,2)"),
    ],
)
def test_what_is_not_at_the_end_of_its_path_breaks_its_row(line: str, reason: str, put: Put) -> None:
    columns = (*KEPT[:1], *(column for column in FEED.columns if column.path))
    feed = replace(FEED, columns=columns, format=Format.JSONL)
    whole = json.dumps({"number": 1, "address": {"city": "a", "other": [1]}, "items": None})
    content = "\n".join([whole, '{"number": 2, ' + line[1:], ""]).encode()
    assert judged(feed, put(feed, content)).sort("number")["_reason"].to_list() == [None, reason]


def test_a_name_with_a_dot_is_a_name(put: Put) -> None:
    columns = (
        KEPT[0],
        Column("whole", "string", "", source_name="a.b"),
        Column("part", "string", "", source_name=("a", "c.d")),
    )
    feed = replace(FEED, columns=columns, format=Format.JSONL)
    (row,) = judged(feed, put(feed, b'{"number": 1, "a.b": "x", "a": {"c.d": "y"}}\n')).to_dicts()
    assert (row["whole"], row["part"]) == ("x", "y")


def test_bytes_may_be_in_hex(put: Put) -> None:
    columns = (KEPT[0], Column("seal", "binary", "", form=Form.HEX))
    feed = replace(FEED, columns=columns, format=Format.CSV)
    found = judged(feed, put(feed, b'number,seal\n1,00fF\n2,0\n3,\n4,""\n')).sort("number")
    assert found.select("seal", "_reason").rows() == [
        (b"\x00\xff", None),
        (None, "seal: '0' is no binary"),
        (None, None),
        (b"", None),
    ]


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        ("array<int", "after array comes its end, and > should"),
        ("array<int>>", "'>' is behind its end"),
        ("map<int,int>", "the keys of a map are strings, not int"),
        ("struct<a:int,A:int>", "a is twice in a struct"),
        ("struct<a>", "after a comes >, and : should"),
        ("struct<>", "cannot be a name within a struct"),
        ("array<varchar>", "'varchar' is none of string"),
        ("struct<`a b`:int>", "'a b' cannot be a name"),
        ("array<decimal(39,2)>", "'decimal(39,2)' is none of"),
        ("array<" * 9 + "int" + ">" * 9, "is deeper than 8"),
    ],
)
def test_a_type_that_is_none_is_refused_when_the_spec_is_read(type_: str, why: str) -> None:
    with pytest.raises(ValueError, match="column a: .*" + why.replace("(", r"\(").replace(")", r"\)")):
        Column("a", type_, "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key": ("items",)}, "column items is of array.*, by which no rows are told apart"),
        ({"format": Format.CSV}, "column city has a path, and csv is flat"),
        (
            {"columns": (KEPT[0], Column("a", "int", "", source_name=("address",)), FEED.columns[5])},
            "column city is within a, which is a int",
        ),
        (
            {"columns": (KEPT[0], FEED.columns[5], Column("a", "int", "", source_name=("address", 0)))},
            "paths that exclude each other",
        ),
    ],
)
def test_what_cannot_be_is_refused_when_the_spec_is_read(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(FEED, **change)


def test_a_flat_column_of_a_file_is_no_nested_one(put: Put) -> None:
    made = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"number": [1], "address": ["x"]}), made)
    feed = replace(FEED, columns=(Column("number", "bigint", ""), FEED.columns[5]), format=Format.PARQUET)
    with pytest.raises(
        UnreadableFileError, match="address is BYTE_ARRAY String, which is no struct or array, in which"
    ):
        counting.count(put(feed, made.getvalue()), feed)


def test_what_is_kept_of_a_type_is_spelled_as_sql_has_it() -> None:
    spelled = "struct<a:array<map<string,decimal(12,2)>>,`b-c`:binary>"
    kept = "struct<a:array<array<struct<key:string,value:decimal(12,2)>>>,`b-c`:binary>"
    assert shapes.parse(spelled).kept_as == kept


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
TIMES = st.datetimes(datetime(1900, 1, 2), datetime(2199, 12, 30)).map(lambda one: one.replace(tzinfo=UTC))
AN_ITEM = st.fixed_dictionaries(
    {
        "price": st.none() | st.decimals(-(10**9), 10**9, places=2),
        "pieces": st.none() | st.integers(-(2**31), 2**31 - 1),
        "seen_at": st.none() | TIMES,
    }
)
AN_ADDRESS = st.fixed_dictionaries(
    {
        "city": st.none() | TEXTS,
        "tags": st.none() | st.lists(st.none() | TEXTS, max_size=3),
        "since": st.none() | st.dates(date(1900, 1, 1), date(2199, 12, 31)),
        "flag": st.none() | st.booleans(),
        "mark": st.none() | st.binary(max_size=5),
    }
)
A_ROW = st.fixed_dictionaries(
    {
        "items": st.none() | st.lists(AN_ITEM, max_size=3),
        "sizes": st.none()
        | st.dictionaries(TEXTS, st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=3),
        "address": st.none() | AN_ADDRESS,
        "seal": st.none() | st.binary(max_size=5),
    }
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(A_ROW, min_size=1, max_size=4))
def test_written_in_any_format_they_come_back_equal(some: list[dict[str, Any]], put: Put) -> None:
    rows = [ROWS[0], *({"number": n, **row} for n, row in enumerate(some, start=2))]
    tables: dict[Format, pl.DataFrame] = {}
    for format_, write in WRITERS.items():
        feed = replace(FEED, format=format_)
        path = put(feed, write(rows))
        found = judged(feed, path).sort("number")
        assert found["_reason"].to_list() == [None] * len(rows)
        tables[format_] = found.select(column.name for column in FEED.columns)
    assert tables[Format.JSONL].to_dicts() == expected(rows)
    for table in tables.values():
        assert table.equals(tables[Format.JSONL])


def test_a_proposal_has_nested_types_and_says_what_could_be_taken_out(tmp_path: Path) -> None:
    from upath import UPath

    path = UPath(tmp_path / "orders.jsonl")
    lines = [
        {
            "id": n,
            "at": {"city": "x", "geo": [1.5, 2]},
            "items": [{"n": 2**40}],
            "m": {f"k{n}-{m}": m for m in range(9)},
        }
        for n in range(9)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = propose(path)
    assert (found.rows, found.sound) == (9, 9)
    assert {column.name: column.type for column in found.feed.columns} == {
        "id": "int",
        "at": "struct<city:string,geo:array<double>>",
        "items": "array<struct<n:bigint>>",
        "m": "map<string,int>",
    }
    assert found.feed.key == ("id",)
    assert any("('at', 'city'), ('at', 'geo', 0) could be a column" in note for note in found.notes)
    other = UPath(tmp_path / "orders.parquet")
    other.write_bytes(in_parquet([ROWS[0] | {"seal": b"\xff"}, *ROWS[1:]]))
    assert {column.name: column.type for column in propose(other).feed.columns} == {
        "number": "int",
        "items": ITEMS.replace("12,2", "38,2"),
        "sizes": "map<string,double>",
        "address": ADDRESS,
        "seal": "binary",
    }
