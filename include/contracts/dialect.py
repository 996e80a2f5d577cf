"""How an upstream writes a table as text. All of it is data, so that one kernel reads every file."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, replace
from enum import StrEnum
from typing import Any

BLANKS = " \t"

# What a pattern of dates and times may ask for, and the digits, letters or signs that each stands for.
DIRECTIVES = {
    "%Y": "[0-9]{4}",
    "%y": "[0-9]{2}",  # 69 to 99 are of the twentieth century, as POSIX has it
    "%m": "[0-9]{1,2}",
    "%d": "[0-9]{1,2}",
    "%j": "[0-9]{1,3}",  # the day of the year
    "%b": "[A-Za-z]{3}",  # the month, in English: Jan
    "%B": "[A-Za-z]{3,9}",  # January
    "%H": "[0-9]{1,2}",
    "%I": "[0-9]{1,2}",
    "%p": "[AaPp]\\.?[Mm]\\.?",
    "%M": "[0-9]{1,2}",
    "%S": "[0-9]{1,2}",
    "%f": "[0-9]{1,9}",  # of a second; more than six digits are cut off
    "%z": "Z|[+-][0-9]{2}:?[0-9]{2}",
    "%s": "-?[0-9]{1,15}",  # seconds since 1970
    "%L": "-?[0-9]{1,18}",  # milliseconds since 1970
    "%A": "[A-Za-z]{6,9}",  # the day of the week, which is not looked at
    "%a": "[A-Za-z]{3}",
}
EPOCHS = ("%s", "%L")
_QUOTED = r'"(?P<{}>(?:[^"\\]|\\.)*)"'
_COMMON = (
    r"(?P<host>\S+) (?P<ident>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "
    + _QUOTED.format("request")
    + r" (?P<status>\d{3}) (?P<bytes>\d+|-)"
)
LOGS = {
    "common": _COMMON,  # of Apache and nginx
    "combined": f"{_COMMON} {_QUOTED.format('referer')} {_QUOTED.format('agent')}",
    "syslog": r"(?P<time>\S+ +\d+ [\d:]+) (?P<host>\S+) (?P<program>[^\s:\[]+)(?:\[(?P<pid>\d+)\])?: (?P<message>.*)",
}
"""Lines of logs that have a name: the pattern of each, with a group for each of its columns."""

_DIRECTIVE = re.compile("%.")


class Short(StrEnum):
    """What becomes of a row with fewer values than columns."""

    QUARANTINE = "quarantine"
    REFUSE = "refuse"  # the whole file
    PAD = "pad"  # the values that are not there are missing


class Long(StrEnum):
    """What becomes of a row with more values than columns."""

    QUARANTINE = "quarantine"
    REFUSE = "refuse"  # the whole file
    CUT = "cut"  # the values that are too many are dropped


@dataclass(frozen=True)
class Dialect:
    """How a table is written as text; as RFC 4180 has it where nothing is said.

    The first block is about lines, the second about the values between two delimiters. Raises ValueError for what fits
    no file, or could be read in two ways.
    """

    encoding: str = "utf-8"  # whatever Python decodes
    line_end: str = ""  # empty: LF or CRLF; "any": CR as well; else the text that ends a row
    delimiter: str = ","  # one sign or several
    quote: str = '"'  # empty: there are no quotes
    escape: str = '"'  # the sign that takes a quote's meaning away: a second quote, or one of its own as \
    multiline: bool = False  # a quoted text may go over lines whatever these look like: the upstream promises it
    skip_lines: int = 0  # before the table
    begins_after: str = ""  # a pattern: the table begins after the first line that has it, as one of several in a file
    ends_before: str = ""  # a pattern: it ends before the first line that has it, as a total
    comment: str = ""  # lines that begin with it are none of the table
    header: int = 1  # lines with the columns' names: of several, those of a column are joined by a blank
    pattern: str = ""  # of logs: a group of this name for each column, or the name of one of ``LOGS``
    by_place: bool = False  # columns are known by their order in the spec, whatever the header calls them
    short_rows: Short = Short.QUARANTINE
    long_rows: Long = Long.QUARANTINE

    nulls: tuple[str, ...] = ("",)  # texts that say that there is no value
    trim: bool = False  # blanks around a value and its quotes are no part of it
    decimal: str = "."
    thousands: str = ""  # what stands between three digits; a blank is also one that does not break
    accounting: bool = False  # a number in brackets is negative, and one with a minus after it
    true: tuple[str, ...] = ("true", "t", "yes", "y", "1")  # in any case
    false: tuple[str, ...] = ("false", "f", "no", "n", "0")

    def __post_init__(self) -> None:
        self._check_encoding()
        self._check_signs()
        self._check_patterns()
        self._check_values()

    def _check_encoding(self) -> None:
        try:
            with suppress(UnicodeDecodeError):
                b"a".decode(self.encoding)
        except LookupError:
            raise ValueError(f"dialect: {self.encoding!r} is no encoding of text that Python knows") from None

    def _check_signs(self) -> None:
        for name in ("quote", "escape"):
            if len(getattr(self, name)) > 1:
                raise ValueError(f"dialect: {name} is one sign, not {getattr(self, name)!r}")
        if self.quote and not self.escape:
            raise ValueError("dialect: how is a quote written within quotes? Say escape, which may be the quote itself")
        if not self.delimiter:
            raise ValueError("dialect: the delimiter is empty. One column alone has one as well, which never comes")
        said = {"delimiter": self.delimiter, "quote": self.quote, "line_end": self.line_end, "comment": self.comment}
        if self.escape != self.quote:
            said["escape"] = self.escape
        for name, text in said.items():
            try:
                text.encode(self.encoding)
            except UnicodeEncodeError:
                raise ValueError(f"dialect: {name} {text!r} cannot be written in {self.encoding}") from None
            if name != "line_end" and any(sign in text for sign in "\n\r\0"):
                raise ValueError(f"dialect: {name} cannot have the end of a line or a zero byte in it")
        for one, two in (("delimiter", "quote"), ("delimiter", "escape"), ("quote", "escape"), ("line_end", "quote")):
            if said.get(one) and said.get(two) and said[two] in said[one]:
                raise ValueError(f"dialect: {one} {said[one]!r} and {two} {said[two]!r} cannot be told apart")
        if self.line_end not in ("", "any") and self.line_end in self.delimiter:
            raise ValueError("dialect: the end of a line is within the delimiter")

    def _check_patterns(self) -> None:
        for name in ("begins_after", "ends_before", "pattern"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise ValueError(f"dialect: {name} is no pattern: {error}") from None
        if self.header < 0 or self.skip_lines < 0:
            raise ValueError("dialect: no file has fewer than 0 lines of a header, or before it")

    def _check_values(self) -> None:
        if self.decimal not in (".", ",", "٫", "'"):
            raise ValueError(f"dialect: {self.decimal!r} is no decimal mark")
        if self.thousands and (self.thousands == self.decimal or len(self.thousands) > 1 or self.thousands.isalnum()):
            raise ValueError(f"dialect: thousands {self.thousands!r} beside the decimal mark {self.decimal!r}")
        if both := {text.casefold() for text in self.true} & {text.casefold() for text in self.false}:
            raise ValueError(f"dialect: {min(both)!r} is said to be true and to be false")
        if not self.true or not self.false:
            raise ValueError("dialect: what is true and what is false has to be said")

    @property
    def groups(self) -> tuple[str, ...]:
        """The names that a log's pattern gives to what is in a line."""
        return tuple(re.compile(self.log_pattern).groupindex)

    @property
    def log_pattern(self) -> str:
        """What a line of a log looks like."""
        return LOGS.get(self.pattern, self.pattern)

    @property
    def of_lines(self) -> Dialect:
        """The same for lines that are no rows of a table: without quotes, and without a header."""
        return replace(self, quote="", escape="", header=0)

    @property
    def has_fixed_lines(self) -> bool:
        """Whether every line after the header is a row, but for blank ones."""
        return not (self.begins_after or self.ends_before or self.comment or self.line_end)


