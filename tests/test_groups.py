"""Tests run side by side, and nothing that is slow to start is started for each of two processes."""

from __future__ import annotations

import pytest

from include.core.settings import HOME
from tests import groups


@pytest.mark.parametrize(
    ("test", "group"),
    [
        ("tests/integration/test_chain.py::test_x[embedded-2013-06-01]", groups.STACK),
        ("tests/integration/test_chain.py::test_x[spark-2013-06-01]", groups.STACK_ON_SPARK),
        ("tests/integration/test_scaffold.py::test_x[rides]", groups.STACK_OF_A_COPY),
        ("tests/lake/test_maintain.py::test_x[spark]", groups.SPARK),
        ("tests/engines/test_differential.py::test_x", groups.SPARK),
        ("tests/lake/test_delta.py::test_x", "tests/lake"),
        ("tests/test_groups.py::test_x", "tests"),
    ],
)
def test_what_is_shared_makes_the_group(test: str, group: str) -> None:
    assert groups.group_of(test) == group


def test_whoever_asks_for_spark_is_where_it_is(request: pytest.FixtureRequest) -> None:
    """Of the tests that this run has collected: another process would start one of its own."""
    asking = {item.nodeid for item in request.session.items if "_spark" in getattr(item, "fixturenames", ())}
    assert {test for test in asking if groups.group_of(test) != groups.SPARK} == set()


def test_the_longest_begin() -> None:
    chain = "tests/integration/test_chain.py::test_x"
    others = [f"tests/{test}.py::test_x" for test in ("lake/test_delta", "ml/test_train", "lake/test_maintain")]
    found = sorted([*others, f"{chain}[spark]", f"{chain}[embedded]"], key=groups.rank)
    assert found == [f"{chain}[embedded]", f"{chain}[spark]", *reversed(others)]


def test_each_that_begins_early_is_there() -> None:
    """A folder that was renamed would come at the end."""
    assert [name for name in groups.LONG if not (HOME / name).is_dir()] == []
