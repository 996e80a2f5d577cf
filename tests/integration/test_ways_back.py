"""The drill: a running installation is backed up in the middle of a night, restored elsewhere, started, and goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import Settings
from include.local import control
from include.local.environment import environment, of_settings
from include.orchestration.airflow_client import Airflow, Run
from tests.integration.conftest import Stack
from tests.integration.test_chain import HEAD, HISTORY, LAST
from tests.s3 import free_port

pytestmark = [pytest.mark.integration, pytest.mark.full]

NIGHT, NEXT = Partitions.parse("2013-03-20"), Partitions.parse("2013-03-21")
BEFORE = Partitions.parse("2013-03-18..2013-03-19")


def nocturne(env: dict[str, str], *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "include.cli", *argv], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def predicted(of: Settings) -> set[str]:
    """The days that have predictions."""
    rows = pl.read_delta(str(of.lake / "gold" / "flight_delays__predictions"))
    return set(rows["flight_date"].cast(pl.String).unique())


@pytest.fixture(scope="module")
def champion(stack: Stack) -> Stack:
    """The stack with history and a champion."""
    stack.airflow.wait_for_dags({HEAD, "lakehouse_transform_flights", "flight_delays_train", "flight_delays_monitor"})
    if not (stack.settings.lake / "gold" / "flight_delays__deployments").exists():
        replay(stack.settings.landing, HISTORY, with_dimensions=True)
        stack.airflow.follow([stack.airflow.trigger(HEAD, HISTORY)])
        stack.airflow.follow([stack.airflow.trigger("flight_delays_train", LAST)])
    replay(stack.settings.landing, BEFORE)
    stack.airflow.follow(stack.airflow.backfill(HEAD, BEFORE))
    return stack


@pytest.fixture
def copy(champion: Stack, tmp_path: Path) -> Iterator[Settings]:
    """Where to restore: another folder, other ports."""
    ports = {name: free_port() for name in ("airflow_port", "mlflow_port", "spark_port")}
    of = champion.settings.model_copy(update={"var": tmp_path / "restored", **ports})
    yield of
    control.down(of)


def until_under_way(airflow: Airflow, run: Run) -> None:
    """Return when the first tasks of a run are through."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        states = [one["state"] for one in airflow.tasks(run)]
        if states.count("success") >= 2 and None in states:
            return
        time.sleep(0.1)
    raise AssertionError("the night did not begin")


def test_a_backup_in_the_middle_of_a_night_is_restored_and_goes_on(
    champion: Stack, copy: Settings, tmp_path: Path
) -> None:
    replay(champion.settings.landing, NIGHT)
    run = champion.airflow.trigger(HEAD, NIGHT)
    until_under_way(champion.airflow, run)
    own, to = environment(champion.settings), str(tmp_path / "backups")
    begun = time.monotonic()
    nocturne(own, "backup", "--to", to, "--landing")
    made = time.monotonic()
    champion.airflow.follow([run])
    theirs = {**os.environ, **of_settings(copy)}
    restoring = time.monotonic()
    nocturne(theirs, "restore", "--from", to, "--yes")
    restored = time.monotonic()
    control.up(copy)
    up = time.monotonic()
    there = environment(copy)
    nocturne(there, "verify")
    verified = time.monotonic()
    airflow = Airflow(copy)
    ended = airflow.follow([airflow.run(HEAD, run.run_id)])
    assert {one.state for one in ended} <= {"success", "skipped"}
    through = time.monotonic()
    replay(copy.landing, NEXT)
    airflow.follow([airflow.trigger(HEAD, NEXT)])
    ahead = {"2013-03-21", "2013-03-22"}
    assert predicted(copy) >= ahead
    assert predicted(champion.settings) & ahead == {"2013-03-21"}
    nocturne(there, "verify")
    print(
        f"backup {made - begun:.1f} s, restore {restored - restoring:.1f} s, start {up - restored:.1f} s, verify "
        f"{verified - up:.1f} s, the night under way {through - verified:.1f} s, the next one "
        f"{time.monotonic() - through:.1f} s"
    )
