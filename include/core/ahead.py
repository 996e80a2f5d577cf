"""Work that is some steps ahead of whoever takes its results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


def ahead[Result](jobs: Iterable[Callable[[], Result]], threads: int = 1) -> Iterator[Result]:
    """What the ``jobs`` give, in their order: while one result is looked at, the next ``threads`` are worked on.

    No more than these are in memory. What a job raises is raised where its result would come.
    """
    coming: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as workers:
        for job in jobs:
            coming.append(workers.submit(job))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
