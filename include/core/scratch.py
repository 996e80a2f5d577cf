"""Folders for what is too large for memory and needed only meanwhile. One that a kill has left goes with the next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from include.core.locks import alone, taken
from include.core.settings import settings

LOCK = ".lock"


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty folder below ``var/scratch``, removed afterwards.

    Each folder has a lock that its process holds. So whoever takes a folder of his own first removes those whose
    process was killed, and no other.
    """
    root = settings().var / "scratch"
    with alone(settings().var / "lock" / "scratch.lock"):  # no folder is seen before it is locked
        _remove_left(root)
        folder = root / f"{name}-{uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        held = taken(folder / LOCK)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            held.close()


def _remove_left(root: Path) -> None:
    for folder in root.glob("*/"):
        if (held := taken(folder / LOCK)) is not None:
            shutil.rmtree(folder)
            held.close()
