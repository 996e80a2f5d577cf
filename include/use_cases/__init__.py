"""The catalogue of use cases: one package each, found by looking, so that a new one edits no existing file."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError


class NoUseCaseError(NeedsAttentionError, KeyError):
    """There is no use case of that name; the message lists those there are."""

    __str__ = RuntimeError.__str__


@cache
def use_cases() -> dict[str, UseCase]:
    """Every use case by name: each package here that has a module ``spec`` with ``SPEC``."""
    found: dict[str, UseCase] = {}
    for module in iter_modules(__path__):
        name = f"{__name__}.{module.name}.spec"
        if not module.ispkg or find_spec(name) is None:
            continue
        spec = import_module(name).SPEC
        if spec.name != module.name:
            raise ValueError(f"{name}: SPEC.name is `{spec.name}`, but its folder is `{module.name}`")
        found[spec.name] = spec
    return found


def use_case(name: str) -> UseCase:
    """The use case ``name``. Raises NoUseCaseError, a KeyError, listing what there is."""
    known = use_cases()
    if name not in known:
        raise NoUseCaseError(f"no use case `{name}`; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]
