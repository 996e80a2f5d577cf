"""No model, macro or Spark job says what the two engines are known to answer differently (tests/engines)."""

import re
from pathlib import Path

import pytest
import yaml

from tests.engines.differences import DIFFERENCES, Difference

ROOT = Path(__file__).resolve().parents[2]
SQL = sorted(
    path for folder in ("models", "macros", "tests") for path in (ROOT / "dbt_project" / folder).rglob("*.sql")
)
UNIT_TESTS = sorted((ROOT / "dbt_project" / "models").rglob("*.yml"))
PYTHON = sorted(path for tree in ("include", "spark_jobs") for path in (ROOT / tree).rglob("*.py"))
COMMENTS = re.compile(r"\{#.*?#\}|--[^\n]*", re.DOTALL)


def problems(name: str, sql: str) -> list[str]:
    """A line for each expression in a file of SQL that the engines are known to answer differently."""
    code = COMMENTS.sub("", sql)
    return [
        f"{name}: `{found}` differs between the engines ({one.why}); write as in {one.instead}"
        for one in DIFFERENCES
        if name not in one.allowed
        for found in one.found_in(code)
    ]


@pytest.mark.parametrize("path", SQL, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sql_of_dbt_differs_between_the_engines(path: Path) -> None:
    assert problems(path.name, path.read_text()) == []


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_unit_test_of_dbt_differs_between_the_engines(path: Path) -> None:
    tests = yaml.safe_load(path.read_text()).get("unit_tests", [])
    given = [one["rows"] for test in tests for one in test["given"] if isinstance(one["rows"], str)]
    assert [line for sql in given for line in problems(path.name, sql)] == []


def test_no_code_of_spark_differs_between_the_engines() -> None:
    found = [
        f"{path.relative_to(ROOT)}: `{one}`: {difference.why}; write as in {difference.instead}"
        for path in PYTHON
        for difference in DIFFERENCES
        if path.name not in difference.allowed
        for one in difference.found_in_python(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("one", DIFFERENCES, ids=lambda one: one.shown)
def test_each_difference_is_found(one: Difference) -> None:
    line = problems("model.sql", f"select {one.shown} as v from t -- {one.shown}")
    assert len(line) == 1
    assert one.instead in line[0]


def test_what_only_looks_like_it_is_let_through() -> None:
    assert (
        problems("m.sql", "-- weekday(d)\nselect my_weekday(d), cast(x as string_type), try_cast(s as int) from t")
        == []
    )
