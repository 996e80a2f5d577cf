"""Set-up: everything that must exist before a service starts. Each step is done once and found done afterwards."""

import fcntl
import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from include.services.checks import RUNNING_BYTES, Problem, check_bucket, check_disk, check_java, check_path
from include.services.clean import LOCK, mark
from include.services.credentials import generate, private_folder, write_private
from include.services.doors import check_host
from include.services.environment import FERNET_KEY, MLFLOW_USER, environment
from include.services.installation import claim_lake, identify
from include.services.jars import fetch
from include.settings import Settings

Progress = Callable[[str], None]


@contextmanager
def exclusive(settings: Settings) -> Iterator[None]:
    """One set-up, start or stop of an installation at a time; a second waits."""
    mark(settings.var)
    with (settings.var / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def folders(settings: Settings) -> None:
    """Where the services write. What holds secrets, databases or sockets is the owner's alone."""
    for path in (settings.run, settings.var / "airflow", settings.var / "mlflow", settings.log):
        private_folder(path)
    for path in (settings.report, settings.var / "openlineage", settings.var / "spark" / "tmp"):
        path.mkdir(parents=True, exist_ok=True)
    for place in (settings.landing, settings.lake):
        if isinstance(place, Path):
            place.mkdir(parents=True, exist_ok=True)
        else:
            check_bucket(place)


def mlflow_auth(settings: Settings) -> str:
    """MLflow's login configuration. The administrator's password comes from the environment, not from here."""
    return f"""; written by include/services
[mlflow]
default_permission = READ
database_uri = sqlite:///{settings.var}/mlflow/basic_auth.db
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
    with sqlite3.connect(database, timeout=30) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def migrate(settings: Settings, progress: Progress) -> None:
    """Bring both databases to the schema of the installed versions, side by side. Raises Problem where one fails."""
    airflow, mlflow = settings.airflow_database, settings.mlflow_database
    commands = {
        "apache-airflow": (airflow, [sys.executable, "-m", "airflow", "db", "migrate"]),
        "mlflow": (mlflow, [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{mlflow}"]),
    }
    running = []
    for package, (database, command) in commands.items():
        stamp, key = settings.run / f"{package}.migrated", database_key(package, database)
        if migrated(stamp, key, database):
            continue
        progress(f"database of {package}: {database}")
        log = settings.log / f"{package}-migrate.log"
        with log.open("w") as output:
            child = subprocess.Popen(
                command,
                env=environment(settings, frozenset({FERNET_KEY})),
                stdout=output,
                stderr=output,
                cwd=database.parent,
                stdin=subprocess.DEVNULL,
            )
        running.append((package, child, database, stamp, key, log))
    for package, child, database, stamp, key, log in running:
        if child.wait():
            raise Problem(f"the database of {package} could not be migrated: see {log}")
        write_ahead(database)
        stamp.write_text(key)


def set_up(settings: Settings, progress: Progress = print, take_lake: bool = False) -> None:
    """Everything before the first start; a second call finds it done. Raises Problem, one line that says what to do.

    ``take_lake`` makes this the installation that writes the lake, where another one was.
    """
    check_path(settings.var, "NOCTURNE_VAR")
    check_host(settings)
    check_disk(settings.var, RUNNING_BYTES, "Nocturne")
    if not settings.spark_remote:
        check_java()
    os.umask(0o077)
    with exclusive(settings):
        folders(settings)
        claim_lake(settings, identify(settings, progress), take_lake, progress)
        if made := generate(settings):
            progress(f"secrets in {settings.secrets}: {', '.join(made)}")
        if not settings.spark_remote and fetch(settings):
            progress(f"Spark's jars in {settings.jars}")
        write_private(settings.var / "mlflow" / "basic_auth.ini", mlflow_auth(settings))
        migrate(settings, progress)
