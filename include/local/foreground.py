"""The services as one process in the foreground, as a container wants them (``nocturne foreground``).

It starts them, passes on what they write, and stops them on SIGTERM or SIGINT. It ends with an error where they stop
without that, so that whoever watches it starts it again.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from include.core.settings import Settings
from include.local import control
from include.local.follow import Followed
from include.local.supervisor import Supervisor

Progress = Callable[[str], None]
STEP, LOOK = 0.5, 5.0
"""Seconds between two looks into the logs, and between two calls to the supervisor."""
START_SECONDS = 3600
"""A slow start is for the health check to tell: to end here would begin it anew, on a machine that is busy already."""


class Stopped(BaseException):
    """A signal asks to stop; raised wherever the process is, as KeyboardInterrupt is."""


def on_stop(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """Have ``handler`` take the signals that ask to stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def stop(number: int, frame: FrameType | None) -> None:
    """Raise Stopped at the first signal. Others do nothing: a stop takes seconds."""
    on_stop(signal.SIG_IGN)
    raise Stopped


def logs(folder: Path) -> list[Path]:
    """The logs that are told: of each service, of the supervisor, of migrations, and the alerts. One is named once."""
    return [*folder.glob("*.log"), *folder.glob("*.jsonl")]


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """While this lasts, print each new line of the logs in ``folder`` with its log's name; all of a new log."""
    followed = {path: Followed(path) for path in logs(folder)}
    ended = threading.Event()

    def tell() -> None:
        while True:
            last = ended.wait(STEP)
            for path in logs(folder):
                for line in followed.setdefault(path, Followed(path, new=True)).lines():
                    print(f"{path.stem:13} | {line}", flush=True)
            if last:
                return

    teller = threading.Thread(target=tell, name="logs", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def wait(settings: Settings) -> None:
    """Return when the supervisor is gone."""
    supervisor = Supervisor(settings)
    while supervisor.is_up():
        time.sleep(LOOK)


def foreground(settings: Settings, progress: Progress, ready: Callable[[], None]) -> int:
    """Run the services until a signal comes; then 0, and 1 where they have ended by themselves.

    ``ready`` is called once all are healthy. Raises InstallationError as ``up`` does; nothing runs any more then.
    """
    with told(settings.log):
        try:
            on_stop(stop)
            control.up(settings, progress, timeout=START_SECONDS)
            progress("all services are healthy")
            ready()
            wait(settings)
            progress("the services were stopped")
            return 1
        except Stopped:
            progress("asked to stop")
            return 0
        finally:
            on_stop(signal.SIG_IGN)
            control.down(settings, progress)
