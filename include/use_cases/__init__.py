"""The catalogue of use cases: one package each, found by looking, so that a new one edits no existing file."""

from functools import cache

from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError, NeedsAttentionError
from include.core.packages import specs


class NoUseCaseError(BadRequestError, KeyError):
    """There is no use case of that name; the message lists those there are."""

    __str__ = RuntimeError.__str__


class BrokenUseCaseError(NeedsAttentionError):
    """The spec of a use case cannot be read; the message says why."""


@cache
def _specs() -> tuple[dict[str, UseCase], dict[str, Exception]]:
    return specs(__name__, __path__, "SPEC")


def use_cases() -> dict[str, UseCase]:
    """Every use case by name: each package here whose module ``spec`` has ``SPEC`` and can be read."""
    return _specs()[0]


def unreadable() -> list[str]:
    """Which specs cannot be read and why, a line each."""
    return [f"include/use_cases/{name}/spec.py: {type(why).__name__}: {why}" for name, why in _specs()[1].items()]


def use_case(name: str) -> UseCase:
    """The use case ``name``. Raises NoUseCaseError, a KeyError, listing what there is, and BrokenUseCaseError."""
    known = use_cases()
    if name in known:
        return known[name]
    if name in _specs()[1]:
        (line,) = (one for one in unreadable() if one.startswith(f"include/use_cases/{name}/"))
        raise BrokenUseCaseError(f"its spec cannot be read: {line}")
    raise NoUseCaseError(f"no use case `{name}`; there are: {', '.join(sorted(known)) or 'none'}")


def readers_of_several(source: str) -> list[UseCase]:
    """The use cases that read ``source`` and others."""
    return [case for case in use_cases().values() if source in case.sources and len(case.sources) > 1]
