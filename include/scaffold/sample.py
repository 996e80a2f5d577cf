"""A sample of a source: its feeds as ``proposing`` finds them, their rows as a night would read them, and their files.

A folder is looked at file by file. Files whose names differ in a day or a number alone are of one feed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import polars as pl
from upath import UPath

from include.contracts import naming
from include.contracts.source import Column, Copies, Feed, Format, Mode
from include.ingestion import counting, kernel
from include.ingestion.files import UnreadableFileError
from include.ingestion.proposing import UnknownFileError, columns, propose
from include.scaffold import guesses
from include.scaffold.errors import ScaffoldError
from include.scaffold.names import MOST_LETTERS, free_name, why_reserved

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY = re.compile(r"\d{4}-\d{2}-\d{2}|(?<!\d)(?:19|20)\d{6}(?!\d)")
LEAST_ROWS = 2
LETTER = re.compile("[A-Za-z]")


@dataclass(frozen=True)
class Sample:
    """One feed of a sample.

    Attributes:
        feed: as proposed, without what only a person or a guess can say.
        rows: its sound rows: the feed's columns in their types, ``partition_day``, ``source_file`` and
            ``_raw``.
        files: each by its name below the folder that was given.
        notes: what ``proposing`` only assumed.
        broken: rows that would go to the quarantine, with what is wrong.
    """

    feed: Feed
    rows: pl.DataFrame
    files: Mapping[str, UPath]
    notes: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def read(
    place: UPath, name: str, names: Sequence[str] = (), rename: bool = False, mode: Mode | None = None
) -> list[Sample]:
    """The feeds of the file or folder ``place``. ``name`` is of a feed whose files say none.

    ``names`` are those of the columns of a file without a header, in their order. ``rename``: columns that are there
    twice, or have a name that is somebody else's, get another one. ``mode`` is how files add up; of a feed of changes
    only those of ``guesses.are_ops`` are known as such without it. Raises ScaffoldError.
    """
    if not place.exists():
        raise ScaffoldError(f"from={place}: there is no such file or folder")
    groups = _groups(place, name)
    if not groups:
        raise ScaffoldError(f"from={place}: the folder has no files")
    if names and len(groups) > 1:
        raise ScaffoldError(f"columns=: {place} has {len(groups)} kinds of files; name the columns of one file alone")
    return [_sample(feed, files, names, rename, mode) for feed, files in groups.items()]


def _groups(place: UPath, name: str) -> dict[str, dict[str, UPath]]:
    """The files of each feed, by their names below ``place``."""
    if not place.is_dir():
        return {_feed_name(place.name) or name: {place.name: place}}
    found: dict[str, dict[str, UPath]] = {}
    for path in sorted(place.rglob("*")):
        relative = path.relative_to(place).as_posix()
        if path.is_file() and not re.search(r"(^|/)[._]", relative):
            found.setdefault(_feed_name(path.name) or name, {})[relative] = path
    return found


def _feed_name(file: str) -> str:
    """What a file is of: its name without the day, the number and the end."""
    stem = re.sub(r"[\W_]*(part|data)?[\W_]*\d*[\W_]*$", "", DAY.sub("", file.partition(".")[0].lower()))
    word = re.sub(r"[^a-z0-9]+", "_", stem).strip("_")
    return re.sub("^([0-9])", r"feed_\1", word)


def _sample(name: str, files: dict[str, UPath], names: Sequence[str], rename: bool, mode: Mode | None) -> Sample:
    # A day without changes has a file without rows, which says nothing.
    first = next((path for path in files.values() if path.stat().st_size > 1), next(iter(files.values())))
    if len(name) > MOST_LETTERS:
        raise ScaffoldError(
            f"{first.parent}/{name[:20]}…: a feed is called as its files, with at most {MOST_LETTERS} letters and not "
            f"{len(name)}: give the sample a shorter name"
        )
    try:
        found = propose(first, name)
    except (UnknownFileError, UnreadableFileError) as error:
        raise ScaffoldError(str(error)) from None
    if left_out := [note for note in found.notes if "values of several types" in note]:
        raise ScaffoldError(f"{first}: {left_out[0]}: mend the sample, so that each column has values of one type")
    feed = replace(found.feed, key=(), copies=Copies.KEEP)
    feed = _named(feed, names, first) if _lacks_header(feed) else _renamed(feed, first, rename)
    feed = replace(feed, columns=tuple(map(_code_is_text, feed.columns)))
    feed = _with_pattern(feed, files)
    feed, rows, broken = _read(feed, files, mode, first)
    if rows.height + len(broken) < LEAST_ROWS:
        raise ScaffoldError(f"{first}: one row says too little about types and keys: give a day's file")
    if len(broken) > feed.max_quarantined_share * (rows.height + len(broken)):
        raise ScaffoldError(
            f"{first}: {len(broken)} of {rows.height + len(broken)} rows do not fit the columns as most of them are, "
            f"more than the {feed.max_quarantined_share:.0%} that a night may send to the quarantine. Mend the sample, "
            f"or write the spec by hand with `make source-check file={first}`. The first: {'; '.join(broken[:3])}"
        )
    notes = [note for note in found.notes if not note.startswith(("day_column", "no few columns", "name its files"))]
    if broken:
        # Without the rows themselves: who is in them stays out of the spec.
        why = ", ".join(dict.fromkeys(one.partition(": ")[0] for one in broken[:3]))
        notes.append(
            f"{len(broken)} of {rows.height + len(broken)} rows do not fit the columns as most of them are, and a "
            f"night sends such to the quarantine: {why}"
        )
    return Sample(feed, rows, files, tuple(notes), tuple(broken))


def _read(
    feed: Feed, files: Mapping[str, UPath], mode: Mode | None, first: UPath
) -> tuple[Feed, pl.DataFrame, list[str]]:
    """``feed``, of changes where it is one of them, its sound rows, and what is wrong with the others."""
    if mode in (None, Mode.UPSERT):
        if changes := of_changes(feed):
            rows, broken = read_rows(changes, files)
            if mode or guesses.are_ops(rows[changes.op]):
                return changes, rows, broken
        elif mode:
            raise ScaffoldError(
                f"mode=upsert: {first} has no column that says what was done (as op: insert, update, delete), or none "
                "that says in which order (as seq, or a time)"
            )
    return feed, *read_rows(feed, files)


def of_changes(feed: Feed) -> Feed | None:
    """``feed`` as one of changes, where columns may say what was done and in which order; else None.

    What names the things is not known yet: no two rows are one until then. A delete may leave all else empty.
    """
    op = guesses.op_column(feed.columns)
    sequence = guesses.sequence_column(feed.columns)
    if not op or not sequence:
        return None
    columns = tuple(replace(column, required=column.name in (op, sequence)) for column in feed.columns)
    key = tuple(column.name for column in columns if not column.is_nested and column.name != sequence)
    return replace(feed, columns=columns, key=key, copies=Copies.DROP, mode=Mode.UPSERT, op=op, sequence=sequence)


def _lacks_header(feed: Feed) -> bool:
    return feed.format in (Format.CSV, Format.XLSX) and feed.dialect.header == 0


def _named(feed: Feed, names: Sequence[str], path: UPath) -> Feed:
    """``feed`` with the columns' ``names`` that a person has given. Raises ScaffoldError where nobody has."""
    n = len(feed.columns)
    if not names:
        raise ScaffoldError(
            f"{path}: no line of it names the columns. Say their {n} names: make source … columns="
            + ",".join(["day", "store", "amount", "…"][:n])
        )
    if len(names) != n:
        raise ScaffoldError(f"columns=: {len(names)} names for the {n} columns of {path}")
    lower = [one.casefold() for one in names]
    for name in names:
        if not name.isidentifier() or not name.isascii() or why_reserved(name) or lower.count(name.casefold()) > 1:
            why = why_reserved(name) or "letters, digits and _, a letter first, none twice"
            raise ScaffoldError(f"columns=: {name!r} cannot be the name of a column: {why}")
    return replace(
        feed, columns=tuple(replace(column, name=name) for column, name in zip(feed.columns, names, strict=True))
    )


