"""A SQL expression in Python gives what SQL gives, nulls included; what cannot be said there is refused."""

from __future__ import annotations

from typing import Any

import pytest

from include.scaffold import expressions
from include.scaffold.errors import ScaffoldError
from tests.use_cases import by_hand

ROWS = [{"n": 1, "who": "a"}, {"n": None, "who": "b"}, {"n": 4, "who": None}, {"n": 4, "who": "a"}]


def of(sql: str, **values: Any) -> Any:
    found = expressions.read("label", sql, ["n", "who"], "t")
    return eval(found.in_python(), vars(by_hand) | values)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("count(*)", 4),
        ("count(n)", 3),
        ("count(distinct n)", 2),
        ("count_if(n > 1)", 2),
        ("sum(n)", 9),
        ("avg(n)", 3.0),
        ("min(n)", 1),
        ("max(who)", "b"),
        ("sum(n * 2) - 1", 17),
        ("count(n) > 2", True),
        ("sum(n) >= 9 and max(n) <> 4", False),
        ("not (count(*) = 4) or max(who) in ('b', 'c')", True),
    ],
)
def test_an_aggregate(sql: str, value: Any) -> None:
    assert of(sql, rows=ROWS) == value


@pytest.mark.parametrize(("sql", "value"), [("count(*)", 0), ("sum(n)", None), ("max(n) > 1", None)])
def test_an_aggregate_of_no_rows(sql: str, value: Any) -> None:
    assert of(sql, rows=[]) == value


@pytest.mark.parametrize(
    ("sql", "row", "value"),
    [
        ("n > 1", 1, None),
        ("n is null", 1, True),
        ("not n is null and who = 'a'", 0, True),
        ("who <> 'a' or n > 3", 2, True),
        ("who in ('a')", 2, None),
    ],
)
def test_a_condition_on_a_row(sql: str, row: int, value: Any) -> None:
    assert of(sql, row=ROWS[row]) is value


def test_columns_are_qualified_and_texts_are_not() -> None:
    found = expressions.read("label", "sum(n) > 1 and max(who) <> 'n'", ["n", "who"], "t")
    assert found.qualified("facts") == "sum(facts.n) > 1 and max(facts.who) <> 'n'"


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("sum(", "is no SQL expression"),
        ("select 1", "is no expression"),
        ("sum(total)", "t has no column total; it has n, who"),
        ("percentile(n, 0.5)", "is not understood"),
        ("sum(n) / 2", "is not understood"),
    ],
)
def test_what_is_refused(sql: str, why: str) -> None:
    with pytest.raises(ScaffoldError, match=why):
        expressions.read("label", sql, ["n", "who"], "t")
