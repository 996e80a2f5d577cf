"""Each example of docs/bring-a-file.md: its spec reads the lines under it, and publishes the table under these."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from upath import UPath

from include.contracts import naming
from include.contracts.source import Compression, Feed, Finished, Format
from include.ingestion import kernel, landing, verdicts
from tests.ingestion.corpus import sheet
from tests.ingestion.test_documents import pdf

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bring-a-file.md").read_text()
DAY = date(2024, 6, 1)


@dataclass(frozen=True)
class Example:
    """One of the page: what is in the file, and the rows that are published."""

    feed: Feed
    name: str  # of the file, below the feed's folder
    lines: str
    rows: list[list[str]]


def examples() -> Iterator[Example]:
    for block in re.split(r"(?m)^```python$", PAGE)[1:]:
        code, _, rest = block.partition("\n```\n")
        names: dict[str, Any] = {}
        exec(compile(code, "bring-a-file.md", "exec"), names)
        (feed,) = (one for one in names.values() if isinstance(one, Feed))
        lines = re.search(r"(?ms)(?:^`([^`\n]+)`:\n\n)?^```text\n(.*?)^```$", rest)
        assert lines, f"{feed.name} shows no lines of a file"
        table = re.search(r"(?m)((?:^\|.*\|\n)+)", rest[lines.end() :])
        assert table, f"{feed.name} shows no rows"
        header, _, *rows = [cells(line) for line in table[1].splitlines()]
        assert header == [column.name for column in feed.columns]
        yield Example(feed, lines[1] or f"{DAY}.{feed.extension}", lines[2], rows)


def cells(line: str) -> list[str]:
    return [one.strip() for one in line.strip().strip("|").split("|")]


def value(text: str) -> Any:
    """A cell of a sheet or a record, as people mean it."""
    for read in (int, float, date.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    return text or None


def written(example: Example) -> bytes:
    """The file that the page shows."""
    import fastavro
    from pyarrow import Table, orc, parquet

    feed, made = example.feed, io.BytesIO()
    if feed.format is Format.PDF:
        return pdf(*example.lines.splitlines())
    if feed.format not in (Format.XLSX, Format.PARQUET, Format.ORC, Format.AVRO):
        content = example.lines.encode(feed.dialect.encoding)
        return gzip.compress(content) if feed.compression is Compression.GZIP else content
    names, *rows = [[value(one.strip()) for one in line.split("|")] for line in example.lines.splitlines()]
    if feed.format is Format.XLSX:
        return sheet([["nothing"]], "First", **{feed.within: [names, *rows]})
    records = [dict(zip(names, row, strict=True)) for row in rows]
    if feed.format is Format.AVRO:
        types: list[Any] = ["long", {"type": "int", "logicalType": "date"}, "double"]
        fields = [{"name": name, "type": ["null", type_]} for name, type_ in zip(names, types, strict=True)]
        fastavro.writer(made, {"type": "record", "name": "row", "fields": fields}, records)
    else:
        {Format.PARQUET: parquet.write_table, Format.ORC: orc.write_table}[feed.format](
            Table.from_pylist(records), made
        )
    return made.getvalue()


def said(one: Any) -> str:
    """A published value, as the page has it."""
    if one is None:
        return ""
    if isinstance(one, bytes):
        return one.hex()
    if isinstance(one, list | dict):
        return json.dumps(one, default=str)
    return one.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(one, datetime) else str(one)


EXAMPLES = {example.feed.name: example for example in examples()}
RIDES = EXAMPLES["rides"]
EXAMPLES |= {
    f"rides, {kind}": replace(RIDES, feed=replace(RIDES.feed, format=kind), name=f"{DAY}.{kind}")
    for kind in (Format.ORC, Format.AVRO)
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_publishes_what_the_page_says(name: str, home: Path) -> None:
    example = EXAMPLES[name]
    feed = example.feed
    path = UPath(home / "landing" / "toys" / feed.name / example.name)
    path.parent.mkdir(parents=True)
    path.write_bytes(written(example))
    file = landing.look_through(path, feed)
    assert naming.fits(feed.pattern, example.name, DAY)
    found = verdicts.together(pl.concat(list(kernel.looked_at(feed, {path: (DAY, file["columns"])}))), feed)
    assert found["_reason"].drop_nulls().to_list() == []
    rows = found.filter(~pl.col("_copy")).select(column.name for column in feed.columns).rows()
    assert sorted([said(one) for one in row] for row in rows) == sorted(example.rows)


def test_the_page_has_an_example_of_each_format_and_names_all_that_a_feed_can_say() -> None:
    assert {example.feed.format for example in EXAMPLES.values()} == set(Format)
    for one in (*Compression, *Finished):
        assert one in (Compression.NONE, Finished.LINE_END) or f"`{one.name}`" in PAGE
    for word in ("may_be_empty=True", "nulls", "decimal", "pattern", "wide"):
        assert word in PAGE
