"""Every row of a file gets its verdict: typed, or broken with the reason, or a copy."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.dialect import RFC_4180
from include.contracts.source import Column, Feed
from include.core.settings import settings
from include.ingestion import kernel, verdicts
from include.ingestion.counting.delimited import values_of
from include.ingestion.reading import delimited
from include.ingestion.reading import text as blocks
from tests.conftest import installed

Row = dict[str, Any]

FEED = Feed(
    name="trips",
    description="trips",
    columns=(
        Column("day", "date", "the day", required=True),
        Column("number", "int", "which trip", required=True),
        Column("kind", "string", "by what", values=("bus", "tram")),
        Column("amount", "double", "how much", minimum=0, maximum=100),
        Column("note", "string", "what else"),
        Column("seen_at", "timestamp", "when"),
    ),
    key=("number",),
    day_column="day",
)
HEADER = "day,number,kind,amount,note,seen_at"

# text of the row → why it is broken, "" where it is not; numbers differ, so that no two rows have one key
VERDICTS = {
    "2020-06-01,1,bus,1.5,hello,2020-06-01T05:00:00Z": "",
    "2020-06-01,2,,,,": "",
    "2020-06-01,3,tram,0,lower end,": "",
    "2020-06-01,4,tram,100,upper end,": "",
    "2020-06-01,5,bus,1,żółw – 車,": "",
    "#2020-06-01,29,bus,1,,": "day: '#2020-06-01' is no date",  # no comment: pmgraham/datagrunt#73
    '2020-06-01,6,bus,1,"a comma, and more",': "",
    "2020-06-01,two,bus,1,,": "number: 'two' is no int",
    "2020-06-01,7.5,bus,1,,": "number: '7.5' is no int",
    "2020-06-01,99999999999,bus,1,,": "number: '99999999999' is no int",
    "2020-06-01,,bus,1,,": "number: missing",
    ",8,bus,1,,": "day: missing",
    "2020-06-31,9,bus,1,,": "day: '2020-06-31' is no date",
    "2020-06-02,10,bus,1,,": "day: 2020-06-02 is another day",
    "2020-06-01,11,boat,1,,": "kind: 'boat' is not one of the known values",
    "2020-06-01,12,Bus,1,,": "kind: 'Bus' is not one of the known values",
    "2020-06-01,13,bus,-0.1,,": "amount: '-0.1' is below 0",
    "2020-06-01,14,bus,100.1,,": "amount: '100.1' is above 100",
    "2020-06-01,15,bus,NaN,,": "amount: 'NaN' is no double",
    "2020-06-01,16,bus,much,,": "amount: 'much' is no double",
    "2020-06-01,17,bus,1,,noon": "seen_at: 'noon' is no timestamp",
    "2020-06-01,21,bus,1d,,": "amount: '1d' is no double",
    "2020-06-01,22,bus,1e999,,": "amount: '1e999' is no double",
    "2020-06-01,23,bus,1.5e1,,": "",
    "2020-06-01, 24,bus,1,,": "number: ' 24' is no int",
    "2020-6-1,25,bus,1,,": "day: '2020-6-1' is no date",
    "2020-06-01,26,bus,1,,1899-12-31T00:00:00Z": "seen_at: '1899-12-31T00:00:00Z' is not between 1900 and 2199",
    "2020-06-01,27,bus,1,,9999-12-31": "seen_at: '9999-12-31' is no timestamp",
    "2020-06-01,28,bus,1,,2020-06-01 05:00": "",
    "2020-06-01,18,boat,-1,,": "kind: 'boat' is not one of the known values; amount: '-1' is below 0",
    "2020-06-01,19,bus": "not 6 columns",
    "2020-06-01,20,bus,1,a,,more": "not 6 columns",
}
A, B = "2020-06-01,50,bus,1,first,", "2020-06-01,50,bus,1,second,"
COPIED, BROKEN, GOOD = "2020-06-01,60,bus,1,,", "2020-06-01,70,bus,-1,,", "2020-06-01,70,bus,1,,"
DIFFERS = "another row has the same number and differs"


@pytest.fixture(scope="module")
def landing(module_home: Path) -> Path:
    return Path(str(settings().landing))


def put(landing: Path, day: str, lines: list[str]) -> Path:
    path = landing / "toys" / "trips" / f"{day}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def load(files: list[Path], name: str) -> list[Row]:
    kernel.run(FEED, {file: (date.fromisoformat(file.stem), ()) for file in files}, name)
    return kernel.judged(name).collect().to_dicts()


@pytest.fixture(scope="module")
def loaded(landing: Path) -> list[Row]:
    """Two days: all verdicts, copies and conflicts on the first, a key of that day again on the second."""
    first = [*VERDICTS, "", A, B, A, COPIED, COPIED, COPIED, GOOD, BROKEN, BROKEN, ""]
    second = ["2020-06-02,1,bus,9,the next day,", "2020-06-02,50,bus,1,first,"]
    return load([put(landing, "2020-06-01", first), put(landing, "2020-06-02", second)], "candidate.two_days")


@pytest.fixture
def first_day(loaded: list[Row]) -> Iterator[list[Row]]:
    return [row for row in loaded if row["partition_day"] == date(2020, 6, 1)]


def of_number(rows: list[Row], number: int) -> list[tuple[str | None, bool]]:
    found = [row for row in rows if row["number"] == number]
    return sorted(((row["_reason"], row["_copy"]) for row in found), key=str)


def test_every_row_is_there_and_nothing_else(loaded: list[Row]) -> None:
    """Blank lines are no rows."""
    assert len(loaded) == len(VERDICTS) + 9 + 2


@pytest.mark.parametrize(("text", "reason"), VERDICTS.items())
def test_a_row_gets_its_verdict(first_day: list[Row], text: str, reason: str) -> None:
    """A broken one keeps its text."""
    if reason:
        (row,) = (row for row in first_day if row["_raw"] == text)
    else:
        (row,) = (row for row in first_day if row["number"] == int(text.split(",")[1]))
        assert row["_raw"] is None
    assert (row["_reason"] or "", row["_copy"]) == (reason, False)


def test_a_row_is_typed(first_day: list[Row]) -> None:
    (row,) = (row for row in first_day if row["number"] == 1)
    assert (row["day"], row["kind"], row["amount"], row["note"]) == (date(2020, 6, 1), "bus", 1.5, "hello")
    assert row["seen_at"].astimezone(UTC) == datetime(2020, 6, 1, 5, tzinfo=UTC)


def test_what_is_not_there_is_null(first_day: list[Row]) -> None:
    (row,) = (row for row in first_day if row["number"] == 2)
    assert [row[name] for name in ("kind", "amount", "note", "seen_at")] == [None] * 4


def test_text_stays_as_it_was(first_day: list[Row]) -> None:
    notes = {row["number"]: row["note"] for row in first_day}
    assert (notes[5], notes[6]) == ("żółw – 車", "a comma, and more")


def test_a_row_says_where_it_came_from(loaded: list[Row], landing: Path) -> None:
    files = {str(row["partition_day"]): (row["source_file"], row["arrived_at"]) for row in loaded}
    assert {day: file for day, (file, _) in files.items()} == {
        "2020-06-01": "toys/trips/2020-06-01.csv",
        "2020-06-02": "toys/trips/2020-06-02.csv",
    }
    modified = (landing / "toys/trips/2020-06-01.csv").stat().st_mtime
    assert abs(files["2020-06-01"][1].timestamp() - modified) < 1


def test_the_second_and_further_copies_are_copies(first_day: list[Row]) -> None:
    assert of_number(first_day, 60) == [(None, False), (None, True), (None, True)]


def test_rows_of_one_key_that_differ_are_all_broken(first_day: list[Row]) -> None:
    assert sorted(of_number(first_day, 50)) == [(DIFFERS, False), (DIFFERS, False), (DIFFERS, True)]


def test_a_broken_row_does_not_break_the_good_one_of_its_key(first_day: list[Row]) -> None:
    below = "amount: '-1' is below 0"
    assert of_number(first_day, 70) == sorted([(None, False), (below, False), (below, True)], key=str)


def test_the_same_key_on_another_day_is_no_conflict(loaded: list[Row]) -> None:
    second = [row for row in loaded if row["partition_day"] == date(2020, 6, 2)]
    assert [(row["_reason"], row["_copy"]) for row in second] == [(None, False)] * 2


def test_a_candidate_is_never_written_twice(landing: Path, loaded: list[Row]) -> None:
    """What is being audited must not change under the audit: each try has one of its own."""
    with pytest.raises(FileExistsError, match="two_days is there already"):
        load([put(landing, "2020-06-03", ["2020-06-03,1,bus,1,,"])], "candidate.two_days")
    assert kernel.judged("candidate.two_days").collect().height == len(loaded)


def test_the_rows_of_a_file_do_not_depend_on_where_it_is_cut(landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file is read in pieces: none may fall between two of them, nor a copy be taken for another row."""
    file = put(landing, "2020-06-05", ["2020-06-05,1,bus,1,żółw,", *["2020-06-05,1,bus,1,żółw,"] * 3, *ODD.values()])
    whole = sorted(load([file], "candidate.whole"), key=str)
    for size in (1, 7, 64):
        monkeypatch.setattr(blocks, "BLOCK", size)
        monkeypatch.setattr(kernel, "LOOKED_AT", size)
        monkeypatch.setattr(kernel, "PART_ROWS", size)
        monkeypatch.setattr(kernel, "TOGETHER", size)
        assert sorted(load([file], f"candidate.cut_{size}"), key=str) == whole


