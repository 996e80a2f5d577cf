"""Leases: what only one task at a time may do. The others wait, for a while, and then say who holds them up.

On one machine a lease is a locked file under ``var/lock``, which the system gives back when its holder is killed. What
several machines do to one table at once is refused by the tables themselves (``include/lake/commit.py``).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from include.core.errors import NocturneError
from include.core.locks import taken
from include.core.settings import settings

PATIENCE = 900.0
"""Seconds. Longer than anything that is done under a lease but a training, which has one of its own."""

STEP = 0.05


class BusyError(NocturneError):
    """Somebody else has held a lease for too long. Another try may find it free."""


@contextmanager
def lease(name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lease ``name`` meanwhile. Raises BusyError, naming the holder, after ``patience`` seconds."""
    folder = settings().var / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9_]+', '-', name.lower())}.lock"
    deadline = time.monotonic() + patience
    while (file := taken(path)) is None:
        if time.monotonic() > deadline:
            raise BusyError(
                f"{name}: {path.read_text().strip() or 'somebody'} has held it for over {patience:.0f} s ({path}). "
                "Is that process stuck? End it; its work is finished or undone by the next."
            )
        time.sleep(STEP)
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        yield
