"""What has landed: finding the files of a night, and refusing those that cannot be read."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import json
import logging
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

from include.errors import NeedsAttentionError
from include.partitions import Partitions
from include.settings import settings
from include.sources.files import UnreadableFileError as UnreadableFileError
from include.sources.files import check_folder, exists, opened, stamp, unpacked
from include.sources.spec import Feed, Format, Mode, Source

if TYPE_CHECKING:
    from upath import UPath

log = logging.getLogger(__name__)


class File(TypedDict):
    """What a file holds: its rows, and its columns in their order where they are not those that its feed promises.

    Of Parquet, where the order says nothing, those with a value in any row, the promised ones first.

    ``sha256`` is of its bytes as they are, before anything is unpacked.
    """

    rows: int
    columns: list[str]
    sha256: str


# The files by feed and day, days in ISO format: plain data, since it travels between tasks.
Plan = dict[str, dict[str, File]]

LONGEST_LINE = 1 << 20  # bytes
ALIVE_DAYS = 14  # a source that has brought nothing for so long is not waited for
MOST_ADDED = 20  # columns: with more than that it is another feed's file
LONGEST_NAME = 200  # letters of an added column's name: with more it is a row, or what a quote has swallowed
MOST_NAMED = 5  # columns that a message lists before it only counts them
# How a column of each type may be written in Parquet: what is read as that type without a loss.
_INT = {"INT32", "INT32 Int 8", "INT32 Int 16", "INT32 Int 32"}
PARQUET_TYPES = {
    # Impala and old writers do not say that bytes are a text: whether they are is looked at in each row.
    "string": {"BYTE_ARRAY String", "BYTE_ARRAY Enum", "BYTE_ARRAY JSON", "BYTE_ARRAY"},
    "int": _INT,
    "bigint": _INT | {"INT64", "INT64 Int 64"},
    "double": {"FLOAT", "DOUBLE"},
    "boolean": {"BOOLEAN"},
    "date": {"INT32 Date"},
    "timestamp": {"INT64 Timestamp milliseconds", "INT64 Timestamp microseconds", "INT96"},
}
PARQUET_CODECS = {"UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"}  # that Arrow brings along
# What a line that is no row is made of.
BLANK = "".join(map(chr, range(ord(" ") + 1)))
# A column of a CSV line, by RFC 4180, as ``readers`` has it: a quote within quotes is doubled.
_INSIDE = '[^"]*+(?:""[^"]*+)*+'
_FIELD = rf'"{_INSIDE}"|[^",]*+'
CSV_LINE = re.compile(rf"(?:{_FIELD})(?:,(?:{_FIELD}))*+")
CSV_FIELD = re.compile(rf"({_FIELD}),")
# A line whose last column opens a quote that it does not close; one within such a quote; the end of such a quote.
OPENS = re.compile(rf'(?:(?:"{_INSIDE}"|[^",][^,]*+|),)*+"{_INSIDE}')
WITHIN = re.compile(_INSIDE)
CLOSES = re.compile(rf'{_INSIDE}"(?=,|\Z)')
# The same in bytes of many lines: a column whose quotes are as they should be.
QUOTED = re.compile(rb'(?<=[,\n])"[^"\n]*+(?:""[^"\n]*+)*+"(?=[,\r\n])')
BLANK_LINE = re.compile(rb"\n[\x01-\x09\x0b-\x20]*\n")


class ChangedFileError(NeedsAttentionError):
    """A landing file was replaced between being looked through and being loaded. Nothing was published."""


class MissingFileError(NeedsAttentionError):
    """Some of a night's files have landed and others have not. Names those that are missing."""


def path_of(source: Source, feed: Feed, day: date) -> UPath:
    return settings().landing / source.name / feed.name / f"{day}.{feed.extension}"


