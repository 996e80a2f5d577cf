"""What a file looks like by its first bytes. A hint for people, where a file does not fit; nothing is read by it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from include.contracts.source import Compression, Feed, Format
from include.ingestion.files import UnreadableFileError, opened

if TYPE_CHECKING:
    from upath import UPath

HEAD = 512
"""Bytes that are looked at."""

PACKED = {
    b"\x1f\x8b": Compression.GZIP,
    b"\x28\xb5\x2f\xfd": Compression.ZSTD,
    b"BZh": Compression.BZIP2,
    b"\xfd7zXZ\x00": Compression.XZ,
    b"PK\x03\x04": Compression.ZIP,
}
KINDS = {b"PAR1": Format.PARQUET, b"ORC": Format.ORC, b"Obj\x01": Format.AVRO}
TEXTS = {rb"<[?!A-Za-z_]": Format.XML, rb"\{|\[\s*[{\]]": Format.JSON}  # logs begin with <34> and [12:00] as well
ALIKE = ((Format.JSON, Format.JSONL), (Format.XML, Format.HTML))
# A book of Excel is a zip archive in which these come first.
BOOK = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/")


def compression_of(head: bytes) -> Compression:
    """What a file that begins with ``head`` is packed into."""
    found = next((one for magic, one in PACKED.items() if head.startswith(magic)), Compression.NONE)
    return Compression.NONE if found is Compression.ZIP and _is_book(head) else found


def format_of(head: bytes) -> Format | None:
    """The format of a file that begins with ``head``, where it says it: a table of lines does not."""
    if _is_book(head):
        return Format.XLSX
    if found := next((one for magic, one in KINDS.items() if head.startswith(magic)), None):
        return found
    text = head.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    return next((kind for begins, kind in TEXTS.items() if re.match(begins, text)), None)


def _is_book(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and head[30:].startswith(BOOK)


def with_advice(said: str, path: UPath, feed: Feed) -> str:
    """``said`` of the file at ``path``, which is none of ``feed``, with what it looks like and how to find out more.

    As it is where there is nothing to look at.
    """
    try:
        with opened(path) as file:
            head = file.read(HEAD)
    except (OSError, UnreadableFileError):
        return said
    if not head:
        return said
    packed, kind, looks = compression_of(head), format_of(head), ""
    if packed and packed is not feed.compression:
        looks = f" It looks packed, as {packed.name.lower()}."
    elif kind and not feed.compression and kind is not feed.format and (kind, feed.format) not in ALIKE:
        looks = f" It looks like {kind.name}, and its feed says {feed.format.name}."
    end = "" if said.endswith((".", "?")) else "."
    return f"{said}{end}{looks} How it is written: make source-check file={path}"
