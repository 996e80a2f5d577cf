"""How the files of a feed are named, below its folder: ``{day}/part-*.parquet``, ``{day:%Y%m%d}_{region}.csv``.

- ``{day}`` is the day of the file, as ISO 8601 or as ``strftime`` has it after a colon;
- ``{region}``, or any other name, is a column of the feed, whose value stands there; after ``region=`` it is written as
  Hive and Spark write it: ``%20`` is a blank, and ``__HIVE_DEFAULT_PARTITION__`` is nothing;
- ``*`` is any number of signs and ``?`` is one, never a ``/``; neither begins a name with ``.`` or ``_``, which is how
  files that are on their way and marks are called.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import cache
from urllib.parse import unquote

_PLACE = re.compile(r"\{(\w+)(?::([^{}]*))?\}|([*?])")
_DIGITS = {"%Y": "[0-9]{4}", "%m": "[0-9]{2}", "%d": "[0-9]{2}", "%j": "[0-9]{3}"}
ISO = "%Y-%m-%d"
NOTHING = "__HIVE_DEFAULT_PARTITION__"


def check(pattern: str) -> None:
    """Raise ValueError unless ``pattern`` names a file below a folder, and its day."""
    if pattern.startswith("/") or "\\" in pattern or {"", ".", ".."} & set(pattern.split("/")):
        raise ValueError(f"{pattern!r} leads out of the feed's folder: a path below it, with / between its parts")
    if re.search(r"[{}]", _PLACE.sub("", pattern)):
        raise ValueError(f"{pattern!r}: a brace that has no other, or a place without a name: {{day}}, {{region}}")
    places = [(name, written) for name, written, wild in _PLACE.findall(pattern) if not wild]
    said = {part for name, written in places if name == "day" for part in re.findall("%.", written or ISO)}
    if odd := sorted(said - set(_DIGITS)):
        raise ValueError(f"{pattern!r}: {odd[0]} is not understood in the name of a file: {', '.join(_DIGITS)}")
    if not said:
        raise ValueError(f"{pattern!r} has no day: {{day}}, or as {{day:%Y%m%d}}")
    if not _is_day(said):
        raise ValueError(f"{pattern!r}: a day has a year, and a month and a day of it or %j")
    if odd := sorted(written for name, written in places if name != "day" and written):
        raise ValueError(f"{pattern!r}: {odd[0]} says how a day is written, and what is before it is a column")
    names = columns(pattern)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{pattern!r}: {twice[0]} stands there twice")
    if re.search(r"\{(?!day)\w+\}\{(?!day)\w+\}", pattern):
        raise ValueError(f"{pattern!r}: nothing is between two columns: where does the first one end?")


def columns(pattern: str) -> tuple[str, ...]:
    """The columns whose values are a part of the name, in their order."""
    return tuple(name for name, _, _ in _PLACE.findall(pattern) if name not in ("", "day"))


def is_one(pattern: str) -> bool:
    """Whether a day has one file, whose name is known beforehand."""
    return all(name == "day" for name, _, _ in _PLACE.findall(pattern))


def name_of(pattern: str, day: date) -> str:
    """The name of the file of ``day``; of several files, what all of their names are like."""

    def filled(place: re.Match[str]) -> str:
        if place[1] == "day":
            return day.strftime(place[2] or ISO)
        return place[3] or "*"

    return _PLACE.sub(filled, pattern)


def read(pattern: str, name: str) -> tuple[date, dict[str, str | None]] | None:
    """The day and the columns that ``name`` says; None where it is not named as ``pattern`` has it."""
    found = _expression(pattern).fullmatch(name)
    if not found:
        return None
    parts = found.groupdict()
    try:
        if "Y" in parts and "j" in parts:
            day = datetime.strptime(f"{parts['Y']} {parts['j']}", "%Y %j").date()
        else:
            day = date(int(parts["Y"]), int(parts["m"]), int(parts["d"]))
    except ValueError:
        return None
    if not _expression(pattern, day).fullmatch(name):  # it names two days
        return None
    return day, {column: _value(pattern, column, parts[column]) for column in columns(pattern)}


def _value(pattern: str, column: str, text: str) -> str | None:
    if f"{column}={{{column}}}" not in pattern:
        return text
    return None if text == NOTHING else unquote(text)


def begins(pattern: str) -> list[str]:
    """What the folders on the way to a file are named like, from the first one on, and the file itself at the end."""
    # A day may be written across folders: {day:%Y/%m}.
    parts = _PLACE.sub(lambda place: place[0].replace("/", "}/{day:"), pattern).split("/")
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def fits(pattern: str, name: str, day: date | None = None) -> bool:
    """Whether ``name`` is like ``pattern``, with ``day`` in it or any day."""
    return _expression(pattern, day).fullmatch(name) is not None


def says_day(pattern: str) -> bool:
    """Whether the beginning of a pattern says a whole day already."""
    said = [re.findall("%(.)", written or ISO) for name, written, _ in _PLACE.findall(pattern) if name == "day"]
    return _is_day({f"%{part}" for parts in said for part in parts})


def _is_day(said: set[str]) -> bool:
    return {"%Y", "%j"} <= said or {"%Y", "%m", "%d"} <= said


@cache
def _expression(pattern: str, day: date | None = None) -> re.Pattern[str]:
    seen: set[str] = set()

    def part(written: re.Match[str]) -> str:
        sign = written[0]
        if sign not in _DIGITS:
            return re.escape(sign)
        if sign in seen:
            return f"(?P={sign[1]})"
        seen.add(sign)
        return f"(?P<{sign[1]}>{_DIGITS[sign]})"

    found, at = "", 0
    for place in _PLACE.finditer(pattern):
        found += re.escape(pattern[at : place.start()])
        at = place.end()
        name, written, wild = place.groups()
        if name == "day" and day:
            found += re.escape(day.strftime(written or ISO))
            continue
        if name == "day":
            found += re.sub(r"%.|[^%]", part, written or ISO)
            continue
        if place.start() == 0 or pattern[place.start() - 1] == "/":
            found += "(?![._])"
        found += {"*": "[^/]*", "?": "[^/]"}[wild] if wild else f"(?P<{name}>[^/]+)"
    return re.compile(found + re.escape(pattern[at:]))
