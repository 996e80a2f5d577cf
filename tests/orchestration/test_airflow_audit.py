"""What Airflow's own audit log says comes into ours once, whenever it is looked at, without what was set."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.lake import audit
from include.orchestration import airflow_audit
from include.orchestration.airflow_client import Airflow

NOW = datetime(2026, 1, 10, tzinfo=UTC)


class Log(Airflow):
    """Airflow's, as its API gives it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, event: str, owner: str = "ann", at: datetime = NOW, extra: Any = None, **place: str) -> None:
        nowhere = dict.fromkeys(("dag_id", "run_id", "task_id"))
        text = json.dumps({"method": "POST"} | (extra or {})) if extra is not False else None
        row = {
            "event_log_id": len(self.rows) + 1,
            "when": at.isoformat(),
            "event": event,
            "owner": owner,
            "extra": text,
        }
        self.rows.append(row | nowhere | place)

    def call(self, method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
        after, before = (datetime.fromisoformat(params[name]) for name in ("after", "before"))
        found = [
            row
            for row in self.rows
            if after < datetime.fromisoformat(row["when"]) < before and row["event"] not in params["excluded_events"]
        ]
        return {"event_logs": found[params["offset"] :][: params["limit"]]}


@pytest.fixture
def log(home: Path) -> Log:
    return Log()


def collect(log: Log, at: datetime = NOW + timedelta(minutes=1)) -> list[tuple[str, str, str, str]]:
    airflow_audit.collect(log, at)
    return list(audit.read().select("action", "subject", "who", "detail").iter_rows())


def test_who_did_what_without_what_was_set(log: Log) -> None:
    log.add("trigger_dag_run", dag_id="flight_delays_train", run_id="manual 1")
    log.add("patch_dag", extra={"is_paused": True}, dag_id="lakehouse_watch")
    log.add("post_connection", extra={"connection_id": "shop", "password": "***", "host": "db.example.com"})
    log.add("running", extra=False, dag_id="flight_delays_train", task_id="fit")
    log.add("heartbeat timeout", extra=False, dag_id="flight_delays_train", task_id="fit")
    log.add("cli_connections_add", owner="root", extra=False)
    log.add("login", extra={"method": "/auth/token"})
    assert collect(log) == [
        ("trigger_dag_run", "flight_delays_train manual 1", "ann", ""),
        ("patch_dag", "lakehouse_watch", "ann", "paused"),
        ("post_connection", "connection_id shop", "ann", ""),
        ("cli_connections_add", "Airflow", "root", ""),
        ("login", "Airflow", "ann", ""),
    ]


def test_each_line_comes_once_however_often_it_is_looked_at(log: Log) -> None:
    for second in range(250):
        log.add("login", owner=f"ann {second}", at=NOW - timedelta(minutes=10) + timedelta(seconds=second))
    assert len(collect(log)) == 250
    assert len(collect(log)) == 250
    log.add("login", owner="bob", at=NOW)
    assert collect(log)[-1][2] == "bob"
    assert len(audit.read()) == 251


def test_a_line_that_is_committed_late_is_not_missed(log: Log) -> None:
    log.add("login", owner="ann", at=NOW)
    collect(log)
    log.add("login", owner="late", at=NOW - timedelta(seconds=20))
    assert [line[2] for line in collect(log)] == ["ann", "late"]


def test_a_line_of_this_moment_waits(log: Log) -> None:
    log.add("login", at=NOW)
    assert collect(log, NOW + timedelta(seconds=5)) == []
    assert len(collect(log, NOW + timedelta(minutes=1))) == 1


def test_more_than_a_look_takes_is_taken_by_the_next(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_audit, "MOST", 200)
    for minute in range(450):
        log.add("login", owner=f"{minute}", at=NOW - timedelta(minutes=450 - minute))
    for _ in range(3):
        found = collect(log)
    assert sorted(int(line[2]) for line in found) == list(range(450))
