"""A failure that somebody sees: each is a line of ``var/log/alerts.jsonl``, and each incident one message.

A task tells its own failure. What ends without a word (a killed process, a run that took too long) is told by its DAG,
unless one of its tasks has spoken already. A night that was only stopped by another night is a line in the file and a
number in the message that says that it is over. What nobody tells, ``include.orchestration.watch`` finds.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
from include.orchestration import channels
from include.orchestration.alert_log import Alert, keep, text, told
from include.orchestration.channels import within

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for the ledger of incidents: where it does not answer, a failure is told all the same."""

LONGEST = 2_000  # characters of an error: a failed gate lists what it found

TOLD = ("opened", "again", "over")
"""The events that are messages."""


class Tell(BaseNotifier):
    """The notifier of every task and every DAG. It never fails, and never takes longer than some seconds."""

    def notify(self, context: Mapping[str, Any]) -> None:
        alert, since = of(context), None
        if context.get("exception") is None:
            # A run: what a task of it has said since it began says it all. In the file, if it ran on this machine.
            since = started(context)
            of_run = [one for one in told() if (one["dag"], one["run"]) == (alert["dag"], alert["run"])]
            if of_run and since and of_run[-1]["at"] >= since.isoformat(timespec="seconds"):
                return
        _tell(alert, since)


def tell(context: Mapping[str, Any], kind: str, key: str, said: str, todo: str) -> None:
    """Tell of what went wrong in a task that goes on all the same, as of a failure: an incident ``key`` of ``kind``."""
    _tell({**of(context), "kind": kind, "error": str(redact(said[:LONGEST])), "todo": todo}, key=key)


def _tell(alert: Alert, since: datetime | None = None, key: str = "") -> None:
    """Write ``alert`` down, and send it where its incident is a new one, or is wrong in another way."""
    event = ["opened"]  # if nobody knows, it is told once too often rather than not at all

    def report() -> None:
        from include.orchestration import incidents

        event[0] = incidents.report(incidents.of_alert(alert, key), alert["stopped_by"], since)

    if why := within(PATIENCE, report):
        log.warning("the ledger of incidents: %s", why)
    deliver({**alert, "event": event[0]})


def deliver(alert: Alert) -> None:
    """Keep ``alert``, and send it if it is a message."""
    keep(alert)
    log.log(logging.INFO if alert.get("event") == "over" else logging.ERROR, "%s", text(alert))
    if alert.get("event", "opened") in TOLD:
        channels.send(alert)


def tell_once(context: Mapping[str, Any], said: str, todo: str) -> None:
    """Tell of what has happened and needs no end, unless this run has: a further try finds what the first has told."""
    new = of(context)
    if any((one["dag"], one["run"], one["error"]) == (new["dag"], new["run"], said[:LONGEST]) for one in told()):
        return
    deliver({**new, "kind": "news", "error": str(redact(said[:LONGEST])), "todo": todo, "event": "opened"})


def of(context: Mapping[str, Any]) -> Alert:
    """What the context of a failed task or run says."""
    run, ti, error = context.get("dag_run"), context.get("ti"), context.get("exception")
    dag_id = run.dag_id if run else context["dag"].dag_id
    run_id = str(run.run_id if run else context["run_id"])
    task = str(ti.task_id) if ti else ""
    base = f"{settings().airflow_link}/dags/{dag_id}/runs/{quote(run_id, safe='')}"
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
        "kind": "failed",
        "touches": touches(dag_id),
    }


def touches(dag_id: str) -> str:
    """Who has less for it that a run of ``dag_id`` failed, in a sentence; empty where that is nobody's night."""
    from include.use_cases import use_cases

    for name, case in use_cases().items():
        if dag_id.startswith(f"{name}_"):
            return OF_STAGE.get(dag_id.removeprefix(f"{name}_"), "").format(case=name)
        if any(
            dag_id in (f"lakehouse_{stage}_{source}" for stage in ("ingest", "transform")) for source in case.sources
        ):
            source = dag_id.split("_", 2)[2]
            readers = sorted(one.name for one in use_cases().values() if source in one.sources)
            return f"{', '.join(readers)}: no features, predictions or labels of this partition until it is through"
    return ""


OF_STAGE = {
    "features": "{case}: no predictions and no labels of this partition until it is through",
    "predict": "{case}: the day has no new predictions",
    "monitor": "{case}: the night is not measured, and no retraining is asked for",
    "train": "{case}: its champion stays",
    "promote": "{case}: its champion stays",
    "rollback": "{case}: its champion stays",
    "publish": "{case}: who reads the published predictions has older ones",
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


def started(context: Mapping[str, Any]) -> datetime | None:
    """When the run began: a run that was cleared begins again, and may fail again."""
    moment = getattr(context.get("dag_run"), "start_date", None)
    return moment.astimezone(UTC) if moment else None


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
