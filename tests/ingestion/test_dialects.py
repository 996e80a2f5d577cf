"""Every file of the corpus, with the dialect that its feed declares, is published with the right values.

What is declared, and what ``make source-check`` proposes, is the table in docs/dialects.md: a change rewrites the page
in the test's folder; copy it to docs/ if that was meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from include.contracts.dialect import Dialect, written_as, written_changes
from include.contracts.source import Column, Feed, Source
from include.core.partitions import Partitions
from include.ingestion import ingest, landing
from include.ingestion.proposing import UnknownFileError, as_text, propose
from include.ingestion.reading import delimited as reader
from include.ingestion.reading import text as blocks
from tests.conftest import installed
from tests.ingestion.corpus import CASES, COLUMNS, DAY, Case, written
from tests.ingestion.judged import judged

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dialects.md"
# Notes that say what nobody can know from a file: then another guess than the corpus' is no fault.
OPEN = ("guess", "month first", "assumed", "is it nothing", "such rows")


def put(home: Path, case: Case) -> Path:
    path = home / "landing" / "toys" / case.feed.name / f"{DAY}.{case.feed.extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)
    return path


def read(path: Path, feed: Feed) -> tuple[int, list[tuple[Any, ...]], int]:
    """The rows that are counted, the sound ones, and how many are in quarantine."""
    file = landing.look_through(UPath(path), feed)
    found = judged(feed, path, there=file["columns"])
    sound = found.filter(found["_reason"].is_null() & ~found["_copy"])
    broken = found.filter(found["_reason"].is_not_null() & ~found["_copy"])
    names = [column.name for column in feed.columns]
    return file["rows"], sorted(sound.select(names).rows(), key=str), broken.height


@pytest.mark.parametrize("name", CASES)
def test_a_file_in_its_dialect_has_the_right_values(name: str, home: Path) -> None:
    case = CASES[name]()
    counted, sound, broken = read(put(home, case), case.feed)
    assert sound == sorted(case.rows, key=str)
    assert (broken, counted) == (case.quarantined, len(case.rows) + case.quarantined)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [7, 64])
def test_the_end_of_a_block_is_nowhere(name: str, size: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read some bytes at a time, a file has the same rows: quotes, ends of lines and letters may lie on the border."""
    case = CASES[name]()
    monkeypatch.setattr(blocks, "BLOCK", size)
    counted, sound, broken = read(put(home, case), case.feed)
    assert (sound, broken, counted) == (sorted(case.rows, key=str), case.quarantined, len(case.rows) + broken)


@dataclass
class Proposed:
    """What is said of a case on the page."""

    works: bool
    said: str


def values(rows: Sequence[tuple[Any, ...]]) -> list[set[Any]]:
    """Rows by what is in them, whatever the columns are called and in whichever type they are."""

    def plain(value: Any) -> Any:
        return value.timestamp() if isinstance(value, datetime) else value

    return [{plain(value) for value in row if value is not None} for row in rows]


def proposed(path: Path, case: Case) -> Proposed:
    try:
        found = propose(UPath(path))
    except UnknownFileError as error:
        return Proposed(False, str(error).partition(": ")[2])
    _, sound, _ = read(path, found.feed)
    wanted, there = values(case.rows), values(sound)
    if len(wanted) == len(there) and all(any(row <= other for other in there) for row in wanted):
        return Proposed(True, "works")
    open_ = [note for note in found.notes if any(word in note for word in OPEN)]
    return Proposed(bool(open_), f"says: {open_[0].partition('. Is line')[0]}" if open_ else "another table")


@pytest.fixture(scope="module")
def proposals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Proposed]:
    found = {}
    with installed(tmp_path_factory.mktemp("var")) as home:
        for name, make in CASES.items():
            case = make()
            found[name] = proposed(put(home, case), case)
    return found


