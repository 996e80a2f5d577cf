"""A task that hangs is ended, with its work on Spark, and told of; and a backfill is followed whatever its length."""

from __future__ import annotations

import json
import time

import pytest

from include.airflow_client import FINISHED, Run
from include.partitions import Partitions
from tests.integration.conftest import Stack
from tests.integration.probes.stuck import SECONDS

pytestmark = pytest.mark.integration


def ended(stack: Stack, run: Run) -> Run:
    deadline = time.monotonic() + 180
    while (now := stack.airflow.run(run.dag_id, run.run_id)).state not in FINISHED:
        assert time.monotonic() < deadline, f"{run.run_id} has not ended"
        time.sleep(0.5)
    return now


def start(stack: Stack, rows: int) -> Run:
    body = {"logical_date": None, "conf": {"rows": rows}}
    return Run.of(stack.airflow.call("POST", "/dags/probe_stuck/dagRuns", json=body))


def test_a_task_that_hangs_is_ended_and_told_of(stack: Stack) -> None:
    stack.airflow.wait_for_dags({"probe_stuck"})
    run = ended(stack, start(stack, 10**7))
    assert run.state == "failed"
    (task,) = stack.airflow.tasks(run)
    assert task["duration"] < SECONDS + 45, "it is ended before its process has to be"
    told = [json.loads(line) for line in stack.settings.alerts.read_text().splitlines()]
    (alert,) = [one for one in told if one["run"] == run.run_id]
    assert (alert["task"], alert["error"].partition(":")[0]) == ("count", "AirflowTaskTimeout")
    # Nothing of it is left on Spark's threads, and its slot is free: the next one has the cores for itself.
    assert ended(stack, start(stack, 10)).state == "success"


@pytest.mark.full
def test_a_backfill_longer_than_a_page_is_followed_to_its_end(stack: Stack) -> None:
    stack.airflow.wait_for_dags({"probe_nights"})
    nights = Partitions.parse("2013-01-01..2013-05-01")
    for _ in range(2):  # the second behind 121 newer runs
        runs = stack.airflow.follow(stack.airflow.backfill("probe_nights", nights, max_active_runs=20))
        assert sorted(run.partition_key or "" for run in runs) == [str(day) for day in nights.days]
