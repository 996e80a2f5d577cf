"""Logins at Airflow, as lines of Airflow's own audit log, which has none of them.

It sits around the whole web server and looks at the few requests by which somebody logs in. A password that is given
goes by unread but for the name beside it, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

LOGIN, REFUSED, LOGOUT = "login", "login_refused", "logout"
FORMS = ("/auth/token", "/auth/token/cli", "/auth/login", "/auth/login/")
"""Where a name and a password are posted, as JSON or as a form."""
RETURNS = "/auth/oauth-authorized/"
"""Where an identity provider sends somebody back."""
COOKIE = "_token"
MOST = 8192
"""Bytes of a request or an answer that are looked at."""
NAME = 128
"""Letters of a name."""


class Logins:
    """The middleware. ``write`` takes the event, the name and the way; it is called in a thread."""

    def __init__(self, app: App, write: Callable[[str, str, str], None] | None = None) -> None:
        self.app, self.write = app, write or to_airflow

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        is_form = scope.get("method") == "POST" and path in FORMS
        if scope["type"] != "http" or not (is_form or path.startswith(RETURNS) or path == "/auth/logout"):
            await self.app(scope, receive, send)
            return
        asked, answered, status, cookies = bytearray(), bytearray(), 0, list[str]()

        async def reading() -> Message:
            message = await receive()
            if len(asked) < MOST:
                asked.extend(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                cookies.extend(value.decode("latin-1") for name, value in message["headers"] if name == b"set-cookie")
            elif len(answered) < MOST:
                answered.extend(message.get("body", b""))
            await send(message)

        await self.app(scope, reading, sending)
        if (said := outcome(path, bytes(asked), status, cookies, bytes(answered), _cookie(scope))) is not None:
            event, name = said
            try:
                await asyncio.to_thread(self.write, event, name, path)
            except Exception:  # who has logged in must not find a closed door since nobody could write it down
                log.exception("a line of the audit log is lost: %s %s", event, name)


def outcome(
    path: str, asked: bytes, status: int, cookies: list[str], answered: bytes, cookie: str = ""
) -> tuple[str, str] | None:
    """What came of a request that logs in or out: the event, and whose name; None where it was neither."""
    if path == "/auth/logout":
        return (LOGOUT, who) if (who := _subject(cookie)) else None
    token = next((one.split(";")[0].removeprefix(f"{COOKIE}=") for one in cookies if one.startswith(f"{COOKIE}=")), "")
    if status in (200, 201):
        token = token or str(_json(answered).get("access_token", ""))
    given = _name(asked)
    if token and status < 400:
        return LOGIN, given or _subject(token)
    # A form that is not taken comes back, or leads back to itself.
    return (REFUSED, given) if given or path.startswith(RETURNS) else None


def _name(body: bytes) -> str:
    """The user name in a request; empty where there is none."""
    found = _json(body).get("username") or next(iter(parse_qs(body.decode("utf-8", "replace")).get("username", [])), "")
    return found[:NAME] if isinstance(found, str) else ""


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _subject(token: str) -> str:
    """Whom a token is of. It is the server's own, on its way out: nothing is decided by it here."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        return str(_json(base64.urlsafe_b64decode(parts[1] + "==")).get("sub", ""))[:NAME]
    except ValueError:
        return ""


def _cookie(scope: Message) -> str:
    """The token that a request brings."""
    for name, value in scope.get("headers", []):
        if name == b"cookie":
            for one in value.decode("latin-1").split("; "):
                if one.startswith(f"{COOKIE}="):
                    return str(one.removeprefix(f"{COOKIE}="))
    return ""


def to_airflow(event: str, name: str, path: str) -> None:
    """Write a line of Airflow's audit log."""
    from airflow.models import Log
    from airflow.utils.session import create_session

    who = _named(name)
    with create_session() as session:
        session.add(Log(event, owner=who, owner_display_name=who, extra=json.dumps({"method": path})))


def _named(name: str) -> str:
    """The name of an account: a token of FAB has its number."""
    from airflow.api_fastapi.app import get_auth_manager

    if not name.isdigit() or type(get_auth_manager()).__name__ != "FabAuthManager":
        return name
    from airflow.providers.fab.auth_manager.models import User
    from airflow.utils.session import create_session

    with create_session() as session:
        user = session.get(User, int(name))
        return user.username if user else name
