"""Run as a program, by conftest.py: imports every DAG as Airflow does and prints what it found as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

HEAVY = ("great_expectations", "mlflow", "pyspark", "xgboost", "polars", "deltalake", "dbt.cli", "pandas")


def facts_of(dag: Any) -> dict[str, Any]:
    return {
        "file": dag.fileloc,
        "doc": dag.doc_md or "",
        "tags": sorted(dag.tags),
        "params": sorted(dag.params),
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "schedule": type(dag.timetable).__name__,
        "tasks": {
            task.task_id: {
                "owner": task.owner,
                "retries": task.retries,
                "gives_up_at_once": task.retry_policy is not None,
                "after": sorted(task.upstream_task_ids),
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