ODD = {
    31: '2020-06-04,31,bus,1,"he said ""yes"", twice",',
    32: '2020-06-04,32,bus,1,"a path\\",',
    33: '2020-06-04,33,bus,1,"never closed,',
    34: "2020-06-04,34,bus,1,,",
    35: "2020-06-04,35,bus,1,a return\rwithin,",
    36: "2020-06-04,36,bus,1,one,",
    37: "2020-06-04,36,bus,2,another,",
    38: "2020-06-04,36,bus,-1,broken anyway,",
}


@pytest.fixture(scope="module")
def oddities(landing: Path) -> list[Row]:
    lines = [*ODD.values(), "2020-06-04,034,bus,2,,"]
    return load([put(landing, "2020-06-04", lines)], "candidate.odd")


def test_an_open_quote_breaks_its_own_row_only(oddities: list[Row]) -> None:
    (row,) = (row for row in oddities if row["_raw"] == ODD[33])
    assert row["_reason"] == "note: a quote that its line does not close"
    assert 34 in {row["number"] for row in oddities}


def test_a_broken_row_keeps_its_reason_beside_two_that_differ(oddities: list[Row]) -> None:
    assert sorted(of_number(oddities, 36)) == sorted([(DIFFERS, False)] * 2 + [("amount: '-1' is below 0", False)])


