"""Slack, mail and SNS get the same message, each from a real server of its kind that this test runs."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from pydantic import ValidationError

from include.core.settings import Settings, settings
from include.local import credentials
from include.local.environment import ALERT_SECRETS, SMTP_LOGIN, environment, of_secrets, of_settings
from include.local.programs import programs
from include.orchestration import channels
from include.orchestration.alert_log import Alert

pytestmark = pytest.mark.usefixtures("home")

TOPIC = "arn:aws:sns:eu-central-1:123456789012:nights"
ALERT: Alert = {
    "at": "2026-06-15T12:00:00+00:00",
    "dag": "lakehouse_ingest_flights",
    "run": "a",
    "partition": "2026-06-14",
    "task": "plan",
    "error": "actuals/2026-06-14.csv: a header and no rows — <b>",
    "todo": "mend it",
    "link": "http://127.0.0.1/a",
    "stopped_by": "",
    "kind": "failed",
    "event": "opened",
    "touches": "flight_delays",
}


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that says what SMTP wants to hear, and keeps what it was sent."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Smtp)
        self.got: list[str] = []
        self.refuses = False


class Smtp(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.upper()[:4]
            if word == "DATA":
                self.say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode(), ".\r\n")
                self.server.got.append("".join(lines))
            if word == "RCPT" and self.server.refuses:
                self.say("550 no such person")
            else:
                self.say("221 bye" if word == "QUIT" else "250 well")

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Posts(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Post)
        self.got: list[bytes] = []


class Post(BaseHTTPRequestHandler):
    server: Posts

    def do_POST(self) -> None:
        self.server.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(
            b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
            if b"Action=Publish" in self.server.got[-1]
            else b"ok"
        )

    def log_message(self, *_: Any) -> None:
        pass


def serving[S: socketserver.BaseServer](server: S) -> Iterator[S]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    yield from serving(Mailbox())


@pytest.fixture
def posts() -> Iterator[Posts]:
    yield from serving(Posts())


def configured(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """The settings as a service has them: the mail server's login is a connection by then."""
    monkeypatch.setenv("AIRFLOW_CONN_NOCTURNE_ALERTS", Settings(**values).smtp_connection)
    for name, value in values.items():
        monkeypatch.setenv(f"NOCTURNE_{name.upper()}", value)
    monkeypatch.delenv("NOCTURNE_ALERT_SMTP", raising=False)
    settings.cache_clear()


def test_slack_gets_the_text_alone(monkeypatch: pytest.MonkeyPatch, posts: Posts) -> None:
    configured(monkeypatch, alert_slack=f"http://127.0.0.1:{posts.server_port}/services/T0/a-token")
    assert channels.send(ALERT) == {"slack": ""}
    (sent,) = posts.got
    assert sent.startswith(b'{"text":')
    assert b"Touches: flight_delays" in sent


def test_mail_goes_to_all_who_want_it(monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox) -> None:
    address = f"smtp://127.0.0.1:{mailbox.server_address[1]}"
    configured(monkeypatch, alert_email="ann@example.com, bob@example.com", alert_smtp=address, alert_from="n@x.de")
    assert channels.send(ALERT) == {"email": ""}
    (sent,) = mailbox.got
    for part in ("ann@example.com", "bob@example.com", "From: n@x.de", "Subject: lakehouse_ingest_flights 2026-06-14"):
        assert part in sent
    mailbox.refuses = True
    assert channels.send(ALERT)["email"], "who was not told is known"


def test_sns_gets_it_as_its_api_has_it(monkeypatch: pytest.MonkeyPatch, posts: Posts) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{posts.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    configured(monkeypatch, alert_sns=TOPIC)
    assert channels.send(ALERT) == {"sns": ""}
    sent = parse_qs(posts.got[0].decode())
    assert sent["TargetArn"] == [TOPIC]
    assert "a header and no rows" in sent["Message"][0]
    assert len(sent["Subject"][0]) <= 100
    assert sent["Subject"][0].isascii(), "SNS refuses others"


def test_one_that_does_not_answer_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch, posts: Posts) -> None:
    here = f"http://127.0.0.1:{posts.server_port}/a-token"
    configured(monkeypatch, alert_webhook="http://127.0.0.1:9/a-token", alert_slack=here)
    found = channels.send(ALERT)
    assert found["slack"] == ""
    assert found["webhook"]
    assert "token" not in str(found)


def test_a_login_reaches_only_those_who_tell() -> None:
    ours = Settings(alert_smtp="smtps://ann:s3cret@mail.example.com", alert_email="a@example.com")
    assert "s3cret" not in str(of_settings(ours)) + repr(ours)
    for name in (*SECRETS,):
        ours.secrets.mkdir(exist_ok=True)
        (ours.secrets / name).write_text("made up")
    assert of_secrets(ours)["AIRFLOW_CONN_NOCTURNE_ALERTS"].startswith("smtp://ann:s3cret@mail.example.com:465/")
    assert {one.name for one in programs(ours) if ALERT_SECRETS & one.secrets} == {"scheduler", "dag-processor"}
    assert not any(SMTP_LOGIN in one.secrets for one in programs(ours))


def test_the_callers_own_login_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Settings()
    ours.secrets.mkdir(exist_ok=True)
    for name in SECRETS:
        (ours.secrets / name).write_text("made up")
    monkeypatch.setenv("NOCTURNE_ALERT_SMTP", "smtps://mail.example.com")
    assert "NOCTURNE_ALERT_SMTP" not in environment(ours, frozenset())


SECRETS = tuple(credentials.SECRETS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_slack", "http://hooks.slack.example/a-token"),
        ("alert_smtp", "https://a-token@mail.example.com"),
        ("alert_sns", "nights"),
    ],
)
def test_what_cannot_be_an_address_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=f"NOCTURNE_{name.upper()}") as refused:
        Settings(**{name: value})
    assert "a-token" not in str(refused.value)
