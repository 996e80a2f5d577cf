"""What a command of the scaffold refuses, as one class: the command says it and ends with exit code 2."""

from __future__ import annotations

from include.core.errors import BadRequestError


class ScaffoldError(BadRequestError, ValueError):
    """A request that cannot be followed. The message says what, where and what to do; nothing has been written."""
