"""``rows in = published + quarantined + deduplicated`` holds exactly, or nothing is published."""

from hypothesis import assume, given
from hypothesis import strategies as st

from include.contracts.source import Column, Feed
from include.ingestion.completeness import complete

FEED = Feed("trips", "trips", (Column("a", "int", "a"),), key=("a",), max_quarantined_share=0.05)
numbers = st.integers(0, 10**6)


def counts(rows: int, published: int, quarantined: int, deduplicated: int) -> dict[str, str | int]:
    return {
        "ingestion_date": "2020-06-01",
        "feed": "trips",
        "partition_day": "2020-06-01",
        "rows_in": rows,
        "published": published,
        "quarantined": quarantined,
        "deduplicated": deduplicated,
    }


@given(st.integers(1, 10**6), numbers)
def test_what_adds_up_is_complete(published: int, deduplicated: int) -> None:
    assert complete(FEED, counts(published + deduplicated, published, 0, deduplicated)) == []


@given(numbers, numbers, numbers)
def test_one_row_too_many_or_too_few_is_said(published: int, deduplicated: int, rows: int) -> None:
    assume(rows != published + deduplicated)
    (problem,) = complete(FEED, counts(rows, published, 0, deduplicated))
    assert problem.startswith(
        f"trips 2020-06-01: the file has {rows} rows and {published + deduplicated} are accounted"
    )


def test_quarantine_up_to_its_limit_is_fine() -> None:
    assert complete(FEED, counts(100, 95, 5, 0)) == []


def test_more_than_that_is_not() -> None:
    (problem,) = complete(FEED, counts(100, 94, 6, 0))
    assert problem.startswith("trips 2020-06-01: 6 of 100 rows break the contract, more than the 5% allowed")


def test_both_are_said_together() -> None:
    assert len(complete(FEED, counts(100, 10, 10, 0))) == 2


def test_a_file_of_nothing_but_copies_is_another_days() -> None:
    (problem,) = complete(FEED, counts(100, 0, 0, 100))
    assert problem == "trips 2020-06-01: all 100 rows are copies of others; is it another day's file?"


def test_an_empty_file_is_complete() -> None:
    assert complete(FEED, counts(0, 0, 0, 0)) == []
