"""A service that lacks something says so in one line before it starts."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from include.core import database
from include.core.settings import CLUSTER, Settings
from include.local import credentials, ready, shared
from include.local.checks import InstallationError
from include.local.programs import program
from tests import postgres, several_machines
from tests.ingestion.connectors.test_database import Server
from tests.s3 import free_port


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres.server() as found:
        yield found


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with several_machines.redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def here(server: Server, broker: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A cluster's settings, on a database that ``init`` has filled: with nothing but what is looked at."""
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    server.sql("DROP SCHEMA IF EXISTS nocturne CASCADE; DROP TABLE IF EXISTS alembic_version")
    server.sql("CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('abc')")
    with closing(database.connected(postgres.url(server), "the database")) as connection:
        database.create(connection)
        database.note(connection, "apache-airflow", version("apache-airflow"), "alembic_version")
    return Settings(
        var=tmp_path,
        profile=CLUSTER,
        executor="celery",
        secrets_backend="environment",
        airflow_db=postgres.url(server),
        celery_broker=f"redis://:{several_machines.PASSWORD}@127.0.0.1:{broker}/0",
        **{name: f"given {name}" for name in credentials.SECRETS},
    )


def said(settings: Settings, name: str) -> str:
    """What a service that is not started says: one line."""
    (line,) = ready.problems(settings, program(settings, name))
    assert "\n" not in line
    return line


def changed(settings: Settings, **values: object) -> Settings:
    return Settings(**{**settings.model_dump(), **values})


def test_where_all_is_there_nothing_is_said(here: Settings) -> None:
    for name in ("api-server", "scheduler", "dag-processor", "triggerer", "worker"):
        assert ready.problems(here, program(here, name)) == [], name


def test_a_wrong_password_is_said_and_not_shown(here: Settings, server: Server) -> None:
    line = said(changed(here, airflow_db=postgres.url(server, password="wrong-one")), "scheduler")
    assert 'password authentication failed for user "toys"' in line
    assert f"127.0.0.1:{server.port}/postgres" in line
    assert "wrong-one" not in line


def test_a_database_that_does_not_answer_is_named(here: Settings) -> None:
    port = free_port()
    line = said(changed(here, airflow_db=f"postgresql://a:hidden@127.0.0.1:{port}/airflow"), "api-server")
    assert f"the database of apache-airflow at 127.0.0.1:{port}/airflow cannot be reached" in line
    assert "Connection refused" in line


def test_an_empty_database_wants_init(here: Settings, server: Server) -> None:
    server.sql("DROP SCHEMA nocturne CASCADE")
    assert "has no schema nocturne: `nocturne init` makes it" in said(here, "scheduler")
    assert "has no schema nocturne" in said(here, "worker")


@pytest.mark.parametrize(("layout", "mend"), [(0, "`nocturne init` brings it forward"), (99, "a newer release")])
def test_a_schema_of_another_release_is_told(here: Settings, server: Server, layout: int, mend: str) -> None:
    server.sql(f"UPDATE nocturne.installation SET layout = {layout}")
    line = said(here, "triggerer")
    assert f"has layout {layout}, and this release knows {database.LAYOUT}: {mend}" in line


def test_init_leaves_a_newer_schema_alone(here: Settings, server: Server) -> None:
    server.sql("UPDATE nocturne.installation SET layout = 99")
    with pytest.raises(InstallationError, match=r"a newer one has made it.*nothing was changed"):
        shared.bring_forward(here, print)


@pytest.mark.parametrize("change", ["version = '3.2.0'", "revision = 'before'"])
def test_tables_of_another_version_are_told(here: Settings, server: Server, change: str) -> None:
    server.sql(f"UPDATE nocturne.migrated SET {change}")
    line = said(here, "dag-processor")
    assert f"and here is {version('apache-airflow')}: `nocturne init` of the newer release brings it forward" in line


@pytest.mark.parametrize(("seconds", "word"), [(240, "ahead of"), (-240, "behind")])
def test_a_clock_that_is_off_by_minutes_is_told(
    here: Settings, monkeypatch: pytest.MonkeyPatch, seconds: int, word: str
) -> None:
    now = ready.time.time
    monkeypatch.setattr(ready.time, "time", lambda: now() + seconds)
    assert f"is 240 s {word} that of" in said(here, "scheduler")


def test_a_broker_that_refuses_or_is_gone_is_told(here: Settings, broker: int) -> None:
    refused = said(changed(here, celery_broker=f"redis://:wrong-one@127.0.0.1:{broker}/0"), "worker")
    assert f"the broker at 127.0.0.1:{broker} cannot be reached: " in refused
    assert "wrong-one" not in refused
    gone = said(changed(here, celery_broker=f"redis://127.0.0.1:{free_port()}/0"), "scheduler")
    assert "NOCTURNE_CELERY_BROKER" in gone


def test_a_bucket_that_cannot_be_reached_is_told(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    on_s3 = {"lake_uri": "s3://lake/here", "s3_endpoint": f"http://127.0.0.1:{free_port()}"}
    assert "s3://lake/here cannot be reached" in said(changed(here, **on_s3), "worker")


# --- certificates ---


def certificate(folder: Path, until: timedelta) -> Path:
    """A file with a key and a certificate of 127.0.0.1 that is its own authority, good until so long from now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(30)).not_valid_after(now + until)
    made = made.add_extension(address, False).add_extension(x509.BasicConstraints(True, None), True)
    signed = made.sign(key, hashes.SHA256())
    path = folder / "certificate.pem"
    form = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(form)
    )
    return path


@pytest.mark.parametrize(
    ("until", "trusted", "word"),
    [
        (timedelta(-1), True, "certificate has expired: renew it"),
        (timedelta(1), False, "self-signed certificate"),
        (timedelta(1), True, ""),
    ],
)
def test_a_certificate_that_has_run_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: timedelta, trusted: bool, word: str
) -> None:
    path = certificate(tmp_path, until)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        line = ready.problem(lambda: ready.check_certificate(f"https://localhost:{server.server_port}"))
        server.shutdown()
    assert (word in line) if word and line else line is None and not word


# --- the command ---


def test_a_service_that_is_not_ready_ends_with_a_line_and_leaves_nothing(here: Settings, tmp_path: Path) -> None:
    var = tmp_path / "of-the-service"
    given = {"NOCTURNE_PROFILE": CLUSTER, "NOCTURNE_VAR": str(var), "NOCTURNE_FERNET_KEY": "given"}
    ended = subprocess.run(
        [sys.executable, "-m", "include.cli", "serve", "triggerer"],
        env=several_machines.without_installation() | given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("nocturne serve: triggerer is not started: NOCTURNE_AIRFLOW_DB is missing, and")
    assert not var.exists()


def test_a_setting_that_makes_no_sense_is_a_line(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "include.cli", "serve", "scheduler"],
        env=several_machines.without_installation() | {"NOCTURNE_EXECUTOR": "dask", "NOCTURNE_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "nocturne serve: NOCTURNE_EXECUTOR=dask is none of local, celery, kubernetes\n"
