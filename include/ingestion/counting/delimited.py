"""The rows of a table of lines and delimiters, in whatever dialect, and its columns.

What a record is: a line that is not blank, no comment, and within the table. Where its last value opens a quote, the
lines up to the one that closes it belong to it, unless one of them could be a row by itself: nobody can say then
whether a quote was only forgotten, and the file is refused, but for an upstream that promises such texts
(``multiline``). A quote that none of the next lines closes breaks its own line alone.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, cast

from include.contracts.dialect import BLANKS, Dialect, Long, Short
from include.contracts.source import Feed, Finished
from include.ingestion.counting import text
from include.ingestion.counting.columns import joined, matched, placed
from include.ingestion.files import UnreadableFileError, unpacked

if TYPE_CHECKING:
    from upath import UPath

# A line of blanks between two others, in bytes.
BLANK_LINE = re.compile(rb"\n[\x01-\x09\x0b-\x20]*\n")
# Encodings in which neither the end of a line nor a quote is ever a part of another letter.
ONE_BYTE = re.compile(r"utf_?8|ascii|latin_?1|iso_?8859_.+|cp(125\d|437|850|852|858|866)|koi8_.|mac_.+")


@dataclass(frozen=True)
class Grammar:
    """The lines of a dialect as patterns. None steps back: one that does runs out of stack on a long text."""

    field: str  # one value, its quotes included
    row: re.Pattern  # a whole line, its quotes as they should be
    opens: re.Pattern  # a line whose last value opens a quote that it does not close
    within: re.Pattern  # one within such a quote
    closes: re.Pattern  # the end of such a quote


@lru_cache
def grammar(dialect: Dialect) -> Grammar:
    """The patterns of ``dialect``."""
    quote, escape, delimiter = (re.escape(one) for one in (dialect.quote, dialect.escape, dialect.delimiter))
    blanks = f"[{BLANKS}]*+" if dialect.trim else ""
    if not quote:
        return Grammar(f"(?:(?!{delimiter}).)*+", re.compile("(?s:.*)"), *[re.compile("(?!)")] * 3)
    if dialect.escape == dialect.quote:
        inside = f"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"
        plain = f"(?:(?!{delimiter})[^{quote}])*+"
        loose = f"(?:(?!{delimiter}).)*+"
    else:
        inside = f"[^{quote}{escape}]*+(?:{escape}.[^{quote}{escape}]*+)*+"
        plain = f"(?:{escape}.|(?!{delimiter})[^{quote}{escape}])*+"
        loose = f"(?:{escape}.|(?!{delimiter})[^{escape}])*+"
    whole = f"{blanks}{quote}{inside}{quote}{blanks}"
    field = f"{whole}(?={delimiter}|\\Z)|{plain}"
    # Before a quote that is not closed there may be values that are wrong in another way.
    before = f"(?:(?:{whole}(?={delimiter})|(?!{blanks}{quote}){loose}){delimiter})*+"
    flags = re.DOTALL
    return Grammar(
        field,
        re.compile(f"(?:{field})(?:{delimiter}(?:{field}))*+", flags),
        re.compile(f"{before}{blanks}{quote}{inside}", flags),
        re.compile(inside, flags),
        re.compile(f"{inside}{quote}{blanks}(?={delimiter}|\\Z)", flags),
    )


def values_of(line: str, dialect: Dialect) -> list[str]:
    """The values of a record; none where its quotes are not as ``dialect`` has them."""
    if not dialect.quote or (dialect.quote not in line and dialect.escape not in line):
        values = line.split(dialect.delimiter)
        return [one.strip(BLANKS) for one in values] if dialect.trim else values
    return [unquoted(one, dialect) for one in raw_values_of(line, dialect)]


def raw_values_of(line: str, dialect: Dialect) -> list[str]:
    """The same with their quotes and escapes, as they are written."""
    if not dialect.quote:
        return line.split(dialect.delimiter)
    rules = grammar(dialect)
    if not rules.row.fullmatch(line):
        return []
    found, at, one = list[str](), 0, re.compile(rules.field, re.DOTALL)
    while at <= len(line):
        match = cast(re.Match[str], one.match(line, at))  # the whole line is made of them
        found.append(match[0])
        at = match.end() + len(dialect.delimiter)
    return found


def unquoted(value: str, dialect: Dialect) -> str:
    """A value without its quotes and escapes."""
    if dialect.trim:
        value = value.strip(BLANKS)
    if not dialect.quote:
        return value
    if value.startswith(dialect.quote):
        value = value[1:-1]
        if dialect.escape == dialect.quote:
            return value.replace(dialect.quote * 2, dialect.quote)
    if dialect.escape != dialect.quote:
        return re.sub(f"{re.escape(dialect.escape)}(.)", r"\1", value, flags=re.DOTALL)
    return value


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """The rows and columns of the file at ``path``. Raises UnreadableFileError."""
    found = Table(path, feed)
    lines = found.table()
    header = list(found.header(lines))
    columns = columns_of(path, feed, header)
    there = found.rows(lines, len(columns or feed.columns))
    if columns is None:
        first = next(there, None)
        columns = placed(feed, len(values_of(first[1], feed.dialect)) if first else 0)
        there = chain([first] if first else [], there)
    rows = plain_rows(path, feed, feed.dialect)
    if rows is not None:
        return rows, columns
    rows = 0
    for number, record in there:
        _check_length(path, number, record, len(columns), feed.dialect)
        rows += 1
    return rows, columns


def records(path: UPath, feed: Feed) -> Iterator[tuple[int, str]]:
    """The number of the first line of each record of the file at ``path``, and its text."""
    found = Table(path, feed)
    lines = found.table()
    columns = len(columns_of(path, feed, list(found.header(lines))) or feed.columns)
    yield from found.rows(lines, columns)


NO_ROW = -1  # a number of columns that no line has


class Table:
    """The lines of the table in a file, numbered from 1."""

    def __init__(self, path: UPath, feed: Feed, dialect: Dialect | None = None) -> None:
        self.path, self.feed, self.dialect = path, feed, dialect or feed.dialect
        self.again = deque[tuple[int, str]]()  # lines that were taken for a part of another one, and are not

    def table(self) -> Iterator[tuple[int, str]]:
        """All lines from the header on, comments and what follows the table included."""
        dialect, begun = self.dialect, not self.dialect.begins_after
        for number, line in enumerate(text.lines(self.path, self.feed), start=1):
            if number <= dialect.skip_lines:
                continue
            if begun:
                yield number, line
            elif re.search(dialect.begins_after, line):
                begun = True
        if not begun:
            raise UnreadableFileError(
                f"{self.path}: the table is not there: no line has {dialect.begins_after!r}, after which it begins"
            )

    def header(self, lines: Iterator[tuple[int, str]]) -> Iterator[str]:
        """The lines of the header, which are taken from ``lines``."""
        left = self.dialect.header
        while left:
            number, line = self._next(lines)
            if not number:
                return
            if line.strip(text.BLANK) and not self._is_comment(line):
                if self._opens(line):
                    line = self._closed(lines, number, line, NO_ROW)
                yield line
                left -= 1

    def _next(self, lines: Iterator[tuple[int, str]]) -> tuple[int, str]:
        return self.again.popleft() if self.again else next(lines, (0, ""))

    def _is_comment(self, line: str) -> bool:
        return bool(self.dialect.comment) and line.startswith(self.dialect.comment)

    def rows(self, lines: Iterator[tuple[int, str]], columns: int) -> Iterator[tuple[int, str]]:
        """The records after the header."""
        dialect = self.dialect
        while True:
            number, line = self._next(lines)
            if not number or (dialect.ends_before and re.search(dialect.ends_before, line)):
                break
            if not line.strip(text.BLANK) or self._is_comment(line):
                continue
            if self._opens(line):
                line = self._closed(lines, number, line, columns)
            yield number, line
        for _ in lines:
            pass  # what is wrong with the rest is wrong with the file

    def _opens(self, line: str) -> bool:
        quote = self.dialect.quote
        return bool(quote and quote in line and grammar(self.dialect).opens.fullmatch(line))

    def _closed(self, lines: Iterator[tuple[int, str]], first: int, line: str, columns: int) -> str:
        """``line``, with those after it up to the one that closes its quote; by itself where none does."""
        rules, taken, length, row_like = grammar(self.dialect), [(first, line)], len(line), 0
        while True:
            number, more = self._next(lines)
            if not number:
                break
            taken.append((number, more))
            length += 1 + len(more)
            if length > text.LONGEST_LINE:
                break
            if rules.within.fullmatch(more):
                row_like = row_like or (number if self._is_row(more, columns) else 0)
                continue
            if not (end := rules.closes.match(more)):
                break
            if self._is_row(more, columns):
                row_like = row_like or number
            if row_like and not self.dialect.multiline:
                raise UnreadableFileError(
                    f"{self.path}: line {row_like} may be a row, or within the quotes that line {first} opens and line "
                    f"{number} closes. Write a text on one line, or close its quote there; where the upstream promises "
                    "that its quotes are right, say multiline=True in its dialect"
                )
            if rules.opens.fullmatch(more[end.end() :]):
                continue
            return "\n".join(one for _, one in taken)
        self.again.extendleft(reversed(taken[1:]))
        return line

    def _is_row(self, line: str, columns: int) -> bool:
        return bool(line.strip(text.BLANK)) and len(values_of(line, self.dialect)) == columns


def columns_of(path: UPath, feed: Feed, header: Sequence[str]) -> list[str] | None:
    """The file's columns by its header, those of the feed by their names there. None where there is no header."""
    dialect = feed.dialect
    if not dialect.header:
        return None
    lines = [values_of(line, dialect) for line in header]
    if len(lines) < dialect.header or not all(lines):
        if not any(line.strip(text.BLANK) for line in header):
            raise UnreadableFileError(f"{path}: no header and no rows. {NOTHING}")
        raise UnreadableFileError(
            f"{path}: a quote in the header is not closed, or within a name that is not in quotes"
        )
    return matched(path, feed, joined(lines), header[0])


