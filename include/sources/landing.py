"""What has landed: finding the files of a night, and refusing those that cannot be read."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import IO, TYPE_CHECKING, Any, TypedDict, cast

from include.errors import NeedsAttentionError
from include.partitions import Partitions
from include.settings import settings
from include.sources.spec import Feed, Format, Mode, Source

if TYPE_CHECKING:
    from upath import UPath

log = logging.getLogger(__name__)


class File(TypedDict):
    """What a file holds: its rows, and its columns in their order where it has more of them than its feed promises.

    ``sha256`` is of its bytes as they are, before anything is unpacked.
    """

    rows: int
    columns: list[str]
    sha256: str


# The files by feed and day, days in ISO format: plain data, since it travels between tasks.
Plan = dict[str, dict[str, File]]

LONGEST_LINE = 1 << 20  # bytes
PIECE = 1 << 20  # bytes that are read at once
MOST_ADDED = 20  # columns: with more than that it is another feed's file
MOST_NAMED = 5  # columns that a message lists before it only counts them
# How a column of each type may be written in Parquet: what Spark reads as that type without a loss.
_INT = {"INT32", "INT32 Int 8", "INT32 Int 16", "INT32 Int 32"}
PARQUET_TYPES = {
    "string": {"BYTE_ARRAY String"},
    "int": _INT,
    "bigint": _INT | {"INT64", "INT64 Int 64"},
    "double": {"FLOAT", "DOUBLE"},
    "boolean": {"BOOLEAN"},
    "date": {"INT32 Date"},
    "timestamp": {"INT64 Timestamp milliseconds", "INT64 Timestamp microseconds", "INT96"},
}
# What Spark trims before it decides that a line is blank.
BLANK = "".join(map(chr, range(ord(" ") + 1)))
BLANK_LINE = re.compile(rb"\n[\x01-\x09\x0b-\x20]*\n")


class UnreadableFileError(NeedsAttentionError):
    """A landing file is damaged or not what its feed promises. Names the file and what is wrong with it."""


class ChangedFileError(NeedsAttentionError):
    """A landing file was replaced between being looked through and being loaded. Nothing was published."""


class MissingFileError(NeedsAttentionError):
    """Some of a night's files have landed and others have not. Names those that are missing."""


def path_of(source: Source, feed: Feed, day: date) -> UPath:
    return settings().landing / source.name / feed.name / f"{day}.{feed.extension}"


def landed(source: Source, nights: Partitions) -> dict[str, list[date]]:
    """The days of each feed whose files belong to ``nights`` and are there.

    A night with no file at all is left out. Raises MissingFileError where a night has some of its files: the others
    may still be on their way, and half a night must not look like a whole one.
    """
    nightly = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT]
    snapshots = [feed for feed in source.feeds if feed.mode is Mode.SNAPSHOT]
    there: dict[str, list[date]] = {feed.name: [] for feed in source.feeds}
    missing: list[UPath] = []
    for night in nights.days:
        paths = {feed.name: path_of(source, feed, feed.due(night)) for feed in nightly}
        absent = [path for path in paths.values() if not path.exists()]
        if len(absent) == len(nightly):
            continue
        missing += absent
        for feed in nightly:
            there[feed.name].append(feed.due(night))
        for feed in snapshots:
            if path_of(source, feed, feed.due(night)).exists():
                there[feed.name].append(feed.due(night))
    if missing:
        raise MissingFileError(
            f"{source.name} {nights}: some files have landed and these have not: {', '.join(map(str, missing))}. "
            "Put them there and clear this task; nothing was ingested."
        )
    return {name: days for name, days in there.items() if days}


def awaited(source: Source, nights: Partitions, now: datetime) -> list[UPath]:
    """The files of ``nights`` that are not there and may still come: whose upstream has hours left to bring them."""
    brought = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT and not feed.connector]

    def is_over(night: date) -> bool:
        ended = datetime.combine(night + timedelta(1), time(), UTC)
        return now >= ended + timedelta(hours=source.freshness_hours)

    paths = [path_of(source, feed, feed.due(night)) for night in nights.days if not is_over(night) for feed in brought]
    return [path for path in paths if not path.exists()]


