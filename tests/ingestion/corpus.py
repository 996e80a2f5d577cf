"""Files as the world writes them: each with the dialect that a spec declares for it, and what has to come of it.

The kinds are those of the Pollock benchmark (Vitagliano et al., VLDB 2023) and what else portals, spreadsheets, banks
and loggers write. They are written by code of this module, which shares none with what reads them.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from backports import zstd

from include.contracts.dialect import Dialect, Long, Short
from include.contracts.source import Column, Compression, Feed, Finished, Form, Format

DAY = date(2024, 6, 1)
COLUMNS = (
    Column("day", "date", "the day", required=True),
    Column("number", "int", "which", required=True),
    Column("what", "string", "what"),
    Column("amount", "double", "how much"),
    Column("seen_at", "timestamp", "when"),
)
NAMES = [column.name for column in COLUMNS]
FEED = Feed("things", "things", COLUMNS, key=("number",), day_column="day", max_quarantined_share=0.9)
NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)
# What the texts of a row are, and its values.
TEXTS = [
    ["2024-06-01", "1", "plain", "1.5", "2024-06-01T12:00:00Z"],
    ["2024-06-01", "2", "blank in between", "-1234.25", "2024-06-01T12:00:00Z"],
    ["2024-06-01", "3", "żółw – Müller", "1000000", "2024-06-01T12:00:00Z"],
    ["2024-06-01", "4", "it's", "", ""],
]
ROWS: list[tuple[Any, ...]] = [
    (DAY, 1, "plain", 1.5, NOON),
    (DAY, 2, "blank in between", -1234.25, NOON),
    (DAY, 3, "żółw – Müller", 1000000.0, NOON),
    (DAY, 4, "it's", None, None),
]
ASCII = [[*texts[:2], texts[2].replace("żółw – Müller", "turtle"), *texts[3:]] for texts in TEXTS]
WESTERN = [[*texts[:2], texts[2].replace("żółw – ", ""), *texts[3:]] for texts in TEXTS]


def rows_with(whats: Sequence[str | None]) -> list[tuple[Any, ...]]:
    return [(*row[:2], what, *row[3:]) for row, what in zip(ROWS, whats, strict=True)]


@dataclass(frozen=True)
class Case:
    """One file: its bytes, the feed that declares how it is written, and what must become of its rows."""

    content: bytes
    dialect: Dialect = field(default_factory=Dialect)
    rows: Sequence[tuple[Any, ...]] = tuple(ROWS)  # the sound ones, in any order
    quarantined: int = 0
    columns: tuple[Column, ...] = COLUMNS
    more: dict[str, Any] = field(default_factory=dict)  # of the feed

    @property
    def feed(self) -> Feed:
        return replace(FEED, columns=self.columns, dialect=self.dialect, **self.more)


def written(
    texts: Sequence[Sequence[str]] = TEXTS,
    header: Sequence[str] | None = NAMES,
    delimiter: str = ",",
    quote: str = '"',
    escape: str = '"',
    line_end: str = "\n",
    quote_all: bool = False,
    encoding: str = "utf-8",
    last_end: bool = True,
) -> bytes:
    """A table as a file."""

    def value(text: str) -> str:
        escaped = text
        if escape != quote and escape:
            escaped = escaped.replace(escape, escape * 2)
        # Of a delimiter of several signs each by itself: beside one, nobody could say which signs are of it.
        needs = any(sign and sign in text for sign in (*delimiter, quote, "\n", "\r"))
        if quote and (quote_all or needs):
            return quote + escaped.replace(quote, escape + quote) + quote
        return escaped

    lines = [delimiter.join(map(value, one)) for one in ([header] if header else []) + [*texts]]
    text = line_end.join(lines) + (line_end if last_end else "")
    return text.encode(encoding)


def column(name: str, **changes: Any) -> tuple[Column, ...]:
    return tuple(replace(one, **changes) if one.name == name else one for one in COLUMNS)


def in_place(place: int, values: Sequence[str], texts: Sequence[Sequence[str]] = TEXTS) -> list[list[str]]:
    return [[*one[:place], value, *one[place + 1 :]] for one, value in zip(texts, values, strict=True)]


def zipped(content: bytes, name: str = "things.csv", **more: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
        for other, inside in more.items():
            file.writestr(other, inside)
    return packed.getvalue()


COMMAS = in_place(2, ["a, b", "semi; colon", 'say "yes"', "it's"])
OF_COMMAS = rows_with(["a, b", "semi; colon", 'say "yes"', "it's"])
TWO_LINES = in_place(2, ["two\nlines", "three\n\nlines", 'a "b"\nc', "it's"])
OF_TWO_LINES = rows_with(["two\nlines", "three\n\nlines", 'a "b"\nc', "it's"])
GERMAN = in_place(3, ["1,5", "-1.234,25", "1.000.000", ""])
LINES = written().decode().splitlines()
HEADER, *DATA = LINES
RENAMED = Finished.RENAMED


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def delimiters() -> dict[str, Callable[[], Case]]:
    found: dict[str, Callable[[], Case]] = {}
    for name, sign in {
        "commas": ",",
        "semicolons": ";",
        "tabs": "\t",
        "pipes": "|",
        "colons within quotes elsewhere": ":",
        "carets": "^",
        "tildes": "~",
        "the unit separator (U+001F)": "\x1f",
        "a sign beyond ASCII (¬)": "¬",
        "two pipes": "||",
        "a tilde and a pipe": "~|~",
        "a blank and a dash": " - ",
    }.items():
        found[f"delimiter: {name}"] = lambda sign=sign: Case(
            written(COMMAS, delimiter=sign), Dialect(delimiter=sign), OF_COMMAS
        )
    found["delimiter: blanks"] = lambda: Case(
        written(COMMAS, delimiter=" ", quote_all=True), Dialect(delimiter=" "), OF_COMMAS
    )
    return found


def quotes() -> dict[str, Callable[[], Case]]:
    return {
        "quotes: around everything": lambda: Case(written(COMMAS, quote_all=True), rows=OF_COMMAS),
        "quotes: around everything, nothing within": lambda: Case(
            written(in_place(2, ["", "a", "b", "c"]), quote_all=True), rows=rows_with(["", "a", "b", "c"])
        ),
        "quotes: single ones": lambda: Case(
            written(COMMAS, quote="'", escape="'"), Dialect(quote="'", escape="'"), OF_COMMAS
        ),
        "quotes: of another sign (`)": lambda: Case(
            written(COMMAS, quote="`", escape="`"), Dialect(quote="`", escape="`"), OF_COMMAS
        ),
        "quotes: none, whatever signs there are": lambda: Case(
            written(in_place(2, ['"', '5" pipe', "'a", "it's"]), delimiter=";", quote="", escape=""),
            Dialect(delimiter=";", quote="", escape=""),
            rows_with(['"', '5" pipe', "'a", "it's"]),
        ),
        "quotes: escaped by a backslash": lambda: Case(written(COMMAS, escape="\\"), Dialect(escape="\\"), OF_COMMAS),
        "quotes: a backslash before a delimiter that is not in quotes": lambda: Case(
            text(HEADER, *DATA[:3], r"2024-06-01,4,it\, or not,,"),
            Dialect(escape="\\"),
            rows_with(["plain", "blank in between", "żółw – Müller", "it, or not"]),
        ),
        "quotes: with blanks around them": lambda: Case(
            written(COMMAS, quote_all=True).replace(b'","', b'" , "'), Dialect(trim=True), OF_COMMAS
        ),
        "quotes: a text over several lines": lambda: Case(written(TWO_LINES), rows=OF_TWO_LINES),
        "quotes: a text over several lines, of Windows": lambda: Case(
            written(TWO_LINES, line_end="\r\n"), rows=OF_TWO_LINES
        ),
        "quotes: a text over several lines, which reads as rows": lambda: Case(
            written(in_place(2, ["a\n2024-06-01,7,b,,\nc", "x", "y", "z"])),
            Dialect(multiline=True),
            rows_with(["a\n2024-06-01,7,b,,\nc", "x", "y", "z"]),
        ),
        "quotes: a text over several lines, escaped by a backslash": lambda: Case(
            written(TWO_LINES, escape="\\", delimiter=";"), Dialect(escape="\\", delimiter=";"), OF_TWO_LINES
        ),
        "stray quotes: one within a text": lambda: Case(text(*LINES, '2024-06-01,5,a 16" pipe,,'), quarantined=1),
        "stray quotes: one that is never closed": lambda: Case(
            text(HEADER, '2024-06-01,5,"never closed,,', *DATA), quarantined=1
        ),
        "stray quotes: more text after the closing one": lambda: Case(
            text(*LINES, '2024-06-01,5,"a" b,,'), quarantined=1
        ),
        "stray quotes: not doubled within quotes": lambda: Case(
            text(*LINES, '2024-06-01,5,"say "yes" to it",,'), quarantined=1
        ),
        "stray quotes: one that opens before a row of several lines": lambda: Case(
            text(HEADER, '2024-06-01,5,5" pipe,"open', *DATA), quarantined=1
        ),
        "stray quotes: a backslash where quotes are doubled": lambda: Case(
            text(*LINES, r'2024-06-01,5,"say \"yes\"",,'), quarantined=1
        ),
    }


def line_ends() -> dict[str, Callable[[], Case]]:
    return {
        "record ends: LF": lambda: Case(written()),
        "record ends: CRLF": lambda: Case(written(line_end="\r\n")),
        "record ends: CR": lambda: Case(written(line_end="\r"), Dialect(line_end="any")),
        "record ends: LF, CRLF and CR in one file": lambda: Case(
            f"{HEADER}\r{DATA[0]}\r\n{DATA[1]}\n{DATA[2]}\r{DATA[3]}\n".encode(), Dialect(line_end="any")
        ),
        "record ends: CR, a text over several lines": lambda: Case(
            written(TWO_LINES, line_end="\r"), Dialect(line_end="any"), OF_TWO_LINES
        ),
        "record ends: the record separator (U+001E)": lambda: Case(written(line_end="\x1e"), Dialect(line_end="\x1e")),
        "record ends: a pipe and a line feed": lambda: Case(
            written(in_place(2, ["two\nlines", "a", "b", "c"]), line_end="|\n", quote=""),
            Dialect(line_end="|\n", quote="", escape=""),
            rows_with(["two\nlines", "a", "b", "c"]),
        ),
        "record ends: none at the end of the file": lambda: Case(written(last_end=False), more={"finished": RENAMED}),
        "record ends: none at the end, within quotes": lambda: Case(
            written(quote_all=True, last_end=False), more={"finished": RENAMED}
        ),
        "record ends: blank lines in between and at the end": lambda: Case(
            text("", HEADER, "", *DATA[:2], "  ", "\t", *DATA[2:], "", "")
        ),
    }


def encodings() -> dict[str, Callable[[], Case]]:
    found: dict[str, Callable[[], Case]] = {}
    for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        found[f"encoding: {name}"] = lambda name=name: Case(
            written(encoding=name), Dialect(encoding="utf-8" if name == "utf-8-sig" else name)
        )
    found["encoding: utf-16-le with a mark"] = lambda: Case(
        b"\xff\xfe" + written(encoding="utf-16-le"), Dialect(encoding="utf-16-le")
    )
    western = rows_with([one[2] for one in WESTERN])
    for name in ("latin-1", "cp1252", "iso-8859-15", "cp850", "mac_roman"):
        found[f"encoding: {name}"] = lambda name=name: Case(
            written(WESTERN, encoding=name), Dialect(encoding=name), western
        )
    polish = in_place(2, ["żółw", "łódź", "ąę", "ś"])
    for name in ("cp1250", "iso-8859-2"):
        found[f"encoding: {name}"] = lambda name=name: Case(
            written(polish, encoding=name), Dialect(encoding=name), rows_with(["żółw", "łódź", "ąę", "ś"])
        )
    russian = ["Привет", "мир", "да", "нет"]
    for name in ("cp1251", "koi8-r"):
        found[f"encoding: {name}"] = lambda name=name: Case(
            written(in_place(2, russian), encoding=name), Dialect(encoding=name), rows_with(russian)
        )
    japanese = ["日本語", "表示", "東京", "カタカナ"]
    for name in ("shift_jis", "euc_jp", "gb18030"):
        found[f"encoding: {name}"] = lambda name=name: Case(
            written(in_place(2, japanese), encoding=name), Dialect(encoding=name), rows_with(japanese)
        )
    return found


def headers() -> dict[str, Callable[[], Case]]:
    named = tuple(
        replace(one, source_name=name)
        for one, name in zip(COLUMNS, ["Day of use", "No.", "What?", "Amount (€)", "seen at"], strict=True)
    )
    file_names = [one.source_name for one in named]
    twice = [[*one[:3], "9", *one[3:]] for one in TEXTS]
    placed = tuple(replace(one, place=place) for one, place in zip(COLUMNS, [1, 2, 3, 5, 6], strict=True))
    return {
        "header: none": lambda: Case(written(header=None), Dialect(header=0)),
        "header: none, columns in another order": lambda: Case(
            written([[*one[::-1]] for one in TEXTS], header=None),
            Dialect(header=0),
            columns=tuple(replace(one, place=5 - n) for n, one in enumerate(COLUMNS)),
        ),
        "header: columns in another order": lambda: Case(written([[*one[::-1]] for one in TEXTS], header=NAMES[::-1])),
        "header: names that are not ours": lambda: Case(written(header=file_names), columns=named),
        "header: names with blanks, dots, backticks and quotes": lambda: Case(
            written(header=["day", "a.b", "who`s", 'say "x"', "seen, at"]),
            columns=tuple(
                replace(one, source_name=name)
                for one, name in zip(COLUMNS, ["day", "a.b", "who`s", 'say "x"', "seen, at"], strict=True)
            ),
        ),
        "header: two columns of one name, told apart by place": lambda: Case(
            written(twice, header=["day", "number", "what", "amount", "amount", "seen_at"]), columns=placed
        ),
        "header: names that nobody needs, known by place": lambda: Case(
            written(header=["A", "B", "C", "D", "E"]), Dialect(by_place=True)
        ),
        "header: two lines": lambda: Case(
            text("day,number,what,amount,seen", ",,,in EUR,at", *DATA),
            Dialect(header=2),
            columns=tuple(
                replace(one, source_name=name)
                for one, name in zip(COLUMNS, ["day", "number", "what", "amount in EUR", "seen at"], strict=True)
            ),
        ),
        "header: over two lines within quotes": lambda: Case(
            text('day,number,what,"amount', 'in EUR",seen_at', *DATA),
            Dialect(multiline=True),
            columns=column("amount", source_name="amount\nin EUR"),
        ),
        "header: a column without a name, and one more at the end of each line": lambda: Case(
            written([["0", *one, ""] for one in TEXTS], header=["", *NAMES, ""])
        ),
        "header: blanks around the names": lambda: Case(text(HEADER.replace(",", " , "), *DATA), Dialect(trim=True)),
        "header: once more in between": lambda: Case(text(HEADER, *DATA[:2], HEADER, *DATA[2:]), quarantined=1),
    }


def tables() -> dict[str, Callable[[], Case]]:
    return {
        "preamble: three lines": lambda: Case(
            text("Report of the day", "Printed at noon, by: us", "", *LINES), Dialect(skip_lines=3)
        ),
        "preamble: lines with quotes that are not closed": lambda: Case(
            text('The "report', *LINES), Dialect(skip_lines=1)
        ),
        "preamble: of any length, up to a line": lambda: Case(
            text("Report", "all,sorts,of,lines", "-- data --", *LINES), Dialect(begins_after="^-- data --$")
        ),
        "comments: before, between and after rows": lambda: Case(
            text("# made by us", HEADER, *DATA[:1], '# "not a row', *DATA[1:], "# the end"), Dialect(comment="#")
        ),
        "comments: of two signs": lambda: Case(
            text("-- made by us", HEADER, *DATA, "-- the end"), Dialect(comment="--")
        ),
        "footnote: a total": lambda: Case(text(*LINES, "Total,4,,998767.25,"), Dialect(ends_before="^Total")),
        "footnote: after a blank line": lambda: Case(
            text(*LINES, "", "Source: us", "Page 1, of 1"), Dialect(ends_before=r"^\s*$")
        ),
        "several tables: the first": lambda: Case(text(*LINES, "", "who,age", "me,7"), Dialect(ends_before="^$")),
        "several tables: the second, by its name": lambda: Case(
            text("[people]", "who,age", "me,7", "", "[things]", *LINES, "", "[more]", "a", "b"),
            Dialect(begins_after=r"^\[things\]", ends_before=r"^\["),
        ),
        "rows: a value too few": lambda: Case(text(*LINES, "2024-06-01,5,x,1"), quarantined=1),
        "rows: a value too few, padded": lambda: Case(
            text(*LINES, "2024-06-01,5,x"), Dialect(short_rows=Short.PAD), [*ROWS, (DAY, 5, "x", None, None)]
        ),
        "rows: a quoted value and too few, padded": lambda: Case(
            text(*LINES, '2024-06-01,5,"x, y"'), Dialect(short_rows=Short.PAD), [*ROWS, (DAY, 5, "x, y", None, None)]
        ),
        "rows: a value too many": lambda: Case(text(*LINES, "2024-06-01,5,x,1,,more"), quarantined=1),
        "rows: a value too many, cut": lambda: Case(
            text(*LINES, "2024-06-01,5,x,1,,more"), Dialect(long_rows=Long.CUT), [*ROWS, (DAY, 5, "x", 1.0, None)]
        ),
        "rows: a delimiter at the end of each, but of the header": lambda: Case(
            text(HEADER, *(f"{row}," for row in DATA)), Dialect(long_rows=Long.CUT)
        ),
        "rows: a decimal comma that is a delimiter": lambda: Case(text(*LINES, "2024-06-01,5,x,1,5,"), quarantined=1),
        "rows: of delimiters alone": lambda: Case(text(*LINES, ",,,,"), quarantined=1),
    }


def values() -> dict[str, Callable[[], Case]]:
    def amounts(*texts: str, **dialect: Any) -> Callable[[], Case]:
        return lambda: Case(written(in_place(3, texts), delimiter=";"), Dialect(delimiter=";", **dialect))

    def times(pattern: str | tuple[str, ...], *texts: str, **more: Any) -> Callable[[], Case]:
        return lambda: Case(
            written(in_place(4, texts), delimiter=";"),
            Dialect(delimiter=";"),
            columns=column("seen_at", pattern=pattern, **more),
        )

    def days(pattern: str, text: str) -> Callable[[], Case]:
        return lambda: Case(
            written(in_place(0, [text] * 4), delimiter=";"),
            Dialect(delimiter=";"),
            columns=column("day", pattern=pattern),
        )

    flags = (*COLUMNS[:2], Column("what", "boolean", "whether"), *COLUMNS[3:])
    spans = (*COLUMNS[:3], replace(COLUMNS[3], form=Form.DURATION), COLUMNS[4])
    return {
        "numbers: decimal commas": amounts("1,5", "-1234,25", "1000000", "", decimal=","),
        "numbers: as in German": lambda: Case(
            written(GERMAN, delimiter=";"), Dialect(delimiter=";", decimal=",", thousands=".")
        ),
        "numbers: as in English": amounts("1.5", "-1,234.25", "1,000,000", "", thousands=","),
        "numbers: as in Swiss": amounts("1.5", "-1'234.25", "1'000'000", "", thousands="'"),
        "numbers: as in French": amounts("1,5", "-1\u202f234,25", "1\u00a0000 000", "", decimal=",", thousands=" "),
        "numbers: as in India": amounts("1.5", "-1,234.25", "10,00,000", "", thousands=","),
        "numbers: a separator in the wrong place": lambda: Case(
            written([*GERMAN, ["2024-06-01", "5", "x", "1.2345,6", ""]], delimiter=";"),
            Dialect(delimiter=";", decimal=",", thousands="."),
            quarantined=1,
        ),
        "numbers: brackets and a minus after it": amounts("1.5", "(1234.25)", "1000000", "", accounting=True),
        "numbers: with a mark of a currency": lambda: Case(
            written(in_place(3, ["€ 1,5", "-€1.234,25", "1.000.000 EUR", ""]), delimiter=";"),
            Dialect(delimiter=";", decimal=",", thousands="."),
            columns=column("amount", marks=("€", "EUR")),
        ),
        "numbers: with the mark of another currency": lambda: Case(
            written([*in_place(3, ["1.5 €", "-1234.25 €", "1000000", ""]), ["2024-06-01", "5", "x", "$ 5", ""]]),
            columns=column("amount", marks=("€",)),
            quarantined=1,
        ),
        "numbers: with a sign of percent": lambda: Case(
            written(in_place(3, ["1.5%", "-1234.25 %", "1000000 %", ""])), columns=column("amount", marks=("%",))
        ),
        "nulls: NA, NULL and a dash": lambda: Case(
            written(in_place(2, ["NA", "NULL", "-", "it's"])),
            Dialect(nulls=("", "NA", "NULL", "-")),
            rows_with([None, None, None, "it's"]),
        ),
        r"nulls: \N": lambda: Case(
            written(in_place(3, ["1.5", "-1234.25", "1000000", r"\N"]), quote="", escape="", delimiter="\t"),
            Dialect(nulls=("", r"\N"), quote="", escape="", delimiter="\t"),
        ),
        "nulls: numbers in quotes with nothing within": lambda: Case(written(quote_all=True)),
        "blanks: around the values": lambda: Case(
            written([[f"  {one} " for one in texts] for texts in TEXTS]), Dialect(trim=True)
        ),
        "booleans: as people write them": lambda: Case(
            written(in_place(2, ["Ja", "NEIN", "x", "ja"])),
            Dialect(true=("ja",), false=("nein",)),
            [
                (*row[:2], flag, *row[3:])
                for row, flag in zip(ROWS, [True, False, None, True], strict=True)
                if row[1] != 3
            ],
            quarantined=1,
            columns=flags,
        ),
        "durations: hours and minutes, and those of ISO 8601": lambda: Case(
            written(in_place(3, ["1:30", "26:15:00.5", "PT1H30M", "90"])),
            rows=[
                (*row[:3], seconds, row[4]) for row, seconds in zip(ROWS, [5400.0, 94500.5, 5400.0, 90.0], strict=True)
            ],
            columns=spans,
        ),
        "dates: 01.06.2024": days("%d.%m.%Y", "01.06.2024"),
        "dates: 6/1/24": days("%m/%d/%y", "6/1/24"),
        "dates: 20240601": days("%Y%m%d", "20240601"),
        "dates: 1 June 2024": days("%d %B %Y", "1 June 2024"),
        "dates: Sat 01-JUN-2024": days("%a %d-%b-%Y", "Sat 01-JUN-2024"),
        "dates: 2024.153": days("%Y.%j", "2024.153"),
        "times: 01.06.2024 14:00, in Berlin": times(
            "%d.%m.%Y %H:%M", *["01.06.2024 14:00"] * 3, "", timezone="Europe/Berlin"
        ),
        "times: 06/01/2024 12:00:00 PM": times("%m/%d/%Y %I:%M:%S %p", *["06/01/2024 12:00:00 PM"] * 3, ""),
        "times: 01/Jun/2024:14:00:00 +0200": times("%d/%b/%Y:%H:%M:%S %z", *["01/Jun/2024:14:00:00 +0200"] * 3, ""),
        "times: seconds since 1970": times("%s", *["1717243200"] * 3, ""),
        "times: milliseconds since 1970": times("%L", *["1717243200000"] * 3, ""),
        "times: with and without a fraction": times(
            ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"),
            *["2024-06-01 12:00:00", "2024-06-01 12:00:00.000", "2024-06-01 12:00:00.000000000"],
            "",
        ),
        "times: an hour that Berlin has twice": lambda: Case(
            written([*TEXTS, ["2024-06-01", "5", "x", "", "2024-10-27 02:30"]]),
            columns=column("seen_at", timezone="Europe/Berlin"),
            quarantined=1,
        ),
    }


def packed() -> dict[str, Callable[[], Case]]:
    packs: dict[Compression, Callable[[bytes], bytes]] = {
        Compression.GZIP: gzip.compress,
        Compression.ZSTD: zstd.compress,
        Compression.BZIP2: bz2.compress,
        Compression.XZ: lzma.compress,
        Compression.ZIP: zipped,
    }
    found: dict[str, Callable[[], Case]] = {
        f"packed: {compression.name.lower()}": lambda compression=compression, pack=pack: Case(
            pack(written()), more={"compression": compression}
        )
        for compression, pack in packs.items()
    }
    found["packed: zip, with a folder and what a Macintosh adds"] = lambda: Case(
        zipped(written(), "a/things.csv", **{"a/": b"", "__MACOSX/a/._things.csv": b"x"}),
        more={"compression": Compression.ZIP},
    )
    found["packed: gzip, semicolons in Latin-1"] = lambda: Case(
        gzip.compress(written(WESTERN, delimiter=";", encoding="latin-1")),
        Dialect(delimiter=";", encoding="latin-1"),
        rows_with([one[2] for one in WESTERN]),
        more={"compression": Compression.GZIP},
    )
    return found


def lines() -> dict[str, Callable[[], Case]]:
    fixed = tuple(
        replace(one, place=place, width=width)
        for one, place, width in zip(COLUMNS, [1, 11, 14, 31, 41], [10, 3, 17, 10, 20], strict=True)
    )
    padded = [f"{a:10}{b:>3}{c:17}{d:>10}{e:20}" for a, b, c, d, e in TEXTS]
    dates = {"day": {"pattern": "%d/%b/%Y"}, "seen_at": {"pattern": "%d/%b/%Y:%H:%M:%S %z"}}
    log = tuple(replace(one, **dates.get(one.name, {})) for one in COLUMNS)
    logged = [f'01/Jun/2024 [01/Jun/2024:14:00:00 +0200] #{b} "{c}" {d or "-"}' for _, b, c, d, e in TEXTS[:3]] + [
        '01/Jun/2024 [-] #4 "it\'s" -'
    ]
    tight = (
        replace(fixed[0], width=8, pattern="%Y%m%d"),
        replace(fixed[1], place=9, width=5),
        replace(fixed[2], place=14, width=8),
        Column("cents", "int", "how much", place=22, width=8),
    )
    pattern = r'(?P<day>\S+) \[(?P<seen_at>[^\]]*)\] #(?P<number>\d+) "(?P<what>[^"]*)" (?P<amount>\S+)'
    return {
        "fixed width": lambda: Case(text(*padded), columns=fixed, more={"format": Format.FIXED}),
        "fixed width: in Latin-1, after a header, a line that is too long": lambda: Case(
            "".join(f"{one}\n" for one in ["DAY       NO WHAT", *padded, f"{padded[0]} and more"])
            .replace("żółw – Müller", "Müller       ")
            .encode("latin-1"),
            Dialect(encoding="latin-1", skip_lines=1),
            rows_with(["plain", "blank in between", "Müller", "it's"]),
            quarantined=1,
            columns=fixed,
            more={"format": Format.FIXED},
        ),
        "fixed width: no blank between columns, numbers to the right, umlauts": lambda: Case(
            text(*(f"{day}{number:05}{who:<8}{cents:>8}" for day, number, who, cents in TIGHT)),
            rows=[(date(2024, 6, 1), *row) for _, *row in TIGHT],
            columns=tight,
            more={"format": Format.FIXED},
        ),
        "fixed width: a line of dashes under the header, and a total": lambda: Case(
            text(
                "Balances of 1 June",
                "",
                "ACCOUNT   NAME            BALANCE",
                "--------- ------------- ---------",
                *(f"{account:<10}{who:<14}{written:>9}" for account, who, written, _ in BALANCES),
                "",
                f"{'Summe':<24}{'13.214,60':>9}",
            ),
            Dialect(skip_lines=4, ends_before="^Summe", decimal=",", thousands="."),
            [(account, who, value) for account, who, _, value in BALANCES],
            columns=(
                Column("account", "string", "", required=True, place=1, width=9),
                Column("name", "string", "", place=11, width=13),
                Column("balance", "double", "", place=25, width=9),
            ),
            more={"format": Format.FIXED, "key": ("account",), "day_column": ""},
        ),
        "fixed width: packed": lambda: Case(
            gzip.compress(text(*padded)),
            columns=fixed,
            more={"format": Format.FIXED, "compression": Compression.GZIP},
        ),
        "log: by a pattern, and a line that is none": lambda: Case(
            text(*logged[:2], "Traceback (most recent call last):", *logged[2:]),
            Dialect(pattern=pattern, nulls=("-",)),
            quarantined=1,
            columns=log,
            more={"format": Format.LOG},
        ),
        "log: of a web server": lambda: Case(
            text(
                '127.0.0.1 - me [01/Jun/2024:14:00:00 +0200] "GET /a b HTTP/1.1" 200 1234 "-" "curl \\"x\\""',
                '10.0.0.7 - - [01/Jun/2024:12:00:00 +0000] "-" 408 - "https://a/?q=1" "Mozilla/5.0 (X11; Linux)"',
            ),
            Dialect(pattern="combined", nulls=("-",)),
            [
                ("127.0.0.1", "me", NOON, "GET /a b HTTP/1.1", 200, 1234, r"curl \"x\""),
                ("10.0.0.7", None, NOON, None, 408, None, "Mozilla/5.0 (X11; Linux)"),
            ],
            columns=(
                Column("host", "string", "", required=True),
                Column("user", "string", ""),
                Column("at", "timestamp", "", source_name="time", pattern="%d/%b/%Y:%H:%M:%S %z"),
                Column("request", "string", ""),
                Column("status", "int", ""),
                Column("size", "bigint", "", source_name="bytes"),
                Column("agent", "string", ""),
            ),
            more={"format": Format.LOG, "key": ("host",), "day_column": ""},
        ),
    }


TIGHT = [
    ("20240601", 17, "Müller", 1250),
    ("20240601", 18, "Schäfer", 99),
    ("20240601", 123, "Aß", 100000),
    ("20240601", 20999, "Zoë", 7),
]
BALANCES = [
    ("A-0001", "Müller", "1.234,50", 1234.5),
    ("A-0002", "Schäfer & Co", "-20,00", -20.0),
    ("A-0003", "Weiß", "0,10", 0.1),
    ("A-0004", "Ng", "12.000,00", 12000.0),
]


def objects() -> list[dict[str, Any]]:
    """The rows as JSON has them: a value that is missing is not said."""
    plain = [[one.isoformat() if isinstance(one, date) else one for one in row] for row in ROWS]
    return [{name: one for name, one in zip(NAMES, row, strict=True) if one is not None} for row in plain]


def elements(prefix: str = "") -> str:
    """The rows as XML, the number of each as an attribute."""
    from xml.sax.saxutils import escape

    def inside(row: dict[str, Any]) -> str:
        return "".join(
            f"<{prefix}{name}>{escape(str(value))}</{prefix}{name}>" for name, value in row.items() if name != "number"
        )

    return "\n".join(f'<{prefix}thing number="{row["number"]}">{inside(row)}</{prefix}thing>' for row in objects())


def arrow() -> Any:
    import pyarrow

    types = [pyarrow.date32(), pyarrow.int32(), pyarrow.string(), pyarrow.float64(), pyarrow.timestamp("us", "UTC")]
    return pyarrow.table(
        [pyarrow.array(list(one), type_) for one, type_ in zip(zip(*ROWS, strict=True), types, strict=True)],
        names=NAMES,
    )


def avro() -> bytes:
    import fastavro

    types: list[Any] = [{"type": "int", "logicalType": "date"}, "int", "string", "double"]
    types.append({"type": "long", "logicalType": "timestamp-micros"})
    fields = [{"name": name, "type": ["null", type_]} for name, type_ in zip(NAMES, types, strict=True)]
    made = io.BytesIO()
    fastavro.writer(
        made,
        {"type": "record", "name": "thing", "fields": fields},
        [dict(zip(NAMES, row, strict=True)) for row in ROWS],
    )
    return made.getvalue()


def documents() -> dict[str, Callable[[], Case]]:
    def in_json(whole: Any, within: str = "", **more: Any) -> Callable[[], Case]:
        content = json.dumps(whole, indent=1, ensure_ascii=False).encode()
        return lambda: Case(content, more={"format": Format.JSON, **({"within": within} if within else {}), **more})

    def in_xml(content: str, **more: Any) -> Callable[[], Case]:
        columns = column("number", source_name="@number")
        return lambda: Case(content.encode(), columns=columns, more={"format": Format.XML, "within": "thing", **more})

    def stored(format_: Format, write: Callable[[Any, Any], None]) -> Callable[[], Case]:
        made = io.BytesIO()
        write(arrow(), made)
        return lambda: Case(made.getvalue(), more={"format": format_})

    def packed_as(make: Callable[[], Case], compression: Compression, pack: Callable[[bytes], bytes]) -> Case:
        case = make()
        return replace(case, content=pack(case.content), more={**case.more, "compression": compression})

    from pyarrow import orc, parquet

    two = {"meta": {"rows": 4, "units": [{"unit": "EUR"}]}, "data": {"things": objects()}}
    spaced = f'<x:export xmlns:x="urn:x"><x:head made="today"/><x:things>\n{elements("x:")}\n</x:things></x:export>'
    plain_json, plain_xml = in_json(objects()), in_xml(f"<things>{elements()}</things>")
    return {
        "JSON lines": lambda: Case(
            text(*(json.dumps(one, ensure_ascii=False) for one in objects())), more={"format": Format.JSONL}
        ),
        "JSON: an array": plain_json,
        "JSON: an array within, and another one beside it": in_json(two, "data.things"),
        "JSON: with a mark before it": lambda: replace(plain_json(), content=b"\xef\xbb\xbf" + plain_json().content),
        "JSON: packed": lambda: packed_as(plain_json, Compression.ZSTD, zstd.compress),
        "XML: elements with an attribute": plain_xml,
        "XML: of a namespace, after a head": in_xml(spaced),
        "XML: in Latin-1, as it says": lambda: replace(
            in_xml("")(),
            content=f'<?xml version="1.0" encoding="iso-8859-1"?>\n<things>{elements()}</things>'.replace(
                "żółw – ", ""
            ).encode("latin-1"),
            rows=rows_with([one[2] for one in WESTERN]),
        ),
        "XML: packed": lambda: packed_as(plain_xml, Compression.ZIP, lambda one: zipped(one, "things.xml")),
        "Parquet": stored(Format.PARQUET, parquet.write_table),
        "ORC": stored(Format.ORC, orc.write_table),
        "Avro": lambda: Case(avro(), more={"format": Format.AVRO}),
    }


def sheet(rows: Sequence[Sequence[Any]], name: str = "Sheet", **others: Sequence[Sequence[Any]]) -> bytes:
    """A file of Excel with these rows in its first sheet, and others in others."""
    import openpyxl

    book = openpyxl.Workbook()
    first = book.active
    first.title = name
    for row in rows:
        first.append(list(row))
    for other, more in others.items():
        further = book.create_sheet(other)
        for row in more:
            further.append(list(row))
    written_to = io.BytesIO()
    book.save(written_to)
    return written_to.getvalue()


def sheets() -> dict[str, Callable[[], Case]]:
    excel = {"format": Format.XLSX}
    cells = [
        [DAY, 1, "plain", 1.5, NOON.replace(tzinfo=None)],
        [DAY, 2, "blank in between", -1234.25, NOON.replace(tzinfo=None)],
    ]
    cells += [[DAY, 3, "żółw – Müller", 1000000, NOON.replace(tzinfo=None)], [DAY, 4, "it's", None, None]]
    german = column("day", pattern="%d.%m.%Y")
    return {
        "Excel": lambda: Case(sheet([NAMES, *cells]), more=excel),
        "Excel: what is a text in it": lambda: Case(sheet([NAMES, *TEXTS]), more=excel),
        "Excel: texts and dates of a German office in one column": lambda: Case(
            sheet([NAMES, ["01.06.2024", *cells[0][1:]], *cells[1:3], ["01.06.2024", "4", "it's", "", None]]),
            Dialect(decimal=","),
            columns=german,
            more=excel,
        ),
        "Excel: a sheet by its name, after a title, up to a total": lambda: Case(
            sheet(
                [["nothing"]],
                "First",
                Data=[["Report of June"], [], NAMES, *cells[:2], [], *cells[2:], ["Total", 4, None, 99], ["by us"]],
            ),
            Dialect(skip_lines=2, ends_before="^Total"),
            more={**excel, "within": "Data"},
        ),
        "Excel: a range": lambda: Case(
            sheet([["x"] * 8, *([None, "x", *row, "x"] for row in [NAMES, *cells]), ["x"] * 8]),
            more={**excel, "within": "Sheet!C2:G6"},
        ),
        "Excel: columns in another order, without a header": lambda: Case(
            sheet([row[::-1] for row in cells]),
            Dialect(header=0),
            columns=tuple(replace(one, place=5 - n) for n, one in enumerate(COLUMNS)),
            more=excel,
        ),
        "Excel: a fraction where a whole number should be, a text where a day should be": lambda: Case(
            sheet([NAMES, *cells, [DAY, 5.5, "x", 1, None], ["soon", 6, "x", 1, None]]), quarantined=2, more=excel
        ),
    }


CASES: dict[str, Callable[[], Case]] = {
    **delimiters(),
    **quotes(),
    **line_ends(),
    **encodings(),
    **headers(),
    **tables(),
    **values(),
    **packed(),
    **lines(),
    **sheets(),
    **documents(),
}
