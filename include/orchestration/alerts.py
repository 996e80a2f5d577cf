"""A failure that somebody sees: each once, in ``var/log/alerts.jsonl``, and at a webhook where there is one.

A task tells its own failure. What ends without a word (a killed process, a run that took too long) is told by its DAG,
unless one of its tasks has spoken already. A night that was only stopped by another night is a line in the file; the
webhook hears of the night to mend, once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseNotifier
from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowTaskTimeout

from include.core.errors import NeedsAttentionError, StoppedError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.orchestration.alert_log import Alert, keep, text, told

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds for the webhook: who tells of a failure must not be held up by who listens
LONGEST = 2_000  # characters of an error: a failed gate lists what it found


class Tell(BaseNotifier):
    """The notifier of every task and every DAG. It never fails, and never takes longer than a few seconds."""

    def notify(self, context: Mapping[str, Any]) -> None:
        alert = of(context)
        said = told()
        of_run = [one for one in said if (one["dag"], one["run"]) == (alert["dag"], alert["run"])]
        is_of_dag = context.get("exception") is None
        if is_of_dag and of_run and of_run[-1]["at"] >= str(started(context)):
            return  # a task of this run has said what went wrong
        keep(alert)
        log.error("%s", text(alert))
        mended_once = alert["stopped_by"] and any(
            alert["stopped_by"] in (one["partition"], one["stopped_by"]) for one in said
        )
        if not mended_once:
            within(PATIENCE, lambda: post(alert))


def tell(context: Mapping[str, Any], said: str, todo: str) -> None:
    """Tell of what went wrong in a task that goes on all the same: kept and posted as a failure is."""
    alert: Alert = {**of(context), "error": str(redact(said[:LONGEST])), "todo": todo}
    keep(alert)
    log.error("%s", text(alert))
    within(PATIENCE, lambda: post(alert))


def of(context: Mapping[str, Any]) -> Alert:
    """What the context of a failed task or run says."""
    run, ti, error = context.get("dag_run"), context.get("ti"), context.get("exception")
    dag_id = run.dag_id if run else context["dag"].dag_id
    run_id = str(run.run_id if run else context["run_id"])
    task = str(ti.task_id) if ti else ""
    base = f"{settings().airflow_url}/dags/{dag_id}/runs/{quote(run_id, safe='')}"
    said = str(error).strip() if error else f"the run failed: {context.get('reason') or 'without a word'}"
    kind = "" if isinstance(error, NeedsAttentionError) or not error else f"{type(error).__name__}: "
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dag": dag_id,
        "run": run_id,
        "partition": night(run),
        "task": task,
        "error": str(redact(f"{kind}{said}"[:LONGEST])),
        "todo": todo(error),
        "link": f"{base}/tasks/{task}" if task else base,
        "stopped_by": error.by if isinstance(error, StoppedError) else "",
    }


def night(run: Any) -> str:
    """The partition key of a run, also of one that was given its days as parameters; empty where it has none."""
    if run is None:
        return ""
    conf = run.conf or {}
    if not run.partition_key and (conf.get("from") or conf.get("to")):
        with suppress(ValueError):
            return Partitions.parse(f"{conf.get('from') or conf['to']}..{conf.get('to') or conf['from']}").key
    return str(run.partition_key or "")


def started(context: Mapping[str, Any]) -> str:
    """When the run began, as alerts write it: a run that was cleared begins again, and may fail again."""
    run = context.get("dag_run")
    moment = getattr(run, "start_date", None)
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""


def todo(error: BaseException | None) -> str:
    """What to do about ``error`` where its message does not say it already."""
    if isinstance(error, NeedsAttentionError):
        return "mend what the message names, then clear the task"
    if isinstance(error, AirflowTaskTimeout):
        return (
            "it was ended by its time limit: see in its log what it waited for, then clear it; where it needs longer, "
            "NOCTURNE_TASK_MINUTES or NOCTURNE_LONG_TASK_MINUTES give it more"
        )
    if isinstance(error, AirflowSensorTimeout):
        return "it waited as long as it may (NOCTURNE_WAIT_MINUTES); its log names what for; then clear the task"
    if error is None:
        return "see in the log of the failed or unfinished tasks why they ended, then clear the run"
    return "read the task's log; clear the task to try again"


def post(alert: Alert) -> None:
    """Tell the webhook, if there is one: ``text`` for people, which chats show, and the alert's fields for programs."""
    import httpx

    url = settings().alert_webhook.get_secret_value()
    if not url:
        return
    try:
        httpx.post(url, json={"text": text(alert), **alert}, timeout=PATIENCE).raise_for_status()
    except httpx.HTTPStatusError as error:  # its own message has the address, which may be a password
        log.warning("the webhook did not take the alert: %s", error.response.status_code)
    except httpx.HTTPError as error:
        log.warning("the webhook could not be told: %s", type(error).__name__)


def within(seconds: float, do: Callable[[], None]) -> None:
    """Do it, and go on after ``seconds`` whether or not it has ended. Its errors are said and hold nothing up."""

    def attempt() -> None:
        try:
            do()
        except Exception as error:  # noqa: BLE001  # an alert that fails must not fail what it tells of
            log.warning("%s: %s", getattr(do, "__name__", "it"), type(error).__name__)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        log.warning("no answer within %.0f s: nobody waits for it", seconds)
