"""The log of the SQL endpoint: a line when a statement begins and one when it has ended, with who, what and how much.

Two lines, since the one that took all memory is the one that never ends. It holds no password, no token and no value
of a parameter. Retention is by size: old lines go when newer ones need their place.
"""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

FILE_BYTES, FILES = 20_000_000, 5
LONGEST = 10_000
"""Characters of a statement that are kept."""


class _Private(RotatingFileHandler):
    """A file of one's own, before something is in it."""

    def _open(self) -> Any:
        return os.fdopen(os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # as logging calls it
        raise


class QueryLog:
    """Writes ``path``, and its elders beside it, as ``.1`` to ``.5``."""

    def __init__(self, path: Path, size: int = FILE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handler = _Private(path, maxBytes=size, backupCount=FILES)

    def write(self, event: str, **what: Any) -> None:
        """Add a line. Raises OSError where it cannot be written: what nobody can look up is not answered."""
        if "statement" in what:
            what["statement"] = what["statement"][:LONGEST]
        line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | what)
        self._handler.handle(logging.LogRecord("sql", logging.INFO, "", 0, line, None, None))
