"""What the oracles of use cases share: SQL's arithmetic with nulls in Python, a made-up table, and gold built of it."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Facts:
    """A core model that features are made of.

    Attributes:
        table, types, day: its name, its columns with their types, and that with a row's own day.
        columns: those that say whose rows they are, each with the column of the entity that it is equal to.
        numbers, flags, newest: the columns that features are made of, and those whose newest value is one.
        hashed: the texts of which the bucket of the newest value is a feature.
        has_newest: whether the newest row says how something is; of others a text's newest value is its last one.
        one_row_a_day: whether an entity has no two rows on a day.
        is_summed: whether sums of numbers are features.
        sequence: of changes, the column that says in which order they were made; empty for other rows.
    """

    table: str
    types: Mapping[str, str]
    day: str
    columns: Mapping[str, str]
    numbers: Sequence[str] = ()
    flags: Sequence[str] = ()
    newest: Sequence[str] = ()
    hashed: Sequence[str] = ()
    has_newest: bool = False
    one_row_a_day: bool = False
    is_summed: bool = True
    sequence: str = ""

    def of(self, key: Key, entity: Sequence[str], rows: Iterable[Row]) -> list[Row]:
        """Those of ``rows`` that go with the entity that ``key`` begins with."""
        values = dict(zip(entity, key, strict=False))
        return [row for row in rows if all(row[one] == values[other] for one, other in self.columns.items())]

    def seen(self, rows: Iterable[Row], day: date, most_days: int) -> list[Row]:
        """Those of ``rows`` that features of ``day`` look at: of changes all, of others ``most_days`` back."""
        before = [row for row in rows if row[self.day] < day and row["ingestion_date"] < day]
        return [row for row in before if self.sequence or (day - row[self.day]).days <= most_days]

    def newest_row(self, rows: Sequence[Row]) -> Row | None:
        """The row of ``rows`` that says how something is."""
        return max(rows, key=lambda row: row[self.sequence or self.day], default=None)

    def newest_text(self, rows: Sequence[Row], name: str) -> str | None:
        """The newest text in the column ``name`` of ``rows``; of two that came at once the later in the alphabet."""
        if self.has_newest:
            return self.value(self.newest_row(rows), name)
        there = [(row[self.day], row["ingestion_date"], row[name]) for row in rows if row[name] is not None]
        return max(there)[-1] if there else None

    def value(self, row: Row | None, name: str) -> Any:
        """The value of a row as the features have it; None where there is no row."""
        value = None if row is None else row[name]
        return float(value) if name in self.numbers and value is not None else value


def made_up(
    facts: Facts, dates: Sequence[date], *, values: Mapping[str, Sequence[Any]] | None = None, seed: int = 7
) -> list[Row]:
    """Rows of three entities on ``dates``: one often there, one rarely, one with long pauses; nulls, and late arrivals.

    Some rows name no entity: a column of it is null.

    ``values`` are those that a text or a number can have; else it is one of a few letters, or small.
    """
    chance, known = random.Random(seed), values or {}
    rows = list[Row]()
    for number, on in enumerate(dates):
        for who, often in enumerate((0.8, 0.4, 0.0 if number % 60 < 45 else 0.3)):
            if chance.random() < often:
                most = (1, 3, 4) if facts.sequence else (1, 2)  # of changes more, so that their order shows
                for _ in range(1 if facts.one_row_a_day else chance.choice(most)):
                    row = {name: _value(chance, kind, on, known.get(name, ())) for name, kind in facts.types.items()}
                    row |= {name: _entity(facts.types[name], who) for name in facts.columns}
                    if facts.columns and chance.random() < 0.05:
                        row[chance.choice(list(facts.columns))] = None
                    if facts.sequence:
                        row[facts.sequence] = _place(facts.types[facts.sequence], len(rows))
                    arrived = on + timedelta(chance.choice((0, 0, 0, 0, 1, 3, 9)))
                    rows.append(row | {facts.day: on, "ingestion_date": arrived})
    return rows


def _place(kind: str, number: int) -> Any:
    """The place of a change in the order."""
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number) if kind == "timestamp" else number


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
    home: Path, tables: Iterable[tuple[Facts, list[Row]]], nights: Partitions, case: str
) -> dict[str, pl.DataFrame]:
    """The features and labels of ``case`` that dbt builds, with its tests, on the embedded engine from ``tables``."""
    for facts, rows in tables:
        there = pl.DataFrame(rows, schema=_schema(facts.types), orient="row")
        path = str(settings().lake / "silver" / facts.table)
        there.write_delta(path, delta_write_options={"partition_by": [facts.day]})
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
