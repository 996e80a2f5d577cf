"""Damaged, missing and half-written files are refused, and the message names the file and what is wrong with it."""

import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from include.contracts.connectors import Bucket
from include.contracts.dialect import RFC_4180
from include.contracts.source import Column, Compression, Feed, Finished, Format, Mode, Source
from include.core.partitions import Partitions
from include.ingestion import counting, ingest, landing
from include.ingestion.counting import delimited, text
from include.ingestion.counting.delimited import values_of
from include.ingestion.landing import MissingFileError, UnreadableFileError
from include.lake import dbt
from tests.ingestion.judged import judged

PLAN = Feed("plan", "what is to come", (Column("a", "int", "a"), Column("b", "string", "b")), key=("a",), lead_days=1)
DONE = Feed("done", "what became of it", (Column("a", "int", "a"), Column("b", "string", "b")), key=("a",))
NAMES = Feed("names", "who is who", (Column("a", "int", "a"),), key=("a",), mode=Mode.SNAPSHOT)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, date(2020, 1, 1), (PLAN, DONE, NAMES))
FIRST, SECOND, THIRD = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)
NIGHT = Partitions(FIRST, FIRST)
GOOD = b"a,b\n1,x\n2,y\n"


pytestmark = pytest.mark.usefixtures("home")