def test_nearly_all_files_are_explained_by_what_is_proposed(proposals: dict[str, Proposed]) -> None:
    other = [name for name, one in proposals.items() if not one.works]
    assert len(CASES) >= 80
    assert len(other) <= 0.1 * len(CASES), other


def page(proposals: dict[str, Proposed]) -> str:
    lines = [
        "# Files as the world writes them",
        "",
        "Made by `tests/ingestion/test_dialects.py`. Each file has four sound rows, and some have polluted ones beside",
        "them. With what its feed declares, its sound rows are published with the right values, and the others are in",
        "the quarantine; none is lost. The last column is what `make source-check file=…` makes of it without being",
        f"told anything: of {len(proposals)} files {sum(one.works for one in proposals.values())} are read by what it",
        "proposes, or it says what nobody can know from the file. [How to declare a dialect](bring-a-file.md).",
        "",
        "| file | declared | published | quarantined | proposed |",
        "|---|---|--:|--:|---|",
    ]
    for name, one in proposals.items():
        case = CASES[name]()
        lines.append(
            f"| {in_table(name)} | {in_table(declared(case))} | {len(case.rows)} | {case.quarantined or ''} | "
            f"{in_table(one.said)} |"
        )
    return "\n".join(lines) + "\n"


def declared(case: Case) -> str:
    """What the case's feed says that is not as usual, as Python."""
    said = [f"`{one}`" for one in written_changes(case.dialect)]
    usuals = {one.name: one for one in COLUMNS}
    for column in case.columns:
        usual = usuals.get(column.name)
        known = written_changes(usual) if usual else []
        more = [one for one in written_changes(column) if one not in known]
        said += [f"{column.name}: `{', '.join(more)}`"] if more else []
    shown = {name: value for name, value in case.more.items() if name not in ("key", "day_column")}
    said += [f"`{name}={written_as(value)}`" for name, value in shown.items()]
    return ", ".join(said)


def in_table(text: str) -> str:
    return text.replace("|", "\\|")


def test_the_page_says_what_is_declared_and_proposed(proposals: dict[str, Proposed], home: Path) -> None:
    made = home / PAGE.name
    made.write_text(page(proposals))
    assert PAGE.exists(), f"cp {made} {PAGE}"
    assert made.read_text() == PAGE.read_text(), f"if that was meant: cp {made} {PAGE}"


signs = st.sampled_from(["a", "ż", ",", ";", '"', "'", "\\", "\n", "\r\n", " ", "|", "\t", "~", "#", "\x1f", "x, y"])
texts = st.lists(signs, max_size=6).map("".join)
DIALECTS = [
    Dialect(delimiter=delimiter, quote=quote, escape=escape, line_end=line_end, encoding=encoding, multiline=True)
    for delimiter in (",", ";", "\t", "||", "¬")
    for quote, escape in (('"', '"'), ("'", "'"), ('"', "\\"))
    for line_end in ("", "\x1e")
    for encoding in ("utf-8", "utf-16")
]


@settings(max_examples=150)
@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=6),
    dialect=st.sampled_from(DIALECTS),
    quote_all=st.booleans(),
    data=st.data(),
)
def test_any_table_in_any_dialect_comes_back_equal(
    rows: list[tuple[str, str]], dialect: Dialect, quote_all: bool, data: st.DataObject, tmp_path_factory: Any
) -> None:
    unit = len(dialect.delimiter) > 1 and any("\x1f" in text for row in rows for text in row)
    if unit:
        return
    table = [[str(n), *row] for n, row in enumerate(rows)]
    feed = Feed(
        "texts",
        "",
        (Column("n", "int", "", required=True), Column("left", "string", ""), Column("right", "string", "")),
        ("n",),
        dialect=dialect,
        max_quarantined_share=1,
    )
    content = written(
        table,
        ["n", "left", "right"],
        dialect.delimiter,
        dialect.quote,
        dialect.escape,
        dialect.line_end or data.draw(st.sampled_from(["\n", "\r\n"])),
        quote_all,
        dialect.encoding,
    )
    with installed(tmp_path_factory.mktemp("var")) as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", data.draw(st.sampled_from([5, 50, 1 << 20])))
        path = home / "landing" / "toys" / "texts" / f"{DAY}.csv"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        counted, sound, broken = read(path, feed)
    assert (counted, broken) == (len(rows), 0)
    wanted = [(n, *(one if quote_all or one else None for one in row)) for n, row in enumerate(rows)]
    assert sorted(sound) == sorted(wanted)


