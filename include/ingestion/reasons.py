"""What is wrong with rows in quarantine, in words that hold no value of any row.

A reason, as ``verdicts`` and ``reading`` write it, may show what the file has. Its kinds are found by looking for each
thing that could be wrong, so that they are made of the spec alone: nothing of a row can come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import polars as pl

from include.contracts.source import Feed
from include.ingestion import verdicts

OTHER = "another reason"
COLUMNS = "another number of columns"

# A value between quotes, which may hold one that no blank follows.
_VALUE = "'(?:[^']|'[^ ])*'"
_UNQUOTED = "(?:[^;]|;[^ ])* "
_OF_QUOTES = (
    "a quote within a text that is not in quotes",
    "an escape at the end of the line",
    "more text after the closing quote",
    "a quote that its line does not close",
)
_OF_TEXTS = ("not UTF-8, shown as Latin-1", "holds a zero byte", "holds half a character")


def of(feed: Feed, reason: pl.Expr) -> pl.Expr:
    """The kinds of ``reason``, the columns and what is wrong with each: one text without a value."""
    found = [pl.when(reason.str.contains(pattern)).then(pl.lit(kind)) for kind, pattern in patterns(feed)]
    said = pl.concat_str(found, separator="; ", ignore_nulls=True)
    return pl.when(said == "").then(pl.lit(OTHER)).otherwise(said)


def patterns(feed: Feed) -> list[tuple[str, str]]:
    """Each kind that a reason of ``feed`` may have, once, with the pattern of such reasons."""
    by_kind: dict[str, list[str]] = {}
    for kind, pattern in [*_of_rows(feed), *_of_values(feed)]:
        by_kind.setdefault(kind, []).append(pattern)
    return [(kind, f"(?s){'|'.join(some)}") for kind, some in by_kind.items()]


def _of_rows(feed: Feed) -> Iterator[tuple[str, str]]:
    """What is wrong with a row as a whole."""
    same = re.escape(f"another row has the same {', '.join(feed.unique)}")
    yield "another row has the same key and differs", rf"\A{same}(?:, arrived in the night of [0-9-]+)? and differs\z"
    yield COLUMNS, r"\Anot [0-9]+ columns\z"
    yield "longer than its columns", r"\Alonger than its [0-9]+ signs\z"
    for name in [*(column.name for column in feed.columns), "after the last column"]:
        for what in _OF_QUOTES:
            yield f"{name}: {what}", rf"\A{name}: {what}\z"
    yield "the line is not as the pattern says", r"\Athe line is not as the pattern says\z"
    yield "holds the sign U+001F", r"\Aholds the sign U\+001F"


def _of_values(feed: Feed) -> Iterator[tuple[str, str]]:
    """What is wrong with a value, column by column, and with the day."""
    problems = verdicts.problems_of(feed)
    for column in feed.columns:
        for what in _OF_TEXTS:
            yield _part(column.name, what)
        for what in (f"is no JSON {column.type}", "is no text"):
            yield _part(column.name, what, _UNQUOTED)
        yield from _told(column.name, (one for one in problems if one.group == column.name))
    yield from _told(feed.day_column, (one for one in problems if not one.group))


def _told(name: str, problems: Iterable[verdicts.Problem]) -> Iterator[tuple[str, str]]:
    for one in problems:
        if not one.what:
            yield f"{name}: a value within it", rf"(?:\A|; ){re.escape(name)}[^;]*'"
            continue
        value = "" if one.what == "missing" else rf"(?:{_VALUE}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}) "
        yield _part(name, one.what, value)


def _part(name: str, what: str, value: str = "") -> tuple[str, str]:
    """One of the things that a reason says, between the others."""
    return f"{name}: {what}", rf"(?:\A|; ){re.escape(name)}: {value}{re.escape(what)}(?:; |\z)"
