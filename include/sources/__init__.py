"""The catalogue of sources: one package each, found by looking, so that a new source edits no existing file."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from include.contracts.source import Source


@cache
def sources() -> dict[str, Source]:
    """Every source by name: the packages here, each with ``SOURCE`` in its module ``spec``."""
    names = sorted(module.name for module in iter_modules(__path__) if module.ispkg)
    found = [import_module(f"{__name__}.{name}.spec").SOURCE for name in names]
    return {source.name: source for source in found}


def source(name: str) -> Source:
    """The source called ``name``. Raises KeyError naming those there are."""
    try:
        return sources()[name]
    except KeyError:
        raise KeyError(f"no source is called {name!r}; there are: {', '.join(sources())}") from None
