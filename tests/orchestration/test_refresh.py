"""Which runs a refresh starts, and how it tells what is stale. What comes of it: tests/governance/test_staleness.py."""

from datetime import date, timedelta

from include.governance.staleness import Stage, Stale
from include.orchestration import refresh


def stale(stage: Stage, *days: date) -> list[Stale]:
    return [Stale(stage, day, ("its features have revision 2 since 2026-01-01 03:00",)) for day in days]


def test_nights_that_follow_each_other_are_one_run_and_a_month_at_most() -> None:
    june = [date(2013, 6, 29) + timedelta(n) for n in range(4)]
    found = [*stale("features", date(2013, 6, 1)), *stale("predict", date(2013, 6, 1), *june)]
    assert refresh.conf(found, "predict") == [
        {"from": "2013-06-01", "to": "2013-06-01"},
        {"from": "2013-06-29", "to": "2013-06-30"},
        {"from": "2013-07-01", "to": "2013-07-02"},
    ]
    assert refresh.conf(found, "monitor") == []


def test_of_much_that_is_stale_the_first_is_shown_and_the_number_of_the_rest() -> None:
    days = [date(2013, 6, 1) + timedelta(n) for n in range(25)]
    lines = refresh.told([*stale("predict", *days), *stale("monitor", days[0])])
    assert lines[0] == "predict: 25 partitions, 2013-06-01 to 2013-06-25"
    assert lines[1] == "  2013-06-01  its features have revision 2 since 2026-01-01 03:00"
    assert lines[21:23] == ["  and 5 more", "monitor: 1 partitions, 2013-06-01 to 2013-06-01"]


def test_of_many_reasons_the_first_are_said() -> None:
    assert Stale("monitor", date(2013, 6, 1), tuple("abcde")).reasons == "a; b; c; and 2 more"
