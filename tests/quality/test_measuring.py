"""What Polars measures for Great Expectations is what Great Expectations' own engine finds."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from great_expectations import expectations as gxe

from include.quality import measuring

ROWS = 500
EXPECTATIONS: list[Any] = [
    *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in ("id", "size", "kind", "nothing")),
    gxe.ExpectColumnValuesToNotBeNull(column="size", mostly=0.5),
    gxe.ExpectColumnValuesToBeBetween(column="size", min_value=-1, max_value=1),
    gxe.ExpectColumnValuesToBeBetween(column="size", min_value=-1, max_value=1, mostly=0.5),
    gxe.ExpectColumnValuesToBeBetween(column="size", min_value=-99),
    gxe.ExpectColumnValuesToBeBetween(column="id", min_value=0, strict_min=True),
    gxe.ExpectColumnValuesToBeBetween(column="id", max_value=90, strict_max=True),
    gxe.ExpectColumnValuesToBeBetween(column="nothing", max_value=1),
    gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=["bus", "tram"]),
    gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=["bus", "tram"], mostly=0.6),
    gxe.ExpectColumnValuesToNotBeInSet(column="kind", value_set=["tram"]),
    gxe.ExpectColumnValueLengthsToBeBetween(column="kind", min_value=3, max_value=4),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="day", column_B="known", ignore_row_if="neither"),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A="id", column_B="twin", ignore_row_if="either_value_is_missing"
    ),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="id", column_B="twin", or_equal=True, mostly=0.3),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="id", column_B="twin", or_equal=True),
    gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="id", column_B="twin", ignore_row_if="neither"),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "kind"]),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "kind"], mostly=0.1),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["row", "day"]),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["twin", "kind"], ignore_row_if="any_value_is_missing"),
    gxe.ExpectCompoundColumnsToBeUnique(column_list=["twin", "kind"], ignore_row_if="never"),
    *(gxe.ExpectColumnUniqueValueCountToBeBetween(column="kind", min_value=least) for least in (2, 3, 4)),
    gxe.ExpectColumnUniqueValueCountToBeBetween(column="kind", min_value=1, max_value=2),
    gxe.ExpectColumnUniqueValueCountToBeBetween(column="row", min_value=ROWS),
    gxe.ExpectColumnUniqueValueCountToBeBetween(column="row", min_value=ROWS + 1),
    gxe.ExpectColumnMaxToBeBetween(column="size", max_value=1),
    gxe.ExpectColumnMaxToBeBetween(column="id", max_value=100),
    gxe.ExpectColumnMinToBeBetween(column="size", min_value=0),
    gxe.ExpectColumnMeanToBeBetween(column="id", min_value=0, max_value=9),
    gxe.ExpectTableRowCountToBeBetween(min_value=1),
    gxe.ExpectTableRowCountToBeBetween(min_value=ROWS + 1),
    # what Polars does not measure here
    gxe.ExpectColumnValuesToMatchRegex(column="kind", regex="^(?!tram)"),
    gxe.ExpectColumnValuesToBeBetween(column="id", max_value=9, row_condition="size > 0", condition_parser="pandas"),
]
COUNTS = ("element_count", "unexpected_count", "unexpected_percent", "missing_count", "observed_value")


def table(seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    rows = pl.DataFrame(
        {
            "row": np.arange(ROWS),
            "id": random.integers(0, 100, ROWS),
            "twin": random.integers(0, 100, ROWS),
            "size": random.normal(size=ROWS),
            "kind": random.choice(["bus", "tram", "метро"], ROWS),
            "known": np.datetime64("2020-06-01") + random.integers(0, 2, ROWS),
        }
    )
    seldom = pl.Series(random.random(ROWS) < 0.1)
    return rows.with_columns(
        pl.lit(date(2020, 6, 2)).alias("day"),
        pl.lit(None, pl.Float64).alias("nothing"),
        *(
            pl.when(~seldom.shuffle(seed=n)).then(pl.col(name)).alias(name)
            for n, name in enumerate(("twin", "size", "kind"))
        ),
    )


def outcome(result: Any) -> tuple[bool, dict[str, Any]]:
    """The verdict, and what was counted where it failed."""
    counted = {} if result.success else {name: result.result[name] for name in COUNTS if name in result.result}
    return result.success, {name: pytest.approx(value) for name, value in counted.items()}


@pytest.mark.parametrize("seed", range(3))
def test_verdicts_and_counts_are_those_of_great_expectations(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are compared in several shares, and different values are not found in the first rows alone."""
    monkeypatch.setattr(measuring, "LOOKED_AT", 90)
    monkeypatch.setattr(measuring, "AT_FIRST", 2)
    rows = table(seed)
    found = measuring.results(rows.lazy(), EXPECTATIONS)
    theirs = measuring._by_pandas(rows.lazy(), EXPECTATIONS)
    for expectation, one, other in zip(EXPECTATIONS, found, theirs, strict=True):
        assert outcome(one) == outcome(other), expectation.configuration
        assert one.expectation_config.type == other.expectation_config.type
    verdicts = {one.success for one in found}
    assert verdicts == {True, False}


def test_of_no_rows_the_verdicts_are_the_same_too() -> None:
    rows = table(0).clear()
    asked = [one for one in EXPECTATIONS if "mean" not in one.expectation_type]  # theirs raises
    found, theirs = measuring.results(rows.lazy(), asked), measuring._by_pandas(rows.lazy(), asked)
    for expectation, one, other in zip(asked, found, theirs, strict=True):
        assert one.success == other.success, expectation.configuration


def test_what_is_unexpected_is_shown() -> None:
    rows = pl.LazyFrame({"id": [1, 2, 2, 3, 3, 3], "day": 1, "size": [0.5, 9.0, float("nan"), None, 0.1, 0.2]})
    keys, sizes = measuring.results(
        rows,
        [
            gxe.ExpectCompoundColumnsToBeUnique(column_list=["day", "id"]),
            gxe.ExpectColumnValuesToBeBetween(column="size", max_value=1),
        ],
    )
    assert keys.result["partial_unexpected_list"] == [(1, 2), (1, 3)]
    assert keys.result["unexpected_count"] == 5
    assert str(sizes.result["partial_unexpected_list"]) == "[9.0, nan]"


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        (gxe.ExpectColumnValuesToNotBeNull(column="gone"), "there is no column gone"),
        (gxe.ExpectCompoundColumnsToBeUnique(column_list=["id", "gone"]), "there is no column gone"),
        (gxe.ExpectColumnValuesToBeBetween(column="kind", max_value=1), "cannot compare string with numeric"),
        (gxe.ExpectColumnValueLengthsToBeBetween(column="id", max_value=1), "id"),
    ],
)
def test_what_cannot_be_looked_at_has_failed_and_the_others_are_judged(expectation: Any, said: str) -> None:
    found = measuring.results(
        pl.LazyFrame({"id": [1], "kind": ["a"]}), [expectation, gxe.ExpectTableRowCountToBeBetween(min_value=1)]
    )
    assert [one.success for one in found] == [False, True]
    assert said in found[0].exception_info["exception_message"]
