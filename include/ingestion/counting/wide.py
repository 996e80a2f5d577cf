"""The cells of wide tables that become rows, counted in the file.

A row that cannot be taken apart is one row, whatever it has.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from include.contracts.dialect import BLANKS, Dialect, Long, Short
from include.contracts.source import Column, Feed, Format
from include.contracts.wide import Wide, cells_of, table_of
from include.ingestion.counting import delimited, excel, jsonl, lines
from include.ingestion.counting.columns import placed
from include.ingestion.files import UnreadableFileError, after_mark, opened, readable, unpacked

if TYPE_CHECKING:
    from upath import UPath

log = logging.getLogger(__name__)

# Of each row: how many of its cells have a value; None for one that cannot be taken apart.
Rows = Iterator[int | None]


def count(
    path: UPath, feed: Feed, wide: Wide, count_table: Callable[[UPath, Feed], tuple[int, list[str]]]
) -> tuple[int, list[str]]:
    """The rows that the cells of the file at ``path`` become, and its columns, those of cells by the file's names.

    Raises UnreadableFileError, also where there are no cells, or nobody could say which one is meant.
    """
    names: Sequence[str] = wide.named
    if not names:
        _, columns = count_table(path, table_of(feed, ()))
        names = [name for name in columns if wide.has(name)]
        if not names:
            raise UnreadableFileError(f"{path}: no column has a name as {wide.columns!r}, whose cells become rows")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UnreadableFileError(f"{path}: column {twice[0]} is there twice")
    table = table_of(feed, names)
    rows, columns = count_table(path, table)
    cells = [column for column in cells_of(table) if column.name in columns]
    called = {column.name: column.in_file for column in cells}
    columns = [called.get(name, name) for name in columns]
    if table.format in FILLED:
        return rows * len(cells) if wide.keep_empty else FILLED[table.format](path, cells), columns
    found = empty = 0
    for row in ROWS[table.format](path, table, cells):
        rows -= 1
        found += 1 if row is None else len(cells) if wide.keep_empty else row
        empty += 0 if row is None else len(cells) - row
    if rows:
        raise UnreadableFileError(f"{path}: its cells are of {abs(rows)} rows more or fewer than it has")
    if empty and not wide.keep_empty:
        log.info("%s: %d empty cells are no readings, and no rows", path, empty)
    return found, columns


def _of_csv(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    dialect, found = table.dialect, delimited.Table(path, table)
    there = found.table()
    header = list(found.header(there))
    columns = (delimited.columns_of(path, table, header) or []) if dialect.header else []
    places, is_nothing, quotes = list[int](), frozenset(dialect.nulls).__contains__, {dialect.quote, dialect.escape}
    for _, record in found.rows(there, len(columns or table.columns)):
        is_plain = not any(sign and sign in record for sign in quotes)
        values = record.split(dialect.delimiter) if is_plain else delimited.raw_values_of(record, dialect)
        columns = columns or placed(table, len(values))
        places = places or [columns.index(column.name) for column in cells]
        if not _can_be_taken_apart(record, len(values), len(columns), dialect):
            yield None
            continue
        own = [values[place] for place in places if place < len(values)]
        if is_plain:
            # Nearly all rows.
            yield len(own) - sum(map(is_nothing, [one.strip(BLANKS) for one in own] if dialect.trim else own))
        else:
            yield sum(_has_value(one, column, dialect) for one, column in zip(own, cells, strict=False))


def _can_be_taken_apart(record: str, values: int, columns: int, dialect: Dialect) -> bool:
    """Whether a row of so many ``values`` is one of so many ``columns``; none are of one whose quotes are wrong."""
    has_unit = "\x1f" in record and len(dialect.delimiter) > 1 and bool(dialect.quote) and dialect.quote in record
    is_short = values < columns and dialect.short_rows is not Short.PAD
    is_long = values > columns and dialect.long_rows is not Long.CUT
    return bool(values) and not (has_unit or is_short or is_long)


def _has_value(raw: str, column: Column, dialect: Dialect) -> bool:
    """Whether a value as it is written, with its quotes, is one."""
    raw = raw.strip(BLANKS) if dialect.trim else raw
    is_quoted = bool(dialect.quote) and raw.startswith(dialect.quote)
    if not is_quoted and raw in dialect.nulls:
        return False
    return column.type == "string" or delimited.unquoted(raw, dialect) not in dialect.nulls


def _of_fixed_width(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    dialect, end = table.dialect, max(column.place - 1 + column.width for column in table.columns)
    for _, line in lines.records(path, table):
        if "\t" in line.rstrip() or (dialect.long_rows is not Long.CUT and len(line.rstrip()) > end):
            yield None
            continue
        yield sum(line[one.place - 1 :][: one.width].strip(BLANKS) not in dialect.nulls for one in cells)


def _of_excel(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    for row in excel.rows(path, table):
        yield sum(_says_something(row.get(column.name), table) for column in cells)


def _says_something(value: str | None, table: Feed) -> bool:
    return value is not None and (value.strip() if table.dialect.trim else value) not in table.dialect.nulls


def _of_object(row: dict[str, Any], table: Feed, cells: Sequence[Column]) -> int:
    """Of JSON and Avro, where a text says that there is nothing only in a column of another type."""
    return sum(
        (one := row.get(column.in_file)) is not None
        and (column.type == "string" or not isinstance(one, str) or one not in table.dialect.nulls)
        for column in cells
    )


def _of_jsonl(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    for _, line in jsonl.records(path, table):
        yield _of_object(json.loads(line), table, cells)


def _of_json(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    """By the events of a parser: of each key of an object whether its value is one."""
    import ijson

    prefix_of_row, row, key = ".".join(filter(None, [table.within, "item"])), dict[str, Any](), ""
    with unpacked(path) as file, readable(path, "JSON"):
        for prefix, event, value in ijson.parse(after_mark(file)):
            if prefix == prefix_of_row:
                if event == "start_map":
                    row = {}
                elif event == "map_key":
                    key = value
                elif event == "end_map":
                    yield _of_object(row, table, cells)
            elif prefix == f"{prefix_of_row}.{key}" and event not in ("map_key", "end_map", "end_array"):
                row[key] = value if event in ("null", "string") else 0


def _of_xml(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    from lxml import etree

    with unpacked(path) as file, readable(path, "XML"):
        for _, element in etree.iterparse(file, events=("end",), resolve_entities=False, no_network=True):
            if etree.QName(element).localname != table.within:
                continue
            children = [(etree.QName(one).localname, one) for one in element if isinstance(one.tag, str)]
            row = {f"@{name}": str(value) for name, value in element.attrib.items()}
            row |= {name: text for name, one in children if (text := "".join(one.itertext()))}
            times = Counter(name for name, _ in children)
            yield sum(times[one.in_file] > 1 or _says_something(row.get(one.in_file), table) for one in cells)
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]


def _of_avro(path: UPath, table: Feed, cells: Sequence[Column]) -> Rows:
    import fastavro

    with opened(path) as file, readable(path, "Avro"):
        for row in fastavro.reader(file):
            yield _of_object(row if isinstance(row, dict) else {}, table, cells)


def _of_parquet(path: UPath, cells: Sequence[Column]) -> int:
    """The values of all cells, by the nulls of each column."""
    import pyarrow.parquet

    with opened(path) as file, readable(path, "Parquet"):
        reader = pyarrow.parquet.ParquetFile(file)
        batches = reader.iter_batches(columns=[column.in_file for column in cells])
        return sum(len(column) - column.null_count for batch in batches for column in batch.columns)


def _of_orc(path: UPath, cells: Sequence[Column]) -> int:
    from pyarrow import orc

    with opened(path) as file, readable(path, "ORC"):
        reader, names = orc.ORCFile(file), [column.in_file for column in cells]
        batches = [reader.read_stripe(n, columns=names) for n in range(reader.nstripes)]
        return sum(len(column) - column.null_count for batch in batches for column in batch.columns)


ROWS: dict[Format, Callable[[UPath, Feed, Sequence[Column]], Rows]] = {
    Format.CSV: _of_csv,
    Format.FIXED: _of_fixed_width,
    Format.XLSX: _of_excel,
    Format.JSONL: _of_jsonl,
    Format.JSON: _of_json,
    Format.XML: _of_xml,
    Format.AVRO: _of_avro,
}
FILLED: dict[Format, Callable[[UPath, Sequence[Column]], int]] = {
    Format.PARQUET: _of_parquet,
    Format.ORC: _of_orc,
}


def line_of(raw: str) -> str:
    """The line that a cell in quarantine is of: ``verdicts`` has its column's name before it, in quotes."""
    return re.sub(r'(?s)\A"[^"]*" ', "", raw)
