"""The corpus of bad files: each gets its verdict, and the verdicts are the table in docs/bad-files.md.

A file goes the whole way that decides about it: the look-through of `plan`, Spark's reading and judging, and the
completeness equation. Verdicts that change rewrite the page under var/report; copy it to docs/ if that was meant.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.settings import settings
from include.sources import ingest, landing
from include.sources.spec import Column, Feed, Source, as_json
from spark_jobs import ingest as job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad-files.md"
DAY = date(2020, 6, 1)
FEED = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("number", "int", "which trip", required=True),
        Column("kind", "string", "by what", values=("bus", "tram")),
        Column("amount", "double", "how much"),
        Column("seen_at", "timestamp", "when"),
    ),
    key=("number",),
    day_column="day",
)
ZIPPED = replace(FEED, name="zipped", extension="csv.gz")
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, (FEED, ZIPPED))

HEADER = "day,number,kind,amount,seen_at"
ROWS = [f"2020-06-01,{n},bus,{n}.5,2020-06-01T05:00:00Z" for n in range(40)]
GOOD = "\n".join([HEADER, *ROWS, ""]).encode()


def with_rows(*rows: str) -> bytes:
    return GOOD + "".join(f"{row}\n" for row in rows).encode()


def flipped(content: bytes) -> bytes:
    """The middle byte of a gzip file, with all its bits changed."""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 0xFF
    return bytes(damaged)


SQUEEZED = gzip.compress(GOOD, compresslevel=0, mtime=0)  # the same bytes by any zlib

# What is wrong with the file → its content; the same as gzip where it is of a zipped feed.
PLAIN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: GOOD,
    "zero bytes": lambda: b"",
    "a header and no rows": lambda: f"{HEADER}\n".encode(),
    "cut off within a row": lambda: GOOD[:-20],
    "cut off within the header": lambda: HEADER[:9].encode(),
    "still being written: the last line has no end": lambda: GOOD.removesuffix(b"\n"),
    "random bytes": lambda: random.Random(7).randbytes(500),
    "a flipped bit in a text": lambda: GOOD.replace(b"bus", b"bts", 1),
    "a zero byte": lambda: GOOD.replace(b"bus", b"b\0s", 1),
    "UTF-16": lambda: GOOD.decode().encode("utf-16"),
    "Latin-1": lambda: with_rows("2020-06-01,99,bus,1,").replace(b"bus", b"b\xfcs"),
    "a byte-order mark of UTF-8": lambda: b"\xef\xbb\xbf" + GOOD,
    "line ends of Windows (CRLF)": lambda: GOOD.replace(b"\n", b"\r\n"),
    "line ends of the old Macintosh (CR)": lambda: GOOD.replace(b"\n", b"\r"),
    "a carriage return within a row": lambda: with_rows("2020-06-01,99,bus\r,1,"),
    "a line feed within quotes": lambda: with_rows('2020-06-01,99,"b', 'us",1,'),
    "a quote that is never closed": lambda: with_rows('2020-06-01,99,"bus,1,'),
    "blank lines, and lines of blanks": lambda: with_rows("", "   ", "\t"),
    "semicolons instead of commas": lambda: GOOD.replace(b",", b";"),
    "no header": lambda: GOOD.partition(b"\n")[2],
    "a column too few": lambda: GOOD.replace(b",seen_at", b""),
    "a column too many": lambda: GOOD.replace(b"seen_at", b"seen_at,who"),
    "a column renamed": lambda: GOOD.replace(b"amount", b"price", 1),
    "columns in another order": lambda: GOOD.replace(b"number,kind", b"kind,number"),
    "10,000 columns": lambda: ",".join(f"c{n}" for n in range(10_000)).encode() + b"\n",
    "a field of 50 MB": lambda: with_rows(f"2020-06-01,99,{'x' * 50_000_000},1,"),
    "a row with a value too few": lambda: with_rows("2020-06-01,99,bus,1"),
    "a row with a value too many": lambda: with_rows("2020-06-01,99,bus,1,,more"),
    "a text where a number should be": lambda: with_rows("2020-06-01,99,bus,much,"),
    "a number that a lenient reader would take (`1d`)": lambda: with_rows("2020-06-01,99,bus,1d,"),
    "a number beyond its type": lambda: with_rows("2020-06-01,99999999999,bus,1,"),
    "NaN": lambda: with_rows("2020-06-01,99,bus,NaN,"),
    "an infinity": lambda: with_rows("2020-06-01,99,bus,-Infinity,"),
    "a number that becomes infinite (`1e999`)": lambda: with_rows("2020-06-01,99,bus,1e999,"),
    "a day that is none": lambda: with_rows("2020-06-31,99,bus,1,"),
    "a day written otherwise (`2020-6-1`)": lambda: with_rows("2020-6-1,99,bus,1,"),
    "the row of another day": lambda: with_rows("2020-06-02,99,bus,1,"),
    "a time in the year 0001": lambda: with_rows("2020-06-01,99,bus,1,0001-01-01T00:00:00Z"),
    "a time in the year 9999": lambda: with_rows("2020-06-01,99,bus,1,9999-12-31T00:00:00Z"),
    "an unknown value in a closed set": lambda: with_rows("2020-06-01,99,boat,1,"),
    "a required value missing": lambda: with_rows("2020-06-01,,bus,1,"),
    "the same row twice": lambda: with_rows(ROWS[0]),
    "the same key with other content": lambda: with_rows("2020-06-01,0,tram,1,"),
    "a tenth of the rows broken": lambda: with_rows(*(f"2020-06-01,{n},boat,1," for n in range(90, 95))),
}
GZIP: dict[str, Callable[[], bytes]] = {
    "gzip, nothing": lambda: SQUEEZED,
    "gzip, cut off": lambda: SQUEEZED[: len(SQUEEZED) // 2],
    "gzip, a byte flipped": lambda: flipped(SQUEEZED),
    "gzip, another checksum": lambda: SQUEEZED[:-8] + bytes(8),
    "gzip, not compressed at all": lambda: GOOD,
    "gzip, something after its end": lambda: SQUEEZED + b"more",
    "gzip, of two parts": lambda: gzip.compress(GOOD[:300], mtime=0) + gzip.compress(GOOD[300:], mtime=0),
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("var")
        patch.setenv("NOCTURNE_VAR", str(folder))
        settings.cache_clear()
        yield folder
        settings.cache_clear()


def verdict(spark: SparkSession, table: str, feed: Feed, content: bytes) -> str:
    """What becomes of a file with ``content``."""
    path = landing.path_of(SOURCE, feed, DAY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        rows_in = landing.count_rows(path, feed)
    except landing.UnreadableFileError as refused:
        return f"**refused**: {str(refused).removeprefix(f'{path}: ')}"
    job.run(
        spark,
        {"landing": str(settings().landing), "files": [str(path)], "feed": as_json(feed), "candidate": table},
    )
    judged = spark.table(table)
    (counts,) = ingest._count(judged, feed, {feed.name: {str(DAY): rows_in}})
    if problems := ingest.complete(feed, counts):
        return f"**the night fails**: {problems[0].removeprefix(f'{feed.name} {DAY}: ')}"
    reasons = Counter(row["_reason"] for row in judged.where(ingest.TERMS["quarantined"]).select("_reason").collect())
    said = [f"**published**: {counts['published']} rows"]
    said += [f"quarantined: {n} × {reason}" for reason, n in sorted(reasons.items())]
    said += [f"copies dropped: {n}" for n in (counts["deduplicated"],) if n]
    return "; ".join(said)


@pytest.fixture(scope="module")
def verdicts(spark: SparkSession, schema: str) -> dict[str, str]:
    cases = {name: (FEED, make) for name, make in PLAIN.items()} | {name: (ZIPPED, make) for name, make in GZIP.items()}
    return {
        name: verdict(spark, f"{schema}.bad_{number}", feed, make())
        for number, (name, (feed, make)) in enumerate(cases.items())
    }


def page(verdicts: dict[str, str]) -> str:
    lines = [
        "# What becomes of a bad file",
        "",
        "Made by `tests/sources/test_bad_files.py`: each file has 40 good rows, and this wrong with it. *Refused* and",
        "*the night fails* mean that nothing of the night is published and the earlier state stands.",
        "",
        "| wrong with the file | what becomes of it |",
        "|---|---|",
    ]
    cell = str.maketrans({"|": "\\|", "\n": " "})
    return "\n".join([*lines, *(f"| {name} | {said.translate(cell)} |" for name, said in verdicts.items())]) + "\n"


def test_every_bad_file_gets_the_verdict_of_the_page(verdicts: dict[str, str], home: Path) -> None:
    made = home / PAGE.name
    made.write_text(page(verdicts))
    assert PAGE.exists(), f"cp {made} {PAGE}"
    assert made.read_text() == PAGE.read_text(), f"if that was meant: cp {made} {PAGE}"


def test_what_is_good_is_published_whole(verdicts: dict[str, str]) -> None:
    for name in ("nothing", "gzip, nothing", "gzip, of two parts", "a byte-order mark of UTF-8"):
        assert verdicts[name] == "**published**: 40 rows", name


def test_no_broken_value_is_published(verdicts: dict[str, str]) -> None:
    """Whatever the verdict, never more rows than the 40 good ones."""
    for name, said in verdicts.items():
        assert said.startswith(("**refused**", "**the night fails**", "**published**: 40", "**published**: 39")), name


def test_the_equation_never_has_to_catch_what_the_look_through_accepted(verdicts: dict[str, str]) -> None:
    """Rows are counted by other code than reads them; where both accept a file they agree on its rows."""
    assert [name for name, said in verdicts.items() if "are accounted for" in said] == []
