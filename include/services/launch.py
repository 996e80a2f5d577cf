"""``python -m include.services.launch NAME``: what the supervisor runs for each service.

Ends whatever an earlier incarnation of the service left, then becomes the service. A scheduler that was killed leaves
its workers and their tasks behind: they would run on beside the ones that the next scheduler starts in their place.
"""

import os
import sys

from include.services.confine import confine
from include.services.environment import environment
from include.services.processes import SERVICE, kill_all
from include.services.programs import Program, programs
from include.settings import Settings, settings


def child_environment(settings: Settings, program: Program) -> dict[str, str]:
    """The installation's environment as this one program gets it, marked with its name."""
    common = environment(settings, program.secrets, program.credentials)
    return {**common, **program.environment, SERVICE: program.name}


def main(name: str) -> None:
    """Never returns. Raises KeyError for a name that is no service."""
    here = settings()
    program = {program.name: program for program in programs(here)}[name]
    killed = kill_all(here.var, [name])
    print(f"nocturne: starting {name}" + (f", ended {killed} leftover processes" if killed else ""), flush=True)
    os.umask(0o077)
    environment_of_child = child_environment(here, program)  # it reads the secrets
    if program.hidden and (reason := confine(program.hidden, program.kept)):
        print(f"nocturne: {name} can read other services' files and processes: {reason}", flush=True)
    os.chdir(program.folder)
    os.execve(program.argv[0], program.argv, environment_of_child)


if __name__ == "__main__":
    main(sys.argv[1])
