"""The core models of a source, as dbt's files describe them: what a use case can be made of."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from include.scaffold.errors import ScaffoldError

WHOLE = ("smallint", "int", "bigint")
NUMBERS = (*WHOLE, "double", "float", "decimal")
MANY_VALUES = 50  # a column with more is not listed in a vocabulary


@dataclass(frozen=True)
class Table:
    """A core model.

    Attributes:
        columns: with their types, in order.
        day: the column that it is partitioned by.
        many_values: the columns that had too many values to list in the sample of the source, and how many these were.
        recurring: those of them of which most values came more than once: no names of single rows, and no free text.
    """

    name: str
    columns: dict[str, str]
    descriptions: dict[str, str]
    day: str
    key: tuple[str, ...]
    many_values: dict[str, int] = field(default_factory=dict)
    recurring: tuple[str, ...] = ()

    def kind(self, column: str) -> str:
        """The type of a column without its digits."""
        return self.columns[column].partition("(")[0]


def of_source(root: Path, source: str) -> list[Table]:
    """The core models of ``source`` that carry a night. Raises ScaffoldError where there are none."""
    folder = root / "dbt_project" / "models" / "marts" / "core" / source
    models = [
        model
        for path in sorted(folder.glob("*.yml"))
        for model in (yaml.safe_load(path.read_text()) or {}).get("models", [])
    ]
    found = [table for model in models if (table := _table(folder / f"{model['name']}.sql", model)) is not None]
    if not found:
        raise ScaffoldError(f"source={source}: no core model of it is described in {folder.relative_to(root)}")
    return found


def _table(path: Path, model: dict[str, Any]) -> Table | None:
    day = re.search(r"'day': '(\w+)'", path.read_text()) if path.exists() else None
    columns = {column["name"]: str(column.get("data_type", "")) for column in model["columns"]}
    if not day or "ingestion_date" not in columns:
        return None
    keys = [
        test["primary_key"]["arguments"]["columns"] for test in model.get("data_tests", []) if "primary_key" in test
    ]
    descriptions = {column["name"]: column["description"] for column in model["columns"]}
    sample = {column["name"]: (column.get("config") or {}).get("meta") or {} for column in model["columns"]}
    many = {name: meta["sample_values"] for name, meta in sample.items() if meta.get("sample_values", 0) > MANY_VALUES}
    recurring = tuple(name for name, n in many.items() if sample[name].get("sample_rows", 0) >= 2 * n)
    return Table(model["name"], columns, descriptions, day[1], tuple(keys[0]) if keys else (), many, recurring)


def choose(tables: list[Table], entity: Collection[str], name: str = "") -> Table:
    """The table called ``name``, or the one that has all columns of ``entity``. Raises ScaffoldError."""
    shown = "; ".join(f"{one.name} ({', '.join(one.columns)})" for one in tables)
    if name:
        if not (named := [one for one in tables if one.name == name]):
            raise ScaffoldError(f"table={name}: there is no such core model. There are: {shown}")
        tables = named
    fit = [one for one in tables if set(entity) <= set(one.columns) - {one.day, "ingestion_date"}]
    if not fit:
        raise ScaffoldError(f"entity={','.join(entity)}: no core model has these columns. There are: {shown}")
    if len(fit) > 1:
        raise ScaffoldError(f"entity={','.join(entity)}: {', '.join(one.name for one in fit)} have it. Say table=…")
    return fit[0]
