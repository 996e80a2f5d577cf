"""Contents by their hash: a file that is there already is not copied again, whatever its name.

No library that keeps backups is at hand in Python and knows both folders and S3: restic and kopia are programs of their
own, and borg knows no buckets.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, NamedTuple
from uuid import uuid4

from include.core.scratch import scratch
from include.core.storage import files, is_local

if TYPE_CHECKING:
    from upath import UPath

BLOCK = 2**20
_NAME = re.compile(r"[0-9a-f]{64}")


class Stored(NamedTuple):
    """A content: the sha256 of its bytes, and how many they are."""

    sha256: str
    bytes: int


class Objects:
    """The contents of a place of backups: ``objects/<two digits>/<sha256>``. One writer at a time.

    Attributes:
        held: the bytes of each content that is there, by its hash, as it was when this was made and since.
        copied: bytes that were written since.
    """

    def __init__(self, root: UPath) -> None:
        self.root = root / "objects"
        self.copied = 0
        self.held: dict[str, int] = {}
        self._lock = Lock()
        self._strange: list[str] = []
        for file in files(self.root):
            name = file.path.rsplit("/", 1)[-1]
            if _NAME.fullmatch(name):
                self.held[name] = file.bytes
            else:
                self._strange.append(file.path)

    def path(self, sha256: str) -> UPath:
        return self.root / sha256[:2] / sha256

    def put(self, source: UPath | Path) -> Stored:
        """Keep the content of a file, and say which that is. Raises FileNotFoundError, OSError."""
        with on_this_machine(source) as local:
            with local.open("rb") as file:
                found = digest(file)
            if self.held.get(found.sha256) == found.bytes:
                return found
            copy(local, self.path(found.sha256), found)
        with self._lock:
            self.copied += 0 if found.sha256 in self.held else found.bytes
            self.held[found.sha256] = found.bytes
        return found

    def put_bytes(self, content: bytes) -> Stored:
        """The same of a few bytes."""
        with scratch("backup") as folder:
            (folder / "content").write_bytes(content)
            return self.put(folder / "content")

    def get_bytes(self, wanted: Stored) -> bytes:
        """A content that is small. Raises ChangedError, FileNotFoundError."""
        content = bytes(self.path(wanted.sha256).read_bytes())
        if (hashlib.sha256(content).hexdigest(), len(content)) != wanted:
            raise ChangedError(f"{self.path(wanted.sha256)} is not what was backed up")
        return content

    def fetch(self, wanted: Stored, target: UPath | Path) -> None:
        """Write a content to ``target``, in one step. Raises ChangedError, FileNotFoundError."""
        with on_this_machine(self.path(wanted.sha256)) as local:
            copy(local, target, wanted)

    def problem(self, wanted: Stored) -> str | None:
        """What is wrong with a content, by reading all of it; None where nothing is."""
        path = self.path(wanted.sha256)
        size = self.held.get(wanted.sha256)
        if size is None:
            return f"{path} is lost"
        if size != wanted.bytes:
            return f"{path} has {size} bytes, {wanted.bytes} were backed up"
        with path.open("rb") as file:
            return None if digest(file) == wanted else f"{path} is damaged: its content is another one"

    def sweep(self, needed: set[str]) -> int:
        """Remove the contents that are not ``needed``, and what killed copies have left. Returns the bytes."""
        gone = 0
        for name in self.held.keys() - needed:
            self.path(name).unlink(missing_ok=True)
            gone += self.held.pop(name)
        for path in self._strange:
            (self.root / path).unlink(missing_ok=True)
        self._strange = []
        return gone


class ChangedError(OSError):
    """A content is not the one that was wanted."""


def digest(file: IO[bytes]) -> Stored:
    """The hash and the size of what is left of ``file``."""
    found, size = hashlib.sha256(), 0
    while block := file.read(BLOCK):
        found.update(block)
        size += len(block)
    return Stored(found.hexdigest(), size)


def copy(source: Path, target: UPath | Path, wanted: Stored) -> None:
    """Copy a file of this machine, in one step: a kill leaves nothing under ``target``'s name, or all of it.

    Raises ChangedError where the content is not ``wanted``.
    """
    if not isinstance(target, Path) and not is_local(target):
        with source.open("rb") as file:
            _require(digest(file), wanted, source)
        # Not by an open file: where that breaks off, what has come so far would be put under the name.
        target.fs.put_file(str(source), target.path)
        return
    target = Path(str(target))
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid4().hex[:8]}.partial")
    try:
        found, size = hashlib.sha256(), 0
        opened = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with source.open("rb") as here, os.fdopen(opened, "wb") as there:
            while block := here.read(BLOCK):
                found.update(block)
                size += len(block)
                there.write(block)
        _require(Stored(found.hexdigest(), size), wanted, source)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _require(found: Stored, wanted: Stored, source: Path) -> None:
    if found != wanted:
        raise ChangedError(f"{source} is not what was backed up, or changed while it was copied")


@contextmanager
def on_this_machine(path: UPath | Path) -> Iterator[Path]:
    """A file as one of this machine: itself, or a copy of an object of S3."""
    if isinstance(path, Path) or is_local(path):
        yield Path(str(path))
        return
    with scratch("backup") as folder:
        with path.open("rb") as there, (folder / "content").open("wb") as here:
            shutil.copyfileobj(there, here, BLOCK)
        yield folder / "content"
