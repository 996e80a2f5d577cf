"""What is stale is made again (``make refresh``): features, then predictions, then measurements, and nothing else.

Whoever starts it here or through the DAG ``<case>_refresh``, partitions pass the DAGs of their stages, as in a night.
Before each stage it is looked at what is stale by then: what the stage before has built again may have come out as it
was. What lands or is decided meanwhile is stale afterwards, and is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby

from include.contracts.use_case import UseCase
from include.core.partitions import Partitions, ranges
from include.governance import staleness
from include.governance.staleness import Stale
from include.orchestration import backfill
from include.orchestration.airflow_client import Airflow, Run

SHOWN = 20
"""So many stale partitions are shown one by one."""


def parts(found: Sequence[Stale], stage: str) -> list[Partitions]:
    """The nights that have to pass ``stage`` again, as ranges of days that follow each other, of a month at most."""
    nights = ranges(one.night for one in found if one.stage == stage)
    return [month for part in nights for month in backfill.months(part)]


def run(
    airflow: Airflow, case: UseCase, first: date, last: date, say: Callable[[str], None] = print
) -> tuple[list[Run], list[Stale]]:
    """Have what is stale from the night ``first`` to ``last`` made again, and wait for all that follows from it.

    Returns every run, and what is stale now: what was published meanwhile has made it so. Raises RunFailedError as
    soon as one fails; what was made by then stands, and a second refresh goes on from there.
    """
    runs: list[Run] = []
    for stage in staleness.STAGES:
        for nights in parts(staleness.find(case, first, last), stage):
            say(f"{stage} {nights}")
            runs += airflow.follow([airflow.trigger(f"{case.name}_{stage}", nights)], say)
    return runs, staleness.find(case, first, last)


def told(found: Sequence[Stale]) -> list[str]:
    """What is stale in words: how much of each stage, and the first partitions with the reasons of each."""
    if not found:
        return ["nothing is stale"]
    lines = []
    for stage, its in groupby(found, key=lambda one: one.stage):
        some = list(its)
        lines.append(f"{stage}: {len(some)} partitions, {some[0].night} to {some[-1].night}")
        lines += [f"  {one.night}  {one.reasons}" for one in some[:SHOWN]]
        if len(some) > SHOWN:
            lines.append(f"  and {len(some) - SHOWN} more")
    return lines


def conf(found: Sequence[Stale], stage: str) -> list[dict[str, str]]:
    """The parameters of the runs that make again what is stale of ``stage``: a range each."""
    return [{"from": str(part.first), "to": str(part.last)} for part in parts(found, stage)]
