"""What is found by looking: packages of a folder, each with a spec, so that a new one edits no existing file."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

log = logging.getLogger(__name__)


def specs(package: str, path: Iterable[str], constant: str) -> tuple[dict[str, Any], dict[str, Exception]]:
    """The ``constant`` of the module ``spec`` of each package in ``path``, by name; and why some cannot be read.

    One that is half-finished must stop nobody else: it is left out and told of.
    """
    found: dict[str, Any] = {}
    broken: dict[str, Exception] = {}
    for name in sorted(module.name for module in iter_modules(path) if module.ispkg):
        module = f"{package}.{name}.spec"
        if find_spec(module) is None:  # something else, or not begun
            continue
        try:
            spec = getattr(import_module(module), constant)
            if spec.name != name:
                raise ValueError(f"{module}: {constant}.name is `{spec.name}`, but its folder is `{name}`")
            found[name] = spec
        except Exception as error:  # noqa: BLE001  # whatever somebody has written there
            broken[name] = error
            log.error("%s cannot be read and is left out: %s: %s", module, type(error).__name__, error)
    return found, broken
