"""PDF and HTML: what becomes of a document, and which ones are refused; nothing is fetched, nothing is run."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pypdf
import pytest

from include.contracts.source import Column, Feed, Format
from include.ingestion import counting, document_sandbox, documents, landing
from include.ingestion.files import UnreadableFileError
from tests.ingestion.conftest import Put
from tests.ingestion.judged import judged

DAY = date(2024, 6, 1)
LETTERS = Feed(
    "letters",
    "",
    (
        Column("page", "int", "which", required=True),
        Column("pages", "int", "of how many"),
        Column("title", "string", "what it is called"),
        Column("writer", "string", "who wrote it", source_name="author"),
        Column("created", "timestamp", "when"),
        Column("text", "string", "what is on it"),
    ),
    key=("page",),
    format=Format.PDF,
)
PAGES = Feed(
    "pages",
    "",
    (
        Column("title", "string", "what it is called", required=True),
        Column("language", "string", "in which language"),
        Column("created", "timestamp", "when"),
        Column("text", "string", "what it says"),
    ),
    key=("title",),
    format=Format.HTML,
)


def pdf(*texts: str, info: str = "", catalog: str = "", packed: bytes = b"") -> bytes:
    """A PDF with a page for each of ``texts``, by hand; the first one's content may be ``packed`` already."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(texts)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(texts):
        content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b""
        packing = "/Filter /FlateDecode" if packed and not n else ""
        content = packed if packing else content
        font = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {font} /Contents {5 + 2 * n} 0 R >>".encode())
        objects.append(f"<< /Length {len(content)} {packing} >>\nstream\n".encode() + content + b"\nendstream")
    objects.append(f"<< {info} >>".encode())
    made, places = b"%PDF-1.7\n", []
    for n, body in enumerate(objects, start=1):
        places.append(len(made))
        made += f"{n} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}"
    end += f"trailer << /Size {len(places) + 1} /Root 1 0 R /Info {len(places)} 0 R >>\nstartxref\n{len(made)}\n%%EOF\n"
    return made + end.encode()


def test_a_pdf_has_a_row_for_each_page(put: Put) -> None:
    info = "/Title (Offer 7) /Author (Ada) /CreationDate (D:20240601140000+02'00')"
    path = put(LETTERS, pdf("Hello world", "", "Bye", info=info))
    assert landing.look_through(path, LETTERS)["rows"] == 3
    rows = judged(LETTERS, path).sort("page")
    created = datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert rows.select("page", "pages", "title", "writer", "created", "text", "_reason").rows() == [
        (1, 3, "Offer 7", "Ada", created, "Hello world", None),
        (2, 3, "Offer 7", "Ada", created, None, None),
        (3, 3, "Offer 7", "Ada", created, "Bye", None),
    ]


def test_a_date_that_is_none_breaks_its_rows_and_not_the_file(put: Put) -> None:
    (row,) = judged(LETTERS, put(LETTERS, pdf("x", info="/CreationDate (soon)"))).to_dicts()
    assert row["_reason"] == "created: 'soon' is no timestamp"


HTML = b"""<!doctype html><html lang="de"><head><title> Ein
  Titel</title><meta property="article:published_time" content="2024-06-01T12:00:00Z">
<script>document.write("run")</script><style>p {}</style></head>
<body><nav>Start</nav><p>Gr\xc3\xbc\xc3\x9fe &amp; <b>mehr</b> davon<br>Zeile</p><img src="http://127.0.0.1:9/x">
<iframe src="http://127.0.0.1:9/y">no</iframe><script src="http://127.0.0.1:9/z">let a</script></body></html>"""


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-1"])
def test_an_html_page_is_a_row_with_the_text_that_people_see(encoding: str, put: Put) -> None:
    meta = f'<head><meta charset="{encoding}">'
    path = put(PAGES, HTML.decode().replace("<head>", meta).encode(encoding))
    assert landing.look_through(path, PAGES)["rows"] == 1
    (row,) = judged(PAGES, path).to_dicts()
    assert (row["title"], row["language"], row["_reason"]) == ("Ein Titel", "de", None)
    assert row["created"] == datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert row["text"] == "Start\nGrüße & mehr davon\nZeile"


