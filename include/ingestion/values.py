"""From a value as its upstream writes it to the one text that ``verdicts`` reads as a value of its type.

A text that is not as the spec says becomes null, and is told by that from one that says that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

from include.contracts.dialect import DIRECTIVES, RFC_4180, Dialect
from include.contracts.source import Column, Feed, Form

BREAKING = " \u00a0\u202f\u2009"
"""A blank between three digits, and those that do not break a line."""

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def mended(rows: pl.DataFrame, feed: Feed) -> pl.DataFrame:
    """``rows`` of text as the rules of ``feed`` mend them, with ``_mended``: which rules did, null where none has."""
    texts, said = list[pl.Expr](), list[pl.Expr]()
    for column in {mend.column: None for mend in feed.mends}:
        text, new, rule = pl.col(column), list[pl.Expr](), list[pl.Expr]()
        for mend in (one for one in feed.mends if one.column == column):
            whole = rf"\A(?:{mend.pattern})\z"
            new.append(pl.when(text.str.contains(whole)).then(text.str.replace(whole, mend.replacement)))
            rule.append(pl.when(text.str.contains(whole)).then(pl.lit(str(mend))))
        texts.append(pl.coalesce(*new, text).alias(column))
        said.append(pl.when(pl.coalesce(*new, text) != text).then(pl.coalesce(rule)))
    rules = pl.concat_str(said, separator="; ", ignore_nulls=True) if said else pl.lit("")
    return rows.with_columns(*texts, pl.when(rules != "").then(rules).alias("_mended"))


def missing(column: Column, dialect: Dialect, text: pl.Expr) -> pl.Expr:
    """``text``, null where it says that there is no value. Of texts and bytes the reader knows."""
    if column.type in ("string", "binary"):
        return text
    is_null = text == dialect.nulls[0] if len(dialect.nulls) == 1 else text.is_in(list(dialect.nulls))
    return pl.when(~is_null).then(text).alias(column.name)


def is_plain(column: Column, dialect: Dialect) -> bool:
    """Whether a value of ``column`` is written as ``verdicts`` reads it."""
    if column.is_number:
        numbers = (dialect.decimal, dialect.thousands, dialect.accounting)
        return not column.marks and column.form is not Form.DURATION and numbers == (".", "", False)
    if column.type == "boolean":
        return (dialect.true, dialect.false) == (RFC_4180.true, RFC_4180.false)
    return not column.patterns and column.timezone == "UTC"


def plain(column: Column, dialect: Dialect, text: pl.Expr) -> pl.Expr:
    """``text`` as ``verdicts`` reads it, null where it is not written as the spec says."""
    if is_plain(column, dialect):
        return text
    if column.form is Form.DURATION:
        return _seconds(text).alias(column.name)
    if column.is_number:
        return _number(column, dialect, text).alias(column.name)
    if column.type == "boolean":
        known = {one.casefold(): "true" for one in dialect.true} | {one.casefold(): "false" for one in dialect.false}
        return text.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String).alias(column.name)
    if column.patterns:
        text = pl.coalesce(_by_pattern(one, column.type == "timestamp", text) for one in column.patterns)
    if column.timezone != "UTC":
        text = _in_zone(column.timezone, text)
    return text.alias(column.name)


def _number(column: Column, dialect: Dialect, text: pl.Expr) -> pl.Expr:
    """Without what stands between its digits and beside them; the sign in front, and a point."""
    blank = f"[{BREAKING}]"
    decimal = re.escape(dialect.decimal)
    thousands = blank if dialect.thousands in (*BREAKING,) else re.escape(dialect.thousands)
    whole = "[0-9]+"
    if dialect.thousands:
        whole = f"(?:[0-9]{{1,3}}(?:{thousands}[0-9]{{2,3}})*{thousands}[0-9]{{3}}|[0-9]+)"
    digits = f"(?:{whole}(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    if not column.marks and not dialect.accounting:
        number: pl.Expr = pl.when(text.str.contains(rf"\A[+-]?{digits}\z")).then(text)
    else:
        mark = "|".join(map(re.escape, sorted(column.marks, key=len, reverse=True)))
        before, after = (f"(?:(?:{mark}){blank}*)?", f"(?:{blank}*(?:{mark}))?") if mark else ("", "")
        minus = "[+-]" if not dialect.accounting else r"[+(-]"
        # The sign may be on either side of the mark; at most one is there, and not two marks.
        row = rf"\A({minus}?){before}([+-]?)({digits}){after}([)-]?)\z"
        found = text.str.extract_groups(row).struct.rename_fields(["first", "second", "digits", "last"])
        first, second, last = (found.struct.field(name) for name in ("first", "second", "last"))
        ends = last == "" if not dialect.accounting else ((first == "(") == (last == ")")) | (last == "-")
        one = (first != "").cast(pl.Int8) + (second != "").cast(pl.Int8) + (last == "-").cast(pl.Int8) <= 1
        sign = pl.when((first + second + last).str.contains("[(-]")).then(pl.lit("-")).otherwise(pl.lit(""))
        number = pl.when(ends & one).then(sign + found.struct.field("digits"))
    if dialect.thousands:
        number = number.str.replace_all(thousands, "")
    return number if dialect.decimal == "." else number.str.replace(dialect.decimal, ".", literal=True)


def _seconds(text: pl.Expr) -> pl.Expr:
    """H:MM, H:MM:SS and the durations of ISO 8601 up to days, as seconds; a number is one of seconds."""
    clock = text.str.extract_groups(r"\A(-?)([0-9]{1,6}):([0-5][0-9])(?::([0-5][0-9](?:\.[0-9]+)?))?\z")
    number = r"([0-9]+(?:\.[0-9]+)?)"
    iso = text.str.extract_groups(rf"\A(-?)P(?:{number}D)?(?:T(?:{number}H)?(?:{number}M)?(?:{number}S)?)?\z")

    def together(groups: pl.Expr, factors: Iterable[int]) -> pl.Expr:
        parts = [groups.struct.field(str(n)).cast(pl.Float64) * by for n, by in enumerate(factors, start=2)]
        some = pl.any_horizontal(part.is_not_null() for part in parts)
        total = pl.sum_horizontal(part.fill_null(0.0) for part in parts)
        sign = pl.when(groups.struct.field("1") == "-").then(-1.0).otherwise(1.0)
        return pl.when(some).then((total * sign).cast(pl.String))

    is_number = text.str.contains(r"\A[+-]?[0-9]+(?:\.[0-9]*)?\z")
    return pl.coalesce(
        pl.when(is_number).then(text), together(clock, (3600, 60, 1)), together(iso, (86400, 3600, 60, 1))
    )


def _by_pattern(pattern: str, is_time: bool, text: pl.Expr) -> pl.Expr:
    """A date, or a moment, by ``pattern``, as ISO 8601 has it."""
    row, names = pattern_of(pattern)
    groups = text.str.extract_groups(row)
    found = {name: groups.struct.field(str(n)) for n, name in enumerate(names, start=1)}
    if "%s" in found or "%L" in found:
        count, unit = (found["%s"], 1_000_000) if "%s" in found else (found["%L"], 1000)
        moment = (count.cast(pl.Int64, strict=False) * unit).cast(pl.Datetime("us"))
        # Beyond the calendar there is no way to write it; within, the years that are allowed are asked elsewhere.
        near = count.cast(pl.Int64, strict=False).abs() < 250_000_000_000 * (1_000_000 // unit)
        return pl.when(near).then(moment.dt.strftime("%Y-%m-%d %H:%M:%S%.6fZ"))

    def number(name: str, width: int) -> pl.Expr:
        return found[name].str.zfill(width)

    if "%Y" in found:
        year: pl.Expr = found["%Y"]
    else:
        century = pl.when(found["%y"].cast(pl.Int32) >= 69).then(pl.lit("19")).otherwise(pl.lit("20"))
        year = century + found["%y"]
    if "%j" in found:
        first = (year + "-01-01").str.to_date("%Y-%m-%d", strict=False)
        day = first + pl.duration(days=found["%j"].cast(pl.Int32) - 1)
        written: pl.Expr = pl.when((day.dt.year() == year.cast(pl.Int32)) & (found["%j"].cast(pl.Int32) > 0)).then(
            day.dt.strftime("%Y-%m-%d")
        )
    else:
        written = year + "-" + _month(found) + "-" + number("%d", 2)
    if not is_time:
        return written
    hour = number("%H", 2) if "%H" in found else _hour_of_twelve(found)
    minute = number("%M", 2) if "%M" in found else pl.lit("00")
    second = number("%S", 2) if "%S" in found else pl.lit("00")
    if "%f" in found:
        second = second + "." + found["%f"].str.slice(0, 6)
    written = written + "T" + hour + ":" + minute + ":" + second
    if "%z" in found:
        offset = found["%z"]
        has_colon = offset.str.contains(":", literal=True) | (offset == "Z")
        split = offset.str.slice(0, 3) + ":" + offset.str.slice(3)
        written = written + pl.when(has_colon).then(offset).otherwise(split)
    return written


def _month(found: dict[str, pl.Expr]) -> pl.Expr:
    if "%m" in found:
        return found["%m"].str.zfill(2)
    name = (found["%b"] if "%b" in found else found["%B"]).str.to_lowercase()
    numbers = {month: f"{n:02}" for n, month in enumerate(MONTHS, start=1)}
    if "%B" in found:
        numbers = {full: numbers[full[:3]] for full in FULL_MONTHS}
    return name.replace_strict(numbers, default=None, return_dtype=pl.String)


FULL_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)


def _hour_of_twelve(found: dict[str, pl.Expr]) -> pl.Expr:
    hour = found["%I"].cast(pl.Int32)
    afternoon = found["%p"].str.to_lowercase().str.starts_with("p")
    of_day = hour % 12 + pl.when(afternoon).then(12).otherwise(0)
    return pl.when(hour.is_between(1, 12)).then(of_day.cast(pl.String).str.zfill(2))


def pattern_of(pattern: str) -> tuple[str, list[str]]:
    """``pattern`` for Rust, and which directive each of its groups is. Between two numbers that touch, all digits."""
    parts, names, before = [r"\A"], list[str](), False
    signs = re.findall("%.|[^%]", pattern)
    for place, sign in enumerate(signs):
        if sign == "%%" or not sign.startswith("%"):
            parts.append(re.escape(sign[-1]))
            before = sign.isdigit()
            continue
        digits = DIRECTIVES[sign]
        after = place + 1 < len(signs) and _is_digits(signs[place + 1])
        if before or after:
            digits = digits.replace("{1,2}", "{2}").replace("{1,3}", "{3}").replace("{1,9}", "{6}")
        parts.append(f"({digits})")
        names.append(sign)
        before = _is_digits(sign)
    return "".join([*parts, r"\z"]), names


def _is_digits(sign: str) -> bool:
    return sign.isdigit() or DIRECTIVES.get(sign, "").startswith("[0-9]")


def _in_zone(zone: str, text: pl.Expr) -> pl.Expr:
    """A moment without an offset as one of ``zone``. Null where clocks had it twice or never: nobody can say which."""
    has_offset = text.str.contains(r"(?:Z|[+-][0-9]{2}:[0-9]{2})\z")
    local = text.str.slice(0, 10) + "T" + text.str.slice(11)
    local = local + pl.when(local.str.len_bytes() == 16).then(pl.lit(":00")).otherwise(pl.lit(""))
    moment = local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    there = moment.dt.replace_time_zone(zone, ambiguous="null", non_existent="null").dt.convert_time_zone("UTC")
    written = there.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.when(has_offset).then(text).otherwise(written)
