"""The catalogue of sources: one package each, found by looking, so that a new source edits no existing file."""

from functools import cache

from include.contracts.source import Source
from include.core.errors import BadRequestError
from include.core.packages import specs


class NoSourceError(BadRequestError, KeyError):
    """There is no source of that name; the message lists those there are."""

    __str__ = RuntimeError.__str__


@cache
def _specs() -> tuple[dict[str, Source], dict[str, Exception]]:
    return specs(__name__, __path__, "SOURCE")


def sources() -> dict[str, Source]:
    """Every source by name: each package here whose module ``spec`` has ``SOURCE`` and can be read."""
    return _specs()[0]


def unreadable() -> list[str]:
    """Which specs cannot be read and why, a line each."""
    return [f"include/sources/{name}/spec.py: {type(why).__name__}: {why}" for name, why in _specs()[1].items()]


def source(name: str) -> Source:
    """The source called ``name``. Raises NoSourceError, a KeyError, listing what there is."""
    try:
        return sources()[name]
    except KeyError:
        odd = f"; these cannot be read: {'; '.join(unreadable())}" if unreadable() else ""
        raise NoSourceError(f"no source is called {name!r}; there are: {', '.join(sources())}{odd}") from None