def with_password() -> bytes:
    writer, made = pypdf.PdfWriter(pypdf.PdfReader(io.BytesIO(pdf("secret")))), io.BytesIO()
    writer.encrypt("word", algorithm="RC4-128")
    writer.write(made)
    return made.getvalue()


def bomb() -> bytes:
    """Half a gigabyte of blanks in half a megabyte."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(512)) + packer.flush()
    return pdf("x", packed=packed)


def round_tree() -> bytes:
    """Pages that are within themselves."""
    return pdf("x").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]")


REFUSED: dict[str, tuple[Feed, Callable[[], bytes], str]] = {
    "zero bytes": (LETTERS, lambda: b"", "the file is empty"),
    "a text instead": (LETTERS, lambda: b"Hello", "damaged, or no PDF"),
    "cut off": (LETTERS, lambda: pdf("x", "y")[:200], "damaged, or no PDF"),
    "a password": (LETTERS, with_password, "encrypted: have it sent without a password"),
    "a bomb": (LETTERS, bomb, "unpacks to more than a document may|more time or memory than a document may"),
    "too many pages": (LETTERS, lambda: pdf(*["x"] * 20_001), "it has 20,001 pages, and 20,000 are the most"),
    "pages within themselves": (LETTERS, round_tree, "damaged, or no PDF"),
    "a text without an element": (PAGES, lambda: b"just a text", "no HTML: there is no element in it"),
    "its end cut off": (PAGES, lambda: HTML[:-20], "truncated: it begins with <html>"),
    "100,000 elements within each other": (
        PAGES,
        lambda: b"<html><title>a</title>" + b"<div>" * 100_000 + b"x</html>",
        "deeper within each other than any page needs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_document_that_nobody_should_read_is_refused_in_a_short_while(case: str, put: Put) -> None:
    feed, make, why = REFUSED[case]
    path, begun = put(feed, make()), time.monotonic()

    def read() -> Any:
        rows, _ = counting.count(path, feed)
        return rows, judged(feed, path)

    with pytest.raises(UnreadableFileError, match=why) as told:
        read()
    assert str(path) in str(told.value)
    assert time.monotonic() - begun < 60


def test_scripts_forms_and_files_within_are_left_alone(put: Put) -> None:
    catalog = "/OpenAction << /S /JavaScript /JS (app.launchURL\\('http://127.0.0.1:9'\\)) >>"
    (row,) = judged(LETTERS, put(LETTERS, pdf("Hello", catalog=catalog))).to_dicts()
    assert (row["text"], row["_reason"]) == ("Hello", None)


def test_what_takes_too_long_is_refused(put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time; time.sleep(60)")
    path = put(LETTERS, pdf("x"))
    monkeypatch.setattr(documents, "PROGRAM", slow)
    monkeypatch.setattr(documents, "SECONDS", 1)
    with pytest.raises(UnreadableFileError, match="takes more than 1 s to read"):
        counting.count(path, LETTERS)


@pytest.mark.parametrize(
    "ending", ["import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "print('{\"found\": 1}')"]
)
def test_a_reading_without_an_end_is_none(
    ending: str, put: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "killed.py"
    program.write_text(ending)
    path = put(LETTERS, pdf("x"))
    monkeypatch.setattr(documents, "PROGRAM", program)
    with pytest.raises(UnreadableFileError, match="takes more time or memory than a document may"):
        counting.count(path, LETTERS)


def test_the_program_has_bounds() -> None:
    import resource

    assert document_sandbox.LIMITS[resource.RLIMIT_AS] <= 2 << 30
    assert document_sandbox.LIMITS[resource.RLIMIT_CPU] <= 120
    assert document_sandbox.LIMITS[resource.RLIMIT_FSIZE] == 0


def test_a_column_that_no_document_has_is_refused_when_the_spec_is_read() -> None:
    with pytest.raises(ValueError, match="a document of html has no page: it has title, author"):
        Feed("f", "", (Column("page", "int", ""),), ("page",), format=Format.HTML)
