"""What has landed: finding the files of a night, and refusing those that cannot be read."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from include.contracts import naming
from include.contracts.source import RESTS, Feed, Finished, Format, Mode, Source
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import counting, looks, manifest
from include.ingestion.files import UnreadableFileError as UnreadableFileError
from include.ingestion.files import check_folder, exists, opened, stamp
from include.ingestion.manifest import Promise

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


class Batch(TypedDict):
    """What the files of one day hold, by their names below the feed's folder.

    ``sha256`` is that of the one file; of several it is ``sha256_of`` them.
    """

    rows: int
    sha256: str
    files: dict[str, File]


# The files by feed and day, days in ISO format: plain data, since it travels between tasks.
Plan = dict[str, dict[str, Batch]]

# After the name of a file, where the spec says nothing else: that one is whole.
MARKS = {Finished.MARKED: ".done", Finished.LISTED: ".manifest"}
# What Spark and others leave beside their files, and what is still on its way.
ASIDE = re.compile(r"\.|_(SUCCESS|temporary|metadata|common_metadata|committed_.*|started_.*)$")
ALIVE_DAYS = 14  # a source that has brought nothing on so many open days is not waited for


class ChangedFileError(NeedsAttentionError):
    """A landing file was replaced between being looked through and being loaded. Nothing was published."""


class MissingFileError(NeedsAttentionError):
    """Some of a night's files have landed and others have not. Names those that are missing."""


def folder_of(source: Source, feed: Feed) -> UPath:
    return settings().landing / source.name / feed.name


def path_of(source: Source, feed: Feed, day: date) -> UPath:
    """The file of ``day``; of several, what all of them are like."""
    return folder_of(source, feed) / naming.name_of(feed.pattern, day)


def mark_of(source: Source, feed: Feed, day: date) -> UPath:
    """What says that the files of ``day`` are whole, of a feed that has marks."""
    if feed.mark:
        return folder_of(source, feed) / naming.name_of(feed.mark, day)
    path = path_of(source, feed, day)
    return path.with_name(f"{path.name}{MARKS[feed.finished]}")


def files_of(source: Source, feed: Feed, day: date) -> dict[str, UPath]:
    """The files of ``day`` that are there, in the order of their names below the feed's folder."""
    folder = folder_of(source, feed)
    if feed.is_one_file:
        path = path_of(source, feed, day)
        return {path.relative_to(folder).as_posix(): path} if exists(path) else {}
    mark = mark_of(source, feed, day) if feed.finished in MARKS else None
    found = _like(folder, feed.pattern, day)
    return {name: path for name, path in sorted(found.items()) if path != mark}


def _like(folder: UPath, pattern: str, day: date | None = None) -> dict[str, UPath]:
    """What is below ``folder`` and named like ``pattern``, with ``day`` in it or any day.

    A folder whose name is known is not looked for: no listing is longer than it has to be.
    """
    there = {"": folder}
    for begin in naming.begins(pattern):
        if day and naming.is_one(begin):
            name = naming.name_of(begin, day)
            there = {name: path} if exists(path := folder / name) else {}
            continue
        below = ((f"{name}/{path.name}" if name else path.name, path) for name, path in _entries(there))
        there = {name: path for name, path in below if naming.fits(begin, name, day)}
    return there


def _entries(folders: Mapping[str, UPath]) -> Iterator[tuple[str, UPath]]:
    for name, folder in folders.items():
        if folder.is_dir():
            yield from ((name, path) for path in folder.iterdir())


def _names(folder: UPath) -> list[str]:
    """What a folder has, by name: of thousands of days, to make a path of each takes longer than to list them."""
    if not folder.is_dir():
        return []
    # Of a folder here not by Path.iterdir, which makes the paths.
    return os.listdir(folder) if isinstance(folder, Path) else [path.name for path in folder.iterdir()]  # noqa: PTH208


