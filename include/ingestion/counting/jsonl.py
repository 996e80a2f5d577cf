"""The rows of a file of JSON lines, and its keys."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from include.contracts.source import Feed, Mode
from include.ingestion.counting import text
from include.ingestion.counting.columns import named, other, too_strange
from include.ingestion.files import UnreadableFileError

if TYPE_CHECKING:
    from upath import UPath


def records(path: UPath, feed: Feed) -> Iterator[tuple[int, str]]:
    """The number of each line that is not blank, and its text."""
    for number, line in enumerate(text.lines(path, feed), start=1):
        if line.strip(text.BLANK):
            yield number, line


def count(path: UPath, feed: Feed) -> tuple[int, list[str]]:
    """Every line but blank ones is a row, each an object.

    A key may be absent where its value is null, as many upstreams write it. One that no row has is gone; but for one
    that need not be there, of changes that all say nothing but what was changed: a night of deletes.
    """
    promised = {column.in_file: column.name for column in feed.columns}
    optional = set(promised) - {column.in_file for column in feed.columns if column.required}
    rows, never, new, number = 0, set(promised), set[str](), 0
    for lines in text.blocks(path, feed):
        there = [line for line in lines if line[:1] == "{" or line.strip(text.BLANK)]
        rows += len(there)
        found = _keys_together(there)
        each = [found] if found is not None else (_keys(path, line, n) for n, line in _numbered(lines, number))
        for keys in each:
            never -= keys
            new |= keys - set(promised)
            if too_strange(new, feed.wide):
                raise UnreadableFileError(
                    f"{path}: up to line {number + len(lines)} there is more than the contract has: "
                    f"{named([name for name in promised if name in never], sorted(new), promised)}"
                )
        number += len(lines)
    if feed.mode is Mode.UPSERT and never == optional and not new:
        never = set()
    if rows and never:
        # One that is gone may be there under a new name.
        said = named([name for name in promised if name in never], sorted(new), promised)
        raise UnreadableFileError(f"{path}: all rows together break the contract: {said}")
    ours = [column.name for column in feed.columns]
    return rows, [*ours, *(other(name, ours) for name in sorted(new))]


def _numbered(lines: Sequence[str], before: int) -> Iterator[tuple[int, str]]:
    """Those of ``lines`` that are not blank, with their numbers in the file."""
    return ((n, line) for n, line in enumerate(lines, start=before + 1) if line.strip(text.BLANK))


def _keys_together(lines: Sequence[str]) -> set[str] | None:
    """The keys of the objects in ``lines``, one in each; None where any line asks for a closer look.

    By Arrow's reader, on all cores, which refuses keys that are there twice. What it takes beside JSON is asked first.
    """
    import pyarrow
    import pyarrow.json

    block = "\n".join(lines)
    if not lines or "NaN" in block or "Inf" in block or ("\n" + block).count("\n{") != len(lines):
        return None
    try:
        found = pyarrow.json.read_json(io.BytesIO(block.encode()), pyarrow.json.ReadOptions(block_size=1 << 20))
    except (pyarrow.ArrowException, UnicodeEncodeError):
        return None
    return set(found.column_names) if found.num_rows == len(lines) else None


def _keys(path: UPath, line: str, number: int) -> set[str]:
    """The keys of the object in ``line``. Nothing may follow the object, and no key be there twice."""
    try:
        found = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        at = len(line[: error.pos].encode()) + 1
        raise UnreadableFileError(f"{path}: line {number} is not JSON from byte {at} on: {error.msg}") from None
    except RecursionError:
        raise UnreadableFileError(f"{path}: line {number} is too deep: lists or objects within each other") from None
    except ValueError as error:
        raise UnreadableFileError(f"{path}: line {number} is not JSON: {error}") from None
    if not isinstance(found, _Object):
        raise UnreadableFileError(f"{path}: line {number} is no JSON object")
    found = [key for key, _ in found]
    if len(set(found)) < len(found):
        raise UnreadableFileError(f"{path}: line {number} is not JSON: a key is there twice")
    if not all(map(_is_whole, found)):
        raise UnreadableFileError(f"{path}: line {number} has a key with half a character in it")
    return set(found)


def _is_whole(key: str) -> bool:
    """Whether ``key`` can be written: JSON may name half a character, as ``\\ud800``."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_row(line: str) -> bool:
    """Whether ``line`` could be one of a file of JSON lines, and would not have the whole file refused."""
    if any(one in line for one in "\0\r\n") or len(line.encode()) >= text.LONGEST_LINE:
        return False
    try:
        found = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, _Object) and len(dict(found)) == len(found)


class _Object(list[tuple[str, object]]):
    """An object, with every key as often as it is there. Within a nested value two are its row's fault."""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no value")


# Strict: Python's own would take NaN and the last one of two keys. Numbers stay text, nobody looks at them here.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=str, parse_float=str, parse_constant=_no_constant, strict=True
)
