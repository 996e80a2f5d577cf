"""What has landed: finding the files of a night, and refusing those that cannot be read."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, cast

from include.errors import NeedsAttentionError
from include.partitions import Partitions
from include.settings import settings
from include.sources import counting
from include.sources.files import UnreadableFileError as UnreadableFileError
from include.sources.files import check_folder, exists, opened, stamp
from include.sources.spec import RESTS, Feed, Finished, Format, Mode, Source

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

MARK = ".done"  # after the name of a file: that one is whole
ALIVE_DAYS = 14  # a source that has brought nothing for so long is not waited for


class ChangedFileError(NeedsAttentionError):
    """A landing file was replaced between being looked through and being loaded. Nothing was published."""


class MissingFileError(NeedsAttentionError):
    """Some of a night's files have landed and others have not. Names those that are missing."""


def path_of(source: Source, feed: Feed, day: date) -> UPath:
    return settings().landing / source.name / feed.name / f"{day}.{feed.extension}"


def is_there(source: Source, feed: Feed, day: date) -> bool:
    """Whether the file of ``day`` has landed, and is whole as far as its feed says how that is known."""
    path = path_of(source, feed, day)
    if not exists(path):
        return False
    match feed.finished:
        case Finished.MARKED:
            return exists(mark_of(path))
        case Finished.RESTING:
            return datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC) >= RESTS
    return True


def mark_of(path: UPath) -> UPath:
    """The file that says that the one at ``path`` is whole."""
    return path.with_name(f"{path.name}{MARK}")


def landed(source: Source, nights: Partitions) -> dict[str, list[date]]:
    """The days of each feed whose files belong to ``nights`` and are there.

    A night with no file at all is left out; one may bring snapshots alone, as a weekend does of a source whose other
    feeds know business days only. Of a day that the upstream never had (``gaps``) no file is missed. Raises
    MissingFileError where a night has some of its nightly files: the others may still be on their way, and half a night
    must not look like a whole one.
    """
    nightly = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT]
    there: dict[str, list[date]] = {feed.name: [] for feed in source.feeds}
    missing: list[UPath] = []
    unfinished: list[UPath] = []
    for night in nights.days:
        paths = {feed.name: path_of(source, feed, feed.due(night)) for feed in source.feeds}
        begun = [feed for feed in source.feeds if exists(paths[feed.name])]
        whole = [feed for feed in begun if is_there(source, feed, feed.due(night))]
        unfinished += [paths[feed.name] for feed in begun if feed not in whole]
        if any(feed in nightly for feed in begun):
            missing += [paths[feed.name] for feed in nightly if feed not in begun and _is_owed(source, feed, night)]
        for feed in whole:
            there[feed.name].append(feed.due(night))
    if missing or unfinished:
        said = [f"these have not: {', '.join(map(str, missing))}"] if missing else []
        said += [f"these are not finished: {', '.join(map(_unfinished, unfinished))}"] if unfinished else []
        raise MissingFileError(
            f"{source.name} {nights}: some files have landed and {'; '.join(said)}. "
            "Put them there and clear this task; nothing was ingested."
        )
    return {name: days for name, days in there.items() if days}


def _is_owed(source: Source, feed: Feed, night: date) -> bool:
    """Whether a night that has come needs a file of ``feed``."""
    return feed.due(night) not in source.gaps and not (feed.may_be_empty and feed.connector)


def _unfinished(path: UPath) -> str:
    """What an unfinished file lacks, in words."""
    return f"{path} (no {mark_of(path).name} beside it, or somebody has written to it a moment ago)"


def awaited(source: Source, nights: Partitions, now: datetime) -> list[UPath]:
    """The files of ``nights`` that are not there and may still come: whose upstream has hours left to bring them.

    None of a source that is not alive: of which nothing has landed in the ``ALIVE_DAYS`` before. It may be history that
    is replayed, or one that nobody feeds yet, and there is nothing to wait for.
    """
    brought = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT and not feed.connector]
    open_nights = [night for night in nights.days if now < source.ends(night) + timedelta(hours=source.freshness_hours)]
    due = [(feed, feed.due(night)) for night in open_nights for feed in brought]
    due = [(feed, day) for feed, day in due if day not in source.gaps]
    missing = [path_of(source, feed, day) for feed, day in due if not is_there(source, feed, day)]
    before = [nights.first - timedelta(n) for n in range(1, ALIVE_DAYS + 1)]
    is_alive = len(missing) < len(due) or any(
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
    ``reading`` splits into the same rows.
    """
    rows, columns = counting.count(path, feed)
    if not rows and feed.mode is not Mode.UPSERT and not feed.may_be_empty:
        header = "a header and " if feed.format is Format.CSV and feed.dialect.header else ""
        raise UnreadableFileError(
            f"{path}: {header}no rows. A day without anything has no file; where one may come, say may_be_empty=True"
        )
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


def strangers(source: Source) -> list[UPath]:
    """The files in the landing folders of ``source`` that no night will ever read, for want of a day as their name."""

    def is_day(path: UPath, feed: Feed) -> bool:
        name = path.name.removesuffix(MARK) if feed.finished is Finished.MARKED else path.name
        try:
            return path_of(source, feed, date.fromisoformat(name.removesuffix(f".{feed.extension}"))).name == name
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
