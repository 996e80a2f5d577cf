"""The health check of a container: well only where the service really answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from include.local.answers import problem

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def server(status: int, body: object = None) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as the standard library calls it
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as one:
        Thread(target=one.serve_forever, daemon=True).start()
        yield one.server_port
        one.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "component", "said"),
    [
        (200, None, "", ""),
        (404, None, "", "answers 404"),
        (200, {"triggerer": {"status": "healthy"}}, "triggerer", ""),
        (200, {"triggerer": {"status": "unhealthy"}}, "triggerer", "triggerer is unhealthy"),
        (200, {"triggerer": {"status": None}}, "triggerer", "triggerer is not there"),
        (200, {"scheduler": {"status": "healthy"}}, "triggerer", "no triggerer"),
        (200, "no report", "triggerer", "no triggerer"),
    ],
)
def test_what_is_well(status: int, body: object, component: str, said: str) -> None:
    with server(status, body) as port:
        found = problem(f"http://127.0.0.1:{port}/health", component)
        assert (said in found) if said else (found == "")
        assert problem(f"tcp://127.0.0.1:{port}") == ""


def test_a_service_that_is_gone_is_an_exit_code_and_a_line() -> None:
    with server(200) as port:
        pass
    done = subprocess.run(
        [sys.executable, "-m", "include.local.answers", f"http://127.0.0.1:{port}/"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"http://127.0.0.1:{port}/ does not answer")
    assert done.stderr.count("\n") == 1
