"""The bucket of a value, as dbt's macro ``hashed`` computes it: for a model that is served from Python."""

from __future__ import annotations

import hashlib
from datetime import date, datetime

DIGITS = 8  # of MD5 in hex: 32 bits, which no engine reads as a negative number


def bucket(value: str | int | date | None, buckets: int) -> str | None:
    """The bucket of ``value``, from ``"0"`` to one less than ``buckets``; None for None.

    The same in every process, on every machine and in SQL. Raises TypeError for a value that SQL writes in another way
    than Python, as a float, yes or no, or a time; ValueError for less than two buckets.
    """
    if buckets < 2:
        raise ValueError(f"{buckets} buckets tell no values apart: give two or more")
    if value is None:
        return None
    if isinstance(value, bool | datetime) or not isinstance(value, str | int | date):
        raise TypeError(f"{value!r} is of the type {type(value).__name__}: hash a text, a whole number or a day")
    digest = hashlib.md5(str(value).encode(), usedforsecurity=False).hexdigest()
    return str(int(digest[:DIGITS], 16) % buckets)