def has_begun(source: Source, feed: Feed, day: date) -> bool:
    """Whether anything of ``day`` has landed: a file of it, or the mark that says that there is none."""
    return bool(files_of(source, feed, day)) or (
        feed.finished in MARKS and not feed.is_one_file and exists(mark_of(source, feed, day))
    )


def is_there(source: Source, feed: Feed, day: date) -> bool:
    """Whether the files of ``day`` have landed, and are whole as far as their feed says how that is known."""
    return has_begun(source, feed, day) and not lacks(source, feed, day)


def lacks(source: Source, feed: Feed, day: date) -> str:
    """What the files of ``day``, of which some are there, lack to be whole; empty where they lack nothing."""
    files = files_of(source, feed, day)
    if len(files) < feed.least_files:
        return f"{len(files)} of them, and a day has at least {feed.least_files}"
    if feed.finished is Finished.RESTING:
        now = datetime.now(UTC)
        for path in files.values():
            if now - datetime.fromtimestamp(path.stat().st_mtime, UTC) < RESTS:
                return "somebody has written to it a moment ago"
    if feed.finished in MARKS and not exists(mark_of(source, feed, day)):
        mark = mark_of(source, feed, day)
        return f"no {mark.name} beside it" if mark.parent == path_of(source, feed, day).parent else f"no {mark}"
    if feed.finished is Finished.LISTED:
        return next(_not_as_listed(source, feed, day, files), "")
    return ""


def _promises(source: Source, feed: Feed, day: date) -> dict[str, Promise]:
    """What the manifest of ``day`` says, by the names of the files below the feed's folder."""
    path = mark_of(source, feed, day)
    folder = path.parent.relative_to(folder_of(source, feed)).as_posix()
    promised = manifest.read(path)
    return {name if folder == "." else f"{folder}/{name}": one for name, one in promised.items()}


def _not_as_listed(source: Source, feed: Feed, day: date, files: Mapping[str, UPath]) -> Iterator[str]:
    """What is not there of what the manifest of ``day`` names, and is there without being named."""
    promised, listing = _promises(source, feed, day), mark_of(source, feed, day).name
    for name, one in promised.items():
        if not naming.fits(feed.pattern, name, day):
            yield f"{listing} names {name}, which is not named as its feed says"
        elif name not in files:
            yield f"{listing} names {name}, which is not there"
        elif one.bytes is not None and files[name].stat().st_size != one.bytes:
            yield f"{name} has {files[name].stat().st_size} bytes, and {listing} says {one.bytes}"
    yield from (f"{name} is there, and {listing} does not name it" for name in files if name not in promised)


def landed(source: Source, nights: Partitions) -> dict[str, list[date]]:
    """The days of each feed whose files belong to ``nights`` and are there.

    A night with no file at all is left out; one may bring snapshots alone, as a weekend does of a source whose other
    feeds know business days only. Of a day on which the upstream is closed no file is missed. Raises
    MissingFileError where a night has some of its nightly files: the others may still be on their way, and half a night
    must not look like a whole one.
    """
    nightly = [feed for feed in source.feeds if feed.mode is not Mode.SNAPSHOT]
    there: dict[str, list[date]] = {feed.name: [] for feed in source.feeds}
    missing: list[str] = []
    unfinished: list[str] = []
    for night in nights.days:
        begun = [feed for feed in source.feeds if has_begun(source, feed, feed.due(night))]
        owed = [feed for feed in nightly if feed not in begun and _is_owed(source, feed, night)]
        if any(feed in nightly for feed in begun):
            missing += [str(path_of(source, feed, feed.due(night))) for feed in owed]
        for feed in begun:
            if lacking := lacks(source, feed, feed.due(night)):
                unfinished.append(f"{path_of(source, feed, feed.due(night))} ({lacking})")
            else:
                there[feed.name].append(feed.due(night))
    if missing or unfinished:
        said = [f"these have not: {', '.join(missing)}"] if missing else []
        said += [f"these are not finished: {', '.join(unfinished)}"] if unfinished else []
        raise MissingFileError(
            f"{source.name} {nights}: some files have landed and {'; '.join(said)}. "
            "Put them there and clear this task; nothing was ingested."
        )
    return {name: days for name, days in there.items() if days}


