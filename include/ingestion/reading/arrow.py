"""Nested values of Arrow, as Parquet and ORC have them, each as JSON; by columns, without an object for each value."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.shapes import Shape
from include.contracts.source import Form
from include.ingestion import nested

if TYPE_CHECKING:
    import pyarrow

Texts = list[str | None]


def texts_of(
    values: pyarrow.Array, shape: Shape | None, form: Form | None, written: Callable[[pyarrow.Array], pl.Series]
) -> Texts:
    """``values`` as JSON, null where there is none. ``shape`` says what they should be, where that is known.

    ``written`` has dates and times as a CSV has them.
    """
    import pyarrow.types as of

    kind = values.type
    parts = dict(shape.parts) if shape else {}

    def inner(array: pyarrow.Array, part: Shape | None) -> Texts:
        return texts_of(array, part, form, written)

    if of.is_dictionary(kind):
        return inner(values.dictionary_decode(), shape)
    if of.is_struct(kind):
        names = [kind.field(n).name for n in range(kind.num_fields)]
        fields = [inner(one, parts.get(name)) for name, one in zip(names, values.flatten(), strict=True)]
        return _objects([json.dumps(name) for name in names], fields, values)
    if of.is_map(kind):
        part = shape.part if shape and shape.name == "map" else None
        start, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
        keys = inner(values.keys[start:end], Shape("string"))
        items = inner(values.items[start:end], part)
        entries = [f"{key}:{item or 'null'}" for key, item in zip(keys, items, strict=True)]
        return _cut(entries, values, "{", "}")
    if of.is_list(kind) or of.is_large_list(kind):
        part = shape.part if shape and shape.name == "array" else None
        start, end = values.offsets[0].as_py(), values.offsets[-1].as_py()
        return _cut([one or "null" for one in inner(values.values[start:end], part)], values, "[", "]")
    if of.is_fixed_size_list(kind):
        return inner(values.cast(f"large_list<{kind.value_type}>"), shape)
    return _leaves(values, shape, form, written)


def _objects(names: list[str], fields: list[Texts], values: pyarrow.Array) -> Texts:
    """The keys of what is null are left out: a row of JSON need not have them either."""
    there = values.is_valid().to_pylist()
    return [
        "{" + ",".join(f"{name}:{one[n]}" for name, one in zip(names, fields, strict=True) if one[n] is not None) + "}"
        if is_there
        else None
        for n, is_there in enumerate(there)
    ]


def _cut(inner: list[str], values: pyarrow.Array, opens: str, closes: str) -> Texts:
    """``inner`` in as many pieces, each as long, as the lists of ``values`` are."""
    ends = values.offsets.to_pylist()
    first = ends[0]
    return [
        opens + ",".join(inner[ends[n] - first : ends[n + 1] - first]) + closes if is_there else None
        for n, is_there in enumerate(values.is_valid().to_pylist())
    ]


def _leaves(
    values: pyarrow.Array, shape: Shape | None, form: Form | None, written: Callable[[pyarrow.Array], pl.Series]
) -> Texts:
    import pyarrow
    import pyarrow.types as of

    kind, name = values.type, shape.name if shape else ""
    if of.is_binary(kind) or of.is_large_binary(kind) or of.is_fixed_size_binary(kind):
        return [None if one is None else _of_bytes(one, name, form) for one in values.to_pylist()]
    if of.is_boolean(kind) or of.is_integer(kind):
        return list(pl.Series(pl.from_arrow(values)).cast(pl.String))
    if of.is_floating(kind):
        return [None if one is None else nested.written(one, None, None) for one in values.to_pylist()]
    if of.is_decimal(kind):
        return [None if one is None else format(one, "f") for one in values.to_pylist()]
    if of.is_date(kind) or of.is_timestamp(kind):
        texts = list(written(values))
    else:
        texts = values.cast(pyarrow.string()).to_pylist()
    return [None if one is None else json.dumps(one, ensure_ascii=False) for one in texts]


def _of_bytes(value: bytes, name: str, form: Form | None) -> str:
    if name == "binary":
        return json.dumps(nested.of_bytes(value, form))
    if name == "string":  # old writers do not say that bytes are a text
        try:
            return json.dumps(value.decode(), ensure_ascii=False)
        except UnicodeDecodeError:
            pass
    return nested.strange_bytes(value)
