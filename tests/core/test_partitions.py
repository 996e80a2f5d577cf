"""A partition's key, its days, and how a run says which it is for."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.core.errors import NeedsAttentionError
from include.core.partitions import NoPartitionError, Partitions, of_run

DAY = date(2013, 6, 1)

# Far enough from the ends of the calendar that a shift stays inside.
days = st.dates(date(1900, 1, 1), date(2200, 1, 1))
ranges = st.builds(lambda first, n: Partitions(first, first + timedelta(n)), days, st.integers(0, 400))


@given(ranges)
def test_a_key_says_all_of_it(nights: Partitions) -> None:
    assert Partitions.parse(nights.key) == nights
    assert Partitions.parse(str(nights)) == nights


@given(ranges)
def test_days_are_first_to_last_without_a_gap(nights: Partitions) -> None:
    assert (nights.days[0], nights.days[-1]) == (nights.first, nights.last)
    assert {b - a for a, b in zip(nights.days, nights.days[1:], strict=False)} <= {timedelta(1)}


@given(ranges, st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_shifting_keeps_the_length_and_adds_up(nights: Partitions, some: int, more: int) -> None:
    assert nights.shift(some).days == [day + timedelta(some) for day in nights.days]
    assert nights.shift(some).shift(more) == nights.shift(some + more)
    assert nights.shift(some).shift(-some) == nights


def test_keys_are_what_people_write() -> None:
    assert Partitions(DAY, DAY).key == "2013-06-01"
    assert Partitions(DAY, date(2013, 6, 7)).key == "2013-06-01..2013-06-07"


@pytest.mark.parametrize(
    "key", ["", "yesterday", "2013-06-31", "2013-06-07..2013-06-01", "2013-06-01..", "..2013-06-01"]
)
def test_what_is_no_key_is_named(key: str) -> None:
    if key == "2013-06-01..":  # an open end reads as the one day
        assert Partitions.parse(key) == Partitions(DAY, DAY)
        return
    with pytest.raises(ValueError, match=r"is no partition key \(YYYY-MM-DD or") as raised:
        Partitions.parse(key)
    assert repr(key) in str(raised.value)


def test_a_range_does_not_end_before_it_begins() -> None:
    with pytest.raises(ValueError, match="2013-06-01 to 2013-05-31"):
        Partitions(DAY, date(2013, 5, 31))


def context(key: str | None = None, **params: str | None) -> dict[str, Any]:
    return {"dag_run": SimpleNamespace(partition_key=key, run_id="manual__1", dag_id="a_dag"), "params": params}


def of(key: str | None = None, first: str | None = None, last: str | None = None) -> Partitions:
    return of_run(context(key, **{"from": first, "to": last}))


def test_a_run_is_for_its_partition() -> None:
    assert of("2013-06-01") == Partitions(DAY, DAY)
    assert of("2013-06-01..2013-06-03") == Partitions(DAY, date(2013, 6, 3))


def test_its_partition_comes_before_its_parameters() -> None:
    assert of("2013-06-01", "2012-01-01", "2012-01-02") == Partitions(DAY, DAY)


def test_its_parameters_are_a_range_or_either_end_alone() -> None:
    assert of(None, "2013-06-01", "2013-06-03") == Partitions(DAY, date(2013, 6, 3))
    assert of(None, "2013-06-01") == of(None, None, "2013-06-01") == Partitions(DAY, DAY)


def test_a_run_for_no_day_says_how_to_give_one() -> None:
    with pytest.raises(NoPartitionError, match=r"manual__1 of a_dag has no partition.*make backfill from="):
        of()
    with pytest.raises(NoPartitionError):
        of_run(context())
    assert issubclass(NoPartitionError, NeedsAttentionError), "no retry can mend it"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("2013-6-1", "YYYY-MM-DD"),
        ("20130601", "YYYY-MM-DD"),
        ("2013-W22-6", "YYYY-MM-DD"),
        ("2013-02-30", "2013-02-30"),
        ("2013-06-30..2013-06-01", "ends before it begins"),
        ("0213-06-01..2013-06-01", "is one of its years mistyped"),
        ("2213-06-01", "reaches into the future"),
        ("2013-06-01..9999-12-31", "is one of its years mistyped"),
    ],
)
def test_a_mistyped_key_is_for_a_person_and_no_retry(key: str, said: str) -> None:
    with pytest.raises(NeedsAttentionError, match=said):
        of(key)


def test_tomorrow_is_over_somewhere_before_it_is_here() -> None:
    today = datetime.now(UTC).date()
    assert of(str(today + timedelta(1))).last == today + timedelta(1)
    with pytest.raises(NeedsAttentionError, match="once its day is over"):
        of(str(today + timedelta(2)))
