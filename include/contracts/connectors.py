"""How the data of a feed gets into landing, where its upstream does not put files there itself.

Plain values for a spec: each says where the night's data is, and nothing of it is secret. Who logs in how is an
Airflow connection, which the task looks up by the name given here. What they do is in the modules beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import ClassVar

# How APIs say in a page, and with a 200, that they could not bring all of it.
FAILURES = (
    "error",
    "errors",
    "error_code",
    "error_message",
    "errorcode",
    "errormessage",
    "exception",
    "fault",
    "incomplete_results",
    "partial",
    "partial_results",
    "timed_out",
)


def dated(text: str, day: date) -> str:
    """``text`` with {day} and {next_day} as YYYY-MM-DD."""
    return text.format(day=day, next_day=day + timedelta(1))


def check_dated(text: str) -> None:
    """Raise ValueError where ``dated`` could not say what ``text`` means."""
    try:
        dated(text, date(2020, 6, 1))
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(f"{text!r} has another place than {{day}} and {{next_day}}: {error}") from None


@dataclass(frozen=True)
class Cursor:
    """Each page of an API names the next one."""

    key: str = "next"  # of the page; absent, null or empty on the last one
    parameter: str = "cursor"  # of the query, for every page but the first


@dataclass(frozen=True)
class Numbered:
    """The pages of an API have numbers. They end with an empty one: a page that is not full may only be a small one."""

    parameter: str = "page"
    first: int = 1


@dataclass(frozen=True)
class Http:
    """A JSON API with pages. The connection's host is its base URL; its password the token, with a login Basic.

    A password is sent over https alone, or within this machine.
    """

    formats: ClassVar[tuple[str, ...]] = ("jsonl",)
    compressions: ClassVar[tuple[str, ...]] = ("", "gz")
    wants_key: ClassVar[bool] = False

    connection: str
    path: str  # below the base URL, with its query; {day} and {next_day} become YYYY-MM-DD
    paging: Cursor | Numbered
    rows: str = "items"  # the key of a page that has its rows; empty: the page is the list of them
    total: str = ""  # the key of a page that says how many rows there are on all of them; empty: nobody says
    unwanted: tuple[str, ...] = ()  # keys of the rows that are no columns and are left out
    failures: tuple[str, ...] = FAILURES  # keys beside the rows, in small letters: with any value the answer failed
    successes: tuple[str, ...] = ("success", "ok")  # the same: where one is false, it failed
    repeats: bool = False  # whether a row may rightly be on two pages; else that shows that rows were missed
    size: int = 1000  # rows a page
    size_parameter: str = "limit"  # of the query; empty: it is not asked for
    authorization: str = "Authorization: Bearer {token}"  # the header that carries the token
    most_pages: int = 10_000
    per_second: float = 10  # requests
    timeout: float = 30  # seconds for a page
    tries: int = 6  # for a page
    backoff: float = 1  # seconds: a wait before another try is up to twice this, and doubles
    patience: float = 300  # seconds: the longest wait that the API may ask for

    def __post_init__(self) -> None:
        check_dated(self.path)
        name, colon, value = self.authorization.partition(":")
        if not (name.strip() and colon and "{token}" in value):
            raise ValueError(f"authorization is a header as 'X-Api-Key: {{token}}', not {self.authorization!r}")


@dataclass(frozen=True)
class Database:
    """The rows of a PostgreSQL table whose ``watermark`` is within the business day of the source.

    For a feed of changes the table is one that gets a row for each change, with the feed's ``op`` and ``sequence``. The
    connection has host, port, login, password, and the database as its schema.
    """

    formats: ClassVar[tuple[str, ...]] = ("parquet",)
    compressions: ClassVar[tuple[str, ...]] = ("",)
    wants_key: ClassVar[bool] = False

    connection: str
    table: str  # schema.table
    watermark: str  # a column: date, or timestamp with or without time zone; the night is [day, day + 1)
    partition: str = ""  # a column to read it in parts by: a whole number, a date, or a timestamp with time zone
    partitions: int = 4
    bounds: tuple[str, str] | None = None  # of the partition column; not given: the database is asked
    fetch_size: int = 10_000  # rows that the driver holds at once
    timeout: int = 600  # seconds without an answer
    settle: float = 60  # seconds that transactions are waited for which were open when the night was over


@dataclass(frozen=True)
class Bucket:
    """A file in an S3 bucket, taken as it is. The connection is one of Airflow's Amazon provider."""

    formats: ClassVar[tuple[str, ...]] = (
        *("csv", "jsonl", "parquet", "txt", "log", "xlsx", "json", "xml", "orc", "avro"),
    )
    compressions: ClassVar[tuple[str, ...]] = ("", "gz", "zst", "bz2", "xz", "zip")
    wants_key: ClassVar[bool] = False

    connection: str
    bucket: str
    key: str  # {day} and {next_day} become YYYY-MM-DD

    def __post_init__(self) -> None:
        check_dated(self.key)


@dataclass(frozen=True)
class Folder:
    """Events in files of JSON lines. A file appears whole, by being renamed, and is read once."""

    path: str  # absolute, or below var


@dataclass(frozen=True)
class Kafka:
    """The events of a topic.

    The connection's host is a broker, or some of them with commas between; login and password are for SASL, and its
    extra has further settings of a Kafka client by their names.
    """

    connection: str
    topic: str


@dataclass(frozen=True)
class Stream:
    """Events, spooled as they come; a night is what has arrived by its end and is in no earlier one."""

    formats: ClassVar[tuple[str, ...]] = ("jsonl",)
    compressions: ClassVar[tuple[str, ...]] = ("", "gz")
    wants_key: ClassVar[bool] = True  # an event that comes again is known by it

    events: Folder | Kafka
    options: Mapping[str, str] = field(default_factory=dict, hash=False)  # of Spark's streaming source; nothing secret


Connector = Http | Database | Bucket | Stream
