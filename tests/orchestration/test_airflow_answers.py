"""A server that answers late is asked again for what only asks, and never told twice to begin something."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from include.core.settings import Settings
from include.orchestration import airflow_client
from include.orchestration.airflow_client import Airflow

LATE = 1.0


class Busy(ThreadingHTTPServer):
    """An API whose first ``late`` answers come after the client has given up on them."""

    daemon_threads = True

    def __init__(self, late: int) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.late, self.asked = late, list[str]()


class Answers(BaseHTTPRequestHandler):
    server: Busy

    def do_GET(self) -> None:
        self._answer("GET", {"state": "success"})

    def do_POST(self) -> None:
        token = self.path == "/auth/token"
        self._answer("" if token else "POST", {"access_token": "one"} if token else {"state": "queued"})

    def _answer(self, asked: str, body: dict[str, str]) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if asked:
            self.server.asked.append(asked)
            if len(self.server.asked) <= self.server.late:
                time.sleep(LATE)
        with suppress(BrokenPipeError):  # who asked has given up
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    monkeypatch.setattr(airflow_client, "ANSWER", LATE / 3)
    monkeypatch.setattr(airflow_client, "BACK", LATE / 3)
    with Busy(late=2) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(busy: Busy, tmp_path: Path) -> Airflow:
    settings = Settings(var=tmp_path, airflow_port=busy.server_port)
    settings.secrets.mkdir()
    (settings.secrets / "airflow_admin_password").write_text("secret")
    return Airflow(settings)


def test_what_only_asks_is_asked_again(busy: Busy, client: Airflow) -> None:
    assert client.call("GET", "/dags/one/dagRuns/two") == {"state": "success"}
    assert busy.asked == ["GET"] * 3


def test_what_may_have_begun_something_is_not_sent_twice(busy: Busy, client: Airflow) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.call("POST", "/dags/one/dagRuns", json={})
    assert busy.asked == ["POST"]


def test_a_server_that_never_answers_ends_the_wait(
    busy: Busy, client: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_client, "ANSWERED", 1.0)
    busy.late = 100
    with pytest.raises(httpx.ReadTimeout):
        client.call("GET", "/dags")
    assert len(busy.asked) > 1
