"""What every DAG of the project shares: its parameters, its time limits, and what happens when a task fails."""

from __future__ import annotations

import faulthandler
import logging
import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import CronPartitionTimetable, Param, RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision
from pendulum import FixedTimezone

from include.contracts.source import Source
from include.core import roles
from include.core.errors import may_pass
from include.core.settings import KUBERNETES, LOCAL, settings
from include.orchestration.alerts import Tell
from include.orchestration.channels import within

if TYPE_CHECKING:
    from airflow.sdk.execution_time.hitl import HITLUser

log = logging.getLogger(__name__)

GRACE = 60  # seconds from a task's time limit to the end of its process, if it does not end by itself


def _day(what: str) -> Param:
    return Param(None, type=["null", "string"], format="date", title=what, description="For a range; else leave empty")


PARAMS: dict[str, Param] = {"from": _day("First night"), "to": _day("Last night")}


def answerers(named: Iterable[str] = (), without: Collection[str] = ()) -> list[HITLUser] | None:
    """Whom Airflow lets answer a question, as its operators take them; None where its roles say who may.

    ``named`` by a spec, where it names any; those who have answered already are ``without``.
    """
    names = roles.answerers(settings(), named)
    # Nobody left would mean everybody.
    return [{"id": one, "name": one} for one in names if one not in without] or ([NOBODY] if names else None)


NOBODY: HITLUser = {"id": "-", "name": "nobody"}


class OnlyWhatMayPass(RetryPolicy):
    """A killed process or a service on its way back is worth another try; what a person has to mend is not."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        return RetryDecision.default() if may_pass(exception) else RetryDecision.fail("A person has to mend this")


def limit(context: Mapping[str, Any]) -> None:
    """Have the running task end at its time limit, whatever it is in the middle of.

    Airflow raises an error in the task's main thread then. That alone ends neither the statements that other threads
    have on Spark, for which the main thread waits, nor a library that does not come back to Python. So Spark is
    interrupted at the limit, and what is left of the process goes a minute later, with its stack in the log.
    """
    task = context["ti"].task
    if task.execution_timeout:
        seconds = task.execution_timeout.total_seconds()
        timer = threading.Timer(seconds, end_spark)
        timer.daemon = True
        timer.start()
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=2)


def end_spark(context: Any = None) -> None:
    """End what the task left running on Spark: a failed one has siblings there, and would meet them at its next try."""
    from include.lake import spark

    if why := within(GRACE / 12, spark.interrupt):
        log.warning("Spark was not interrupted: %s", why)


TELL = Tell()

DEFAULTS: dict[str, Any] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
    "retry_policy": OnlyWhatMayPass(),
    "execution_timeout": timedelta(minutes=settings().task_minutes),
    "on_execute_callback": [limit],
    "on_retry_callback": [end_spark],
    "on_failure_callback": [end_spark, TELL],
}

# For a task that reads or fits a range of history.
LONG: dict[str, Any] = {"execution_timeout": timedelta(minutes=settings().long_task_minutes)}

SEVERAL = settings().executor != LOCAL
"""Whether tasks have workers to be shared out to. On one machine they are of one queue, and nothing says otherwise."""

# For a task that uses Spark: workers that can reach it take these.
SPARK: dict[str, Any] = {"queue": "spark"} if SEVERAL else {}

# For a training: a worker with a GPU takes it, one a device. A night's stages come before it where slots are few.
# A pod has no queue: there the executor is told which of the chart's templates to make it of (docker/helm).
GPU_POD: dict[str, Any] = {"executor_config": {"pod_template_file": "/etc/nocturne/pods/gpu.yaml"}}
TRAINING: dict[str, Any] = (
    LONG
    | ({"queue": "gpu", "pool": "gpu", "weight_rule": "absolute"} if SEVERAL else {})
    | (GPU_POD if settings().executor == KUBERNETES else {})
)

# For what people wait for in the morning: before all else that could begin.
FIRST: dict[str, Any] = {"priority_weight": 100} if SEVERAL else {}

# For a wait. Between two looks it is no process and takes no worker.
WAIT: dict[str, Any] = {"mode": "reschedule", "poke_interval": 10, "timeout": settings().wait_minutes * 60}


def longest_wait(source: Source) -> int:
    """Seconds after which nothing of a night is awaited, also where it was started before its day ended."""
    return (48 + source.freshness_hours) * 3600


def nightly(source: Source) -> CronPartitionTimetable:
    """Each business day of ``source``, at its end. Its clock is never changed: see ``Source.tick_offset``."""
    clock = FixedTimezone(int(source.tick_offset.total_seconds()))
    return CronPartitionTimetable(source.schedule, timezone=clock, run_offset=-1, key_format="%Y-%m-%d")


# Of each DAG. A run's time is that of all its tasks; of a backfill's it begins when the backfill is asked for, so that
# its last night must not run out while the others have their turn.
DAG: dict[str, Any] = {
    "catchup": False,
    "max_active_runs": 1,
    "dagrun_timeout": timedelta(hours=settings().run_hours),
    "on_failure_callback": TELL,
}


def name_of(context: Mapping[str, Any]) -> str:
    """What to call a run where it is remembered: its DAG and its id."""
    run = context["dag_run"]
    return f"{run.dag_id} {run.run_id}"