def _renamed(feed: Feed, path: UPath, rename: bool) -> Feed:
    """``feed`` without names that are there twice or are reserved. Raises ScaffoldError unless they may be changed."""
    theirs = [column.in_file.casefold() for column in feed.columns if not column.path]
    found: list[Column] = []
    odd: list[str] = []
    for column in feed.columns:
        own = free_name(column.name, [one.name for one in found])
        is_twice = not column.path and theirs.count(column.in_file.casefold()) > 1
        if why := "there twice" if is_twice else why_reserved(column.in_file) or why_reserved(column.name):
            odd.append(f"{column.in_file} ({why}; it would be {own})")
        # One with a place is known by that and not by its name.
        theirs_now = column.source_name or ("" if own == column.name or column.place else column.name)
        found.append(replace(column, name=own, source_name=theirs_now))
    if odd and not rename:
        raise ScaffoldError(
            f"{path}: these columns cannot have their names: {', '.join(odd)}. Change them in the sample and at the "
            "upstream, or add rename=1 to take the other names"
        )
    return replace(feed, columns=tuple(found))


def _code_is_text(column: Column) -> Column:
    """A letter before each number, as in c46, makes a code: nobody adds codes up."""
    if any(LETTER.fullmatch(mark) for mark in column.marks):
        return replace(column, type="string", marks=())
    return column


