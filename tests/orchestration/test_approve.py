"""The task that asks a person: whom it asks and what, and that an answer outlives a kill."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk.exceptions import TaskAwaitingInput

from include.contracts.use_case import Promotion
from include.ml import approvals
from include.orchestration.operators.approve import Approve
from tests.ml.conftest import toy_case

CASE = toy_case(promotion=Promotion(approvals=2, approvers=("ann", "bob"), approval_hours=2))
CONTEXT = {"dag_run": SimpleNamespace(dag_id="toy_promote", run_id="run 1")}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow is told to ask; the question was written down an hour ago, and ann has approved."""
    question = SimpleNamespace(subject="version 2?", body="**promote**", said_at=datetime.now(UTC) - timedelta(hours=1))
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": CASE})
    monkeypatch.setattr(approvals, "asked", lambda case, request: question if request == "toy_promote run 1" else None)
    monkeypatch.setattr(approvals, "answers_to", lambda *_: [SimpleNamespace(word="approve", who="ann")])
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **given: told.append(given))
    return told


def task(place: int) -> Approve:
    return Approve(task_id="approve", case="toy", place=place)


def context() -> dict[str, Any]:
    return CONTEXT | {"task_instance": SimpleNamespace(id="one")}


def test_the_second_question_goes_to_the_others_and_ends_with_the_first(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(TaskAwaitingInput) as waits:
        task(2).execute(context())
    (told,) = asked
    assert (told["subject"], told["body"], told["defaults"]) == ("version 2?", "**promote**", ["Reject"])
    assert told["assigned_users"] == [{"id": "bob", "name": "bob"}]
    assert timedelta(minutes=59) < waits.value.timeout <= timedelta(hours=1)


def test_what_was_answered_before_a_kill_is_not_asked_again(asked: list[dict[str, Any]]) -> None:
    assert task(1).execute(context())["chosen_options"] == ["Approve"]
    assert asked == []


def test_an_answer_is_written_down_before_airflow_goes_on(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[Any, ...]] = []

    def answer(case: Any, *said: Any) -> SimpleNamespace:
        written.append(said)
        return SimpleNamespace(word=said[1], who=said[2])

    monkeypatch.setattr(approvals, "answer", answer)
    event = {
        "chosen_options": ["Approve"],
        "params_input": {"why": "fine"},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "3", "name": "bob"},
    }
    task(2).execute_complete(context(), event)
    nobody = event | {"chosen_options": ["Reject"], "params_input": {}, "responded_by_user": None, "timedout": True}
    task(2).execute_complete(context(), nobody)
    assert written == [("toy_promote run 1", "approve", "bob", "fine"), ("toy_promote run 1", "timeout", "", "")]