def landed(source: Source, nights: Partitions) -> dict[str, list[date]]:
    """The days of each feed whose files belong to ``nights`` and are there.

    A night with no file at all is left out; one may bring snapshots alone, as a weekend does of a source whose other
    feeds know business days only. Of a day that the upstream never had (``gaps``) no file is missed. Raises
    MissingFileError where a night has some of its nightly files: the others may still be on their way, and half a night
    must not look like a whole one.
    """
    nightly = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT]
    snapshots = [feed for feed in source.feeds if feed.mode is Mode.SNAPSHOT]
    there: dict[str, list[date]] = {feed.name: [] for feed in source.feeds}
    missing: list[UPath] = []
    for night in nights.days:
        paths = {feed.name: path_of(source, feed, feed.due(night)) for feed in nightly}
        brought = [feed for feed in nightly if exists(paths[feed.name])]
        if brought:
            owed = [feed for feed in nightly if feed not in brought and feed.due(night) not in source.gaps]
            missing += [paths[feed.name] for feed in owed]
            for feed in brought:
                there[feed.name].append(feed.due(night))
        for feed in snapshots:
            if exists(path_of(source, feed, feed.due(night))):
                there[feed.name].append(feed.due(night))
    if missing:
        raise MissingFileError(
            f"{source.name} {nights}: some files have landed and these have not: {', '.join(map(str, missing))}. "
            "Put them there and clear this task; nothing was ingested."
        )
    return {name: days for name, days in there.items() if days}


def awaited(source: Source, nights: Partitions, now: datetime) -> list[UPath]:
    """The files of ``nights`` that are not there and may still come: whose upstream has hours left to bring them.

    None of a source that is not alive: of which nothing has landed in the ``ALIVE_DAYS`` before. It may be history that
    is replayed, or one that nobody feeds yet, and there is nothing to wait for.
    """
    brought = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT and not feed.connector]
    open_nights = [night for night in nights.days if now < source.ends(night) + timedelta(hours=source.freshness_hours)]
    due = [(feed, feed.due(night)) for night in open_nights for feed in brought]
    paths = [path_of(source, feed, day) for feed, day in due if day not in source.gaps]
    missing = [path for path in paths if not exists(path)]
    before = [nights.first - timedelta(n) for n in range(1, ALIVE_DAYS + 1)]
    is_alive = len(missing) < len(paths) or any(
        exists(path_of(source, feed, feed.due(night))) for night in before for feed in brought
    )
    return missing if is_alive else []


def landed_days(source: Source) -> list[date]:
    """The nights of which a nightly file that tells its night is there, in order: one listing a feed."""
    found: set[date] = set()
    for feed in source.feeds:
        folder = settings().landing / source.name / feed.name
        # A feed that leads lands a day's file in the night before; only one that does not tells the night itself.
        if feed.mode is Mode.SNAPSHOT or feed.lead_days or not folder.exists():
            continue
        for path in folder.iterdir():
            with suppress(ValueError):
                found.add(date.fromisoformat(path.name.removesuffix(f".{feed.extension}")))
    return sorted(found)


def plan(source: Source, nights: Partitions) -> Plan:
    """The files of ``nights`` with what each holds, each looked through first. Empty where nothing has landed.

    Raises MissingFileError, or UnreadableFileError for the first damaged file. Says which files nobody will read, and
    which columns of the others.
    """
    for feed in source.feeds:
        check_folder(path_of(source, feed, source.first_day))
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
    there may be none. A column more than promised is no breach, unless there are many. What is accepted here,
    ``readers`` splits into the same rows.
    """
    rows, columns = READERS[feed.format](path, feed)
    if not rows and feed.mode is not Mode.UPSERT:
        header = "a header and " if feed.format is Format.CSV else ""
        raise UnreadableFileError(f"{path}: {header}no rows. A day without anything has no file")
    other = columns if columns != [column.name for column in feed.columns] else []
    return {"rows": rows, "columns": other, "sha256": sha256(path)}


def sha256(path: UPath) -> str:
    """Of the bytes of the file at ``path``. Raises FileNotFoundError, and UnreadableFileError where it is no file."""
    with opened(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def stamps(source: Source, feed: Feed, files: Mapping[str, File]) -> dict[str, tuple[int, ...]]:
    """For ``check_unchanged``: what shows that a file of ``files`` was away for a while. Raises UnreadableFileError."""
    return {day: stamp(path_of(source, feed, date.fromisoformat(day))) for day in files}


def check_unchanged(
    source: Source, feed: Feed, files: Mapping[str, File], before: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Raise ChangedFileError unless ``files``, by day, are what they were when they were looked through.

    With ``before``, what ``stamps`` said earlier, also unless they were there all the time since: a file is opened by
    its name, which may have meant another one then.
    """
    changed = []
    for day, file in files.items():
        path = path_of(source, feed, date.fromisoformat(day))
        try:
            same = sha256(path) == file["sha256"] and (before is None or stamp(path) == before[day])
        except (FileNotFoundError, UnreadableFileError):
            same = False
        if not same:
            changed.append(path)
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
    with suppress(UnreadableFileError):  # by now it is another file; the lines are an aid, and nothing waits for them
        for number, line in enumerate(_lines(path), start=1):
            if line in raws:
                found.setdefault(line, number)
    return found


