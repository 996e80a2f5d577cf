"""The records of ORC and Avro, of JSON documents and XML, and their names, without what is in them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from include.contracts.source import Feed, Mode
from include.ingestion.counting.columns import named, other, too_strange
from include.ingestion.files import UnreadableFileError, after_mark, opened, readable, unpacked

if TYPE_CHECKING:
    from upath import UPath

PIECE = 1 << 20
# What is escaped in JSON, from left to right: of two halves of a character also the first or the second one alone.
ESCAPED = re.compile(rb"\\(?:u[dD][89abAB]..(\\u[dD][c-fC-F]..)?|(u[dD][c-fC-F]..)|.)", re.DOTALL)
LONGEST = len(r"\ud83d\ude00")


def of_orc(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """What the footer says, which is read alone. Raises UnreadableFileError."""
    from pyarrow import orc
    from pyarrow.types import is_nested

    with opened(path) as file, readable(path, "ORC"):
        footer = orc.ORCFile(file)
        nested = {field.name for field in footer.schema if is_nested(field.type)}
        if odd := [one.in_file for one in feed.columns if one.in_file in nested and not (one.is_nested or one.path)]:
            raise UnreadableFileError(f"{path}: the columns break the contract: column {odd[0]} is nested")
        return footer.nrows, _columns(path, feed, footer.schema.names)


def of_avro(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """What the heads of the blocks say. Raises UnreadableFileError."""
    import fastavro

    with opened(path) as file, readable(path, "Avro"):
        blocks = fastavro.block_reader(file)
        schema: Any = blocks.writer_schema
        fields = schema.get("fields") if isinstance(schema, dict) else None
        if not fields:
            raise UnreadableFileError(f"{path}: its records have no fields")
        return sum(block.num_records for block in blocks), _columns(path, feed, [one["name"] for one in fields])


def of_json(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """The objects of the array that ``feed`` means, by the events of a parser. Raises UnreadableFileError."""
    import ijson

    _check_characters(path)
    array, row = feed.within, ".".join(filter(None, [feed.within, "item"]))
    rows, is_there, keys, seen = 0, False, set[str](), set[str]()
    with unpacked(path) as file, readable(path, "JSON"):
        for prefix, event, value in ijson.parse(after_mark(file)):
            if prefix == array and event == "start_array":
                is_there = True
            elif prefix == row and event == "start_map":
                rows, seen = rows + 1, set()
            elif prefix == row and event == "map_key":
                if value in seen:
                    raise UnreadableFileError(f"{path}: row {rows} has a key twice")
                seen.add(value)
                keys.add(value)
            elif prefix == row and event not in ("end_map", "start_array", "end_array"):
                raise UnreadableFileError(f"{path}: after row {rows} there is something else than an object")
    if not is_there:
        where = f"at {array!r}" if array else "as its document"
        raise UnreadableFileError(f"{path}: there is no array {where}")
    return rows, _keys(path, feed, keys, rows)


def _check_characters(path: UPath) -> None:
    """Raise UnreadableFileError where half a character is written, for which the parser has another one."""
    rest = b""
    with unpacked(path) as file:
        while piece := file.read(PIECE):
            block = rest + piece
            at, end = 0, len(block) - (LONGEST if file.peek(1) else 0)
            for found in ESCAPED.finditer(block):
                if found.start() >= end:
                    break
                at = found.end()
                if found[2] or (not found[1] and found[0][1:3].lower() == b"ud" and found[0][3:4] in b"89abAB"):
                    raise UnreadableFileError(f"{path}: half a character is written in one of its texts")
            rest = block[max(at, end, 0) :]


def of_xml(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """The elements that ``feed`` means. Raises UnreadableFileError."""
    from lxml import etree

    rows, names = 0, set[str]()
    with unpacked(path) as file, readable(path, "XML"):
        for _, element in etree.iterparse(file, events=("end",), resolve_entities=False, no_network=True):
            if element.getparent() is None and element.getroottree().docinfo.doctype:
                raise UnreadableFileError(f"{path}: it declares its own entities or elements, which no table needs")
            if etree.QName(element).localname != feed.within:
                continue
            rows += 1
            names |= {f"@{name}" for name in element.attrib}
            for child in element.iterchildren(etree.Element):
                name = etree.QName(child).localname
                names |= {name, *(f"{name}/@{attribute}" for attribute in child.attrib)}
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    return rows, _keys(path, feed, names, rows)


def _columns(path: UPath, feed: Feed, names: Collection[str]) -> list[str]:
    """The columns that a file with ``names`` has, by the names of the feed."""
    ours, promised = [column.name for column in feed.columns], {column.in_file: column.name for column in feed.columns}
    gone, new = [name for name in promised if name not in names], [name for name in names if name not in promised]
    if gone or too_strange(new, feed.wide):
        raise UnreadableFileError(f"{path}: the columns break the contract: {named(gone, new, promised)}")
    return [*ours, *(other(name, ours) for name in new)]


def _keys(path: UPath, feed: Feed, names: Collection[str], rows: int) -> list[str]:
    """The same where a row need not say what it has no value for: a column that no row has is gone."""
    required = {column.in_file for column in feed.columns if column.required}
    there, optional = set(names), {column.in_file for column in feed.columns} - required
    if not rows:
        there |= {column.in_file for column in feed.columns}
    elif feed.mode is Mode.UPSERT and not optional & there:
        there |= optional  # changes that all say nothing but what was changed: a night of deletes
    return _columns(path, feed, sorted(there))
