"""A table of lines and delimiters, in whatever dialect.

A row is taken apart only where there is one way to do so; any other is broken, with the column and what is wrong there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import polars as pl

from include.contracts.dialect import BLANKS, Dialect, Long, Short
from include.contracts.source import Feed
from include.ingestion.reading import text

if TYPE_CHECKING:
    from upath import UPath

LONGEST = 1 << 20
"""Letters that a quoted text of several lines may have."""

MOST_LINES_OF_HEADER = 100

MOST_GROUPS = 200
"""Columns that one pattern takes apart; more make it too large."""

UNIT = "\x1f"
"""Stands for a delimiter of several signs where a pattern needs a single one."""


def pieces(path: UPath, feed: Feed, there: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The rows of the file at ``path``. Raises UnreadableFileError."""
    names = there or [column.name for column in feed.columns]
    values = [pl.col(str(names.index(column.name))).alias(column.name) for column in feed.columns]
    for lines in records(path, feed.dialect):
        rows = _taken_apart(lines, names, feed.dialect)
        yield rows.select(*values, "_text", "_flaw", pl.lit(None, pl.String).alias("_odd"))


def records(path: UPath, dialect: Dialect) -> Iterator[pl.Series]:
    """The rows of the table: what is before and after it is left out, and so are blank lines and comments."""
    head, over = _Head(dialect), False
    waiting: list[str] = []  # the lines of a text within quotes that goes on in the next block
    for lines in text.blocks(path, dialect):
        if over:
            continue
        lines = head.taken_from(lines)
        if waiting:
            lines = pl.concat([pl.Series("_text", waiting), lines])
        lines, waiting = _joined(lines, dialect, is_last=False)
        lines, over = _within_table(lines, dialect)
        yield _rows(lines, dialect)
    if waiting and not over:
        lines, _ = _joined(pl.Series("_text", waiting), dialect, is_last=True)
        yield _rows(_within_table(lines, dialect)[0], dialect)


def _rows(lines: pl.Series, dialect: Dialect) -> pl.Series:
    if not dialect.line_end:
        lines = lines.str.strip_suffix("\r")
    is_row = lines.str.strip_chars(text.BLANK) != ""
    if dialect.comment:
        is_row &= ~lines.str.starts_with(dialect.comment)
    return lines.filter(is_row)


def _within_table(lines: pl.Series, dialect: Dialect) -> tuple[pl.Series, bool]:
    """``lines`` up to where the table ends, and whether it does."""
    if not dialect.ends_before:
        return lines, False
    # Only of a line by itself: what is within quotes ends nothing.
    found = (
        n for n, line in enumerate(lines) if "\n" not in line and re.search(dialect.ends_before, line.rstrip("\r"))
    )
    end = next(found, None)
    return (lines, False) if end is None else (lines.head(end), True)


