"""A person's approval of a version as an Airflow task, which waits without a worker.

What it shows and what it is answered are lines of a ledger. So a task that somebody marks as successful approves
nothing, and one that is cleared asks again what it has asked.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.timezone import utcnow

from include.orchestration import defaults
from include.use_cases import use_case

if TYPE_CHECKING:
    from include.ml.record import Word


class Approve(ApprovalOperator):
    """Asks the question of its run, and writes the answer down. No answer in time is a no.

    Attributes:
        case: the use case.
        place: how many approvals the question has once this one is given.
    """

    def __init__(self, *, case: str, place: int, **kwargs: Any) -> None:
        # Airflow has put the DAG's parameters in: a person is asked for one of this task's own.
        why = Param("", type="string", title="Why", description="For the ledger; may stay empty")
        super().__init__(
            subject=f"Make a version of {case} champion?",
            body="",
            defaults=self.REJECT,
            response_timeout=timedelta(hours=use_case(case).promotion.approval_hours),
            **kwargs | {"params": {"why": why}},
        )
        self.case, self.place = case, place

    def execute(self, context: Any) -> Any:
        from include.ml import approvals

        case, request = use_case(self.case), defaults.name_of(context)
        question, given = approvals.asked(case, request), approvals.answers_to(case, request)
        no, said_yes = approvals.turned_down(given), {one.who for one in given if one.word == "approve"}
        # The answer of a try that was killed after it was written down counts.
        if no or len(said_yes) >= self.place:
            print(no or f"approved by {', '.join(sorted(said_yes))}")
            return super().execute_complete(context, self._answered(self.REJECT if no else self.APPROVE))
        self.subject, self.body = question.subject, question.body
        self.assigned_users = defaults.answerers(case.promotion.approvers, said_yes)
        self.response_timeout = approvals.left(case, question)
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        from include.ml import approvals

        who = (event.get("responded_by_user") or {}).get("name", "")  # an id may be a number of Airflow's database
        if "error" not in event:
            said_yes = event["chosen_options"] == [self.APPROVE]
            why = str((event.get("params_input") or {}).get("why") or "")
            word: Word = "timeout" if not who else "approve" if said_yes else "reject"
            found = approvals.answer(use_case(self.case), defaults.name_of(context), word, who, why)
            print(f"{found.word} by {found.who or 'nobody'}")
            if found.word != "approve":
                event = self._answered(self.REJECT)
        return super().execute_complete(context, event)

    def _answered(self, option: str) -> dict[str, Any]:
        return {"chosen_options": [option], "params_input": {}, "responded_at": utcnow(), "responded_by_user": None}
