"""One private installation for all integration tests of an engine: its own folder, its own ports, the real services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from include.core.settings import EMBEDDED, SPARK, Settings
from include.local import control
from include.local.private_network import refusal
from include.local.setup import set_up
from include.orchestration.airflow_client import Airflow, Run
from tests.s3 import free_port

HERE = Path(__file__).resolve().parent
# The project's DAGs, and those that only tests have.
BUNDLES = [
    {
        "name": name,
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(path)},
    }
    for name, path in {"dags-folder": HERE.parents[1] / "dags", "probes": HERE / "probes"}.items()
]


@dataclass(frozen=True)
class Stack:
    """A running installation."""

    settings: Settings
    airflow: Airflow

    def log(self, run: Run, task_id: str, try_number: int = 1) -> str:
        """The text of a task's log."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer: dict[str, Any] = self.airflow.call("GET", path, headers={"Accept": "application/json"})
        return str(answer["content"])

    def landing(self, feed: str, day: str) -> Path:
        return self.settings.landing / "flights" / feed / f"{day}.csv"


@contextmanager
def started(settings: Settings) -> Iterator[Stack]:
    """An installation, set up and running while this lasts."""
    set_up(settings)
    try:
        control.up(settings, progress=print)
        yield Stack(settings, Airflow(settings))
    finally:
        control.down(settings)


no_private_network = cache(refusal)  # asked for each test
ON_BOTH = ("test_chain",)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All that needs the stack is run on the embedded engine; on Apache Spark too: ``ON_BOTH``, or with ``-m ""`` all.

    Of ``ON_BOTH`` all but what is marked ``one_engine``. Where a system gives the embedded engine no network of its
    own, all is run on Spark.
    """
    if "stack" not in metafunc.fixturenames:
        return
    embedded = [] if no_private_network() else [EMBEDDED]
    of_both = metafunc.module.__name__.endswith(ON_BOTH) and not metafunc.definition.get_closest_marker("one_engine")
    on_spark = SPARK if of_both or not embedded else pytest.param(SPARK, marks=pytest.mark.full)
    engines = [*embedded, on_spark]
    metafunc.parametrize("stack", engines, indirect=True, scope="package")


@pytest.fixture(scope="package")  # whose services are not to run on beside the tests that come after
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = Settings(
        var=tmp_path_factory.mktemp("stack"),
        engine=request.param,
        airflow_port=free_port(),
        mlflow_port=free_port(),
        spark_port=free_port(),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(BUNDLES))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "admin:admin,ann:user")
        with started(settings) as running:
            yield running