def _is_owed(source: Source, feed: Feed, night: date) -> bool:
    """Whether a night that has come needs a file of ``feed``."""
    return source.is_open(feed.due(night)) and not (feed.may_be_empty and feed.connector)


def awaited(source: Source, nights: Partitions, now: datetime) -> list[UPath]:
    """The files of ``nights`` that are not there and may still come: whose upstream has hours left to bring them.

    None of a source that is not alive: of which nothing has landed on the ``ALIVE_DAYS`` before. It may be history that
    is replayed, or one that nobody feeds yet, and there is nothing to wait for.
    """
    brought = [feed for feed in source.nightly if not feed.connector]
    open_nights = [night for night in nights.days if now < source.ends(night) + timedelta(hours=source.freshness_hours)]
    due = [(feed, feed.due(night)) for night in open_nights for feed in brought]
    due = [(feed, day) for feed, day in due if source.is_open(day)]
    missing = [path_of(source, feed, day) for feed, day in due if not is_there(source, feed, day)]
    before = source.open_before(nights.first, ALIVE_DAYS)
    is_alive = len(missing) < len(due) or any(has_begun(source, feed, day) for day in before for feed in brought)
    return missing if is_alive else []


def landed_days(source: Source, among: Partitions | None = None) -> list[date]:
    """The nights of which a nightly file that tells its night is there, in order: one listing a feed.

    ``among`` some nights only: where the names of their files are known, each is looked for and no folder is listed,
    which has a name for each day of history.
    """
    found: set[date] = set()
    for feed in source.nightly:
        # A feed that leads lands a day's file in the night before; only one that does not tells the night itself.
        if feed.lead_days:
            continue
        # A folder that says its day is not looked into: it may be one of thousands.
        begin = next(begin for begin in naming.begins(feed.pattern) if naming.says_day(begin))
        folder = folder_of(source, feed)
        if among and naming.is_one(begin) and isinstance(folder, Path):  # a bucket lists a thousand as soon as it looks
            found |= {day for day in among.days if exists(folder / naming.name_of(begin, day))}
            continue
        for name in _like(folder, begin):
            if said := naming.read(begin, name):
                found.add(said[0])
    return sorted(day for day in found if among is None or among.first <= day <= among.last)


def plan(source: Source, nights: Partitions) -> Plan:
    """The files of ``nights`` with what each holds, each looked through first. Empty where nothing has landed.

    Raises MissingFileError, or UnreadableFileError for the first damaged file. Says which files nobody will read, and
    which columns of the others.
    """
    for feed in source.feeds:
        check_folder(folder_of(source, feed) / "any")
    for path in unexpected(source):
        log.warning("ignored, since a file is named by its day, as 2013-06-01.csv or as its feed says: %s", path)
    found: Plan = {}
    for name, days in landed(source, nights).items():
        feed = source.feed(name)
        found[name] = {str(day): batch(source, feed, day) for day in days}
        for day, one in found[name].items():
            for path in _beside(source, feed, date.fromisoformat(day)):
                log.warning("ignored, since it is not named as %s: %s", feed.pattern, path)
            for column in sorted({column for file in one["files"].values() for column in added(file, feed)}):
                log.warning(
                    "%s %s: column %r is new. The file is published without it; name it in the spec to have it too",
                    name,
                    day,
                    column,
                )
    return found


def days_of(plan: Plan, feed: Feed) -> list[date]:
    """The days whose files a plan has, of one feed."""
    return [date.fromisoformat(day) for day in plan[feed.name]]


