"""What a service needs of others, asked before it starts: what is missing is one line each, and nothing half-starts."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.core import database
from include.core.errors import NocturneError
from include.core.settings import CELERY, LOCAL, NotSetUpError, Settings
from include.local.checks import InstallationError, check_bucket
from include.local.environment import AIRFLOW_DB, CELERY_SECRETS, LEASE_DB, MLFLOW_DB, of_secrets
from include.local.programs import Program

if TYPE_CHECKING:
    import psycopg

CLOCK_SECONDS = 60.0
"""So far the clocks of a machine and of the database may be apart: a token of Airflow is good for minutes."""
PACKAGES = {"airflow": ("apache-airflow", "alembic_version"), "mlflow": ("mlflow", "alembic_version")}


def problems(settings: Settings, program: Program) -> list[str]:
    """What ``program`` lacks, a line each; empty where it may start."""
    if missing := missing_secrets(settings, program):
        return missing
    return [line for look in looks(settings, program) if (line := problem(look))]


def problem(look: Callable[[], None]) -> str | None:
    """The line of what ``look`` finds wrong, else None."""
    try:
        look()
    except (NocturneError, InstallationError) as error:
        return str(error)
    return None


def missing_secrets(settings: Settings, program: Program) -> list[str]:
    """A line for each secret that ``program`` needs and nobody gives."""
    found = []
    for name in sorted(program.secrets):
        try:
            of_secrets(settings, frozenset({name}))
        except NotSetUpError as error:
            found.append(str(error))
    if AIRFLOW_DB in program.secrets and settings.executor != LOCAL and not settings.given("airflow_db"):
        found.append(missing("airflow_db", f"NOCTURNE_EXECUTOR={settings.executor} needs PostgreSQL"))
    if MLFLOW_DB[0] in program.secrets and settings.executor != LOCAL and not settings.given("mlflow_db"):
        found.append(missing("mlflow_db", "what SQLite would keep in a container goes with it"))
    if LEASE_DB in program.secrets and settings.executor != LOCAL and not settings.lease_connection:
        found.append(missing("lease_db", f"NOCTURNE_EXECUTOR={settings.executor} has leases in PostgreSQL"))
    if CELERY_SECRETS & program.secrets and settings.executor == CELERY and not settings.given("celery_broker"):
        found.append(missing("celery_broker", "NOCTURNE_EXECUTOR=celery needs Redis"))
    return list(dict.fromkeys(found))


def missing(name: str, why: str) -> str:
    """The line for a setting that is not given."""
    variable = f"NOCTURNE_{name.upper()}"
    return f"{variable} is missing, and {why}: give it as a variable, or as a file /run/secrets/{variable}"


def looks(settings: Settings, program: Program) -> Iterator[Callable[[], None]]:
    """What ``program`` is to look at before it starts; each raises an error of one line."""
    if AIRFLOW_DB in program.secrets and settings.given("airflow_db"):
        yield partial(check_database, settings.airflow_connection, "airflow")
    elif LEASE_DB in program.secrets and settings.lease_connection:
        yield partial(check_leases, settings)
    if MLFLOW_DB[0] in program.secrets and settings.given("mlflow_db"):
        yield partial(check_database, settings.mlflow_connection, "mlflow")
    if CELERY_SECRETS & program.secrets:
        yield partial(check_broker, settings.given("celery_broker"))
    for uri in places(settings, program):
        yield partial(check_bucket, settings.place(uri))
    for url in addresses(settings, program):
        yield partial(check_certificate, url)


def places(settings: Settings, program: Program) -> list[str]:
    """The places in S3 that ``program`` reads or writes."""
    of_models = [settings.model_store] if program.name == "mlflow" else []
    of_lake = [settings.lake_uri, settings.landing_uri] if program.name in ("worker", "scheduler", "spark") else []
    of_lake = [] if program.name == "scheduler" and settings.executor != LOCAL else of_lake
    return [uri for uri in (*of_models, *of_lake) if uri.startswith("s3://")]


def addresses(settings: Settings, program: Program) -> list[str]:
    """The addresses with TLS that ``program`` speaks to."""
    found = [settings.s3_endpoint] if places(settings, program) else []
    if program.name in ("worker", "scheduler"):
        found += [settings.airflow_remote, settings.mlflow_remote]
    return [url for url in found if url.startswith("https://")]


def check_database(url: str, name: str) -> None:
    """Raise InstallationError unless the database of ``airflow`` or ``mlflow`` is of this release; DatabaseError."""
    package, table = PACKAGES[name]
    what = f"the database of {package}"
    with closing(database.connected(url, what)) as connection:
        check_clock(connection, what, url)
        check_layout(connection, what, url)
        noted, now = database.noted(connection, package), database.revision(connection, table)
        here = version(package)
        if noted is None:
            raise InstallationError(f"{what} at {database.named(url)} is empty: `nocturne init` fills it")
        if noted != (here, now):
            raise InstallationError(
                f"{what} at {database.named(url)} is of {package} {noted[0]} (revision {now}, then {noted[1]}), and "
                f"here is {here}: `nocturne init` of the newer release brings it forward"
            )


def check_leases(settings: Settings) -> None:
    """Raise InstallationError unless leases can be had, and DatabaseError."""
    url, what = settings.lease_connection, "the database of leases"
    with closing(database.connected(url, what)) as connection:
        check_clock(connection, what, url)
        check_layout(connection, what, url)


def check_layout(connection: psycopg.Connection, what: str, url: str) -> None:
    """Raise InstallationError unless the schema of ours is there, in this release's layout."""
    found = database.layout(connection)
    if found is None:
        raise InstallationError(f"{what} at {database.named(url)} has no schema nocturne: `nocturne init` makes it")
    if found != database.LAYOUT:
        mend = "`nocturne init` brings it forward" if found < database.LAYOUT else "a newer release has made it"
        raise InstallationError(
            f"the schema nocturne at {database.named(url)} has layout {found}, and this release knows "
            f"{database.LAYOUT}: {mend}"
        )


def check_clock(connection: psycopg.Connection, what: str, url: str) -> None:
    """Raise InstallationError where this machine's clock is not that of the database."""
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    off = (before + time.time()) / 2 - float(row[0]) if row else 0.0
    if abs(off) > CLOCK_SECONDS:
        raise InstallationError(
            f"the clock of {socket.gethostname()} is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} that of "
            f"{what} at {database.named(url)}: have both set by one source (chrony, ntp)"
        )


def check_broker(url: str) -> None:
    """Raise InstallationError where Redis does not take us."""
    import redis

    parts = urlsplit(url)
    try:
        with closing(redis.Redis.from_url(url, socket_connect_timeout=10, socket_timeout=10)) as client:
            client.ping()
    except redis.RedisError as error:
        raise InstallationError(
            f"the broker at {parts.hostname}:{parts.port or 6379} cannot be reached: {str(error).splitlines()[0]}: is "
            "NOCTURNE_CELERY_BROKER right?"
        ) from None


def check_certificate(url: str) -> None:
    """Raise InstallationError where the certificate of ``url`` (https) is not one to trust, or has run out."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or 443
    try:
        with (
            socket.create_connection((host, port), timeout=10) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host),
        ):
            return
    except ssl.SSLCertVerificationError as error:
        raise InstallationError(
            f"the certificate of {host}:{port} is refused at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: "
            f"{error.verify_message}: renew it, or name its authority in SSL_CERT_FILE"
        ) from None
    except OSError as error:
        raise InstallationError(f"{url} cannot be reached: {error.strerror or error}") from None
