"""What has landed: finding the files of a night, and refusing those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from include.errors import NeedsAttentionError
from include.partitions import Partitions
from include.settings import settings
from include.sources.spec import Feed, Mode, Source

# Rows of each file by feed and day, days in ISO format: plain data, since it travels between tasks.
Plan = dict[str, dict[str, int]]

CHUNK = 1 << 20


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

    Raises MissingFileError, or UnreadableFileError for the first damaged file.
    """
    return {
        name: {str(day): count_rows(path_of(source, source.feed(name), day), source.feed(name)) for day in days}
        for name, days in landed(source, nights).items()
    }


def count_rows(path: Path, feed: Feed) -> int:
    """The rows of a CSV file, without its header and blank lines. Raises UnreadableFileError where it is damaged."""
    lines = _lines(path)
    header = next(lines, "")
    found, promised = header.split(","), [column.name for column in feed.columns]
    if found != promised:
        raise UnreadableFileError(f"{path}: {_header_problem(found, promised)}")
    return sum(1 for line in lines if line)


def _header_problem(found: list[str], promised: list[str]) -> str:
    gone = [name for name in promised if name not in found]
    new = [name for name in found if name not in promised]
    if gone or new:
        parts = [f"column {name} is missing" for name in gone] + [f"column {name!r} is unknown" for name in new]
        return f"the header breaks the contract: {', '.join(parts)}"
    return f"the header breaks the contract: the columns are {found}, in another order than {promised}"


def _lines(path: Path) -> Iterator[str]:
    """The lines of ``path`` without their ends. Reads a chunk at a time, so memory does not grow with the file."""
    rest = b""
    offset = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if (at := chunk.find(b"\0")) >= 0:
                raise UnreadableFileError(f"{path}: not text, there is a zero byte at byte {offset + at}")
            *whole, rest = (rest + chunk).split(b"\n")
            offset += len(chunk)
            for line in whole:
                try:
                    yield line.removesuffix(b"\r").decode()
                except UnicodeDecodeError as error:
                    raise UnreadableFileError(f"{path}: not UTF-8 ({error.reason}) in the line {line!r}") from None
    if offset == 0:
        raise UnreadableFileError(f"{path}: the file is empty")
    if rest:
        raise UnreadableFileError(
            f"{path}: half-written, the last line has no end: {rest[-80:]!r}. Replace the file and clear this task."
        )
