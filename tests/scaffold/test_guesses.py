"""What a column is taken for, by its name and its values."""

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
