"""A SQL expression in Python gives what SQL gives, nulls included; what cannot be said there is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from include.scaffold import expressions
from include.scaffold.errors import ScaffoldError
from tests.use_cases import by_hand

ROWS = [{"n": 1, "who": "a"}, {"n": None, "who": "b"}, {"n": 4, "who": None}, {"n": 4, "who": "a"}]


def of(sql: str, **values: Any) -> Any:
    found = expressions.read("label", sql, {"n": "int", "who": "string"}, "t")
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
    found = expressions.read("label", "sum(n) > 1 and max(who) <> 'n'", {"n": "int", "who": "string"}, "t")
    assert found.qualified("facts") == "sum(facts.n) > 1 and max(facts.who) <> 'n'"


def test_a_column_with_the_name_of_a_function_is_told_from_it() -> None:
    found = expressions.read("label", "count(count) > 1 and max(`count`) < 007", {"count": "int"}, "t")
    assert found.qualified("facts") == "count(facts.count) > 1 and max(facts.`count`) < 007"
    assert eval(found.in_python(), vars(by_hand) | {"rows": [{"count": 3}, {"count": 4}]}) is True


def test_an_expression_over_several_lines_is_one_line() -> None:
    """Else its end would stand behind the comment that it becomes."""
    assert expressions.read("population", "n > 1\n  and n < 5", {"n": "int"}, "t").sql == "n > 1 and n < 5"


def test_a_decimal_can_be_compared_with_any_number() -> None:
    found = expressions.read("label", "sum(n * 1.5) > 3.2", {"n": "decimal(12,2)"}, "t")
    assert eval(found.in_python(), vars(by_hand) | {"rows": [{"n": Decimal("2.20")}]}) is True


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("sum(", "is no SQL expression"),
        ("select 1", "is no expression"),
        ("sum(total)", "t has no column total; it has n, who"),
        ("percentile(n, 0.5)", "is not understood"),
        ("sum(n) / 2", "is not understood"),
        ("max(t.n)", "say n and not t.n: all is of t"),
        ("count(*) > 1 -- often", "leave the comment out"),
        ("count_if(who = '{{ x }}')", "dbt takes {{ for its own"),
        ("count_if(who = 'a\nb')", "goes over the end of a line"),
        ("max(who) > 5", r"MAX\(who\) is a text, 5 is a number: only values of one kind are compared"),
        ("count_if(n in ('1', '2'))", "n is a number, '2' is a text"),
        ("sum(who)", "who is a text, and should be a number"),
        ("count_if(n)", "n is a number, and should be a condition"),
    ],
)
def test_what_is_refused(sql: str, why: str) -> None:
    with pytest.raises(ScaffoldError, match=why):
        expressions.read("label", sql, {"n": "int", "who": "string"}, "t")
