"""The rows of a sheet of Excel, by the XML within; ``reading`` has them from another reader.

Formulas are what was their last result, macros nobody runs, and what lies outside the file nobody fetches.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from include.contracts.source import Feed
from include.ingestion.counting.columns import joined, matched, placed
from include.ingestion.files import MOST_TIMES, MOST_UNPACKED, UnreadableFileError, opened, readable
from include.ingestion.sheets import Part, part_of

if TYPE_CHECKING:
    from upath import UPath

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_VALUE, _INLINE = f"{_MAIN}v", f"{_MAIN}is"
_LINKS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """The rows and columns of the sheet that ``feed`` means. Raises UnreadableFileError."""
    with opened(path) as file:
        head = file.read(len(_OLD))
        if not head:
            raise UnreadableFileError(f"{path}: the file is empty")
        if head == _OLD:
            raise UnreadableFileError(
                f"{path}: encrypted, or of the old kind (.xls). Save it as .xlsx and clear this task"
            )
        file.seek(0)
        with readable(path, "file of Excel"):
            return _count(path, feed, zipfile.ZipFile(file))


def _count(path: UPath, feed: Feed, book: zipfile.ZipFile) -> tuple[int, list[str]]:
    size, packed = sum(one.file_size for one in book.infolist()), sum(one.compress_size for one in book.infolist())
    if size > max(MOST_UNPACKED // 4, MOST_TIMES * packed):
        raise UnreadableFileError(f"{path}: unpacks to {size >> 20} MiB. Is it what its upstream meant to send?")
    part, shared = part_of(feed.within), _shared(book)
    names, found, width = list[list[str]](), 0, 0
    for row in _table(path, feed, book, shared):
        if len(names) < feed.dialect.header:
            cells = dict(_cells(row, part))
            names.append([_text(cells.get(n), shared) for n in range(max(cells) + 1)])
        else:
            width = width or max(place for place, _ in _cells(row, part)) + 1
            found += 1
    if not feed.dialect.header:
        return found, placed(feed, width)
    if len(names) < feed.dialect.header:
        raise UnreadableFileError(f"{path}: no header and no rows. A day without anything has no file")
    return found, matched(path, feed, joined(names), "")


def rows(path: UPath, feed: Feed) -> Iterator[dict[str, str]]:
    """The texts of the cells of each row after the header, by the names that ``count`` has for their columns."""
    part = part_of(feed.within)
    with opened(path) as file, readable(path, "file of Excel"):
        book = zipfile.ZipFile(file)
        shared, (_, columns) = _shared(book), _count(path, feed, book)
        for row in islice(_table(path, feed, book, shared), feed.dialect.header, None):
            yield {columns[n]: _text(cell, shared) for n, cell in _cells(row, part) if n < len(columns)}


def _table(path: UPath, feed: Feed, book: zipfile.ZipFile, shared: list[str]) -> Iterator[Any]:
    """The rows of the table, those of its header included."""
    part = part_of(feed.within)
    for number, row in _rows(book, _sheet(path, book, part), part):
        if number < part.top + feed.dialect.skip_lines:
            continue
        if feed.dialect.ends_before and re.search(feed.dialect.ends_before, _first(row, part, shared)):
            return
        yield row


def _sheet(path: UPath, book: zipfile.ZipFile, part: Part) -> str:
    """The name within the archive of the sheet that is meant."""
    sheets = {one.get("name"): one.get(f"{_LINKS}id") for one in _tree(book, "xl/workbook.xml").iter(f"{_MAIN}sheet")}
    if part.sheet and part.sheet not in sheets:
        raise UnreadableFileError(f"{path}: it has no sheet {part.sheet!r}; there are {', '.join(map(repr, sheets))}")
    wanted = sheets[part.sheet] if part.sheet else next(iter(sheets.values()))
    links = _tree(book, "xl/_rels/workbook.xml.rels")
    target = next(str(one.get("Target")) for one in links if one.get("Id") == wanted)
    return target.lstrip("/") if target.startswith("/") else f"xl/{target}"


def _tree(book: zipfile.ZipFile, name: str) -> Any:
    from lxml import etree

    return etree.fromstring(_checked(book.read(name)), etree.XMLParser(resolve_entities=False, no_network=True))


def _checked(head: bytes) -> bytes:
    """``head`` of a document, which needs no declarations: what they would unfold is not for a table."""
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise ValueError("it declares entities")
    return head


def _events(book: zipfile.ZipFile, name: str, tag: str) -> Iterator[Any]:
    from lxml import etree

    with book.open(name) as file:
        _checked(file.read(4096))
    with book.open(name) as file:
        for _, element in etree.iterparse(file, tag=tag, resolve_entities=False, no_network=True):
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]


def _shared(book: zipfile.ZipFile) -> list[str]:
    """The texts that cells name by their number."""
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    return [_inner(one) for one in _events(book, "xl/sharedStrings.xml", f"{_MAIN}si")]


def _inner(element: Any) -> str:
    """The text of a cell, without what is only said about it."""
    parts = [element.find(f"{_MAIN}t"), *(run.find(f"{_MAIN}t") for run in element.findall(f"{_MAIN}r"))]
    return "".join(part.text or "" for part in parts if part is not None)


def _rows(book: zipfile.ZipFile, name: str, part: Part) -> Iterator[tuple[int, Any]]:
    """The number of each row of ``part`` in which there is anything, and the row."""
    number = 0
    for row in _events(book, name, f"{_MAIN}row"):
        number = int(row.get("r") or number + 1)
        is_within = number >= part.top and not (part.bottom and number > part.bottom)
        if is_within and next(_cells(row, part), None):
            yield number, row


def _cells(row: Any, part: Part) -> Iterator[tuple[int, Any]]:
    """The cells of ``row`` with a value, and the place of each within ``part``, counted from 0."""
    place = 0
    for cell in row:
        place = _place(cell.get("r")) or place + 1
        if part.left <= place and (not part.right or place <= part.right) and _has_value(cell):
            yield place - part.left, cell


def _place(reference: str | None) -> int:
    number = 0
    for letter in reference or "":
        if not letter.isalpha():
            break
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _has_value(cell: Any) -> bool:
    return any(child.text if child.tag == _VALUE else _inner(child) for child in cell if child.tag in (_VALUE, _INLINE))


def _text(cell: Any, shared: list[str]) -> str:
    if cell is None:
        return ""
    inline = cell.find(f"{_MAIN}is")
    if inline is not None:
        return _inner(inline)
    value = cell.findtext(f"{_MAIN}v") or ""
    return shared[int(value)] if cell.get("t") == "s" else value


def _first(row: Any, part: Part, shared: list[str]) -> str:
    return _text(next(cell for _, cell in _cells(row, part)), shared)
