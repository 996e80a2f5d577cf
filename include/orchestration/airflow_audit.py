"""Airflow's own audit log, brought into ours: who logged in, triggered, cleared, paused, changed a connection.

What is brought is who did what to which run, task or name. What was set by it stays in Airflow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from include.lake import audit, delta
from include.lake.audit import Entry
from include.orchestration.airflow_client import PAGE, Airflow

MOST = 5_000
"""Lines at once. What is more is for the next look."""
SETTLED = timedelta(seconds=30)
"""A line that is younger may have an older one beside it that is not committed yet."""
OVERLAP = timedelta(minutes=2)
"""What is older than the newest line of before by so much is looked at again, for the same reason."""
OF_TASKS = ("running", "success", "failed", "skipped", "upstream_failed", "up_for_retry", "deferred", "queued")
"""What Airflow writes of each task by itself, and nobody has done."""
NAMES = ("connection_id", "variable_key", "key", "pool_name", "backfill_id", "asset_id", "role_name", "user_name")
"""What of a request's parameters says what it is about."""
PREFIX = "airflow "


def collect(airflow: Airflow, now: datetime) -> int:
    """Bring what is new; returns how many lines that are."""
    found = [entry for row in _rows(airflow, _since(), now - SETTLED) if (entry := entry_of(row)) is not None]
    audit.write(found)
    return len(found)


def entry_of(row: Mapping[str, Any]) -> Entry | None:
    """A line of ours for one of Airflow's; None where nobody has done it."""
    extra = _extra(row["extra"])
    # Only what came through the API or the command line has these.
    if "method" not in extra and not row["event"].startswith("cli"):
        return None
    place = [row[name] for name in ("dag_id", "run_id", "task_id") if row[name]]
    about = [f"{name} {extra[name]}" for name in NAMES if isinstance(extra.get(name), str | int)]
    paused = {"true": "paused", "false": "unpaused"}.get(str(extra.get("is_paused", "")).lower(), "")
    return Entry(
        row["event"],
        " ".join(place) or ", ".join(about) or "Airflow",
        row["owner"] or "",
        ", ".join(filter(None, [paused, *(about if place else [])])),
        datetime.fromisoformat(row["when"]).astimezone(UTC),
        f"{PREFIX}{row['event_log_id']}",
    )


def _extra(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _since() -> datetime:
    """From when on Airflow's log was not looked at yet."""
    if not delta.exists(audit.LAYER, audit.NAME):
        return datetime.min.replace(year=2000, tzinfo=UTC)
    rows = delta.scan(audit.LAYER, audit.NAME).filter(pl.col("event").str.starts_with(PREFIX))
    newest = rows.select(pl.col("happened_at").max()).collect().item()
    return newest - OVERLAP if newest else datetime.min.replace(year=2000, tzinfo=UTC)


def _rows(airflow: Airflow, after: datetime, before: datetime) -> Iterator[dict[str, Any]]:
    """Airflow's lines in the order in which they were written, ``MOST`` at most."""
    params = {"after": after.isoformat(), "before": before.isoformat(), "order_by": "event_log_id", "limit": PAGE}
    for offset in range(0, MOST, PAGE):
        asked = params | {"offset": offset, "excluded_events": list(OF_TASKS)}
        rows = airflow.call("GET", "/eventLogs", params=asked)["event_logs"]
        yield from rows
        if len(rows) < PAGE:
            return
