"""What every DAG of the project shares: its parameters, and what happens when a task fails."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction, RetryRule

from include.errors import NeedsAttentionError


def _day(what: str) -> Param:
    return Param(None, type=["null", "string"], format="date", title=what, description="For a range; else leave empty")


PARAMS: dict[str, Param] = {"from": _day("First night"), "to": _day("Last night")}

# A killed process or a service on its way back is worth another try; what a person has to mend is not.
DEFAULTS: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_policy": ExceptionRetryPolicy(
        rules=[RetryRule(exception=NeedsAttentionError, action=RetryAction.FAIL, reason="A person has to mend this")]
    ),
}


def name_of(context: Mapping[str, Any]) -> str:
    """What to call a run where it is remembered: its DAG and its id."""
    run = context["dag_run"]
    return f"{run.dag_id} {run.run_id}"
