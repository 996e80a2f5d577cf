"""A consistent set of versions: which version each table of the lake has at one moment, and the files that make it.

While the lake's lease is held nobody publishes, and what a kill left half-done is finished first: so the versions that
are noted then belong together, as ``make verify`` looks at them. Versions do not change, so that their files can be
copied afterwards, while nights go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.core.errors import NocturneError
from include.core.settings import settings
from include.core.storage import File, files
from include.lake import commit, usage

if TYPE_CHECKING:
    from upath import UPath

LOG, HINT = "_delta_log", "_last_checkpoint"
_ENTRY = re.compile(r"(\d{20})\.(json$|checkpoint\b.*parquet$|crc$|[0-9a-f-]+\.compacted\.json$)")


class GoneError(NocturneError):
    """A file was removed before it was copied: of a version that maintenance has taken, or whose log was cut."""


@dataclass(frozen=True)
class Snapshot:
    """A version of a table: its files within the lake, and Delta's hint at its newest checkpoint, where there is one.

    Of the files of older versions those are in it that are still there: a model may have been trained on them.
    """

    table: str
    version: int
    files: tuple[File, ...]
    hint: bytes | None = None

    @property
    def folder(self) -> str:
        return self.table.replace(".", "/")


def versions() -> dict[str, int]:
    """The version of every table, such that they belong together: nobody publishes meanwhile."""
    with commit.committing():
        return commit.versions_of(usage.tables())


def of(table: str, version: int) -> Snapshot:
    """The files of ``version`` of a table, by one listing of its folder. Raises GoneError where one is not there."""
    folder = usage.path_of(table)
    wanted = set(usage.files_of(usage.opened(table, version))["path"])
    found = [file for file in files(folder) if _belongs(file.path, version)]
    if lost := sorted(wanted - {file.path for file in found}):
        raise GoneError(f"{table}: {lost[0]} of version {version} is not there any more")
    if not log_reaches([file.path for file in found], version):
        raise GoneError(f"{table}: the log of version {version} was cut")
    within = table.replace(".", "/")
    return Snapshot(
        table,
        version,
        tuple(file._replace(path=f"{within}/{file.path}") for file in found),
        _hint(folder / LOG / HINT, version),
    )


def log_reaches(paths: Iterable[str], version: int) -> bool:
    """Whether the log among ``paths``, within a table's folder, tells ``version``: from a checkpoint on, or from 0."""
    known = [found for path in paths if path.startswith(f"{LOG}/") and (found := _ENTRY.match(path[len(LOG) + 1 :]))]
    written = {int(one[1]) for one in known if one[2] == "json"}
    checkpoint = max((int(one[1]) for one in known if one[2].startswith("checkpoint")), default=-1)
    return written.issuperset(range(checkpoint + 1, version + 1))


def candidates() -> list[File]:
    """The files of what stages have written and not published yet, within the lake.

    A night that is under way goes on from them, where the task that made them is through.
    """
    folder = settings().lake / "candidate"
    return [one._replace(path=f"candidate/{one.path}") for one in files(folder)]


def _belongs(path: str, version: int) -> bool:
    """Whether a file of a table's folder is of ``version`` or of one before it.

    Not a stream's checkpoint, which would be of another moment: without it events are read once more, and dropped.
    """
    first, *rest = path.split("/")
    if first == LOG:
        found = _ENTRY.match(rest[-1])
        return rest[0] == "_sidecars" or (found is not None and int(found[1]) <= version)
    return not any(part.startswith(("_", ".")) for part in (first, *rest))


def _hint(path: UPath, version: int) -> bytes | None:
    """Delta's hint, unless it names a checkpoint of a later version: readers would look for that one."""
    try:
        text = path.read_bytes()
        return text if int(json.loads(text)["version"]) <= version else None
    except (FileNotFoundError, ValueError, KeyError):
        return None
