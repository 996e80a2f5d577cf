"""The records of ORC and Avro, of JSON documents and XML, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import polars as pl

from include.contracts.source import Feed
from include.ingestion.files import UnreadableFileError, after_mark, is_no_damage, opened, unpacked
from include.ingestion.nested import OneOfEach
from include.ingestion.reading import parquet, paths, python

if TYPE_CHECKING:
    from upath import UPath

BATCH = 50_000
"""Records that are taken at once."""

DAMAGED = "it cannot be read: a part of it is damaged. Replace the file and clear the run from its first task."


def of_orc(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``, stripe by stripe. Raises UnreadableFileError."""
    import pyarrow
    from pyarrow import orc

    with opened(path) as file:
        try:
            stripes = orc.ORCFile(file)
            columns = paths.columns(feed)
            wanted = list(dict.fromkeys(column.in_file for column in columns))
            for number in range(stripes.nstripes):
                yield parquet.texts_of(stripes.read_stripe(number, columns=wanted), columns)
        except (pyarrow.ArrowException, OSError) as error:
            if is_no_damage(error):
                raise
            raise UnreadableFileError(f"{path}: {DAMAGED}") from None


def of_avro(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    import fastavro

    with opened(path) as file:
        try:
            yield from _frames(fastavro.reader(file), feed)
        except (ValueError, EOFError, IndexError, TypeError, KeyError):  # whatever damage makes of it
            raise UnreadableFileError(f"{path}: {DAMAGED}") from None


def of_json(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    import ijson

    with unpacked(path) as file:
        try:
            # A key that is twice within a nested value is its row's fault; otherwise nobody asks.
            kept: Any = OneOfEach if any(column.is_nested for column in paths.columns(feed)) else None
            rows = ".".join(filter(None, [feed.within, "item"]))
            yield from _frames(ijson.items(after_mark(file), rows, map_type=kept), feed)
        except ijson.JSONError:
            raise UnreadableFileError(f"{path}: {DAMAGED}") from None


def of_xml(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``: attributes as @name, elements as name, and theirs as
    name/@attribute. One of a namespace has it in its name, as {urn:x}name. Raises UnreadableFileError."""
    with unpacked(path) as file:
        try:
            yield from _frames(_elements(file, feed.within), feed)
        except ElementTree.ParseError:
            raise UnreadableFileError(f"{path}: {DAMAGED}") from None


def _elements(file: Any, name: str) -> Iterator[dict[str, Any]]:
    parents: list[ElementTree.Element] = []
    # Whoever counted has refused what declares entities.
    for event, element in ElementTree.iterparse(file, events=("start", "end")):  # noqa: S314
        if event == "start":
            parents.append(element)
            continue
        parents.pop()
        if _local(element.tag) == name:
            row: dict[str, Any] = {f"@{key}": value for key, value in element.attrib.items()}
            for child in element:
                key = _local(child.tag)
                said = {key: "".join(child.itertext()) or None}
                said |= {f"{key}/@{attribute}": value for attribute, value in child.attrib.items()}
                row |= {key: [row[key], one] if key in row else one for key, one in said.items()}
            yield row
            if parents:
                parents[-1].remove(element)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _frames(rows: Iterator[Any], feed: Feed) -> Iterator[pl.DataFrame]:
    columns = paths.columns(feed)
    names = [column.name for column in columns]
    for some in batched(rows, BATCH):
        yield python.frame([[row.get(column.in_file) for column in columns] for row in some], feed, names, columns)
