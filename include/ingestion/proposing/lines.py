"""How a table is written as text: its encoding, the ends of its lines, its delimiter and quotes, and where it is."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, NamedTuple

from upath import UPath

from include.contracts.dialect import BLANKS, LOGS, RFC_4180, Dialect, Long
from include.contracts.source import Column, Feed
from include.ingestion.counting import delimited
from include.ingestion.counting.text import BLANK, MARKS
from include.ingestion.files import UnreadableFileError

DELIMITERS = (",", ";", "\t", "|", "||", "~|~", "^", "~", "\x1f", "¬", ":", " - ", " ")
# What upstreams have beside UTF; of the others nearly nobody writes files any more.
ENCODINGS = ["cp1250", "cp1251", "koi8_r", "cp850", "mac_roman"]
ENCODINGS += ["shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"]
QUOTES = (('"', '"'), ('"', "\\"), ("'", "'"), ("`", "`"), ("", ""))
COMMENTS = ("#", "--", "//", "%", "!")
MOST_LINES = 400
MOST_ROWS = 2000  # of the sample, for types and keys
MOST_BEFORE = 50  # lines before a table
# What a value looks like that is more than a text: a number, a day, a time, nothing.
TYPED = re.compile(
    r"\s*(?:|[-+(]?[$€£]?\s?[0-9][0-9.,'\u00a0\u202f]*\s?[%$€£)-]?|[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}"
    r"(?:[T ].*)?|[0-9]{1,2}:[0-9]{2}.*|true|false)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """A table of a text, read in one way: its names, and its first rows."""

    dialect: Dialect
    names: list[str]  # none where there is no header
    rows: list[list[str]]
    notes: list[str]


def encoding_of(sample: bytes) -> tuple[str, list[str]]:
    """The encoding of a text that begins with ``sample``, and what is only assumed of it."""
    for mark, name in MARKS.items():
        if sample.startswith(mark):
            return name.lower(), []
    if b"\0" in sample[:4000]:
        zeros = [sample[n:4000:2].count(0) for n in (0, 1)]
        return ("utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"), [
            "no mark says that it is UTF-16: by its zero bytes"
        ]
    for cut in range(4):  # the sample may end within a letter
        try:
            sample[: len(sample) - cut].decode()
            return "utf-8", []
        except UnicodeDecodeError:
            continue
    name = "cp1252" if _is_western(sample) else _by_frequency(sample)
    line = next((n for n, one in enumerate(sample.splitlines(), start=1) if any(byte > 127 for byte in one)), 1)
    shown = sample.splitlines()[line - 1].decode(name, errors="replace")[:60]
    return name, [
        f"the encoding is by guess. Is line {line} right? {shown!r}. If not: latin-1, cp1252, cp1250, shift_jis…"
    ]


def _is_western(sample: bytes) -> bool:
    """Whether all that is not ASCII is a letter in a word of other letters, as accents are."""
    words = re.findall(r"\w+|[^\x00-\x7f]+", sample.decode("cp1252", errors="replace"))
    odd = [one for one in words if not one.isascii()]
    return all(one.isalpha() and re.search("[A-Za-z]", one) for one in odd)


def _by_frequency(sample: bytes) -> str:
    # Knows how often letters come in which language; on a few words it errs, which is why it is only a note.
    from charset_normalizer import from_bytes

    found = from_bytes(sample[: 1 << 16], cp_isolation=ENCODINGS).best()
    return found.encoding if found else "cp1252"


def decoded(sample: bytes, encoding: str, is_whole: bool) -> str:
    """The text of ``sample``; the last line only where it is whole."""
    text = sample.decode(encoding, errors="strict" if is_whole else "ignore")
    text = text.removeprefix("\ufeff")
    return text if is_whole else text[: text.rfind("\n") + 1] or text


def are_objects(sample: bytes) -> bool:
    """Whether ``sample`` begins as JSON lines do: an object that ends with its line, and has no table in it."""
    encoding, _ = encoding_of(sample)
    first = next((line for line in sample.decode(encoding, errors="ignore").splitlines() if line.strip(BLANK)), "")
    try:
        found = json.loads(first.removeprefix("\ufeff"))
    except ValueError:
        return False
    is_alone = sample.strip(BLANK.encode()).count(b"\n") == 0
    return isinstance(found, dict) and not (is_alone and any(_is_table(one) for one in found.values()))


def _is_table(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_table, value.values()))
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def objects(text: str) -> list[dict[str, Any]]:
    """The first objects of JSON lines. Raises UnreadableFileError where they are none."""
    try:
        found = [json.loads(line) for line in text.splitlines()[:MOST_ROWS] if line.strip()]
    except ValueError as error:
        raise UnreadableFileError(f"it begins as JSON and is no JSON lines: {error}") from None
    return [one for one in found if isinstance(one, dict)]


def ends_of(dialect: Dialect) -> tuple[str, ...]:
    """What a line may end in."""
    return ("\n", "\r") if dialect.line_end in ("", "any") else (dialect.line_end,)


def tables(text: str, encoding: str, is_whole: bool) -> Iterator[Table]:
    """Ways to read ``text`` as a table, the likelier ones first."""
    base = replace(RFC_4180, encoding=encoding)
    line_end = _line_end(text)
    end = {"": "\n", "any": "\n"}.get(line_end, line_end)
    plain = text.replace("\r\n", "\n").replace("\r", "\n") if line_end in ("", "any") else text
    split = plain.split(end)
    whole = (split if split[-1].strip(BLANK) else split[:-1])[:MOST_LINES]
    scored = []
    for delimiter in DELIMITERS:
        if delimiter not in text or delimiter == line_end:
            continue
        for quote, escape in QUOTES:
            is_usual = (quote, escape) == ('"', '"')
            if not is_usual and ((quote or '"') not in text or (escape == "\\" and "\\" not in text)):
                continue
            try:
                dialect = replace(base, delimiter=delimiter, quote=quote, escape=escape, line_end=line_end)
            except ValueError:
                continue
            if found := _table(dialect, whole):
                scored.append(found)
    scored.sort(key=lambda one: -one[0])
    if not scored:
        # One column alone: a delimiter that never comes.
        rows = [[line] for line in whole if line.strip(BLANK)]
        if rows:
            yield _with_header(replace(base, line_end=line_end), rows, [])
        return
    yield from (table for _, table in scored[:4])


def _line_end(text: str) -> str:
    if "\x1e" in text:
        return "\x1e"
    ends = Counter(re.findall("\r\n|\r|\n", re.sub('"[^"]*"', '""', text)))
    if (found := text.count("|\n")) and found >= 0.9 * ends["\n"]:
        inner = sum(line.count("|") for line in text.split("|\n"))
        return "" if inner else "|\n"
    return "any" if ends["\r"] else ""


class Record(NamedTuple):
    """A record of a text by some dialect: the number of its first line, its values, and itself."""

    number: int
    values: list[str]  # none where its quotes are wrong
    text: str

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.number + self.text.count("\n")


def _table(dialect: Dialect, whole: Sequence[str]) -> tuple[float, Table] | None:
    """The table in the lines ``whole`` by ``dialect``, and how much of them it explains."""
    records = list(islice(_records(dialect, whole), MOST_LINES))
    widths = Counter(len(one.values) for one in records if len(one.values) > 1)
    if not widths:
        return None
    width = max(widths, key=lambda one: (widths[one] * min(one, 12), one))
    places = [n for n, one in enumerate(records) if len(one.values) == width]
    first, last = places[0], places[-1]
    changes, notes = _around(records, first, last, whole), list[str]()
    sign = changes.get("comment") or "\0"
    within = [one for one in records[first : last + 1] if not one.text.startswith(sign)]
    rows = [one.values for one in within if len(one.values) == width]
    if first and len(records[first - 1].values) == width - 1 and not any(row[-1] for row in rows):
        # Each line has a delimiter at its end, and the header has none.
        changes["long_rows"], first = Long.CUT, first - 1
        changes.pop("skip_lines", None)
        rows = [records[first].values, *(row[:-1] for row in rows)]
        width -= 1
    elif other := [
        one
        for one in records[first:]
        if one.values and len(one.values) != width and "ends_before" not in changes and not one.text.startswith(sign)
    ]:
        notes.append(
            f"line {other[0].number} has {len(other[0].values)} values, and there are {width} columns: such rows go to "
            "the quarantine, or say short_rows=Short.PAD, long_rows=Long.CUT"
        )
    if any(one != one.strip(BLANKS) for row in rows for one in row):
        changes["trim"] = True
        rows = [[one.strip(BLANKS) for one in row] for row in rows]
    cells = [one for row in rows for one in row]
    typed = sum(bool(TYPED.fullmatch(one)) for one in cells) / len(cells)
    explained: float = sum(
        len(one.text) for one in [*within, *records] if one.values and len(one.values) in (width, width + 1)
    )
    explained /= 2 * max(1, sum(len(one.text) for one in records if not one.text.startswith(sign)))
    left = sum(one[:1] == '"' or (len(one) > 1 and one[0] == one[-1] == "'") for one in cells) / len(cells)
    score = explained * (0.3 + typed) * min(width, 12) ** 0.3 - left
    return score, _with_header(replace(dialect, **changes), rows, notes)


def _around(records: Sequence[Record], first: int, last: int, whole: Sequence[str]) -> dict[str, Any]:
    """What a dialect says of the lines before, between and after the rows from ``first`` to ``last``."""
    said: dict[str, Any] = {}
    outside = [*records[:first], *records[last + 1 :]]
    within = [one for one in records[first : last + 1] if len(one.values) != len(records[first].values)]
    for sign in COMMENTS:
        if any(one.text.startswith(sign) for one in [*outside, *within]):
            said["comment"] = sign
            outside = [one for one in outside if not one.text.startswith(sign)]
            break
    if any(one.number < records[first].number for one in outside) and first <= MOST_BEFORE:
        said["skip_lines"] = records[first].number - 1
        if said.get("comment") and not any(one.text.startswith(said["comment"]) for one in records[first:]):
            del said["comment"]
    after = [one for one in outside if one.number > records[last].number]
    if after:
        word = re.match(r"\W*\w+", after[0].text)
        if _blank_between(whole, records[last].last, after[0].number) and not any(
            _blank_between(whole, one.last, two.number) for one, two in pairwise(records[first : last + 1])
        ):
            said["ends_before"] = r"^\s*$"
        elif word and not any(one.text.startswith(word[0]) for one in records[first : last + 1]):
            said["ends_before"] = f"^{re.escape(word[0])}"
    return said


def _blank_between(whole: Sequence[str], last: int, number: int) -> bool:
    """Whether there is a blank line between the line ``last`` and the one of ``number``."""
    return any(not line.strip(BLANK) for line in whole[last : number - 1])


def _records(dialect: Dialect, whole: Sequence[str]) -> Iterator[Record]:
    """The records of the lines ``whole``."""
    feed = Feed("sample", "", (Column("a", "string", ""),), ("a",), dialect=replace(dialect, multiline=True))
    table = delimited.Table(UPath("sample"), feed)
    with suppress(UnreadableFileError):
        for number, record in table.rows(iter(enumerate(whole, start=1)), delimited.NO_ROW):
            yield Record(number, delimited.values_of(record, dialect), record)


def table_of_cells(rows: Sequence[Sequence[str]]) -> Table | None:
    """The table in the cells of a sheet; None where there are not two columns."""
    widths = Counter(sum(map(bool, row)) for row in rows if any(row))
    if not widths or (width := max(widths, key=lambda one: (widths[one] * min(one, 12), one))) < 2:
        return None
    full = [n for n, row in enumerate(rows) if sum(map(bool, row)) >= max(2, width - 1)]
    first, last = full[0], full[-1]
    left = min(next(n for n, cell in enumerate(rows[place]) if cell) for place in full)
    firsts = [bool(TYPED.fullmatch(rows[place][left])) for place in full[1:]]
    if firsts and all(firsts):
        # A row with gaps is one where it begins as all others do: a total does not.
        more = [n for n in range(last, len(rows)) if rows[n][left] and TYPED.fullmatch(rows[n][left])]
        last = max([last, *more])
    right = max(n for place in full for n, cell in enumerate(rows[place]) if cell) + 1
    after = next((row[left] for row in rows[last + 1 :] if any(row[left:right])), "")
    said: dict[str, Any] = {"skip_lines": first if any(map(any, rows[:first])) else 0}
    inside = [list(row[left:right]) for row in rows[first : last + 1] if any(row[left:right])]
    total = next((n for n, row in enumerate(inside) if n and re.match("(?i)(grand )?total|sum", row[0])), 0)
    if total or after:
        word = re.match(r"\W*\w+", inside[total][0] if total else after)
        said |= {"ends_before": f"^{re.escape(word[0])}"} if word else {}
    return _with_header(replace(RFC_4180, **said), inside[:total] if total else inside, [])


def log_of(text: str) -> str:
    """The name of the kind of log that ``text`` is; empty where it is none that has a name."""
    lines = [line for line in text.splitlines()[:MOST_LINES] if line.strip(BLANK)]
    for name in ("combined", "common", "syslog"):
        if lines and sum(bool(re.fullmatch(LOGS[name], line)) for line in lines) > 0.8 * len(lines):
            return name
    return ""


def matches(text: str, pattern: str) -> tuple[list[list[str]], list[str]]:
    """What a log's lines have, and what each is called."""
    found = [match for line in text.splitlines()[:MOST_LINES] if (match := re.fullmatch(LOGS[pattern], line))]
    rows = [["" if one in (None, "-") else one for one in match.groups()] for match in found]
    return rows, list(re.compile(LOGS[pattern]).groupindex)


