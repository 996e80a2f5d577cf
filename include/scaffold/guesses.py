"""What the rows of a sample say about a feed that nobody has said: keys, the day, closed sets, bounds, personal data.

Each is a pure function of rows. That it is a guess, the spec says beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from itertools import combinations, pairwise
from typing import Any

import polars as pl

from include.contracts.source import WHOLE, Column, Feed

MOST_VALUES = 12  # of a closed set
ROWS_A_VALUE = 5  # and so many rows each, so that another sample would hardly show another one
MOST_OF_KEY = 4
MOST_MEASURED = 1e30  # what is larger says that there is no value, as the largest float does
LOOKS_LIKE = 0.8  # so much of a column must look personal
_SOUNDS_LIKE_KEY = re.compile(r"(^|_)(id|key|no|nr|number|code|uuid)($|_)", re.IGNORECASE)
_SOUNDS_LIKE_DAY = re.compile(r"(^|_)(day|date|dt|on|datum|jour|business_day)($|_)", re.IGNORECASE)
_SOUNDS_PERSONAL = re.compile(
    r"(^|_)(e?_?mail|phone|mobile|telephone|telefon|fax|first_?name|last_?name|full_?name|surname|family_?name|user_?name"
    r"|street|address|birth\w*|dob|geburt\w*|ssn|iban|passport|ip|ip_?addr(ess)?|credit_?card|card_?number|tax_?id"
    r"|licen[cs]e_plate|latlon|gender|religion|salary)($|_)",
    re.IGNORECASE,
)
_LOOKS_PERSONAL = {
    "an e-mail address": r"^[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}$",
    "an IP address": r"^(\d{1,3}\.){3}\d{1,3}$|^[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){3,7}$",
    "a phone number": r"^(\+|00?)[\d ()/-]{7,18}$",
    "a bank account": r"^[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,4})?$",
    "a card number": r"^(\d{4}[ -]?){3}\d{3,4}$",
}


LEAST_MONTHS, LEAST_WEEKS = 3, 3  # fewer say nothing of a calendar
SAME_AGAIN = 0.8  # so many of a snapshot's rows are in the one before, unchanged
MOST_COMPARED = 20  # files
INSERTS, UPDATES = ("insert", "inserted", "create", "created", "c", "i", "r", "read"), ("update", "updated", "u")
DELETES = ("delete", "deleted", "remove", "removed", "d")
STYLES = (
    ("insert", "update", "delete"),
    ("inserted", "updated", "deleted"),
    ("create", "update", "delete"),
    ("created", "updated", "deleted"),
    ("c", "u", "d", "r"),
    ("i", "u", "d"),
)
_SOUNDS_LIKE_OP = re.compile(r"_*(op|operation|action|change_type|change_?kind|dml_?type)", re.IGNORECASE)
_SOUNDS_LIKE_SEQUENCE = re.compile(r"(^|_)(seq|sequence|lsn|scn|offset|position|ordinal|version)($|_)", re.IGNORECASE)
OPEN_SHARE = 0.8  # of the days on which a source is open; the others may be holidays


def personal(column: Column, values: pl.Series) -> str:
    """Why ``column`` may be personal, by its name or by how its values look; empty where nothing says so."""
    if _SOUNDS_PERSONAL.search(column.name):
        return "its name sounds personal"
    there = values.drop_nulls()
    if column.type != "string" or there.is_empty():
        return ""
    for what, pattern in _LOOKS_PERSONAL.items():
        if what == "a phone number" and _SOUNDS_LIKE_KEY.search(column.name):  # an order_id of 05010000
            continue
        if int(there.str.contains(pattern).sum()) >= LOOKS_LIKE * len(there):
            return f"it looks like {what}"
    return ""


def closed_set(column: Column, values: pl.Series) -> tuple[str, ...]:
    """The few values that a text has; empty where it may have others."""
    if column.type != "string":
        return ()
    found = values.drop_nulls().unique().sort()
    if not 1 < len(found) <= MOST_VALUES or len(values) < ROWS_A_VALUE * len(found):
        return ()
    return tuple(found)


def op_column(columns: Sequence[Column]) -> str:
    """The column that may say what was done to a row: an insert, an update or a delete; empty where none does."""
    return next((one.name for one in columns if one.type == "string" and _SOUNDS_LIKE_OP.fullmatch(one.name)), "")


def sequence_column(columns: Sequence[Column]) -> str:
    """The column that may say in which order changes were made: a whole number, or a time; empty where none does."""
    numbers = [one.name for one in columns if one.type in WHOLE and _SOUNDS_LIKE_SEQUENCE.search(one.name)]
    return next(iter([*numbers, *(one.name for one in columns if one.type == "timestamp")]), "")


def are_ops(values: pl.Series) -> bool:
    """Whether ``values`` are words for inserts, updates and deletes, of two kinds at least."""
    found = set(values.drop_nulls().str.to_lowercase())
    kinds = [found & set(words) for words in (INSERTS, UPDATES, DELETES)]
    return found <= {*INSERTS, *UPDATES, *DELETES} and sum(map(bool, kinds)) > 1


def ops(values: pl.Series) -> tuple[str, ...]:
    """All words for what can be done: those of ``values``, and the others of the same style, as no sample need have."""
    found = sorted(values.drop_nulls().unique())
    style = next((style for style in STYLES if {one.lower() for one in found} <= set(style)), ())
    like = str.upper if all(one.isupper() for one in found) else str.title if found[0].istitle() else str
    return tuple(sorted({*found, *map(like, style)}))


def key_of_changes(feed: Feed, rows: pl.DataFrame) -> tuple[str, ...]:
    """The fewest columns that name what was changed: with the sequence they tell rows apart; empty where none do."""
    out = (feed.op, feed.sequence)
    usable = [
        column.name
        for column in feed.columns
        if column.name not in out and column.kind in ("string", *WHOLE) and not rows[column.name].has_nulls()
    ]
    order = {name: n for n, name in enumerate(usable)}
    usable.sort(key=lambda name: (not _SOUNDS_LIKE_KEY.search(name), order[name]))
    for size in range(1, MOST_OF_KEY + 1):
        for some in combinations(usable[:12], size):
            if is_key(rows, [*some, feed.sequence, "partition_day"]):
                return some
    return ()


def is_snapshot(feed: Feed, rows: pl.DataFrame) -> bool:
    """Whether each file is the whole table again: most of its rows are in the file before too, unchanged."""
    days = sorted(rows["partition_day"].unique())[:MOST_COMPARED]
    named = file_day_column(feed, rows)
    names = [column.name for column in feed.columns if column.name != named and not column.is_nested]
    tables = [rows.filter(pl.col("partition_day") == day).select(names) for day in days]
    if len(days) < 2 or any(table.is_duplicated().any() for table in tables):
        return False
    again = sum(after.join(before, on=names, how="semi", nulls_equal=True).height for before, after in pairwise(tables))
    return again >= SAME_AGAIN * sum(table.height for table in tables[1:])


def file_day_column(feed: Feed, rows: pl.DataFrame) -> str:
    """The column in which each row says the day of its file; empty where there is none."""
    dates = [column.name for column in feed.columns if column.type == "date"]
    return next((name for name in dates if rows[name].eq_missing(rows["partition_day"]).all()), "")


def bounds(column: Column, values: pl.Series) -> tuple[float | None, float | None]:
    """A range that holds values ten times as large as those here: it catches another unit, not a busy day."""
    there = values.drop_nulls()
    if not column.is_number or column.kind == "decimal" or there.is_empty():
        return None, None
    low, high = float(there.min()), float(there.max())  # type: ignore[arg-type]
    if not (math.isfinite(low) and math.isfinite(high)):
        return None, None
    most = max(abs(low), abs(high), 1)
    if most > MOST_MEASURED:
        return None, None
    far = 10.0 ** math.ceil(math.log10(10 * most))
    widest = {"smallint": 2**15 - 1, "int": 2**31 - 1}.get(column.type)
    if widest and far > widest:
        return (0.0 if low >= 0 else None), None
    return (0.0 if low >= 0 else -far), far


def is_of_one_day(rows: pl.DataFrame, day: str) -> bool:
    """Whether each file has rows of one day alone."""
    return rows.group_by("source_file").agg(pl.col(day).n_unique())[day].max() == 1


def day_column(feed: Feed, rows: pl.DataFrame) -> str:
    """The column with the row's own day: a required date, of one day alone if any is, by its name, or the first."""
    dates = [column.name for column in feed.columns if column.type == "date" and column.required]
    ranked = sorted(
        dates, key=lambda name: (not is_of_one_day(rows, name), not _SOUNDS_LIKE_DAY.search(name), dates.index(name))
    )
    return ranked[0] if ranked else ""


