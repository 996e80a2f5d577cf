"""The SQL endpoint on loopback, before a small lake of a test's own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import adbc_driver_flightsql.dbapi as flight_sql
import polars as pl
import pytest

from include.core.settings import settings
from include.lake import delta
from include.serving.sql import access, users
from include.serving.sql.log import QueryLog
from include.serving.sql.personal import Personal, fingerprint
from include.serving.sql.server import Endpoint
from include.serving.sql.snapshot import Lake
from tests.s3 import free_port

RULES = """
[roles.viewer]
tables = ["gold.*"]
[roles.analyst]
tables = ["silver.*", "gold.*"]
hidden = ["silver.*.phone"]
[roles.newark]
tables = ["silver.*", "gold.*"]
[[roles.newark.rows]]
table = "silver.*"
column = "origin"
values = ["EWR"]
[roles.admin]
tables = ["*"]
personal = true
"""
FIRST, SECOND = date(2013, 6, 1), date(2013, 6, 2)
PEOPLE = pl.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "email": ["ann@example.com", "ben@example.com", "cy@example.com", "di@example.com"],
        "phone": ["1", "2", "3", "4"],
        "origin": ["EWR", "JFK", "EWR", None],
        "day": [FIRST, FIRST, SECOND, SECOND],
    }
)
SCORES = pl.DataFrame({"id": [1, 2, 3, 4], "score": [0.1, 0.2, 0.3, 0.4], "day": [FIRST, FIRST, SECOND, SECOND]})


def write(layer: str, name: str, frame: pl.DataFrame) -> None:
    """Put ``frame`` in the place of a table."""
    delta.replace_days(layer, name, frame, date(2000, 1, 1), date(2030, 1, 1), day="day")


class Client:
    """Connections of ADBC's own driver for Flight SQL."""

    def __init__(self, port: int, passwords: dict[str, str]) -> None:
        self.port, self.passwords = port, passwords
        self.opened: list[Any] = []

    def connect(self, user: str, password: str | None = None) -> Any:
        login = {"username": user, "password": self.passwords[user] if password is None else password}
        with catch_warnings():
            simplefilter("ignore")
            self.opened.append(
                flight_sql.connect(f"grpc://127.0.0.1:{self.port}", db_kwargs=login if user else {}, autocommit=True)
            )
        return self.opened[-1]

    def ask(self, user: str, sql: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of an answer."""
        with self.connect(user).cursor() as cursor:
            cursor.execute(sql, parameters=values or None)
            found: list[dict[str, Any]] = cursor.fetch_arrow_table().to_pylist()
            return found

    def refused(self, user: str, sql: str) -> str:
        """What is said of a statement that is not answered."""
        with pytest.raises(flight_sql.Error) as caught:
            self.ask(user, sql)
        return str(caught.value)

    def close(self) -> None:
        for one in self.opened:
            one.close()


@pytest.fixture
def rules(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says who may read what."""
    path = home / "sql.toml"
    path.write_text(RULES)
    monkeypatch.setattr(access, "path", lambda: path)
    return path


@pytest.fixture
def lake(rules: Path) -> Lake:
    """Two tables: of silver, whose ``email`` is personal, and of gold."""
    write("silver", "people", PEOPLE)
    write("gold", "scores", SCORES)
    folder = settings().var / "sql"
    folder.mkdir()
    known = {"silver.people": ["email"], "gold.features": []}
    (folder / "personal.json").write_text(json.dumps({"mark": fingerprint(settings().home), "tables": known}))
    return Lake(Personal(folder))


@pytest.fixture
def serve(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    """Starts the endpoint with some settings, and makes a user of each role, called as it is."""
    started: list[tuple[Endpoint, threading.Thread, Client]] = []

    def start(**said: Any) -> Client:
        of = settings().model_copy(update={"sql_port": free_port(), **said})
        endpoint = Endpoint(of, QueryLog(of.log / "sql.jsonl"), lake, of.var / "sql" / "spill")
        thread = threading.Thread(target=endpoint.serve)
        thread.start()
        client = Client(of.sql_port, {role: users.add(role, role) for role in access.roles()})
        started.append((endpoint, thread, client))
        return client

    yield start
    for endpoint, thread, client in started:
        client.close()
        endpoint.shutdown()
        thread.join()


@pytest.fixture
def client(serve: Callable[..., Client]) -> Client:
    return serve(sql_seconds=20)


def logged(event: str) -> list[dict[str, Any]]:
    """The lines of the log of one kind; of statements that have ended, once all that began have."""
    path = settings().log / "sql.jsonl"
    for _ in range(100):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if sum(one["event"] == "begun" for one in lines) == sum(one["event"] == "ended" for one in lines):
            break
        time.sleep(0.1)
    return [one for one in lines if one["event"] == event]
