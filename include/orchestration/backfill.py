"""Days of a source in Airflow, followed through to all that depends on them.

A run a day, as an Airflow backfill of the source's head DAG; or all of them as one range, as history is loaded.
"""

from __future__ import annotations

import sys

from include.contracts.source import Source
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.orchestration.airflow_client import Airflow, AirflowError, Run
from include.use_cases import use_cases

SHORTLY = 30.0  # seconds in which Airflow finds a new file


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


def run(airflow: Airflow, source: Source, nights: Partitions, *, at_once: bool) -> list[Run]:
    """Run ``nights``, each by itself or all ``at_once``, and wait for all that follows. Returns every run.

    Raises RunFailedError where one failed, AirflowError where Airflow refuses, NothingDoneError where nothing landed.
    """
    head = f"lakehouse_ingest_{source.name}"
    airflow.wait_for_dags({head, f"lakehouse_transform_{source.name}"})
    wait_for_use_cases(airflow, source.name)
    print(f"{head}: {len(nights.days)} nights, {nights}; watch it at {airflow.url}/dags/{head}")
    runs = airflow.follow([airflow.trigger(head, nights)] if at_once else airflow.backfill(head, nights))
    if all(run.dag_id == head for run in runs):
        raise NothingDoneError(
            f"nothing was done: for none of the {len(nights.days)} nights had a file of {source.name} landed in "
            f"{settings().landing_uri or settings().landing}/{source.name}. Is it the right source?"
        )
    return runs
