"""What keeps nights from coming through, and what is done about it: tasks that hang, backfills that are long or were
cancelled, services that were down.
"""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from examples import replay
from include.core.partitions import Partitions
from include.local import control
from include.orchestration.airflow_client import FINISHED, Run
from include.sources import source
from tests.integration.conftest import Stack
from tests.integration.probes.stuck import SECONDS

pytestmark = pytest.mark.integration


def ended(stack: Stack, run: Run, patience: float = 180) -> Run:
    deadline = time.monotonic() + patience
    while (now := stack.airflow.run(run.dag_id, run.run_id)).state not in FINISHED:
        assert time.monotonic() < deadline, f"{run.run_id} has not ended"
        time.sleep(0.5)
    return now


def alerts_of(stack: Stack, run: Run | None = None) -> list[dict[str, Any]]:
    """What was told, all or of a run."""
    told = [json.loads(line) for line in stack.settings.alerts.read_text().splitlines()]
    return [one for one in told if run is None or one["run"] == run.run_id]


def start(stack: Stack, rows: int) -> Run:
    body = {"logical_date": None, "conf": {"rows": rows}}
    return Run.of(stack.airflow.call("POST", "/dags/probe_stuck/dagRuns", json=body))


def test_a_task_that_hangs_is_ended_and_told_of(stack: Stack) -> None:
    stack.airflow.wait_for_dags({"probe_stuck", "lakehouse_watch"})
    run = ended(stack, start(stack, 10**7))
    assert run.state == "failed"
    (task,) = stack.airflow.tasks(run)
    assert task["duration"] < SECONDS + 45, "it is ended before its process has to be"
    (alert,) = alerts_of(stack, run)
    assert (alert["task"], alert["error"].partition(":")[0]) == ("count", "AirflowTaskTimeout")
    # Nothing of it is left on Spark's threads, and its slot is free: the next one has the cores for itself.
    assert ended(stack, start(stack, 10)).state == "success"
    assert alerts_of(stack, run)[-1]["event"] == "opened"
    look = Run.of(stack.airflow.call("POST", "/dags/lakehouse_watch/dagRuns", json={"logical_date": None}))
    assert ended(stack, look).state == "success", stack.log(look, "look")
    over = [one for one in alerts_of(stack) if one["dag"] == "probe_stuck"][-1]
    assert (over["event"], over["run"]) == ("over", run.run_id), "the next run did what it did not"


def test_a_request_that_waits_to_write_keeps_no_other_waiting(stack: Stack) -> None:
    """Every POST writes an audit line. SQLite lets one writer in: here somebody else is in for a while."""
    stack.airflow.wait_for_dags({"probe_stuck"})
    with ThreadPoolExecutor(1) as pool, closing(sqlite3.connect(stack.settings.airflow_database, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        waits = pool.submit(stack.airflow.call, "PATCH", "/dags/probe_stuck", json={"is_paused": False})
        try:
            for _ in range(3):
                time.sleep(0.5)
                stack.airflow.call("GET", "/version")
                assert not waits.done(), "it was to wait, and this one was not to wait for it"
        finally:
            other.rollback()
        assert waits.result(timeout=30)["is_paused"] is False
    audited = stack.airflow.pages("/eventLogs", "event_logs", dag_id="probe_stuck")
    assert "patch_dag" in {one["event"] for one in audited}


def test_a_run_of_a_cancelled_backfill_is_not_waited_for_and_can_be_run_again(stack: Stack) -> None:
    """Cleared after the backfill was cancelled, it stays queued for ever: Airflow starts none of its runs again."""
    airflow, dag_id, nights = stack.airflow, "probe_nights", Partitions.parse("2014-01-01..2014-01-30")
    airflow.wait_for_dags({dag_id})
    last = airflow.backfill(dag_id, nights)[0]
    assert last.partition_key == "2014-01-30"
    (backfill,) = airflow.pages("/backfills", "backfills", dag_id=dag_id)
    airflow.call("PUT", f"/backfills/{backfill['id']}/cancel")
    assert ended(stack, last).state == "failed", "what had not begun"
    body = {"dry_run": False, "dag_run_id": last.run_id, "only_failed": False, "reset_dag_runs": True}
    airflow.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
    time.sleep(3)
    cleared = airflow.run(dag_id, last.run_id)
    assert cleared.state == "queued"
    assert airflow.never_starting(airflow.runs(dag_id)) == [cleared]
    (again,) = airflow.follow(airflow.backfill(dag_id, Partitions.parse("2014-01-30")))
    assert (again.partition_key, again.state) == ("2014-01-30", "success")
    assert airflow.never_starting(airflow.runs(dag_id)) == []


@pytest.mark.full
def test_a_backfill_longer_than_a_page_is_followed_to_its_end(stack: Stack) -> None:
    stack.airflow.wait_for_dags({"probe_nights"})
    nights = Partitions.parse("2013-01-01..2013-05-01")
    for _ in range(2):  # the second behind 121 newer runs
        runs = stack.airflow.follow(stack.airflow.backfill("probe_nights", nights, max_active_runs=20))
        assert sorted(run.partition_key or "" for run in runs) == [str(day) for day in nights.days]


def land_week(stack: Stack, last: date) -> Partitions:
    """Files of the week that ends with ``last``, with what the flights of a week of 2013 were."""
    shift = last - date(2013, 6, 10)
    for day in range(4, 11):
        for feed, of, rows in replay.files_of_night(date(2013, 6, day)):
            moved = rows.with_columns(pl.col(pl.Date) + shift)
            if feed == "weather":
                observed = pl.col("observed_at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ") + shift
                moved = moved.with_columns(observed.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("observed_at"))
            replay.write(stack.landing(feed, str(of + shift)), moved)
    return Partitions(last - timedelta(6), last)


@pytest.mark.full
def test_a_week_in_which_the_services_were_down_is_made_up_for(stack: Stack) -> None:
    control.down(stack.settings)
    now = datetime.now(ZoneInfo(source("flights").timezone))
    week = land_week(stack, now.date() - timedelta(1))
    control.up(stack.settings, progress=print)
    head, begun = "lakehouse_ingest_flights", time.time()
    stack.airflow.wait_for_dags({"lakehouse_catchup", head})
    body: dict[str, Any] = {"logical_date": None}
    asked = Run.of(stack.airflow.call("POST", "/dags/lakehouse_catchup/dagRuns", json=body))
    assert ended(stack, asked).state == "success"
    its = [run for day in week.days for run in stack.airflow.runs_of(head, str(day)) if (run.start or begun) >= begun]
    assert sorted(run.partition_key or "" for run in its) == [str(day) for day in week.days]
    assert {ended(stack, run, patience=900).state for run in its} == {"success"}
