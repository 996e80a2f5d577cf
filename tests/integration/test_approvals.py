"""A version that persons approve, through Airflow's own API: approved by two, turned down, and answered by nobody."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import polars as pl
import pytest

from include.core.partitions import Partitions
from include.orchestration import airflow_client
from include.orchestration.airflow_client import FINISHED, Run
from tests.integration.conftest import Stack
from tests.integration.probes.approved import CASES
from tests.integration.test_chain import printed_by, read

pytestmark = pytest.mark.integration

PATIENCE = 240.0
DAY = Partitions.parse("2020-01-30")
# Tables for all of them, and for those that are not trained in Airflow a version that the gates have let through.
PREPARE = """
import include.use_cases
from include.ml import promotion, train
from tests.integration.probes.approved import CASES
from tests.ml.conftest import FIRST, write_days
include.use_cases.use_cases = lambda: CASES
for name, case in CASES.items():
    write_days(case, FIRST, 31)
    if name != "probe_both":
        print(promotion.promote(name, train.train(name, FIRST.replace(day=30), "cpu")["version"])["awaits"])
"""


def until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.5)
    return value


def states(stack: Stack, run: Run) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in stack.airflow.tasks(run)}


def path(run: Run, task: str) -> str:
    return f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task}"


def question(stack: Stack, run: Run, task: str = "approve") -> dict[str, Any]:
    """What a run asks a person, once it does."""
    until(lambda: states(stack, run).get(task) == "awaiting_input", f"{run.dag_id} asks nobody")
    return dict(stack.airflow.call("GET", f"{path(run, task)}/-1/hitlDetails"))


def login(stack: Stack, user: str) -> httpx.Client:
    passwords = json.loads((stack.settings.secrets / "airflow_passwords.json").read_text())
    body = {"username": user, "password": passwords[user]}
    token = httpx.post(f"{stack.settings.airflow_url}/auth/token", json=body, timeout=60).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{stack.settings.airflow_url}/api/v2", headers=headers, timeout=60)


def answer(stack: Stack, run: Run, option: str, user: str, task: str = "approve", why: str = "") -> None:
    """Choose ``option`` as ``user``, until the task has ended: Airflow may ask again what was answered at once."""
    body = {"chosen_options": [option], "params_input": {"why": why}}
    with login(stack, user) as client:

        def is_through() -> bool:
            if (now := states(stack, run)[task]) == "awaiting_input":
                client.patch(f"{path(run, task)}/-1/hitlDetails", json=body).raise_for_status()
            return now in (*FINISHED, "skipped")

        until(is_through, f"{run.dag_id} {task} does not end")


def refused(stack: Stack, run: Run, user: str, task: str = "approve") -> int:
    """The status by which Airflow refuses the answer of somebody who is not asked."""
    with login(stack, user) as client:
        body = {"chosen_options": ["Approve"], "params_input": {"why": ""}}
        return client.patch(f"{path(run, task)}/-1/hitlDetails", json=body).status_code


def ended(stack: Stack, run: Run) -> str:
    return str(
        until(
            lambda: (now := stack.airflow.run(run.dag_id, run.run_id).state) in FINISHED and now,
            f"{run.dag_id} does not end: {states(stack, run)}",
        )
    )


def deployments(stack: Stack, case: str) -> list[dict[str, Any]]:
    table = f"{case}__deployments"
    return read(stack, "gold", table).to_dicts() if (stack.settings.lake / "gold" / table).exists() else []


def words(stack: Stack, case: str) -> list[tuple[str, str]]:
    return read(stack, "gold", f"{case}__approvals").sort("line").select("word", "who").rows()


def test_persons_decide_and_nobody_waits_for_them(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_client, "use_cases", lambda: CASES)  # whom the client follows the runs of
    stack.airflow.wait_for_dags({"probe_both_train", *(f"{case}_promote" for case in CASES)})
    assert printed_by(stack, "-c", PREPARE).count("waits for a person to approve it") == 2

    nobody, no = (stack.airflow.start(f"{case}_promote", {}) for case in ("probe_nobody", "probe_no"))
    training = stack.airflow.trigger("probe_both_train", DAY)

    # Nobody whom the spec names answers: Airflow refuses others, and no answer is a no.
    assert question(stack, nobody)["assigned_users"] == [{"id": "eve", "name": "eve"}]
    assert refused(stack, nobody, "admin") == 403

    # Who follows a training is not held up by the question that comes of it.
    lines: list[str] = []
    followed = stack.airflow.follow([training], lines.append)
    assert [run.dag_id for run in followed] == ["probe_both_train"]
    assert "a version waits for an approval" in lines[0]
    assert states(stack, followed[0])["promote"] == "skipped"
    (both,) = until(lambda: stack.airflow.runs("probe_both_promote"), "nobody is asked")
    assert both.partition_key == DAY.key

    # A person says no. Another question about the same version is not answered, but its task marked as successful.
    shown = question(stack, no)
    assert shown["subject"] == "probe_no: make version 1 champion?"
    assert "**Verdict: promote**" in shown["body"]
    marked = stack.airflow.start("probe_no_promote", {"version": 1, "why": "once more"})
    answer(stack, no, "Reject", "ann", why="too soon")
    assert ended(stack, no) == "success"
    assert states(stack, no) == {"ask": "success", "approve": "success", "promote": "skipped", "score": "skipped"}
    assert "Asked for by admin in Airflow: once more" in question(stack, marked)["body"]
    stack.airflow.call("PATCH", path(marked, "approve"), json={"new_state": "success"})
    assert ended(stack, marked) == "failed"
    assert "0 of the 1 approvals" in stack.log(marked, "promote")
    assert sorted(words(stack, "probe_no")) == [("ask", "admin in Airflow"), ("ask", "gates"), ("reject", "ann")]
    assert deployments(stack, "probe_no") == []

    # Two approve, the second is not the first. The champion scores the day that has waited for it.
    question(stack, both)
    answer(stack, both, "Approve", "admin")
    assert question(stack, both, "approve_too")["assigned_users"] == [{"id": "ann", "name": "ann"}]
    assert refused(stack, both, "admin", "approve_too") == 403
    answer(stack, both, "Approve", "ann", "approve_too", "good enough")
    assert ended(stack, both) == "success"
    (row,) = deployments(stack, "probe_both")
    assert (row["model_version"], row["decided_by"]) == (1, "admin and ann in Airflow")
    assert row["reason"].endswith("; ann: good enough")
    assert read(stack, "gold", "probe_both__predictions").select(pl.col("model_version").unique()).item() == 1

    assert ended(stack, nobody) == "success"
    assert states(stack, nobody)["promote"] == "skipped"
    assert words(stack, "probe_nobody") == [("ask", "gates"), ("timeout", "")]
    assert deployments(stack, "probe_nobody") == []
