"""Days of a source in Airflow, followed through to all that depends on them.

A range for each month of them, one after the other; or a run a day, as an Airflow backfill of the source's head DAG; or
all of them as one range, as history is loaded. What is published is the same (docs/decisions/night-as-partition.md):
a night's fixed seconds are what a range saves.
"""

from __future__ import annotations

import sys
from enum import Enum
from itertools import groupby

from include.contracts.source import Source
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.orchestration.airflow_client import Airflow, AirflowError, NotStartedError, Run, RunFailedError
from include.use_cases import use_cases

SHORTLY = 30.0  # seconds in which Airflow finds a new file


class Each(Enum):
    """What gets a run of its own."""

    NIGHT = "night"
    MONTH = "month"
    ALL = "all"


class NothingDoneError(NeedsAttentionError):
    """No file of the nights has landed, so that each was skipped."""


def wait_for_use_cases(airflow: Airflow, source: str) -> None:
    """Let Airflow find the DAGs of the use cases on ``source``: what it does not know yet would miss these days.

    One that is broken stops nobody else. It is told of.
    """
    for case in use_cases().values():
        if case.enabled and source in case.sources:
            try:
                airflow.wait_for_dags(set(case.dag_ids), SHORTLY)
            except AirflowError as unknown:
                print(f"{case.name} is left out, these days will not reach it: {unknown}", file=sys.stderr)


def months(nights: Partitions) -> list[Partitions]:
    """``nights``, in order, as a range for each month that they touch."""
    of_month = (list(days) for _, days in groupby(nights.days, key=lambda day: (day.year, day.month)))
    return [Partitions(days[0], days[-1]) for days in of_month]


def run(airflow: Airflow, source: Source, nights: Partitions, each: Each = Each.MONTH) -> list[Run]:
    """Run ``nights``, with a run for ``each``, and wait for all that follows. Returns every run.

    Raises RunFailedError where one failed, AirflowError where Airflow refuses, NothingDoneError where nothing landed.
    """
    head = f"lakehouse_ingest_{source.name}"
    airflow.wait_for_dags({head, f"lakehouse_transform_{source.name}"})
    wait_for_use_cases(airflow, source.name)
    print(f"{head}: {len(nights.days)} nights, {nights}; watch it at {airflow.url}/dags/{head}")
    if each is Each.NIGHT:
        runs = airflow.follow(airflow.backfill(head, nights))
    else:
        parts = [nights] if each is Each.ALL else months(nights)
        runs = [run for part in parts for run in _range(airflow, head, part, by_night_then=each is Each.MONTH)]
    if all(run.dag_id == head for run in runs):
        raise NothingDoneError(
            f"nothing was done: for none of the {len(nights.days)} nights had a file of {source.name} landed in "
            f"{settings().landing_uri or settings().landing}/{source.name}. Is it the right source?"
        )
    return runs


def _range(airflow: Airflow, head: str, nights: Partitions, *, by_night_then: bool) -> list[Run]:
    """``nights`` as one run, followed to its end, also through a training that it asks for.

    So the next range is scored by whom this one made champion. Where it fails, and ``by_night_then``, its nights are
    run by themselves: what is sound comes through, and the night that has to be mended is named.
    """
    try:
        return airflow.follow([airflow.trigger(head, nights)])
    except NotStartedError:
        raise
    except RunFailedError as failed:
        if not by_night_then or nights.first == nights.last:
            raise
        print(f"{failed}\n{nights} failed as a range: its nights are run one by one", file=sys.stderr)
        return airflow.follow(airflow.backfill(head, nights))