def plan(source: Source, nights: Partitions) -> Plan:
    """The files of ``nights`` with what each holds, each looked through first. Empty where nothing has landed.

    Raises MissingFileError, or UnreadableFileError for the first damaged file. Says which files nobody will read, and
    which columns of the others.
    """
    for path in strangers(source):
        log.warning("ignored, since a file is named by its day, as 2013-06-01.csv: %s", path)
    found: Plan = {}
    for name, days in landed(source, nights).items():
        feed = source.feed(name)
        found[name] = {str(day): look_through(path_of(source, feed, day), feed) for day in days}
        for day, file in found[name].items():
            for column in added(file, feed):
                log.warning(
                    "%s %s: column %r is new. The file is published without it; name it in the spec to have it too",
                    name,
                    day,
                    column,
                )
    return found


def added(file: File, feed: Feed) -> list[str]:
    """The columns of ``file`` that its feed does not name."""
    promised = {column.name for column in feed.columns}
    return [name for name in file["columns"] if name not in promised]


def look_through(path: UPath, feed: Feed) -> File:
    """What the file at ``path`` holds, a file of ``feed``.

    Raises UnreadableFileError where the file is damaged, is not what the contract says, or has no rows: only of changes
    there may be none. A column more than promised is no breach, unless there are many. What is accepted here, Spark
    splits into the same rows (``spark_jobs/ingest.py``).
    """
    rows, columns = READERS[feed.format](path, feed)
    if not rows and feed.mode is not Mode.UPSERT:
        header = "a header and " if feed.format is Format.CSV else ""
        raise UnreadableFileError(f"{path}: {header}no rows. A day without anything has no file")
    more = columns if len(columns) > len(feed.columns) else []
    return {"rows": rows, "columns": more, "sha256": sha256(path)}


def sha256(path: UPath) -> str:
    """Of the bytes of the file at ``path``. Raises FileNotFoundError."""
    with path.open("rb") as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def check_unchanged(source: Source, feed: Feed, files: Mapping[str, File]) -> None:
    """Raise ChangedFileError unless ``files``, by day, are what they were when they were looked through."""
    paths = {day: path_of(source, feed, date.fromisoformat(day)) for day in files}
    changed = [path for day, path in paths.items() if not path.exists() or sha256(path) != files[day]["sha256"]]
    if changed:
        raise ChangedFileError(
            f"replaced while they were being read: {', '.join(map(str, changed))}. Clear the run from its first task."
        )


def count_rows(path: UPath, feed: Feed) -> int:
    """The rows of the file at ``path``. Raises UnreadableFileError, as ``look_through`` does."""
    return look_through(path, feed)["rows"]


def line_numbers(path: UPath, feed: Feed, raws: Collection[str]) -> dict[str, int]:
    """The line of ``path`` in which each of ``raws`` is, as the quarantine has them. Without those that are not found.

    Numbered from 1, as editors do, the header included. Of equal lines the first. Parquet has none.
    """
    if feed.format is Format.PARQUET:
        return {}
    found: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        values = [line] if feed.format is Format.JSONL else [line, ",".join(next(csv.reader([line]), []))]
        for raw in values:
            if raw in raws:
                found.setdefault(raw, number)
    return found


