"""Which of a file's columns are those of its feed, and what is said of others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from include.contracts.source import Feed
from include.contracts.wide import Wide
from include.ingestion.files import UnreadableFileError

if TYPE_CHECKING:
    from upath import UPath

MOST_ADDED = 20  # columns: with more than that it is another feed's file
LONGEST_NAME = 200  # letters of an added column's name: with more it is a row, or what a quote has swallowed
MOST_NAMED = 5  # columns that a message lists before it only counts them


def too_strange(new: Collection[str], wide: Wide | None = None) -> bool:
    """Whether columns that nobody promised are no mere addition; those that become rows are promised by their names."""
    new = [name for name in new if not (wide and wide.has(name))]
    return len(new) > MOST_ADDED or any(len(name) > LONGEST_NAME for name in new)


def named(gone: Collection[str], new: Sequence[str], promised: Collection[str]) -> str:
    """Which columns are missing and which are unknown, in words; of many the first few. Empty where none are.

    Where none of ``promised`` is there it is another file, and what is in it is not shown.
    """
    if len(gone) == len(promised):
        return "none of its columns is there. Is it another feed's file, or has it no header?"
    words = [f"column {name} is missing" for name in [*gone][:MOST_NAMED]]
    words += [f"column {name[:80]!r} is unknown" for name in new[:MOST_NAMED]]
    more = len(gone) + len(new) - len(words)
    return ", ".join([*words, *([f"and {more} more"] if more else [])])


def other(name: str, promised: Collection[str]) -> str:
    """How a column of the file that is none of the feed's is called, such that it is not taken for one of them."""
    return f"{name} (of the file)" if name in promised else name


def joined(lines: Sequence[Sequence[str]]) -> list[str]:
    """The names of the columns by the lines of a header."""
    if len(lines) == 1:
        return list(lines[0])
    width = max(map(len, lines))
    padded = [[*names, *[""] * (width - len(names))] for names in lines]
    return [" ".join(filter(None, names)) for names in zip(*padded, strict=True)]


def matched(path: UPath, feed: Feed, found: Sequence[str], header: str) -> list[str]:
    """The columns of a file whose header has the names ``found``: those of the feed by their names there.

    Raises UnreadableFileError where one is missing, or nobody could say which one is meant.
    """
    ours = [column.name for column in feed.columns]
    columns = [other(name.strip() or f"column {n}", ours) for n, name in enumerate(found, start=1)]
    problems, gone = list[str](), list[str]()
    for place, name in _places(feed, found, problems, gone):
        columns[place - 1] = name
    known = {*ours, *(name for name in columns if feed.wide and feed.wide.has(name))}
    new = [] if feed.by_place else [name for name in columns if name not in known]
    promised = [column.in_file for column in feed.columns]
    if gone or too_strange(new):
        _check_separator(path, feed, header, promised)
        problems.append(named(gone, new, promised))
    if problems:
        raise UnreadableFileError(f"{path}: the header breaks the contract: {', '.join(problems)}")
    return columns


def _places(feed: Feed, found: Sequence[str], problems: list[str], gone: list[str]) -> Iterator[tuple[int, str]]:
    """Where each column of the feed is, counted from 1. What is wrong is added to ``problems``, or to ``gone``."""
    for n, column in enumerate(feed.columns, start=1):
        place = column.place or (n if feed.by_place else 0)
        if not place:
            at = [m for m, one in enumerate(found, start=1) if one == column.in_file]
            if len(at) > 1:
                problems.append(f"column {column.in_file} is there twice: say its place")
            if not at:
                gone.append(column.in_file)
                continue
            place = at[0]
        elif place > len(found):
            problems.append(f"column {column.name} is of place {place}, and there are {len(found)}")
            continue
        elif column.source_name and not feed.by_place and found[place - 1] != column.source_name:
            problems.append(f"the column of place {place} is not {column.source_name}")
        yield place, column.name


def _check_separator(path: UPath, feed: Feed, header: str, promised: Sequence[str]) -> None:
    """Raise UnreadableFileError where ``header`` would be right with another delimiter."""
    for separator in ";\t|,":
        split = header.split(separator)
        if len(split) > 1 and separator != feed.dialect.delimiter and set(promised) <= set(split):
            raise UnreadableFileError(
                f"{path}: the columns are separated by {separator!r} and not by {feed.dialect.delimiter!r}. Say so in "
                "the dialect of the feed"
            )


def placed(feed: Feed, width: int) -> list[str]:
    """The columns of a file without a header, whose first row has ``width`` values."""
    places = {column.place or n: column.name for n, column in enumerate(feed.columns, start=1)}
    return [places.get(n, f"column {n}") for n in range(1, max([*places, width]) + 1)]