SALES = Feed(
    "sales",
    "",
    (
        Column("day", "date", "", required=True, pattern="%d.%m.%Y"),
        Column("receipt", "int", "", required=True),
        Column("price", "decimal(22,2)", ""),
    ),
    ("receipt",),
    day_column="day",
    late_days=3,
    dialect=Dialect(delimiter=";", decimal=",", thousands="."),
)
SHOP = Source("shop", "", "", "", "0 0 * * *", 1, DAY, (SALES,))


def ingested(day: date, *lines: str) -> None:
    """What the night's tasks do with a file of these lines, and of forty others."""
    path = landing.path_of(SHOP, SALES, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    many = [f"{day:%d.%m.%Y};{number};1,25" for number in range(100, 140)]
    path.write_text("\n".join(["day;receipt;price", *lines, *many, ""]))
    night = Partitions(day, day)
    plan = landing.plan(SHOP, night)
    candidates = ingest.load(SHOP, night, plan)
    audited = ingest.audit(SHOP, night, plan, candidates)
    ingest.publish_all(SHOP, night, plan, candidates, audited)


def test_what_a_dialect_says_is_undone_before_rows_are_compared(home: Path) -> None:
    """Money reaches bronze with every digit; a late row that says the same amount otherwise is a copy."""
    ingested(DAY, "01.06.2024;1;12.345.678.901.234.567.890,10", "01.06.2024;2;-0,01", "01.06.2024;3;0,001")
    ingested(DAY + timedelta(1), "01.06.2024;1;12345678901234567890,1", "01.06.2024;4;1,5", "02.06.2024;5;7")
    rows = pl.read_delta(str(home / "lake" / "bronze" / "shop__sales")).filter(pl.col("receipt") < 100)
    exact = [(1, "12345678901234567890.10"), (2, "-0.01"), (4, "1.50"), (5, "7.00")]
    assert sorted(rows.select("receipt", "price").rows()) == [(number, Decimal(price)) for number, price in exact]
    broken = pl.read_delta(str(home / "lake" / "bronze" / "shop__sales__quarantine"))
    assert broken.select("reason", "raw", "line").rows() == [
        ("price: '0,001' is no decimal(22,2)", "01.06.2024;3;0,001", 4)
    ]
    counted = pl.read_delta(str(home / "lake" / "bronze" / "shop__completeness")).sort("ingestion_date")
    assert counted.select("rows_in", "published", "quarantined", "deduplicated").rows() == [
        (43, 42, 1, 0),
        (43, 42, 0, 1),
    ]


def test_what_is_proposed_can_be_pasted(home: Path) -> None:
    case = CASES["numbers: as in German"]()
    found = propose(UPath(put(home, case)), "things")
    assert "Dialect(delimiter=';', decimal=',', thousands='.')" in as_text(found)
    names: dict[str, Any] = {}
    imports = "from include.contracts.source import *\nfrom include.contracts.dialect import *\n"
    exec(imports + as_text(found), names)
    assert names["THINGS"].dialect == case.dialect


def test_a_quoted_text_that_never_ends_costs_its_own_line_alone() -> None:
    """However long the file is: what follows is read as if the quote had not been opened."""
    lines = ['1,"open', *(f"{n},x" for n in range(2, 200_000))]
    joined, waiting = reader._joined(reader.pl.Series("_text", lines), Dialect(), is_last=False)
    assert (len(joined), waiting) == (len(lines), [])
