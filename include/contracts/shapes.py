"""Nested types, as Spark and Delta spell them: array<T>, map<string,T>, struct<name:T,…>."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

NESTED = ("array", "map", "struct")
MOST_DEPTH = 8
"""Nested types within each other: with more, no query is readable any more."""

_TOKEN = re.compile(r"\s*(?:(`(?:[^`]|``)+`)|([A-Za-z_][A-Za-z0-9_]*(?:\([^()]*\))?)|([<>:,]))")
# What Delta takes in no name.
_UNNAMED = re.compile(r"[ ,;{}()\n\t=]")


@dataclass(frozen=True)
class Shape:
    """A type: of what is nested its name and its parts, of a leaf the flat type itself.

    The part of an array is "element", that of a map "value"; those of a struct have its names.
    """

    name: str
    parts: tuple[tuple[str, Shape], ...] = ()

    @property
    def is_nested(self) -> bool:
        return self.name in NESTED

    @property
    def part(self) -> Shape:
        """What an array, or a map, has many of."""
        return self.parts[0][1]

    @property
    def depth(self) -> int:
        """How many nested types are within each other."""
        return self.is_nested + max((part.depth for _, part in self.parts), default=0)

    @property
    def leaves(self) -> Iterator[str]:
        """The flat types in it."""
        if not self.is_nested:
            yield self.name
        for _, part in self.parts:
            yield from part.leaves

    @property
    def kept_as(self) -> str:
        """The type of its column in bronze. A map is its entries: these can be compared, which Spark's maps cannot."""
        parts = [(name, part.kept_as) for name, part in self.parts]
        if self.name == "array":
            return f"array<{parts[0][1]}>"
        if self.name == "map":
            return f"array<struct<key:string,value:{parts[0][1]}>>"
        if self.name == "struct":
            return f"struct<{','.join(f'{quoted(name)}:{of}' for name, of in parts)}>"
        return self.name


def quoted(name: str) -> str:
    """``name`` as SQL has it: within backticks where it is no plain word."""
    return name if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) else "`" + name.replace("`", "``") + "`"


@lru_cache
def parse(text: str) -> Shape:
    """The type that ``text`` spells. Raises ValueError, saying what is wrong with it."""
    tokens, at = list[str](), 0
    while at < len(text.rstrip()):
        found = _TOKEN.match(text, at)
        if not found:
            raise ValueError(f"{text!r} cannot be read from {text[at : at + 20]!r} on")
        tokens.append(found[0].strip())
        at = found.end()
    left = iter([*tokens, ""])
    try:
        shape, after = _type(left)
    except StopIteration:
        raise ValueError(f"{text!r} has no end") from None
    if after:
        raise ValueError(f"{text!r}: {after!r} is behind its end")
    if shape.depth > MOST_DEPTH:
        raise ValueError(f"{text!r} is deeper than {MOST_DEPTH} types within each other")
    return shape


def _type(left: Iterator[str]) -> tuple[Shape, str]:
    """The type that begins next, and the token after it."""
    name = next(left)
    if name not in NESTED:
        return Shape(name.replace(" ", "")), next(left)
    _expect("<", next(left), name)
    if name == "array":
        part, after = _type(left)
        parts = [("element", part)]
    elif name == "map":
        if (key := next(left)) != "string":
            raise ValueError(f"the keys of a map are strings, not {key or 'nothing'}")
        _expect(",", next(left), "map<string")
        part, after = _type(left)
        parts = [("value", part)]
    else:
        parts, after = _fields(left)
    _expect(">", after, name)
    return Shape(name, tuple(parts)), next(left)


def _fields(left: Iterator[str]) -> tuple[list[tuple[str, Shape]], str]:
    fields, after = list[tuple[str, Shape]](), ","
    while after == ",":
        name = next(left)
        name = name[1:-1].replace("``", "`") if name.startswith("`") else name
        if not name or _UNNAMED.search(name) or name in "<>:,":
            raise ValueError(f"{name!r} cannot be a name within a struct")
        _expect(":", next(left), name)
        part, after = _type(left)
        fields.append((name, part))
    names = [name.casefold() for name, _ in fields]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is twice in a struct, or in two cases")
    return fields, after


def _expect(wanted: str, found: str, after: str) -> None:
    if found != wanted:
        raise ValueError(f"after {after} comes {found or 'its end'}, and {wanted} should")


def of_paths(leaves: Sequence[tuple[Sequence[str | int], str]]) -> Shape:
    """What holds ``leaves`` at their paths: a name leads into a struct, a number into an array. Raises ValueError."""
    if any(not path for path, _ in leaves):
        return parse(leaves[0][1])
    first = {type(path[0]) for path, _ in leaves}
    if len(first) > 1:
        raise ValueError(f"{leaves[0][0]} leads into a struct, and {leaves[1][0]} into an array")
    if first == {int}:
        return Shape("array", (("element", of_paths([(path[1:], leaf) for path, leaf in leaves])),))
    names = dict.fromkeys(str(path[0]) for path, _ in leaves)
    return Shape(
        "struct",
        tuple((name, of_paths([(path[1:], leaf) for path, leaf in leaves if path[0] == name])) for name in names),
    )
