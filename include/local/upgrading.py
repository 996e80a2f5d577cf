"""An upgrade that fails leaves databases and lake as they were, so that the release before starts again.

Databases that are SQLite are kept before they are migrated, and put back where what comes after them fails; the lake
puts itself back (``include/lake/migrations.py``). PostgreSQL undoes a migration that fails by itself: what went well
before it stays, and a backup is the way back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from include.core.settings import Settings
from include.lake.migrations import LAYOUT, layout
from include.local.backup import databases
from include.local.checks import InstallationError
from include.local.credentials import private_folder, write_private
from include.local.installation import read
from include.local.processes import SUPERVISOR, of_service

Progress = Callable[[str], None]

KEPT = "kept.json"
PACKAGES = {"airflow": "apache-airflow", "mlflow": "mlflow"}


@contextmanager
def upgrading(settings: Settings, progress: Progress) -> Iterator[None]:
    """Around what brings an installation to this release. A kill leaves what was kept, for the next try.

    Raises what happens within; where a database was migrated before that, as InstallationError, after it was put back.
    """
    if not is_due(settings):
        yield
        return
    folder = settings.var / "upgrade"
    if not (folder / KEPT).exists():
        keep(settings, folder)
    try:
        yield
    except Exception as error:
        if not (back := put_back(settings, folder)):
            raise
        raise InstallationError(
            f"{error}. The databases of {' and '.join(back)} are as they were before as well: check the release before "
            "this one out, or mend that and `make upgrade` again"
        ) from error
    shutil.rmtree(folder)


def is_due(settings: Settings) -> bool:
    """Whether databases or lake are of another release than this one, and nothing runs that would be upgraded."""
    if not settings.run.exists() or of_service(settings.var, SUPERVISOR):
        return False
    stale = any(stamp != wanted for stamp, wanted in stamps(settings).values())
    return stale or (settings.airflow_database.exists() and layout(settings) != LAYOUT)


def stamps(settings: Settings) -> dict[str, tuple[str, str]]:
    """By database that is there and is SQLite: what it was migrated to, and what this release wants."""
    from include.local.setup import database_key

    found = {}
    for database in databases.databases(settings):
        if (package := PACKAGES.get(database.name)) and database.kind == databases.SQLITE and database.file.exists():
            path = _stamp(settings, package)
            found[database.name] = (path.read_text() if path.exists() else "", database_key(package, database.file))
    return found


def _stamp(settings: Settings, package: str) -> Path:
    return settings.run / f"{package}.migrated"


def keep(settings: Settings, folder: Path) -> None:
    """Keep the databases as they are; ``kept.json`` is written when all are."""
    private_folder(folder)
    before = {name: stamp for name, (stamp, _) in stamps(settings).items()}
    for database in databases.databases(settings):
        if database.name in before:
            databases.dump(database, folder / database.name)
    write_private(folder / KEPT, json.dumps({"stamps": before, "to": {one: version(PACKAGES[one]) for one in before}}))


def put_back(settings: Settings, folder: Path) -> list[str]:
    """Put back each database that was migrated since it was kept. Returns their names."""
    before, now, back = read(folder / KEPT)["stamps"], stamps(settings), list[str]()
    for database in databases.databases(settings):
        name = database.name
        if name in before and now.get(name, ("", ""))[0] != before[name]:
            databases.restore(database, folder / name)
            _stamp(settings, PACKAGES[name]).write_text(before[name])
            back.append(name)
    shutil.rmtree(folder)
    return back
