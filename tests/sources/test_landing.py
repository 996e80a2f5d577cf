"""Damaged, missing and half-written files are refused, and the message names the file and what is wrong with it."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.partitions import Partitions
from include.settings import settings
from include.sources import landing
from include.sources.landing import MissingFileError, UnreadableFileError
from include.sources.spec import Column, Feed, Mode, Source

PLAN = Feed("plan", "what is to come", (Column("a", "int", "a"), Column("b", "string", "b")), key=("a",), lead_days=1)
DONE = Feed("done", "what became of it", (Column("a", "int", "a"), Column("b", "string", "b")), key=("a",))
NAMES = Feed("names", "who is who", (Column("a", "int", "a"),), key=("a",), mode=Mode.SNAPSHOT)
SOURCE = Source("toys", "toys", "tests", "0 0 * * *", 6, date(2020, 1, 1), (PLAN, DONE, NAMES))
FIRST, SECOND, THIRD = date(2020, 6, 1), date(2020, 6, 2), date(2020, 6, 3)
NIGHT = Partitions(FIRST, FIRST)
GOOD = b"a,b\n1,x\n2,y\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("NOCTURNE_VAR", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def put(feed: Feed, day: date, content: bytes = GOOD) -> Path:
    path = landing.path_of(SOURCE, feed, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(content: bytes) -> str:
    """What is said of a file with ``content``; it must begin with the file."""
    path = put(DONE, FIRST, content)
    with pytest.raises(UnreadableFileError) as raised:
        landing.count_rows(path, DONE)
    file, _, reason = str(raised.value).partition(": ")
    assert file == str(path)
    return reason


def test_a_file_is_below_landing(home: Path) -> None:
    assert landing.path_of(SOURCE, DONE, FIRST) == home / "landing" / "toys" / "done" / "2020-06-01.csv"


def test_rows_are_counted_without_header_and_blank_lines() -> None:
    assert landing.count_rows(put(DONE, FIRST), DONE) == 2
    assert landing.count_rows(put(DONE, FIRST, b"a,b\n1,x\n\n2,y\n\n"), DONE) == 2
    assert landing.count_rows(put(DONE, FIRST, b"a,b\n"), DONE) == 0


def test_line_ends_of_windows_are_line_ends() -> None:
    assert landing.count_rows(put(DONE, FIRST, GOOD.replace(b"\n", b"\r\n")), DONE) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"a,b\n1,x\n2,", "half-written, the last line has no end: b'2,'"),
        (b"a,b", "half-written, the last line has no end"),
        (b"a,b\n1,x\0\n", "not text, there is a zero byte at byte 7"),
        (b"\0\0\0\0", "not text, there is a zero byte at byte 0"),
        (b"a,b\n1,\xe9t\xe9\n", "not UTF-8 (invalid continuation byte) in the line b'1,"),
        (b"a\n1\n", "the header breaks the contract: column b is missing"),
        (b"a,b,c\n1,x,2\n", "the header breaks the contract: column 'c' is unknown"),
        (b"a,B\n1,x\n", "the header breaks the contract: column b is missing, column 'B' is unknown"),
        (b"b,a\nx,1\n", "the header breaks the contract: the columns are ['b', 'a'], in another order than ['a', 'b']"),
        (
            b"\xef\xbb\xbfa,b\n1,x\n",
            "the header breaks the contract: column a is missing, column '\\ufeffa' is unknown",
        ),
    ],
    ids=["empty", "cut", "cut header", "zero byte", "zeros", "latin 1", "less", "more", "renamed", "reordered", "mark"],
)
def test_a_damaged_file_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    assert refusal(content).startswith(reason)


def test_damage_beyond_the_first_chunk_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "CHUNK", 5)
    assert landing.count_rows(put(DONE, FIRST), DONE) == 2
    assert refusal(b"a,b\n1,x\n2,\0\n").startswith("not text, there is a zero byte at byte 10")
    assert refusal(b"a,b\n1,x\n2,yyyyyyyyyyyy").startswith("half-written")


@given(rows=st.lists(st.text(st.characters(codec="utf-8", exclude_characters='\n\r\0,"'), min_size=1)))
def test_text_of_any_language_is_counted(rows: list[str]) -> None:
    path = put(DONE, SECOND, "".join(["a,b\n", *(f"1,{row}\n" for row in rows)]).encode())
    assert landing.count_rows(path, DONE) == len(rows)


def test_a_night_is_all_its_files_each_of_its_own_day() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    assert landing.plan(SOURCE, NIGHT) == {"plan": {"2020-06-02": 2}, "done": {"2020-06-01": 2}}


def test_a_snapshot_comes_when_it_comes() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    put(NAMES, FIRST, b"a\n1\n")
    assert landing.plan(SOURCE, NIGHT)["names"] == {"2020-06-01": 1}


def test_nothing_landed_is_no_error() -> None:
    assert landing.plan(SOURCE, NIGHT) == {}
    put(DONE, THIRD)
    assert landing.plan(SOURCE, NIGHT) == {}, "another night's file"


def test_half_a_night_names_what_is_missing() -> None:
    put(DONE, FIRST)
    with pytest.raises(MissingFileError, match=r"toys 2020-06-01: .* not: \S*/toys/plan/2020-06-02\.csv\."):
        landing.plan(SOURCE, NIGHT)


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
    assert found == {"plan": {"2020-06-02": 2}, "done": {"2020-06-01": 2}}


def test_one_damaged_file_stops_the_night() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST, b"")
    with pytest.raises(UnreadableFileError, match=r"toys/done/2020-06-01\.csv: the file is empty"):
        landing.plan(SOURCE, NIGHT)


def test_a_file_that_is_still_being_written_beside_it_is_not_seen() -> None:
    put(PLAN, SECOND)
    put(DONE, FIRST)
    (landing.path_of(SOURCE, DONE, FIRST).parent / ".2020-06-01.csv.part").write_bytes(b"a,")
    assert landing.plan(SOURCE, NIGHT)["done"] == {"2020-06-01": 2}