def _with_pattern(feed: Feed, files: Mapping[str, UPath]) -> Feed:
    """``feed`` with what its files are named: as they are, where that says a day."""
    patterns = {_with_day(name) for name in files}
    days = {found[0] for name in files if (found := DAY.search(name))}
    if len(files) == max(1, len(days)):  # a day has one file
        pattern = next(iter(patterns))
        is_usual = len(patterns) > 1 or "{day" not in pattern or pattern == f"{{day}}.{feed.extension}"
        return feed if is_usual else _checked(feed, files=pattern)
    alike = {re.sub(r"\d+(?=[^/{}]*$)", "*", pattern) for pattern in patterns}
    if len(alike) > 1:
        shown = ", ".join(list(files)[:3])
        raise ScaffoldError(f"{shown} … have rows of one feed, and names that differ in more than a day and a number")
    pattern = alike.pop()
    if "{day" in pattern:
        return _checked(feed, files=pattern, least_files=max(1, len(files) // len(days)))
    return _checked(feed, files=f"{{day}}/{pattern}", least_files=len(files))


def landing_name(feed: Feed, name: str, day: date) -> str:
    """What the file ``name`` of a sample is named in landing, below the folder of its feed, as one of ``day``."""
    if feed.is_one_file:
        return naming.name_of(feed.pattern, day)
    return name if DAY.search(name) else f"{day}/{name}"


def _with_day(relative: str) -> str:
    def place(found: re.Match[str]) -> str:
        return "{day}" if "-" in found[0] else "{day:%Y%m%d}"

    return DAY.sub(place, relative, count=1)


def _checked(feed: Feed, **said: object) -> Feed:
    try:
        return replace(feed, **said)  # type: ignore[arg-type]
    except ValueError as error:
        raise ScaffoldError(str(error)) from None


def read_rows(feed: Feed, files: Mapping[str, UPath]) -> tuple[pl.DataFrame, list[str]]:
    """The sound rows of ``files``, and what is wrong with the others. Raises ScaffoldError for a file that has none."""
    content = feed.content
    frames: list[pl.DataFrame] = []
    broken: list[str] = []
    for path in files.values():
        try:
            _, there = counting.count(path, content)
        except UnreadableFileError as error:
            raise ScaffoldError(f"{error}. Are all files of the folder of one kind?") from None
        for judged in kernel.looked_at(content, {path: (columns.day_of(path), there)}):
            bad = judged.filter(pl.col("_reason").is_not_null())
            broken += [f"{reason}: {raw[:80]!r}" for reason, raw in bad.select("_reason", "_raw").iter_rows()]
            frames.append(judged.filter(pl.col("_reason").is_null()).with_columns(source_file=pl.lit(str(path))))
    return pl.concat(frames), broken