def test_a_return_within_a_row_ends_no_line(oddities: list[Row]) -> None:
    """Whoever looks through the file refuses it; a row is lost or doubled in no case."""
    assert len(oddities) == len(ODD) + 1
    assert [row["note"] for row in oddities if row["number"] == 35] == ["a return\rwithin"]


@pytest.mark.parametrize(("number", "note"), [(31, 'he said "yes", twice'), (32, "a path\\")])
def test_quotes_are_those_of_rfc_4180(oddities: list[Row], number: int, note: str) -> None:
    (row,) = (row for row in oddities if row["number"] == number)
    assert (row["_reason"], row["note"]) == (None, note)


def test_a_line_is_taken_apart_as_rfc_4180_has_it_or_not_at_all() -> None:
    """Every line of up to six signs, beside what the look-through makes of it; the reason names the column."""
    lines = ["".join(signs) for length in range(1, 7) for signs in itertools.product('",a\\', repeat=length)]
    found = {
        row["_text"]: row
        for row in delimited._taken_apart(pl.Series(lines), ("left", "right"), RFC_4180).iter_rows(named=True)
    }
    assert sorted(found) == sorted(lines)
    for line, row in found.items():
        values = values_of(line, RFC_4180)
        if len(values) == 2:
            assert ([row["0"] or "", row["1"] or ""], row["_flaw"]) == (values, None), line
        elif values:
            assert row["_flaw"] == "not 2 columns", line
        else:
            name, _, reason = row["_flaw"].partition(": ")
            assert (name in ("left", "right", "after the last column"), "quote" in reason) == (True, True), line