def put(feed: Feed, day: date, content: bytes = GOOD) -> Path:
    path = landing.path_of(SOURCE, feed, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(content: bytes) -> str:
    """What is said of a file with ``content``; it must begin with the file."""
    path = put(DONE, FIRST, content)
    with pytest.raises(UnreadableFileError) as raised:
        landing.look_through(path, DONE)["rows"]
    file, _, reason = str(raised.value).partition(": ")
    assert file == str(path)
    return re.split(r"\.? How it is written: ", reason)[0]


def rows_of(plan: landing.Plan) -> dict[str, dict[str, int]]:
    return {feed: {day: file["rows"] for day, file in files.items()} for feed, files in plan.items()}


def test_a_new_column_is_named_and_no_reason_to_stop(caplog: pytest.LogCaptureFixture) -> None:
    put(PLAN, SECOND, b"a,who,b\n1,me,x\n")
    put(DONE, FIRST)
    found = landing.plan(SOURCE, NIGHT)
    columns = [
        file["columns"] for days in found.values() for batch in days.values() for file in batch["files"].values()
    ]
    assert columns == [["a", "who", "b"], []]
    assert rows_of(found) == {"plan": {"2020-06-02": 1}, "done": {"2020-06-01": 2}}
    (said,) = caplog.messages
    assert said.startswith("plan 2020-06-02: column 'who' is new. The file is published without it")


def test_a_file_that_is_replaced_while_it_is_read_is_told(home: Path) -> None:
    path = put(DONE, FIRST)
    looked_at = {str(FIRST): landing.batch(SOURCE, DONE, FIRST)}
    assert looked_at[str(FIRST)]["sha256"] == hashlib.sha256(GOOD).hexdigest()
    landing.check_unchanged(SOURCE, DONE, looked_at)
    put(DONE, FIRST, GOOD.replace(b"x", b"y"))
    with pytest.raises(landing.ChangedFileError, match=f"replaced while they were being read: {path}"):
        landing.check_unchanged(SOURCE, DONE, looked_at)
    path.unlink()
    with pytest.raises(landing.ChangedFileError):
        landing.check_unchanged(SOURCE, DONE, looked_at)


def test_the_line_of_a_row_is_found_by_its_text() -> None:
    path = put(DONE, FIRST, b'a,b\n1,x\n\n2,"y, z"\n1,x\n3,\n')
    assert counting.line_numbers(path, DONE, {"1,x", '2,"y, z"', "3,", "4,u"}) == {"1,x": 2, '2,"y, z"': 4, "3,": 6}


def test_the_line_of_a_row_is_found_beside_a_text_of_any_length() -> None:
    path = put(DONE, FIRST, b"a,b\n1," + b"x" * 150_000 + b"\nmany,x\n")
    assert counting.line_numbers(path, DONE, {"many,x"}) == {"many,x": 3}


def test_a_file_is_below_landing(home: Path) -> None:
    assert landing.path_of(SOURCE, DONE, FIRST) == home / "landing" / "toys" / "done" / "2020-06-01.csv"


def test_rows_are_counted_without_header_and_blank_lines() -> None:
    assert landing.look_through(put(DONE, FIRST), DONE)["rows"] == 2
    assert landing.look_through(put(DONE, FIRST, b"a,b\n1,x\n\n2,y\n\n"), DONE)["rows"] == 2
    assert landing.look_through(put(DONE, FIRST, b"a,b\n1,x\n  \n\t\n"), DONE)["rows"] == 1, (
        "Spark reads no row there either"
    )


@pytest.mark.parametrize(
    "content",
    [
        b'1,"x\n2,"y, z"\n',  # never closed: what follows the next quote cannot follow an end
        b'1,"x\n2,y\n',
        b'1,x"\n2,y"\n',  # within a text without quotes a quote opens nothing
        b'1,"x"\n2,"y"\n',
    ],
)
def test_whatever_quotes_are_left_open_each_line_is_a_row(content: bytes) -> None:
    assert landing.look_through(put(DONE, FIRST, b"a,b\n" + content), DONE)["rows"] == 2


texts = st.text(st.sampled_from('a ",'))


@given(st.lists(st.tuples(texts, st.booleans()), min_size=1))
def test_a_line_is_taken_apart_into_what_it_was_made_of(columns: list[tuple[str, bool]]) -> None:
    doubled = [text.replace('"', '""') for text, _ in columns]
    plain = [any(one in text for one in '",') or quoted for text, quoted in columns]
    line = ",".join(f'"{text}"' if quoted else text for text, quoted in zip(doubled, plain, strict=True))
    assert values_of(line, RFC_4180) == [text for text, _ in columns]
    assert (
        values_of(f'{line},"', RFC_4180)
        == values_of(f'{line},a"', RFC_4180)
        == values_of(f'{line},"a"b', RFC_4180)
        == []
    )


@pytest.mark.parametrize("content", [b'1,"x\ny"\n', b'1,"x\r\n\r\ny"\r\n', b'"1","x\n""y""\n"\n', b'1,"x\n",\n'])
def test_a_text_over_several_lines_is_one_row(content: bytes) -> None:
    assert landing.look_through(put(DONE, FIRST, b"a,b\n2,z\n" + content), DONE)["rows"] == 2


@pytest.mark.parametrize("header", [b"b,a", b"\nb,a", b"a,c,b,c", b"a,b,", b',"a",b'])
def test_columns_are_known_by_their_names(header: bytes) -> None:
    assert landing.look_through(put(DONE, FIRST, header + b"\n1,2,3,4\n"), DONE)["rows"] == 1


def test_line_ends_of_windows_are_line_ends() -> None:
    assert landing.look_through(put(DONE, FIRST, GOOD.replace(b"\n", b"\r\n")), DONE)["rows"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"a,b\n1,x\n2,", "half-written, line 3 is the last one and has no end"),
        (b"a,b", "half-written, line 1 is the last one and has no end"),
        (b"a,b\n1,x\0\n", "not text, there is a zero byte in line 2, byte 4"),
        (b"\0\0\0\0", "not text, there is a zero byte in line 1, byte 1"),
        (b"a,b\n1,\xe9t\xe9\n", "not UTF-8 (invalid continuation byte) in line 2, byte 3"),
        (b"a\n1\n", "the header breaks the contract: column b is missing"),
        (
            b"a,b," + b",".join(b"c%d" % n for n in range(21)) + b"\n",
            "the header breaks the contract: column 'c0' is unknown",
        ),
        (b"a,B\n1,x\n", "the header breaks the contract: column b is missing, column 'B' is unknown"),
        (b"a,b,b\n1,x,y\n", "the header breaks the contract: column b is there twice: say its place"),
        (b"a;b\n1;x\n", "the columns are separated by ';' and not by ','. Say so in the dialect of the feed"),
        (b'a,"b\n1,x\n', "a quote in the header is not closed, or within a name that is not in quotes"),
        (b'a,b"\n1,x\n', "a quote in the header is not closed, or within a name that is not in quotes"),
        (b"a,b," + b"c" * 201 + b"\n1,x,2\n", "the header breaks the contract: column 'ccc"),
        (
            b'a,b\n1,"x\n2,y\nz"\n',
            "line 3 may be a row, or within the quotes that line 2 opens and line 4 closes. Write a text on one line",
        ),
        (b'a,b\n1,"x\n2,"",\n3,y\n",",z\n', "line 4 may be a row, or within the quotes that line 2 opens and line 5"),
        (b"a,b\n", "a header and no rows"),
        (b"a,b\r1,x\r", "line 1 has a carriage return within"),
        (b"a,b\n1,x\r", "half-written"),
        (b"a,b\n1,x\r2,y\n", "line 2 has a carriage return within, at byte 4"),
        (
            "a,b\n1,x\n".encode("utf-16"),
            "UTF-16, by its first bytes. Write it as UTF-8, or say encoding='utf-16' in its dialect",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    assert refusal(content).startswith(reason)


def test_a_line_without_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE", 8)
    assert landing.look_through(put(DONE, FIRST, b"a,b\n1,xxxxx\n"), DONE)["rows"] == 1
    assert refusal(b"a,b\n1,xxxxxxxxxxxxxxxxxxx\n").startswith("line 2 is longer than")


def test_a_byte_order_mark_of_utf_8_is_no_part_of_the_header() -> None:
    assert landing.look_through(put(DONE, FIRST, b"\xef\xbb\xbf" + GOOD), DONE)["rows"] == 2


def test_of_thousands_of_unknown_columns_a_few_are_named() -> None:
    reason = refusal(b"a," + ",".join(f"c{n}" for n in range(10_000)).encode() + b"\n")
    assert "column b is missing, column 'c0' is unknown" in reason
    assert reason.endswith("and 9995 more")
    assert len(reason) < 400


ZIPPED = replace(DONE, compression=Compression.GZIP)
LINES = replace(DONE, format=Format.JSONL)
ZIPPED_LINES = replace(LINES, compression=Compression.GZIP)
COLUMNS = replace(DONE, format=Format.PARQUET)


def test_a_gzip_file_is_read_as_what_it_holds() -> None:
    assert landing.look_through(put(ZIPPED, FIRST, gzip.compress(GOOD)), ZIPPED)["rows"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (gzip.compress(GOOD)[:-9], "truncated: what is packed in it has no end"),
        (gzip.compress(GOOD)[:-8] + b"\0\0\0\0\0\0\0\0", "damaged, or not packed as its name says: CRC check failed"),
        (GOOD, "damaged, or not packed as its name says: Not a gzipped file"),
        (b"", "the file is empty"),
    ],
    ids=["truncated", "checksum", "plain", "empty"],
)
def test_a_damaged_gzip_file_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    path = put(ZIPPED, FIRST, content)
    with pytest.raises(UnreadableFileError, match=re.escape(f"{path}: {reason}")):
        landing.look_through(path, ZIPPED)["rows"]


@given(st.binary(max_size=60), st.sampled_from([DONE, ZIPPED, LINES, ZIPPED_LINES, COLUMNS]))
def test_whatever_the_bytes_a_file_is_counted_or_refused(content: bytes, feed: Feed) -> None:
    path = put(feed, SECOND, content)
    with contextlib.suppress(UnreadableFileError):
        assert landing.look_through(path, feed)["rows"] > 0


WHOLE = gzip.compress(b"a,b\n" + b"".join(b"%d,some text\n" % n for n in range(50)), mtime=0)


@given(at=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_what_is_counted(at: int, bit: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[at] ^= 1 << bit
    path = put(ZIPPED, SECOND, bytes(damaged))
    with contextlib.suppress(UnreadableFileError):
        assert landing.look_through(path, ZIPPED)["rows"] == 50


pieces = st.sampled_from(
    [b"a,b", b"\n", b"\r\n", b"\n\n", b" ", b"\r", b"\0", b"\x0b", b'"', "ż".encode(), b"\xbc", b"x" * 9]
)


@example("a,ba,bż\n".encode(), DONE)  # seven letters, and eight bytes
@given(st.lists(pieces, max_size=30).map(b"".join), st.sampled_from([DONE, ZIPPED]))
def test_in_pieces_as_many_rows_are_counted_as_line_by_line(content: bytes, feed: Feed) -> None:
    """Or none, where a line has to be looked at; whatever falls on the end of a piece."""
    path = put(feed, SECOND, gzip.compress(content, mtime=0) if feed.compression else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "LONGEST_LINE", 8)
        try:
            expected = len(list(text.lines(path, feed))) - 1
        except UnreadableFileError:
            assert delimited.plain_rows(path, feed, feed.dialect) is None
            return
        found = delimited.plain_rows(path, feed, feed.dialect)
    assert found in (None, expected)
    ended = [line.removesuffix("\r") for line in content.decode().split("\n")[:-1]]
    blank = any(not line.strip(text.BLANK) for line in ended)
    odd_quotes = any('"' in line and not values_of(line, RFC_4180) for line in ended)
    # In pieces bytes are counted, so that a line may seem too long which has no more letters than it may have.
    long = any(len(line.encode()) >= 8 for line in ended)
    assert not (blank or odd_quotes) if found is not None else blank or odd_quotes or long


def test_a_file_that_no_night_reads_is_named(caplog: pytest.LogCaptureFixture) -> None:
    put(PLAN, SECOND)
    folder = put(DONE, FIRST).parent
    for name in ("2020-06-01 (copy).csv", "2020-06-01.csv.bak", "20200602.csv", ".2020-06-02.csv.part"):
        (folder / name).write_bytes(GOOD)
    assert [path.name for path in landing.unexpected(SOURCE)] == [
        "2020-06-01 (copy).csv",
        "2020-06-01.csv.bak",
        "20200602.csv",
    ]
    landing.plan(SOURCE, NIGHT)
    assert "2020-06-01 (copy).csv" in caplog.text


@given(rows=st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\n\r\0,"'), min_size=1), min_size=1))
def test_text_of_any_language_is_counted(rows: list[str]) -> None:
    path = put(DONE, SECOND, "".join(["a,b\n", *(f"1,{row}\n" for row in rows)]).encode())
    assert landing.look_through(path, DONE)["rows"] == len(rows)


def test_a_night_is_all_its_files_each_of_its_own_day() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    assert rows_of(landing.plan(SOURCE, NIGHT)) == {"plan": {"2020-06-02": 2}, "done": {"2020-06-01": 2}}


def test_a_snapshot_comes_when_it_comes() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    put(NAMES, FIRST, b"a\n1\n")
    assert rows_of(landing.plan(SOURCE, NIGHT))["names"] == {"2020-06-01": 1}


def test_nothing_landed_is_no_error() -> None:
    assert landing.plan(SOURCE, NIGHT) == {}
    put(DONE, THIRD)
    assert landing.plan(SOURCE, NIGHT) == {}, "another night's file"


def test_half_a_night_names_what_is_missing() -> None:
    put(DONE, FIRST)
    with pytest.raises(MissingFileError, match=r"toys 2020-06-01: .* not: \S*/toys/plan/2020-06-02\.csv\."):
        landing.plan(SOURCE, NIGHT)


def aged(path: Path, minutes: int) -> None:
    then = (datetime.now(UTC) - timedelta(minutes=minutes)).timestamp()
    os.utime(path, (then, then))


def test_a_file_is_finished_once_its_mark_is_there() -> None:
    source = replace(SOURCE, feeds=(replace(DONE, finished=Finished.MARKED),))
    path = put(DONE, FIRST, GOOD.removesuffix(b"\n"))
    with pytest.raises(MissingFileError, match=r"not finished: \S*01\.csv \(no 2020-06-01\.csv\.done beside it"):
        landing.plan(source, NIGHT)
    mark = path.with_name(f"{path.name}.done")
    mark.touch()
    assert rows_of(landing.plan(source, NIGHT)) == {"done": {"2020-06-01": 2}}
    assert landing.unexpected(source) == []
    assert landing.unexpected(SOURCE) == [mark], "of a feed that knows no marks"


def test_a_file_is_finished_once_nobody_writes_to_it() -> None:
    source = replace(SOURCE, feeds=(replace(DONE, finished=Finished.RESTING),))
    path = put(DONE, FIRST)
    with pytest.raises(MissingFileError, match="not finished"):
        landing.plan(source, NIGHT)
    aged(path, minutes=6)
    assert rows_of(landing.plan(source, NIGHT)) == {"done": {"2020-06-01": 2}}


def test_an_unfinished_file_is_waited_for_as_one_that_is_not_there() -> None:
    source = replace(SOURCE, feeds=(replace(DONE, finished=Finished.MARKED),))
    path, tonight = put(DONE, FIRST), source.ends(FIRST) + timedelta(hours=1)
    before = put(DONE, date(2020, 5, 31))
    before.with_name(f"{before.name}.done").touch()
    assert landing.awaited(source, NIGHT, tonight) == [path]
    path.with_name(f"{path.name}.done").touch()
    assert landing.awaited(source, NIGHT, tonight) == []


@pytest.mark.parametrize(
    ("feed", "content"),
    [
        (DONE, b"a,b\n"),
        (replace(DONE, finished=Finished.RENAMED), b""),
        (replace(DONE, format=Format.JSONL), b"\n"),
        (replace(DONE, format=Format.JSONL, finished=Finished.RENAMED), b""),
        (replace(DONE, compression=Compression.GZIP), gzip.compress(b"a,b\n")),
    ],
    ids=["a header", "nothing", "a blank line", "no line", "a packed header"],
)
def test_a_day_may_have_no_rows_where_its_feed_says_so(feed: Feed, content: bytes) -> None:
    path = put(feed, FIRST, content)
    with pytest.raises(UnreadableFileError):
        landing.look_through(path, feed)
    empty = replace(feed, may_be_empty=True)
    assert landing.look_through(path, empty)["rows"] == 0
    assert judged(empty, path).is_empty()


def test_of_a_feed_that_may_have_none_a_fetched_night_may_lack_the_file() -> None:
    fetched = replace(DONE, may_be_empty=True, connector=Bucket("lake", "bucket", "{day}.csv"))
    put(PLAN, SECOND)
    assert rows_of(landing.plan(replace(SOURCE, feeds=(PLAN, fetched)), NIGHT)) == {"plan": {"2020-06-02": 2}}
    with pytest.raises(MissingFileError):
        landing.plan(replace(SOURCE, feeds=(PLAN, replace(fetched, may_be_empty=False))), NIGHT)


def test_of_a_day_that_the_upstream_never_had_no_file_is_missed() -> None:
    """The plan of the day after it comes in its night all the same; and what does come of it is taken."""
    source = replace(SOURCE, gaps=(FIRST,))
    put(PLAN, SECOND)
    assert rows_of(landing.plan(source, NIGHT)) == {"plan": {"2020-06-02": 2}}
    put(DONE, FIRST)
    assert rows_of(landing.plan(source, NIGHT)) == {"plan": {"2020-06-02": 2}, "done": {"2020-06-01": 2}}
    put(PLAN, THIRD)
    with pytest.raises(MissingFileError, match=r"not: \S*/toys/done/2020-06-02\.csv\."):
        landing.plan(source, Partitions(SECOND, SECOND))


def test_on_a_closed_weekday_no_file_is_due_but_those_of_an_open_day_after_it() -> None:
    """The 6th and 7th of June 2020 are a Saturday and a Sunday; the plan of Monday is due on Sunday."""
    closed = replace(SOURCE, closed_weekdays=(6, 7))
    assert [day for day in (4, 5, 6, 7, 8) if not closed.expects_files(date(2020, 6, day))] == [6]
    assert landing.plan(closed, Partitions(date(2020, 6, 6), date(2020, 6, 6))) == {}


def test_of_monthly_files_only_that_of_the_day_is_due_and_the_source_is_alive_in_between() -> None:
    monthly = replace(SOURCE, month_days=(1,), feeds=(DONE,))
    assert [day for day in range(1, 29) if monthly.expects_files(date(2020, 6, day))] == [1]
    assert monthly.open_before(date(2020, 6, 1), 2) == [date(2020, 5, 1), date(2020, 4, 1)]
    first, soon = Partitions(FIRST, FIRST), datetime(2020, 6, 2, 1, tzinfo=UTC)
    assert landing.awaited(monthly, first, soon) == [], "nothing has landed ever"
    put(DONE, date(2020, 5, 1))
    assert landing.awaited(monthly, first, soon) == [landing.path_of(monthly, DONE, FIRST)]


def test_days_that_not_every_month_has_are_refused() -> None:
    with pytest.raises(ValueError, match="of 1 to 28, and not 31"):
        replace(SOURCE, month_days=(31,))


def test_one_missing_file_of_a_range_stops_the_range() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    put(PLAN, THIRD)
    with pytest.raises(MissingFileError, match=r"not: \S*/toys/done/2020-06-02\.csv\. Put them there"):
        landing.plan(SOURCE, Partitions(FIRST, SECOND))


def test_a_night_without_files_within_a_range_is_left_out() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    found = landing.plan(SOURCE, Partitions(FIRST, THIRD))
    assert rows_of(found) == {"plan": {"2020-06-02": 2}, "done": {"2020-06-01": 2}}


def test_one_damaged_file_stops_the_night() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST, b"")
    with pytest.raises(UnreadableFileError, match=r"toys/done/2020-06-01\.csv: the file is empty"):
        landing.plan(SOURCE, NIGHT)


def test_a_file_that_is_still_being_written_beside_it_is_not_seen() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    (landing.path_of(SOURCE, DONE, FIRST).parent / ".2020-06-01.csv.part").write_bytes(b"a,")
    assert rows_of(landing.plan(SOURCE, NIGHT))["done"] == {"2020-06-01": 2}


@pytest.mark.parametrize(
    ("feed", "extension"),
    [(DONE, "csv"), (ZIPPED, "csv.gz"), (LINES, "jsonl"), (ZIPPED_LINES, "jsonl.gz"), (COLUMNS, "parquet")],
)
def test_a_file_is_named_by_its_format(feed: Feed, extension: str) -> None:
    assert landing.path_of(SOURCE, feed, FIRST).name == f"2020-06-01.{extension}"


def test_parquet_is_not_put_into_gzip() -> None:
    with pytest.raises(ValueError, match="feed done: parquet packs itself"):
        replace(COLUMNS, compression=Compression.GZIP)


keys = st.sampled_from(["a", "b", "c"])
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.text(max_size=2))
dictionaries = st.dictionaries(keys, values)


@given(st.lists(st.one_of(dictionaries, values), max_size=4))
def test_of_json_lines_exactly_the_objects_of_the_contract_are_counted(rows: list[object]) -> None:
    path = put(LINES, SECOND, "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    objects = all(isinstance(row, dict) for row in rows)
    finite = not any(isinstance(v, float) and not math.isfinite(v) for row in rows if objects for v in row.values())
    anywhere = {key for row in rows if isinstance(row, dict) for key in row}
    if rows and objects and finite and anywhere >= {"a", "b"}:
        columns = ["a", "b", "c"] if "c" in anywhere else []
        found = landing.look_through(path, LINES)
        assert (found["rows"], found["columns"]) == (len(rows), columns)
    else:
        with pytest.raises(UnreadableFileError):
            landing.look_through(path, LINES)["rows"]


def test_a_long_line_of_json_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE", 20)
    path = put(LINES, FIRST, b'{"a": 1, "b": "x"}\n{"a": 1, "b": "xxxxxxxxxxxxxx"}\n')
    with pytest.raises(UnreadableFileError, match="line 2 is longer than"):
        landing.look_through(path, LINES)["rows"]


def test_parquet_is_counted_by_its_footer_alone() -> None:
    """The pages are not read: here they are zeroes."""
    whole = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table({"a": pyarrow.array(range(1000), pyarrow.int32()), "b": ["x"] * 1000}), whole
    )
    content = bytearray(whole.getvalue())
    content[4:1000] = bytes(996)
    assert landing.look_through(put(COLUMNS, FIRST, bytes(content)), COLUMNS)["rows"] == 1000


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2020-06-03 05:59", ["2020-06-02"]),
        ("2020-06-03 06:00", []),
        ("2020-06-02 05:59", ["2020-06-01", "2020-06-02"]),
        ("2020-06-02 06:00", ["2020-06-02"]),
    ],
)
def test_a_file_is_awaited_until_its_hours_are_over(now: str, expected: list[str]) -> None:
    nights = Partitions.parse("2020-06-01..2020-06-02")
    done = replace(SOURCE, feeds=(DONE,), freshness_hours=6)
    at = datetime.fromisoformat(f"{now}+00:00")
    put(DONE, date(2020, 5, 30))
    assert [path.name for path in landing.awaited(done, nights, at)] == [f"{day}.csv" for day in expected]
    put(DONE, date(2020, 6, 2))
    assert [path.name for path in landing.awaited(done, nights, at)] == [
        f"{day}.csv" for day in expected if day != "2020-06-02"
    ]


