"""What has landed: finding the files of a night, and refusing those that cannot be read."""

from __future__ import annotations

import codecs
import csv
import gzip
import logging
import zlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import IO, cast

from include.errors import NeedsAttentionError
from include.partitions import Partitions
from include.settings import settings
from include.sources.spec import Feed, Mode, Source

log = logging.getLogger(__name__)

# Rows of each file by feed and day, days in ISO format: plain data, since it travels between tasks.
Plan = dict[str, dict[str, int]]

LONGEST_LINE = 1 << 20  # bytes
MOST_NAMED = 5  # columns that a message lists before it only counts them
# What Spark trims before it decides that a line is blank.
BLANK = "".join(map(chr, range(ord(" ") + 1)))


class UnreadableFileError(NeedsAttentionError):
    """A landing file is damaged or not what its feed promises. Names the file and what is wrong with it."""


class MissingFileError(NeedsAttentionError):
    """Some of a night's files have landed and others have not. Names those that are missing."""


def path_of(source: Source, feed: Feed, day: date) -> Path:
    return settings().landing / source.name / feed.name / f"{day}.{feed.extension}"


def landed(source: Source, nights: Partitions) -> dict[str, list[date]]:
    """The days of each feed whose files belong to ``nights`` and are there.

    A night with no file at all is left out. Raises MissingFileError where a night has some of its files: the others
    may still be on their way, and half a night must not look like a whole one.
    """
    nightly = [feed for feed in source.feeds if feed.mode is Mode.PARTITION]
    snapshots = [feed for feed in source.feeds if feed.mode is Mode.SNAPSHOT]
    there: dict[str, list[date]] = {feed.name: [] for feed in source.feeds}
    missing: list[Path] = []
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


def plan(source: Source, nights: Partitions) -> Plan:
    """The files of ``nights`` with the rows each holds, each looked through first. Empty where nothing has landed.

    Raises MissingFileError, or UnreadableFileError for the first damaged file. Says which files nobody will read.
    """
    for path in strangers(source):
        log.warning("ignored, since a file is named by its day, as 2013-06-01.csv: %s", path)
    return {
        name: {str(day): count_rows(path_of(source, source.feed(name), day), source.feed(name)) for day in days}
        for name, days in landed(source, nights).items()
    }


def count_rows(path: Path, feed: Feed) -> int:
    """The rows of a CSV file, plain or gzip, without its header and blank lines.

    Raises UnreadableFileError where the file is damaged, breaks the contract of its header, or has no rows. What is
    accepted here, Spark splits into the same rows (``spark_jobs/ingest.py``).
    """
    lines = _lines(path)
    header, promised = next(lines, ""), [column.name for column in feed.columns]
    found = next(csv.reader([header]), [])
    if found != promised:
        raise UnreadableFileError(f"{path}: {_header_problem(header, found, promised)}")
    rows = sum(1 for line in lines if line.strip(BLANK))
    if not rows:
        raise UnreadableFileError(f"{path}: a header and no rows. A day without anything has no file")
    return rows


def _header_problem(header: str, found: list[str], promised: list[str]) -> str:
    for separator in ";\t|":
        if header.split(separator) == promised != found:
            return f"the columns are separated by {separator!r} and not by commas"
    gone = [f"column {name} is missing" for name in promised if name not in found]
    new = [f"column {name[:80]!r} is unknown" for name in found if name not in promised]
    if more := gone[MOST_NAMED:] + new[MOST_NAMED:]:
        new = [*new[:MOST_NAMED], f"and {len(more)} more"]
    if gone or new:
        return f"the header breaks the contract: {', '.join(gone[:MOST_NAMED] + new)}"
    if len(found) > len(promised):
        return "the header breaks the contract: a column is there twice"
    return f"the header breaks the contract: the columns are {found}, in another order than {promised}"


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path) -> Iterator[str]:
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


def _text(path: Path, line: bytes, number: int) -> str:
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


def strangers(source: Source) -> list[Path]:
    """The files in the landing folders of ``source`` that no night will ever read, for want of a day as their name."""

    def is_day(path: Path, feed: Feed) -> bool:
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
