"""A tuple of one without its comma is no tuple: ``("order_id")`` is a text, and would be read letter by letter."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def require_tuples(who: str, spec: Any) -> None:
    """Raise ValueError where a field of the dataclass ``spec`` that is to be a tuple has a single value.

    ``who`` is what the message calls it, as ``feed orders``.
    """
    for field in fields(spec):
        value = getattr(spec, field.name)
        if str(field.type).startswith("tuple[") and not isinstance(value, tuple | list):
            shown = repr(value) if isinstance(value, str) else type(value).__name__
            raise ValueError(f"{who}: {field.name} is {shown} and no tuple; one value alone has a comma: (…,)")
