"""The bucket of a value in Python; that SQL gives the same is shown in tests/engines/test_many_values.py."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest

from include.contracts.use_case import buckets
from include.features.hashing import bucket


def test_a_bucket_never_changes() -> None:
    """A model outlives processes and machines (apache/spark#1371, wush978/FeatureHashing#30): so it is written down."""
    values = ("N12345", "Zürich", "", 7, "7", date(2013, 6, 1), None)
    assert [bucket(one, 64) for one in values] == ["36", "26", "25", "31", "31", "44", None]
    code = "from include.features.hashing import bucket; print(bucket('N12345', 64))"
    for seed in ("1", "2"):
        of = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True)
        assert of.stdout.strip() == bucket("N12345", 64)


def test_values_are_spread_over_all_buckets_and_each_is_in_the_vocabulary() -> None:
    """Numbers in a row too, of which a plain remainder of a weak hash takes every other bucket."""
    for values in ([f"N{n:05}" for n in range(6400)], range(6400), range(0, 640000, 100)):
        found = Counter(bucket(value, 64) for value in values)
        assert set(found) == set(buckets(64))
        assert min(found.values()) > 50
        assert max(found.values()) < 150


@pytest.mark.parametrize("odd", [1.0, True, b"N1", datetime(2013, 6, 1, tzinfo=UTC)])
def test_what_sql_writes_in_another_way_is_refused(odd: Any) -> None:
    """An id that became 1.0 in a frame with nulls would have another bucket than in training, without a word."""
    with pytest.raises(TypeError, match="hash a text, a whole number or a day"):
        bucket(odd, 64)


def test_one_bucket_is_refused() -> None:
    with pytest.raises(ValueError, match="1 buckets tell no values apart"):
        bucket("a", 1)
    with pytest.raises(ValueError, match="1 buckets tell no values apart"):
        buckets(1)
