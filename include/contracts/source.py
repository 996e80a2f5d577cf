"""What a source is: its feeds, their columns and the promises its upstream makes about them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_core import SchemaError, SchemaValidator, core_schema

from include.contracts import naming, shapes
from include.contracts.connectors import Connector
from include.contracts.dialect import EPOCHS, OF_ANY_LINES, OF_LINES, OF_SHEETS, RFC_4180, Dialect, check_pattern
from include.contracts.shapes import Shape
from include.contracts.tuples import require_tuples
from include.contracts.wide import Wide, check

# What ingestion adds to the columns of every feed, as type and description.
BOOKKEEPING = {
    "partition_day": ("date", "the row's own business day, and of a snapshot the day it is of"),
    "ingestion_date": ("date", "the night whose file brought the row"),
    "source_file": ("string", "the file it came in, relative to landing"),
    "arrived_at": ("timestamp", "when that file was written, UTC"),
}


WHOLE = ("smallint", "int", "bigint")
TYPES = ("string", *WHOLE, "double", "decimal", "boolean", "date", "timestamp", "binary")
# Money, which no double has exactly: all its digits, and those behind the point.
_DECIMAL = re.compile(r"decimal\(([1-9]\d?),(\d\d?)\)")
MOST_DIGITS = 38

# How long nobody has written to a file that rests.
RESTS = timedelta(minutes=5)

# What ends the name of the table of counts.
COMPLETENESS = "__completeness"

# What a source's or a feed's name may be: joined by two lines, as in a table's name, they still tell which is which.
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{kind} {name!r}: a name is small letters, digits and single _, a letter first")


def _digits(type_: str) -> tuple[int, int] | None:
    found = _DECIMAL.fullmatch(type_)
    if not found or not int(found[2]) <= int(found[1]) <= MOST_DIGITS:
        return None
    return int(found[1]), int(found[2])


def _check_zone(whose: str, name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{whose}: {name!r} is no time zone: an IANA name, as Europe/Berlin") from None


class Mode(StrEnum):
    """How the files of a feed add up to its table."""

    PARTITION = "partition"  # each file is one business day; every night brings one
    # Each file is the whole table as of its day. Most nights bring none, unless the source has snapshots alone.
    SNAPSHOT = "snapshot"
    UPSERT = "upsert"  # each file is the changes of one business day; every night brings one, if only an empty one


class Copies(StrEnum):
    """What becomes of rows of a day that are equal in all columns."""

    DROP = "drop"  # they are one row that came several times; those that have the same key and differ are in conflict
    KEEP = "keep"  # each is a thing of its own, as a sale without a number: no row is compared with another one


class Format(StrEnum):
    """How the rows of a file are written."""

    CSV = "csv"  # a table of lines and delimiters, in the dialect of the feed
    JSONL = "jsonl"  # UTF-8, one JSON object a line, whose keys are the columns
    PARQUET = "parquet"  # columns by name, in the types of the spec
    FIXED = "txt"  # lines, each column at its place and of its width
    LOG = "log"  # lines, each as the pattern of the dialect says
    XLSX = "xlsx"  # a sheet of Excel, or a range of one
    JSON = "json"  # one document, with the rows as an array
    XML = "xml"  # one document, with an element for each row
    ORC = "orc"  # as Parquet
    AVRO = "avro"  # records, by the names of their fields
    PDF = "pdf"  # a document, with a row for each page
    HTML = "html"  # a document, which is one row


_OF_DOCUMENTS = ("title", "author", "keywords", "created", "modified", "language", "text")
OF_DOCUMENTS = {
    Format.PDF: (*_OF_DOCUMENTS, "subject", "creator", "producer", "page", "pages"),
    Format.HTML: (*_OF_DOCUMENTS, "description"),
}
"""What the rows of a document have, by the format."""

OF_PATHS = (Format.JSONL, Format.JSON, Format.PARQUET, Format.ORC, Format.AVRO)
"""Formats whose columns can have others in them, by name."""

OF_TEXT = (Format.CSV, Format.JSONL, Format.FIXED, Format.LOG)
"""Formats whose encoding only the spec can say."""


class Compression(StrEnum):
    """What a whole file is packed into, as the end of its name says."""

    NONE = ""
    GZIP = "gz"
    ZSTD = "zst"
    BZIP2 = "bz2"
    XZ = "xz"
    ZIP = "zip"  # with one file in it


class Finished(StrEnum):
    """How a file that is whole is told from one that is still being written."""

    LINE_END = "line end"  # its last line has one; of the other formats, the end that the format itself has
    RENAMED = "renamed"  # it gets its name, or comes into the bucket, once it is whole
    RESTING = "resting"  # nobody has written to it for ``RESTS``
    MARKED = "marked"  # there is a mark, which comes last: ``Feed.mark``
    LISTED = "listed"  # the mark is a manifest: it names the files, with their rows, bytes or checksums


class Form(StrEnum):
    """What the signs of a value stand for, where they are more than its value."""

    HHMM = "HHMM"  # of an int, a time of day: 1435, and 5 is five past midnight, which itself is 0 or 2400
    DURATION = "duration"  # of a double, in seconds: 1:30, 26:15:00.5, PT1H30M
    HEX = "hex"  # of a binary, two digits a byte: 00ff; where nothing is said it is base64


class Pii(StrEnum):
    """How personal a column is."""

    NONE = "none"
    PERSONAL = "personal"


@dataclass(frozen=True)
class Column:
    """A column as the upstream promises it. ``type`` is one of ``TYPES``, a decimal as ``decimal(12,2)``, or is nested:
    ``array<T>``, ``map<string,T>``, ``struct<name:T,…>``.

    ``unit`` is empty for what has none.

    Raises ValueError for what its type cannot have.
    """

    name: str
    type: str
    description: str
    unit: str = ""
    required: bool = False
    values: tuple[str, ...] = ()  # a closed set; empty: any value
    minimum: float | None = None  # inclusive, in ``unit``
    maximum: float | None = None  # inclusive, in ``unit``
    form: Form | None = None
    pii: Pii = Pii.NONE
    # How the file has it, where that is not as its name and type say.
    # What the file calls it. Several are a path to what is within a column: ("address", "city"), ("tags", 0).
    source_name: str | tuple[str | int, ...] = ""
    place: int = 0  # which of the file's columns it is, counted from 1: where names are the same, or there are none
    width: int = 0  # of lines of fixed width: how many signs it has; its place is that of the first one
    pattern: str | tuple[str, ...] = ()  # of a date or timestamp, as strptime has it: %d.%m.%Y; the first that fits
    timezone: str = "UTC"  # of a timestamp that is written without one, an IANA name
    marks: tuple[str, ...] = ()  # of a number, what may stand before or after it and says nothing more: %, €

    def __post_init__(self) -> None:
        require_tuples(f"column {self.name}", self)
        self._check_type()
        needs = {Form.HHMM: "int", Form.DURATION: "double"}
        if self.form is Form.HEX:
            needs[Form.HEX] = self.type if "binary" in self.shape.leaves else "binary"
        if self.form and self.type != needs[self.form]:
            raise ValueError(f"column {self.name}: {self.form} is of the type {needs[self.form]}, not of {self.type}")
        if self.place < 0:
            raise ValueError(f"column {self.name}: the first place is 1")
        if self.patterns and self.type not in ("date", "timestamp"):
            raise ValueError(f"column {self.name}: a pattern is of a date or a timestamp, not of a {self.type}")
        for pattern in self.patterns:
            try:
                check_pattern(pattern, is_time=self.type == "timestamp")
            except ValueError as error:
                raise ValueError(f"column {self.name}: {error}") from None
            if self.type == "date" and any(epoch in pattern for epoch in EPOCHS):
                raise ValueError(f"column {self.name}: {pattern} is a moment and no date: in which zone?")
        if self.marks and not self.is_number:
            raise ValueError(f"column {self.name}: marks stand beside a number, not beside a {self.type}")
        if odd := [mark for mark in self.marks if not mark.strip() or re.search(r"[0-9.,+\-()]", mark)]:
            raise ValueError(f"column {self.name}: {odd[0]!r} could be a part of the number")
        if self.timezone != "UTC" and self.type != "timestamp":
            raise ValueError(f"column {self.name}: a {self.type} has no time zone")
        _check_zone(f"column {self.name}", self.timezone)

    def _check_type(self) -> None:
        """Raise ValueError for a type that is none, or that cannot have what the column says of its values."""
        try:
            leaves = tuple(self.shape.leaves)
        except ValueError as error:
            raise ValueError(f"column {self.name}: {error}") from None
        for leaf in leaves:
            if leaf.partition("(")[0] not in TYPES or (leaf.startswith("decimal") and not _digits(leaf)):
                raise ValueError(
                    f"column {self.name}: {leaf!r} is none of {', '.join(TYPES)}; a decimal says how many digits it "
                    f"has, at most {MOST_DIGITS}, and how many of them behind the point: decimal(12,2); nested are "
                    "array<T>, map<string,T> and struct<name:T,…>"
                )
        if (self.is_nested or self.type == "binary") and self.values:
            raise ValueError(f"column {self.name}: a closed set is of flat values, not of {self.type}")
        if self.is_nested and not (self.minimum is self.maximum is None):
            raise ValueError(f"column {self.name}: bounds are of a number, not of {self.type}")
        path = self.source_name
        if isinstance(path, tuple) and (
            not path
            or not isinstance(path[0], str)
            or any(one == "" or (isinstance(one, int) and one < 0) for one in path)
        ):
            raise ValueError(
                f"column {self.name}: {path} is no path: the name of a column of the file, then the names, or the "
                "places from 0 on, within it"
            )

    @cached_property
    def shape(self) -> Shape:
        """Its type, taken apart. Raises ValueError where it is none."""
        return shapes.parse(self.type)

    @property
    def is_nested(self) -> bool:
        return "<" in self.type

    @property
    def kind(self) -> str:
        """Its type without its digits, or what is in it."""
        return re.split("[(<]", self.type, maxsplit=1)[0]

    @property
    def digits(self) -> tuple[int, int] | None:
        """Of a decimal: how many digits it has, and how many of them are behind the point."""
        return _digits(self.type)

    @property
    def is_number(self) -> bool:
        return self.kind in (*WHOLE, "double", "decimal")

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of a date or timestamp, in the order in which they are tried; none where it is ISO 8601."""
        return (self.pattern,) if isinstance(self.pattern, str) else self.pattern

    @property
    def in_file(self) -> str:
        """What the file calls it, or the column that it is within."""
        return str(self.source_name[0]) if isinstance(self.source_name, tuple) else self.source_name or self.name

    @property
    def path(self) -> tuple[str | int, ...]:
        """Where it is within the column of the file; empty where it is that column."""
        return self.source_name[1:] if isinstance(self.source_name, tuple) else ()


