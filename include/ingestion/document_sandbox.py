"""A program by itself, which takes one document apart: the document comes in, JSON goes out. ``documents`` runs it.

Whoever writes a document decides what its readers do, so they run here: without the platform's environment, with no
more time and memory than ``LIMITS``, and without a file that they could write. Nothing is fetched, no script is run.
What is counted is counted by other libraries (PDFium, the standard library's parser of HTML) than read (pypdf, lxml).
"""

from __future__ import annotations

import io
import json
import re
import resource
import sys
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

SECONDS = 120  # of a processor
LIMITS = {resource.RLIMIT_AS: 2 << 30, resource.RLIMIT_CPU: SECONDS, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
MOST_PAGES = 20_000
MOST_TEXT = 64 << 20  # letters
# Whose text nobody sees.
UNSEEN = ("script", "style", "noscript", "template", "svg", "iframe", "object")
# Between whose texts there is no line.
INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "kbd", "mark"),
    *("q", "s", "small", "span", "strong", "sub", "sup", "u", "var", "wbr"),
}
# Which names of a page's data say what.
METAS = {
    "author": ("author", "article:author", "dc.creator", "dcterms.creator"),
    "description": ("description", "og:description"),
    "keywords": ("keywords",),
    "created": ("article:published_time", "date", "dc.date", "dcterms.created", "datepublished"),
    "modified": ("article:modified_time", "last-modified", "dcterms.modified", "datemodified"),
}


class RefusedDocumentError(Exception):
    """The document is not taken; says why."""


def pages_of_pdf(content: bytes) -> Iterator[dict[str, Any]]:
    """Each page with its text, and what is said of the whole."""
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(content))
    if reader.is_encrypted and not reader.decrypt(""):
        raise RefusedDocumentError("encrypted: have it sent without a password")
    about, pages, left = reader.metadata, reader.get_num_pages(), MOST_TEXT
    whole = {
        name: getattr(about, name, None) for name in ("title", "author", "subject", "keywords", "creator", "producer")
    }
    whole |= {"created": _moment(about, "creation_date"), "modified": _moment(about, "modification_date")}
    whole["language"] = reader.root_object.get("/Lang")
    for number, page in enumerate(reader.pages, start=1):
        text = page.extract_text()
        left -= len(text)
        if left < 0:
            raise RefusedDocumentError(f"its pages have more than {MOST_TEXT >> 20} million letters")
        yield {**whole, "page": number, "pages": pages, "text": text if text.strip() else None}


def _moment(about: Any, name: str) -> str | None:
    """A date of the document in ISO 8601; as it is written where it is none, so that its row tells."""
    try:
        found: datetime | None = getattr(about, name, None)
    except ValueError:
        return str(about.get("/CreationDate" if name == "creation_date" else "/ModDate"))
    return found.isoformat() if found else None


def number_of_pages(content: bytes) -> int:
    """How many pages a PDF has, by PDFium."""
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(content) as document:
            pages = len(document)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise RefusedDocumentError("encrypted: have it sent without a password") from None
        raise
    if pages > MOST_PAGES:
        raise RefusedDocumentError(f"it has {pages:,} pages, and {MOST_PAGES:,} are the most: have it cut into several")
    return pages


def page_of_html(content: bytes) -> dict[str, Any]:
    """The text that people see, a line for each block, and what the page says of itself."""
    from lxml import etree, html

    parser = html.HTMLParser(
        encoding=_encoding(content), no_network=True, remove_comments=True, remove_pis=True, huge_tree=False
    )
    root = html.document_fromstring(content, parser=parser)
    if any("depth" in error.message.lower() for error in parser.error_log):
        raise RefusedDocumentError("its elements are deeper within each other than any page needs")
    said: dict[str, str] = {}
    for meta in root.iter("meta"):
        name = (
            meta.get("name") or meta.get("property") or meta.get("itemprop") or meta.get("http-equiv") or ""
        ).lower()
        said.setdefault(name, meta.get("content") or "")
    found: dict[str, Any] = {
        name: next((said[one] for one in names if said.get(one)), None) for name, names in METAS.items()
    }
    title = root.find(".//title")
    found["title"] = " ".join(title.text_content().split()) if title is not None else None
    found["language"] = root.get("lang")
    etree.strip_elements(root, *UNSEEN, "head", with_tail=False)
    found["text"] = _text(root) or None
    return found


def _encoding(content: bytes) -> str | None:
    """UTF-8 where it is that; else what the page itself says."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _text(root: Any) -> str:
    from lxml import etree

    parts: list[str] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        if element.tag not in INLINE:
            parts.append("\n")
        text = element.text if event == "start" else element.tail
        parts.append(re.sub(r"\s+", " ", text or ""))
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    return "\n".join(filter(None, lines))


class _Tags(HTMLParser):
    """Which elements begin and end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.ended = set[str](), set[str]()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.begun.add(tag)

    def handle_endtag(self, tag: str) -> None:
        self.ended.add(tag)


def number_of_documents(content: bytes) -> int:
    """One, where it is HTML and has its end."""
    tags = _Tags()
    tags.feed(content.decode(errors="replace"))
    tags.close()
    if not tags.begun:
        raise RefusedDocumentError("no HTML: there is no element in it")
    if "html" in tags.begun - tags.ended:
        raise RefusedDocumentError("truncated: it begins with <html> and does not end with </html>")
    return 1


def taken_apart(task: str, content: bytes) -> Iterator[Any]:
    """What ``task`` makes of ``content``."""
    if task == "count pdf":
        yield number_of_pages(content)
    elif task == "count html":
        yield number_of_documents(content)
    elif task == "read pdf":
        yield from pages_of_pdf(content)
    else:
        yield page_of_html(content)


def main() -> None:
    """Each line is what was found, or, as the last one, why the document is refused."""
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    kind = sys.argv[1].upper().rpartition(" ")[2]
    try:
        for one in taken_apart(sys.argv[1], sys.stdin.buffer.read()):
            print(json.dumps({"found": one}))
        print(json.dumps({"end": True}))
    except RefusedDocumentError as error:
        print(json.dumps({"refused": str(error)}))
    except (MemoryError, RecursionError):
        print(json.dumps({"refused": "it takes more memory than a document may, or is too deep"}))
    except Exception as error:  # noqa: BLE001  # each library has its own
        if "Limit" in type(error).__name__:
            print(json.dumps({"refused": "a part of it unpacks to more than a document may"}))
        else:
            print(json.dumps({"refused": f"damaged, or no {kind} ({type(error).__name__}). Replace the file"}))


if __name__ == "__main__":
    main()
