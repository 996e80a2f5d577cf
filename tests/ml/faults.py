"""A real MLflow server, and a proxy before it that can be away, answer 503, hang, or break off in its answers."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Literal
from urllib.request import urlopen

from tests.s3 import free_port

type Kind = Literal["refused", "503", "hangs", "slow", "drops", "breaks off"]

HANGS = 30.0
"""Seconds without an answer."""


@dataclass
class Fault:
    """What happens to the requests whose method and path have ``at`` in them, ``times`` often.

    ``refused``: nobody listens from then on, until ``heal``. ``503``: nothing is done. ``hangs``: nothing is done, and
    no answer comes. ``slow``: it is done, and no answer comes. ``drops``: it is done, and the connection ends.
    ``breaks off``: it is done, and half of the answer comes.
    """

    kind: Kind
    at: str
    times: int = 10**6
    seen: list[str] = field(default_factory=list)

    def hits(self, request: str) -> bool:
        if self.at not in request or len(self.seen) >= self.times:
            return False
        self.seen.append(request)
        return True


class Proxy:
    """Passes on what comes to ``port``, to a server of this machine, but for what ``fault`` says."""

    def __init__(self, upstream: int) -> None:
        self.upstream, self.port = upstream, free_port()
        self.fault: Fault | None = None
        self.healed = Event()
        self.requests: list[str] = []
        self._lock = Lock()
        self._server: ThreadingHTTPServer | None = None
        self._open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def broken(self, kind: Kind, at: str, times: int = 10**6) -> Iterator[Fault]:
        """While this lasts, requests that ``at`` is part of go wrong."""
        self.healed.clear()
        self.fault = Fault(kind, at, times)
        try:
            yield self.fault
        finally:
            self.heal()

    def heal(self) -> None:
        """All is well again."""
        self.fault = None
        self.healed.set()
        with self._lock:
            self._open()

    def close(self) -> None:
        """Nobody listens: connections are refused."""
        with self._lock:
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()
                self._server = None

    def _open(self) -> None:
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
            Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = f"{self.command} {self.path}"
            proxy.requests.append(request)
            fault = proxy.fault if proxy.fault is not None and proxy.fault.hits(request) else None
            kind = fault.kind if fault else None
            self.close_connection = True  # as many connections as requests: a kept one would outlive a refusal
            if kind == "refused":
                proxy.close()
                return
            if kind == "503":
                self.send_error(503)
                return
            if kind == "hangs":
                proxy.healed.wait(HANGS)
                return
            answer, content = self._ask(body)
            if kind == "slow":
                proxy.healed.wait(HANGS)
            if kind in ("slow", "drops"):
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "server", "date"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if kind == "breaks off" else content)

        def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=60)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body=body, headers=headers)
                answer = connection.getresponse()
                return answer, answer.read()
            finally:
                connection.close()

        def handle_one_request(self) -> None:
            with suppress(ConnectionError):  # the client has lost patience
                super().handle_one_request()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815  # as http.server calls them

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    return Handler


@contextmanager
def server(folder: Path, empty: Path) -> Iterator[int]:
    """A real MLflow server with artifacts of its own, and its port. It begins with the database ``empty``."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "mlflow.db"
    database.write_bytes(empty.read_bytes())
    port, uri = free_port(), f"sqlite:///{database}"
    argv = [sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--no-access-log"]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_REGISTRY_URI": uri,
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, port, folder / "log")
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 240  # of a busy machine
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
                assert answer.status == 200
            return
        time.sleep(0.05)
    raise AssertionError(f"MLflow did not start: {log.read_text()[-2000:]}")