def _check_length(path: UPath, number: int, record: str, columns: int, dialect: Dialect) -> None:
    """Raise UnreadableFileError where the dialect refuses a file with a row of that many values."""
    if not _refuses_lengths(dialect):
        return
    values = len(values_of(record, dialect))  # none: a broken row, whose values nobody knows
    refused = (values > columns and dialect.long_rows is Long.REFUSE) or (
        0 < values < columns and dialect.short_rows is Short.REFUSE
    )
    if refused:
        raise UnreadableFileError(f"{path}: line {number} has {values} values, and there are {columns} columns")


def _refuses_lengths(dialect: Dialect) -> bool:
    return dialect.short_rows is Short.REFUSE or dialect.long_rows is Long.REFUSE


NOTHING = "A day without anything has no file"


def plain_rows(path: UPath, feed: Feed, dialect: Dialect) -> int | None:
    """The rows of a file in which all is well, counted in pieces: seven times as fast as line by line.

    None where anything asks for a closer look, be it a blank line: ``text.lines`` then says what and where.
    """
    encoding = dialect.encoding.lower().replace("-", "_")
    if (
        not dialect.has_fixed_lines
        or _refuses_lengths(dialect)
        or not ONE_BYTE.fullmatch(encoding)
        or not (dialect.quote + dialect.escape).isascii()
    ):
        return None
    quote = dialect.quote.encode()
    own_escape = dialect.escape.encode() if dialect.escape != dialect.quote else b""
    quoted = _quoted(dialect) if quote else None
    ends, rest = 0, b""
    try:
        with unpacked(path) as file:
            while piece := file.read(text.LONGEST_LINE):
                # Whole lines, so that neither a character nor the end of a line is torn. Only the first of them may
                # be longer than a piece.
                head, end, rest = (rest + piece).rpartition(b"\n")
                block = head + end
                if len(rest) > text.LONGEST_LINE or block.find(b"\n") >= text.LONGEST_LINE or b"\0" in block:
                    return None
                if block.count(b"\r") != block.count(b"\r\n") or BLANK_LINE.search(b"\n" + block):
                    return None
                if own_escape and own_escape in block:
                    return None
                if quoted and quote in block and quote in quoted.sub(b"", b"\n" + block):
                    return None
                block.decode(dialect.encoding)
                ends += block.count(b"\n")
    except (UnreadableFileError, UnicodeDecodeError, zlib.error):
        return None
    if rest and (
        feed.finished is Finished.LINE_END or not rest.strip(text.BLANK.encode()) or (quote and quote in rest)
    ):
        return None
    try:
        rest.decode(dialect.encoding)
    except UnicodeDecodeError:
        return None
    ends += bool(rest)
    before = dialect.skip_lines + dialect.header
    return ends - before if ends >= before else None


@lru_cache
def _quoted(dialect: Dialect) -> re.Pattern[bytes]:
    """In bytes of many lines: a value whose quotes are as they should be."""
    quote, delimiter = re.escape(dialect.quote.encode()), re.escape(dialect.delimiter.encode(dialect.encoding))
    inside = rb"[^%b\n]*+" % quote
    inside += rb"(?:%b%b%b)*+" % (quote, quote, inside) if dialect.escape == dialect.quote else b""
    blanks = rb"[ \t]*+" if dialect.trim else b""
    return re.compile(
        rb"(?:(?<=%b)|(?<=\n))%b%b%b%b%b(?=%b|[\r\n])" % (delimiter, blanks, quote, inside, quote, blanks, delimiter)
    )
