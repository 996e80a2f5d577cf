"""A process that is killed at a step, as a test without another process sees it."""

from __future__ import annotations

from types import ModuleType

import pytest


class Killed(BaseException):
    """The process is gone: nothing of it is caught or cleaned up."""


def killed_at(patch: pytest.MonkeyPatch, owner: ModuleType, step: str, number: int, *, after: bool) -> None:
    """Have the process killed at the ``number``-th call of ``owner``'s function ``step``, before it or after it."""
    real, calls = getattr(owner, step), [0]

    def stop(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] == number and not after:
            raise Killed
        result = real(*arguments)
        if calls[0] == number and after:
            raise Killed
        return result

    patch.setattr(owner, step, stop)
