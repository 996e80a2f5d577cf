"""Run as a program, by conftest.py: imports every DAG as Airflow does and prints what it found as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

HEAVY = ("great_expectations", "mlflow", "pyspark", "xgboost", "polars", "deltalake", "dbt.cli", "pandas")


def tells(callbacks: Any) -> bool:
    """Whether somebody hears of a failure."""
    found = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(type(one).__name__ == "Tell" for one in found)


def waits(task: Any) -> float:
    """How long a task may wait, without a worker: a sensor for a file, or whoever asks a person."""
    answer = getattr(task, "response_timeout", 0)
    assert answer is not None, "nobody may wait for a person for ever"
    return answer.total_seconds() if answer else getattr(task, "timeout", 0)


def facts_of(dag: Any) -> dict[str, Any]:
    return {
        "file": dag.fileloc,
        "doc": dag.doc_md or "",
        "tags": sorted(dag.tags),
        "params": sorted(dag.params),
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "schedule": type(dag.timetable).__name__,
        "listens_to": getattr(getattr(dag.timetable, "asset_condition", None), "name", ""),
        "most_seconds": dag.dagrun_timeout and dag.dagrun_timeout.total_seconds(),
        "tells": tells(dag.on_failure_callback),
        "tasks": {
            task.task_id: {
                "owner": task.owner,
                "retries": task.retries,
                "gives_up_at_once": type(task.retry_policy).__name__ == "OnlyWhatMayPass",
                "most_seconds": task.execution_timeout and task.execution_timeout.total_seconds(),
                "is_ended": any(one.__name__ == "limit" for one in task.on_execute_callback),
                "tells": tells(task.on_failure_callback),
                "ends_spark": all(
                    any(getattr(one, "__name__", "") == "end_spark" for one in callbacks)
                    for callbacks in (task.on_failure_callback, task.on_retry_callback)
                ),
                # A sensor that looks once and has a time of 0 waits for nothing.
                "holds_a_slot": getattr(task, "mode", "") == "poke" and task.timeout > 0,
                "waits_seconds": waits(task),
                "after": sorted(task.upstream_task_ids),
                "queue": task.queue,
                "pool": task.pool,
                "priority": task.priority_weight,
                "outlets": sorted(outlet.name for outlet in task.outlets),
            }
            for task in dag.tasks
        },
    }


def main(folder: str) -> None:
    from airflow.dag_processing.dagbag import DagBag

    before = set(sys.modules)
    bag = DagBag(dag_folder=folder, bundle_path=Path(folder), bundle_name="dags")
    new = set(sys.modules) - before
    heavy = sorted(name for name in HEAVY if name in new)
    dags = {dag_id: facts_of(dag) for dag_id, dag in bag.dags.items()}
    print(
        json.dumps({"dags": dags, "errors": bag.import_errors, "heavy": heavy, "already": sorted(set(HEAVY) & before)})
    )


if __name__ == "__main__":
    main(sys.argv[1])
