"""Rows in quarantine get out by way of a person, on the real stack: looked at, asked for, approved or not."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import httpx
import polars as pl
import pytest
from deltalake import DeltaTable

from examples.replay import replay
from include.core.partitions import Partitions
from include.orchestration.airflow_client import FINISHED, Run
from tests.integration.conftest import Stack
from tests.integration.test_chain import HEAD, only_to_silver, read

pytestmark = pytest.mark.integration

REPROCESS = "lakehouse_reprocess_flights"
NIGHT = Partitions(date(2013, 9, 3), date(2013, 9, 3))  # far from what other tests look at
PATIENCE = 300.0


def ask(stack: Stack) -> Run:
    """A release of the night, as the page starts one."""
    conf = {"from": NIGHT.key, "to": NIGHT.key}
    return Run.of(
        stack.airflow.call("POST", f"/dags/{REPROCESS}/dagRuns", json={"logical_date": None, "conf": conf}),
    )


def states(stack: Stack, run: Run) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in stack.airflow.tasks(run)}


def question(stack: Stack, run: Run) -> dict[str, Any]:
    """What the run asks a person, once it does."""
    deadline = time.monotonic() + PATIENCE
    while states(stack, run).get("approve") != "awaiting_input":
        assert stack.airflow.run(REPROCESS, run.run_id).state not in FINISHED, stack.log(run, "foresee")
        assert time.monotonic() < deadline, states(stack, run)
        time.sleep(0.5)
    return dict(stack.airflow.call("GET", f"{path(run)}/hitlDetails"))


def path(run: Run) -> str:
    return f"/dags/{REPROCESS}/dagRuns/{run.run_id}/taskInstances/approve/-1"


def answered(stack: Stack, run: Run, option: str) -> Run:
    """The run as it ends after a person has chosen ``option``.

    Airflow 3.3.2 takes a process that has asked for a killed one where the answer comes sooner than the scheduler sees
    it end, and asks again.
    """
    body = {"chosen_options": [option], "params_input": {}}
    deadline = time.monotonic() + PATIENCE
    while (now := stack.airflow.run(REPROCESS, run.run_id)).state not in FINISHED:
        if states(stack, run)["approve"] == "awaiting_input":
            stack.airflow.call("PATCH", f"{path(run)}/hitlDetails", json=body)
        assert time.monotonic() < deadline, states(stack, run)
        time.sleep(2)
    return now


def ended(stack: Stack, run: Run) -> Run:
    deadline = time.monotonic() + PATIENCE
    while (now := stack.airflow.run(REPROCESS, run.run_id)).state not in FINISHED:
        assert time.monotonic() < deadline, states(stack, run)
        time.sleep(0.5)
    return now


def versions(stack: Stack) -> dict[str, int]:
    """The version of every published table."""
    logs = stack.settings.lake.glob("*/*/_delta_log")
    return {str(log.parent): DeltaTable(str(log.parent)).version() for log in logs if "candidate" not in log.parts}


def page(stack: Stack) -> str:
    """The page of the quarantine, as whoever is logged in sees it."""
    here = stack.settings
    login = {"username": "admin", "password": here.secret("airflow_admin_password")}
    token = httpx.post(f"{here.airflow_url}/auth/token", json=login).json()["access_token"]
    query = {"source": "flights", "feed": "actuals", "from": NIGHT.key, "to": NIGHT.key}
    answer = httpx.get(
        f"{here.airflow_url}/nocturne/quarantine", params=query, cookies={"_token": token}, timeout=PATIENCE
    )
    assert answer.status_code == 200
    return answer.text


def test_rows_are_released_by_a_person_and_by_nobody_else(stack: Stack) -> None:
    stack.airflow.wait_for_dags({HEAD, REPROCESS})
    replay(stack.settings.landing, NIGHT, with_dimensions=True)
    file = stack.landing("actuals", NIGHT.key)
    whole = file.read_text()
    lines = whole.splitlines()
    for place in (1, 2, 3):
        values = lines[place].split(",")
        lines[place] = ",".join([*values[:7], "late", *values[8:]])
    file.write_text("\n".join([*lines, ""]))
    with only_to_silver(stack):
        stack.airflow.follow([stack.airflow.trigger(HEAD, NIGHT)])
        before, runs = versions(stack), len(stack.airflow.runs(HEAD))
        shown = page(stack)
        assert "dep_time: is no int" in shown
        assert f"flights/actuals/{NIGHT.key}.csv:2" in shown

        # Nothing has been mended yet: a person sees that, and says no.
        run = ask(stack)
        body = question(stack, run)["body"]
        assert "3 rows in quarantine: 0 sound now, 0 changed or gone in the file, 3 would stay." in body
        assert "| 2013-09-03 | actuals | dep_time: is no int | 3 | stays |" in body
        assert answered(stack, run, "Reject").state == "success"
        assert states(stack, run) == {
            "foresee": "success",
            "approve": "success",
            "again": "skipped",
            "report": "skipped",
        }
        assert (versions(stack), len(stack.airflow.runs(HEAD))) == (before, runs)

        # The upstream mends its file. Two ask at once: the second one comes after the first, and finds nothing.
        file.write_text(whole)
        first, second = ask(stack), ask(stack)
        body = question(stack, first)["body"]
        assert "3 rows in quarantine: 0 sound now, 3 changed or gone in the file, 0 would stay." in body
        assert f"Of these files {len(lines) - 4} rows are published, and {len(lines) - 1} would be." in body
        assert answered(stack, first, "Approve").state == "success"
        assert states(stack, first)["again"] == "success"
        assert "3 rows released, 0 are still in quarantine" in stack.log(first, "report")
        assert ended(stack, second).state == "success"
        assert set(states(stack, second).values()) == {"skipped"}
        again = stack.airflow.runs(HEAD)[: len(stack.airflow.runs(HEAD)) - runs]
        assert [one.partition_key for one in again] == [NIGHT.key]
        stack.airflow.follow(again)

    counts = read(stack, "bronze", "flights__completeness").filter(
        (pl.col("feed") == "actuals") & (pl.col("ingestion_date") == NIGHT.first)
    )
    (line,) = counts.to_dicts()
    assert (line["rows_in"], line["quarantined"]) == (len(lines) - 1, 0)
    assert line["rows_in"] == line["published"] + line["quarantined"] + line["deduplicated"]
    kept = read(stack, "bronze", "flights__actuals").filter(pl.col("ingestion_date") == NIGHT.first)
    assert kept.height == line["published"]
    assert "Nothing is in quarantine" in page(stack)
