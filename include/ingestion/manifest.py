"""A manifest: what an upstream says it has sent, file by file.

Either lines as ``sha256sum`` and ``md5sum`` write them, or one JSON object with ``files`` (or ``entries``, as Redshift
has it): an array of names, or of objects with ``name`` (or ``url``) and any of ``rows``, ``bytes``, ``sha256``,
``md5``. Names are as seen from the folder that the manifest is in; of a URL the last part counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.ingestion.files import UnreadableFileError, opened

if TYPE_CHECKING:
    from upath import UPath

MOST = 16 << 20  # bytes
_SUM = re.compile(r"\\?([0-9a-fA-F]{32}|[0-9a-fA-F]{64}) [ *](.+)")
# What is said of a file, and the names that it goes by.
_ROWS = ("rows", "record_count", "records")
_BYTES = ("bytes", "content_length", "size")


@dataclass(frozen=True)
class Promise:
    """What a manifest says of one file; None and empty where it says nothing."""

    rows: int | None = None
    bytes: int | None = None
    sha256: str = ""
    md5: str = ""


def read(path: UPath) -> dict[str, Promise]:
    """What the manifest at ``path`` promises, by the names of the files as seen from its folder.

    Raises FileNotFoundError, and UnreadableFileError where it is no manifest, or names what is not below its folder.
    """
    with opened(path) as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise UnreadableFileError(f"{path}: no manifest has more than {MOST >> 20} MiB")
    try:
        text = content.decode("utf-8-sig")
        listed = _of_json(text) if text.lstrip().startswith("{") else _of_sums(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error) if type(error) is ValueError else "not as a manifest is written"
        raise UnreadableFileError(
            f"{path}: {why}. A manifest has lines as sha256sum writes them, or an object with files"
        ) from None
    names = [name for name, _ in listed]
    if odd := [name for name in names if name.startswith("/") or {"", ".", ".."} & set(name.split("/"))]:
        raise UnreadableFileError(f"{path}: it names {odd[0]!r}, which is not below its folder")
    if len(set(names)) < len(names):
        raise UnreadableFileError(f"{path}: it names a file twice")
    return dict(listed)


def _of_sums(text: str) -> list[tuple[str, Promise]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if not (parts := _SUM.fullmatch(line)):
            raise ValueError(f"line {number} is no checksum and name")
        digest, name = parts[1].lower(), parts[2].removeprefix("./")
        found.append((name, Promise(md5=digest) if len(digest) == 32 else Promise(sha256=digest)))
    return found


def _of_json(text: str) -> list[tuple[str, Promise]]:
    body = json.loads(text)
    listed = body["files"] if "files" in body else body["entries"]
    if not isinstance(listed, list):
        raise ValueError("its files are no array")
    return [_of_entry(one) for one in listed]


def _of_entry(one: Any) -> tuple[str, Promise]:
    if isinstance(one, str):
        return one.removeprefix("./"), Promise()
    name = one["name"].removeprefix("./") if "name" in one else one["url"].rpartition("/")[2]
    said = one | (one.get("meta") or {})
    return name, Promise(
        _number(said, _ROWS), _number(said, _BYTES), _digest(said, "sha256", 64), _digest(said, "md5", 32)
    )


def _number(said: dict[str, Any], names: tuple[str, ...]) -> int | None:
    found = next((said[name] for name in names if said.get(name) is not None), None)
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
        raise ValueError(f"{names[0]} is no number")
    return found


def _digest(said: dict[str, Any], name: str, length: int) -> str:
    found = said.get(name) or ""
    if found and not re.fullmatch(f"[0-9a-fA-F]{{{length}}}", found):
        raise ValueError(f"{name} is none")
    return found.lower()
