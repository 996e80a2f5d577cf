"""A use case with predictions of some days in a lake of its own, and real targets: PostgreSQL, an API, S3, Kafka."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.contracts.publishing import Target
from include.contracts.use_case import UseCase
from include.lake import delta
from include.serving import publishing
from tests.ingestion.connectors.test_database import PASSWORD, Server
from tests.ml.conftest import toy_case
from tests.postgres import server

DAY = date(2020, 2, 1)
NEXT = DAY + timedelta(1)


def predictions(day: date, scores: dict[str, float], version: int = 1, **more: Any) -> pl.DataFrame:
    """Predictions of a day: of each coin its score."""
    rows = {
        "coin_id": list(scores),
        "flight_date": [day] * len(scores),
        "score": list(scores.values()),
        "model_version": [version] * len(scores),
        "scored_by": ["champion"] * len(scores),
        "features_content": ["any"] * len(scores),
    }
    kinds = {"coin_id": pl.String, "flight_date": pl.Date, "score": pl.Float64, "model_version": pl.Int64}
    kinds |= {"scored_by": pl.String, "features_content": pl.String}
    return pl.DataFrame(rows, schema=kinds).with_columns(
        **{name: value if isinstance(value, pl.Expr) else pl.lit(value) for name, value in more.items()}
    )


def score(case: UseCase, day: date, scores: dict[str, float], **more: Any) -> None:
    """Have the lake say so of a day, instead of what it said before."""
    delta.replace_days("gold", case.predictions_table, predictions(day, scores, **more), day, day, day=case.day)


FIRST = {f"coin {n}": n / 10 for n in range(6)}
"""What is scored first."""
SECOND = {"coin 0": 0.0, "coin 1": 0.9, "coin 3": 0.3, "coin 4": 0.4, "coin 5": 0.5, "coin 6": 0.6}
"""What is scored then: one is other than before, one is new, one is gone."""


def case_of(*targets: Target) -> UseCase:
    return toy_case(publish=targets)


@pytest.fixture
def use(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., UseCase]:
    """The toy use case with targets, found by its name, and two days scored."""

    def made(*targets: Target) -> UseCase:
        case = case_of(*targets)
        monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
        score(case, DAY, FIRST)
        score(case, NEXT, {"coin 7": 0.7})
        return case

    return made


def publish(case: UseCase, first: date = DAY, last: date = NEXT) -> list[publishing.Outcome]:
    """What came of each day of the first target."""
    return [one for _, one in publishing.send(case, case.publish[0], first, last, "a test")]


def verbs(case: UseCase, first: date = DAY, last: date = NEXT) -> list[str]:
    return [one.verb for one in publish(case, first, last)]


# --- PostgreSQL ---


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A PostgreSQL of a module's own."""
    with server() as found:
        yield found


@pytest.fixture
def database(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The same, empty, as the connection ``scores``."""
    postgres.sql("DROP SCHEMA IF EXISTS app CASCADE; CREATE SCHEMA app")
    found = {"conn_type": "postgres", "host": "127.0.0.1", "port": postgres.port, "schema": "postgres"}
    found |= {"login": "toys", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_SCORES", json.dumps(found))
    return postgres


# --- an API ---


@dataclass
class Receiver:
    """An API that keeps of each key the highest revision, as docs/publish-predictions.md asks of a receiver.

    Attributes:
        answers: what it says to the next requests instead of 200: a status, or one with a Retry-After.
        requests: what came: the batch, its Idempotency-Key, and when.
        rows: what it has: by key, the revision, and the row or None where it is gone.
        lost: so many answers are never given, though the batch was taken.
    """

    address: str
    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, tuple[int, Any]] = field(default_factory=dict)
    lost: int = 0

    @property
    def held(self) -> dict[str, float]:
        """The score of each coin and day that is not gone."""
        return {key: row["score"] for key, (_, row) in sorted(self.rows.items()) if row is not None}

    def take(self, body: dict[str, Any]) -> None:
        for event in body["events"]:
            key = f"{event['key']['flight_date']} {event['key']['coin_id']}"
            if event["revision"] > self.rows.get(key, (0, None))[0]:
                self.rows[key] = (event["revision"], event["row"])


@pytest.fixture
def receiver(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            key = self.headers["Idempotency-Key"]
            found.requests.append({"body": body, "key": key, "at": time.monotonic(), "headers": dict(self.headers)})
            status, after = found.answers.pop(0) if found.answers else (200, "")
            if status == 200:
                found.take(body)
            if found.lost:
                found.lost -= 1
                self.close_connection = True
                return
            self.send_response(status)
            if after:
                self.send_header("Retry-After", after)
            answer = b"" if status == 200 else f"no, {self.headers['Authorization']}".encode()
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connection = {"conn_type": "http", "host": found.address, "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_RECEIVER", json.dumps(connection))
    yield found
    server.shutdown()
    server.server_close()
