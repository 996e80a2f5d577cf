"""``python -m include.local.launch NAME``: what the supervisor runs for each service.

Ends whatever an earlier incarnation of the service left, then becomes the service. A scheduler that was killed leaves
its workers and their tasks behind: they would run on beside the ones that the next scheduler starts in their place.
A service that dies again and again is started ever later, and then given up.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from include.core.settings import Settings, settings
from include.local.confine import confine
from include.local.environment import environment
from include.local.processes import SERVICE, kill_all
from include.local.programs import Program, program

MOST_STARTS, WITHIN_SECONDS, LONGEST_WAIT = 12, 600, 10
GIVEN_UP = 78
"""The exit code that tells the supervisor not to start the service again."""


def starts_file(settings: Settings, name: str) -> Path:
    """Where the starts of a service are kept. Without it, the count begins anew."""
    return settings.run / f"{name}.starts"


def starts(path: Path, now: float) -> list[float]:
    """When the service started lately, ``now`` included; in seconds since boot, which no change of the clock moves."""
    try:
        before = [float(one) for one in json.loads(path.read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        before = []
    return [*(one for one in before if now - WITHIN_SECONDS < one <= now), now]


def wait_or_give_up(settings: Settings, name: str) -> None:
    """Count this start and wait, the longer the more there were lately. Ends the process where there were too many."""
    path = starts_file(settings, name)
    lately = starts(path, time.monotonic())
    if len(lately) > MOST_STARTS:
        minutes = WITHIN_SECONDS // 60
        print(f"nocturne: {name} is given up after {MOST_STARTS} starts in {minutes} minutes", flush=True)
        sys.exit(GIVEN_UP)
    path.write_text(json.dumps(lately))
    time.sleep(min(max(len(lately) - 2, 0), LONGEST_WAIT))


def child_environment(settings: Settings, its: Program) -> dict[str, str]:
    """The installation's environment as this one program gets it, marked with its name."""
    common = environment(settings, its.secrets, its.credentials)
    return {**common, **its.environment, SERVICE: its.name}


def main(name: str) -> None:
    """Never returns. Raises BadRequestError for a name that is no service."""
    here = settings()
    become_service(here, program(here, name), before=lambda: wait_or_give_up(here, name))


def become_service(settings: Settings, its: Program, before: Callable[[], object]) -> NoReturn:
    """End what an earlier incarnation left, do ``before``, and become the service."""
    killed = kill_all(settings.var, [its.name])
    before()
    ended = f", ended {killed} leftover processes" if killed else ""
    print(f"nocturne: starting {its.name}{ended}", flush=True)
    os.umask(0o077)
    environment_of_child = child_environment(settings, its)  # it reads the secrets
    if its.hidden and (reason := confine(its.hidden, its.kept)):
        print(f"nocturne: {its.name} can read other services' files and processes: {reason}", flush=True)
    os.chdir(its.folder)
    os.execve(its.argv[0], its.argv, environment_of_child)  # noqa: S606  # a program of ours needs no shell


if __name__ == "__main__":
    main(sys.argv[1])
