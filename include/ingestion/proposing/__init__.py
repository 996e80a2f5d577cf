"""What a file looks like, as a spec that can be pasted. A proposal that a person reads, and never a guess at night.

``lines`` finds how a table is written, ``columns`` what is in it, ``text`` writes it down; ``propose`` is all of it.
Several ways to read a file are tried by the code that reads it every night, and the one that explains most is proposed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import chain

import polars as pl
from upath import UPath

from include.contracts.dialect import RFC_4180, Dialect, written_changes
from include.contracts.source import Column, Compression, Feed, Finished, Format
from include.core.errors import NeedsAttentionError
from include.ingestion import counting, kernel, looks, verdicts
from include.ingestion.files import UnreadableFileError, unpacked
from include.ingestion.proposing import columns, documents, fixed, lines
from include.ingestion.reading import python

SAMPLE = 1 << 20  # bytes that are looked at
SHOWN = 5  # odd rows that are shown


@dataclass
class Proposal:
    """A feed for a file, what is only assumed of it, and what became of the file's rows with it."""

    feed: Feed
    notes: list[str] = field(default_factory=list)
    rows: int = 0
    sound: int = 0
    odd: list[tuple[int | None, str, str]] = field(default_factory=list)  # line, reason, text


class UnknownFileError(NeedsAttentionError, ValueError):
    """Nobody can say what is in the file."""


