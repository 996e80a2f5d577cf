"""Finds, measures and ends the processes of an installation.

Every service is started with ``NOCTURNE_SERVICE`` and ``NOCTURNE_VAR`` in its environment, and whatever it starts
inherits them: the two name each process of one installation, whoever its parent is by now.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

SERVICE = "NOCTURNE_SERVICE"
INSTALLATION = "NOCTURNE_VAR"
SUPERVISOR = "supervisord"


def marked(var: Path) -> Iterator[tuple[str, psutil.Process]]:
    """(service, process) for every live process of the installation at ``var``, except this one."""
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            environment = process.environ()
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or another user's
        service = environment.get(SERVICE)
        if service and environment.get(INSTALLATION) == str(var):
            yield service, process


def of_service(var: Path, service: str) -> list[psutil.Process]:
    """Every live process of one service."""
    return [process for name, process in marked(var) if name == service]


def created(pid: int) -> float:
    """When a process began (Unix seconds), by the clock of now, however that was set since. 0 where it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0


def started_before(var: Path, starts: Mapping[str, float]) -> set[str]:
    """The services of which a process is older than the service's present start (Unix seconds): leftovers of a kill."""
    old = set[str]()
    for service, process in marked(var):
        with suppress(psutil.Error):
            if process.create_time() < starts.get(service, 0) - 1:
                old.add(service)
    return old


def kill_all(var: Path, services: Iterable[str] | None = None, timeout: float = 10) -> int:
    """Kill every marked process (of ``services``, or of all), again until none is left. Returns how many were killed.

    Raises TimeoutError where one survives ``timeout`` seconds.
    """
    wanted = None if services is None else set(services)
    end, killed = time.monotonic() + timeout, set[int]()
    while True:
        alive = [process for name, process in marked(var) if wanted is None or name in wanted]
        if not alive:
            return len(killed)
        if time.monotonic() > end:
            raise TimeoutError(f"processes that do not end: {', '.join(str(process.pid) for process in alive)}")
        for process in alive:
            try:
                process.kill()
            except psutil.Error:
                continue
            killed.add(process.pid)
        psutil.wait_procs(alive, timeout=1)


def memory_bytes(process: psutil.Process) -> int:
    """Proportional set size, so that pages shared by forks count once; resident size where the system has no PSS."""
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def memory_by_service(var: Path) -> dict[str, int]:
    """Bytes per service, all of its processes together."""
    total: dict[str, int] = {}
    for service, process in marked(var):
        total[service] = total.get(service, 0) + memory_bytes(process)
    return total


def listener(port: int) -> str | None:
    """Who listens on ``port``, as ``name (pid 7)``; None where the system does not tell this user."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        address = connection.laddr
        if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None