@pytest.mark.parametrize(("zone", "until"), [("UTC", 6), ("America/New_York", 10), ("Asia/Tokyo", -3)])
def test_its_hours_are_counted_from_the_end_of_the_business_day(zone: str, until: int) -> None:
    """New York's day ends at 04:00 UTC in summer, Tokyo's at 15:00 UTC of the day itself."""
    done = replace(SOURCE, feeds=(DONE,), freshness_hours=6, timezone=zone)
    put(DONE, date(2020, 5, 30))
    over = datetime(2020, 6, 2, tzinfo=UTC) + timedelta(hours=until)
    night = Partitions.parse("2020-06-01")
    assert landing.awaited(done, night, over - timedelta(minutes=1))
    assert not landing.awaited(done, night, over)


def test_nothing_is_awaited_of_a_source_that_brings_nothing() -> None:
    """As of a replayed history, with the clock of today: its nights run at once, and the scheduled one skips."""
    done = replace(SOURCE, feeds=(DONE,), freshness_hours=6)
    night, now = Partitions.parse("2020-06-20"), datetime(2020, 6, 21, 1, tzinfo=UTC)
    assert landing.awaited(done, night, now) == []
    put(DONE, date(2020, 6, 5))
    assert landing.awaited(done, night, now) == []
    put(DONE, date(2020, 6, 6))
    assert [path.name for path in landing.awaited(done, night, now)] == ["2020-06-20.csv"]


