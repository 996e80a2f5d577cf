"""What the oracles of use cases share: SQL's arithmetic with nulls in Python, a made-up table, and gold built of it."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from include.core.partitions import Partitions
from include.core.settings import EMBEDDED, settings
from include.lake import candidate
from include.local import compare_engines

Row = dict[str, Any]
Key = tuple[Any, ...]

SIGNS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


def binary(sign: str, one: Any, other: Any) -> Any:
    """``one sign other``, which nobody knows where one of them is null."""
    if one is None or other is None:
        return None
    if {type(one), type(other)} == {Decimal, float}:  # which Python does not add up
        one, other = float(one), float(other)
    return SIGNS[sign](one, other)


def both(one: Any, other: Any) -> Any:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def either(one: Any, other: Any) -> Any:
    if one is True or other is True:
        return True
    return None if one is None or other is None else False


def negated(one: Any) -> Any:
    return None if one is None else not one


def one_of(one: Any, values: Sequence[Any]) -> Any:
    return None if one is None else one in values


def _there(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def total(values: Iterable[Any]) -> Any:
    there = _there(values)
    return sum(there) if there else None


def mean(values: Iterable[Any]) -> float | None:
    there = _there(values)
    return float(sum(there)) / len(there) if there else None


def least(values: Iterable[Any]) -> Any:
    return min(_there(values), default=None)


def most(values: Iterable[Any]) -> Any:
    return max(_there(values), default=None)


def drawn(own: Sequence[float], everyone: Sequence[float], prior: int) -> float | None:
    """The mean of ``own``, as if ``prior`` more had had that of ``everyone``; None where nobody has any."""
    of_all = mean(everyone)
    return None if of_all is None else (sum(own) + prior * of_all) / (len(own) + prior)


def made_up(
    types: Mapping[str, str],
    entity: Sequence[str],
    day: str,
    dates: Sequence[date],
    *,
    one_row_a_day: bool,
    values: Mapping[str, Sequence[Any]],
) -> list[Row]:
    """Rows of three entities on ``dates``: one often there, one rarely, one with long pauses; nulls, and late arrivals.

    Some rows name no entity: a column of it is null.

    ``values`` are those that a text or a number can have; else it is one of a few letters, or small.
    """
    chance = random.Random(7)
    rows = []
    for number, on in enumerate(dates):
        for who, often in enumerate((0.8, 0.4, 0.0 if number % 60 < 45 else 0.3)):
            if chance.random() < often:
                for _ in range(1 if one_row_a_day else chance.choice((1, 2))):
                    row = {name: _value(chance, kind, on, values.get(name, ())) for name, kind in types.items()}
                    row |= {name: _entity(types[name], who) for name in entity}
                    if chance.random() < 0.05:
                        row[chance.choice(list(entity))] = None
                    rows.append(row | {day: on, "ingestion_date": on + timedelta(chance.choice((0, 0, 0, 0, 1, 3, 9)))})
    return rows


def _entity(kind: str, who: int) -> Any:
    """A value of the type ``kind`` that no other of the three has; of yes and no there are two."""
    match kind.partition("(")[0]:
        case "string":
            return f"e{who}"
        case "date":
            return date(2020, 1, 1) + timedelta(who)
        case "timestamp":
            return datetime(2020, 1, 1, who, tzinfo=UTC)
        case "decimal":
            return Decimal(who)
        case "boolean":
            return who > 0
        case _:
            return who


def _value(chance: random.Random, kind: str, on: date, values: Sequence[Any]) -> Any:
    if chance.random() < 0.1:
        return None
    if values:
        one = chance.choice(values)
        of_kind = {"decimal": Decimal, "double": float, "float": float}
        return of_kind.get(kind.partition("(")[0], type(one))(one)
    match kind.partition("(")[0]:
        case "boolean":
            return chance.random() < 0.3
        case "smallint" | "int" | "bigint":
            return chance.randint(0, 9)
        case "decimal":
            return Decimal(chance.randint(-500, 5000)).scaleb(-2)
        case "double":
            return round(chance.uniform(-5, 50), 2)
        case "date":
            return on
        case "timestamp":
            return datetime(on.year, on.month, on.day, chance.randint(0, 23), tzinfo=UTC)
        case _:
            return chance.choice("abc")


def _schema(types: Mapping[str, str]) -> dict[str, Any]:
    plain = {
        "boolean": pl.Boolean,
        "smallint": pl.Int16,
        "int": pl.Int32,
        "bigint": pl.Int64,
        "double": pl.Float64,
        "date": pl.Date,
        "timestamp": pl.Datetime("us", "UTC"),
        "string": pl.String,
    }
    return {name: plain.get(kind, pl.Decimal(38, 2)) for name, kind in types.items()}


def built(
    home: Path, table: str, types: Mapping[str, str], day: str, rows: list[Row], nights: Partitions, case: str
) -> dict[str, pl.DataFrame]:
    """The features and labels of ``case`` that dbt builds, with its tests, on the embedded engine from ``rows``."""
    there = pl.DataFrame(rows, schema=_schema(types), orient="row")
    there.write_delta(str(settings().lake / "silver" / table), delta_write_options={"partition_by": [day]})
    own, suffix = compare_engines.beside(settings(), EMBEDDED, home / "engine"), candidate.suffix(nights)
    with compare_engines.running(own) as environment:
        compare_engines.build(own, environment, nights, suffix, f"marts.use_cases.{case}")
    found = compare_engines.built(suffix)
    return {one: found[f"gold.{case}__{one}"] for one in ("features", "labels")}


def unlike(found: pl.DataFrame, expected: Mapping[Key, Row], entity: Sequence[str], day: str) -> list[str]:
    """Where ``found`` differs from what was ``expected``: rows that only one has, and values, each with both."""
    there = {tuple(row[name] for name in (*entity, day)): row for row in found.to_dicts()}
    odd = [f"{key}: is in one of them only" for key in sorted(there.keys() ^ expected.keys())]
    for key in sorted(there.keys() & expected.keys()):
        row, wanted = there[key], expected[key]
        odd += [f"{key}: {name} is in one of them only" for name in row.keys() - {*entity, day} ^ wanted.keys()]
        odd += [
            f"{key}: {name} is {row[name]!r}, not {value!r}"
            for name, value in wanted.items()
            if name in row and not _is_same(row[name], value)
        ]
    return odd


def _is_same(one: Any, other: Any) -> bool:
    # In which order an engine adds is its own: the last digits may differ.
    if isinstance(one, float) and isinstance(other, float | int):
        return abs(one - other) <= 1e-9 * max(1.0, abs(other))
    return bool(one == other)
