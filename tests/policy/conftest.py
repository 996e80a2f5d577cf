"""What the policy tests look at: the DAGs as Airflow sees them, and the source files of the tree."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.lake import columns

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dag_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every DAG of ``dags``, imported once by a process of its own with a home, a database and logs of its own."""
    return facts(tmp_path_factory.mktemp("airflow"), {"NOCTURNE_EXECUTOR": "local"})


@pytest.fixture(scope="session")
def dag_facts_of_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same where tasks are shared out to workers."""
    return facts(tmp_path_factory.mktemp("airflow"), {"NOCTURNE_EXECUTOR": "celery"})


def facts(home: Path, more: dict[str, str]) -> dict[str, Any]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("dag_facts.py")), str(ROOT / "dags")],
        env=ours
        | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "NOCTURNE_VAR": str(home / "var"),
            "PYTHONPATH": str(ROOT),
        }
        | more,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="session")
def dbt_columns(tmp_path_factory: pytest.TempPathFactory) -> columns.Columns:
    """The columns of every model of the dbt project as it is, compiled in a folder of its own."""
    return columns.compiled(ROOT / "dbt_project", tmp_path_factory.mktemp("dbt"))
