"""What a file of Excel may be, and what is refused: it is an archive of XML that anybody may have made."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from upath import UPath

from include.contracts.source import Column, Feed, Format
from include.ingestion import landing
from include.ingestion.files import UnreadableFileError
from tests.ingestion.corpus import sheet
from tests.ingestion.judged import judged

FEED = Feed("people", "", (Column("who", "string", ""), Column("age", "int", "")), ("who",), format=Format.XLSX)
GOOD = sheet([["who", "age"], ["me", 7]])
BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.fixture
def path(home: Path) -> UPath:
    found = UPath(home / "landing" / "toys" / "people" / "2024-06-01.xlsx")
    found.parent.mkdir(parents=True)
    return found


def changed(name: str, old: str, new: str, content: bytes = GOOD) -> bytes:
    """``content`` with a text of one of its parts replaced."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as after:
        for one in before.namelist():
            inside = before.read(one)
            after.writestr(one, inside.replace(old.encode(), new.encode()) if one == name else inside)
    return made.getvalue()


def damaged() -> bytes:
    """A file whose sheet cannot be unpacked."""
    made = sheet([["who", "age"], *([f"number {n}", n] for n in range(300))])
    with zipfile.ZipFile(io.BytesIO(made)) as book:
        part = book.getinfo("xl/worksheets/sheet1.xml")
    at = part.header_offset + 30 + len(part.filename) + 200
    return made[:at] + bytes(byte ^ 0xFF for byte in made[at : at + 12]) + made[at + 12 :]


def entities() -> bytes:
    """A file whose texts unfold, as in a billion laughs."""
    sheet_ = "xl/worksheets/sheet1.xml"
    return changed(sheet_, "<worksheet", f"{BOMB}<worksheet")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"who,age\nme,7\n", "damaged, or no file of Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 512, "encrypted, or of the old kind"),
        (GOOD[:-30], "damaged, or no file of Excel"),
        (damaged(), "damaged, or no file of Excel"),
        (entities(), "damaged, or no file of Excel"),
        (sheet([["who"], ["me"]]), "the header breaks the contract: column age is missing"),
        (sheet([["who", "age"]]), "a header and no rows|no rows"),
        (sheet([]), "no header and no rows"),
    ],
)
def test_what_is_no_sheet_of_the_feed_is_refused(content: bytes, said: str, path: UPath) -> None:
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=said):
        landing.look_through(path, FEED)


def test_a_sheet_that_is_not_there_is_named(path: UPath) -> None:
    path.write_bytes(GOOD)
    feed = Feed("people", "", FEED.columns, ("who",), format=Format.XLSX, within="Data")
    with pytest.raises(UnreadableFileError, match="it has no sheet 'Data'; there are 'Sheet'"):
        landing.look_through(path, feed)


def test_a_formula_is_its_last_result_and_never_run(path: UPath) -> None:
    """A formula that nobody has worked out has none; a text that looks like one is a text."""
    path.write_bytes(sheet([["who", "age"], ["me", 7], ["=1+1", "=cmd|' /C calc'!A0"], ["'=2", 8]]))
    assert landing.look_through(path, FEED)["rows"] == 2
    assert judged(FEED, Path(path)).select("who", "age").rows() == [("'=2", 8), ("me", 7)]


def test_an_archive_that_unfolds_is_refused_before_it_does(path: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    from include.ingestion.counting import excel

    monkeypatch.setattr(excel, "MOST_UNPACKED", 1 << 20)
    monkeypatch.setattr(excel, "MOST_TIMES", 20)
    path.write_bytes(sheet([["who", "age"], *([f"{'x' * 200}", 7] for _ in range(9000))]))
    with pytest.raises(UnreadableFileError, match="unpacks to"):
        landing.look_through(path, FEED)
