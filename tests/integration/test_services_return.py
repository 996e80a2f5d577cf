"""``kill -9`` of a service is followed by its return within half a minute: the promise of the services."""

import os
import signal
import time
from typing import Any

import pytest

from include.local import control
from include.local.health import WELL
from include.local.supervisor import Supervisor

pytestmark = pytest.mark.integration

RETURN_SECONDS = 30
SERVICES = ["api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "spark"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_service_returns(stack: Any, name: str) -> None:
    killed = Supervisor(stack.settings).services()[name]["pid"]
    os.kill(killed, signal.SIGKILL)
    end, health, pid = time.monotonic() + RETURN_SECONDS, "", killed
    while time.monotonic() < end and (health != WELL or pid in (0, killed)):
        time.sleep(0.2)
        health, pid = next((row.health, row.pid) for row in control.status(stack.settings) if row.service == name)
    assert health == WELL, f"{RETURN_SECONDS} s after it was killed"
    assert pid not in (0, killed)


def test_all_is_well_after_that(stack: Any) -> None:
    control.wait_healthy(stack.settings, print, RETURN_SECONDS)
    assert [row.service for row in control.status(stack.settings) if row.health != WELL] == []
