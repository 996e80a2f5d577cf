"""Which part of a sheet of Excel a feed means."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"(?:(?P<sheet>.*)!)?(?P<left>[A-Z]{1,3})(?P<top>\d*):(?P<right>[A-Z]{1,3})(?P<bottom>\d*)")


@dataclass(frozen=True)
class Part:
    """A sheet, or the first one where it has no name, and of it rows and columns, counted from 1; 0: to the end."""

    sheet: str
    left: int = 1
    right: int = 0
    top: int = 1
    bottom: int = 0


def part_of(within: str) -> Part:
    """What ``within`` of a feed says: ``Sheet``, ``Sheet!B3:F``, ``B:F`` or nothing."""
    found = _RANGE.fullmatch(within)
    if not found:
        return Part(within)
    return Part(
        (found["sheet"] or "").strip("'"),
        _number(found["left"]),
        _number(found["right"]),
        int(found["top"] or 1),
        int(found["bottom"] or 0),
    )


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
