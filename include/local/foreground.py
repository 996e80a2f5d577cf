"""``python -m include.local foreground``: the services as one process in the foreground, as a container wants them.

It starts them, passes on what they write, and stops them on SIGTERM or SIGINT. It ends with an error where they stop
without that, so that whoever watches it starts it again.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from include.local import control
from include.local.follow import Followed
from include.local.processes import SUPERVISOR
from include.local.programs import programs
from include.local.supervisor import Supervisor
from include.core.settings import Settings

Progress = Callable[[str], None]
STEP, LOOK = 0.5, 5.0
"""Seconds between two looks into the logs, and between two calls to the supervisor."""


class Stopped(BaseException):
    """A signal asks to stop; raised wherever the process is, as KeyboardInterrupt is."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """While this lasts, the first SIGTERM or SIGINT raises Stopped. A second one does nothing: a stop takes seconds."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    yield


def logs(settings: Settings) -> dict[str, Followed]:
    """Name → log, of each service, of the supervisor, and of what failed."""
    names = [*(program.name for program in programs(settings)), SUPERVISOR]
    return {name: Followed(settings.log / f"{name}.log") for name in names} | {"alert": Followed(settings.alerts)}


def watch(settings: Settings, followed: dict[str, Followed]) -> None:
    """Print what is new in the logs, each line with its service's name, until the supervisor is gone."""
    supervisor, looked = Supervisor(settings), time.monotonic()
    while True:
        for name, log in followed.items():
            for line in log.lines():
                print(f"{name:13} | {line}", flush=True)
        if time.monotonic() - looked > LOOK:
            if not supervisor.is_up():
                return
            looked = time.monotonic()
        time.sleep(STEP)


def foreground(settings: Settings, progress: Progress, ready: Callable[[], None]) -> int:
    """Run the services until a signal comes; then 0, and 1 where they have ended by themselves.

    ``ready`` is called once all are healthy. Raises Problem as ``up`` does; nothing runs any more then.
    """
    with stopped_by_signals():
        try:
            control.up(settings, progress)
            progress("all services are healthy")
            ready()
            watch(settings, logs(settings))
            progress("the services were stopped")
            return 1
        except Stopped:
            progress("asked to stop")
            return 0
        finally:
            control.down(settings, progress)