class _Head:
    """What is before the first row: lines that are skipped, and the header."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.skipped, self.begun, self.left = 0, not dialect.begins_after, dialect.header
        self.waiting: list[str] = []  # a name within quotes that goes on in the next block

    def taken_from(self, lines: pl.Series) -> pl.Series:
        """``lines`` without those of them that are before the first row."""
        if self.waiting:
            lines, self.waiting = pl.concat([pl.Series("_text", self.waiting), lines]), []
        at = 0
        while at < len(lines) and (self.left or not self.begun or self.skipped < self.dialect.skip_lines):
            line, at = lines[at], at + 1
            if self.skipped < self.dialect.skip_lines:
                self.skipped += 1
            elif not self.begun:
                self.begun = bool(re.search(self.dialect.begins_after, line.rstrip("\r")))
            elif not self._is_no_row(line):
                more = self._goes_on(lines.slice(at - 1, MOST_LINES_OF_HEADER))
                if more is None:
                    self.waiting = lines.slice(at - 1).to_list()
                    return lines.clear()
                self.left -= 1
                at += more
        return lines.slice(at)

    def _goes_on(self, lines: pl.Series) -> int | None:
        """Over how many more of ``lines`` a name within quotes goes that the first of them opens; None if not yet."""
        if not self.dialect.quote or self.dialect.quote not in lines[0]:
            return 0
        shown = _with_one_sign(lines.head(1), self.dialect).str.strip_suffix("\r")
        is_open = shown.str.contains(_signs(self.dialect).opens)[0]
        if not is_open or len(lines) == MOST_LINES_OF_HEADER:
            return 0
        return _closing(lines.to_list(), 0, self.dialect)

    def _is_no_row(self, line: str) -> bool:
        comment = self.dialect.comment
        return not line.strip(text.BLANK) or bool(comment and line.startswith(comment))


@dataclass(frozen=True)
class _Signs:
    """The patterns of a dialect whose delimiter is one sign: for Rust as texts, and for Python, where none steps back.

    One that does runs out of stack on a long text.
    """

    value: str
    opens: str  # a line that ends within quotes
    quoted: re.Pattern[str]
    unquoted: re.Pattern[str]
    inside: re.Pattern[str]  # a line within quotes, up to where they may end
    opens_again: re.Pattern[str]  # what is after them


@lru_cache
def _signs(dialect: Dialect) -> _Signs:
    quote, escape, between = (re.escape(one) for one in (dialect.quote, dialect.escape, _one_sign(dialect)))
    blank = f"[{BLANKS}]" if dialect.trim else ""
    blanks, all_blanks = (f"{blank}*", f"{blank}*+") if blank else ("", "")
    if dialect.escape == dialect.quote:
        inside, plain = f"(?:[^{quote}]|{quote}{quote})*", f"[^{quote}{between}]"
        all_inside = f"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"
        first, loose = f"[^{quote}{between}{BLANKS if blank else ''}]", f"[^{between}]"
    else:
        inside, plain = f"(?:[^{quote}{escape}]|{escape}.)*", f"(?:[^{quote}{escape}{between}]|{escape}.)"
        all_inside = f"[^{quote}{escape}]*+(?:{escape}.[^{quote}{escape}]*+)*+"
        first = f"(?:[^{quote}{escape}{between}{BLANKS if blank else ''}]|{escape}.)"
        loose = f"(?:[^{escape}{between}]|{escape}.)"

    def opens(blanks: str, inside: str, more: str) -> str:
        before = f"{blanks}{quote}{inside}{quote}{blanks}(?:{between})|{blanks}(?:{first}{loose}{more})?(?:{between})"
        return rf"(?s)\A(?:{before}){more}{blanks}{quote}{inside}\z"

    return _Signs(
        f"{blanks}{quote}{inside}{quote}{blanks}|{plain}*",
        opens(blanks, inside, "*"),
        re.compile(f"{all_blanks}{quote}{all_inside}{quote}{all_blanks}", re.DOTALL),
        re.compile(f"{plain}*+", re.DOTALL),
        re.compile(all_inside, re.DOTALL),
        re.compile(opens(all_blanks, all_inside, "*+").replace(r"\z", r"\Z"), re.DOTALL),
    )


def _one_sign(dialect: Dialect) -> str:
    return dialect.delimiter if len(dialect.delimiter) == 1 else UNIT


def _joined(lines: pl.Series, dialect: Dialect, is_last: bool) -> tuple[pl.Series, list[str]]:
    """``lines`` with those that are within one pair of quotes as one, and what has to wait for the lines to come."""
    if not dialect.quote:
        return lines, []
    suspects = lines.str.contains(dialect.quote, literal=True)
    if dialect.comment:
        suspects &= ~lines.str.starts_with(dialect.comment)
    if not suspects.any():
        return lines, []
    signs, places = _signs(dialect), suspects.arg_true()
    shown = _with_one_sign(lines.gather(places), dialect)
    if not dialect.line_end:
        shown = shown.str.strip_suffix("\r")
    opening = places.filter(shown.str.contains(signs.opens)).to_list()
    if not opening:
        return lines, []
    texts, joined, at = lines.to_list(), list[str](), 0
    for first in opening:
        if first < at:
            continue
        if dialect.ends_before and re.search(dialect.ends_before, texts[first].rstrip("\r")):
            break
        end = _closing(texts, first, dialect)
        if end is None and not is_last:
            joined += texts[at:first]
            return pl.Series("_text", joined, dtype=pl.String), texts[first:]
        if end:
            joined += [*texts[at:first], "\n".join(texts[first : end + 1])]
            at = end + 1
    return pl.Series("_text", [*joined, *texts[at:]], dtype=pl.String), []


def _closing(texts: Sequence[str], first: int, dialect: Dialect) -> int | None:
    """Which of ``texts`` closes the quote that the ``first`` one opens: 0 where it is never closed, None if not yet."""
    signs, length = _signs(dialect), 0
    for place in range(first, len(texts)):
        line = texts[place].removesuffix("\r") if not dialect.line_end else texts[place]
        length += len(line) + 1
        if length > LONGEST + 1:
            return 0
        if place == first:
            continue
        line = _with_one_sign(line, dialect)
        inside = cast(re.Match[str], signs.inside.match(line))  # it matches nothing, too
        if inside.end() == len(line):
            continue
        after = line[inside.end() + 1 :]
        if not line.startswith(dialect.quote, inside.end()):
            return 0
        after = after.lstrip(BLANKS) if dialect.trim else after
        if not after:
            return place
        if not after.startswith(_one_sign(dialect)):
            return 0
        if not signs.opens_again.fullmatch(after):
            return place
    return None


def _with_one_sign[T: (str, pl.Series)](text: T, dialect: Dialect) -> T:
    if len(dialect.delimiter) == 1:
        return text
    if isinstance(text, str):
        return text.replace(dialect.delimiter, UNIT)
    return text.str.replace_all(dialect.delimiter, UNIT, literal=True)


def _taken_apart(records: pl.Series, names: Sequence[str], dialect: Dialect) -> pl.DataFrame:
    """The values of each record by their places, since nobody knows what the columns are called."""
    if not dialect.quote:
        return _plain(records, len(names), dialect)
    special = records.str.contains(dialect.quote, literal=True)
    if dialect.escape != dialect.quote:
        special |= records.str.contains(dialect.escape, literal=True)
    parts = [_plain(records.filter(~special), len(names), dialect)]
    if special.any():
        parts.append(_with_quotes(records.filter(special), names, dialect))
    return pl.concat(parts)


def value(text: pl.Expr, dialect: Dialect) -> pl.Expr:
    """A value without quotes, null where its text says that there is none."""
    if dialect.trim:
        text = text.str.strip_chars(BLANKS)
    is_null = text == dialect.nulls[0] if len(dialect.nulls) == 1 else text.is_in(list(dialect.nulls))
    return pl.when(~is_null).then(text)


def _fits(delimiters: pl.Expr, columns: int, dialect: Dialect) -> pl.Expr:
    fits = delimiters == columns - 1
    if dialect.short_rows is Short.PAD:
        fits |= delimiters < columns
    if dialect.long_rows is Long.CUT:
        fits |= delimiters >= columns
    return fits


def _plain(lines: pl.Series, columns: int, dialect: Dialect) -> pl.DataFrame:
    """Records without any quote: a delimiter is a delimiter."""
    places = [str(place) for place in range(columns)]
    fits = _fits(pl.col("_text").str.count_matches(dialect.delimiter, literal=True), columns, dialect)
    fields = pl.col("_text").str.split_exact(dialect.delimiter, columns - 1).struct.rename_fields(places)
    return (
        pl.DataFrame({"_text": lines})
        .select("_text", fits.alias("_fits"), fields.alias("_fields"))
        .unnest("_fields")
        .select(
            *(pl.when("_fits").then(value(pl.col(place), dialect)).alias(place) for place in places),
            "_text",
            pl.when(~pl.col("_fits")).then(pl.lit(f"not {columns} columns")).alias("_flaw"),
        )
    )


def _with_quotes(lines: pl.Series, names: Sequence[str], dialect: Dialect) -> pl.DataFrame:
    if len(names) > MOST_GROUPS:
        return _by_hand(lines, names, dialect)
    places = [str(place) for place in range(len(names))]
    row = re.escape(_one_sign(dialect)).join([f"({_signs(dialect).value})"] * len(names))
    fields = pl.col("_text").str.extract_groups(rf"(?s)\A{row}\z").struct.rename_fields(places)
    found = pl.DataFrame({"_text": _with_one_sign(lines, dialect)}).select(fields.alias("_fields")).unnest("_fields")
    found = found.with_columns(lines.alias("_text"))
    odd = found[places[0]].is_null()
    if len(dialect.delimiter) > 1:
        odd |= lines.str.contains(UNIT, literal=True)
    quote = dialect.quote
    values = []
    for place in places:
        text_ = pl.col(place).str.strip_chars(BLANKS) if dialect.trim else pl.col(place)
        quoted = _unescaped(text_.str.slice(1, text_.str.len_chars() - 2), dialect)
        plain = _unescaped(value(text_, dialect), dialect) if dialect.escape != quote else value(text_, dialect)
        values.append(pl.when(text_.str.starts_with(quote)).then(quoted).otherwise(plain).alias(place))
    whole = found.filter(~odd).select(*values, "_text", pl.lit(None, pl.String).alias("_flaw"))
    return pl.concat([whole, _by_hand(lines.filter(odd), names, dialect)])


def _unescaped(text: pl.Expr, dialect: Dialect) -> pl.Expr:
    if dialect.escape == dialect.quote:
        text = text.str.replace_all(dialect.quote * 2, dialect.quote, literal=True)
    else:
        text = text.str.replace_all(f"(?s){re.escape(dialect.escape)}(.)", "${1}")
    return text if len(dialect.delimiter) == 1 else text.str.replace_all(UNIT, dialect.delimiter, literal=True)


def _by_hand(lines: pl.Series, names: Sequence[str], dialect: Dialect) -> pl.DataFrame:
    """The same one record at a time: such that are broken, or have another number of values."""
    columns: list[list[str | None]] = [[] for _ in names]
    flaws = list[str | None]()
    for line in lines:
        values, flaw = _values(line, names, dialect)
        fits = (
            not flaw
            and (len(values) >= len(names) or dialect.short_rows is Short.PAD)
            and (len(values) <= len(names) or dialect.long_rows is Long.CUT)
        )
        flaws.append(None if fits else flaw or f"not {len(names)} columns")
        for place, column in enumerate(columns):
            column.append(values[place] if fits and place < len(values) else None)
    texts = [pl.Series(str(place), column, dtype=pl.String) for place, column in enumerate(columns)]
    return pl.DataFrame([*texts, lines.alias("_text"), pl.Series("_flaw", flaws, dtype=pl.String)])


def _values(line: str, names: Sequence[str], dialect: Dialect) -> tuple[list[str | None], str]:
    """The values of a record, and which quote of it is wrong, in which column and how; empty where none is."""
    if len(dialect.delimiter) > 1 and UNIT in line:
        return [], "holds the sign U+001F, which stands for the delimiter"
    values, at, line = list[str | None](), 0, _with_one_sign(line, dialect)
    for match, is_quoted in _fields(line, dialect):
        values.append(_plain_text(match[0], dialect, is_quoted))
        at = match.end() + 1
    if at > len(line):
        return values, ""
    where = names[len(values)] if len(values) < len(names) else "after the last column"
    rest = line[at:].lstrip(BLANKS) if dialect.trim else line[at:]
    if not rest.startswith(dialect.quote):
        why = "a quote within a text that is not in quotes"
        if dialect.quote not in rest:
            why = "an escape at the end of the line"
    elif _signs(dialect).quoted.match(line, at):
        why = "more text after the closing quote"
    else:
        why = "a quote that its line does not close"
    return values, f"{where}: {why}"


def _fields(line: str, dialect: Dialect) -> Iterator[tuple[re.Match[str], bool]]:
    """What is between two delimiters, and whether it is in quotes, up to what is neither a text nor a quoted one."""
    signs, between, at = _signs(dialect), _one_sign(dialect), 0
    while at <= len(line):
        found = ((signs.quoted.match(line, at), True), (signs.unquoted.match(line, at), False))
        whole = (
            (match, is_quoted)
            for match, is_quoted in found
            if match and (match.end() == len(line) or line.startswith(between, match.end()))
        )
        field = next(whole, None)
        if field is None:
            return
        yield field
        at = field[0].end() + 1


def spans(line: str, dialect: Dialect) -> list[tuple[int, int]] | None:
    """Where in a record each of its values begins and ends, quotes included; None where there is no one way to say."""
    if len(dialect.delimiter) > 1 and UNIT in line:
        return None
    shown = _with_one_sign(line, dialect)
    if dialect.quote:
        ends = [match.end() for match, _ in _fields(shown, dialect)]
    else:
        ends = [at for at, sign in enumerate(shown) if sign == _one_sign(dialect)] + [len(shown)]
    if not ends or ends[-1] != len(shown):
        return None

    def place(at: int) -> int:
        """Of the line itself, where a delimiter may have several signs."""
        return at + (len(dialect.delimiter) - 1) * shown.count(UNIT, 0, at) if len(dialect.delimiter) > 1 else at

    starts = [0, *(end + 1 for end in ends[:-1])]
    return [(place(start), place(end)) for start, end in zip(starts, ends, strict=True)]


def _plain_text(value: str, dialect: Dialect, is_quoted: bool) -> str | None:
    if dialect.trim:
        value = value.strip(BLANKS)
    if is_quoted:
        value = value[1:-1]
    elif value in dialect.nulls:
        return None
    if dialect.escape != dialect.quote:
        value = re.sub(f"{re.escape(dialect.escape)}(.)", r"\1", value, flags=re.DOTALL)
    elif is_quoted:
        value = value.replace(dialect.quote * 2, dialect.quote)
    return value.replace(UNIT, dialect.delimiter) if len(dialect.delimiter) > 1 else value
