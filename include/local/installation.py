"""Which installation this is, and where it was when it last started: a copy or a move of it must not write elsewhere.

``var/installation.json`` names the installation and the place of its ``var``; ``_installation.json`` in the lake names
the installation that writes there. Spark's catalogue keeps absolute paths: it is derived from the lake, and is made
anew where one of the two has moved.
"""

import json
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from include.core.settings import Settings
from include.local import processes
from include.local.checks import InstallationError
from include.local.credentials import write_private

if TYPE_CHECKING:
    from upath import UPath

Progress = Callable[[str], None]
Record = dict[str, Any]

RECORD, OWNER = "installation.json", "_installation.json"


def read(path: "Path | UPath") -> Record:
    """A record; empty where there is none, or one that was cut off while it was written."""
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def identify(settings: Settings, progress: Progress) -> str:
    """The id of this installation, which a move keeps and a copy does not.

    Raises InstallationError where a copy is damaged.
    """
    path, here = settings.var / RECORD, str(settings.var)
    record = read(path)
    if record.get("var") == here:
        return str(record["id"])
    if record:
        there = Path(record["var"])
        # one folder may have two names: then it is still the same installation
        copied = read(there / RECORD).get("id") == record["id"] and not there.samefile(settings.var)
        if not copied and (ended := processes.kill_all(there)):
            progress(f"ended {ended} processes that were still running at {there}")
        for database in (settings.airflow_database, settings.mlflow_database):
            require_sound(database, there)
        progress(f"this installation was {'copied' if copied else 'moved'} from {there} to {here}")
        record["id"] = uuid4().hex if copied else record["id"]
    record = {"id": record.get("id") or uuid4().hex, "var": here}
    write_private(path, json.dumps(record))
    return str(record["id"])


def require_sound(database: Path, there: Path) -> None:
    """Raise InstallationError where SQLite finds ``database`` damaged, as a copy made during a write may be."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise InstallationError(
            f"{database} is damaged ({found.splitlines()[0]}): was it copied while the services ran? `make down` at "
            f"{there}, and copy it again"
        )


class Owner(NamedTuple):
    """Which installation it is, and where: its ``var`` and its machine, or the database that its machines share."""

    id: str
    place: str
    host: str


def claim_lake(settings: Settings, own: Owner, take: bool, progress: Progress) -> None:
    """Write down that installation ``own`` writes the lake.

    Raises InstallationError where another one does that is still there, or may be: two installations that write one
    lake without knowing of each other undo each other's nights. ``take`` takes the lake from it, unless it is running
    here.
    """
    path, place, host = settings.lake / OWNER, str(settings.lake), socket.gethostname()
    owner, wanted = read(path), {"id": own.id, "var": own.place, "lake": place, "host": own.host}
    if owner == wanted:
        return
    # A lake that was moved or copied is another one, whatever is written in it.
    if owner.get("id", own.id) != own.id and owner.get("lake") == place:
        var = Path(owner["var"])
        here = owner["host"] == host
        if here and any(processes.marked(var)):
            raise InstallationError(
                f"the lake {place} is written by the installation at {var}, which is running: stop that one"
            )
        there = f"at {var}, which is still there" if here else f"at {var} on {owner['host']}"
        gone = here and read(var / RECORD).get("id") != owner["id"]
        if not gone and not take:
            raise InstallationError(
                f"the lake {place} belongs to the installation {there}: name another with NOCTURNE_LAKE_URI, or take "
                "this one over with `make up take_lake=yes`, and the other one no longer starts on it"
            )
        progress(f"the lake {place} was of the installation at {var}, and is of this one now")
    path.write_text(json.dumps(wanted))


def forget_moved_catalogue(settings: Settings, progress: Progress) -> None:
    """Remove Spark's catalogue where it was made for another lake or another place. Spark must not be running."""
    folder = settings.var / "spark"
    metastore, stamp = folder / "metastore", folder / "metastore.json"
    wanted = {"metastore": str(metastore), "lake": str(settings.lake)}
    if read(stamp) == wanted:
        return
    if metastore.exists():
        shutil.rmtree(metastore)
        progress(f"Spark's catalogue is made anew, from the tables in {settings.lake}")
    stamp.write_text(json.dumps(wanted))