def key(feed: Feed, rows: pl.DataFrame, by_day: Sequence[str]) -> tuple[str, ...]:
    """The fewest columns in which no two rows of a day are equal; empty where there are none.

    ``by_day`` are the columns of the day. Names that sound like a key come first, then whole numbers and texts; a
    measure is none.
    """
    usable = [
        column.name
        for column in feed.columns
        if column.required and not column.is_nested and column.kind not in ("double", "decimal", "boolean", "binary")
        if column.name not in by_day and rows[column.name].n_unique() > 1
    ]
    order = {name: n for n, name in enumerate(usable)}
    usable.sort(key=lambda name: (not _SOUNDS_LIKE_KEY.search(name), order[name]))
    for size in range(1, MOST_OF_KEY + 1):
        for some in combinations(usable[:12], size):
            if is_key(rows, [*some, *by_day]):
                return some
    return ()


def is_key(rows: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether no two of ``rows`` are equal in the columns ``names``."""
    return bool(names) and not rows.select(names).is_duplicated().any()


def nulls(values: pl.Series) -> float:
    """The share of missing values."""
    return values.null_count() / len(values) if len(values) else 0.0


def step_days(days: Sequence[Any]) -> int:
    """How many days lie between most of ``days`` and the one before; 1 where that cannot be told."""
    sorted_days = sorted(set(days))
    steps = [(after - before).days for before, after in pairwise(sorted_days)]
    return max(1, sorted(steps)[len(steps) // 2]) if steps else 1


def calendar(days: Sequence[date]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The weekdays that ``days`` never have, 1 is Monday, and the days of a month that are the only ones they have.

    Both empty where there are too few to tell, or where they are of any kind.
    """
    there = set(days)
    of_month = {day.day for day in there}
    if len({(day.year, day.month) for day in there}) >= LEAST_MONTHS and len(of_month) == 1 and max(of_month) <= 28:
        return (), tuple(of_month)
    weeks = (max(there) - min(there)).days / 7 if there else 0
    open_ = {day.isoweekday() for day in there}
    # Each weekday that is there at all is there nearly each week.
    if weeks < LEAST_WEEKS or len(there) < OPEN_SHARE * weeks * len(open_):
        return (), ()
    return tuple(sorted(set(range(1, 8)) - open_)), ()
