"""What a backup is made of: a JSON file, written when all of it is there. Without one there is no backup."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from include.core.errors import BadRequestError, NeedsAttentionError
from include.core.storage import put
from include.local.backup.objects import Stored

if TYPE_CHECKING:
    from upath import UPath

FORMAT = 1
FOLDER = "backups"


class BrokenBackupError(NeedsAttentionError):
    """A backup is not as it was written. Nothing is restored from it."""


class Entry(NamedTuple):
    """A file of a backup. The first part of ``path`` says where it belongs: lake, models, landing or var.

    ``stamp`` is what its folder said of its last change when it was copied.
    """

    path: str
    sha256: str
    bytes: int
    stamp: str = ""

    @property
    def content(self) -> Stored:
        return Stored(self.sha256, self.bytes)


@dataclass(frozen=True)
class Dump:
    """A database: its name, ``sqlite`` or ``postgresql``, and its dump."""

    name: str
    kind: str
    sha256: str
    bytes: int

    @property
    def content(self) -> Stored:
        return Stored(self.sha256, self.bytes)


@dataclass(frozen=True)
class Manifest:
    """A backup.

    Attributes:
        id: the moment at which it was begun, UTC, as ``20261127T170312``.
        at: the moment at which the versions of the lake were noted, ISO 8601: what was published later is not in it.
        installation, var, host: whose it is.
        layout: of the lake.
        packages: the versions of those whose databases it has.
        tables: the version of each, all of one moment.
        secrets: the content with them; ``salt`` is empty where they are not encrypted.
    """

    id: str
    at: str
    installation: str
    var: str
    host: str
    layout: int
    packages: dict[str, str]
    tables: dict[str, int]
    databases: tuple[Dump, ...]
    secrets: Stored
    salt: str
    files: tuple[Entry, ...]
    format: int = FORMAT

    @property
    def contents(self) -> dict[str, int]:
        """The bytes of each content that it needs, by its hash."""
        return dict([self.secrets, *(one.content for one in self.databases), *(one.content for one in self.files)])

    @property
    def bytes(self) -> int:
        """Of all its files together, as they will be."""
        return sum(one.bytes for one in self.files) + sum(one.bytes for one in self.databases)

    def of(self, part: str) -> list[Entry]:
        """The files of ``lake``, ``models``, ``landing`` or ``var``."""
        return [one for one in self.files if one.path.startswith(f"{part}/")]


def write(place: UPath, manifest: Manifest) -> None:
    """Write it, in one step."""
    body = json.dumps(asdict(manifest), separators=(",", ":"))
    folder = place / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    put(folder / f"{manifest.id}.json", json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "is": body}))


def ids(place: UPath) -> list[str]:
    """The backups of a place, the oldest first."""
    folder = place / FOLDER
    return sorted(path.stem for path in folder.glob("*.json")) if folder.exists() else []


def read(place: UPath, wanted: str = "") -> Manifest:
    """The backup ``wanted``, or the newest. Raises BadRequestError where there is none, BrokenBackupError."""
    there = ids(place)
    if not there:
        raise BadRequestError(f"there is no backup at {place}: `make backup to={place}` makes one there")
    if wanted and wanted not in there:
        raise BadRequestError(f"there is no backup {wanted} at {place}, which has {', '.join(there[-5:])}")
    path = place / FOLDER / f"{wanted or there[-1]}.json"
    try:
        told = json.loads(path.read_text())
        body = told["is"]
        whole = hashlib.sha256(body.encode()).hexdigest() == told["sha256"]
        made: dict[str, Any] = json.loads(body)
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        others = [one for one in there if one != path.stem]
        hint = f"backup={others[-1]} is another one" if others else "there is no other one"
        raise BrokenBackupError(f"{path} is damaged, and nothing is read from it: {hint}")
    if made["format"] > FORMAT:
        raise BrokenBackupError(f"{path} was written by a newer release: check that one out, nothing was changed")
    return Manifest(
        **made
        | {
            "databases": tuple(Dump(**one) for one in made["databases"]),
            "secrets": Stored(*made["secrets"]),
            "files": tuple(_inside(Entry(*one), path) for one in made["files"]),
        }
    )


def read_all(place: UPath, but: Iterable[str] = ()) -> list[Manifest]:
    """Every backup of a place, the oldest first, without those in ``but``."""
    return [read(place, one) for one in ids(place) if one not in set(but)]


def _inside(entry: Entry, manifest: UPath) -> Entry:
    """``entry``, which must not lead out of the folder that it belongs to."""
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts:
        raise BrokenBackupError(f"{manifest} names {entry.path}, which leads out of the installation")
    return entry
