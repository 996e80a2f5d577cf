"""The contract gate: what must hold for a feed's candidate before it becomes bronze."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.sources.spec import Feed, Form, Mode

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation


def suite(feed: Feed) -> list[Expectation]:
    """The expectations of ``feed``, for the rows of a candidate that are to be published."""
    from great_expectations import expectations as gxe

    expected: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=0 if feed.mode is Mode.UPSERT else 1),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["partition_day", *feed.unique]),
    ]
    for column in feed.columns:
        if column.required:
            expected.append(gxe.ExpectColumnValuesToNotBeNull(column=column.name))
        if column.values:
            expected.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.values)))
        if column.form is Form.HHMM:
            expected.append(gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=0, max_value=2400))
        if column.minimum is not None or column.maximum is not None:
            expected.append(
                gxe.ExpectColumnValuesToBeBetween(
                    column=column.name, min_value=column.minimum, max_value=column.maximum
                )
            )
    return expected
