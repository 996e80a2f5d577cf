"""``python -m include.local.launch NAME``: what the supervisor runs for each service.

Ends whatever an earlier incarnation of the service left, then becomes the service. A scheduler that was killed leaves
its workers and their tasks behind: they would run on beside the ones that the next scheduler starts in their place.
A service that dies again and again is started ever later, and then given up.
"""

import json
import os
import sys
import time
from pathlib import Path

from include.core.settings import Settings, settings
from include.local.confine import confine
from include.local.environment import environment
from include.local.processes import SERVICE, kill_all
from include.local.programs import Program, programs

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


def child_environment(settings: Settings, program: Program) -> dict[str, str]:
    """The installation's environment as this one program gets it, marked with its name."""
    common = environment(settings, program.secrets, program.credentials)
    return {**common, **program.environment, SERVICE: program.name}


def main(name: str) -> None:
    """Never returns. Raises KeyError for a name that is no service."""
    here = settings()
    program = {program.name: program for program in programs(here)}[name]
    killed = kill_all(here.var, [name])
    wait_or_give_up(here, name)
    print(f"nocturne: starting {name}" + (f", ended {killed} leftover processes" if killed else ""), flush=True)
    os.umask(0o077)
    environment_of_child = child_environment(here, program)  # it reads the secrets
    if program.hidden and (reason := confine(program.hidden, program.kept)):
        print(f"nocturne: {name} can read other services' files and processes: {reason}", flush=True)
    os.chdir(program.folder)
    os.execve(program.argv[0], program.argv, environment_of_child)  # noqa: S606  # a program of ours needs no shell


if __name__ == "__main__":
    main(sys.argv[1])
