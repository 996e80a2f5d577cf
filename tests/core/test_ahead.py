"""Work that is some steps ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from threading import Event

import pytest

from include.core.ahead import ahead


def test_results_come_in_order_and_no_job_means_none() -> None:
    assert list(ahead(partial(int, number) for number in "312")) == [3, 1, 2]
    assert list(ahead(iter(()))) == []


def test_one_job_is_ahead_and_no_more() -> None:
    begun: list[int] = []
    second = Event()

    def jobs() -> Iterator[Callable[[], int]]:
        for number in range(4):

            def job(number: int = number) -> int:
                begun.append(number)
                if number == 1:
                    second.set()
                return number

            yield job

    results = ahead(jobs())
    assert next(results) == 0
    assert second.wait(10)
    assert begun == [0, 1]
    assert list(results) == [1, 2, 3]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_several_at_a_time_come_in_order_too(threads: int) -> None:
    assert list(ahead((partial(int, str(number)) for number in range(9)), threads)) == list(range(9))


def test_an_error_comes_where_the_result_would() -> None:
    results = ahead([partial(int, "1"), partial(int, "none"), partial(int, "3")])
    assert next(results) == 1
    with pytest.raises(ValueError, match="none"):
        next(results)


def test_who_stops_early_leaves_nothing_running() -> None:
    ended = Event()
    results = ahead([partial(int, "1"), ended.set, partial(int, "3")])
    next(results)
    results.close()
    assert ended.is_set()