def test_the_nights_that_have_landed_are_told_by_their_files() -> None:
    done = replace(SOURCE, feeds=(DONE,))
    assert landing.landed_days(done) == []
    for day in (9, 7):
        put(DONE, date(2020, 6, day))
    landing.path_of(done, DONE, FIRST).with_name(".2020-06-08.csv.part").write_text("half")
    assert landing.landed_days(done) == [date(2020, 6, 7), date(2020, 6, 9)]


def test_of_a_few_nights_no_folder_is_listed_that_has_a_file_for_each_day_of_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = replace(SOURCE, feeds=(DONE,))
    for day in (5, 7, 9, 12):
        put(DONE, date(2020, 6, day))
    some = Partitions.parse("2020-06-07..2020-06-10")
    with monkeypatch.context() as patch:
        patch.setattr(landing, "_like", lambda *_: pytest.fail("a folder is listed"))
        assert landing.landed_days(done, some) == [date(2020, 6, 7), date(2020, 6, 9)]
    several = replace(DONE, files="{day}_*.csv", least_files=1)  # whose names are not known
    landing.path_of(done, DONE, FIRST).with_name("2020-06-08_a.csv").write_text("a,b\n")
    landing.path_of(done, DONE, FIRST).with_name("2020-06-11_a.csv").write_text("a,b\n")
    assert landing.landed_days(replace(SOURCE, feeds=(several,)), some) == [date(2020, 6, 8)]