RFC_4180 = Dialect()

OF_LINES = {
    one.name: one.default
    for one in fields(Dialect)
    if one.name not in ("encoding", "nulls", "trim", "decimal", "thousands", "accounting", "true", "false")
}
"""What only a table of lines has, with what it is where nothing is said."""

OF_ANY_LINES = ("line_end", "skip_lines", "begins_after", "ends_before", "comment", "long_rows")
"""What of it logs and lines of fixed width have as well."""

OF_SHEETS = ("skip_lines", "ends_before", "header", "by_place")
"""What of it the sheets of Excel have; a line is a row of the sheet, and what it begins with its first cell."""


def check_pattern(pattern: str, is_time: bool) -> None:
    """Raise ValueError where ``pattern`` does not say which day, or moment, a text is."""
    found = _DIRECTIVE.findall(pattern)
    if odd := [one for one in found if one not in DIRECTIVES and one != "%%"]:
        raise ValueError(f"{odd[0]} in {pattern!r} is none of {', '.join(DIRECTIVES)}")
    if len(set(found) - {"%%"}) < len([one for one in found if one != "%%"]):
        raise ValueError(f"{pattern!r} says something twice")
    if set(found) & set(EPOCHS):
        if len(found) > 1:
            raise ValueError(f"{pattern!r}: seconds since 1970 say everything")
        return
    has_day = "%j" in found or ("%d" in found and {"%m", "%b", "%B"} & set(found))
    if not {"%Y", "%y"} & set(found):
        raise ValueError(f"{pattern!r} does not say the year")
    if not has_day:
        raise ValueError(f"{pattern!r} does not say the day and the month")
    if is_time and not ({"%H"} & set(found) or {"%I", "%p"} <= set(found)):
        raise ValueError(f"{pattern!r} does not say the hour: %H, or %I with %p")


def written_changes(one: Any) -> list[str]:
    """What of a dataclass is not as it is where nothing is said, as Python."""
    return [
        f"{each.name}={written_as(getattr(one, each.name))}"
        for each in fields(one)
        if each.default is not MISSING and getattr(one, each.name) != each.default
    ]


def written_as(value: Any) -> str:
    """``value`` of a spec as Python."""
    if isinstance(value, StrEnum):
        return f"{type(value).__name__}.{value.name}"
    return repr(value)
