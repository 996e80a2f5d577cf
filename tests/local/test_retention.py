"""What is old is forgotten; what is young, or named by a version or a ledger, is not."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.core.settings import settings
from include.governance import events
from include.local import retention
from include.local.setup import set_up
from include.orchestration import alert_log

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KINDS = [one for one in retention.KINDS if isinstance(one, retention.Logs | retention.Caches | retention.Lines)]


@pytest.fixture(autouse=True)
def _without_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "KINDS", tuple(KINDS))


def put(path: Path, days: float, text: str = "x") -> Path:
    """A file that was written so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    at = (NOW - timedelta(days)).timestamp()
    for one in (path, path.parent):
        os.utime(one, (at, at))
    return path


def forget() -> list[str]:
    said: list[str] = []
    retention.forget(settings(), NOW, said.append)
    return said


def test_logs_of_old_tries_go_with_their_folders(home: Path) -> None:
    tasks = home / "log" / "airflow" / "dag_id=a"
    old = put(tasks / "run_id=1" / "task_id=t" / "attempt=1.log", 91)
    young = put(tasks / "run_id=2" / "task_id=t" / "attempt=1.log", 89)
    both = put(tasks / "run_id=3" / "task_id=t" / "attempt=1.log", 91)
    again = put(tasks / "run_id=3" / "task_id=t" / "attempt=2.log", 0)
    service = put(home / "log" / "scheduler.log", 400)
    os.utime(old.parents[1], (0, 0))
    assert "logs of tasks older than 90 days: 2" in "".join(retention.plan(settings(), NOW))
    assert old.exists()
    assert forget() == ["gone: logs of tasks older than 90 days: 2, 0.0 MB"]
    assert not old.parents[1].exists()
    assert not both.exists()
    assert all(one.exists() for one in (young, again, service))
    assert forget() == []


def test_a_task_that_begins_meanwhile_keeps_its_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = home / "log" / "airflow" / "dag_id=a" / "run_id=1"
    put(run / "task_id=t" / "attempt=1.log", 91)
    os.utime(run, (0, 0))
    kept = retention._unlink
    monkeypatch.setattr(retention, "_unlink", lambda files: (kept(files), put(run / "task_id=t" / "attempt=2.log", 0)))
    forget()
    assert (run / "task_id=t" / "attempt=2.log").exists()


def line(at: datetime, field: str = "at") -> str:
    return json.dumps({field: at.isoformat(), "error": "late"}) + "\n"


def test_old_alerts_and_events_go_and_what_does_not_say_when_stays(home: Path) -> None:
    old, young = NOW - timedelta(366), NOW - timedelta(364)
    put(settings().alerts, 0, line(old) + "half a li\n" + line(young) + "[]\n")
    put(events.default_file(), 0, line(old, "eventTime") * 3 + line(young, "eventTime"))
    mode = settings().alerts.stat().st_mode
    forget()
    assert settings().alerts.read_text() == "half a li\n" + line(young) + "[]\n"
    assert settings().alerts.stat().st_mode == mode
    assert events.default_file().read_text() == line(young, "eventTime")


def test_an_alert_that_comes_while_the_file_is_cut_is_not_lost(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(settings().alerts, 0, line(NOW - timedelta(400)))
    alert: Any = dict.fromkeys(alert_log.Alert.__required_keys__, "x")
    kept, writer = Path.chmod, threading.Thread(target=alert_log.keep, args=[alert])

    def slowly(path: Path, mode: int) -> None:
        """Between the last line that is read and the file that takes the place of the one that was."""
        writer.start()
        writer.join(0.3)
        kept(path, mode)

    monkeypatch.setattr(Path, "chmod", slowly)
    forget()
    writer.join()
    assert [json.loads(one) for one in settings().alerts.read_text().splitlines()] == [alert]


def test_what_is_made_again_goes_but_not_the_model_that_serves(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention.Caches, "_serving", lambda self: {("toy", "2")})
    models = home / "cache" / "models" / "toy"
    gone = [put(models / "1" / "model.ubj", 31), put(home / "checkpoints" / "toy.checkpoint", 31)]
    gone += [put(home / "searches" / "toy" / "a.json", 31), put(home / "cache" / "fitted" / "toy" / "a.ubj", 31)]
    stay = [put(models / "2" / "model.ubj", 300), put(home / "checkpoints" / "other.checkpoint", 29)]
    forget()
    assert not any(one.exists() for one in gone)
    assert all(one.exists() for one in stay)


def test_where_one_kind_fails_the_others_are_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(retention.Kind):
        def find(self, *_: Any) -> retention.Old:
            raise retention.CleaningError("Airflow is away")

        def forget(self, *_: Any) -> None:
            raise AssertionError

    monkeypatch.setattr(retention, "KINDS", (Broken(), *KINDS))
    old = put(home / "log" / "airflow" / "a" / "b.log", 91)
    assert retention.plan(settings(), NOW)[0] == "not known: Airflow is away"
    with pytest.raises(retention.CleaningError):
        forget()
    assert not old.exists()


# --- Airflow ---


@pytest.mark.full
def test_old_runs_of_airflow_go_with_what_belongs_to_them(home: Path) -> None:
    set_up(settings(), lambda line: None)
    now = datetime.now(UTC)
    with closing(sqlite3.connect(settings().airflow_database)) as database, database:
        columns = "dag_id, run_id, run_type, state, start_date, run_after, clear_number, span_status"
        database.execute("PRAGMA foreign_keys=OFF")
        for number, days in enumerate((200, 190, 1)):
            at = str((now - timedelta(days)).replace(tzinfo=None))
            values = ("d", f"run{number}", "scheduled", "success", at, at, 0, "not_started")
            database.execute(f"INSERT INTO dag_run ({columns}) VALUES (?,?,?,?,?,?,?,?)", values)
    kind = retention.AirflowRuns()
    assert kind.find(settings(), now).number == 2
    kind.forget(settings(), now)
    with closing(sqlite3.connect(settings().airflow_database)) as database:
        assert [one for (one,) in database.execute("SELECT run_id FROM dag_run")] == ["run2"]
        left = [
            one for (one,) in database.execute("SELECT name FROM sqlite_master WHERE name LIKE '_airflow_deleted%'")
        ]
        assert left == []
    assert kind.find(settings(), now).number == 0
