"""The lines of a landing file, one at a time, so that memory does not grow with the file."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from include.contracts.dialect import Dialect
from include.contracts.source import Feed, Finished
from include.ingestion.files import UnreadableFileError, unpacked

if TYPE_CHECKING:
    from upath import UPath

LONGEST_LINE = 1 << 20  # letters
PIECE = 4 << 20  # letters that are read at once
# What a line that is no row is made of.
BLANK = "".join(map(chr, range(ord(" ") + 1)))
MARK = "\ufeff"
# The longer ones first: the mark of UTF-32 begins as that of UTF-16 does.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    codecs.BOM_UTF8: "UTF-8",
}


def lines(path: UPath, feed: Feed) -> Iterator[str]:
    """The lines of ``path`` without their ends. Raises UnreadableFileError for the first that cannot be one."""
    for block in blocks(path, feed):
        yield from block


def blocks(path: UPath, feed: Feed) -> Iterator[list[str]]:
    """The same, some at a time."""
    dialect, number = feed.dialect, 0
    end = dialect.line_end if dialect.line_end not in ("", "any") else "\n"
    try:
        with unpacked(path) as file, _text(file, dialect) as text:
            _check_mark(path, file, dialect)
            rest, is_first = "", True
            while piece := text.read(PIECE):
                block = rest + (piece.removeprefix(MARK) if is_first else piece)
                is_first = False
                *whole, rest = block.split(end)
                # Nearly all blocks are fine as a whole.
                is_fine = "\0" not in block and "\r" not in block and max(map(len, whole), default=0) <= LONGEST_LINE
                if not is_fine:
                    whole = [_checked(path, line, True, n, feed) for n, line in enumerate(whole, start=number + 1)]
                number += len(whole)
                yield whole
                if len(rest) > LONGEST_LINE:
                    _checked(path, rest, True, number + 1, feed)
            if rest and (rest.strip(BLANK) or end == "\n"):
                number += 1
                yield [_checked(path, rest, False, number, feed)]
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"{path}: not {name_of(dialect)} ({error.reason}){_where(path, dialect)}") from None
    if not number:
        raise UnreadableFileError(f"{path}: the file is empty")


def name_of(dialect: Dialect) -> str:
    """The encoding as people write it."""
    return dialect.encoding.upper() if dialect.encoding.lower().startswith("utf") else dialect.encoding


@contextmanager
def _text(file: IO[bytes], dialect: Dialect) -> Iterator[IO[str]]:
    newline = None if dialect.line_end == "any" else "\n"
    text = io.TextIOWrapper(file, encoding=dialect.encoding, errors="strict", newline=newline)
    try:
        yield text
    finally:
        text.detach()


def _check_mark(path: UPath, file: io.BufferedReader, dialect: Dialect) -> None:
    """Raise UnreadableFileError where the file says that it is of another encoding."""
    head = file.peek(4)[:4]
    found = next((name for mark, name in MARKS.items() if head.startswith(mark)), "")
    said = name_of(dialect)
    if found and found != "UTF-8" and not said.replace("_", "-").startswith(found):
        raise UnreadableFileError(
            f"{path}: {found}, by its first bytes. Write it as {said}, or say encoding={found.lower()!r} in its dialect"
        )


def _checked(path: UPath, line: str, has_end: bool, number: int, feed: Feed) -> str:
    if (at := line.find("\0")) >= 0:
        byte = len(line[:at].encode(errors="surrogatepass")) + 1
        raise UnreadableFileError(f"{path}: not text, there is a zero byte in line {number}, byte {byte}")
    if len(line) > LONGEST_LINE:
        raise UnreadableFileError(f"{path}: line {number} is longer than {LONGEST_LINE:,} letters")
    if feed.dialect.line_end:
        _check_end(path, has_end, number, feed)
        return line
    if (at := line.find("\r", 0, len(line) - 1)) >= 0 and not feed.dialect.multiline:
        # Some end a line here, and others do not: nobody could say how many rows the file has.
        byte = len(line[:at].encode(errors="surrogatepass")) + 1
        raise UnreadableFileError(
            f"{path}: line {number} has a carriage return within, at byte {byte}. Where it ends lines, say "
            "line_end='any' in its dialect"
        )
    _check_end(path, has_end, number, feed)
    return line.removesuffix("\r")


def _check_end(path: UPath, has_end: bool, number: int, feed: Feed) -> None:
    if not has_end and feed.finished is Finished.LINE_END:
        raise UnreadableFileError(
            f"{path}: half-written, line {number} is the last one and has no end. Replace the file and clear this "
            "task, or say in the feed how a finished one is told"
        )


def _where(path: UPath, dialect: Dialect) -> str:
    """In which line, and at which of its bytes, there is something that is none of the encoding, in words."""
    if "\n".encode(dialect.encoding) != b"\n":
        return ""
    decode, number = codecs.getincrementaldecoder(dialect.encoding)("strict"), 0
    with unpacked(path) as file:
        while line := file.readline(LONGEST_LINE):
            number += line.endswith(b"\n")
            try:
                decode.decode(line)
            except UnicodeDecodeError as error:
                return f" in line {number + (not line.endswith(b'\n'))}, byte {error.start + 1}"
    return " in its last line"