@pytest.mark.parametrize("mode", [Mode.SNAPSHOT, Mode.UPSERT])
def test_of_a_source_of_snapshots_or_changes_alone_each_night_has_a_file(mode: Mode) -> None:
    """Nothing else says which nights there are. Beside other feeds a snapshot is not awaited."""
    alone = replace(SOURCE, feeds=(replace(DONE, mode=mode, sequence="b"),), freshness_hours=6)
    night, now = Partitions.parse("2020-06-02"), datetime(2020, 6, 3, 1, tzinfo=UTC)
    put(DONE, FIRST)
    assert alone.expects_files(night.first)
    assert landing.landed_days(alone) == [FIRST]
    assert [path.name for path in landing.awaited(alone, night, now)] == ["2020-06-02.csv"]
    other = replace(DONE, name="other")
    put(other, FIRST)
    beside = replace(alone, feeds=(replace(DONE, mode=Mode.SNAPSHOT), other))
    assert [path.parent.name for path in landing.awaited(beside, night, now)] == ["other"]


def test_a_night_in_which_no_file_is_due_goes_through_ingestion_without_any() -> None:
    """Its chain runs all the same: the next day is predicted, and labels of earlier ones mature."""
    closed = replace(SOURCE, closed_weekdays=(6, 7))
    saturday, friday = Partitions.parse("2020-06-06"), Partitions.parse("2020-06-05")
    candidates = ingest.load(closed, saturday, {})
    audited = ingest.audit(closed, saturday, {}, candidates)
    assert ingest.publish_all(closed, saturday, {}, candidates, audited) == []
    assert ingest.ingested(closed, saturday) == []
    with pytest.raises(ingest.NotIngestedError, match="toys has been ingested for 2020-06-05"):
        ingest.ingested(closed, friday)
    build = dbt.built(saturday, [], datetime.now(UTC), "an engine", "", dbt.NOTHING_BUILT)
    assert dbt.publish_built("lakehouse_transform_toys", build) == []
