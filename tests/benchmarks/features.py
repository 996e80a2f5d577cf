"""A night's features under Airflow beside a bare `dbt build` of the same models, with a short history and a long one.

On an installation of its own, with the real data: the features of one night are built again and again, which changes
nothing and so costs the same each time; first after little more history than they look back on, then after a year.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import HOME, Settings
from include.local.environment import environment
from tests.integration.conftest import Stack, started
from tests.s3 import free_port

HEAD, TRANSFORM, FEATURES = "lakehouse_ingest_flights", "lakehouse_transform_flights", "flight_delays_features"
# What is loaded, and the night that is then measured: the last one of it.
HISTORIES = {
    "40 days": Partitions.parse("2013-01-01..2013-02-09"),
    "a year": Partitions.parse("2013-02-10..2013-12-30"),
}
WARM_UP = 2


def under_airflow(stack: Stack, night: Partitions) -> dict[str, float]:
    """Seconds of a run of the features DAG, queue to end, and of its task that runs dbt, queue to end."""
    (run,) = (one for one in stack.airflow.follow([stack.airflow.trigger(FEATURES, night)]) if one.dag_id == FEATURES)
    build = next(task for task in stack.airflow.tasks(run) if task["task_id"] == "build")
    begun, ended = (datetime.fromisoformat(build[at]) for at in ("queued_when", "end_date"))
    return {"run": run.seconds or 0.0, "dbt": (ended - begun).total_seconds()}


def bare(stack: Stack, night: Partitions, target: Path) -> float:
    """Seconds of `dbt build` of the same models for the same night, by the command line."""
    project = HOME / "dbt_project"
    command = [
        *("dbt", "build", "--select", "marts.use_cases.flight_delays", "--indirect-selection", "buildable", "--quiet"),
        *("--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target)),
        *("--log-path", str(target)),
    ]
    here = environment(stack.settings) | {"NOCTURNE_FROM": night.key, "NOCTURNE_TO": night.key}
    begun = time.monotonic()
    subprocess.run(command, env=here, check=True, capture_output=True)
    return time.monotonic() - begun


def measure(turns: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """For each history, the seconds of every turn: the whole ``run``, its ``dbt``, and ``bare``."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            var=Path(folder) / "var", airflow_port=free_port(), mlflow_port=free_port(), spark_port=free_port()
        )
        with started(settings) as stack:
            stack.airflow.wait_for_dags({HEAD, TRANSFORM, FEATURES})
            for history, nights in HISTORIES.items():
                say(f"loading {history}: {nights}")
                replay(settings.landing, nights, with_dimensions=True)
                stack.airflow.follow([stack.airflow.trigger(HEAD, nights)], say)
                night = Partitions(nights.last, nights.last)
                found[history] = {"run": [], "dbt": [], "bare": []}
                for turn in range(-WARM_UP, turns):
                    took = under_airflow(stack, night) | {"bare": bare(stack, night, Path(folder) / "target")}
                    say(f"{history}, turn {turn}: " + ", ".join(f"{name} {one:.1f} s" for name, one in took.items()))
                    for name, seconds in took.items():
                        found[history][name] += [seconds] if turn >= 0 else []
    return found


def run(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """dbt under Airflow beside the command line, for both histories; and a night's run after a year beside 40 days."""
    found = measure(given.turns, say)

    def compare(**sides: list[float]) -> dict[str, Any]:
        return {"turns": {side: [{"seconds": one} for one in seconds] for side, seconds in sides.items()}}

    short, long = found
    return {
        **{
            f"dbt of a night's features, {history}": compare(
                **{"under Airflow": took["dbt"], "dbt build": took["bare"]}
            )
            for history, took in found.items()
        },
        "a night's features": compare(**{f"after {long}": found[long]["run"], f"after {short}": found[short]["run"]}),
    }
