"""Where the rows of a document are, JSON or XML, and what the records of Parquet, ORC and Avro hold."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from include.contracts.dialect import RFC_4180
from include.contracts.source import Feed, Format
from include.ingestion.files import opened, readable, unpacked
from include.ingestion.proposing import columns
from include.ingestion.proposing.lines import MOST_ROWS, Table

if TYPE_CHECKING:
    from upath import UPath


class NoRowsError(ValueError):
    """A document in which nobody can say what its rows are."""


def of_json(sample: bytes, name: str) -> tuple[Feed, list[str]]:
    """The array with the most objects, and what is in them. Raises NoRowsError."""
    import ijson

    text = sample.removeprefix(b"\xef\xbb\xbf")
    arrays = Counter[str]()
    for prefix, event, _ in _until_cut(ijson.parse(io.BytesIO(text))):
        if event == "start_map" and (prefix == "item" or prefix.endswith(".item")):
            arrays[prefix.removesuffix("item").removesuffix(".")] += 1
    # What is within a row is no table of its own.
    arrays = Counter({path: n for path, n in arrays.items() if not {"item"} & set(path.split("."))})
    if not arrays:
        raise NoRowsError("it is a JSON document, and no array in it has objects")
    (within, _), *others = arrays.most_common()
    items = ijson.items(io.BytesIO(text), ".".join(filter(None, [within, "item"])), use_float=True)
    rows = [row for row in islice(_until_cut(items), MOST_ROWS) if isinstance(row, dict)]
    feed, notes = columns.of_values(rows, name, Format.JSON)
    notes += [f"there is another array, at {path or 'the top'!r}, with {n} objects: another feed" for path, n in others]
    return replace(feed, within=within), notes


def _until_cut(events: Iterator[Any]) -> Iterator[Any]:
    """``events`` up to where the sample ends. What is wrong with all of the file is said when it is tried."""
    import ijson

    try:
        yield from events
    except ijson.JSONError:
        return


@dataclass
class _Elements:
    """The elements of one name: their values, as rows have them, and the names of those they are in."""

    rows: list[dict[str, str]] = field(default_factory=list)
    number: int = 0
    outside: set[str] = field(default_factory=set)
    nested: set[str] = field(default_factory=set)  # children that have children
    several: set[str] = field(default_factory=set)  # children that are there twice in one

    @property
    def columns(self) -> list[str]:
        """What has a value in any of them, each at most one, and no elements of its own."""
        there = dict.fromkeys(key for row in self.rows for key, value in row.items() if value.strip())
        return [one for one in there if one not in self.left_out]

    @property
    def left_out(self) -> set[str]:
        return self.nested | self.several

    @property
    def values(self) -> int:
        return self.number * len(self.columns)


def of_xml(sample: bytes, name: str) -> tuple[Feed, list[str]]:
    """The element that is there most often and has values, not one within another such. Raises NoRowsError."""
    found = _elements_of(sample)
    rows = {one: each for one, each in found.items() if each.values}
    often = {one for one, each in rows.items() if each.number > 1}
    outer = {one for one in often if not rows[one].outside & often} or set(rows)
    if not outer:
        raise NoRowsError("it is XML, and no element in it has values")
    within = max(outer, key=lambda one: rows[one].values)
    mine = rows[within]
    names = mine.columns
    table = Table(RFC_4180, names, [[row.get(one, "") for one in names] for row in mine.rows], [])
    feed, notes = columns.feed_of(table, name)
    notes += [f"{one} is left out: it has elements of its own" for one in sorted(mine.nested)]
    notes += [f"{one} is left out: an element has several of them" for one in sorted(mine.several - mine.nested)]
    notes += [
        f"elements {one} are another table, of {rows[one].number}"
        for one in sorted(often - {within, *names, *mine.left_out})
    ]
    return replace(feed, format=Format.XML, within=within), notes


def _elements_of(sample: bytes) -> dict[str, _Elements]:
    if b"<!DOCTYPE" in sample[:4096]:
        raise NoRowsError("it declares its own entities or elements, or is a page of the web: no table is read from it")
    parser, open_, found = ElementTree.XMLPullParser(("start", "end")), list[str](), dict[str, _Elements]()
    try:
        parser.feed(sample)
        events: Any = parser.read_events()
        for event, element in events:
            if event == "start":
                open_.append(_local(element.tag))
                continue
            open_.pop()
            _add(found.setdefault(_local(element.tag), _Elements()), element, open_)
    except ElementTree.ParseError as error:
        raise NoRowsError(f"it begins as XML, and is none: {error}") from None
    return found


def _add(to: _Elements, element: ElementTree.Element, outside: Sequence[str]) -> None:
    to.number += 1
    to.outside |= set(outside)
    row = {f"@{key}": value for key, value in element.attrib.items()}
    for child in element:
        key = _local(child.tag)
        if len(child):
            to.nested.add(key)
        elif key in row:
            to.several.add(key)
        else:
            row[key] = child.text or ""
            row |= {f"{key}/@{attribute}": value for attribute, value in child.attrib.items()}
    if len(to.rows) < MOST_ROWS:
        to.rows.append(row)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def of_arrow(path: UPath, name: str, format_: Format) -> tuple[Feed, list[str]]:
    """Of Parquet and ORC: the types that the file itself says. Raises UnreadableFileError where it is damaged."""
    import pyarrow.parquet
    from pyarrow import orc

    with unpacked(path) as file, readable(path, format_.name):
        if format_ is Format.ORC:
            reader = orc.ORCFile(file)
            table, schema = reader.read_stripe(0) if reader.nstripes else None, reader.schema
        else:
            parquet = pyarrow.parquet.ParquetFile(file, coerce_int96_timestamp_unit="us")
            table, schema = next(parquet.iter_batches(batch_size=MOST_ROWS), None), parquet.schema_arrow
    given = {one.name: table.column(one.name)[:MOST_ROWS].to_pylist() if table else [] for one in schema}
    types = {one.name: "binary" if _are_bytes(given[one.name]) else type_of(one.type) for one in schema}
    return columns.of_types(types, given, name, format_)


def _are_bytes(values: Sequence[Any]) -> bool:
    """Whether any of ``values`` are bytes and no text: old writers do not say that theirs are one."""
    try:
        return any("\0" in one.decode() for one in values if isinstance(one, bytes))
    except UnicodeDecodeError:
        return True


def type_of(arrow: Any) -> str:
    """A type of the specs for one of Arrow; empty where there is none."""
    from pyarrow import types

    if types.is_dictionary(arrow):
        return type_of(arrow.value_type)
    if types.is_decimal(arrow):
        return f"decimal({arrow.precision},{max(arrow.scale, 0)})"
    known = {
        "string": types.is_string(arrow) or types.is_large_string(arrow) or types.is_binary(arrow),
        "smallint": types.is_int8(arrow) or types.is_int16(arrow) or types.is_uint8(arrow),
        "int": types.is_int32(arrow) or types.is_uint16(arrow),
        "bigint": types.is_int64(arrow) or types.is_uint32(arrow),
        "double": types.is_floating(arrow),
        "boolean": types.is_boolean(arrow),
        "date": types.is_date(arrow),
        "timestamp": types.is_timestamp(arrow),
    }
    return next((name for name, is_it in known.items() if is_it), "")


def of_avro(path: UPath, name: str) -> tuple[Feed, list[str]]:
    """What is in the first records. Raises UnreadableFileError where the file is damaged."""
    import fastavro

    with opened(path) as file, readable(path, "Avro"):
        rows: list[Any] = list(islice(fastavro.reader(file), MOST_ROWS))
    return columns.of_values(rows, name, Format.AVRO)