def _read_csv(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line but the header and blank ones is a row. Those of a text over several lines are broken ones."""
    lines = _lines(path)
    header, promised = next(lines, ""), [column.name for column in feed.columns]
    found = values_of(header)
    new = [name for name in found if name not in promised]
    twice = len(set(found)) < len(found)
    if [name for name in found if name in promised] != promised or twice or _too_strange(new):
        raise UnreadableFileError(f"{path}: {_header_problem(header, found, promised)}")
    rows = _plain_rows(path)
    return _count_lines(path, lines, len(found)) if rows is None else rows, found


def values_of(line: str) -> list[str]:
    """The columns of a CSV line; none where its quotes are not as RFC 4180 has them."""
    if '"' not in line:
        return line.split(",")
    if not CSV_LINE.fullmatch(line):
        return []
    fields = CSV_FIELD.findall(f"{line},")
    return [field[1:-1].replace('""', '"') if field.startswith('"') else field for field in fields]


def _count_lines(path: UPath, lines: Iterator[str], columns: int) -> int:
    """The rows of ``lines``, which follow the header.

    A text over several lines is several broken rows, unless one of them reads as a row by itself: whether it is one
    nobody can say, since the quote before it may also have been forgotten. Raises UnreadableFileError for such a file.
    """
    rows = opened = rowlike = 0  # the lines where a text began, and where within it there is what could be a row
    for number, line in enumerate(lines, start=2):
        is_blank = not line.strip(BLANK)
        rows += not is_blank
        if opened:
            if not rowlike and not is_blank and len(values_of(line)) == columns:
                rowlike = number
            if end := CLOSES.match(line):
                if rowlike:
                    raise UnreadableFileError(
                        f"{path}: line {rowlike} may be a row, or within the quotes that line {opened} opens and line "
                        f"{number} closes. Write a text on one line, or close its quote there"
                    )
                line = line[end.end() :]
            elif WITHIN.fullmatch(line):
                continue
            opened = rowlike = 0
        if '"' in line and OPENS.fullmatch(line):
            opened = number
    return rows


def _plain_rows(path: UPath) -> int | None:
    """The rows of a CSV file in which all is well, counted in pieces: seven times as fast as line by line.

    None where anything asks for a closer look, be it a blank line: ``_lines`` then says what and where.
    """
    ends, rest = 0, b""
    try:
        with unpacked(path) as file:
            while piece := file.read(LONGEST_LINE):
                # Whole lines, so that neither a character nor the end of a line is torn. Only the first of them may
                # be longer than a piece.
                head, end, rest = (rest + piece).rpartition(b"\n")
                block = head + end
                if len(rest) > LONGEST_LINE or block.find(b"\n") >= LONGEST_LINE or b"\0" in block:
                    return None
                if block.count(b"\r") != block.count(b"\r\n") or BLANK_LINE.search(b"\n" + block):
                    return None
                if b'"' in block and b'"' in QUOTED.sub(b"", b"\n" + block):
                    return None
                block.decode()
                ends += block.count(b"\n")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError):
        return None
    return None if rest or not ends else ends - 1


def _too_strange(new: Sequence[str]) -> bool:
    """Whether columns that nobody promised are no mere addition."""
    return len(new) > MOST_ADDED or not all(name.strip() and len(name) <= LONGEST_NAME for name in new)


def _read_jsonl(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line but blank ones is a row, each an object.

    A key may be absent where its value is null, as many upstreams write it. One that no row has is gone; but for one
    that need not be there, of changes that all say nothing but what was changed: a night of deletes.
    """
    promised = [column.name for column in feed.columns]
    optional = {column.name for column in feed.columns if not column.required}
    rows, never, new = 0, set(promised), set[str]()
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip(BLANK):
            continue
        rows += 1
        keys = _keys(path, line, number)
        never -= keys
        new |= keys - set(promised)
        if _too_strange(sorted(new)):
            named = _named([name for name in promised if name in never], sorted(new), promised)
            raise UnreadableFileError(f"{path}: line {number} breaks the contract: {named}")
    if feed.mode is Mode.UPSERT and never == optional and not new:
        never = set()
    if rows and never:
        gone = [name for name in promised if name in never]
        # One that is gone may be there under a new name.
        named = _named(gone, sorted(new), promised)
        raise UnreadableFileError(f"{path}: all rows together break the contract: {named}")
    return rows, [*promised, *sorted(new)]


def _keys(path: UPath, line: str, number: int) -> set[str]:
    """The keys of the object in ``line``. Nothing may follow the object, and no key be there twice."""
    try:
        found = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        at = len(line[: error.pos].encode()) + 1
        raise UnreadableFileError(f"{path}: line {number} is not JSON from byte {at} on: {error.msg}") from None
    except RecursionError:
        raise UnreadableFileError(f"{path}: line {number} is too deep: lists or objects within each other") from None
    except ValueError as error:
        raise UnreadableFileError(f"{path}: line {number} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UnreadableFileError(f"{path}: line {number} is no JSON object")
    if not all(map(_is_text, found)):
        raise UnreadableFileError(f"{path}: line {number} has a key with half a character in it")
    return set(found)


def _is_text(text: str) -> bool:
    """Whether ``text`` can be written: JSON may name half a character, as ``\\ud800``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
    """What the footer says, which is read alone. The pages are checked when they are read.

    The columns are without those of a strange type that have no value in any row: writers that are given none make up
    a type.
    """
    footer, written = _footer(path)
    promised = {column.name: column for column in feed.columns}
    names = [column.name for column in written]
    new = [name for name in names if name not in promised]
    gone = [name for name in promised if name not in names]
    # A column that is gone may be there under a new name, so that both are named.
    problems = [_named(gone, new if gone or _too_strange(new) else [], promised)]
    problems += [f"column {name} is there twice" for name in promised if names.count(name) > 1]
    empty, unknown = set[str](), set[str]()
    for found in written:
        column = promised.get(found.name)
        if not column:
            continue
        if found.kind not in PARQUET_TYPES[column.type]:
            if not (column.required and footer.num_rows) and _is_empty(path, found):
                empty.add(found.name)
            else:
                problems.append(f"column {found.name} is {found.kind}, which is no {column.type}")
        else:
            unknown |= found.codecs(footer) - PARQUET_CODECS
    problems += [f"they are compressed with {one}, which cannot be read" for one in sorted(unknown)]
    if any(problems):
        raise UnreadableFileError(f"{path}: the columns break the contract: {', '.join(filter(None, problems))}")
    return footer.num_rows, [*(name for name in promised if name not in empty), *new]


class ParquetColumn(NamedTuple):
    """A column of a Parquet file: how it is written, and which of the footer's leaves it is; nested ones are none."""

    name: str
    kind: str  # its physical type, and what the file says it means
    leaf: int = -1

    def chunks(self, footer: Any) -> list[Any]:
        """What the footer says of the column in each group of rows."""
        groups = range(footer.num_row_groups) if self.leaf >= 0 else ()
        return [footer.row_group(group).column(self.leaf) for group in groups]

    def codecs(self, footer: Any) -> set[str]:
        return {chunk.compression for chunk in self.chunks(footer)}


def _footer(path: UPath) -> tuple[Any, list[ParquetColumn]]:
    """The footer of a Parquet file, and its columns. Raises UnreadableFileError where there is none, or a bad one."""
    import pyarrow
    import pyarrow.parquet

    with opened(path) as file:
        start = file.read(4)
        if not start:
            raise UnreadableFileError(f"{path}: the file is empty")
        file.seek(-min(file.seek(0, io.SEEK_END), 4), io.SEEK_END)
        end = file.read(4)
        if b"PARE" in (start, end):
            raise UnreadableFileError(f"{path}: encrypted. Write it without encryption")
        if (start, end) != (b"PAR1", b"PAR1"):
            cut = ", or cut off" if start == b"PAR1" else ""
            raise UnreadableFileError(f"{path}: no Parquet{cut}: it does not begin and end with PAR1")
        try:
            footer = pyarrow.parquet.read_metadata(file)
            columns = _columns(footer)
        # What they say may hold what is in the file.
        except (pyarrow.ArrowException, OSError, ValueError, IndexError):
            raise UnreadableFileError(f"{path}: damaged, or encrypted: its footer cannot be read") from None
    if (rows := sum(footer.row_group(n).num_rows for n in range(footer.num_row_groups))) != footer.num_rows:
        raise UnreadableFileError(
            f"{path}: damaged: its footer counts {footer.num_rows} rows, and {rows} in its groups"
        )
    return footer, columns


def _is_empty(path: UPath, column: ParquetColumn) -> bool:
    """Whether ``column`` has no value in any row. Looked at, since what writers say of that is not always so."""
    import pyarrow
    import pyarrow.parquet

    if column.leaf < 0:
        return False
    with opened(path) as file:
        try:
            batches = pyarrow.parquet.ParquetFile(file).iter_batches(columns=[column.name])
            return all(batch.column(0).null_count == batch.num_rows for batch in batches)
        except (pyarrow.ArrowException, OSError, ValueError, IndexError):
            return False


def _columns(footer: Any) -> list[ParquetColumn]:
    """The columns of a Parquet file by its ``footer``, in their order.

    The footer itself knows leaves, and calls what is within a column and a column with a dot in its name the same.
    """
    import pyarrow.types

    def leaves(type_: Any) -> int:
        if not pyarrow.types.is_nested(type_):
            return 1
        return sum(leaves(type_.field(n).type) for n in range(type_.num_fields))

    found, next_leaf = list[ParquetColumn](), 0
    for field in footer.schema.to_arrow_schema():
        if pyarrow.types.is_nested(field.type):
            found.append(ParquetColumn(field.name, "nested"))
        else:
            found.append(ParquetColumn(field.name, _written(footer.schema.column(next_leaf)), next_leaf))
        next_leaf += leaves(field.type)
    return found


def _written(leaf: Any) -> str:
    """How Parquet writes a column: its physical type, and what the file says it means."""
    meaning = json.loads(leaf.logical_type.to_json())
    sign = "" if meaning.get("isSigned", True) else "unsigned"
    name = "" if meaning["Type"] == "None" else meaning["Type"]
    parts = [leaf.physical_type, sign, name, str(meaning.get("bitWidth", "")), meaning.get("timeUnit", "")]
    return " ".join(filter(None, parts))


def _header_problem(header: str, found: list[str], promised: list[str]) -> str:
    if not found:
        return "a quote in the header is not closed, or within a name that is not in quotes"
    for separator in ";\t|":
        if header.split(separator) == promised != found:
            return f"the columns are separated by {separator!r} and not by commas"
    gone = [name for name in promised if name not in found]
    new = [name for name in found if name not in promised]
    if gone or _too_strange(new):
        return f"the header breaks the contract: {_named(gone, new, promised)}"
    if len(set(found)) < len(found):
        return "the header breaks the contract: a column is there twice"
    return f"the header breaks the contract: the columns are {found}, in another order than {promised}"


def _named(gone: Collection[str], new: Sequence[str], promised: Collection[str]) -> str:
    """Which columns are missing and which are unknown, in words; of many the first few. Empty where none are.

    Where none of ``promised`` is there it is another file, and what is in it is not shown.
    """
    if len(gone) == len(promised):
        return "none of its columns is there. Is it another feed's file, or has it no header?"
    words = [f"column {name} is missing" for name in [*gone][:MOST_NAMED]]
    words += [f"column {name[:80]!r} is unknown" for name in new[:MOST_NAMED]]
    more = len(gone) + len(new) - len(words)
    return ", ".join([*words, *([f"and {more} more"] if more else [])])


def _lines(path: UPath) -> Iterator[str]:
    """The lines of ``path`` without their ends, one at a time, so that memory does not grow with the file."""
    line, number = b"", 0
    try:
        with unpacked(path) as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                yield _text(path, line, number)
    except EOFError:
        raise UnreadableFileError(f"{path}: truncated, the gzip stream ends after line {number}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        # Without the bytes that it shows.
        why = str(error).partition(" (")[0]
        raise UnreadableFileError(f"{path}: a damaged gzip stream after line {number}: {why}") from None
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
        raise UnreadableFileError(f"{path}: line {number} is longer than {LONGEST_LINE >> 20} MiB")
    whole, line = line.endswith(b"\n"), line.removesuffix(b"\n").removesuffix(b"\r")
    if (at := line.find(b"\r")) >= 0:
        # Some end a line here, and others do not: nobody could say how many rows the file has.
        raise UnreadableFileError(f"{path}: line {number} has a carriage return within, at byte {at + 1}")
    if not whole:
        raise UnreadableFileError(
            f"{path}: half-written, line {number} is the last one and has no end. Replace the file and clear this task."
        )
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UnreadableFileError(
            f"{path}: not UTF-8 ({error.reason}) in line {number}, byte {error.start + 1}"
        ) from None


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
