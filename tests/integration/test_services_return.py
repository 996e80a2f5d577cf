"""``kill -9`` of a service is followed by its return. How long it takes is measured and not tested.

The promise of half a minute is for a machine that is idle: docs/decisions/services.md has the figures.
"""

import os
import signal
import time
from typing import Any

import pytest

from include.local import control
from include.local.health import WELL
from include.local.supervisor import Supervisor

pytestmark = pytest.mark.integration

PATIENCE_SECONDS = 240
# One that answers at a port and one that does not; the scheduler is killed in test_kills, Spark is one of its own.
SAMPLE = ["api-server", "triggerer", "spark"]
OTHERS = ["scheduler", "dag-processor", "mlflow"]


@pytest.mark.parametrize("name", [*SAMPLE, *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS)])
def test_a_killed_service_returns(stack: Any, name: str) -> None:
    killed = Supervisor(stack.settings).services()[name]["pid"]
    os.kill(killed, signal.SIGKILL)
    begun, health, pid = time.monotonic(), "", killed
    while time.monotonic() < begun + PATIENCE_SECONDS and (health != WELL or pid in (0, killed)):
        time.sleep(0.2)
        health, pid = next((row.health, row.pid) for row in control.status(stack.settings) if row.service == name)
    print(f"{name} was {health} {time.monotonic() - begun:.0f} s after it was killed")
    assert health == WELL
    assert pid not in (0, killed)


def test_all_is_well_after_that(stack: Any) -> None:
    control.wait_healthy(stack.settings, print, PATIENCE_SECONDS)
    assert [row.service for row in control.status(stack.settings) if row.health != WELL] == []
