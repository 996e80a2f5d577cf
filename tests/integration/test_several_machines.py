"""A night of a small use case on two schedulers and three workers, which share no disk but the lake's."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from examples import seattle
from include.core.partitions import Partitions
from include.core.settings import settings
from include.lake import commit, delta
from include.orchestration.airflow_client import Airflow
from include.use_cases import use_case
from tests import postgres, several_machines

pytestmark = pytest.mark.full

HISTORY = Partitions.parse("2012-01-01..2015-06-30")
NIGHT = Partitions(HISTORY.last + timedelta(1), HISTORY.last + timedelta(1))
HEAD = "lakehouse_ingest_seattle_weather"
# How many assets each DAG follows (apache/airflow#71070).
FOLLOWED = "SELECT count(*) FROM dag_schedule_asset_reference GROUP BY dag_id"
CASE = use_case("seattle_weather_kind")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[several_machines.Machines]:
    folder = tmp_path_factory.mktemp("machines")
    with several_machines.machines(folder) as found, pytest.MonkeyPatch.context() as patch:
        with ThreadPoolExecutor(2) as two:  # at once, as two replicas of a job
            made = list(two.map(lambda _: found.carry_out("init"), range(2)))
        assert [one.returncode for one in made] == [0, 0], made
        for name, value in found.shared.items():
            patch.setenv(name, value)
        patch.setenv("NOCTURNE_VAR", str(folder / "operator"))
        settings.cache_clear()
        for service in ("api-server", "mlflow", "spark", "dag-processor", "triggerer"):
            found.serve(service)
        for machine in ("scheduler-1", "scheduler-2"):
            found.serve("scheduler", machine)
        for machine, queues in (("worker-1", "default,spark"), ("worker-2", "default,spark"), ("worker-3", "gpu")):
            found.serve("worker", machine, NOCTURNE_QUEUES=queues)
        found.wait_healthy()
        yield found
    settings.cache_clear()


def test_history_training_and_a_night_on_three_workers(machines: several_machines.Machines) -> None:
    airflow = Airflow(machines.settings())
    seattle.replay(settings().landing, Partitions(HISTORY.first, NIGHT.last))
    airflow.wait_for_dags({HEAD, *CASE.dag_ids})
    airflow.unpause(CASE.dag_ids)
    airflow.follow([airflow.trigger(HEAD, HISTORY)])
    trained = airflow.follow([airflow.trigger(f"{CASE.name}_train", Partitions(HISTORY.last, HISTORY.last))])
    runs = airflow.follow([airflow.trigger(HEAD, NIGHT)])

    scored = delta.scan("gold", CASE.predictions_table).collect()
    wanted = NIGHT.shift(CASE.horizon_days).first
    assert scored.filter(pl.col(CASE.day) == wanted).height == 1

    made = [(run, task) for run in (*trained, *runs) for task in airflow.tasks(run)]
    queues = {(run.dag_id, task["task_id"]): task["queue"] for run, task in made}
    assert queues[(f"{CASE.name}_train", "train")] == "gpu"
    assert queues[(f"{CASE.name}_features", "build")] == "spark"
    assert queues[(HEAD, "load")] == "default"
    pools = {task["task_id"]: task["pool"] for run, task in made if run.dag_id == f"{CASE.name}_train"}
    assert pools["train"] == "gpu"
    for machine in ("worker-1", "worker-2", "worker-3"):
        assert logs(machines.folder / machine), f"{machine} has done nothing"
    assert {path.parts[-1] for path in logs(machines.folder / "worker-3")} >= {f"dag_id={CASE.name}_train"}
    of_airflow = subprocess.run(
        [str(machines.database.bin / "psql"), postgres.url(machines.database, "airflow"), "-qAt", "-c", FOLLOWED],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(of_airflow.stdout.split()) == {"1"}, "a DAG that follows two partitioned assets can lose a run"


def test_a_night_ends_though_a_scheduler_goes_and_a_worker_with_its_disk(machines: several_machines.Machines) -> None:
    """After the one above: the next night, in whose middle two machines go and never come back."""
    airflow, night = Airflow(machines.settings()), NIGHT.shift(1)
    seattle.replay(settings().landing, night)
    run = airflow.trigger(HEAD, night)
    features = f"{CASE.name}_features"
    until = time.monotonic() + 900
    while not any(
        task["state"] == "running" for one in airflow.runs_of(features, str(night)) for task in airflow.tasks(one)
    ):
        assert time.monotonic() < until
        time.sleep(0.2)
    machines.kill("scheduler-1")
    machines.kill("worker-1")
    shutil.rmtree(machines.folder / "worker-1")
    airflow.follow([run])
    scored = delta.scan("gold", CASE.predictions_table).collect()
    assert scored.filter(pl.col(CASE.day) == night.shift(CASE.horizon_days).first).height == 1
    assert scored[CASE.day].is_unique().all(), "a row is there twice"
    assert commit.unfinished() == []


def logs(var: Path) -> list[Path]:
    """The folders that a worker has written tasks' logs to, one a DAG."""
    return sorted((var / "log" / "airflow").glob("dag_id=*"))
