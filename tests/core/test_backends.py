"""Secrets that AWS Secrets Manager or Vault keeps, asked for by Airflow's own backends; a server of ours answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.core import backends
from include.core.backends import SecretsBackendError
from include.core.settings import NotSetUpError, Settings
from include.local.environment import environment
from tests.s3 import free_port

KEPT = {"nocturne_fernet_key": "kept elsewhere", "nocturne_airflow_db": "postgresql://me:pw@db/airflow"}


class Keeper(BaseHTTPRequestHandler):
    """Answers as Secrets Manager does to a POST, and as Vault's second key-value engine to a GET."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["SecretId"]
        folder, _, name = asked.rpartition("/")
        found = KEPT.get(name) if folder == "airflow/config" else None
        missing = {"__type": "ResourceNotFoundException", "message": "there is none"}
        self._answer(200 if found else 400, {"Name": name, "SecretString": found} if found else missing)

    def do_GET(self) -> None:
        folder, _, name = self.path.rpartition("/")
        found = KEPT.get(name) if folder == "/v1/secret/data/config" else None
        self._answer(200 if found else 404, {"data": {"data": {"value": found}, "metadata": {}}} if found else {})

    def _answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Keeper)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    found = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", found)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    backends.asked.cache_clear()
    yield found
    backends.asked.cache_clear()
    server.shutdown()
    server.server_close()


def of(kind: str, address: str, var: Path) -> Settings:
    vault = {"url": address, "auth_type": "token", "token": "made-up", "mount_point": "secret", "config_path": "config"}
    kwargs = vault if kind == "vault" else {"config_prefix": "airflow/config"}
    return Settings(var=var, secrets_backend=kind, secrets_backend_kwargs=json.dumps(kwargs), airflow_db="")


@pytest.mark.parametrize("kind", ["aws", "vault"])
def test_what_is_not_given_is_asked_for(kind: str, address: str, tmp_path: Path) -> None:
    here = of(kind, address, tmp_path)
    assert here.secret("fernet_key") == "kept elsewhere"
    assert here.airflow_connection == "postgresql+psycopg://me:pw@db/airflow"
    with pytest.raises(NotSetUpError, match=f"NOCTURNE_JWT_SECRET is missing, and {kind} has no such secret"):
        here.secret("jwt_secret")
    child = environment(here, frozenset())
    assert child["AIRFLOW__SECRETS__BACKEND"] == backends.CLASSES[kind]
    assert "made-up" not in child.get("AIRFLOW__SECRETS__BACKEND_KWARGS", "")


def test_what_is_given_is_asked_of_nobody(tmp_path: Path) -> None:
    here = Settings(var=tmp_path, secrets_backend="vault", secrets_backend_kwargs="not even JSON", jwt_secret="given")
    assert here.secret("jwt_secret") == "given"


def test_a_backend_that_does_not_answer_is_a_line(tmp_path: Path) -> None:
    here = of("vault", f"http://127.0.0.1:{free_port()}", tmp_path)
    said = r"NOCTURNE_SECRETS_BACKEND=vault cannot be asked .*: AIRFLOW__SECRETS__BACKEND_KWARGS says where it is"
    with pytest.raises(SecretsBackendError, match=said):
        here.secret("jwt_secret")
