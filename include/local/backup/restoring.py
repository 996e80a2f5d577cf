"""A backup is put into an empty installation: at the same place, at another one, or on another machine.

All of it is read and checked first. From the first write on ``var/restoring.json`` says which backup it is, so that
nothing starts on half of it, and the same command goes on after a kill. What is at another place than before is found
so at the first start (``include/local/installation.py``).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from include.core.ahead import ahead
from include.core.errors import NeedsAttentionError
from include.core.scratch import scratch
from include.core.settings import Settings
from include.core.storage import files, is_local
from include.lake.migrations import LAYOUT
from include.local.backup import databases, making, sealing
from include.local.backup.begun import RESTORING
from include.local.backup.making import AT_ONCE, EVERY, Progress
from include.local.backup.manifest import BrokenBackupError, Entry, Manifest
from include.local.backup.objects import ChangedError, Objects, digest
from include.local.checks import check_disk
from include.local.clean import LOCK, MARKER
from include.local.credentials import private_folder, write_private
from include.local.installation import read
from include.local.setup import exclusive

if TYPE_CHECKING:
    from upath import UPath

# What an empty installation may have: what set-up and this command itself make, and nothing is restored into.
HARMLESS = frozenset({LOCK, MARKER, "cache", "ivy", "jars", "lock", "scratch"})


class NotEmptyError(NeedsAttentionError):
    """Something is in the way of a restore. Nothing was changed."""


def places(settings: Settings) -> dict[str, UPath]:
    """Where each part of a backup belongs."""
    return {
        making.LAKE: settings.lake,
        making.MODELS: making.model_store(settings),
        making.LANDING: settings.landing,
        making.VAR: settings.place(str(settings.var)),
    }


def plan(settings: Settings, place: UPath, made: Manifest) -> list[str]:
    """What a restore would do, a line each. Raises NotEmptyError, BrokenBackupError where it would be refused."""
    require_known(made)
    require_empty(settings, place, made)
    lines = [f"would restore the backup {made.id} of {made.var} on {made.host}, as all was at {made.at}:"]
    for part, root in places(settings).items():
        if found := made.of(part):
            what = f"{len(made.tables)} tables, " if part == making.LAKE else ""
            lines.append(f"  {root}: {what}{len(found)} files, {sum(one.bytes for one in found) / 1e6:.1f} MB")
    at = {one.name: one for one in databases.databases(settings)}
    lines += [f"  {at[one.name].shown}: the database of {one.name}" for one in made.databases]
    lines.append(f"  {settings.secrets}: the secrets, {'encrypted' if made.salt else 'which are not encrypted'}")
    if not made.of(making.LANDING):
        lines.append("  nothing in landing: it is not in this backup")
    return lines


def require_known(made: Manifest) -> None:
    """Raise BrokenBackupError where a newer release has made it."""
    if made.layout > LAYOUT:
        raise BrokenBackupError(
            f"the lake of the backup {made.id} has layout {made.layout}, and this release knows them up to {LAYOUT}: "
            "check out the one that made it; nothing was changed"
        )


def is_resumed(settings: Settings, place: UPath, made: Manifest) -> bool:
    """Whether an earlier try of this very restore was broken off."""
    return read(settings.var / RESTORING) == _record(place, made)


def _record(place: UPath, made: Manifest) -> dict[str, str]:
    return {"from": str(place), "backup": made.id}


def require_empty(settings: Settings, place: UPath, made: Manifest) -> None:
    """Raise NotEmptyError where anything is in the way, unless an earlier try of this restore has put it there."""
    if is_resumed(settings, place, made):
        return
    found = list(in_the_way(settings, made))
    if found:
        raise NotEmptyError(
            f"a restore needs an empty installation, and there is {', '.join(found[:4])}: name another folder by "
            "NOCTURNE_VAR, or `make clean CONFIRM=yes` first. Nothing was changed"
        )


def in_the_way(settings: Settings, made: Manifest) -> Iterator[str]:
    """What a restore would mix with, or write over."""
    if settings.var.exists():
        yield from (str(path) for path in sorted(settings.var.iterdir()) if path.name not in HARMLESS and _full(path))
    for part, root in places(settings).items():
        outside = not (is_local(root) and Path(str(root)).is_relative_to(settings.var))
        if outside and made.of(part) and (first := next(files(root), None)):
            yield f"{root}/{first.path}"
    for database, kind in _wanted(settings, made):
        if database.kind != kind:
            yield (
                f"a setting by which the database of {database.name} is {database.kind}, where the backup has {kind}"
            )
        elif database.kind == databases.POSTGRESQL and databases.is_there(database):
            yield f"a database of {database.name} with tables in it ({database.shown})"


def _wanted(settings: Settings, made: Manifest) -> Iterator[tuple[databases.Database, str]]:
    at = {one.name: one for one in databases.databases(settings)}
    return ((at[one.name], one.kind) for one in made.databases)


def _full(path: Path) -> bool:
    return not path.is_dir() or any(one.is_file() for one in path.rglob("*"))


def restore(settings: Settings, place: UPath, made: Manifest, progress: Progress) -> None:
    """Put a backup into an empty installation, after all of it was read and checked. A second try goes on.

    Raises NotEmptyError, BrokenBackupError, PassphraseError, DatabaseError, InstallationError where the disk is too
    small; until then nothing was changed.
    """
    require_known(made)
    require_empty(settings, place, made)
    objects = Objects(place)
    progress(f"checking {len(made.contents)} contents, {sum(made.contents.values()) / 1e6:.1f} MB")
    if problems := making.checked(place, made, progress):
        raise BrokenBackupError(
            f"the backup {made.id} at {place} is damaged, and nothing was changed: {'; '.join(problems[:3])}"
        )
    phrase = sealing.passphrase(settings.backup_passphrase_file)
    secrets = sealing.unseal(objects.get_bytes(made.secrets), made.salt, phrase)
    secrets = {within(name): content for name, content in secrets.items()}
    check_disk(settings.var, made.bytes, "the restored installation")
    os.umask(0o077)
    settings.var.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(settings), _told(place, made):
        resumed = is_resumed(settings, place, made)
        write_private(settings.var / RESTORING, json.dumps(_record(place, made)))
        private_folder(settings.secrets)
        for name, content in secrets.items():
            file = settings.secrets / name
            private_folder(file.parent)
            write_private(file, content.decode())
        for part, root in places(settings).items():
            _put_back(objects, root, part, made.of(part), resumed, progress)
        at = {one.name: one for one in databases.databases(settings)}
        for dump in made.databases:
            database = at[dump.name]
            if resumed and databases.is_there(database):
                continue  # each is there whole or not at all
            progress(f"the database of {dump.name}")
            with scratch("restore") as folder:
                objects.fetch(dump.content, folder / "dump")
                databases.restore(database, folder / "dump")
        (settings.var / RESTORING).unlink()


def within(name: str) -> str:
    """The path of a secret. Raises BrokenBackupError where it would lead out of the folder of secrets."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BrokenBackupError(f"a secret of the backup is called {name!r}, which is outside of the secrets' folder")
    return str(path)


