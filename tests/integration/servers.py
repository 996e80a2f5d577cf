"""Single services of an installation, without a supervisor: for tests of who gets in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from include.core.settings import HOME, Settings
from include.local.environment import of_settings

SECONDS = 300
"""For a server to come up, on a busy machine."""


@contextmanager
def running(settings: Settings, *names: str, given: Mapping[str, str] | None = None) -> Iterator[None]:
    """These services; ``given`` are further variables of their environment."""
    environment = os.environ | of_settings(settings) | {"PYTHONPATH": str(HOME)} | dict(given or {})
    processes = []
    for name in names:
        with (settings.log / f"{name}.log").open("w") as log:
            argv = [sys.executable, "-m", "include.local.launch", name]
            processes.append(
                subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=HOME)
            )
    try:
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(60)


def wait_for(url: str, log: Path) -> None:
    """Return when ``url`` answers that it is well."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    pytest.fail(f"{url} did not come up: {log.read_text()[-2000:]}")
