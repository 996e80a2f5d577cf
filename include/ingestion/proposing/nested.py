"""The type of nested values by what is in them, and what could be taken out of them as columns of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from include.contracts.shapes import MOST_DEPTH, Shape, quoted
from include.contracts.source import MOST_DIGITS

MOST_NAMES = (
    30  # of a struct: with more, or with hardly one that is in most objects, its keys are values, and it is a map
)
MOST_PATHS = 8  # that a note names


def spelled(shape: Shape) -> str:
    """``shape`` as a spec has it."""
    parts = [(name, spelled(part)) for name, part in shape.parts]
    if shape.name == "struct":
        return f"struct<{','.join(f'{quoted(name)}:{part}' for name, part in parts)}>"
    return f"{shape.name}<{'string,' if shape.name == 'map' else ''}{parts[0][1]}>" if parts else shape.name


def shape_of(values: Sequence[Any], depth: int = 0) -> Shape | None:
    """The type that all of ``values`` have; None where there is none, or none of them says."""
    there = [one for one in values if one is not None]
    kinds = set(map(type, there))
    if not there or depth > MOST_DEPTH:
        return None
    if kinds == {dict}:
        return _of_objects(there, depth)
    if kinds == {list} and all(isinstance(one, tuple) for each in there for one in each) and any(there):
        return _part("map", "value", [one[1] for each in there for one in each], depth)  # as Arrow has maps
    if kinds == {list}:
        return _part("array", "element", [one for each in there for one in each], depth)
    if kinds == {Decimal}:
        behind = max(-int(one.as_tuple().exponent) for one in there)
        return Shape(f"decimal({MOST_DIGITS},{max(behind, 0)})")
    if kinds == {int}:
        return Shape("int" if all(abs(one) < 2**31 for one in there) else "bigint")
    flat = {bool: "boolean", str: "string", date: "date", datetime: "timestamp", bytes: "binary", float: "double"}
    if len(kinds) == 1 and (name := flat.get(kinds.pop())):
        return Shape(name)
    return Shape("double") if set(map(type, there)) == {int, float} else None


def _part(name: str, part: str, values: Sequence[Any], depth: int) -> Shape | None:
    inner = shape_of(values, depth + 1)
    return Shape(name, ((part, inner),)) if inner else None


def _of_objects(there: Sequence[dict[str, Any]], depth: int) -> Shape | None:
    names = list(dict.fromkeys(name for one in there for name in one))
    usual = [name for name in names if sum(name in one for one in there) > len(there) / 2]
    if len(names) > MOST_NAMES and len(usual) < len(names) / 2:
        return _part("map", "value", [value for one in there for value in one.values()], depth)
    parts = [(name, shape_of([one.get(name) for one in there], depth + 1)) for name in names]
    # What has no value anywhere may be anything: a text takes most.
    known = [(name, part or Shape("string")) for name, part in parts]
    return Shape("struct", tuple(known)) if known else None


def note(name: str, in_file: str, shape: Shape) -> str:
    """Which paths into a column could be columns by themselves; empty where none could."""
    paths = [repr((in_file, *path)) for path in _paths(shape)]
    if not paths:
        return ""
    more = f" and {len(paths) - MOST_PATHS} more" if len(paths) > MOST_PATHS else ""
    return f"{name} is nested: what is at {', '.join(paths[:MOST_PATHS])}{more} could be a column: that as source_name"


def _paths(shape: Shape) -> Iterator[tuple[str | int, ...]]:
    """The paths to the flat values of ``shape`` through structs; of an array to its first element."""
    if not shape.is_nested:
        yield ()
    elif shape.name != "map":
        for name, part in shape.parts:
            yield from ((0 if shape.name == "array" else name, *path) for path in _paths(part))
