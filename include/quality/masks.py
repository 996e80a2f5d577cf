"""Rows as their files have them, with what is personal hidden.

Only what is known to be no personal column is shown: a row that cannot be taken apart, or of which nobody knows any
more which columns its file had, is hidden as a whole, and so is a column that its spec does not name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

from include.contracts.source import Feed, Format, Pii
from include.ingestion.reading import delimited

MASK = "•••"

# From where to where a value goes, and whether everybody may see it.
Span = tuple[int, int, bool]


def is_personal(feed: Feed) -> bool:
    """Whether a row of ``feed`` holds anything to hide."""
    return any(column.pii is Pii.PERSONAL for column in feed.columns)


def row(feed: Feed, raw: str, columns: Sequence[str] | None) -> str:
    """``raw`` as the quarantine has it, without what is personal. ``columns`` are its file's, None if nobody knows."""
    if not is_personal(feed):
        return raw
    if feed.wide:  # a row is a cell of a line, whose other cells are other rows
        return MASK
    if feed.format is Format.JSONL:
        return _json(feed, raw)
    spans = list(_spans(feed, raw, columns or ()))
    return _masked(raw, spans) if spans else MASK


def _open(feed: Feed) -> set[str]:
    """The columns that everybody may see. What the spec does not name, nobody has said that of."""
    return {column.name for column in feed.columns if column.pii is not Pii.PERSONAL}


def _spans(feed: Feed, raw: str, columns: Sequence[str]) -> Iterator[Span]:
    """Where each value of ``raw`` is; nothing where that cannot be said."""
    seen = _open(feed)
    if feed.format is Format.FIXED:
        for one in feed.content.columns:
            yield one.place - 1, one.place - 1 + one.width, one.name in seen
    elif feed.format is Format.LOG:
        names = {column.in_file for column in feed.content.columns if column.name in seen}
        if found := re.fullmatch(feed.dialect.log_pattern, raw):
            yield from ((*found.span(name), name in names) for name in found.groupdict() if found[name] is not None)
    else:
        if feed.format is Format.CSV:
            places = delimited.spans(raw, feed.dialect) or []
        else:  # has no lines: the quarantine has its values with commas between them
            columns, places = [column.name for column in feed.columns], list(_between_commas(raw))
        if len(places) == len(columns):
            yield from ((*place, name in seen) for name, place in zip(columns, places, strict=True))


def _between_commas(raw: str) -> Iterator[tuple[int, int]]:
    start = 0
    for part in raw.split(","):
        yield start, start + len(part)
        start += len(part) + 1


def _masked(raw: str, spans: Sequence[Span]) -> str:
    """``raw`` with each value hidden that not everybody may see, and whatever words are between the values."""
    hidden = [(start, end) for start, end, is_shown in spans if not is_shown]
    # A group of a log's pattern may be within another one.
    clear = [
        (start, end, is_shown)
        for start, end, is_shown in spans
        if not is_shown or not any(start < other_end and other < end for other, other_end in hidden)
    ]
    return "".join(_pieces(raw, sorted(clear)))


def _pieces(raw: str, spans: Iterable[Span]) -> Iterator[str]:
    at = 0
    for start, end, is_shown in spans:
        if start < at:
            continue
        yield _between(raw[at:start])
        yield raw[start:end] if is_shown or start == end else MASK
        at = end
    yield _between(raw[at:])


def _between(text: str) -> str:
    return MASK if re.search(r"\w", text) else text


def _json(feed: Feed, raw: str) -> str:
    """A line of JSON; nobody has said what is in a key that the spec does not name, nor what the key itself says."""
    try:
        found = json.loads(raw)
    except ValueError:
        return MASK
    if not isinstance(found, dict):
        return MASK
    known = {column.in_file for column in feed.columns}
    hidden = {column.in_file for column in feed.columns if column.pii is Pii.PERSONAL}  # or a value within it
    shown = {key: MASK if key in hidden else value for key, value in found.items() if key in known}
    return json.dumps(shown | ({MASK: MASK} if found.keys() - known else {}), ensure_ascii=False)