# In a replacement: a group as ${1} or ${name}, a dollar as $$. A bare $1a would be the group "1a", which is none.
_GROUP = re.compile(r"\$(?:\{(?P<group>\w+)\}|(?P<dollar>\$))?")
MOST_WORDS = 100  # letters of a reason


@dataclass(frozen=True)
class Mend:
    """A rule that puts one text in place of another in a column, before the row gets its verdict.

    ``pattern`` is a regular expression that the whole text has to match, in the syntax that Python and Rust share: no
    look-around, no back-references. ``replacement`` may name its groups, as ``${1}``. Of several rules for a column the
    first that matches counts. ``why`` is for whoever reads what was mended.

    Raises ValueError for a rule that does not say what it does, or makes a value of nothing.
    """

    column: str
    pattern: str
    replacement: str
    why: str

    def __post_init__(self) -> None:
        try:
            compiled = re.compile(self.pattern)
            SchemaValidator(core_schema.str_schema(pattern=self.pattern))  # the engine that reads the files
        except (re.error, SchemaError) as error:
            raise ValueError(f"mend of {self.column}: {self.pattern!r} is no pattern: {error}") from None
        if compiled.fullmatch(""):
            raise ValueError(f"mend of {self.column}: {self.pattern!r} also matches nothing, and would make values up")
        if not self.why.strip() or len(self.why) > MOST_WORDS or re.search("[;\n]", self.why):
            raise ValueError(f"mend of {self.column}: why? In one line of at most {MOST_WORDS} letters, without a ;")
        known = {*map(str, range(compiled.groups + 1)), *compiled.groupindex}
        for found in _GROUP.finditer(self.replacement):
            if not found["dollar"] and found["group"] not in known:
                raise ValueError(
                    f"mend of {self.column}: {found[0]!r} in {self.replacement!r} is no group of {self.pattern!r}; "
                    "a group is written as ${1} or ${name}, a dollar as $$"
                )

    def __str__(self) -> str:
        return f"{self.column}: {self.why}"