def propose(path: UPath, name: str = "") -> Proposal:
    """A feed for the file at ``path``, called ``name``, tried on all of the file.

    Raises UnknownFileError where nothing explains it, and UnreadableFileError where it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(looks.HEAD)
    if not head:
        raise UnknownFileError(f"{path}: the file is empty")
    name = name or _name(path)
    compression, kind = looks.compression_of(head), looks.format_of(head)
    if kind is Format.XLSX or (compression is Compression.ZIP and path.suffix == ".xlsx"):
        return _tried(path, _of_excel(path, name))
    if kind is Format.AVRO:
        return _tried(path, Proposal(*documents.of_avro(path, name)))
    if kind in (Format.PARQUET, Format.ORC):
        return _tried(path, Proposal(*documents.of_arrow(path, name, kind)))
    if compression and path.suffix != f".{compression}":
        raise UnknownFileError(
            f"{path}: it is packed as {compression.name.lower()}: name it with .{compression} at its end"
        )
    with unpacked(path) as packed:
        sample = packed.read(SAMPLE)
    kind = looks.format_of(sample)
    if kind in (Format.PARQUET, Format.ORC, Format.AVRO, Format.XLSX):
        raise UnknownFileError(f"{path}: what is packed in it is {kind.name}, which packs itself: unpack it")
    if kind is Format.XML or (kind is Format.JSON and not lines.are_objects(sample)):
        return _of_document(path, sample, kind, name, compression)
    return _of_text(path, sample, name, compression)


def _of_document(path: UPath, sample: bytes, kind: Format, name: str, compression: Compression) -> Proposal:
    try:
        feed, notes = documents.of_json(sample, name) if kind is Format.JSON else documents.of_xml(sample, name)
    except documents.NoRowsError as error:
        raise UnknownFileError(f"{path}: {error}") from None
    return _tried(path, Proposal(replace(feed, compression=compression), notes))


def _of_text(path: UPath, sample: bytes, name: str, compression: Compression) -> Proposal:
    """Of lines: the way to read them that explains most of the file."""
    is_whole = len(sample) < SAMPLE
    encoding, notes = lines.encoding_of(sample)
    text = lines.decoded(sample, encoding, is_whole)
    if text.lstrip("\ufeff \r\n\t").startswith("{"):
        return _tried(path, _of_json(text, name, encoding, compression, notes))
    if log := lines.log_of(text):
        return _tried(path, _of_log(text, log, name, encoding, compression, notes))
    of_places = fixed.feed_of(text, encoding, name)
    ways = chain(
        [of_places] if of_places else [], (columns.feed_of(one, name) for one in lines.tables(text, encoding, is_whole))
    )
    best: Proposal | None = None
    for feed, more in ways:
        feed = replace(feed, compression=compression)
        if is_whole and not text.endswith(lines.ends_of(feed.dialect)):
            feed = replace(feed, finished=Finished.RENAMED)
            more = [*more, "its last line has no end: is it whole? A file that is comes by its name, or is marked"]
        try:
            found = _tried(path, Proposal(feed, [*notes, *more]))
        except UnreadableFileError as error:
            found = Proposal(feed, [str(error)])
        if best is None or _worth(found) > _worth(best):
            best = found
        if found.rows and found.sound == found.rows and not of_places:
            break  # they come in the order of how much they explain
    if best is None or not best.rows:
        why = f": {best.notes[0]}" if best and best.notes else ""
        raise UnknownFileError(f"{path}: no table is found in it{why}")
    return best


def _worth(found: Proposal) -> tuple[float, int, int, int]:
    """More rows that are sound, of more columns with a type."""
    typed = sum(column.type != "string" for column in found.feed.columns)
    share = found.sound / found.rows if found.rows else 0.0
    return round(share, 1), typed, found.sound, len(found.feed.columns)


def _name(path: UPath) -> str:
    word = re.sub(r"[^a-z0-9]+", "_", path.name.partition(".")[0].lower()).strip("_")
    return re.sub("^([0-9])", r"feed_\1", word) or "feed"


def _tried(path: UPath, found: Proposal) -> Proposal:
    """``found`` with what becomes of the rows of the file at ``path``."""
    if not found.feed.columns:
        raise UnknownFileError(f"{path}: nothing in it is a column: {'; '.join(found.notes)}")
    rows, there = counting.count(path, found.feed)
    judged = verdicts.together(
        pl.concat(list(kernel.looked_at(found.feed, {path: (columns.day_of(path), there)}))), found.feed
    )
    broken = judged.filter(pl.col("_reason").is_not_null())
    shown = broken.head(SHOWN)
    numbers = counting.line_numbers(path, found.feed, set(shown["_raw"].drop_nulls()))
    found.odd = [(numbers.get(raw), reason, raw) for reason, raw in shown.select("_reason", "_raw").iter_rows()]
    found.rows, found.sound = rows, rows - broken.height
    if not path.name.endswith(f".{found.feed.extension}"):
        found.notes.append(f"name its files .{found.feed.extension}: a night looks for such alone")
    return found


def _of_json(text: str, name: str, encoding: str, compression: Compression, notes: list[str]) -> Proposal:
    rows = lines.objects(text)
    feed, more = columns.of_values(rows, name, Format.JSONL)
    dialect = replace(feed.dialect, encoding=encoding)
    return Proposal(replace(feed, dialect=dialect, compression=compression), [*notes, *more])


def _of_log(text: str, pattern: str, name: str, encoding: str, compression: Compression, notes: list[str]) -> Proposal:
    rows, groups = lines.matches(text, pattern)
    table = lines.Table(
        replace(RFC_4180, encoding=encoding, quote="", escape="", delimiter="\x1f"), groups, rows, notes
    )
    feed, more = columns.feed_of(table, name)
    dialect = Dialect(encoding=encoding, pattern=pattern, nulls=("", "-"))
    return Proposal(replace(feed, format=Format.LOG, dialect=dialect, compression=compression), more)


def _of_excel(path: UPath, name: str) -> Proposal:
    """Of the first sheet with two columns or more: where its table begins, and what is in it."""
    from python_calamine import CalamineWorkbook

    with path.open("rb") as file:
        book = CalamineWorkbook.from_filelike(file)
        for sheet in book.sheet_names:
            found = book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
            rows = [[python.text(cell) for cell in row] for row in found[: lines.MOST_ROWS]]
            if table := lines.table_of_cells(rows):
                within = "" if sheet == book.sheet_names[0] else sheet
                feed, notes = columns.feed_of(table, name)
                return Proposal(replace(feed, format=Format.XLSX, within=within), notes)
    raise UnknownFileError(f"{path}: no sheet of it has a table")


def as_text(found: Proposal) -> str:
    """``found`` as the Python of a spec."""
    feed = found.feed
    given = [f'    name="{feed.name}",', '    description="…",', "    columns=("]
    given += [f"        {_column(column)}," for column in feed.columns]
    given += ["    ),", f"    key={feed.key!r},"]
    if feed.day_column:
        given.append(f'    day_column="{feed.day_column}",')
    if feed.format is not Format.CSV:
        given.append(f"    format=Format.{feed.format.name},")
    if feed.within:
        given.append(f'    within="{feed.within}",')
    if feed.compression:
        given.append(f"    compression=Compression.{feed.compression.name},")
    if feed.finished is not Finished.LINE_END:
        given.append(f"    finished=Finished.{feed.finished.name},")
    if said := written_changes(feed.dialect):
        given.append(f"    dialect=Dialect({', '.join(said)}),")
    return "\n".join([f"{feed.name.upper()} = Feed(", *given, ")"])


def _column(column: Column) -> str:
    given = [f'"{column.name}"', f'"{column.type}"', '"…"', *written_changes(column)]
    return f"Column({', '.join(given)})"
