"""Who logs in is seen, with what came of it, and the password is not."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from include.web.logins import LOGIN, LOGOUT, REFUSED, Logins

PASSWORD = "correct horse"


def token(subject: str) -> str:
    body = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"header.{body}.signature"


def asked(
    path: str,
    body: bytes = b"",
    *,
    status: int,
    answer: dict[str, str] | None = None,
    cookie: str = "",
    brings: str = "",
) -> tuple[list[tuple[str, str, str]], bytes, list[dict[str, Any]]]:
    """What is written of a request, what the server behind has read of it, and what was sent back."""
    written: list[tuple[str, str, str]] = []
    read, sent = bytearray(), list[dict[str, Any]]()

    async def server(scope: Any, receive: Any, send: Any) -> None:
        read.extend((await receive())["body"])
        headers = [(b"set-cookie", f"_token={cookie}; Path=/".encode())] if cookie else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(answer or {}).encode()})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"cookie", f"a=b; _token={brings}".encode())] if brings else []
    scope = {"type": "http", "path": path, "method": "POST" if body else "GET", "headers": headers}
    asyncio.run(Logins(server, lambda *line: written.append(line))(scope, receive, send))
    return written, bytes(read), sent


JSON = json.dumps({"username": "ann", "password": PASSWORD}).encode()
FORM = urlencode({"username": "ann", "password": PASSWORD, "csrf_token": "x"}).encode()


@pytest.mark.parametrize(
    ("request_", "written"),
    [
        ({"path": "/auth/token", "body": JSON, "status": 201, "answer": {"access_token": token("3")}}, (LOGIN, "ann")),
        ({"path": "/auth/token", "body": JSON, "status": 401}, (REFUSED, "ann")),
        ({"path": "/auth/login/", "body": FORM, "status": 302, "cookie": token("3")}, (LOGIN, "ann")),
        ({"path": "/auth/login/", "body": FORM, "status": 302}, (REFUSED, "ann")),
        ({"path": "/auth/oauth-authorized/oidc", "status": 302, "cookie": token("7")}, (LOGIN, "7")),
        ({"path": "/auth/oauth-authorized/oidc", "status": 302}, (REFUSED, "")),
        ({"path": "/auth/logout", "status": 307, "brings": token("ann")}, (LOGOUT, "ann")),
        ({"path": "/auth/logout", "status": 307}, None),
        ({"path": "/auth/login/", "status": 200}, None),
        ({"path": "/api/v2/dags", "body": JSON, "status": 401}, None),
        ({"path": "/auth/token", "body": b"\xff{", "status": 422}, None),
        ({"path": "/auth/token", "body": b'["username"]', "status": 422}, None),
        ({"path": "/auth/token", "body": b'{"username": 3}', "status": 422}, None),
    ],
)
def test_what_is_written(request_: dict[str, Any], written: tuple[str, str] | None) -> None:
    found, read, sent = asked(**request_)
    assert [line[:2] for line in found] == ([written] if written else [])
    assert read == request_.get("body", b"")
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert PASSWORD not in str(found)


def test_a_log_that_takes_nothing_closes_no_door(caplog: pytest.LogCaptureFixture) -> None:
    def full(*line: str) -> None:
        raise OSError("no space left")

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 401, "headers": []})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": JSON}

    async def send(message: Any) -> None:
        return None

    asyncio.run(Logins(server, full)({"type": "http", "path": "/auth/token", "method": "POST"}, receive, send))
    assert "a line of the audit log is lost: login_refused ann" in caplog.text