@dataclass(frozen=True)
class Feed:
    """One kind of file, below ``<landing>/<source>/<feed>/``: ``<YYYY-MM-DD>.<extension>``, or what ``files`` says."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]  # unique within a day; of changes, together with their sequence; empty where copies are kept
    day_column: str = ""  # the column with the row's own day, which is the file's; empty: rows carry no day
    copies: Copies = Copies.DROP
    late_days: int = 0  # a row may come in the file of so many days after its own; it goes to its own day's partition
    mode: Mode = Mode.PARTITION
    op: str = ""  # of changes: the column that says whether a row is an insert, an update or a delete
    sequence: str = ""  # of changes: the column that says in which order they were made
    lead_days: int = 0  # the file of day D arrives in the night of D - lead_days
    format: Format = Format.CSV
    compression: Compression = Compression.NONE  # of the whole file, for the formats that are text
    # What its files are named, as {day}/part-*.parquet or {day:%Y%m%d}_{region}.csv (naming.py); nothing: {day} and the
    # extension. With signs that stand for others, a day has several files. What a name says is a column as any other.
    files: str = ""
    least_files: int = 0  # of a day with several files: with fewer it is not whole
    dialect: Dialect = RFC_4180
    # Where in the file its rows are. Of Excel: a sheet, or a range as Sheet!B3:F; nothing: the first one. Of JSON: the
    # keys that lead to the array, as data.rows; nothing: the document is it. Of XML: the name of the rows' elements.
    within: str = ""
    wide: Wide | None = None  # which of the file's columns become rows: a column per sensor, hour or month
    finished: Finished = Finished.LINE_END
    mark: str = ""  # what the mark of a day is named, as {day}/_SUCCESS; nothing: as its file, with .done or .manifest
    may_be_empty: bool = False  # a day may have no rows: a file without any, or with a connector none at all
    connector: Connector | None = None  # what fetches the files; none: an upstream puts them there itself
    max_quarantined_share: float = 0.05  # more than this share of a day's rows in quarantine fails the day
    mends: tuple[Mend, ...] = ()  # what is known to be written wrongly, and how it is meant
    # Days of bronze that are kept, counted back from the newest one there, not from today's clock: history that is
    # replayed is not wiped. 0: for ever; None: nobody has said, which a policy test refuses.
    retention_days: int | None = None

    def __post_init__(self) -> None:
        _check_name("feed", self.name)
        require_tuples(f"feed {self.name}", self)
        names = [column.name for column in self.columns]
        if odd := [name for name in names if not name.isidentifier() or name.startswith("_")]:
            # What begins so is an engine's or ours, and what is no word has a meaning in SQL or in a path.
            raise ValueError(
                f"feed {self.name}: {odd[0]!r} cannot be the name of a column: letters, digits and _, a letter first"
            )
        if taken := [name for name in names if name.casefold() in BOOKKEEPING]:
            raise ValueError(f"feed {self.name}: a column cannot be named {taken[0]}: ingestion adds one of that name")
        if len({name.casefold() for name in names}) < len(names):
            raise ValueError(f"feed {self.name}: two columns have one name, or names that differ in case only")
        if self.compression and self.format in (Format.PARQUET, Format.XLSX, Format.ORC, Format.AVRO, Format.PDF):
            raise ValueError(f"feed {self.name}: {self.format} packs itself, a packed file around it is none")
        self._check_key()
        if self.within and self.format not in (Format.XLSX, Format.JSON, Format.XML):
            raise ValueError(f"feed {self.name}: all of a file of {self.format} is its rows")
        if self.format is Format.XML and not self.within:
            raise ValueError(f"feed {self.name}: which elements of the document are its rows? within")
        self._check_files()
        if self.content is self:
            self._check_dialect()
        self._check_mends()
        if self.connector and self.format not in self.connector.formats:
            brings = " or ".join(self.connector.formats)
            raise ValueError(f"feed {self.name}: {type(self.connector).__name__} brings {brings}, not {self.format}")
        if self.connector and self.finished in (Finished.RESTING, Finished.MARKED, Finished.LISTED):
            raise ValueError(
                f"feed {self.name}: what a connector brings is whole when it is there, not {self.finished}"
            )
        if self.connector and self.compression not in self.connector.compressions:
            packs = " or ".join(filter(None, self.connector.compressions))
            raise ValueError(f"feed {self.name}: {type(self.connector).__name__} packs {packs}, not {self.compression}")

    def _check_key(self) -> None:
        """Raise ValueError where nobody could say which rows are one."""
        if bool(self.key) == (self.copies is Copies.KEEP):
            raise ValueError(
                f"feed {self.name}: name the columns of its key; or, where equal rows are different things, say "
                "copies=Copies.KEEP and key=()"
            )
        if not self.key and (self.mode is not Mode.PARTITION or (self.connector and self.connector.wants_key)):
            what = f"mode {self.mode}" if self.mode is not Mode.PARTITION else type(self.connector).__name__
            raise ValueError(f"feed {self.name}: {what} tells rows apart by a key, and it has none")

    def _check_files(self) -> None:
        """Raise ValueError for names that do not say what they have to, or days that nobody can know to be whole."""
        self._check_names()
        if self.mark and self.finished not in (Finished.MARKED, Finished.LISTED):
            raise ValueError(f"feed {self.name}: what is the mark for? finished=Finished.MARKED, or LISTED")
        if self.mark and not naming.is_one(self.mark):
            raise ValueError(f"feed {self.name}: a day has one mark, and not as many as {self.mark}")
        if not self.is_one_file:
            self._check_several()
        elif self.least_files:
            raise ValueError(f"feed {self.name}: {self.pattern} is one file, least_files is of several")

    def _check_names(self) -> None:
        """Raise ValueError for names of files that cannot be read, or do not fit the compression or the columns."""
        try:
            for pattern in filter(None, (self.pattern, self.mark)):
                naming.check(pattern)
        except ValueError as error:
            raise ValueError(f"feed {self.name}: {error}") from None
        end = self.pattern.rpartition(".")[2]
        if end != self.compression and (self.compression or end in set(Compression)):
            packed = f"compression is .{self.compression}" if self.compression else "it says no compression"
            raise ValueError(f"feed {self.name}: its files are named {self.pattern}, and {packed}")
        names = {column.name: column for column in self.columns}
        for name in naming.columns(self.pattern):
            if name not in names:
                raise ValueError(f"feed {self.name}: {self.pattern}: {name} is no column")
            if names[name].place or names[name].source_name:
                raise ValueError(f"feed {self.name}: column {name} is in the name of the file and not in the file")

    def _check_several(self) -> None:
        """Raise ValueError where a day has several files, and nothing says when all have come."""
        if self.connector:
            raise ValueError(f"feed {self.name}: a connector brings one file a day, and not as many as {self.pattern}")
        if self.finished in (Finished.MARKED, Finished.LISTED):
            if not self.mark:
                raise ValueError(f"feed {self.name}: what is the mark of all files of a day? mark, as {{day}}/_DONE")
        elif not self.least_files and self.finished is not Finished.RESTING:
            raise ValueError(
                f"feed {self.name}: a day has several files: how many at least (least_files), or what says that all "
                "have come? finished=Finished.MARKED, LISTED or RESTING"
            )

    def _check_dialect(self) -> None:
        """Raise ValueError for what a file of this format cannot say, or columns that cannot be told apart."""
        if self.wide and self.wide.into:
            check(self)  # the feed of the table that is in the file
            return
        self._check_words()
        self._check_places()
        if self.format not in OF_TEXT and self.dialect.encoding != RFC_4180.encoding:
            raise ValueError(f"feed {self.name}: dialect: {self.format} says its encoding itself")
        if self.by_place and len({bool(column.place) for column in self.columns}) > 1:
            raise ValueError(f"feed {self.name}: each column has a place, or none has")
        self._check_paths()
        if self.format in OF_DOCUMENTS:
            known = OF_DOCUMENTS[self.format]
            if odd := [column.in_file for column in self.columns if column.in_file not in known]:
                raise ValueError(
                    f"feed {self.name}: a document of {self.format} has no {odd[0]}: it has {', '.join(known)}"
                )
        self._check_apart()

    def _check_words(self) -> None:
        """Raise ValueError for words of the dialect that mean nothing to the format, or a pattern without a column."""
        dialect, given = self.dialect, OF_LINES
        if self.format is Format.CSV:
            given = {"pattern": ""}
        elif self.format in (Format.FIXED, Format.LOG):
            given = {name: usual for name, usual in OF_LINES.items() if name not in OF_ANY_LINES}
        elif self.format is Format.XLSX:
            given = {name: usual for name, usual in OF_LINES.items() if name not in OF_SHEETS}
        if self.format is Format.LOG:
            given = {name: usual for name, usual in given.items() if name != "pattern"}
            if lacking := [column.in_file for column in self.columns if column.in_file not in dialect.groups]:
                raise ValueError(f"feed {self.name}: the pattern of its dialect has no group (?P<{lacking[0]}>…)")
        if odd := [name for name, usual in given.items() if getattr(dialect, name) != usual]:
            raise ValueError(f"feed {self.name}: dialect: {odd[0]} has no meaning for {self.format}")

    def _check_places(self) -> None:
        """Raise ValueError for columns without a place where the format needs one, or with one where it has none."""
        if self.format is Format.FIXED:
            if odd := [column.name for column in self.columns if not (column.place and column.width)]:
                raise ValueError(
                    f"feed {self.name}: where does column {odd[0]} begin, and how wide is it? place, width"
                )
        elif odd := [column.name for column in self.columns if column.width]:
            raise ValueError(f"feed {self.name}: column {odd[0]} has a width, and its lines have delimiters")
        elif self.format not in (Format.CSV, Format.XLSX) and (
            odd := [column.name for column in self.columns if column.place]
        ):
            raise ValueError(f"feed {self.name}: column {odd[0]} has a place, and {self.format} has names")

    def _check_apart(self) -> None:
        """Raise ValueError where two columns are one of the file."""
        seen: dict[tuple[str | int, ...], str] = {}
        for column in self.columns:
            where = ("", column.place) if column.place else (column.in_file, *column.path)
            if where in seen and not self.by_place:
                raise ValueError(
                    f"feed {self.name}: columns {seen[where]} and {column.name} are one column of the file"
                )
            seen[where] = column.name

    def _check_paths(self) -> None:
        """Raise ValueError for nested columns where rows are told apart, or paths that lead nowhere."""
        roles = {*self.unique, self.op, self.sequence, self.day_column}
        if odd := [column for column in self.columns if column.name in roles and column.is_nested]:
            raise ValueError(
                f"feed {self.name}: column {odd[0].name} is of {odd[0].type}, by which no rows are told apart: take a "
                "flat value out of it, with a path as its source_name"
            )
        within = [column for column in self.columns if column.path]
        if within and self.format not in OF_PATHS:
            raise ValueError(f"feed {self.name}: column {within[0].name} has a path, and {self.format} is flat")
        wholes = {column.in_file: column for column in self.columns if not column.path and not column.is_nested}
        if odd := [column for column in within if column.in_file in wholes]:
            flat = wholes[odd[0].in_file]
            raise ValueError(f"feed {self.name}: column {odd[0].name} is within {flat.name}, which is a {flat.type}")
        try:
            for name in {column.in_file for column in within}:
                shapes.of_paths([(one.path, one.type) for one in within if one.in_file == name])
        except ValueError as error:
            raise ValueError(f"feed {self.name}: paths that exclude each other: {error}") from None

    def _check_mends(self) -> None:
        """Raise ValueError for a rule about what says which row it is, or of which day: that nobody may guess."""
        names = {column.name: column for column in self.columns}
        identity = {*self.unique, self.day_column, self.op}
        for mend in self.mends:
            if mend.column not in names:
                raise ValueError(f"feed {self.name}: mend of {mend.column}: there is no such column")
            if names[mend.column].is_nested:
                raise ValueError(f"feed {self.name}: mend of {mend.column}: it is nested; take a flat value out of it")
            if mend.column in identity:
                raise ValueError(
                    f"feed {self.name}: mend of {mend.column}: it says which row it is, or of which day. A rule could "
                    "make one row of two; mend the file"
                )

    @property
    def by_place(self) -> bool:
        """Whether the file's columns are known by their order, and no name in it is asked."""
        has_header = self.format in (Format.CSV, Format.XLSX)
        return has_header and (self.dialect.by_place or self.dialect.header == 0)

    @cached_property
    def content(self) -> Feed:
        """What each of its files is: without the columns that their names say; one of several may be empty."""
        if self.is_one_file:
            return self
        said = naming.columns(self.pattern)
        within = tuple(column for column in self.columns if column.name not in said)
        return replace(self, columns=within, mends=(), files="", least_files=0, mark="", may_be_empty=True)

    @property
    def pattern(self) -> str:
        """What its files are named, as ``naming`` has it."""
        return self.files or f"{{day}}.{self.extension}"

    @property
    def is_one_file(self) -> bool:
        """Whether a day has one file, and no more."""
        return naming.is_one(self.pattern)

    @property
    def extension(self) -> str:
        """What the names of the files end in, as csv, csv.gz or parquet."""
        return f"{self.format}.{self.compression}" if self.compression else str(self.format)

    @property
    def unique(self) -> tuple[str, ...]:
        """The columns in which no two good rows of a day are equal."""
        return (*self.key, self.sequence) if self.mode is Mode.UPSERT else self.key

    def due(self, night: date) -> date:
        """The day whose file arrives in ``night``."""
        return night + timedelta(self.lead_days)

    def night(self, day: date) -> date:
        """The night in which the file of ``day`` arrives."""
        return day - timedelta(self.lead_days)


