"""Nested values: each is JSON, whichever format it came in, until it gets its type.

So one rule judges them all. What does not fit puts its row in quarantine, and the reason says where:
``items[2].price: 'x' is no decimal(12,2)``. A key that is absent is null.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import polars as pl

from include.contracts.shapes import Shape, quoted
from include.contracts.source import Column, Form

LONGEST_EXPONENT = 400  # of a number that is written out: a double ends before
TOO_DEEP = "is deeper than can be read"
SHOWN = 100  # characters of a value that a reason shows


_HALF = re.compile("[\ud800-\udfff]")


class Number(str):
    """A number of JSON, as it is written."""


class Object(list[tuple[str, Any]]):
    """An object of JSON, with every key as often as it is there."""


DECODER = json.JSONDecoder(object_pairs_hook=Object, parse_int=Number, parse_float=Number, parse_constant=Number)
"""Whoever looked through a file has refused what only a lenient reader takes."""


def as_json(node: Any) -> str:
    """What was decoded as JSON again, its numbers as they were."""
    if isinstance(node, Object):
        return "{" + ",".join(f"{_dumped(key)}:{as_json(one)}" for key, one in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(as_json, node)) + "]"
    return str(node) if isinstance(node, Number) else _dumped(node)


def _dumped(node: Any) -> str:
    # Half a character can be named, and not written.
    return _HALF.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(node, ensure_ascii=False))


def json_of(node: Any) -> tuple[str | None, str]:
    """The same, or what is wrong with a node that is too deep for it."""
    try:
        return as_json(node), ""
    except RecursionError:
        return None, TOO_DEEP


def of_bytes(value: bytes, form: Form | None) -> str:
    """``value`` as a text of the column's form."""
    return value.hex() if form is Form.HEX else base64.b64encode(value).decode()


def strange_bytes(value: bytes) -> str:
    """Bytes where something else is promised, as JSON that is nothing but an object, and so fits nothing."""
    return f'{{"bytes":"{of_bytes(value, None)}"}}'


def written(value: Any, shape: Shape | None, form: Form | None) -> str:
    """A value that Python has as objects as JSON. ``shape`` says what it should be, where that is known."""
    match value:
        case None | bool() | str() | int():
            return json.dumps(value, ensure_ascii=False)
        case float():
            return repr(value) if math.isfinite(value) else json.dumps(repr(value))
        case Decimal():
            is_long = not value.is_finite() or abs(value.adjusted()) > LONGEST_EXPONENT
            return str(value) if is_long else format(value, "f")
        case bytes() if shape and shape.name == "binary":
            return json.dumps(of_bytes(value, form))
        case bytes():
            return strange_bytes(value)
        case dict():
            parts = dict(shape.parts) if shape and shape.name == "struct" else {}
            other = shape.part if shape and shape.name == "map" else None
            pairs = [*value.items(), *([(value.twice, None)] if isinstance(value, OneOfEach) and value.twice else [])]
            inner = (f"{json.dumps(key)}:{written(one, parts.get(key, other), form)}" for key, one in pairs)
            return "{" + ",".join(inner) + "}"
        case list() | tuple():
            part = shape.part if shape and shape.name == "array" else None
            return "[" + ",".join(written(one, part, form) for one in value) + "]"
        case datetime() | date() | time():
            return json.dumps(value.isoformat())
    return json.dumps(str(value), ensure_ascii=False)


class OneOfEach(dict[str, Any]):
    """An object of a parser that hands over one key after the other, which remembers one that came ``twice``."""

    twice: str = ""

    def __setitem__(self, key: str, value: Any) -> None:
        if key in self:
            self.twice = key
        super().__setitem__(key, value)


def at(node: Any, path: Sequence[str | int]) -> tuple[Any, str]:
    """What is in ``node`` at ``path``, null where it ends before, and why nobody can say what; empty if one can."""
    for place, step in enumerate(path):
        if node is None:
            return None, ""
        kind, name = (list, "array") if isinstance(step, int) else (Object, "struct")
        if not isinstance(node, kind) or (kind is list and isinstance(node, Object)):
            return None, f"{_shown(node)} is no {name}, in which {spelled(path[place:])} should be"
        if isinstance(step, int):
            node = node[step] if step < len(node) else None
            continue
        found = [one for key, one in node if key == step]
        if len(found) > 1:
            return None, f"the key {_short(step)} is there twice"
        node = found[0] if found else None
    return node, ""


