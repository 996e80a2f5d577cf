"""Folders of this machine and prefixes of S3: what paths themselves cannot do alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

if TYPE_CHECKING:
    from upath import UPath


class File(NamedTuple):
    """A file of a folder: its path within it, its bytes, and what changes when its content does.

    ``stamp`` is the time of its last change on this machine, and the ETag in S3.
    """

    path: str
    bytes: int
    stamp: str


def files(folder: UPath) -> Iterator[File]:
    """Every file below ``folder``, by one listing; none where there is no such folder."""
    root = folder.path.rstrip("/")
    for name, known in sorted(folder.fs.find(root, detail=True).items()):
        if name != root and known["type"] == "file":
            yield File(name[len(root) + 1 :], known["size"], _stamp(known))


def stamp(path: UPath) -> str:
    """The ``stamp`` of one file. Raises FileNotFoundError."""
    return _stamp(path.fs.info(path.path))


def _stamp(known: Mapping[str, Any]) -> str:
    return str(known.get("ETag") or known["mtime"])


def is_local(path: UPath) -> bool:
    """Whether ``path`` is of this machine."""
    return path.protocol in ("", "file")


def for_spark(path: UPath) -> str:
    """``path`` as Spark calls it: one of S3 by the name of Hadoop's client."""
    return str(path).replace("s3://", "s3a://", 1)


def remove(path: UPath) -> None:
    """Remove a file, or a folder with all that is in it. One that is not there is no error."""
    if path.exists():
        path.fs.rm(path.path, recursive=True)


def put(path: UPath, text: str) -> None:
    """Write a file in one step: whoever reads at that moment has the one before, or this one."""
    if not is_local(path):  # a bucket shows an object when it is whole
        path.write_text(text)
        return
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    partial.write_text(text)
    partial.replace(path)