def _with_header(dialect: Dialect, rows: list[list[str]], notes: list[str]) -> Table:
    """The first rows as a header, where they are one: no number or day in columns that have them further down."""
    width = len(rows[0])
    body = rows[2:] or rows[1:]
    typed = [
        sum(bool(one[n]) and bool(TYPED.fullmatch(one[n])) for one in body) > 0.5 * sum(bool(one[n]) for one in body)
        and any(one[n] for one in body)
        for n in range(width)
    ]

    def is_header(row: list[str]) -> bool:
        cells = [row[n] for n in range(width) if typed[n]]
        return bool(cells) and not any(cell and TYPED.fullmatch(cell) for cell in cells)

    if not any(typed):
        unique = len(set(rows[0])) == width and all(rows[0])
        if unique:
            return Table(
                dialect, rows[0], rows[1:], [*notes, "that its first line has the names is assumed: all of it is text"]
            )
        return Table(replace(dialect, header=0), [], rows, notes)
    if not is_header(rows[0]):
        return Table(replace(dialect, header=0), [], rows, [*notes, "it has no header: the names are made up"])
    if len(rows) > 2 and is_header(rows[1]) and sum(not cell for cell in rows[1]) > 0:
        names = [" ".join(filter(None, pair)) for pair in zip(rows[0], rows[1], strict=True)]
        return Table(replace(dialect, header=2), names, rows[2:], notes)
    return Table(dialect, rows[0], rows[1:], notes)