def spelled(path: Iterable[str | int]) -> str:
    """``path`` as reasons have it: address.city, tags[0]."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{quoted(step)}" for step in path).removeprefix(".")


def text_of(node: Any, column: Column) -> tuple[str | None, str]:
    """What was decoded, as the text of a value of ``column``, and what is wrong with it that the text does not show."""
    if node is None:
        return None, ""
    if column.is_nested:
        return json_of(node)
    if isinstance(node, str) and not isinstance(node, Number):
        text = node if node.isascii() else node.encode(errors="backslashreplace").decode()
        if "\0" in node:
            return text, "holds a zero byte"
        return text, "" if text == node else "holds half a character"
    text = _shown(node)
    is_odd = column.type in ("string", "binary") or (column.type == "boolean" and not isinstance(node, bool))
    return text, f"{text} is no {column.type}" if is_odd or isinstance(node, list) else ""


def _shown(node: Any) -> str:
    if isinstance(node, Number):
        return node
    try:
        return _short(as_json(node))
    except RecursionError:
        return "what is deeper than can be read"


def _short(text: str) -> str:
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


# Of the texts of a flat column: their values, and for each what is wrong with it, null where nothing is.
Leaf = Callable[[pl.Series, Column], tuple[pl.Series, pl.Series]]
# The row of the n-th value, and the path to it.
Place = Callable[[int], tuple[int, str]]


def dtype(shape: Shape, leaf: Callable[[str], pl.DataType]) -> pl.DataType:
    """The type of Polars that values of ``shape`` have."""
    if shape.name == "array":
        return pl.List(dtype(shape.part, leaf))
    if shape.name == "map":
        return pl.List(pl.Struct({"key": pl.String(), "value": dtype(shape.part, leaf)}))
    if shape.name == "struct":
        return pl.Struct({name: dtype(part, leaf) for name, part in shape.parts})
    return leaf(shape.name)


def judged(texts: pl.Series, column: Column, leaf: Leaf) -> tuple[pl.Series, pl.Series]:
    """The values of a nested ``column``, by their JSON, and for each what is wrong with it, null where nothing is."""
    judging = _Judging(column, leaf)
    nodes = [None if text is None else judging.node(n, text) for n, text in enumerate(texts)]
    values = judging.values(nodes, column.shape, lambda n: (n, column.name))
    words = pl.Series([judging.wrong.get(n) for n in range(len(nodes))] if judging.wrong else [None] * len(nodes))
    return values.alias(column.name), words.cast(pl.String)


class _Judging:
    """One look at the values of a column, part by part, as Parquet has them: all first fields, all second ones.

    ``wrong`` has what is wrong, by row; of a row only what was found first.
    """

    def __init__(self, column: Column, leaf: Leaf) -> None:
        self.column, self.leaf = column, leaf
        self.wrong = dict[int, str]()

    def node(self, row: int, text: str) -> Any:
        try:
            return DECODER.decode(text)
        except RecursionError:
            words = TOO_DEEP
        except ValueError:
            words = f"'{_short(text)}' is no {self.column.kind} in JSON"
        self.wrong[row] = f"{self.column.name}: {words}"
        return None

    def say(self, place: tuple[int, str], words: str) -> None:
        row, path = place
        self.wrong.setdefault(row, f"{path}: {words}")

    def values(self, nodes: Sequence[Any], shape: Shape, place: Place) -> pl.Series:
        if shape.name == "struct":
            return self._structs(nodes, shape, place)
        if shape.name == "array":
            return self._arrays([self._list(n, node, place) for n, node in enumerate(nodes)], shape.part, place)
        if shape.name == "map":
            return self._maps([self._object(n, node, "map", place) for n, node in enumerate(nodes)], shape.part, place)
        return self._leaves(nodes, shape, place)

    def _list(self, n: int, node: Any, place: Place) -> list[Any] | None:
        if node is None or (isinstance(node, list) and not isinstance(node, Object)):
            return node
        self.say(place(n), f"{_shown(node)} is no array")
        return None

    def _object(self, n: int, node: Any, kind: str, place: Place) -> dict[str, Any] | None:
        if node is None:
            return None
        if not isinstance(node, Object):
            self.say(place(n), f"{_shown(node)} is no {kind}")
            return None
        found = dict(node)
        if len(found) < len(node):
            twice = next(key for place_, (key, _) in enumerate(node) if key in dict(node[:place_]))
            self.say(place(n), f"the key {_short(twice)} is there twice")
        return found

    def _structs(self, nodes: Sequence[Any], shape: Shape, place: Place) -> pl.Series:
        found = [self._object(n, node, "struct", place) for n, node in enumerate(nodes)]
        names = {name for name, _ in shape.parts}
        for n, one in enumerate(found):
            if one and not one.keys() <= names:
                row, path = place(n)
                self.say((row, f"{path}.{quoted(_short(min(one.keys() - names)))}"), "is no part of the promise")
        fields = []
        for name, part in shape.parts:
            own = [None if one is None else one.get(name) for one in found]
            fields.append(self.values(own, part, _within(place, f".{quoted(name)}")).alias(name))
        there = pl.Series([one is not None for one in found], dtype=pl.Boolean)
        whole = pl.DataFrame(fields).to_struct()
        return whole if there.all() else pl.select(pl.when(there).then(whole)).to_series()

    def _arrays(self, lists: Sequence[list[Any] | None], part: Shape, place: Place) -> pl.Series:
        inner = self.values([one for each in lists if each for one in each], part, _elements(lists, place))
        return _lists(lists, inner)

    def _maps(self, found: Sequence[dict[str, Any] | None], part: Shape, place: Place) -> pl.Series:
        # In the order of their keys, so that equal maps are equal.
        entries = [None if one is None else sorted(one.items()) for one in found]
        flat = [entry for each in entries if each for entry in each]
        at_ = _elements(entries, place)

        def of_entry(n: int) -> tuple[int, str]:
            row, path = at_(n)
            return row, f"{path.rpartition('[')[0]}[{json.dumps(_short(flat[n][0]), ensure_ascii=False)}]"

        values = self.values([value for _, value in flat], part, of_entry)
        keys = self._leaves([key for key, _ in flat], Shape("string"), of_entry)
        return _lists(entries, pl.DataFrame([keys.alias("key"), values.alias("value")]).to_struct())

    def _leaves(self, nodes: Sequence[Any], shape: Shape, place: Place) -> pl.Series:
        column = replace(self.column, type=shape.name, form=None if shape.name != "binary" else self.column.form)
        texts = list[str | None]()
        for n, node in enumerate(nodes):
            text, words = text_of(node, column)
            if words:
                self.say(place(n), words)
                text = None
            texts.append(text)
        values, wrong = self.leaf(pl.Series(texts, dtype=pl.String), column)
        for n in wrong.is_not_null().arg_true():
            self.say(place(n), wrong[n])
        return values


def _within(place: Place, step: str) -> Place:
    def inner(n: int) -> tuple[int, str]:
        row, path = place(n)
        return row, path + step

    return inner


def _elements(lists: Sequence[list[Any] | None], place: Place) -> Place:
    """The place of each element of ``lists``, counted through all of them. Worked out once it is asked for."""
    owners = list[tuple[int, int]]()

    def inner(n: int) -> tuple[int, str]:
        if not owners:
            owners.extend((owner, at_) for owner, each in enumerate(lists) if each for at_ in range(len(each)))
        row, path = place(owners[n][0])
        return row, f"{path}[{owners[n][1]}]"

    return inner


def _lists(lists: Sequence[list[Any] | None], inner: pl.Series) -> pl.Series:
    """``inner`` cut into as many pieces, each as long, as ``lists`` are."""
    import pyarrow

    ends, end = list[int | None](), 0
    for each in lists:
        ends.append(None if each is None else end)
        end += len(each or ())
    offsets = pyarrow.array([*ends, end], pyarrow.int64())
    values = inner.to_arrow(compat_level=pl.CompatLevel.oldest())
    made = pyarrow.LargeListArray.from_arrays(offsets, values)
    return pl.Series(pl.from_arrow(made)).cast(pl.List(inner.dtype))
