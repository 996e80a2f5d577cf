"""What a column is taken for, by its name and its values."""

from datetime import date, timedelta

import polars as pl
import pytest

from include.contracts.source import Column
from include.scaffold import guesses


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("contact", ["0170 1234567", "+49 30 123456"], "it looks like a phone number"),
        ("order_id", ["05010000", "05010001"], ""),  # a number with zeros in front
        ("email", ["?"], "its name sounds personal"),
        ("contact", ["a@example.org", "b@example.org"], "it looks like an e-mail address"),
        ("channel", ["web", "shop"], ""),
    ],
)
def test_personal(name: str, values: list[str], why: str) -> None:
    assert guesses.personal(Column(name, "string", name), pl.Series(values)) == why


@pytest.mark.parametrize("largest", [1.7976931348623157e308, -3.4028234663852886e38])
def test_the_largest_float_stands_for_nothing_and_sets_no_bounds(largest: float) -> None:
    assert guesses.bounds(Column("v", "double", "v"), pl.Series([1.5, largest])) == (None, None)


WEEKDAYS = [date(2024, 5, 1) + timedelta(n) for n in range(40) if (date(2024, 5, 1) + timedelta(n)).isoweekday() < 6]


@pytest.mark.parametrize(
    ("days", "closed", "of_month"),
    [
        ([date(2024, month, 1) for month in range(1, 7)], (), (1,)),
        ([date(2024, month, 31) for month in (1, 3, 5)], (), ()),  # not every month has it
        (WEEKDAYS, (6, 7), ()),
        ([day for day in WEEKDAYS if day.day != 9], (6, 7), ()),  # a holiday
        (WEEKDAYS[:5], (), ()),  # too few weeks to tell
        ([date(2024, 5, 1) + timedelta(11 * n) for n in range(5)], (), ()),  # of any kind
        ([date(2024, 5, 1) + timedelta(n) for n in range(40)], (), ()),
        ([], (), ()),
    ],
)
def test_calendar(days: list[date], closed: tuple[int, ...], of_month: tuple[int, ...]) -> None:
    assert guesses.calendar(days) == (closed, of_month)
