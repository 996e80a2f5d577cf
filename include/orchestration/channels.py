"""Where a message goes beside the log: a webhook, Slack, mail, Amazon SNS. Each by configuration, none by default.

Mail and SNS are Airflow's own notifiers. A webhook of ours and Slack's are one POST each, for which a client of theirs
would be a package more. None of them holds up whoever tells, and none is told a secret by another's failure.
"""

from __future__ import annotations

import html
import logging
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from include.core.settings import Settings, settings
from include.orchestration.alert_log import Alert, headline, text

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds for each: who tells of a failure must not be held up by who listens
SUBJECT = 100  # characters: more SNS does not take

SMTP = "nocturne_alerts"
"""Airflow's connection to the mail server, which the environment of the services has (``NOCTURNE_ALERT_SMTP``)."""

type Channel = Callable[[Alert], None]


class NotTakenError(Exception):
    """Whoever listens did not take a message. Says why, and nothing of its address, which may be a password."""


def of(settings: Settings) -> dict[str, Channel]:
    """The channels that are configured, by name."""
    webhook, slack = settings.alert_webhook.get_secret_value(), settings.alert_slack.get_secret_value()
    found: dict[str, Channel] = {}
    if webhook:
        found["webhook"] = lambda alert: post(webhook, {"text": text(alert), **alert})
    if slack:
        found["slack"] = lambda alert: post(slack, {"text": text(alert)})
    if settings.alert_email:
        found["email"] = lambda alert: mail(settings, alert)
    if settings.alert_sns:
        found["sns"] = lambda alert: publish(settings, alert)
    return found


def send(alert: Alert) -> dict[str, str]:
    """Send ``alert`` to each channel; return those that took it (empty) and those that did not (why)."""
    found = {}
    for name, channel in of(settings()).items():
        why = within(PATIENCE, partial(channel, alert))
        if why:
            log.warning("%s did not take the alert: %s", name, why)
        found[name] = why
    return found


def within(seconds: float, do: Callable[[], None]) -> str:
    """Do it, and go on after ``seconds`` whether or not it has ended. Returns what went wrong, empty where nothing."""
    said = [f"no answer within {seconds:.0f} s: nobody waits for it"]

    def attempt() -> None:
        try:
            do()
        except NotTakenError as error:
            said[0] = str(error)
        except Exception as error:  # noqa: BLE001  # an alert that fails must not fail what it tells of
            said[0] = type(error).__name__  # its own message may hold an address or a password
        else:
            said[0] = ""

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return said[0]


def post(url: str, body: dict[str, Any]) -> None:
    """POST ``body``: its ``text`` is for people, which chats show. Raises NotTakenError."""
    import httpx

    try:
        httpx.post(url, json=body, timeout=PATIENCE).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise NotTakenError(str(error.response.status_code)) from None


def mail(settings: Settings, alert: Alert) -> None:
    """Send it by mail, through Airflow's notifier."""
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    SmtpNotifier(
        to=[one.strip() for one in settings.alert_email.split(",")],
        from_email=settings.alert_from or "nocturne@localhost",
        subject=subject(alert),
        html_content=f"<pre>{html.escape(text(alert))}</pre>",
        smtp_conn_id=SMTP,
    ).notify({})


def publish(settings: Settings, alert: Alert) -> None:
    """Publish it to a topic of Amazon SNS, through Airflow's notifier. Who may is for AWS's own chain to find."""
    from airflow.providers.amazon.aws.notifications.sns import SnsNotifier

    SnsNotifier(
        aws_conn_id=None,
        target_arn=settings.alert_sns,
        message=text(alert),
        subject=subject(alert),
        region_name=settings.alert_sns.split(":")[3],
    ).notify({})


def subject(alert: Alert) -> str:
    """The message in one short line, in letters that every mail server and SNS take."""
    line = headline(alert).splitlines()[0].encode("ascii", "replace").decode()
    return line if len(line) <= SUBJECT else f"{line[: SUBJECT - 3]}..."


def main() -> int:
    """Send a message that asks for nothing to each channel, and say who took it."""
    trial: Alert = {
        "at": "",
        "dag": "",
        "run": "",
        "partition": "",
        "task": "",
        "error": "This is a trial of Nocturne's alerts: nothing is wrong.",
        "todo": "nothing",
        "link": settings().airflow_link,
        "stopped_by": "",
        "kind": "trial",
    }
    found = send(trial)
    for name, why in found.items():
        print(f"{name}: {why or 'took it'}")
    if not found:
        print(f"no channel is configured: alerts are lines of {settings().alerts}, and open ones in `make incidents`")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