def test_a_key_is_the_same_however_it_is_written(oddities: list[Row]) -> None:
    assert of_number(oddities, 34) == [(DIFFERS, False), (DIFFERS, False)]


def test_a_row_says_where_it_came_from_in_any_folder(tmp_path: Path) -> None:
    with installed(tmp_path / "v1+2 (new)"):
        file = put(Path(str(settings().landing)), "2020-06-01", [GOOD])
        (piece,) = kernel.looked_at(FEED, {file: (date(2020, 6, 1), ())})
    assert piece["source_file"].to_list() == ["toys/trips/2020-06-01.csv"]


# What upstreams write where a value should be: near to right, and nowhere near.
SIGNS = st.text(st.sampled_from("0123456789-+:.TZ eE/*x٣_,"), max_size=32)
DATES = st.dates(date(1800, 1, 1), date(2300, 1, 1)).map(str)
TIMES = st.builds(
    "{}{}{:02}:{:02}{}{}".format,
    DATES,
    st.sampled_from("T t"),
    st.integers(0, 25),
    st.integers(0, 61),
    st.sampled_from(["", ":00", ":59", ":60", ":07.5", ":07.1234567", ":7"]),
    st.sampled_from(["", "Z", "z", "+02:00", "-18:00", "+18:01", "+05:60", "+0200", "UTC"]),
)
TRICKY = st.sampled_from(
    ["31/12/2022", "12-345-678", "123*45*678", "1234-56-7", "2013-06-0١", "9" * 400, "-" * 10, "1e400", "0x1", "inf"]
)


def by_python(kind: str, text: str) -> Any:
    """What a text is as a value of a type, by other means; None where it is none."""
    if kind in ("date", "timestamp") and not text.isascii():
        return None
    match kind:
        case "int" | "bigint":
            bits = 31 if kind == "int" else 63
            fits = re.fullmatch("[+-]?[0-9]+", text) and -(2**bits) <= int(text) < 2**bits
            return int(text) if fits else None
        case "double":
            is_number = re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text)
            return float(text) if is_number and math.isfinite(float(text)) else None
        case "date":
            found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", text)
            with suppress(ValueError):
                return date(*map(int, found.groups())) if found else None
        case "timestamp":
            form = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?"
            offset = re.search(r"[+-](\d\d):(\d\d)$", text)
            if not re.fullmatch(form, text) or (offset and (int(offset[2]) > 59 or offset[1] + offset[2] > "1800")):
                return None
            with suppress(ValueError):
                moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
                return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


@pytest.mark.parametrize("kind", ["int", "bigint", "double", "date", "timestamp"])
@given(texts=st.lists(st.one_of(SIGNS, DATES, TIMES, TRICKY, st.integers().map(str), st.floats().map(str))))
def test_a_text_is_a_value_or_breaks_its_row_whatever_it_is(kind: str, texts: list[str]) -> None:
    """pola-rs/polars#22495, #19928: a text that was nearly a date ended the program."""
    feed = Feed("values", "", (Column("value", kind, ""),), ("value",))
    names = {"value": texts, "_text": texts, "_flaw": None, "_odd": None}
    rows = pl.DataFrame(names, dict.fromkeys(names, pl.String))
    arrived = verdicts.arrived(rows, date(2020, 6, 1), "toys/values/2020-06-01.csv", datetime(2020, 6, 2, tzinfo=UTC))
    found = verdicts.look_at(arrived, feed)
    for text, value, reason in zip(texts, found["value"], found["_reason"], strict=True):
        if not text:
            assert (reason, value) == (None, None), "an empty text of anything but a text says that there is no value"
            continue
        wanted = by_python(kind, text)
        in_time = kind not in ("date", "timestamp") or (wanted is not None and 1900 <= wanted.year <= 2199)
        assert (reason is None) == (wanted is not None and in_time), (text, reason)
        if reason is None:
            assert value == wanted, text
