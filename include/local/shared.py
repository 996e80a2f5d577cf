"""What an installation of several machines shares, made once and brought forward: databases, logins, buckets.

Two that do so at once end as one: each database is brought forward by whoever holds its lock, and the other finds it
done.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from include.core import database
from include.core.settings import FILES, LOCAL, Settings
from include.local.checks import InstallationError
from include.local.environment import DATABASE_SECRETS, FERNET_KEY, GIVEN, environment
from include.local.ready import PACKAGES, check_clock, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

Progress = Callable[[str], None]

COMMANDS = {
    "airflow": ["-m", "airflow", "db", "migrate"],
    "mlflow": ["-m", "include.local.mlflow_database"],
}


@dataclass(frozen=True)
class Shared:
    """A PostgreSQL of the installation: whose it is (``airflow``, ``mlflow``) and its address, a secret."""

    name: str
    url: str


def databases(settings: Settings) -> Iterator[Shared]:
    """Those that are PostgreSQL."""
    for name in PACKAGES:
        if url := settings.given(f"{name}_db"):
            yield Shared(name, url)


def check_apart(settings: Settings) -> None:
    """Raise InstallationError where Airflow and MLflow were given one database: each keeps its version in one table."""
    urls = [database.named(one.url) for one in databases(settings)]
    if len(set(urls)) < len(urls):
        raise InstallationError(
            f"NOCTURNE_AIRFLOW_DB and NOCTURNE_MLFLOW_DB are one database, {urls[0]}: both keep the version of their "
            "tables in alembic_version, and each would take the other's for its own. Give each one of its own"
        )


def check_given(settings: Settings) -> None:
    """Raise InstallationError naming every secret that is wanted, not given, and not made by the set-up either."""
    if settings.secrets_backend == FILES:
        return
    lines = [
        missing(name, why)
        for name, why in {
            "fernet_key": "Airflow encrypts its connections with it",
            "mlflow_admin_password": "MLflow has to have a login",
            "airflow_db": "several machines share PostgreSQL",
            "mlflow_db": "several machines share PostgreSQL",
        }.items()
        if not settings.given(name)
    ]
    if lines:
        raise InstallationError("; ".join(lines))


def bring_forward(settings: Settings, progress: Progress) -> str | None:
    """Bring every PostgreSQL to the installed versions, and make the schema of ours in it.

    Returns the id of the installation, which the database of Airflow's metadata has; None where that is SQLite.
    Raises InstallationError and DatabaseError.
    """
    check_apart(settings)
    own = None
    for one in databases(settings):
        package, table = PACKAGES[one.name]
        what = f"the database of {package}"
        with database.alone(one.url, what) as connection:
            check_clock(connection, what, one.url)
            check_not_newer(connection, one)
            identity = database.create(connection, roles(settings) if one.name == "airflow" else ())
            own = identity if one.name == "airflow" else own
            if database.noted(connection, package) != (version(package), database.revision(connection, table)):
                progress(f"{what}: {database.named(one.url)}")
                migrate(settings, one.name)
                database.note(connection, package, version(package), table)
            if one.name == "airflow" and settings.executor != LOCAL:
                make_pool(settings, connection, progress)
    return own


def make_pool(settings: Settings, connection: psycopg.Connection, progress: Progress) -> None:
    """Have Airflow's pool ``gpu``, in which trainings wait, be as large as it should. Raises InstallationError."""
    slots = str(settings.gpu_slots)
    if str(database.value(connection, "SELECT slots FROM slot_pool WHERE pool = 'gpu'")) == slots:
        return
    progress(f"the pool gpu has {slots} slots")
    airflow(settings, ["pools", "set", "gpu", slots, "trainings, one a device"])


def check_not_newer(connection: psycopg.Connection, one: Shared) -> None:
    """Raise InstallationError where a newer release has made the schema of ours."""
    found = database.layout(connection)
    if found is not None and found > database.LAYOUT:
        raise InstallationError(
            f"the schema nocturne at {database.named(one.url)} has layout {found}, and this release knows them up to "
            f"{database.LAYOUT}: a newer one has made it. Check that one out again; nothing was changed"
        )


def roles(settings: Settings) -> tuple[str, ...]:
    """The role of PostgreSQL that tasks have leases by, where it is another one than that of Airflow's database."""
    urls = (settings.given("lease_db"), settings.given("airflow_db"))
    tasks, airflow = (unquote(urlsplit(url).username or "") for url in urls)
    return (tasks,) if tasks and tasks != airflow else ()


def migrate(settings: Settings, name: str) -> None:
    """Bring the tables of ``airflow`` or ``mlflow`` forward. Raises InstallationError."""
    package, _ = PACKAGES[name]
    log = settings.log / f"{package}-migrate.log"
    if carried_out(settings, name, COMMANDS[name], log):
        raise InstallationError(migration_problem(package, log))


def airflow(settings: Settings, command: list[str]) -> None:
    """Carry out a command of Airflow's. Raises InstallationError."""
    log = settings.log / "airflow-command.log"
    if carried_out(settings, "airflow", ["-m", "airflow", *command], log):
        raise InstallationError(f"`airflow {' '.join(command)}` has failed: see {log}")


def carried_out(settings: Settings, name: str, command: list[str], log: Path) -> int:
    """The exit code of a command of Python's, in the environment of ``airflow`` or ``mlflow``."""
    secrets = DATABASE_SECRETS | {FERNET_KEY} if name == "airflow" else frozenset[str]()
    with log.open("w") as output:
        done = subprocess.run(  # noqa: S603  # commands of ours
            [sys.executable, *command],
            env=environment(settings, secrets, hand_on=GIVEN),
            stdout=output,
            stderr=output,
            cwd=settings.var / name,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    return done.returncode


def migration_problem(package: str, log: Path) -> str:
    """The line for a migration that failed."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if any("Can't locate revision" in line for line in lines):
        return (
            f"the database of {package} was written by a newer release than this one, which has {package} "
            f"{version(package)}: check that one out again; nothing was changed"
        )
    return f"the database of {package} could not be migrated ({lines[-1][:200] if lines else 'killed'}): see {log}"
