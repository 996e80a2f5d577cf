"""A run of another DAG as an Airflow task."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused, TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowException

from include.core.errors import NeedsAttentionError


class RunAgain(TriggerDagRunOperator):
    """Starts a run and waits for it without a worker. Where that one has failed, a person has to mend it first."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            logical_date=None,
            wait_for_completion=True,
            deferrable=True,
            poke_interval=5,
            fail_when_dag_is_paused=True,
            **kwargs,
        )

    def execute(self, context: Any) -> None:
        try:
            super().execute(context)
        except DagIsPaused:
            raise NeedsAttentionError(f"{self.trigger_dag_id} is paused: unpause it, then clear this task") from None

    def execute_complete(self, context: Any, event: Any) -> None:
        try:
            super().execute_complete(context, event)
        except AirflowException as error:
            raise NeedsAttentionError(f"{error}: mend what its log names, then clear this task") from None
