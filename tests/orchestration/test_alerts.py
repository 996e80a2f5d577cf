"""A failure is told once: in a file, at a webhook; and whoever listens there cannot hold anything up."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout
from pydantic import ValidationError

from include.core.errors import NeedsAttentionError, StoppedError
from include.core.settings import Settings, settings
from include.local.environment import ALERT_WEBHOOK, of_secrets, of_settings
from include.local.programs import programs
from include.orchestration import alerts, channels, incidents
from include.orchestration.airflow_client import Airflow, Run
from include.orchestration.alerts import Tell

pytestmark = pytest.mark.usefixtures("home")

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


class Chat(ThreadingHTTPServer):
    """A server that takes messages; one that ``hangs`` never answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.got: list[dict[str, Any]] = []
        self.status, self.hangs = 200, threading.Event()


class Answer(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.server.hangs.is_set():
            time.sleep(30)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    server = Chat()
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NOCTURNE_ALERT_WEBHOOK", f"http://127.0.0.1:{server.server_port}/T0/a-token")
    settings.cache_clear()
    yield server
    server.shutdown()
    server.server_close()


def failed(
    error: BaseException | None, night: str = "2013-06-02", task: str | None = "plan", run: str = "", **more: Any
) -> dict[str, Any]:
    """What Airflow hands to a failure's callback: of a task, or without a ``task`` of a run."""
    dag_run = SimpleNamespace(
        dag_id="lakehouse_ingest_flights",
        run_id=run or f"run of {night}",
        partition_key=night,
        conf={},
        start_date=STARTED,
    )
    context = {"dag_run": dag_run, "ti": task and SimpleNamespace(task_id=task), **more}
    return context | ({"exception": error} if error else {})


def kept() -> list[dict[str, Any]]:
    return [json.loads(line) for line in settings().alerts.read_text().splitlines()]


def test_one_message_says_it_all(chat: Chat) -> None:
    Tell()(failed(NeedsAttentionError("actuals/2013-06-02.csv: a header and no rows")))
    (sent,) = chat.got
    for part in ("lakehouse_ingest_flights", "2013-06-02", "plan", "a header and no rows", "clear the task"):
        assert part in sent["text"]
    assert (
        f"{settings().airflow_url}/dags/lakehouse_ingest_flights/runs/run%20of%202013-06-02/tasks/plan" in sent["text"]
    )
    assert [{key: sent[key] for key in one} for one in kept()] == kept()


def test_a_task_that_goes_on_can_tell_of_what_went_wrong(chat: Chat) -> None:
    """As where somebody else than its champion has scored a day."""
    said = "version 2 could not score 2013-06-03"
    alerts.tell(failed(None, task="score"), "fallback", "fallback flight_delays 2013-06-03", said, "restore it")
    (sent,), (line,) = chat.got, kept()
    assert (line["task"], line["error"], line["todo"]) == ("score", said, "restore it")
    assert said in sent["text"]


def test_a_second_try_of_a_task_tells_of_the_same_once(chat: Chat) -> None:
    """As where a challenger was rolled back, and the task that did so was killed before it had told of it, or after."""
    for _ in range(2):
        alerts.tell_once(failed(None, task="look_again"), "version 2 was rolled back", "nothing")
    alerts.tell_once(failed(None, night="2013-06-03", task="look_again"), "version 2 was rolled back", "nothing")
    assert len(chat.got) == len(kept()) == 2


def test_a_task_that_took_too_long_says_which_setting_gives_it_more(chat: Chat) -> None:
    Tell()(failed(AirflowTaskTimeout("Timeout, PID: 7")))
    assert "NOCTURNE_TASK_MINUTES" in chat.got[0]["text"]


def test_a_run_is_told_of_only_where_no_task_has_spoken(chat: Chat) -> None:
    Tell()(failed(KeyError("x")))
    Tell()(failed(None, task=None, reason="task_failure"))
    assert len(chat.got) == 1
    Tell()(failed(None, night="2013-06-03", task="load", reason="timed_out"))
    assert "the run failed: timed_out" in chat.got[1]["text"]


def test_the_night_to_mend_is_named_once(chat: Chat) -> None:
    """28 nights that one refused night has stopped are 28 lines in the file and one message."""
    Tell()(failed(NeedsAttentionError("no rows"), "2013-06-02"))
    for day in range(3, 31):
        Tell()(failed(StoppedError("2013-06-02 has failed", by="2013-06-02"), f"2013-06-{day:02}", "history"))
    assert len(chat.got) == 1
    assert len(kept()) == 29
    Tell()(failed(StoppedError("2013-07-02 has failed", by="2013-07-02"), "2013-07-03", "history"))
    Tell()(failed(StoppedError("2013-07-02 has failed", by="2013-07-02"), "2013-07-04", "history"))
    assert [one["stopped_by"] for one in chat.got] == ["", "2013-07-02"]


def test_a_night_that_fails_again_is_told_again_only_where_it_is_wrong_in_another_way(chat: Chat) -> None:
    for said in ("no rows", "no rows", "no header"):
        Tell()(failed(NeedsAttentionError(said)))
    assert [one["event"] for one in chat.got] == ["opened", "again"]
    assert [one["event"] for one in kept()] == ["opened", "known", "again"]


def test_a_message_says_whom_it_touches(chat: Chat) -> None:
    Tell()(failed(NeedsAttentionError("no rows")))
    assert "Touches: flight_delays, weather_temperature: no features" in chat.got[0]["text"]
    assert alerts.touches("flight_delays_monitor").startswith("flight_delays: the night is not measured")
    assert alerts.touches("lakehouse_maintain") == ""


def test_a_failure_is_told_where_the_ledger_of_incidents_does_not_answer(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OSError("the lake is away")

    monkeypatch.setattr(incidents, "report", away)
    for _ in range(2):
        Tell()(failed(NeedsAttentionError("no rows")))
    assert len(chat.got) == 2, "once too often rather than not at all"


class Follower(Airflow):
    """Airflow's client, of which one task has failed."""

    def __init__(self) -> None:
        self.url = "http://airflow"

    def tasks(self, run: Run) -> list[dict[str, Any]]:
        return [{"task_id": "wait", "state": "success"}, {"task_id": "plan", "state": "failed"}]


def test_who_follows_a_run_reads_what_its_task_said() -> None:
    Tell().notify(failed(NeedsAttentionError("orders.csv has no column total"), run="a"))
    Tell().notify(failed(NeedsAttentionError("of another run"), run="b"))
    run = Run("lakehouse_ingest_flights", "a", "2013-06-02", "failed", "", STARTED.timestamp(), None, "manual")
    first, *said, last = Follower().explain(run).splitlines()
    assert first == "lakehouse_ingest_flights 2013-06-02 failed in plan"
    assert said == ["orders.csv has no column total"]
    assert last.endswith("/dags/lakehouse_ingest_flights/runs/a/tasks/plan")
    begun_again = replace(run, start=time.time() + 60)
    assert "no column total" not in Follower().explain(begun_again), "it was cleared, and that was its first try"


def test_a_webhook_that_hangs_holds_nothing_up(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "PATIENCE", 0.3)
    chat.hangs.set()
    begun = time.monotonic()
    Tell()(failed(KeyError("x")))
    assert time.monotonic() - begun < 25, "as long as the chat hangs, or nearly"
    assert len(kept()) == 1


@pytest.mark.parametrize("state", ["refuses", "is down"])
def test_a_webhook_that_fails_says_no_secret(chat: Chat, caplog: pytest.LogCaptureFixture, state: str) -> None:
    chat.status = 500
    if state == "is down":
        chat.shutdown()
        chat.server_close()
    with caplog.at_level(logging.DEBUG, logger="include"):
        Tell()(failed(KeyError("x")))
    assert "webhook" in caplog.text
    assert "a-token" not in caplog.text
    assert "a-token" not in settings().alerts.read_text()


def test_a_message_holds_no_secret_that_airflow_knows(chat: Chat) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret("s3cr3t-of-a-connection")
    Tell()(failed(RuntimeError("login with s3cr3t-of-a-connection failed")))
    assert "s3cr3t-of-a-connection" not in json.dumps([*chat.got, *kept()])


def test_what_is_in_the_file_may_be_broken(chat: Chat) -> None:
    settings().alerts.parent.mkdir(parents=True, exist_ok=True)
    settings().alerts.write_bytes(b'{"at": 1}\n\xff\xfe\nnull\n{"dag"')
    Tell()(failed(KeyError("x")))
    assert len(chat.got) == 1


def test_the_address_is_shown_nowhere_and_reaches_those_who_tell() -> None:
    url = "https://chat.example/T0/a-token"
    ours = Settings(alert_webhook=url)
    assert "a-token" not in repr(ours)
    assert "a-token" not in ours.model_dump_json()
    assert "a-token" not in str(of_settings(ours))
    ours.secrets.mkdir()
    for name in (
        "fernet_key",
        "jwt_secret",
        "api_secret_key",
        "airflow_admin_password",
        "mlflow_admin_password",
        "mlflow_secret_key",
        "spark_token",
        "metrics_token",
    ):
        (ours.secrets / name).write_text("made up")
    assert of_secrets(ours)[ALERT_WEBHOOK] == url
    knows = {program.name for program in programs(ours) if ALERT_WEBHOOK in program.secrets}
    assert knows == {"scheduler", "dag-processor"}


@pytest.mark.parametrize("url", ["http://chat.example/a-token", "ftp://127.0.0.1/a-token", "chat/a-token"])
def test_only_a_safe_address_is_taken(url: str) -> None:
    with pytest.raises(ValidationError, match="NOCTURNE_ALERT_WEBHOOK is") as refused:
        Settings(alert_webhook=url)
    assert "a-token" not in str(refused.value)
