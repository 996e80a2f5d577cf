"""A backup is made while nights go on, in this order, so that what it holds fits together.

Airflow's database first, then the versions of the lake's tables, all of one moment, then MLflow: what Airflow takes for
done is in the lake, and every version that a ledger names is in MLflow. A night that the lake has and Airflow has not
runs again, and changes nothing. What was copied before is not copied again; the manifest is written last.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from include.contracts.publishing import ToFiles
from include.core.ahead import ahead
from include.core.errors import NeedsAttentionError
from include.core.lease import lease
from include.core.scratch import scratch
from include.core.settings import NotSetUpError, Settings
from include.core.storage import File, files, is_local, put
from include.lake import commit, migrations, snapshot, usage
from include.local.backup import databases, manifest, sealing
from include.local.backup.manifest import Dump, Entry, Manifest
from include.local.backup.objects import ChangedError, Objects, Stored
from include.local.checks import existing
from include.local.installation import RECORD, read
from include.use_cases import use_cases

if TYPE_CHECKING:
    from upath import UPath

Progress = Callable[[str], None]

OWNER = "owner.json"
AT_ONCE = 4
TRIES = 3
PATIENCE = 1.0
"""Seconds. A backup takes longer than anybody wants to wait for the next one."""
EVERY = 5.0
"""Seconds between two lines that say how far long work has come."""
LAKE, MODELS, LANDING, VAR = "lake", "models", "landing", "var"
AUDIT = "_audit"
"""In the lake: lines of the audit log that wait to be written."""
MADE_AGAIN = (
    *(".lock", ".nocturne", "lock/*", "run/*", "scratch/*", "stream/*", "upgrade/*"),  # of this machine, of now
    *("cache/*", "dbt/*", "ivy/*", "jars/*", "report/*", "spark/*"),
    *("checkpoints/*", "searches/*"),  # of trainings under way
    *("airflow/bundles/*", "mlflow/basic_auth.ini"),
    "lake/_installation.json",  # whose the lake is: who restores it is another one
    *("sql/dbt/*", "sql/personal.json", "sql/spill/*", "sql/.users*"),
    "log/*",  # of services and tasks, which are forgotten anyway; those that are records are in a backup all the same
    "landing/*",  # where it is not asked for: the files are upstream's
    "cluster/*",  # what a cluster's containers are given, whose volumes are elsewhere
)
"""What an installation writes and a backup leaves out, as patterns of paths within ``var``."""


class NotOursError(NeedsAttentionError):
    """A place of backups belongs to another installation."""


class NotSettledError(NeedsAttentionError):
    """The lake is between two layouts."""


@dataclass(frozen=True)
class Request:
    """What is to be made.

    Attributes:
        to: where backups are.
        landing: whether the files of landing are in it.
        keep: how many backups stay.
        take: go on with a place that another installation has used.
    """

    to: UPath
    landing: bool = False
    keep: int = 7
    take: bool = False


@dataclass
class Copying:
    """What a try of a backup has copied so far."""

    objects: Objects
    known: dict[str, Entry]
    progress: Progress
    entries: list[Entry] = field(default_factory=list)

    def take(self, part: str, root: UPath, found: Sequence[File], *, may_go: bool = False) -> None:
        """Keep ``found``, files below ``root``. ``may_go``: one that is gone meanwhile is no error.

        Raises GoneError where one is gone, or is not as large as it was.
        """
        told, total, done = time.monotonic(), sum(file.bytes for file in found), 0
        jobs = (self._job(part, root, file, may_go) for file in found)
        for number, entry in enumerate(ahead(jobs, AT_ONCE), 1):
            if entry is None:
                continue
            self.entries.append(entry)
            done += entry.bytes
            if time.monotonic() - told > EVERY:
                told = time.monotonic()
                self.progress(
                    f"{part}: {number} of {len(found)} files, {done / 1e6:.0f} of {total / 1e6:.0f} MB looked at, "
                    f"{self.objects.copied / 1e6:.0f} MB copied"
                )

    def _job(self, part: str, root: UPath, file: File, may_go: bool) -> Callable[[], Entry | None]:
        def work() -> Entry | None:
            path = f"{part}/{file.path}"
            if self.is_known(path, file):
                return self.known[path]
            try:
                stored = self.objects.put(root / file.path)
            except (FileNotFoundError, ChangedError) as error:
                if may_go:
                    return None
                raise snapshot.GoneError(f"{root / file.path} was removed while it was backed up") from error
            if stored.bytes != file.bytes and not may_go:
                raise snapshot.GoneError(f"{root / file.path} changed while it was backed up")
            return Entry(path, *stored, file.stamp)

        return work

    def is_known(self, path: str, file: File) -> bool:
        """Whether an earlier backup has this very file, and its content is still there."""
        before = self.known.get(path)
        return (
            before is not None
            and (before.bytes, before.stamp) == (file.bytes, file.stamp)
            and self.objects.held.get(before.sha256) == file.bytes
        )

    def dump(self, wanted: Iterable[str], settings: Settings) -> Iterator[Dump]:
        """Keep the databases ``wanted``, those of them that are there."""
        for database in databases.databases(settings):
            if database.name in wanted and databases.is_there(database):
                with scratch("backup") as folder:
                    databases.dump(database, folder / "dump")
                    yield Dump(database.name, database.kind, *self.objects.put(folder / "dump"))


def back_up(settings: Settings, request: Request, progress: Progress) -> Manifest:
    """Make a backup, and let the oldest go. A kill leaves those that were there, and the next one goes on.

    Raises NotOursError, BusyError where another one is being made, DatabaseError, PassphraseError, GoneError.
    """
    os.umask(0o077)
    require_set_up(settings)
    if migrations.is_under_way(settings):
        raise NotSettledError(
            f"the lake {settings.lake} is being brought to another layout, or that was broken off: `make upgrade` "
            "goes on with it. The last backup stays as it is"
        )
    with lease("backup", patience=PATIENCE):
        installation = claim(settings, request)
        phrase = sealing.passphrase(settings.backup_passphrase_file)
        require_sealed(request.to, phrase, progress)
        if line := same_disk(settings, request.to):
            progress(line)
        made = _made(settings, request, installation, phrase, progress)
        if is_local(request.to):
            os.sync()  # contents before what names them
        manifest.write(request.to, made)
        let_go(request, progress)
        for path in unknown(settings, made):
            progress(f"warning: {settings.var / path} is not in the backup, and nobody said that it is made again")
    return made


def require_set_up(settings: Settings) -> None:
    """Raise NotSetUpError where there is no installation."""
    if not (settings.var / RECORD).exists():
        raise NotSetUpError(f"{settings.var} is no installation: `make setup` makes one, NOCTURNE_VAR names another")


def _made(settings: Settings, request: Request, installation: str, phrase: bytes, progress: Progress) -> Manifest:
    objects = Objects(request.to)
    known = {entry.path: entry for one in manifest.read_all(request.to) for entry in one.files}
    for left in reversed(range(TRIES)):
        try:
            return _tried(settings, request, Copying(objects, known, progress), installation, phrase)
        except snapshot.GoneError as error:
            if not left:
                raise
            progress(f"{error}: the versions are noted again")
    raise AssertionError("unreachable")


def _tried(settings: Settings, request: Request, copying: Copying, installation: str, phrase: bytes) -> Manifest:
    progress, begun = copying.progress, datetime.now(UTC)
    # Before Airflow's database, for those that are published meanwhile, and after it, for those that it knows of.
    copying.take(LAKE, settings.lake, snapshot.candidates(), may_go=True)
    dumps = list(copying.dump(("airflow",), settings))
    copying.take(LAKE, settings.lake, snapshot.candidates(), may_go=True)
    # Before the log that it is of: one that names a line that the lake has not would tell of a forged log.
    copying.take(VAR, settings.place(str(settings.var)), _there(settings, "audit/anchor.json"), may_go=True)
    tables = snapshot.versions()
    at = datetime.now(UTC)
    for number, (table, of_table) in enumerate(tables.items(), 1):
        taken = snapshot.of(table, of_table)
        before = copying.objects.copied
        copying.take(LAKE, settings.lake, taken.files)
        if taken.hint:
            stored = copying.objects.put_bytes(taken.hint)
            copying.entries.append(Entry(f"{LAKE}/{taken.folder}/{snapshot.LOG}/{snapshot.HINT}", *stored))
        if copying.objects.copied > before:
            progress(f"{number} of {len(tables)} tables: {table} version {of_table}, {_size(copying, before)} new")
    dumps += copying.dump(("mlflow", "mlflow-logins"), settings)
    before = copying.objects.copied
    for part, root, found in elsewhere(settings, request.landing):
        copying.take(part, root, found)
    progress(f"models and the rest: {_size(copying, before)} new")
    copying.take(VAR, settings.place(str(settings.var)), growing(settings), may_go=True)
    waiting = [one._replace(path=f"{AUDIT}/{one.path}") for one in files(settings.lake / AUDIT)]
    copying.take(LAKE, settings.lake, waiting, may_go=True)
    secrets, salt = sealing.seal(secrets_of(settings), phrase)
    return Manifest(
        id=_new_id(request.to, begun),
        at=at.isoformat(timespec="seconds"),
        installation=installation,
        var=str(settings.var),
        host=socket.gethostname(),
        layout=migrations.layout(settings),
        packages={name: version(name) for name in ("apache-airflow", "mlflow")},
        tables=tables,
        databases=tuple(dumps),
        secrets=copying.objects.put_bytes(secrets),
        salt=salt,
        # a candidate was looked for twice
        files=tuple({entry.path: entry for entry in copying.entries}.values()),
    )


def _size(copying: Copying, before: int) -> str:
    return f"{(copying.objects.copied - before) / 1e6:.1f} MB"


def elsewhere(settings: Settings, landing: bool) -> Iterator[tuple[str, UPath, list[File]]]:
    """What is backed up beside the lake and does not change under its name: the part, its place, and its files."""
    root = model_store(settings)
    yield MODELS, root, list(files(root))
    layout = [one for one in (migrations.RECORD,) if (settings.lake / one).exists()]
    yield LAKE, settings.lake, [_file(settings.lake, one) for one in layout]
    var = settings.place(str(settings.var))
    published = [target.path for case in use_cases().values() for target in case.publish if isinstance(target, ToFiles)]
    for path in (one for one in published if "://" not in one and not Path(one).is_absolute()):
        yield VAR, var, [one._replace(path=f"{path}/{one.path}") for one in files(var / path)]
    yield VAR, var, [_file(var, RECORD)]
    if landing:
        yield LANDING, settings.landing, list(files(settings.landing))


def growing(settings: Settings) -> list[File]:
    """Files of which nothing else has the history, and which may change meanwhile."""
    var = settings.place(str(settings.var))
    named = [str(settings.alerts.relative_to(settings.var)), "sql/users.json"]
    named += [f"log/{path.name}" for path in sorted(settings.log.glob("sql.jsonl*"))]
    folders = [f"{folder}/{file.path}" for folder in ("openlineage", "audit/waiting") for file in files(var / folder)]
    return _there(settings, *named, *folders)


def _there(settings: Settings, *named: str) -> list[File]:
    """Those files of ``var`` that are there."""
    var = settings.place(str(settings.var))
    return [_file(var, one) for one in named if (var / one).exists()]


def unknown(settings: Settings, made: Manifest) -> list[str]:
    """Files of ``var`` that are neither in a backup nor known to be made again, by their paths within it."""
    var, held = settings.place(str(settings.var)), {entry.path for entry in made.files}
    dumped = {str(one.file) for one in databases.databases(settings) if one.kind == databases.SQLITE}
    beside = {f"{file}{name}" for file in dumped for name in databases.BESIDE}
    parts = {LAKE: settings.lake, MODELS: model_store(settings), LANDING: settings.landing, VAR: var}

    def is_known(path: str) -> bool:
        file = f"{settings.var}/{path}"
        inside = {part: file.removeprefix(f"{root}/") for part, root in parts.items() if file.startswith(f"{root}/")}
        # a table is in it as a version, which need not have every file of its folder
        of_table = LAKE in inside and not inside[LAKE].startswith("_")
        return (
            of_table
            or file in dumped | beside
            or file.startswith(f"{settings.secrets}/")
            or any(f"{part}/{within}" in held for part, within in inside.items())
            or any(fnmatchcase(path, pattern) for pattern in MADE_AGAIN)
        )

    return [file.path for file in files(var) if not is_known(file.path)]


def _file(root: UPath, path: str) -> File:
    (found,) = (one for one in files((root / path).parent) if one.path == Path(path).name)
    return found._replace(path=path)


def model_store(settings: Settings) -> UPath:
    """Where MLflow keeps the files of models."""
    return settings.place(settings.model_place)


def secrets_of(settings: Settings) -> dict[str, bytes]:
    """The secrets that set-up has made, and the first passwords of accounts, by their paths within the folder."""
    there = (path for path in sorted(settings.secrets.rglob("*")) if path.is_file())
    return {str(path.relative_to(settings.secrets)): path.read_bytes() for path in there}


def claim(settings: Settings, request: Request) -> str:
    """Write down whose backups a place has, and return the id of this installation.

    Raises NotOursError where they are another one's: each would let the other's contents go.
    """
    own = str(read(settings.var / RECORD).get("id", ""))
    wanted = {"id": own, "var": str(settings.var), "host": socket.gethostname()}
    path = request.to / OWNER
    owner = read(path)
    if owner == wanted:
        return own
    if owner and not request.take:
        raise NotOursError(
            f"{request.to} has the backups of the installation at {owner['var']} on {owner['host']}: name another "
            "place, or, where that one is no more, go on with its backups by take=1"
        )
    if not owner and any(True for _ in files(request.to)):
        raise NotOursError(f"{request.to} has files that are no backups: name a folder that is empty or not there yet")
    request.to.mkdir(mode=0o700, parents=True, exist_ok=True)
    put(path, f'{{"id": "{own}", "var": "{wanted["var"]}", "host": "{wanted["host"]}"}}')
    return own


def require_sealed(to: UPath, phrase: bytes, progress: Progress) -> None:
    """Say where secrets are not encrypted. Raises PassphraseError where they would go to S3 as they are."""
    if phrase:
        return
    how = "name a file with a passphrase by NOCTURNE_BACKUP_PASSPHRASE_FILE, which is kept elsewhere"
    if not is_local(to):
        raise sealing.PassphraseError(f"secrets do not go to {to} as they are: {how}")
    progress(f"warning: the secrets in this backup are not encrypted, only of mode 0600: {how}")


def same_disk(settings: Settings, to: UPath) -> str | None:
    """The line for backups that would be lost with what they are of, else None."""
    here = existing(Path(str(to))) if is_local(to) else None
    if here is None or here.stat().st_dev != settings.var.stat().st_dev:
        return None
    return f"warning: {to} is on the same disk as {settings.var}, and is lost with it: to=… names another place"


def let_go(request: Request, progress: Progress) -> None:
    """Remove the oldest backups, and the contents that none of the others needs."""
    there = manifest.ids(request.to)
    gone = there[: -request.keep]
    # First all that stay: where one cannot be read, nobody knows what it needs.
    kept = manifest.read_all(request.to, but=gone)
    for one in gone:
        (request.to / manifest.FOLDER / f"{one}.json").unlink()
    needed = {name for one in kept for name in one.contents}
    size = Objects(request.to).sweep(needed)
    if gone or size:
        progress(f"{len(gone)} backups are gone, {size / 1e6:.1f} MB with them; {len(kept)} stay")


def plan(settings: Settings, request: Request) -> list[str]:
    """What a backup would do, a line each. Nothing is written."""
    require_set_up(settings)
    if not is_local(request.to) and not settings.backup_passphrase_file:
        require_sealed(request.to, b"", lambda line: None)
    sealing.passphrase(settings.backup_passphrase_file)
    known = {entry.path: entry for one in manifest.read_all(request.to) for entry in one.files}
    copying = Copying(Objects(request.to), known, lambda line: None)
    tables = commit.versions_of(usage.tables())
    parts = [(LAKE, [file for table, of_table in tables.items() for file in snapshot.of(table, of_table).files])]
    parts += [(part, found) for part, _, found in elsewhere(settings, request.landing)]
    lines = [f"would back up to {request.to}:"]
    for name in dict.fromkeys(part for part, _ in parts):
        found = [file for part, some in parts if part == name for file in some]
        new = [file for file in found if not copying.is_known(f"{name}/{file.path}", file)]
        what = f"{len(tables)} tables, " if name == LAKE else ""
        lines.append(
            f"  {name}: {what}{len(found)} files, {sum(file.bytes for file in found) / 1e6:.1f} MB; {len(new)} files, "
            f"{sum(file.bytes for file in new) / 1e6:.1f} MB, are new or changed"
        )
    there = [one for one in databases.databases(settings) if databases.is_there(one)]
    lines.append(f"  databases: {', '.join(f'{one.name} ({one.kind})' for one in there)}")
    sealed = "encrypted" if settings.backup_passphrase_file else "not encrypted, of mode 0600"
    lines.append(f"  secrets: {len(secrets_of(settings))}, {sealed}")
    backups = manifest.ids(request.to)
    if gone := [*backups, "this"][: -request.keep]:
        lines.append(f"  and then remove the backups {', '.join(gone)}")
    return lines


def _new_id(to: UPath, begun: datetime) -> str:
    """A name by the time, one that no other backup has and that comes after all of theirs."""
    there, wanted = manifest.ids(to), f"{begun:%Y%m%dT%H%M%S}"
    last = there[-1] if there else ""
    return wanted if wanted > last else f"{last}a"


def checked(place: UPath, made: Manifest, progress: Progress) -> list[str]:
    """What is wrong with the contents of a backup, by reading all of them."""
    objects = Objects(place)
    wanted = [Stored(*one) for one in made.contents.items()]
    told, done, problems = time.monotonic(), 0, list[str]()
    jobs = ((lambda one=one: objects.problem(one)) for one in wanted)
    for one, problem in zip(wanted, ahead(jobs, AT_ONCE), strict=True):
        problems += [problem] if problem else []
        done += one.bytes
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            progress(f"{done / 1e6:.0f} of {sum(each.bytes for each in wanted) / 1e6:.0f} MB are checked")
    return problems
