"""A month of real flights comes to the same tables in whatever order its nights are ingested."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import ingest, landing
from include.lake import delta, usage
from include.sources import source
from tests.conftest import installed

pytestmark = pytest.mark.full

MONTH = Partitions.parse("2013-01-01..2013-01-31")
NIGHTS = [Partitions(night, night) for night in MONTH.days]
Contents = dict[str, str]


def run(nights: Partitions) -> None:
    flights = source("flights")
    plan = landing.plan(flights, nights)
    candidates = ingest.load(flights, nights, plan)
    audited = ingest.audit(flights, nights, plan, candidates)
    ingest.publish_all(flights, nights, plan, candidates, audited)
    ingest.discard(candidates, audited)


def one_by_one(nights: list[Partitions]) -> None:
    for night in nights:
        run(night)


def in_parallel(nights: list[Partitions]) -> None:
    """The first one alone: it makes the tables, as the first night of an installation does."""
    run(nights[0])
    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(run, nights[1:]))


ORDERS: dict[str, Callable[[], None]] = {
    "forwards": lambda: one_by_one(NIGHTS),
    "backwards": lambda: one_by_one(NIGHTS[::-1]),
    "twice, in two random orders": lambda: one_by_one(
        [*random.Random(1).sample(NIGHTS, len(NIGHTS)), *random.Random(2).sample(NIGHTS, len(NIGHTS))]
    ),
    "in parallel": lambda: in_parallel(random.Random(3).sample(NIGHTS, len(NIGHTS))),
}


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The month's files, of all lakes of this module together."""
    folder = tmp_path_factory.mktemp("landing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_LANDING_URI", str(folder))
        settings.cache_clear()
        replay(settings().landing, MONTH, with_dimensions=True)
        yield folder


@pytest.fixture(scope="module")
def ingested(landed: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[], None]], Contents]:
    """What is in bronze after nights were ingested into an empty lake. When and in which run is no content."""

    def contents(order: Callable[[], None]) -> Contents:
        with installed(tmp_path_factory.mktemp("var")):
            order()
            return {
                table: delta.content_hash(delta.read_all(*table.split(".")).drop("arrived_at", "run", strict=False))
                for table in usage.tables()
                if table.startswith("bronze.")
            }

    return contents


@pytest.fixture(scope="module")
def as_one_range(ingested: Callable[[Callable[[], None]], Contents]) -> Contents:
    return ingested(lambda: run(MONTH))


@pytest.mark.parametrize("order", ORDERS)
def test_a_month_is_the_same(
    order: str, ingested: Callable[[Callable[[], None]], Contents], as_one_range: Contents
) -> None:
    assert len(as_one_range) > 6
    assert ingested(ORDERS[order]) == as_one_range
