"""supervisord: its configuration, its start, and the calls we make to it over its private socket."""

import getpass
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from include.core.settings import Settings
from include.local.checks import InstallationError
from include.local.credentials import write_private
from include.local.environment import GIVEN, environment
from include.local.launch import GIVEN_UP, starts_file
from include.local.processes import SERVICE, SUPERVISOR
from include.local.programs import Program, programs

STOP_SECONDS = 10
SOCKET_PATH_LIMIT = 100  # a Unix socket's path may have some 107 characters


def socket_path(settings: Settings) -> Path:
    """Where supervisord listens. Raises InstallationError where the system would cut the path off."""
    path = settings.run / "supervisor.sock"
    if len(str(path)) > SOCKET_PATH_LIMIT:
        raise InstallationError(f"{path} is too long for a socket: set NOCTURNE_VAR to a shorter path")
    return path


def _section(program: Program, settings: Settings) -> str:
    command = shlex.join([sys.executable, "-m", "include.local.launch", program.name])
    return f"""
[program:{program.name}]
command={_literal(command)}
directory={_literal(settings.home)}
autostart=true
autorestart=unexpected
exitcodes={GIVEN_UP}
startsecs=0
stopsignal=TERM
stopwaitsecs={STOP_SECONDS}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_literal(settings.log / program.name)}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
"""


def _literal(value: object) -> str:
    """``value`` as supervisord reads it back: it expands %(name)s."""
    return str(value).replace("%", "%%")


def configuration(settings: Settings) -> str:
    """supervisord.conf. It holds no secret: those are in the environment that supervisord is started with."""
    user = f"user={getpass.getuser()}\n" if os.geteuid() == 0 else ""
    head = f"""; written by include/local at every start
[supervisord]
{user}logfile={_literal(settings.log)}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile={_literal(settings.run)}/supervisord.pid
childlogdir={_literal(settings.log)}
directory={_literal(settings.home)}
umask=077

[unix_http_server]
file={_literal(socket_path(settings))}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    return head + "".join(_section(program, settings) for program in programs(settings))


def stays_down(info: Mapping[str, Any]) -> bool:
    """Whether a service will not be started again by itself: it was given up, or stopped."""
    given_up = info["statename"] == "EXITED" and info.get("exitstatus") == GIVEN_UP
    return given_up or info["statename"] in ("STOPPED", "FATAL", "UNKNOWN")


class Supervisor:
    """The calls to the supervisord of one installation. Each raises ConnectionError where none runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{socket_path(self._settings)}")
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except Fault:
            raise
        except OSError as error:
            raise ConnectionError(f"no supervisor answers at {socket_path(self._settings)}") from error

    def is_up(self) -> bool:
        """Whether supervisord answers."""
        try:
            self._call("getState")
        except ConnectionError:
            return False
        return True

    def services(self) -> dict[str, dict[str, Any]]:
        """Name → supervisord's information: ``statename``, ``pid``, ``start`` (Unix seconds), ``spawnerr``."""
        return {info["name"]: info for info in cast(list[dict[str, Any]], self._call("getAllProcessInfo"))}

    def start_missing(self) -> list[str]:
        """Start every service that is stopped or was given up. Returns their names."""
        names = [name for name, info in self.services().items() if stays_down(info)]
        for name in names:
            starts_file(self._settings, name).unlink(missing_ok=True)
            self._call("startProcess", name, False)
        return names

    def restart(self, name: str) -> None:
        """Stop one service and start it again, without waiting for its health."""
        self.stop_service(name)
        self.start_service(name)

    def stop_service(self, name: str) -> None:
        """Stop one service, and wait for its end."""
        with suppress(Fault):  # it may not be running
            self._call("stopProcess", name, True)

    def start_service(self, name: str) -> None:
        """Start one service that is stopped, without waiting for its health."""
        self._call("startProcess", name, False)

    def shut_down(self) -> None:
        """End every service, all at the same time, then supervisord itself."""
        self._call("stopAllProcesses", True)
        self._call("shutdown")

    def start(self) -> None:
        """Write the configuration and start supervisord as a daemon with the installation's environment."""
        path = self._settings.run / "supervisord.conf"
        write_private(path, configuration(self._settings))
        for before in self._settings.run.glob("*.starts"):
            before.unlink()
        command = [str(Path(sys.executable).parent / "supervisord"), "--configuration", str(path)]
        # each service's own environment is made of what is given to this one (include/local/launch.py)
        marked = {**environment(self._settings, frozenset(), hand_on=GIVEN), SERVICE: SUPERVISOR}
        done = subprocess.run(  # noqa: S603  # supervisord, with the configuration of ours
            command,
            env=marked,
            capture_output=True,
            text=True,
            check=False,
            cwd=self._settings.home,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise InstallationError(
                f"supervisord did not start: {(done.stdout + done.stderr).strip().splitlines()[-1]}"
            )
        end = time.monotonic() + 15
        while not self.is_up():
            if time.monotonic() > end:
                raise InstallationError(f"supervisord does not answer: see {self._settings.log}/supervisord.log")
            time.sleep(0.1)
