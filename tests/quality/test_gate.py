"""A gate lets through what keeps every promise, and names all that does not."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from include.core.errors import NeedsAttentionError
from include.quality import gate
from include.quality.gate import GateFailedError, GateUncheckedError, describe

DAY = date(2020, 6, 1)
GOOD = [(DAY, 1, "bus", "a"), (DAY, 9, None, None)]


pytestmark = pytest.mark.usefixtures("home")


def suite() -> list[Any]:
    from great_expectations import expectations as gxe

    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["partition_day", "number"]),
        gxe.ExpectColumnValuesToNotBeNull(column="number"),
        gxe.ExpectColumnValuesToBeBetween(column="number", min_value=1, max_value=9),
        gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=["bus", "tram"]),
    ]


def check(rows: list[tuple[Any, ...]], columns: tuple[str, ...] = ("number", "kind", "note")) -> None:
    types = {"number": pl.Int64, "kind": pl.String, "note": pl.String}
    schema = {"partition_day": pl.Date, **{name: types[name] for name in columns}}
    frame = pl.LazyFrame(rows, schema=schema, orient="row")
    gate.check("gold.trips", "2020-06-01", frame, suite())


def test_what_keeps_its_promises_passes_and_the_result_is_kept(home: Path) -> None:
    check(GOOD)
    kept = json.loads((home / "report/gates/gold.trips/2020-06-01.json").read_text())
    assert kept["success"] is True
    assert len(kept["results"]) == 5


def test_everything_that_fails_is_named(home: Path) -> None:
    rows = [(DAY, 1, "bus", ""), (DAY, 1, "boat", ""), (DAY, 12, "ship", ""), (DAY, None, "tram", "")]
    with pytest.raises(GateFailedError) as raised:
        check(rows)
    first, *lines = str(raised.value).splitlines()
    assert first == "gold.trips 2020-06-01: 4 of 5 expectations failed; nothing was published."
    said = sorted(line.partition(" (")[0] for line in lines)
    assert said == [
        "- expect_compound_columns_to_be_unique",
        "- kind: expect_column_values_to_be_in_set",
        "- number: expect_column_values_to_be_between",
        "- number: expect_column_values_to_not_be_null",
    ]
    by_column = {line.partition(" (")[0]: line for line in lines}
    assert '"partial_unexpected_list": ["boat", "ship"]' in by_column["- kind: expect_column_values_to_be_in_set"]
    assert "12" in by_column["- number: expect_column_values_to_be_between"]
    kept = json.loads((home / "report/gates/gold.trips/2020-06-01.json").read_text())
    assert kept["success"] is False


def test_no_rows_do_not_pass() -> None:
    with pytest.raises(GateFailedError, match=r"expect_table_row_count_to_be_between .*\"observed_value\": 0"):
        check([])


def test_what_could_not_be_checked_did_not_pass() -> None:
    """A column that is not there makes an expectation raise: that is no pass, and no failure of the data either."""
    with pytest.raises(GateUncheckedError, match="1 of 5 expectations could not be checked") as raised:
        check([(DAY, 1, "a")], ("number", "note"))
    assert "kind: expect_column_values_to_be_in_set" in str(raised.value)
    assert not isinstance(raised.value, NeedsAttentionError), "such a task is tried again"


def test_what_did_fail_is_not_tried_again_whatever_else_could_not_be_checked() -> None:
    with pytest.raises(GateFailedError, match=r"2 of 5 expectations failed(.|\n)*could not be checked"):
        check([(DAY, 12, "a")], ("number", "note"))


def failed(exception_info: dict[str, Any], result: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    config = SimpleNamespace(type="expect_it", kwargs={"batch_id": "lake-x", **kwargs})
    return SimpleNamespace(expectation_config=config, exception_info=exception_info, result=result or {})


def test_a_failure_in_a_line() -> None:
    fine = {"raised_exception": False, "exception_message": None}
    found = {"element_count": 9, "unexpected_count": 2, "partial_unexpected_list": [0, 12], "observed_value": None}
    line = describe(failed(fine, found, column="number", min_value=1, max_value=9, row_condition=None))
    assert line == (
        'number: expect_it (min_value 1, max_value 9) found {"unexpected_count": 2, "partial_unexpected_list": [0, 12]}'
    )


def test_a_failure_to_check_in_a_line_wherever_the_library_puts_it() -> None:
    broken = {"raised_exception": True, "exception_message": "no such column\nTraceback"}
    assert describe(failed(broken, column="a")) == "a: expect_it () found could not be checked: no such column"
    assert describe(failed({"a metric": broken})) == "expect_it () found could not be checked: no such column"
