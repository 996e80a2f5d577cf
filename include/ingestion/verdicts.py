"""Judging rows: every value typed, and each row given its verdict.

``alone`` says what can be said of a row by itself, ``together`` what can be said of rows that share a key. The verdict:

- the feed's columns, in their types;
- ``partition_day`` (date): the row's own business day where it is an earlier one than the file's, else the file's;
- ``night`` (date): the night in which the file arrived, by its name; ``source_file`` (relative to landing);
  ``arrived_at`` (the file's modification time, UTC);
- ``_reason``: why the row breaks its contract, null where it does not; ``_raw``: the text of one that does, and of one
  that is late or mended;
- ``_copy``: true for the second and further copies of a row among those of its night;
- ``_late``: true for a sound row of an earlier day than the file's;
- ``_mended``: the rules that mended it, null where none did; its ``_raw`` is as the file has it;
- ``_twin``: the same for rows that have to be looked at together; by chance others may have it as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from include.contracts import naming
from include.contracts.source import Column, Feed, Form
from include.ingestion import nested, values

BOOKKEEPING = ("_reason", "_raw", "_copy", "_late", "_mended", "_twin")

TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "smallint": pl.Int16(),
    "int": pl.Int32(),
    "bigint": pl.Int64(),
    "double": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us", "UTC"),
    "binary": pl.Binary(),
}
# How a value of each type is written. Casts also take ` 7 `, `NaN`, `inf` and a 60th second.
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-5][0-9](\.[0-9]{1,6})?)?"
_OFFSET = r"[+-][0-9]{2}:[0-9]{2}"
WRITTEN = {
    "smallint": "[+-]?[0-9]+",
    "int": "[+-]?[0-9]+",
    "bigint": "[+-]?[0-9]+",
    "double": _NUMBER,
    "boolean": "(?i:true|t|yes|y|1|false|f|no|n|0)",
    "date": _DATE,
    "timestamp": rf"{_DATE}[T ]{_TIME}(Z|{_OFFSET})?",
}
BASE64, HEX = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", "([0-9A-Fa-f]{2})*"
_TRUE = ("true", "t", "yes", "y", "1")
MOST_OFFSET = 18 * 60  # minutes, that a time zone may be away from UTC
SHOWN = 100  # characters of a value that a reason shows
# A day outside these years is a placeholder or a mistake.
YEARS = (1900, 2199)


def arrived(rows: pl.DataFrame, day: date, source_file: str, at: datetime) -> pl.DataFrame:
    """``rows`` with the file that they came in: the day of its name, its path within landing, its time (UTC)."""
    return rows.with_columns(
        pl.lit(day).alias("_day"),
        pl.lit(source_file).alias("source_file"),
        pl.lit(at, pl.Datetime("us", "UTC")).alias("arrived_at"),
    )


def type_of(column: Column) -> pl.DataType:
    """What the values of ``column`` are in Polars."""
    if column.is_nested:
        return nested.dtype(column.shape, lambda leaf: type_of(Column("leaf", leaf, "")))
    return pl.Decimal(*column.digits) if column.digits else TYPES[column.kind]


def pattern_of(column: Column) -> str:
    """How a value of ``column`` is written; empty where any text is one.

    Of a decimal no digit may be lost: more of them behind the point than it has are only zeros.
    """
    if column.type == "binary":
        return HEX if column.form is Form.HEX else BASE64
    if not column.digits:
        return WRITTEN.get(column.kind, "")
    digits, behind = column.digits
    return rf"[+-]?(0*[0-9]{{1,{max(1, digits - behind)}}}(\.[0-9]{{0,{behind}}}0*)?|\.[0-9]{{1,{max(1, behind)}}}0*)"


def columns_of(feed: Feed) -> dict[str, pl.DataType]:
    """The columns that judged rows have, in their order."""
    return {
        **{column.name: type_of(column) for column in feed.columns},
        "partition_day": pl.Date(),
        "ingestion_date": pl.Date(),
        "source_file": pl.String(),
        "arrived_at": pl.Datetime("us", "UTC"),
        "_reason": pl.String(),
        "_raw": pl.String(),
        "_copy": pl.Boolean(),
        "_late": pl.Boolean(),
        "_mended": pl.String(),
        "_twin": pl.UInt64(),
    }


def look_at(rows: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """``rows`` that have ``arrived``, of text, each with what can be said of it by itself, and all its ``_raw``."""
    names = [column.name for column in feed.columns]
    as_written = rows
    rows = values.mended(rows, feed)
    rows = rows.with_columns(values.missing(column, feed.dialect, pl.col(column.name)) for column in feed.columns)
    plain = rows.select(values.plain(column, feed.dialect, pl.col(column.name)) for column in feed.columns)
    typed, wrong = _typed_all(plain, feed.columns)
    written_otherwise = [column.name for column in feed.columns if not values.is_plain(column, feed.dialect)]
    both = rows.with_columns(typed.rename(_typed)).with_columns(plain.select(written_otherwise).rename(_plain))
    both = both.with_columns(wrong)
    problems = problems_of(feed)
    doubtful = both.select(
        pl.any_horizontal(
            pl.col("_flaw").is_not_null(), pl.col("_odd").is_not_null(), *(one.is_there for one in problems)
        ).fill_null(False)
    ).to_series()
    # Words are made for the rows that need some: nearly all do not.
    reasons = both.filter(doubtful).select(_reason(problems)).to_series()
    reason = pl.Series("_reason", [None], dtype=pl.String).new_from_index(0, rows.height)
    reason = reason.scatter(doubtful.arg_true(), reasons)
    raw = pl.col("_text")
    if feed.wide:
        # Of a broken cell also which one of its line it is: two of them are no copies.
        cell = pl.concat_str(pl.lit('"'), feed.wide.into, pl.lit('" '), "_text")
        raw = pl.when(pl.lit(reason.is_not_null()) & pl.col("_flaw").is_null()).then(cell).otherwise(raw)
    if rows["_text"].null_count():
        raw = raw.fill_null(pl.concat_str([pl.col(name).fill_null("") for name in names], separator=","))
    day, late = pl.col("_day"), pl.lit(False)
    if feed.day_column:
        late = pl.col("_reason").is_null() & (pl.col(feed.day_column) < day).fill_null(False)
    own_day = pl.when("_late").then(feed.day_column).otherwise(day) if feed.day_column else day
    return (
        typed.with_columns(reason, as_written.select(raw.alias("_raw")).to_series())
        .with_columns(rows.select("_day", "source_file", "arrived_at", "_mended"))
        .with_columns(late.alias("_late"))
        .with_columns(
            own_day.alias("partition_day"),
            (day - pl.duration(days=feed.lead_days)).alias("ingestion_date"),
            pl.lit(False).alias("_copy"),
        )
        .with_columns(_twin(feed))
        .select(*columns_of(feed))
    )


def _typed_all(plain: pl.DataFrame, columns: Sequence[Column]) -> tuple[pl.DataFrame, list[pl.Series]]:
    """The values of ``columns`` by their texts, and of the nested ones what is wrong with each."""
    found = {column.name: nested.judged(plain[column.name], column, _leaf) for column in columns if column.is_nested}
    typed = plain.select(
        found[column.name][0] if column.is_nested else typed_as(column, pl.col(column.name)) for column in columns
    )
    return typed, [words.alias(_wrong(name)) for name, (_, words) in found.items()]


def _leaf(texts: pl.Series, column: Column) -> tuple[pl.Series, pl.Series]:
    """The values of flat texts, and for each what is wrong with it: what is said of a column that is not nested."""
    frame = pl.DataFrame({"text": texts}).with_columns(typed_as(column, pl.col("text")).alias("value"))
    shown = pl.concat_str(pl.lit("'"), _short(pl.col("text")), pl.lit("'"))
    said = [
        pl.when(where.fill_null(False)).then(shown + f" {what}")
        for where, what in _unfit(column, pl.col("text"), pl.col("text"), pl.col("value"))
    ]
    words = frame.select(pl.coalesce(said)).to_series() if said else pl.Series([None] * len(texts), dtype=pl.String)
    return frame["value"], words


def alone(looked_at: pl.DataFrame) -> pl.DataFrame:
    """The verdicts of rows as ``look_at`` leaves them, where no row of their night is their twin."""
    return looked_at.with_columns(_raw_where_needed())


def together(looked_at: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """The verdicts of rows as ``look_at`` leaves them, where each has its twins beside it.

    Rows of one night and day that have the same key and the same content are copies, be they in one file or in several.
    Where the content differs nobody can say which one is right, so all of them break the contract.
    """
    names = [column.name for column in feed.columns]
    rows = looked_at.sort("_raw", "source_file")
    sound = rows.filter(pl.col("_reason").is_null())
    if not feed.unique:  # each is a thing of its own: a number tells it from all others
        sound, names = sound.with_row_index("_number"), [*names, "_number"]
    same_key = ["ingestion_date", "partition_day", *(feed.unique or ("_number",))]
    conflict = pl.any_horizontal(pl.col(name).n_unique().over(same_key) > 1 for name in names)
    differs = pl.lit(f"another row has the same {', '.join(feed.unique)} and differs")
    sound = sound.with_columns(conflict.alias("_conflict")).with_columns(
        pl.when("_conflict").then(differs).alias("_reason"),
        (pl.col("_late") & ~pl.col("_conflict")).alias("_late"),
        (pl.int_range(pl.len()).over("ingestion_date", "partition_day", *names) > 0).alias("_copy"),
    )
    # A broken row has no content to compare, only its text, and what the name of its file says.
    broken = rows.filter(pl.col("_reason").is_not_null())
    broken = broken.with_columns(
        (pl.int_range(pl.len()).over("ingestion_date", *naming.columns(feed.pattern), "_raw") > 0).alias("_copy")
    )
    return pl.concat([sound.select(broken.columns), broken]).with_columns(_raw_where_needed())


def _raw_where_needed() -> pl.Expr:
    wanted = pl.col("_reason").is_not_null() | pl.col("_late") | pl.col("_mended").is_not_null()
    return pl.when(wanted).then("_raw").alias("_raw")


def _twin(feed: Feed) -> pl.Expr:
    """By the key as what it is published as, so that 7 and 07 are one; of a broken row by its text.

    Null, which nothing equals, of a sound row of a feed whose copies are kept.
    """
    broken = pl.when(pl.col("_reason").is_not_null()).then("_raw").alias("_broken")
    twin = pl.struct("ingestion_date", broken, "partition_day", *feed.unique).hash()
    return (pl.when(pl.col("_reason").is_not_null()).then(twin) if not feed.unique else twin).alias("_twin")


def _typed(name: str) -> str:
    return f"_typed_{name}"


def _wrong(name: str) -> str:
    return f"_wrong_{name}"


def _plain(name: str) -> str:
    return f"_plain_{name}"


def typed_as(column: Column, text: pl.Expr) -> pl.Expr:
    """``text`` in a type of the specs; null where it cannot be read as one."""
    kind = column.kind
    if kind == "string":
        return text
    if kind == "binary":
        return text.str.decode("hex" if column.form is Form.HEX else "base64", strict=False)
    if kind == "double":
        # -0.0 becomes 0.0: of two equal values it would depend on chance which one is published.
        return text.cast(pl.Float64, strict=False) + 0.0
    if kind == "boolean":
        return text.str.to_lowercase().is_in(_TRUE)
    if kind == "date":
        return text.str.to_date("%Y-%m-%d", strict=False)
    if kind == "timestamp":
        return _time(text)
    return text.cast(type_of(column), strict=False)


def _time(text: pl.Expr) -> pl.Expr:
    """A moment: UTC where there is no offset."""
    offset = text.str.extract(f"({_OFFSET})$")
    minutes = offset.str.slice(1, 2).cast(pl.Int32, strict=False) * 60 + offset.str.slice(4, 2).cast(
        pl.Int32, strict=False
    )
    is_offset = (minutes <= MOST_OFFSET) & (offset.str.slice(4, 2) < "60")
    shift = pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes)
    local = text.str.slice(0, 10) + "T" + text.str.slice(11).str.replace(f"(Z|{_OFFSET})$", "")
    local = pl.when(local.str.len_bytes() == 16).then(local + ":00").otherwise(local)
    moment = local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    moved = pl.when(offset.is_null()).then(moment).when(is_offset).then(moment - pl.duration(minutes=shift))
    return moved.dt.replace_time_zone("UTC").alias(text.meta.output_name())


@dataclass(frozen=True)
class Problem:
    """What may be wrong with a row: whether it is, and what is said of it.

    That is ``shown``, which begins with the name of the column ``about`` and may have its value, and ``what``, which
    has none; of a nested column all is ``shown``. Of those with one ``group`` only the first is told.
    """

    about: str
    is_there: pl.Expr
    shown: pl.Expr
    what: str
    group: str

    @property
    def words(self) -> pl.Expr:
        # Not by pl.format, which ends the program where a chunk of its column is empty (Polars 2.1).
        return pl.concat_str(self.shown, pl.lit(f" {self.what}")) if self.what else self.shown


def problems_of(feed: Feed) -> list[Problem]:
    """What may be wrong with a row that could be taken apart, in the order in which it is told."""
    return [*(problem for column in feed.columns for problem in _problems(column, feed)), *_strange_days(feed)]


def _short(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.len_chars() > SHOWN).then(text.str.slice(0, SHOWN) + "…").otherwise(text)


def _problems(column: Column, feed: Feed) -> Iterable[Problem]:
    """What may be wrong with the text of ``column``, the gravest first."""
    name, text, value = column.name, pl.col(column.name), pl.col(_typed(column.name))
    plain = text if values.is_plain(column, feed.dialect) else pl.col(_plain(name))
    shown = pl.concat_str(pl.lit(f"{name}: '"), _short(text), pl.lit("'"))

    def problem(where: pl.Expr, what: str, shown: pl.Expr = shown) -> Problem:
        return Problem(name, where.fill_null(False), shown, what, name)

    if column.is_nested:  # its own words, with the place within it and the value there
        yield problem(pl.col(_wrong(name)).is_not_null(), "", pl.col(_wrong(name)))
    else:
        for where, what in _unfit(column, text, plain, value):
            yield problem(where, what)
    if column.required:
        yield problem(text.is_null(), "missing", pl.lit(f"{name}:"))
    if column.form is Form.HHMM:
        yield problem(~value.is_between(0, 2400) | (value % 100 > 59), "is no time of day (HHMM)")
    if column.values:
        known = pl.Series(column.values, dtype=pl.String).cast(type_of(column)).to_list()
        yield problem(~value.is_in(known), "is not one of the known values")
    if column.minimum is not None:
        yield problem(value < column.minimum, f"is below {column.minimum:g}")
    if column.maximum is not None:
        yield problem(value > column.maximum, f"is above {column.maximum:g}")


def _unfit(column: Column, text: pl.Expr, plain: pl.Expr, value: pl.Expr) -> Iterable[tuple[pl.Expr, str]]:
    """Where a text is none of the type of a flat ``column``, in which words."""
    if pattern := pattern_of(column):
        unreadable = value.is_null() | plain.is_null() | ~plain.str.contains(rf"\A(?:{pattern})\z")
        if column.type == "double":
            unreadable |= value.is_infinite()  # 1e999
        yield text.is_not_null() & unreadable, f"is no {column.type}"
    if column.type in ("date", "timestamp"):
        yield ~value.dt.year().is_between(*YEARS), f"is not between {YEARS[0]} and {YEARS[1]}"


def _strange_days(feed: Feed) -> Iterable[Problem]:
    """What may be wrong with a row's own day beside the file's."""
    name = feed.day_column
    if not name:
        return
    day, of_file = pl.col(_typed(name)), pl.col("_day")
    shown = pl.concat_str(pl.lit(f"{name}: "), day.dt.to_string("%Y-%m-%d"))
    too_late = f"is more than {feed.late_days} days before the file's" if feed.late_days else "is another day"
    yield Problem(name, (day > of_file).fill_null(False), shown, "is another day", "")
    yield Problem(name, (day < of_file - timedelta(feed.late_days)).fill_null(False), shown, too_late, "")


def _reason(problems: Sequence[Problem]) -> pl.Expr:
    """Everything that is wrong with a row, in one text; null where nothing is."""
    by_column: dict[str, list[pl.Expr]] = {}
    for one in problems:
        by_column.setdefault(one.group, []).append(pl.when(one.is_there).then(one.words))
    said = [pl.col("_odd"), *(pl.coalesce(words) for words in by_column.values())]
    all_of = pl.concat_str(said, separator="; ", ignore_nulls=True)
    # Of a row that could not be taken apart nobody knows which value is which.
    return pl.coalesce("_flaw", pl.when(all_of != "").then(all_of)).alias("_reason")
