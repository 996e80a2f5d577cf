"""Set-up: everything that must exist before a service starts. Each step is done once and found done afterwards."""

import hashlib
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path

from include.core.database import named
from include.core.locks import alone
from include.core.settings import EMBEDDED, MLFLOW_USER, Settings
from include.local.backup.begun import require_restored
from include.local.checks import (
    RUNNING_BYTES,
    InstallationError,
    check_bucket,
    check_disk,
    check_embedded,
    check_java,
    check_path,
)
from include.local.clean import LOCK, mark
from include.local.credentials import generate, private_folder, write_private
from include.local.doors import check_host
from include.local.environment import FERNET_KEY, environment
from include.local.installation import Owner, claim_lake, identify
from include.local.jars import fetch
from include.local.processes import SUPERVISOR, of_service
from include.local.shared import bring_forward, migration_problem

Progress = Callable[[str], None]


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """One set-up, start or stop of an installation at a time; a second waits."""
    mark(settings.var)
    with alone(settings.var / LOCK):
        yield


def folders(settings: Settings) -> None:
    """Where the services write. What holds secrets, databases or sockets is the owner's alone."""
    for path in (settings.run, settings.var / "airflow", settings.var / "mlflow", settings.var / "sql", settings.log):
        private_folder(path)
    for path in (settings.report, settings.var / "openlineage", settings.var / "spark" / "tmp"):
        path.mkdir(parents=True, exist_ok=True)
    for place in (settings.landing, settings.lake, settings.place(settings.model_place)):
        if isinstance(place, Path):
            place.mkdir(parents=True, exist_ok=True)
        else:
            check_bucket(place)


def mlflow_auth(settings: Settings) -> str:
    """MLflow's login configuration. The administrator's password comes from the environment, not from here.

    It is the one file that holds the password of MLflow's PostgreSQL, for MLflow reads it nowhere else.
    """
    database = settings.given("mlflow_db") or f"sqlite:///{settings.var}/mlflow/basic_auth.db"
    return f"""; written by include/local
[mlflow]
default_permission = READ
database_uri = {database.replace("%", "%%")}
admin_username = {MLFLOW_USER}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
; a password is checked by a slow hash: remember for a minute that it was right
auth_cache_max_size = 100
auth_cache_ttl_seconds = 60
"""


def database_key(package: str, database: Path) -> str:
    """What a database is migrated to: the package's version, in this very file."""
    return hashlib.sha256(f"{package} {version(package)} {database}".encode()).hexdigest()


def migrated(stamp: Path, key: str, database: Path) -> bool:
    """Whether ``database`` exists and was brought to ``key``."""
    return database.exists() and stamp.exists() and stamp.read_text() == key


def write_ahead(database: Path) -> None:
    """Let readers go on while somebody writes; SQLite remembers it in the file."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def copied(database: Path) -> Path:
    """Where to migrate: a copy of ``database`` beside it, or nothing yet. What a kill left of one before is gone."""
    copy = database.with_name(f"{database.name}.migrating")
    for beside in ("", "-wal", "-shm", "-journal"):
        copy.with_name(copy.name + beside).unlink(missing_ok=True)
    if database.exists():
        with closing(sqlite3.connect(database, timeout=30)) as there, closing(sqlite3.connect(copy)) as here:
            there.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            there.backup(here)
    return copy


def migrate(settings: Settings, progress: Progress) -> None:
    """Bring the databases that are SQLite to the schema of the installed versions, side by side.

    Each is migrated in a copy, which then takes its place: a kill or a full disk leaves it as it was. Raises
    InstallationError where one fails.
    """
    databases = {
        package: database
        for package, database, elsewhere in (
            ("apache-airflow", settings.airflow_database, settings.given("airflow_db") or settings.airflow_remote),
            ("mlflow", settings.mlflow_database, settings.given("mlflow_db") or settings.mlflow_remote),
        )
        if not elsewhere
    }
    running = []
    for package, database in databases.items():
        stamp, key = settings.run / f"{package}.migrated", database_key(package, database)
        if migrated(stamp, key, database):
            continue
        if of_service(settings.var, SUPERVISOR):
            raise InstallationError(
                f"another version of {package} is running than is installed: `make upgrade` brings it forward"
            )
        progress(f"database of {package}: {database}")
        log, copy = settings.log / f"{package}-migrate.log", copied(database)
        command = {
            "apache-airflow": ["airflow", "db", "migrate"],
            "mlflow": ["mlflow", "db", "upgrade", f"sqlite:///{copy}"],
        }[package]
        with log.open("w") as output:
            child = subprocess.Popen(  # noqa: S603  # one of the two commands above
                [sys.executable, "-m", *command],
                env=environment(settings, frozenset({FERNET_KEY}))
                | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{copy}"},
                stdout=output,
                stderr=output,
                cwd=database.parent,
                stdin=subprocess.DEVNULL,
            )
        running.append((package, child, database, copy, stamp, key, log))
    failed = [(package, log) for package, child, _, _, _, _, log in running if child.wait()]
    if failed:
        raise InstallationError("; ".join(migration_problem(package, log) for package, log in failed))
    for _, _, database, copy, stamp, key, _ in running:
        write_ahead(copy)
        copy.replace(database)
        stamp.write_text(key)


def set_up(settings: Settings, progress: Progress = print, take_lake: bool = False) -> None:
    """Everything before the first start; a second call finds it done.

    ``take_lake`` makes this the installation that writes the lake, where another one was. Raises InstallationError, one
    line that says what to do.
    """
    check_path(settings.var, "NOCTURNE_VAR")
    require_restored(settings)
    check_host(settings)
    check_disk(settings.var, RUNNING_BYTES, "Nocturne")
    if settings.runs_jvm:
        check_java()
    if settings.engine == EMBEDDED:
        check_embedded(settings.container)
    os.umask(0o077)
    with exclusive(settings):
        folders(settings)
        own = identify(settings, progress)
        owner = Owner(own, str(settings.var), socket.gethostname())
        if everybodys := bring_forward(settings, progress):
            owner = Owner(everybodys, named(settings.given("airflow_db")), "several machines")
        claim_lake(settings, owner, take_lake, progress)
        if made := generate(settings):
            progress(f"secrets in {settings.secrets}: {', '.join(made)}")
        if settings.runs_jvm and fetch(settings):
            progress(f"Spark's jars in {settings.jars}")
        write_private(settings.var / "mlflow" / "basic_auth.ini", mlflow_auth(settings))
        migrate(settings, progress)
    from include.local import accounts  # which takes its turn with this

    accounts.sync(settings, progress)
