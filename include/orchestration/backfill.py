"""``make backfill``: days of a source in Airflow, followed through to all that depends on them.

A run a day, as an Airflow backfill of the source's head DAG; or all of them as one range, as history is loaded.
"""

from __future__ import annotations

import argparse
import sys

import httpx

from include.core.partitions import BadPartitionError, Partitions, require_past
from include.core.settings import settings
from include.orchestration.airflow_client import Airflow
from include.sources import sources
from include.use_cases import use_cases

SHORTLY = 30.0  # seconds in which Airflow finds a new file


def wait_for_use_cases(airflow: Airflow, source: str) -> None:
    """Let Airflow find the DAGs of the use cases on ``source``: what it does not know yet would miss these days.

    One that is broken stops nobody else. It is told of.
    """
    for case in use_cases().values():
        if case.enabled and source in case.sources:
            try:
                airflow.wait_for_dags(set(case.dag_ids), SHORTLY)
            except RuntimeError as unknown:
                print(f"{case.name} is left out, these days will not reach it: {unknown}", file=sys.stderr)


def main() -> int:
    """Exit code 0 where every run succeeded, 1 where one failed or nothing was done, 2 for a request without sense, 130
    after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="make backfill", description=__doc__)
    parser.add_argument("--from", dest="first", required=True, help="first night, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", required=True, help="last night, included")
    parser.add_argument("--source", default="flights", choices=list(sources()))
    parser.add_argument("--at-once", action="store_true", help="one run for all of them, as a range")
    arguments = parser.parse_args()
    try:
        nights = Partitions.parse(f"{arguments.first}..{arguments.last}")
        require_past(nights)
    except BadPartitionError as error:
        parser.error(str(error))
    airflow = Airflow(settings())
    head = f"lakehouse_ingest_{arguments.source}"
    try:
        airflow.wait_for_dags({head, f"lakehouse_transform_{arguments.source}"})
        wait_for_use_cases(airflow, arguments.source)
        print(f"{head}: {len(nights.days)} nights, {nights}; watch it at {airflow.url}/dags/{head}")
        heads = [airflow.trigger(head, nights)] if arguments.at_once else airflow.backfill(head, nights)
        runs = airflow.follow(heads)
    except (RuntimeError, httpx.HTTPError) as error:  # a failed run, Airflow's refusal, or no answer of it
        print(str(error) or repr(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nno longer watched; what was started goes on. To stop it: {airflow.url}/dags/{head}", file=sys.stderr)
        return 130
    if not (done := [run for run in runs if run.dag_id != head]):
        print(
            f"nothing was done: for none of the {len(nights.days)} nights had a file of {arguments.source} landed in "
            f"{settings().landing_uri or settings().landing}/{arguments.source}. Is it the right source?",
            file=sys.stderr,
        )
        return 1
    print(f"{len(runs)} runs, all well ({len(runs) - len(done)} of them of {head})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