def nights_of(plan: Plan, feed: Feed) -> list[date]:
    """The nights that these files are of."""
    return [feed.night(day) for day in days_of(plan, feed)]


def added(file: File, feed: Feed) -> list[str]:
    """The columns of ``file`` that its feed does not name."""
    promised = {column.name for column in feed.columns}
    return [name for name in file["columns"] if name not in promised and not (feed.wide and feed.wide.has(name))]


def batch(source: Source, feed: Feed, day: date) -> Batch:
    """What the files of ``day`` hold.

    Raises what ``look_through`` does, also where they have no rows together, or are not what their manifest says.
    """
    paths = files_of(source, feed, day)
    if feed.is_one_file and not paths:
        raise MissingFileError(f"{path_of(source, feed, day)} was there a moment ago, and is gone. Clear this task")
    if odd := [path for name, path in paths.items() if not name.isprintable()]:
        raise UnreadableFileError(f"{str(odd[0])!r}: a file's name is of letters that can be printed. Rename it")
    files = {name: look_through(path, feed) for name, path in paths.items()}
    rows = sum(file["rows"] for file in files.values())
    if not feed.is_one_file:
        _check_rows(path_of(source, feed, day), rows, feed)
    if feed.finished is Finished.LISTED:
        promised = _promises(source, feed, day)
        for name, path in paths.items():
            if name not in promised:
                raise MissingFileError(
                    f"{path} has come a moment ago, and its manifest does not name it. Clear this task"
                )
            _check_promise(path, files[name], promised[name])
    (alone,) = [file["sha256"] for file in files.values()] if feed.is_one_file else [sha256_of(files)]
    return {"rows": rows, "sha256": alone, "files": files}


def sha256_there(source: Source, feed: Feed, name: str) -> str:
    """The ``sha256`` of the batch that ``name`` is of, as it is there now; empty where nothing is."""
    said = naming.read(feed.pattern, name)
    paths = files_of(source, feed, said[0]) if said else {}
    found: dict[str, File] = {one: {"rows": 0, "columns": [], "sha256": sha256(path)} for one, path in paths.items()}
    return sha256_of(found) if found else ""


