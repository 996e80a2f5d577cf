"""What every machine of an installation sees: a schema of ours in PostgreSQL, beside Airflow's own tables.

It says which installation this is, to what each package's tables were brought, and who holds which lease.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import urlsplit

from include.core.errors import NocturneError

if TYPE_CHECKING:
    import psycopg

LAYOUT = 1
"""Of the tables below. A release that changes them counts on, and brings those of the one before forward."""

CONNECT_SECONDS = 10

TABLES = (
    "CREATE SCHEMA IF NOT EXISTS nocturne",
    """CREATE TABLE IF NOT EXISTS nocturne.installation (
        sole boolean PRIMARY KEY DEFAULT true CHECK (sole),
        id text NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''),
        layout integer NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp())""",
    """CREATE TABLE IF NOT EXISTS nocturne.migrated (
        package text PRIMARY KEY,
        version text NOT NULL,
        revision text NOT NULL,
        migrated_at timestamptz NOT NULL DEFAULT clock_timestamp())""",
    # Tokens grow over all leases: of two holders the later one has the higher one, whatever became of the row.
    "CREATE SEQUENCE IF NOT EXISTS nocturne.fencing_token",
    """CREATE TABLE IF NOT EXISTS nocturne.lease (
        name text PRIMARY KEY,
        token bigint NOT NULL,
        holder text NOT NULL,
        taken_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL)""",
)
GRANTS = (
    "GRANT USAGE ON SCHEMA nocturne TO {}",
    "GRANT SELECT ON nocturne.installation, nocturne.migrated TO {}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON nocturne.lease TO {}",
    "GRANT USAGE ON SEQUENCE nocturne.fencing_token TO {}",
)


class DatabaseError(NocturneError):
    """A database cannot be reached, or refuses us. Another try may find it back."""


def named(url: str) -> str:
    """Which database ``url`` is, without who asks: ``host:port/database``."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def connected(url: str, what: str) -> psycopg.Connection:
    """A connection that commits each statement. ``what`` names the database in the DatabaseError that may be raised."""
    import psycopg

    try:
        return psycopg.connect(
            url.replace("postgresql+psycopg", "postgresql", 1),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            # a network that has gone is noticed within half a minute, and not after the two hours of the system
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
    except psycopg.Error as error:
        raise DatabaseError(f"{what} at {named(url)} cannot be reached: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What a driver says, in a line: of several addresses that were tried, what the last one said."""
    lines = [line.strip(" \t-") for line in str(error).strip().splitlines() if "failed:" in line or "FATAL" in line]
    return (lines or str(error).strip().splitlines() or [type(error).__name__])[-1].removeprefix("connection failed: ")


@contextmanager
def alone(url: str, what: str) -> Iterator[psycopg.Connection]:
    """A connection whose holder alone brings this database forward; others wait. Raises DatabaseError."""
    with closing(connected(url, what)) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('nocturne init'))")  # which its end gives back
        yield connection


def create(connection: psycopg.Connection, roles: tuple[str, ...] = ()) -> str:
    """Make the schema where it is not there, let ``roles`` use its leases, and return the installation's id."""
    import psycopg
    from psycopg import sql

    try:
        for statement in TABLES:
            connection.execute(statement)
        # Beyond every token of before, as after a restore of an older copy: the lake's commits have those.
        connection.execute(
            "SELECT setval('nocturne.fencing_token', "
            "greatest(last_value, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)) FROM nocturne.fencing_token"
        )
        connection.execute("INSERT INTO nocturne.installation (layout) VALUES (%s) ON CONFLICT DO NOTHING", [LAYOUT])
        for role in roles:
            for grant in GRANTS:
                connection.execute(sql.SQL(grant).format(sql.Identifier(role)))
        return str(value(connection, "SELECT id FROM nocturne.installation"))
    except psycopg.Error as error:
        where = f"{connection.info.host}:{connection.info.port}/{connection.info.dbname}"
        raise DatabaseError(f"the schema nocturne cannot be made at {where}: {first_line(error)}") from None


def layout(connection: psycopg.Connection) -> int | None:
    """The layout of the schema that is there; None where ``init`` has not run."""
    if value(connection, "SELECT to_regclass('nocturne.installation')") is None:
        return None
    found = value(connection, "SELECT layout FROM nocturne.installation")
    return None if found is None else int(found)


def value(connection: psycopg.Connection, query: LiteralString, *parameters: str) -> Any:
    """The one value that a query gives; None where it gives no row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def asked(url: str, what: str, query: LiteralString, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
    """The rows that a statement gives, by a connection of its own: none is kept that a fork would share.

    Raises DatabaseError. Then the statement may have been carried out all the same.
    """
    import psycopg

    try:
        with closing(connected(url, what)) as connection:
            return connection.execute(query, parameters).fetchall()
    except psycopg.Error as error:
        raise DatabaseError(f"{what} at {named(url)} does not answer: {first_line(error)}") from None


def note(connection: psycopg.Connection, package: str, version: str, table: str) -> None:
    """Write down to which version a package has brought its tables; ``table`` is the one of its alembic."""
    connection.execute(
        "INSERT INTO nocturne.migrated (package, version, revision) VALUES (%s, %s, %s) "
        "ON CONFLICT (package) DO UPDATE "
        "SET version = excluded.version, revision = excluded.revision, migrated_at = clock_timestamp()",
        [package, version, revision(connection, table)],
    )


def noted(connection: psycopg.Connection, package: str) -> tuple[str, str] | None:
    """The version and the revision that were written down of a package; None where none was."""
    row = connection.execute("SELECT version, revision FROM nocturne.migrated WHERE package = %s", [package]).fetchone()
    return (str(row[0]), str(row[1])) if row else None


def revision(connection: psycopg.Connection, table: str) -> str:
    """What alembic says in ``table`` that the database is at; empty where it says nothing."""
    from psycopg import sql

    if value(connection, "SELECT to_regclass(%s)", table) is None:
        return ""
    rows = connection.execute(sql.SQL("SELECT version_num FROM {} ORDER BY 1").format(sql.Identifier(table)))
    return ",".join(row[0] for row in rows)
