"""What a command reads of MLflow: from the server, and where that is down from its database."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import mlflow
import pytest

from include.core.settings import settings
from include.local import credentials
from include.ml import mlflow_api
from tests.ml.conftest import toy_case
from tests.s3 import free_port

CASE = toy_case()


class Handler(BaseHTTPRequestHandler):
    """Knows version 3 of the case, for who logs in; breaks at version 5."""

    def do_GET(self) -> None:  # as http.server calls it
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        login = base64.b64encode(f"admin:{settings().secret('mlflow_admin_password')}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            self.send_error(401)
        elif parts.path != "/api/2.0/mlflow/model-versions/get" or asked != {"name": CASE.name, "version": "3"}:
            self.send_error(500 if asked.get("version") == "5" else 404)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"model_version": {"tags": [{"key": "git_commit", "value": "abc"}]}}).encode())

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def port(home: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Where MLflow would listen, of an installation that is set up."""
    port = free_port()
    monkeypatch.setenv("NOCTURNE_MLFLOW_PORT", str(port))
    settings.cache_clear()
    credentials.generate(settings())
    return port


@pytest.fixture
def server(port: int) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", port), Handler) as there:
        Thread(target=there.serve_forever, daemon=True).start()
        yield
        there.shutdown()


@pytest.mark.usefixtures("server")
def test_the_server_tells_the_tags_of_a_version() -> None:
    assert mlflow_api.tags_of(CASE, 3) == {"git_commit": "abc"}


@pytest.mark.usefixtures("server")
def test_a_version_that_it_does_not_know_has_none() -> None:
    assert mlflow_api.tags_of(CASE, 4) is None


@pytest.mark.usefixtures("server")
def test_a_server_that_fails_is_not_taken_for_one_that_knows_nothing() -> None:
    with pytest.raises(httpx.HTTPStatusError):
        mlflow_api.tags_of(CASE, 5)


@pytest.mark.usefixtures("port")
def test_without_a_server_its_database_tells(empty_mlflow: Path) -> None:
    assert mlflow_api.tags_of(CASE, 1) is None
    settings().mlflow_database.parent.mkdir(parents=True)
    shutil.copy(empty_mlflow, settings().mlflow_database)
    client = mlflow.MlflowClient(f"sqlite:///{settings().mlflow_database}")
    client.create_registered_model(CASE.name)
    client.create_model_version(CASE.name, "s3://models/x", tags={"git_commit": "abc"})
    assert mlflow_api.tags_of(CASE, 1) == {"git_commit": "abc"}
    assert mlflow_api.tags_of(CASE, 2) is None
