"""Whose turn it is to write a spool: a stream has one checkpoint, which one query at a time goes on from.

Two locks of the operating system, which a killed process does not leave behind: who spools has the one, and who waits
for him the other, so that a query that goes on for ever can see that it is to make room.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from include.core.lease import lease
from include.core.locks import taken
from include.core.settings import settings
from include.ingestion.connectors.errors import UpstreamError

PATIENCE = 300.0  # seconds that a query may take to make room
GLANCE = 0.2  # seconds


def spooling(spool: str) -> Path:
    """The lock of who spools."""
    return _file(spool, "spooling")


def waiting(spool: str) -> Path:
    """The lock of who is the next to."""
    return _file(spool, "waiting")


def _file(spool: str, what: str) -> Path:
    folder = settings().var / "stream"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{spool}.{what}"


def is_taken(path: Path) -> bool:
    """Whether somebody has the lock at ``path``."""
    if file := taken(path):
        file.close()
    return file is None


@contextmanager
def turn(spool: str) -> Iterator[None]:
    """While this lasts, nobody else spools. Waits until whoever does has made room."""
    # the files are of this machine; the lease is everybody's
    with _waited_for(waiting(spool)), _waited_for(spooling(spool)), lease(f"spool {spool}", PATIENCE):
        yield


def _waited_for(path: Path) -> IO[str]:
    until = time.monotonic() + PATIENCE
    while not (file := taken(path)):
        if time.monotonic() > until:
            raise UpstreamError(f"{path}: another process has had this lock for {PATIENCE:.0f} s. Does it hang? End it")
        time.sleep(GLANCE)
    return file
