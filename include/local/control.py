"""Start, stop and look at the services of an installation."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.core.errors import NeedsAttentionError
from include.core.settings import Settings
from include.lake.migrations import LAYOUT, layout, require_known
from include.local import processes
from include.local.checks import InstallationError, port_is_free, port_problem
from include.local.clean import plan as what_goes
from include.local.clean import remove
from include.local.doors import check_container, check_host
from include.local.environment import environment
from include.local.health import WELL, every
from include.local.installation import forget_moved_catalogue
from include.local.programs import ports, programs
from include.local.setup import exclusive, set_up
from include.local.supervisor import Supervisor, stays_down
from include.local.upgrading import upgrading

Progress = Callable[[str], None]
START_SECONDS = 300


@dataclass(frozen=True)
class Row:
    """One service as ``status`` shows it; memory in bytes, up in seconds."""

    service: str
    state: str
    health: str
    pid: int
    up: float
    memory: int
    url: str


def check_ports(settings: Settings) -> None:
    """Raise InstallationError, one line each, for every port of ours that somebody else holds."""
    lines = [
        port_problem(port.service, port.number, port.variable, processes.listener(port.number))
        for port in ports(settings)
        if not port_is_free(settings.host, port.number)
    ]
    if lines:
        raise InstallationError("; ".join(lines))


def other_settings(settings: Settings, started_with: str) -> str | None:
    """The line that names what differs from the settings the services were started with (JSON), else None."""
    then, now = json.loads(started_with), settings.model_dump(mode="json")
    differing = [name for name in now if name in then and then[name] != now[name]]
    if not differing:
        return None
    words = ", ".join(f"NOCTURNE_{name.upper()}={then[name]} (not {now[name]})" for name in differing)
    return f"the services were started with {words}: give the same, or `make down` and start them again"


def check_settings(settings: Settings) -> None:
    """Raise InstallationError where the services run with other settings: commands would speak to the wrong ports."""
    path = settings.run / "settings.json"
    if path.exists() and Supervisor(settings).is_up() and (line := other_settings(settings, path.read_text())):
        raise InstallationError(line)


def last_line(path: Path) -> str:
    """The last line of a log that says something, of the service itself if any is; empty where there is none."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace")[-4000:].splitlines() if line.strip()]
    except OSError:
        return ""
    own = [line for line in lines if not line.startswith("nocturne:")]
    return (own or lines or [""])[-1]


def given_up(infos: Mapping[str, Mapping[str, Any]], settings: Settings) -> str | None:
    """The line for a service that the supervisor has stopped trying to start, else None."""
    for name, info in infos.items():
        if info["statename"] != "STOPPED" and stays_down(info):
            log = settings.log / f"{name}.log"
            return f"{name} does not stay up: see {log} ({last_line(log)[:200]})"
    return None


def wait_healthy(settings: Settings, progress: Progress, timeout: float) -> None:
    """Return when every service is healthy.

    Raises InstallationError naming those that are not after ``timeout`` seconds.
    """
    supervisor, begun, said = Supervisor(settings), time.monotonic(), set[str]()
    while True:
        try:
            infos = supervisor.services()
        except ConnectionError:
            raise InstallationError(
                "the services were stopped while this waited for them: `make up` starts them again"
            ) from None
        health = every(settings, infos)
        missing = {name: word for name, word in health.items() if word != WELL}
        if not missing and not said:
            return  # all were well at the first look: nothing to tell
        for name in [name for name, word in health.items() if word == WELL and name not in said]:
            progress(f"{name} is up after {time.monotonic() - begun:.0f} s")
            said.add(name)
        if not missing:
            return
        if line := given_up(infos, settings):
            raise InstallationError(line)
        if time.monotonic() - begun > timeout:
            words = ", ".join(f"{name} ({word})" for name, word in missing.items())
            raise InstallationError(f"not healthy after {timeout:.0f} s: {words}; their logs are in {settings.log}")
        time.sleep(0.5)


def bring_lake_forward(settings: Settings, progress: Progress, dry_run: bool = False) -> None:
    """Take the steps from the lake's layout to that of this release.

    Each table changes in one commit, which leaves its version before readable. Raises InstallationError where it
    cannot, or is in use.
    """
    try:
        require_known(settings)
    except NeedsAttentionError as error:
        raise InstallationError(str(error)) from None
    if layout(settings) == LAYOUT:
        return
    if not dry_run and Supervisor(settings).is_up():
        raise InstallationError(
            f"an earlier release wrote the lake {settings.lake}: `make upgrade` stops it and brings it forward"
        )
    done = subprocess.run(  # noqa: S603  # a module of ours
        [sys.executable, "-m", "include.cli", "migrate", *(["--dry-run"] if dry_run else [])],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        cwd=settings.run,
    )
    for line in done.stdout.splitlines():
        progress(f"{'would change' if dry_run else 'changed'} {line}")
    if done.returncode:
        raise InstallationError(f"the lake cannot be brought forward: {said(done.stderr)}")