def sha256_of(files: Mapping[str, File]) -> str:
    """One checksum of several files: of the lines that ``sha256sum`` has for them, in the order of their names."""
    lines = "".join(f"{file['sha256']}  {name}\n" for name, file in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_promise(path: UPath, file: File, promise: Promise) -> None:
    """Raise UnreadableFileError where the file at ``path`` is not what its manifest says."""
    if promise.rows is not None and promise.rows != file["rows"]:
        raise UnreadableFileError(f"{path}: it has {file['rows']} rows, and its manifest says {promise.rows}")
    if promise.sha256 and promise.sha256 != file["sha256"]:
        raise UnreadableFileError(f"{path}: its SHA-256 is another one than its manifest says. Replace it")
    if promise.md5:
        with opened(path) as content:
            found = hashlib.file_digest(cast(Any, content), lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != promise.md5:
            raise UnreadableFileError(f"{path}: its MD5 is another one than its manifest says. Replace it")


def look_through(path: UPath, feed: Feed) -> File:
    """What the file at ``path`` holds, a file of ``feed``.

    Raises UnreadableFileError where the file is damaged, is not what the contract says, or has no rows: only of changes
    there may be none, and of a day with several files in some of them. A column more than promised is no breach, unless
    there are many. What is accepted here, ``reading`` splits into the same rows.
    """
    try:
        rows, columns = counting.count(path, feed.content)
    except UnreadableFileError as error:
        raise UnreadableFileError(looks.with_advice(str(error), path, feed)) from None
    if feed.is_one_file:
        _check_rows(path, rows, feed)
    other = columns if columns != [column.name for column in feed.content.columns] else []
    return {"rows": rows, "columns": other, "sha256": sha256(path)}


def _check_rows(path: UPath, rows: int, feed: Feed) -> None:
    if not rows and feed.mode is not Mode.UPSERT and not feed.may_be_empty:
        header = "a header and " if feed.format is Format.CSV and feed.dialect.header else ""
        raise UnreadableFileError(
            f"{path}: {header}no rows. A day without anything has no file; where one may come, say may_be_empty=True"
        )


def sha256(path: UPath) -> str:
    """Of the bytes of the file at ``path``. Raises FileNotFoundError, and UnreadableFileError where it is no file."""
    with opened(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def stamps(source: Source, feed: Feed, batches: Mapping[str, Batch]) -> dict[str, tuple[int, ...]]:
    """For ``check_unchanged``: what shows that a file was away for a while, by its name. Raises UnreadableFileError."""
    names = (name for batch in batches.values() for name in batch["files"])
    return {name: stamp(folder_of(source, feed) / name) for name in names}


def check_unchanged(
    source: Source, feed: Feed, batches: Mapping[str, Batch], before: Mapping[str, tuple[int, ...]] | None = None
) -> None:
    """Raise ChangedFileError unless the files of ``batches``, by day, are what they were when they were looked through.

    With ``before``, what ``stamps`` said earlier, also unless they were there all the time since: a file is opened by
    its name, which may have meant another one then.
    """
    changed: list[UPath] = []
    for day, one in batches.items():
        for name, file in one["files"].items():
            path = folder_of(source, feed) / name
            try:
                same = sha256(path) == file["sha256"] and (before is None or stamp(path) == before[name])
            except (FileNotFoundError, UnreadableFileError):
                same = False
            if not same:
                changed.append(path)
        there = files_of(source, feed, date.fromisoformat(day))
        changed += [path for name, path in there.items() if name not in one["files"]]
    if changed:
        raise ChangedFileError(
            f"replaced while they were being read: {', '.join(map(str, changed))}. Clear the run from its first task."
        )


def unexpected(source: Source) -> list[UPath]:
    """What is in the landing folders of ``source`` and no night will ever read, for want of a day as its name."""
    found: list[UPath] = []
    for feed in source.feeds:
        # The first part of the names is enough: what is in the folders of all days would take ever longer to list.
        begins = [naming.begins(pattern)[0] for pattern in filter(None, (feed.pattern, feed.mark))]
        end = MARKS.get(feed.finished, "") if feed.is_one_file and not feed.mark else ""

        def is_known(name: str, begins: list[str] = begins, end: str = end) -> bool:
            return any(_is_named(begin, one) for begin in begins for one in {name, name.removesuffix(end)})

        folder = folder_of(source, feed)
        found += [folder / name for name in _names(folder) if not is_known(name)]
    # A hidden one may still be on its way.
    return sorted(path for path in found if not path.name.startswith("."))


def _is_of(feed: Feed, name: str, day: date) -> bool:
    """Whether ``name`` is that of a file of ``day``, or of a folder that one of them may be in."""
    return any(naming.fits(begin, name, day) for begin in naming.begins(feed.pattern))


def _is_named(begin: str, name: str) -> bool:
    """Whether ``name`` is like ``begin``; where that says a whole day, it has to be a day of the calendar."""
    return naming.read(begin, name) is not None if naming.says_day(begin) else naming.fits(begin, name)


def _beside(source: Source, feed: Feed, day: date) -> list[UPath]:
    """What lies in the folder of ``day`` among its files, and is none of them."""
    *folders, _ = naming.begins(feed.pattern)
    if not folders or not naming.says_day(folders[-1]):
        return []
    mark = mark_of(source, feed, day) if feed.finished in MARKS else None
    there = [
        (f"{folder}/{path.name}", path) for folder, path in _entries(_like(folder_of(source, feed), folders[-1], day))
    ]
    other = [path for name, path in there if not ASIDE.match(path.name) and not _is_of(feed, name, day)]
    return sorted(path for path in other if path != mark)
