"""Features know what was known, and no more: dbt's tables beside an oracle that works each row out by other means.

And the proof that this would be noticed: leaks are planted one by one, and each must be seen. `make test` plants a few,
`make test-full` all of them; docs/leaks.md is the table of what sees what.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.core.settings import HOME
from tests.use_cases.flight_delays import world as worlds
from tests.use_cases.flight_delays.bugs import BUGS, Bug
from tests.use_cases.flight_delays.lake import GOLD, Lake, features_unlike, labels_unlike, landed, nights_of
from tests.use_cases.flight_delays.oracle import Oracle
from tests.use_cases.flight_delays.world import World

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PAGE = HOME / "docs" / "leaks.md"
# Planted in `make test`: the day itself, what arrives later, the label. The others in `make test-full`.
SAMPLE = (0, 2, 8)


@pytest.fixture(scope="module")
def small() -> World:
    """Two months with a change of the clocks among the days that are compared."""
    return worlds.make(date(2013, 2, 1), days=60, flights=24)


@pytest.fixture(scope="module")
def built(spark: SparkSession, small: World, module_home: Path) -> Iterator[Lake]:
    with landed(spark, small, module_home) as lake_of_small:
        yield lake_of_small


def test_the_world_has_what_the_oracle_is_asked_about(small: World) -> None:
    """Every way to be wrong has rows that would show it."""
    lateness = {(row["ingestion_date"] - row["flight_date"]).days for row in small.actuals}
    assert lateness >= {0, 1, 2, 6, 7, 8, 27, 28, 29}
    assert {row["sched_dep_time"] for row in small.schedule} >= {0, 2359, 2400}
    assert any(row["ingestion_date"] >= row["flight_date"] for row in small.schedule)
    assert any(row["aircraft"] is None for row in small.schedule)
    hours = dict.fromkeys(small.days, 0)
    for row in small.weather:
        hours[row["weather_date"]] += row["origin"] == "JFK"
    assert set(hours.values()) == {0, 23, 24}
    flown = {row["flight_date"] for row in small.actuals}
    assert any(day not in flown for day in small.days)
    compared = nights_of(small)
    registers = {row["partition_day"] for row in small.planes}
    assert len(registers & set(compared.days)) >= 2
    assert compared.first < date(2013, 3, 10) < compared.last


def test_features_are_those_of_the_oracle(built: Lake) -> None:
    nights = nights_of(built.world)
    failed, _ = built.build(GOLD, nights)
    assert failed == []
    assert features_unlike(Oracle(built.world), nights) == []
    assert labels_unlike(built.world, nights) == []


def seen_by(lake: Lake, bug: Bug) -> tuple[list[str], list[str]]:
    """The dbt tests that ``bug`` fails, and in what the result differs from the oracle's. The project is left whole."""
    world, nights = lake.world, nights_of(lake.world)
    before = bug.plant(lake.project)
    failed: list[str] = []
    try:
        if bug.silver:
            failed, candidates = lake.build_silver()
            lake.publish(candidates)
        failed += lake.build(GOLD, nights)[0]
        return failed, features_unlike(Oracle(world), nights) + labels_unlike(world, nights)
    finally:
        for path, text in before.items():
            path.write_text(text)
        if bug.silver:
            lake.publish(lake.build_silver()[1])


@pytest.fixture(scope="module")
def seen() -> dict[str, str]:
    """What saw each planted leak, as a line of the page."""
    return {}


@pytest.mark.parametrize(
    "bug",
    [pytest.param(one, id=one.name, marks=[] if n in SAMPLE else [pytest.mark.full]) for n, one in enumerate(BUGS)],
)
def test_a_planted_leak_is_seen(built: Lake, bug: Bug, seen: dict[str, str]) -> None:
    failed, unlike = seen_by(built, bug)
    assert unlike, f"nobody would notice: {bug.name}"
    flights = {one.split(": ")[0] for one in unlike}
    columns = sorted({one.split(": ")[1].split(" is ")[0] for one in unlike})
    shown = ", ".join(columns[:3]) + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
    seen[bug.name] = f"| {bug.name} | {', '.join(failed) or '-'} | {len(flights)} rows: {shown} |"


def page(seen: dict[str, str]) -> str:
    lines = [
        "# Planted leaks, and what sees them",
        "",
        "Made by `tests/use_cases/flight_delays/test_leaks.py`: each of these mistakes is made in a copy of the dbt",
        "project, which then builds a month on Spark. The tests are dbt's own, which every night runs before it",
        "publishes. The oracle works each row out again from what has landed, by other means than SQL, and sees all;",
        "rows are those of the month that differ from it.",
        "",
        "| the mistake | dbt's tests | the oracle |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(seen[bug.name] for bug in BUGS)]) + "\n"


@pytest.mark.full
def test_the_page_says_what_sees_each_leak(seen: dict[str, str], home: Path) -> None:
    assert len(seen) == len(BUGS), "run the whole module: the page is of all planted leaks"
    made = home / PAGE.name
    made.write_text(page(seen))
    assert PAGE.exists(), f"cp {made} {PAGE}"
    assert made.read_text() == PAGE.read_text(), f"if that was meant: cp {made} {PAGE}"
