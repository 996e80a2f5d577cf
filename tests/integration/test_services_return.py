"""``kill -9`` of a service is followed by its return. How fast: docs/decisions/services.md, and no test."""

import os
import signal
import time
from typing import Any

import pytest

from include.services import control
from include.services.health import WELL
from include.services.supervisor import Supervisor
from include.settings import Settings

pytestmark = pytest.mark.integration

PATIENCE = 180  # seconds; a busy machine takes many times as long as an idle one
SERVICES = ["api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "spark"]


def wait_for_return(settings: Settings, name: str, killed: int, timeout: float) -> float:
    """Seconds until ``name`` is healthy as another process than ``killed``; fails the test after ``timeout``."""
    begun = time.monotonic()
    while time.monotonic() - begun < timeout:
        row = next(row for row in control.status(settings) if row.service == name)
        if row.health == WELL and row.pid not in (0, killed):
            return time.monotonic() - begun
        time.sleep(0.2)
    pytest.fail(f"{name} is {row.state}, {row.health} {timeout} s after it was killed")


@pytest.mark.parametrize("name", SERVICES)
def test_a_killed_service_returns(stack: Any, name: str) -> None:
    pid = Supervisor(stack.settings).services()[name]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for_return(stack.settings, name, pid, PATIENCE)


def test_all_is_well_after_that(stack: Any) -> None:
    control.wait_healthy(stack.settings, print, PATIENCE)
    assert [row.service for row in control.status(stack.settings) if row.health != WELL] == []
