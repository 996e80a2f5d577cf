"""Where the columns of lines of fixed width are: by blanks that all lines have, and by where digits and letters meet.

Whoever wrote the file knows where each column begins. From its lines that can only be guessed, so that each border that
could be elsewhere is said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from include.contracts.dialect import RFC_4180, Dialect
from include.contracts.source import Feed, Format
from include.ingestion.counting.text import BLANK
from include.ingestion.proposing import columns
from include.ingestion.proposing.lines import MOST_ROWS, TYPED, Table

LEAST_ROWS = 3
MOST_AROUND = 10  # lines before the rows, and after them
NEARLY = 0.95  # of the lines that have anything there
OF_VALUES = ("encoding", "skip_lines", "ends_before", "nulls", "decimal", "thousands", "accounting", "true", "false")
NUMBER = set("0123456789.,+-%€$")
# Texts of one width, the longer ones first: where nearly all lines have one in the same place, it is a column.
_DAY, _MONTH, _CLOCK = "(?:0[1-9]|[12][0-9]|3[01])", "(?:0[1-9]|1[0-2])", "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_YEAR = "(?:19|20)[0-9]{2}"
MOMENTS = (
    (f"{_YEAR}-{_MONTH}-{_DAY}[T ]{_CLOCK}:[0-5][0-9]Z", 20),
    (f"{_YEAR}-{_MONTH}-{_DAY}[T ]{_CLOCK}:[0-5][0-9]", 19),
    (f"(?:{_YEAR}-{_MONTH}-{_DAY}[T ]|{_DAY}[./]{_MONTH}[./]{_YEAR} ){_CLOCK}", 16),
    (f"{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}|(?:{_DAY}[./]{_MONTH}|{_MONTH}/{_DAY})[./]{_YEAR}", 10),
    (f"{_YEAR}{_MONTH}{_DAY}|{_CLOCK}:[0-5][0-9]", 8),
    (_CLOCK, 5),
)


@dataclass(frozen=True)
class Span:
    """A column: its first sign, counted from 0, and the one after its last."""

    start: int
    end: int

    def of(self, line: str) -> str:
        return line[self.start : self.end].strip(" ")


def feed_of(text: str, encoding: str, name: str) -> tuple[Feed, list[str]] | None:
    """A feed called ``name`` for the lines of ``text``, and what is only assumed; None where they do not look so."""
    lines = [line.rstrip("\r") for line in text.split("\n")[:MOST_ROWS]]
    if "\t" in text or not _may_be_fixed([line for line in lines if line.strip(BLANK)]):
        return None
    first, last = _rows(lines)
    rows = [line for line in lines[first:last] if line.strip(BLANK)]
    if len(rows) < LEAST_ROWS or _has_delimiter(rows):
        return None
    head = [line for line in lines[:first] if line.strip(BLANK)]
    ruler, header = _ruler(head), next((line for line in reversed(head) if re.search(r"\w", line)), "")
    parts = ruler or _parts(rows, header)
    if len(parts) < 2:
        return None
    spans = list(_filled(parts, rows))
    names = _names(header, spans) if header else [f"column {n}" for n, _ in enumerate(spans, start=1)]
    dialect = replace(RFC_4180, encoding=encoding, **_around(lines, first, last))
    table = Table(dialect, names, [[span.of(line) for span in spans] for line in rows], [])
    feed, notes = columns.feed_of(table, name)
    placed = tuple(
        replace(column, source_name="", place=span.start + 1, width=span.end - span.start)
        for column, span in zip(feed.columns, spans, strict=True)
    )
    said = Dialect(**{one: getattr(feed.dialect, one) for one in OF_VALUES})
    assumed = [] if ruler else list(_assumed(placed, parts))
    feed = replace(feed, columns=placed, format=Format.FIXED, dialect=said)
    return feed, [*assumed, *_of_bytes(rows, encoding), *notes]


def _may_be_fixed(rows: Sequence[str]) -> bool:
    """Whether most lines have several blanks in a row, or nearly all are of one length."""
    if len(rows) < LEAST_ROWS:
        return False
    most = max(Counter(map(len, rows)).values())
    return sum("  " in row for row in rows) >= 0.5 * len(rows) or most >= 0.9 * len(rows)


def _has_delimiter(rows: Sequence[str]) -> bool:
    """Whether every line has a delimiter in one place, with a blank beside it: a decimal comma has none."""
    return any(
        all(row[place : place + 1] == sign for row in rows)
        and any(row[place - 1] == " " or row[place + 1 : place + 2] == " " for row in rows)
        for place, sign in enumerate(rows[0])
        if sign in ",;|" and place
    )


def _rows(lines: Sequence[str]) -> tuple[int, int]:
    """The first row and the one after the last: no letter is there where nearly all lines have digits."""
    body = [line for line in lines if line.strip(BLANK)]
    body = body[len(body) // 4 : -(len(body) // 8) or None]
    digits = [n for n in range(max(map(len, body))) if _share(body, n) > 0.7]
    is_row = [bool(re.search(r"\w", line)) and not any(line[n : n + 1].isalpha() for n in digits) for line in lines]
    firsts = [n for n, (one, two) in enumerate(pairwise([*is_row, False])) if one and (two or not digits)]
    first = next(iter(firsts), len(lines))
    last = next((n + 1 for n in reversed(range(len(lines))) if is_row[n]), 0)
    # Much that is no row is no title and no total: then nobody knows where the rows are.
    return (first, last if sum(map(bool, lines[last:])) <= MOST_AROUND else 0) if first <= MOST_AROUND else (0, 0)


def _share(rows: Sequence[str], place: int) -> float:
    """The share of digits among the signs that lines have at ``place``; 0 where few have any."""
    signs = [row[place] for row in rows if row[place : place + 1].strip(" ")]
    return sum(map(str.isdigit, signs)) / len(signs) if len(signs) >= 0.3 * len(rows) else 0.0


def _ruler(head: Sequence[str]) -> list[Span]:
    """The columns by a line of dashes under the header, each as wide as its column."""
    ruler = next((line for line in reversed(head) if re.fullmatch(r" *([-=]+ +)+[-=]+ *", line)), "")
    return [Span(*match.span()) for match in re.finditer("[-=]+", ruler)]


def _around(lines: Sequence[str], first: int, last: int) -> dict[str, Any]:
    """What a dialect says of the lines before the rows and after them."""
    after = next((line for line in lines[last:] if line.strip(BLANK)), "")
    word = re.match(r"\W*\w+", after)
    said = {"skip_lines": first} if first else {}
    is_told = word and not any(line.startswith(word[0]) for line in lines[first:last])
    return said | ({"ends_before": f"^{re.escape(word[0])}"} if word and is_told else {})


def _parts(rows: Sequence[str], header: str) -> list[Span]:
    """What each column has in any line, from left to right."""
    width, found = max(map(len, rows)), list[Span]()
    moments, at = sorted(_moments(rows, width), key=lambda one: one.start), 0
    for moment in [*moments, Span(width, width)]:
        found += _joined(list(_between(rows, at, moment.start)), rows, header)
        found += [moment] if moment.end > moment.start else []
        at = moment.end
    return found


def _moments(rows: Sequence[str], width: int) -> list[Span]:
    """Where nearly all lines that have anything there have a day or a time."""
    found: list[Span] = []
    for pattern, length in MOMENTS:
        looks = re.compile(pattern)
        for start in range(width - length + 1):
            if any(start < one.end and one.start < start + length for one in found):
                continue
            there = [text for row in rows if (text := row[start : start + length]).strip(" ")]
            alike = sum(bool(looks.fullmatch(text)) for text in there)
            if len(there) >= max(2, 0.3 * len(rows)) and alike >= NEARLY * len(there):
                found.append(Span(start, start + length))
    return found


def _between(rows: Sequence[str], start: int, end: int) -> Iterator[Span]:
    """Parts between places that are blank in every line: of them those of numbers, and those with letters."""
    kinds = [_kind(rows, place) for place in range(start, end)]
    at = start
    while at < end:
        kind, last = kinds[at - start], at
        while last < end and kinds[last - start] == kind:
            last += 1
        if kind == "number":
            yield from _numbers(rows, at, last)
        elif kind:
            yield Span(at, last)
        at = last


def _kind(rows: Sequence[str], place: int) -> str:
    """What lines have at ``place``: nothing, a part of numbers, or of a text."""
    signs = {row[place] for row in rows if len(row) > place} - {" "}
    return "" if not signs else "number" if signs <= NUMBER else "text"


def _numbers(rows: Sequence[str], start: int, end: int) -> Iterator[Span]:
    """The numbers in a part: one ends where every line has a digit and some have a blank after it."""
    ends = [
        place
        for place in range(start + 1, end)
        if _filled_in(rows, place - 1) >= NEARLY and _filled_in(rows, place) < NEARLY
    ]
    yield from (Span(one, two) for one, two in pairwise([start, *ends, end]))


def _filled_in(rows: Sequence[str], place: int) -> float:
    return sum(row[place : place + 1] not in ("", " ") for row in rows) / len(rows)


def _joined(parts: Sequence[Span], rows: Sequence[str], header: str) -> list[Span]:
    """``parts`` without borders that are none: those within a text or a code."""
    found: list[Span] = []
    for part in parts:
        if found and not _is_border(found[-1], part, rows, header):
            part = Span(found.pop().start, part.end)
        found.append(part)
    return found


def _is_border(left: Span, right: Span, rows: Sequence[str], header: str) -> bool:
    """Whether two parts are two columns."""
    are_numbers = [all(TYPED.fullmatch(part.of(row)) for row in rows) for part in (left, right)]
    if left.end < right.start:
        # Blanks of a text, where the header has no other name for what follows.
        return any(are_numbers) or not header or bool(header[left.end : right.end].strip(" "))
    if are_numbers == [False, True]:
        # Of a code, as A-0001, where no line has a blank between its letters and its digits.
        return any(row[right.start : right.start + 1] in ("", " ") or row[left.end - 1] == " " for row in rows)
    return any(are_numbers)


def _filled(parts: Sequence[Span], rows: Sequence[str]) -> Iterator[Span]:
    """``parts`` with the blanks between them, for values that are longer on another day.

    Before a number that ends in one place they are the number's: a text that grows into it breaks its row, where a
    number that is cut would be another one.
    """
    borders = [0]
    for left, right in pairwise(parts):
        is_number = all(TYPED.fullmatch(right.of(row)) for row in rows)
        borders.append(left.end if is_number and _filled_in(rows, right.end - 1) >= 0.5 else right.start)
    yield from (Span(one, two) for one, two in pairwise([*borders, max(map(len, rows))]))


def _names(header: str, spans: Sequence[Span]) -> list[str]:
    """What the line ``header`` calls each column: the words that are above it for the most part."""
    found: list[list[str]] = [[] for _ in spans]
    for word in re.finditer(r"\S+", header):
        shared = [min(word.end(), span.end) - max(word.start(), span.start) for span in spans]
        found[shared.index(max(shared))].append(word[0])
    return [" ".join(some) or f"column {n}" for n, some in enumerate(found, start=1)]


def _assumed(columns_: Sequence[Any], parts: Sequence[Span]) -> Iterator[str]:
    """Which borders could be elsewhere, in words."""
    gaps = {
        right: right_.start - left_.end for right, (left_, right_) in zip(columns_[1:], pairwise(parts), strict=True)
    }
    if wide := [column.name for column, gap in gaps.items() if gap > 1]:
        names = ", ".join(wide)
        yield f"where these columns begin is assumed, for every line has several blanks there: {names}"
    if close := [column.name for column, gap in gaps.items() if not gap]:
        names = ", ".join(close)
        yield f"that these columns begin where numbers end, or digits and letters meet, is assumed: {names}"


def _of_bytes(rows: Sequence[str], encoding: str) -> Iterator[str]:
    if len({len(row) for row in rows}) > 1 and len({len(row.encode(encoding)) for row in rows}) == 1:
        yield (
            "its lines are of one length in bytes, not in letters: its widths are of bytes, and places are of letters. "
            "Ask for it in an encoding with one byte a letter, as cp1252"
        )
