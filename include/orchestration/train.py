"""``make train``: a training in Airflow, followed to the decision of the gates.

The first champion of a use case comes from here; later ones are asked for by the policy, or from here again.
"""

from __future__ import annotations

import argparse
import sys

import httpx

from include.core.partitions import BadPartitionError, Partitions, require_past
from include.core.settings import settings
from include.ml import ledger, promotion
from include.orchestration.airflow_client import Airflow
from include.use_cases import use_case, use_cases


def main() -> int:
    """Exit code 0 where a champion came of it, 1 where the gates refused it or a run failed, 2 for a request without
    sense, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="make train", description=__doc__)
    parser.add_argument("--use-case", required=True, choices=list(use_cases()))
    parser.add_argument("--partition", required=True, help="the last day to learn from, YYYY-MM-DD")
    arguments = parser.parse_args()
    try:
        through = Partitions.parse(arguments.partition)
        require_past(through)
    except BadPartitionError as error:
        parser.error(str(error))
    airflow, dag_id = Airflow(settings()), f"{arguments.use_case}_train"
    try:
        airflow.wait_for_dags({dag_id})
        if dag_id in airflow.paused():
            print(f"{dag_id} is paused: take that off first, at {airflow.url}/dags/{dag_id}", file=sys.stderr)
            return 1
        run = airflow.trigger(dag_id, through)
        print(f"{dag_id} {through}; watch it at {airflow.url}/dags/{dag_id}")
        airflow.follow([run])
        version = int(airflow.result(run, "train")["version"])
    except (RuntimeError, httpx.HTTPError) as error:  # a failed run, Airflow's refusal, or no answer of it
        print(str(error) or repr(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nno longer watched; the training goes on: {airflow.url}/dags/{dag_id}", file=sys.stderr)
        return 130
    case = use_case(arguments.use_case)
    for row in ledger.read(case):
        if row.model_version == version:
            print(f"version {version} is champion from {row.effective_from} on: {row.reason}")
            return 0
    print(f"version {version} was refused: {'; '.join(promotion.refusals(case, version))}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