@contextmanager
def _told(place: UPath, made: Manifest) -> Iterator[None]:
    """Say what it means where a content is gone or another one since it was checked."""
    try:
        yield
    except (ChangedError, FileNotFoundError) as error:
        raise BrokenBackupError(
            f"the backup {made.id} at {place} was removed or changed while it was restored ({error}): `make clean "
            "CONFIRM=yes`, and restore a newer one"
        ) from error


def _put_back(objects: Objects, root: UPath, part: str, wanted: list[Entry], resumed: bool, progress: Progress) -> None:
    """Write the files of one part. Of an earlier try those stay that are whole."""
    told, total, done = time.monotonic(), sum(one.bytes for one in wanted), 0

    def job(entry: Entry) -> Callable[[], int]:
        target = root / entry.path.removeprefix(f"{part}/")

        def work() -> int:
            if not (resumed and target.exists() and _is(target, entry)):
                objects.fetch(entry.content, target)
            return entry.bytes

        return work

    for number, size in enumerate(ahead(map(job, wanted), AT_ONCE), 1):
        done += size
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            progress(f"{part}: {number} of {len(wanted)} files, {done / 1e6:.0f} of {total / 1e6:.0f} MB")
    if wanted:
        progress(f"{part}: {len(wanted)} files, {total / 1e6:.1f} MB, at {root}")


def _is(path: UPath, entry: Entry) -> bool:
    with path.open("rb") as file:
        return digest(file) == entry.content
