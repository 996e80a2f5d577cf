"""What the quarantine of a source holds, for its page.

Only the last ``NIGHTS`` nights that have any are read, or those that are asked for and no more of them than that: what
the page costs does not grow with history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import polars as pl

from include.contracts.source import Feed, Pii, Source, table
from include.ingestion import reasons
from include.lake import delta
from include.quality import masks

NIGHTS = 90
"""Nights of a feed that are shown at most: the last ones that have any rows."""

SAMPLES = 3  # rows that are shown of each kind
KINDS = 15  # kinds that are shown: the most frequent ones
LONGEST = 2_000  # characters of a row that are shown


@dataclass(frozen=True)
class Sample:
    """A row in quarantine: why, in which file and line, and its own words. ``line`` is None where it has none."""

    ingestion_date: str
    reason: str
    file: str
    line: int | None
    raw: str
    run: str


@dataclass
class Kind:
    """What is wrong with rows, in how many of them, and some of these."""

    name: str
    rows: int
    samples: list[Sample] = field(default_factory=list)


@dataclass
class OfFeed:
    """What is in quarantine of a feed. ``nights`` are (night, rows), ``rules`` (rule, rows that it mended).

    ``older`` says that there are more nights than are shown, ``hidden`` that something personal is not.
    """

    name: str
    rows: int
    nights: list[tuple[str, int]]
    kinds: list[Kind]
    more_kinds: int
    rules: list[tuple[str, int]]
    older: bool
    hidden: bool


@dataclass(frozen=True)
class Report:
    """What is in quarantine of a source. ``ranges`` are nights that follow each other: first, last, rows."""

    source: str
    feeds: list[OfFeed]
    ranges: list[tuple[str, str, int]]


def report(of: Source, feeds: Iterable[Feed], first: date, last: date, *, shows_all: bool) -> Report:
    """What is in quarantine of ``feeds`` in the nights ``first`` to ``last``.

    What is personal is hidden unless ``shows_all``. A feed without a quarantine has none of its own rows broken yet.
    """
    found = [of_feed(of, feed, first, last, shows_all=shows_all) for feed in feeds]
    rows: dict[date, int] = {}
    for one in found:
        for night, number in one.nights:
            rows[date.fromisoformat(night)] = rows.get(date.fromisoformat(night), 0) + number
    return Report(of.name, found, ranges(rows))


def ranges(rows: dict[date, int]) -> list[tuple[str, str, int]]:
    """Nights with rows that follow each other, the last ones first."""
    found: list[tuple[date, date, int]] = []
    for night in sorted(rows, reverse=True):
        if found and found[-1][0] == night + timedelta(1):
            found[-1] = (night, found[-1][1], found[-1][2] + rows[night])
        else:
            found.append((night, night, rows[night]))
    return [(str(first), str(last), number) for first, last, number in found]


def of_feed(of: Source, feed: Feed, first: date, last: date, *, shows_all: bool) -> OfFeed:
    """What is in quarantine of a feed."""
    hidden = masks.is_personal(feed) and not shows_all
    nights, older = _nights(f"{table(of, feed)}__quarantine", first, last)
    there = _rows(f"{table(of, feed)}__quarantine", nights)
    by_night = there.group_by("ingestion_date").len().sort("ingestion_date").collect(engine="streaming")
    kind = reasons.of(feed, pl.col("reason")).alias("kind")
    counts = there.select(kind).group_by("kind").len().sort(["len", "kind"], descending=[True, False])
    kinds = [Kind(name, rows) for name, rows in counts.collect(engine="streaming").iter_rows()]
    shown = {one.name: one for one in kinds[:KINDS]}
    some = there.with_columns(kind).filter(pl.col("kind").is_in(list(shown))).group_by("kind").head(SAMPLES)
    for row in (
        some.collect(engine="streaming").sort("ingestion_date", "source_file", "line", descending=True).to_dicts()
    ):
        shown[row["kind"]].samples.append(_sample(feed, row, hidden=hidden))
    return OfFeed(
        name=feed.name,
        rows=sum(one.rows for one in kinds),
        nights=[(str(night), rows) for night, rows in by_night.iter_rows()],
        kinds=list(shown.values()),
        more_kinds=len(kinds) - len(shown),
        rules=_rules(of, feed, first, last),
        older=older,
        hidden=hidden,
    )


def _nights(name: str, first: date, last: date) -> tuple[list[date], bool]:
    """The last nights of a table within a range, by its log alone; and whether there are earlier ones."""
    if not delta.exists("bronze", name):
        return [], False
    found = {date.fromisoformat(one["ingestion_date"]) for one in delta.opened("bronze", name).partitions()}
    nights = sorted(night for night in found if first <= night <= last)
    return nights[-NIGHTS:], len(nights) > NIGHTS


def _rows(name: str, nights: Sequence[date]) -> pl.LazyFrame:
    """The rows of ``nights``; columns that an earlier version did not write yet are null."""
    columns = {
        "ingestion_date": pl.Date,
        "reason": pl.String,
        "source_file": pl.String,
        "line": pl.Int32,
        "raw": pl.String,
    }
    columns |= {"run": pl.String, "file_columns": pl.String, "rules": pl.String}
    none = pl.LazyFrame(schema=columns)
    if not nights:
        return none
    rows = delta.scan("bronze", name).filter(pl.col("ingestion_date").is_between(nights[0], nights[-1]))
    there = rows.collect_schema().names()
    return pl.concat([none, rows.select([column for column in columns if column in there])], how="diagonal")


def _sample(feed: Feed, row: dict[str, Any], *, hidden: bool) -> Sample:
    columns = json.loads(row["file_columns"]) if row["file_columns"] else None
    raw = masks.row(feed, row["raw"], columns) if hidden else row["raw"]
    reason = row["kind"] if hidden else row["reason"]
    # Of several files of a day the name may say a column's value.
    is_named = hidden and any(one.pii is Pii.PERSONAL and one not in feed.content.columns for one in feed.columns)
    file = masks.MASK if is_named else row["source_file"]
    words = raw if len(raw) <= LONGEST else f"{raw[:LONGEST]}…"
    return Sample(str(row["ingestion_date"]), reason, file, row["line"], words, row["run"] or "")


def _rules(of: Source, feed: Feed, first: date, last: date) -> list[tuple[str, int]]:
    """How many rows each rule has mended, those of the spec first; a rule that is gone from it may have left some."""
    name = f"{table(of, feed)}__mended"
    nights, _ = _nights(name, first, last)
    each = _rows(name, nights).select(pl.col("rules").str.split("; ").explode()).group_by("rules").len()
    found = dict(each.collect(engine="streaming").iter_rows())
    return [(rule, found.get(rule, 0)) for rule in dict.fromkeys([*map(str, feed.mends), *sorted(found)])]
