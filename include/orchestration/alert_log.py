"""What was told, and what was only written down: a line of a file each. Read without Airflow, which takes seconds."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NotRequired, TypedDict, cast

from include.core.locks import alone
from include.core.settings import settings

log = logging.getLogger(__name__)

READ = 200_000  # bytes of the file's end that are looked through for what was told already


class Alert(TypedDict):
    """What is told. ``partition`` is a key, empty where the run has none; ``stopped_by`` that of the night to mend.

    Those of an earlier release have no ``event`` and are failures.
    """

    at: str  # ISO 8601, UTC
    dag: str
    run: str
    partition: str
    task: str
    error: str
    todo: str
    link: str
    stopped_by: str
    kind: NotRequired[str]  # of the incident: failed, or what else can be wrong
    event: NotRequired[str]  # opened, again or over; known and waits are lines of the file, and no messages
    touches: NotRequired[str]  # who has less for it


WORDS = {"again": "failed again, in another way", "over": "is well again"}
"""What has become of a failure; it failed, where nothing else is said."""


def text(alert: Alert) -> str:
    """An alert in one message: what, when, why, whom it touches, what to do, where to look."""
    return "\n".join(filter(None, [headline(alert), *_rest(alert), alert["link"]]))


def headline(alert: Alert) -> str:
    """What has happened, in a line or as many as the error has."""
    event, error = alert.get("event", "opened"), alert["error"]
    what = " ".join(filter(None, [alert["dag"], alert["partition"], alert["task"]]))
    if alert.get("kind", "failed") == "failed":
        return f"{what} {WORDS.get(event, 'failed')}: {error}"
    return f"Over: {error}" if event == "over" else error


def _rest(alert: Alert) -> list[str]:
    touches, todo = alert.get("touches", ""), alert["todo"]
    return [f"Touches: {touches}" if touches else "", f"To do: {todo}" if todo else ""]


def keep(alert: Alert) -> None:
    """Append ``alert`` to the file. A full disk must not hide the failure: it is in the task's log anyway."""
    try:
        path = settings().alerts
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(), path.open("a") as file:
            file.write(json.dumps(alert) + "\n")
    except OSError as error:
        log.warning("the alert could not be kept: %s", error)


@contextmanager
def writing() -> Iterator[None]:
    """Nobody else writes to the file meanwhile, or cuts it."""
    with alone(settings().var / "lock" / "alerts.lock"):
        yield


def told() -> list[Alert]:
    """The newest alerts of the file, the last one last. Lines that are none are passed over."""
    found: list[Alert] = []
    try:
        with settings().alerts.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - READ))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        with suppress(ValueError):
            one = json.loads(line)
            if isinstance(one, dict) and one.keys() >= Alert.__required_keys__:
                found.append(cast(Alert, one))
    return found


def of_run(dag_id: str, run_id: str, since: float) -> list[Alert]:
    """What a run has told of since ``since``, in seconds since the epoch: a run that was cleared has told before."""
    begun = datetime.fromtimestamp(int(since), UTC).isoformat(timespec="seconds")
    return [one for one in told() if (one["dag"], one["run"]) == (dag_id, run_id) and one["at"] >= begun]
