"""What is in the columns of a table: names, types and how they are written, keys, and the day."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from itertools import combinations
from typing import Any

import polars as pl
from upath import UPath

from include.contracts.dialect import RFC_4180, Dialect
from include.contracts.source import BOOKKEEPING, MOST_DIGITS, Column, Copies, Feed, Form, Format
from include.core.letters import plain_letters
from include.ingestion import values, verdicts
from include.ingestion.proposing import nested
from include.ingestion.proposing.lines import Table

NULLS = ("NA", "N/A", "n/a", "NULL", "null", "None", "-", "--", "?", ".", r"\N", "nan", "NaN", "#N/A")
PLAIN: dict[type, str] = {bool: "boolean", date: "date"}
BOOLEANS = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("ja", "nein"), ("oui", "non"), ("si", "no"))
NUMBERS = ((".", ""), (",", ""), (",", "."), (".", ","), (".", "'"), (",", " "), (".", " "))
CURRENCIES = ({"€", "EUR"}, {"$", "USD"}, {"£", "GBP"}, {"¥", "JPY"}, {"zł", "PLN"})
MARKS = re.compile(r"^[-+(]?\s*([^\d\s.,()+-]{1,4})\s*[-+]?\d|\d\s*([^\d\s.,()+-]{1,4})$")
DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y"),
    *("%d %B %Y", "%d %b %Y", "%d-%b-%Y", "%B %d, %Y", "%b %d, %Y", "%a %d-%b-%Y"),
)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%H:%M:%S %z", "%H:%M:%S%z")
# A whole number that is a moment since 1970, where it is of this century.
EPOCHS = {"%s": (946_684_800, 4_102_444_800), "%L": (946_684_800_000, 4_102_444_800_000)}
ISO_TIMES = (*(f"%Y-%m-%d {clock}" for clock in CLOCKS[:3]), "%d/%b/%Y:%H:%M:%S %z")

Reads = Callable[..., bool]  # whether a type, with its pattern, marks or form, reads nearly all of a column
Found = tuple[Column, list[str]]  # and what is only assumed of it


def day_of(path: UPath) -> date:
    """The day in the name of ``path``, or today."""
    for found in re.findall(r"\d{4}-\d{2}-\d{2}|\d{8}", path.name):
        with suppress(ValueError):
            return date.fromisoformat(found)
    return datetime.now(UTC).date()


def feed_of(table: Table, name: str) -> tuple[Feed, list[str]]:
    """A feed called ``name`` for ``table``, and what is only assumed."""
    width = len(table.rows[0]) if table.rows else len(table.names)
    names = table.names or [""] * width
    # What is no row has no say: the header once more, or nothing at all.
    rows = [row for row in table.rows if row != table.names and any(row)]
    cells = [[row[n] for row in rows] for n in range(width)]
    dialect, notes = _written(table.dialect, cells), list(table.notes)
    wanted = [n for n in range(width) if table.dialect.header == 0 or names[n].strip() or any(cells[n])]
    ours = _identifiers([names[n] for n in wanted])
    twice = {one for one in names if names.count(one) > 1}
    found = []
    for n, own in zip(wanted, ours, strict=True):
        column, more = _column(own, cells[n], dialect)
        notes += more
        unnamed = not names[n].strip()
        found.append(
            replace(
                column,
                source_name="" if own == names[n] or unnamed else names[n],
                place=n + 1 if (names[n] in twice or unnamed) and table.names else 0,
            )
        )
    if not table.names:
        dialect = replace(dialect, header=0)
    return _feed(name, found, [cells[n] for n in wanted], Format.CSV, dialect, notes)


def of_values(rows: Sequence[dict[str, Any]], name: str, format_: Format) -> tuple[Feed, list[str]]:
    """The same for rows that have types already."""
    theirs = list(dict.fromkeys(key for row in rows for key in row))
    given = {key: [row.get(key) for row in rows] for key in theirs}
    return _of_columns({key: partial(_of_type, values_=given[key]) for key in theirs}, given, name, format_)


def of_types(
    types: Mapping[str, str], given: Mapping[str, Sequence[Any]], name: str, format_: Format
) -> tuple[Feed, list[str]]:
    """The same for columns that say their own ``types``, by name, and hold what is ``given``."""

    def column(own: str, key: str) -> tuple[Column | None, list[str]]:
        if not types[key]:
            return None, ["no column of a feed has its type"]
        has_zone = types[key] != "timestamp" or any(getattr(one, "tzinfo", None) for one in given[key])
        note = [] if has_zone else [f"{key} says no time zone: UTC is assumed"]
        return Column(own, types[key], "", required=_is_required(given[key])), note

    return _of_columns({key: partial(column, key=key) for key in types}, given, name, format_)


def _of_columns(
    made: Mapping[str, Callable[[str], tuple[Column | None, list[str]]]],
    given: Mapping[str, Sequence[Any]],
    name: str,
    format_: Format,
) -> tuple[Feed, list[str]]:
    """A feed of the columns that are ``made`` of a name of ours each, by their names in the file."""
    found, cells, notes = [], [], list[str]()
    for own, (key, make) in zip(_identifiers(list(made)), made.items(), strict=True):
        column, more = make(own)
        if column is None and (shape := nested.shape_of(given[key])):
            column = Column(own, nested.spelled(shape), "", required=_is_required(given[key]))
            more = list(filter(None, [nested.note(own, key, shape)]))
        if column is None:
            notes.append(f"{key} is left out: {more[0]}")
            continue
        notes += more
        found.append(replace(column, source_name="" if own == key else key))
        cells.append(["" if one is None else str(one) for one in given[key]])
    return _feed(name, found, cells, format_, RFC_4180, notes)


def _is_required(given: Sequence[Any]) -> bool:
    return bool(given) and None not in given


def _of_type(name: str, values_: Sequence[Any]) -> tuple[Column | None, list[str]]:
    kinds = {type(one) for one in values_} - {type(None)}
    required = _is_required(values_)
    if kinds == {int}:
        small = all(abs(one) < 2**31 for one in values_ if one is not None)
        return Column(name, "int" if small else "bigint", "", required=required), []
    if kinds == {str}:
        return _column(name, [one or "" for one in values_], RFC_4180)
    if kinds == {Decimal}:
        behind = max(max(0, -int(one.as_tuple().exponent)) for one in values_ if one is not None)
        return Column(name, f"decimal({MOST_DIGITS},{behind})", "", required=required), []
    if kinds == {datetime}:
        has_zone = all(one.tzinfo for one in values_ if one is not None)
        note = [] if has_zone else [f"{name} says no time zone: UTC is assumed"]
        return Column(name, "timestamp", "", required=required), note
    if kinds and kinds <= {int, float}:
        return Column(name, "double", "", required=required), []
    if len(kinds) == 1 and (type_ := PLAIN.get(next(iter(kinds)))):
        return Column(name, type_, "", required=required), []
    return None, ["it has values of several types" if kinds - {dict, list} else "it is nested, or has no values"]


def _feed(
    name: str, found: list[Column], cells: list[list[str]], format_: Format, dialect: Dialect, notes: list[str]
) -> tuple[Feed, list[str]]:
    key = _key(found, cells)
    if not key:
        key = tuple(column.name for column in found if not column.is_nested)
        notes = [
            *notes,
            "no few columns tell its rows apart: the key is all that are not nested. Where equal rows are different "
            "things: key=(), copies=Copies.KEEP",
        ]
    day = next(
        (
            column.name
            for column, values_ in zip(found, cells, strict=True)
            if column.type == "date" and len(set(values_)) == 1
        ),
        "",
    )
    notes = [*notes, *_wide(found)]
    # Keys must be there, and a row of another day than the file's is only said where the file has a day.
    copies = Copies.DROP if key else Copies.KEEP
    feed = Feed(name, "", tuple(found), key, copies=copies, format=format_, dialect=dialect)
    return feed, ([*notes, f"day_column could be {day!r}, which is one day in all rows"] if day else notes)


def _wide(found: Sequence[Column]) -> list[str]:
    """Whether the names of some numbers differ by a number alone, as those of sensors and hours do."""
    stems: dict[str, list[str]] = {}
    for column in found:
        if column.is_number and re.search("[0-9]", column.in_file):
            stems.setdefault(re.sub("[0-9]+", "#", column.in_file), []).append(column.in_file)
    return [
        f"{', '.join(names[:2])} and {len(names) - 2} more may be readings of one kind. As rows they are "
        f"wide=Wide(into=…, value=…, columns=r{re.escape(stem).replace(re.escape('#'), '([0-9]+)')!r})"
        for stem, names in stems.items()
        if len(names) > 2
    ]


def _identifiers(names: Sequence[str]) -> list[str]:
    """Names that columns can have, no two equal."""
    taken, found = set[str](), []
    for place, name in enumerate(names, start=1):
        word = re.sub(r"[^a-z0-9]+", "_", plain_letters(name).lower()).strip("_") or f"column_{place}"
        word = f"column_{word}" if word[0].isdigit() or keyword.iskeyword(word) or word in BOOKKEEPING else word
        if name.isidentifier() and name.isascii() and not name.startswith("_") and name.casefold() not in BOOKKEEPING:
            word = name
        own, n = word, 2
        while own.casefold() in taken:
            own, n = f"{word}_{n}", n + 1
        taken.add(own.casefold())
        found.append(own)
    return found


def _written(dialect: Dialect, cells: Sequence[Sequence[str]]) -> Dialect:
    """``dialect`` with what it says about values: the way to write numbers under which most of them are ones."""
    nulls = [one for one in NULLS if any(one in column and _is_mostly_typed(column, one) for column in cells)]
    if not nulls:
        nulls = [one for one in (r"\N", "NULL", "NA", "N/A") if any(one in column for column in cells)]
    dialect = replace(dialect, nulls=("", *nulls))
    ways = [
        (decimal, thousands, accounting)
        for accounting in (False, True)
        for decimal, thousands in NUMBERS
        if not (accounting and not any("(" in one or one.endswith("-") for column in cells for one in column))
    ]

    def explained(way: tuple[str, str, bool]) -> int:
        other = replace(dialect, decimal=way[0], thousands=way[1], accounting=way[2])
        return sum(_is_number(column, other) for column in cells)

    # The plainest of those that explain most.
    best = max(ways, key=lambda way: (explained(way), -ways.index(way)))
    dialect = replace(dialect, decimal=best[0], thousands=best[1], accounting=best[2])
    for true, false in BOOLEANS[4:]:
        if any(_is_flag(column, true, false) for column in cells):
            return replace(dialect, true=(true,), false=(false,))
    return dialect


def _is_flag(column: Sequence[str], true: str, false: str) -> bool:
    words = [one.lower() for one in column if one]
    return true in words and false in words and sum(one in (true, false) for one in words) > 0.7 * len(words)


def _is_mostly_typed(column: Sequence[str], null: str) -> bool:
    from include.ingestion.proposing.lines import TYPED

    others = [one for one in column if one not in ("", null)]
    return bool(others) and sum(bool(TYPED.fullmatch(one)) for one in others) > 0.9 * len(others)


def _is_number(column: Sequence[str], dialect: Dialect) -> bool:
    return _reads(Column("c", "double", "", marks=_marks(column)), column, dialect)


def _marks(column: Sequence[str]) -> tuple[str, ...]:
    """What stands beside the numbers of ``column``: the mark that is there most often, and its other name."""
    found = Counter(mark for one in column if (match := MARKS.search(one)) for mark in match.groups() if mark)
    for mark in [one for one in found if one in ("e", "E", "T", "Z") or re.search(r"[0-9.,+\-():/]", one)]:
        del found[mark]
    if not found or all(re.match("[A-Za-z]+-?0[0-9]", one) for one in column if one):
        return ()  # of numbers, or of codes as A-0001
    most = found.most_common(1)[0][0]
    return tuple(sorted({most, *(one for one in found if {one, most} in CURRENCIES)}))


def _reads(column: Column, texts: Sequence[str], dialect: Dialect, share: float = 0.7) -> bool:
    """Whether ``column`` reads nearly all of ``texts``, and there are some."""
    frame = pl.DataFrame({"c": list(texts)}, schema={"c": pl.String})
    column = replace(column, name="c")
    there = frame.select(values.missing(column, dialect, pl.col("c")))["c"].drop_nulls()
    if there.is_empty():
        return False
    plain = pl.DataFrame({"c": there}).select(values.plain(column, dialect, pl.col("c")))
    pattern = verdicts.pattern_of(column)
    good = plain.select(
        pl.col("c").str.contains(rf"\A(?:{pattern})\z") & verdicts.typed_as(column, pl.col("c")).is_not_null()
    )["c"]
    return int(good.fill_null(False).sum()) >= share * len(there)


def _column(name: str, texts: Sequence[str], dialect: Dialect) -> Found:
    """The narrowest type that reads nearly all of ``texts``, and what is only assumed of it."""

    def reads(type_: str, **more: Any) -> bool:
        return _reads(Column("c", type_, "", **more), texts, dialect)

    required = all(text not in dialect.nulls for text in texts)
    there = [text for text in texts if text not in dialect.nulls]
    if not there:
        return Column(name, "string", ""), [f"{name} has no value here: is it a text?"]
    known = {*dialect.true, *dialect.false}
    if any(set(pair) <= known and _is_flag(there, *pair) for pair in BOOLEANS):
        return Column(name, "boolean", "", required=required), []
    for kind in (_digits, _number, _time):
        if found := kind(name, there, required, reads):
            return found
    if reads("double", form=Form.DURATION):
        return Column(name, "double", "", "s", required=required, form=Form.DURATION), []
    odd = next((one for one in NULLS if one in there), "")
    return Column(name, "string", "", required=required), [f"{name} has {odd!r}: is it nothing?"] if odd else []


def _digits(name: str, there: Sequence[str], required: bool, reads: Reads) -> Found | None:
    """What digits stand for where they are no number: a code with zeros in front, a moment, a day."""
    codes = [one for one in there if re.fullmatch("0[0-9]+", one)]
    are_digits = all(re.fullmatch("[0-9]+", one) for one in there)
    if codes and are_digits and not _patterns(reads, there, "date", DAYS):
        return Column(name, "string", "", required=required), [f"{name} is a text, for its zeros in front: {codes[0]}"]
    for pattern, (least, most) in EPOCHS.items():
        if all(re.fullmatch("[0-9]+", one) and least <= int(one) < most for one in there):
            said = f"{name} is taken for a moment since 1970 ({pattern}); if it is a number, say bigint"
            return Column(name, "timestamp", "", required=required, pattern=pattern), [said]
    if all(re.fullmatch("(19|20)[0-9]{6}", one) for one in there) and reads("date", pattern="%Y%m%d"):
        return Column(name, "date", "", required=required, pattern="%Y%m%d"), []
    if all(re.fullmatch("(19|20)[0-9]{2}[.][0-3][0-9]{2}", one) for one in there) and reads("date", pattern="%Y.%j"):
        return Column(name, "date", "", required=required, pattern="%Y.%j"), [f"{name}: days of the year, or numbers?"]
    return None


def _number(name: str, there: Sequence[str], required: bool, reads: Reads) -> Found | None:
    marks = _marks(there)
    for type_ in ("int", "bigint", "double"):
        if reads(type_, marks=marks):
            return Column(name, type_, "", required=required, marks=marks), []
    return None


def _time(name: str, there: Sequence[str], required: bool, reads: Reads) -> Found | None:
    """A date or a moment, by the first pattern that reads it."""
    if reads("date"):
        return Column(name, "date", "", required=required), []
    if reads("timestamp"):
        return _moment(name, there, required, ())
    if found := _patterns(reads, there, "date", DAYS):
        note = [f"{name}: day or month first? {found} is assumed"] if _is_open(reads, "date", found) else []
        return Column(name, "date", "", required=required, pattern=found), note
    times = (*ISO_TIMES, *(f"{day} {clock}" for day in DAYS for clock in CLOCKS))
    if found := _patterns(reads, there, "timestamp", times):
        note = [f"{name}: day or month first? {found} is assumed"] if _is_open(reads, "timestamp", found) else []
        column, more = _moment(name, there, required, found)
        return column, [*note, *more]
    several = [one for one in times if _fits(one, there, 0.1)]
    if len(several) > 1 and reads("timestamp", pattern=tuple(several)):
        return _moment(name, there, required, tuple(several))
    return None


def _moment(name: str, there: Sequence[str], required: bool, pattern: Any) -> Found:
    has_zone = all(re.search(r"(Z|[+-]\d\d:?\d\d)$", one) for one in there)
    note = [] if has_zone else [f"{name} says no time zone: UTC is assumed"]
    return Column(name, "timestamp", "", required=required, pattern=pattern), note


def _patterns(reads: Reads, there: Sequence[str], type_: str, patterns: Sequence[str]) -> str:
    return next((one for one in patterns if _fits(one, there) and reads(type_, pattern=one)), "")


def _fits(pattern: str, there: Sequence[str], share: float = 0.7) -> bool:
    """Whether some of the first texts look like ``pattern``: a quick look before the real one."""
    some = there[:20]
    return sum(bool(_looks(pattern).match(one)) for one in some) >= share * len(some)


@lru_cache
def _looks(pattern: str) -> re.Pattern[str]:
    return re.compile(values.pattern_of(pattern)[0].replace(r"\z", r"\Z"))


def _is_open(reads: Reads, type_: str, found: str) -> bool:
    """Whether day and month may be the other way round as well."""
    other = found.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")
    return "%m" in found and "%d" in found and not found.startswith("%Y") and reads(type_, pattern=other)


def _key(found: Sequence[Column], cells: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The fewest columns in which no two rows are equal, names that sound like one first."""
    rows = len(cells[0]) if cells else 0
    usable = [
        n
        for n, column in enumerate(found)
        if column.required and column.type != "double" and not column.is_nested and len(set(cells[n])) > 1
    ]
    usable.sort(key=lambda n: (not re.search(r"(^|_)(id|key|no|nr|number|code|uuid)($|_)", found[n].name), n))
    for size in (1, 2, 3):
        for some in combinations(usable[:12], size):
            if len(set(zip(*(cells[n] for n in some), strict=True))) == rows:
                return tuple(found[n].name for n in some)
    return ()
