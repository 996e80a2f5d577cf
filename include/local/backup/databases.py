"""What Airflow and MLflow know, dumped while they run, and put into an empty database.

SQLite by its own online backup: a copy of the file would tear, since what was written last is in another file beside
it. PostgreSQL by its own programs, in one transaction each way.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from include.core.errors import NeedsAttentionError
from include.core.settings import Settings

SQLITE, POSTGRESQL = "sqlite", "postgresql"
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file. Of another database it would be taken for the restored one's."""
# What an URL may say of TLS, and how libpq's programs are told.
_OF_LIBPQ = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "host": "PGHOST",
    "port": "PGPORT",
}


class DatabaseError(NeedsAttentionError):
    """A database could not be dumped or restored. The message names it and says what its program said."""


@dataclass(frozen=True)
class Database:
    """One of the databases of an installation; ``url`` is SQLAlchemy's, and may hold a password."""

    name: str
    url: str = field(repr=False)

    @property
    def kind(self) -> str:
        """Raises DatabaseError where it is neither SQLite nor PostgreSQL."""
        found = self.url.partition(":")[0].partition("+")[0]
        if found in ("postgres", POSTGRESQL):
            return POSTGRESQL
        if found != SQLITE:
            raise DatabaseError(f"the database of {self.name} is {found}: SQLite and PostgreSQL are backed up")
        return SQLITE

    @property
    def file(self) -> Path:
        """Of SQLite."""
        return Path(self.url.partition(":///")[2].partition("?")[0])

    @property
    def shown(self) -> str:
        """Where it is, without a password."""
        if self.kind == SQLITE:
            return str(self.file)
        from sqlalchemy import make_url

        return make_url(self.url).render_as_string(hide_password=True)


def databases(settings: Settings) -> list[Database]:
    """Those of an installation, whether they are there or not.

    Raises DatabaseError where one is elsewhere, and this machine is not told how to reach it.
    """
    for name, remote in (("airflow", settings.airflow_remote), ("mlflow", settings.mlflow_remote)):
        if remote and not settings.given(f"{name}_db"):
            raise DatabaseError(
                f"{name} is at {remote}, and its database with it: give NOCTURNE_{name.upper()}_DB, or run this where "
                "it is"
            )
    # In PostgreSQL the logins are among the tables of MLflow.
    logins = [] if settings.given("mlflow_db") else [f"sqlite:///{settings.var}/mlflow/basic_auth.db"]
    return [
        Database("airflow", settings.airflow_connection),
        Database("mlflow", settings.mlflow_connection),
        *(Database("mlflow-logins", url) for url in logins),
    ]


def is_there(database: Database) -> bool:
    """Whether there is anything to dump, or in the way of a restore. Raises DatabaseError where it cannot be asked."""
    if database.kind == SQLITE:
        return database.file.exists()
    import psycopg

    found = _libpq(database)
    try:
        with (
            psycopg.connect(
                host=found.get("PGHOST", ""),
                port=found.get("PGPORT", ""),
                user=found.get("PGUSER", ""),
                password=found.get("PGPASSWORD", ""),
                dbname=found["PGDATABASE"],
                sslmode=found.get("PGSSLMODE", "prefer"),
                connect_timeout=10,
            ) as connection,
            connection.cursor() as cursor,
        ):
            asked = "SELECT 1 FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') LIMIT 1"
            return cursor.execute(asked).fetchone() is not None
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        raise DatabaseError(f"the database of {database.name} ({database.shown}) cannot be asked: {said}") from None


def dump(database: Database, target: Path) -> None:
    """Write all of a database, as it is at one moment, to ``target``. Raises DatabaseError."""
    if database.kind == POSTGRESQL:
        # Whoever holds a lease now, this backup among them, is nobody where it is restored.
        how = ("--format=custom", "--no-owner", "--no-privileges", "--exclude-table-data=nocturne.lease")
        _program(database, "pg_dump", *how, "--file", str(target))
        return
    copy = target.with_suffix(".copy")
    try:
        with (
            closing(sqlite3.connect(f"file:{database.file}?mode=ro", uri=True, timeout=60)) as there,
            closing(sqlite3.connect(copy)) as here,
        ):
            there.backup(here)
            here.execute("PRAGMA journal_mode=DELETE")  # all of it in one file
            said = here.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise DatabaseError(
            f"the database of {database.name} ({database.file}) is damaged ({said.splitlines()[0]}): the last backup "
            "stays as it is. `make down`, and look at the file with the program sqlite3"
        )
    with copy.open("rb") as here, gzip.GzipFile(target, "wb", compresslevel=3, mtime=0) as there:
        shutil.copyfileobj(here, there, 2**20)
    copy.unlink()


def restore(database: Database, source: Path) -> None:
    """Put a dump into a database that is not there yet. It is there whole or not at all. Raises DatabaseError."""
    if database.kind == POSTGRESQL:
        how = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges")
        _program(database, "pg_restore", *how, "--dbname", _libpq(database)["PGDATABASE"], str(source))
        return
    file = database.file
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in BESIDE:
        file.with_name(file.name + name).unlink(missing_ok=True)
    partial = file.with_name(f"{file.name}.restoring")
    with gzip.open(source) as here, os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as there:
        there.truncate()
        shutil.copyfileobj(here, there, 2**20)
    with closing(sqlite3.connect(partial)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # as set-up has it
    partial.replace(file)


def _libpq(database: Database) -> dict[str, str]:
    """How libpq finds a database, by environment: an argument is seen by everybody who lists processes."""
    from sqlalchemy import make_url

    url = make_url(database.url)
    own = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password}
    asked = {_OF_LIBPQ[name]: value for name, value in url.query.items() if name in _OF_LIBPQ}
    told = {name: str(value) for name, value in {**own, **asked}.items() if value}
    return told | {"PGDATABASE": url.database or url.username or "", "PGCONNECT_TIMEOUT": "10"}


def _program(database: Database, name: str, *arguments: str) -> None:
    program = shutil.which(name)
    if program is None:
        raise DatabaseError(
            f"the database of {database.name} is PostgreSQL, and there is no {name} on PATH: install its client "
            "(Debian, Ubuntu: apt-get install postgresql-client), of the server's version or newer"
        )
    done = subprocess.run(  # noqa: S603  # one of PostgreSQL's
        [program, "--no-password", *arguments],
        env={**os.environ, **_libpq(database)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise DatabaseError(
            f"{name} of the database of {database.name} ({database.shown}) failed: {said[0] if said else 'killed'}"
        )