def _read_csv(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line but the header and blank ones is a row."""
    lines = _lines(path)
    header, promised = next(lines, ""), [column.name for column in feed.columns]
    found = next(csv.reader([header]), [])
    new = [name for name in found if name not in promised]
    twice = len(set(found)) < len(found)
    if [name for name in found if name in promised] != promised or twice or _too_strange(new):
        raise UnreadableFileError(f"{path}: {_header_problem(header, found, promised)}")
    rows = _plain_rows(path)
    return (sum(1 for line in lines if line.strip(BLANK)) if rows is None else rows), found


def _plain_rows(path: UPath) -> int | None:
    """The rows of a CSV file in which all is well, counted in pieces: seven times as fast as line by line.

    None where anything asks for a closer look, be it a blank line: ``_lines`` then says what and where.
    """
    ends, rest = 0, b""
    try:
        with _open(path) as file:
            while piece := file.read(LONGEST_LINE):
                # Whole lines, so that neither a character nor the end of a line is torn. Only the first of them may
                # be longer than a piece.
                head, end, rest = (rest + piece).rpartition(b"\n")
                block = head + end
                if len(rest) > LONGEST_LINE or block.find(b"\n") >= LONGEST_LINE or b"\0" in block:
                    return None
                if block.count(b"\r") != block.count(b"\r\n") or BLANK_LINE.search(b"\n" + block):
                    return None
                block.decode()
                ends += block.count(b"\n")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError):
        return None
    return None if rest or not ends else ends - 1


def _too_strange(new: Sequence[str]) -> bool:
    """Whether columns that nobody promised are no mere addition."""
    return len(new) > MOST_ADDED or not all(name.strip() for name in new)


def _read_jsonl(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line but blank ones is a row, each an object.

    A key may be absent where its value is null, as many upstreams write it. One that no row has is gone.
    """
    promised = [column.name for column in feed.columns]
    rows, never, new = 0, set(promised), set[str]()
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip(BLANK):
            continue
        rows += 1
        keys = _keys(path, line, number)
        new |= keys - set(promised)
        if _too_strange(sorted(new)):
            raise UnreadableFileError(f"{path}: line {number} breaks the contract: {_named([], sorted(new))}")
        never -= keys
    if rows and never:
        gone = [name for name in promised if name in never]
        # One that is gone may be there under a new name.
        beside = f", {_named([], sorted(new))}" if new else ""
        raise UnreadableFileError(f"{path}: the rows break the contract: {_named(gone, [])} in every row{beside}")
    return rows, [*promised, *sorted(new)]


def _keys(path: UPath, line: str, number: int) -> set[str]:
    """The keys of the object in ``line``. Spark reads no further than the object's end, so that this has to."""
    try:
        found = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{path}: line {number} is not JSON ({error}): {line[:80]!r}") from None
    if not isinstance(found, dict):
        raise UnreadableFileError(f"{path}: line {number} is no JSON object: {line[:80]!r}")
    return set(found)


def is_row(line: str) -> bool:
    """Whether ``line`` could be one of a file of JSON lines, and would not have the whole file refused."""
    if any(one in line for one in "\0\r\n") or len(line.encode()) >= LONGEST_LINE:
        return False
    try:
        return isinstance(_DECODER.decode(line), dict)
    except (ValueError, RecursionError):
        return False


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no value")


# Strict: Python's own would take NaN and the last one of two keys. Numbers stay text, nobody looks at them here.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_no_constant, strict=True
)