@dataclass(frozen=True)
class Source:
    """An upstream system. ``first_day`` is the first day it has data for."""

    name: str
    description: str
    owner: str
    access: str  # where the data comes from, and who may use it for what
    schedule: str  # cron; the tick must be midnight, where a business day ends
    freshness_hours: int  # how long after the end of its business day a night's files may take
    first_day: date
    feeds: tuple[Feed, ...]
    gaps: tuple[date, ...] = ()  # days that the upstream never had, as holidays: nothing waits for their files
    closed_weekdays: tuple[int, ...] = ()  # those without files, 1 is Monday and 7 is Sunday
    month_days: tuple[int, ...] = ()  # the only days of a month with files, as (1,) of a monthly one; empty: any
    timezone: str = "UTC"  # where its business days begin and end, an IANA name

    def __post_init__(self) -> None:
        _check_name("source", self.name)
        require_tuples(f"source {self.name}", self)
        feeds = [feed.name for feed in self.feeds]
        if twice := sorted({name for name in feeds if feeds.count(name) > 1}):
            raise ValueError(f"source {self.name}: two feeds are named {twice[0]}")
        if "completeness" in feeds:
            raise ValueError(f"source {self.name}: no feed can be named completeness: the table of counts is")
        _check_zone(f"source {self.name}", self.timezone)
        if not set(self.closed_weekdays) < set(range(1, 8)):
            raise ValueError(
                f"source {self.name}: closed_weekdays are some of 1 (Monday) to 7 (Sunday), not all of them, and not "
                f"{', '.join(map(str, self.closed_weekdays))}"
            )

        if not set(self.month_days) <= set(range(1, 29)):
            raise ValueError(
                f"source {self.name}: month_days are days that every month has, of 1 to 28, and not "
                f"{', '.join(map(str, self.month_days))}"
            )

    def is_open(self, day: date) -> bool:
        """Whether the upstream works on ``day``. A closed day has no files, and its partition runs without any."""
        is_in_month = not self.month_days or day.day in self.month_days
        return is_in_month and day.isoweekday() not in self.closed_weekdays and day not in self.gaps

    def open_before(self, night: date, n: int) -> list[date]:
        """The last ``n`` open days before ``night``, the newest first; fewer where it has none for years."""
        days = (night - timedelta(back) for back in range(1, 366 * 2))
        return list(islice((day for day in days if self.is_open(day)), n))

    def ends(self, night: date) -> datetime:
        """The moment at which the business day ``night`` is over, in UTC."""
        return datetime.combine(night + timedelta(1), time(), ZoneInfo(self.timezone)).astimezone(UTC)

    def expects_files(self, night: date) -> bool:
        """Whether files are due in ``night``: those of open days, which a feed that leads has on a closed one too."""
        return any(self.is_open(feed.due(night)) for feed in self.nightly)

    @property
    def nightly(self) -> tuple[Feed, ...]:
        """The feeds that bring a file in each open night: those that are no snapshots.

        Of a source of snapshots alone all of them: nothing else could say which nights there are.
        """
        return tuple(feed for feed in self.feeds if feed.mode is not Mode.SNAPSHOT) or self.feeds

    @property
    def tick_offset(self) -> timedelta:
        """How far from UTC the clock is that starts the nights: one that never changes, so that no day has two
        midnights or none, and that is never ahead of the business day's own, so that none is started before its end.
        """
        zone, year = ZoneInfo(self.timezone), datetime.now(UTC).year
        weeks = (datetime(year, 1, 1, tzinfo=UTC) + timedelta(weeks=n) for n in range(-52, 104))
        return min(offset for week in weeks if (offset := week.astimezone(zone).utcoffset()) is not None)

    def feed(self, name: str) -> Feed:
        return next(feed for feed in self.feeds if feed.name == name)


def table(source: Source, feed: Feed) -> str:
    """The name of the feed's bronze table, without the layer."""
    return f"{source.name}__{feed.name}"


def completeness_table(source: Source) -> str:
    """The name of the table of what became of the rows of each of its files, without the layer."""
    return f"{source.name}{COMPLETENESS}"