def said(error: str) -> str:
    """The last line of what a command of ours has written to standard error, without its name before it."""
    return (error.strip() or "killed").splitlines()[-1].removeprefix("nocturne migrate: ")


def register_tables(settings: Settings, progress: Progress) -> None:
    """Have Spark's catalogue know every table of the lake.

    It is the first query of a server as well: that takes seconds, and proves more than an open port does.
    """
    done = subprocess.run(
        [sys.executable, "-m", "include.lake.spark"],
        env=environment(settings, frozenset({"SPARK_REMOTE"})),
        capture_output=True,
        text=True,
        check=False,
        cwd=settings.run,
        timeout=120,
    )
    if done.returncode:
        raise InstallationError(
            f"Spark at {settings.spark_url} answers no query: {done.stderr.strip().splitlines()[-1]}"
        )
    for line in done.stdout.splitlines():
        progress(line)


def up(settings: Settings, progress: Progress = print, timeout: float = START_SECONDS, take_lake: bool = False) -> None:
    """Set up, start what does not run, and return when all is healthy. A second call changes nothing.

    ``take_lake`` makes this the installation that writes the lake, where another one was.
    Raises InstallationError, one line that says what to do.
    """
    check_host(settings)
    supervisor = Supervisor(settings)
    with exclusive(settings):  # what is wrong with the ports is said before the minutes of a first set-up
        if not supervisor.is_up():
            if killed := processes.kill_all(settings.var):
                progress(f"ended {killed} processes of an earlier start")
            check_container(settings)
            check_ports(settings)
        check_settings(settings)
    with upgrading(settings, progress):
        set_up(settings, progress, take_lake=take_lake)
        with exclusive(settings):
            bring_lake_forward(settings, progress)
    started_with = settings.run / "settings.json"
    with exclusive(settings):
        if supervisor.is_up():
            check_settings(settings)
            if names := supervisor.start_missing():
                progress(f"starting {', '.join(names)}")
            fresh = bool(names)
        else:
            progress(f"starting {', '.join(program.name for program in programs(settings))}")
            forget_moved_catalogue(settings, progress)
            supervisor.start()
            started_with.write_text(settings.model_dump_json())
            fresh = True
    wait_healthy(settings, progress, timeout)
    if fresh:
        register_tables(settings, progress)


def down(settings: Settings, progress: Progress = print) -> None:
    """Stop everything and leave no process of the installation behind. Does nothing where nothing runs."""
    if not settings.var.exists():
        return
    with exclusive(settings):
        supervisor = Supervisor(settings)
        if supervisor.is_up():
            progress("stopping the services")
            with suppress(ConnectionError):  # it may go while it answers
                supervisor.shut_down()
            end = time.monotonic() + 10
            while processes.of_service(settings.var, processes.SUPERVISOR) and time.monotonic() < end:
                time.sleep(0.1)
        if killed := processes.kill_all(settings.var):
            progress(f"ended {killed} processes that were left")
        for name in ("supervisor.sock", "supervisord.pid"):
            (settings.run / name).unlink(missing_ok=True)


def ill(settings: Settings) -> list[str]:
    """``<service> (<why>)`` of each service that is not healthy. Raises ConnectionError where nothing runs."""
    health = every(settings, Supervisor(settings).services())
    return [f"{name} ({word})" for name, word in health.items() if word != WELL]


def status(settings: Settings) -> list[Row]:
    """One row a service.

    Raises ConnectionError where nothing runs, InstallationError where it runs with other settings.
    """
    infos = Supervisor(settings).services()
    check_settings(settings)
    health, memory = every(settings, infos), processes.memory_by_service(settings.var)
    rows = []
    for program in programs(settings):
        info = infos.get(program.name, {})
        running = bool(info.get("pid"))
        rows.append(
            Row(
                service=program.name,
                state=str(info.get("statename", "STOPPED")).lower(),
                health=health[program.name],
                pid=int(info.get("pid", 0)),
                up=time.time() - processes.created(int(info["pid"])) if running else 0,
                memory=memory.get(program.name, 0),
                url=program.url,
            )
        )
    return rows


def clean(settings: Settings, progress: Progress = print) -> None:
    """Stop everything and remove all state: data, models, databases, secrets, logs.

    Raises InstallationError where ``var`` is not ours alone, or something could not be removed.
    """
    if not settings.var.exists():
        return
    lines = what_goes(settings)
    down(settings, progress)
    for line in lines:
        progress(line)
    remove(settings)
    progress(f"removed {settings.var}")