def _read_parquet(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """What the footer says, which is read alone. Spark checks the pages when it reads them."""
    import pyarrow
    import pyarrow.parquet

    if not path.stat().st_size:
        raise UnreadableFileError(f"{path}: the file is empty")
    try:
        with path.open("rb") as file:
            footer = pyarrow.parquet.read_metadata(file)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise UnreadableFileError(f"{path}: no Parquet, or cut off: {first}") from None
    leaves = [footer.schema.column(n) for n in range(footer.num_columns)]
    found = {leaf.path.partition(".")[0]: "nested" if "." in leaf.path else _written(leaf) for leaf in leaves}
    promised = {column.name: column.type for column in feed.columns}
    new = [name for name in found if name not in promised]
    gone = [name for name in promised if name not in found]
    # A column that is gone may be there under a new name, so that both are named.
    problems = [_named(gone, new if gone or _too_strange(new) else [])]
    problems += [
        f"column {name} is {found[name]}, which is no {type_}"
        for name, type_ in promised.items()
        if name in found and found[name] not in PARQUET_TYPES[type_]
    ]
    if any(problems):
        raise UnreadableFileError(f"{path}: the columns break the contract: {', '.join(filter(None, problems))}")
    return footer.num_rows, list(found)


def _written(leaf: Any) -> str:
    """How Parquet writes a column: its physical type, and what the file says it means."""
    meaning = json.loads(leaf.logical_type.to_json())
    sign = "" if meaning.get("isSigned", True) else "unsigned"
    name = "" if meaning["Type"] == "None" else meaning["Type"]
    parts = [leaf.physical_type, sign, name, str(meaning.get("bitWidth", "")), meaning.get("timeUnit", "")]
    return " ".join(filter(None, parts))


def _header_problem(header: str, found: list[str], promised: list[str]) -> str:
    for separator in ";\t|":
        if header.split(separator) == promised != found:
            return f"the columns are separated by {separator!r} and not by commas"
    gone = [name for name in promised if name not in found]
    new = [name for name in found if name not in promised]
    if gone or _too_strange(new):
        return f"the header breaks the contract: {_named(gone, new)}"
    if len(set(found)) < len(found):
        return "the header breaks the contract: a column is there twice"
    return f"the header breaks the contract: the columns are {found}, in another order than {promised}"


def _named(gone: list[str], new: list[str]) -> str:
    """Which columns are missing and which are unknown, in words; of many the first few. Empty where none are."""
    words = [f"column {name} is missing" for name in gone[:MOST_NAMED]]
    words += [f"column {name[:80]!r} is unknown" for name in new[:MOST_NAMED]]
    more = len(gone) + len(new) - len(words)
    return ", ".join([*words, *([f"and {more} more"] if more else [])])


@contextmanager
def _open(path: UPath) -> Iterator[IO[bytes]]:
    """The bytes of ``path``, as they were before they were zipped."""
    with path.open("rb") as file:
        # A file of S3 cannot read a line of limited length by itself.
        raw = cast(io.RawIOBase, file)
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else io.BufferedReader(raw, PIECE)


def _lines(path: UPath) -> Iterator[str]:
    """The lines of ``path`` without their ends, one at a time, so that memory does not grow with the file."""
    line, number = b"", 0
    try:
        with _open(path) as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                yield _text(path, line, number)
    except EOFError:
        raise UnreadableFileError(f"{path}: truncated, the gzip stream ends after line {number}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableFileError(f"{path}: a damaged gzip stream after line {number}: {error}") from None
    if not number:
        raise UnreadableFileError(f"{path}: the file is empty")


def _text(path: UPath, line: bytes, number: int) -> str:
    if number == 1:
        if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableFileError(f"{path}: UTF-16. Write it as UTF-8")
        line = line.removeprefix(codecs.BOM_UTF8)
    if (at := line.find(b"\0")) >= 0:
        raise UnreadableFileError(f"{path}: not text, there is a zero byte in line {number}, byte {at + 1}")
    if len(line) > LONGEST_LINE:
        raise UnreadableFileError(f"{path}: line {number} is longer than {LONGEST_LINE >> 20} MiB: {line[:40]!r}...")
    whole, line = line.endswith(b"\n"), line.removesuffix(b"\n").removesuffix(b"\r")
    if b"\r" in line:
        # Spark ends a line here, and others do not: nobody could say how many rows the file has.
        raise UnreadableFileError(f"{path}: line {number} has a carriage return within: {line[:80]!r}")
    if not whole:
        raise UnreadableFileError(
            f"{path}: half-written, the last line has no end: {line[-80:]!r}. Replace the file and clear this task."
        )
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{path}: not UTF-8 ({error.reason}) in line {number}: {line[:80]!r}") from None


READERS: dict[Format, Callable[[UPath, Feed], tuple[int, list[str]]]] = {
    Format.CSV: _read_csv,
    Format.JSONL: _read_jsonl,
    Format.PARQUET: _read_parquet,
}


def strangers(source: Source) -> list[UPath]:
    """The files in the landing folders of ``source`` that no night will ever read, for want of a day as their name."""

    def is_day(path: UPath, feed: Feed) -> bool:
        day = path.name.removesuffix(f".{feed.extension}")
        try:
            return path_of(source, feed, date.fromisoformat(day)) == path
        except ValueError:
            return False

    folders = [(path_of(source, feed, source.first_day).parent, feed) for feed in source.feeds]
    return sorted(
        path
        for folder, feed in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if not path.name.startswith(".") and not is_day(path, feed)  # a hidden one may still be on its way
    )
