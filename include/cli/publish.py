"""Predictions to the targets that a use case has for them: what is to be sent, and sending it.

What it needs is imported when it runs: a slip in an option is told before the seconds of Polars.
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta

from include.cli.options import day, flag
from include.cli.runs import watching
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.core.settings import settings
from include.use_cases import use_case


def publish_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--from", dest="first", type=day, default=date.min, help="first night (all)")
    parser.add_argument("--to", dest="last", type=day, default=date.max, help="last night, included (all)")
    parser.add_argument("--target", default="", help="this one of its targets; else each")
    flag(parser, "--yes", "do it; else it is only said")


def publish(given: argparse.Namespace) -> int:
    """0 where every target has what it should, or it was only said. Raises BadRequestError, RunFailedError."""
    from include.serving import publishing

    case = use_case(given.use_case)
    if not case.publish:
        raise BadRequestError(
            f"{case.name} has no targets: name some as `publish` in include/use_cases/{case.name}/spec.py "
            "(docs/publish-predictions.md)"
        )
    if given.last < given.first:
        raise BadRequestError(f"the range ends before it begins: {given.first} to {given.last}")
    targets = [publishing.target_of(case, given.target)] if given.target else case.publish
    first, last = publishing.days_of_nights(case, given.first, given.last)
    todo: set[date] = set()
    for target in targets:
        found = publishing.foresee(case, target, first, last)
        todo |= {each for each, outcome in found if outcome.verb != "same"}
        print(f"{target.name}:", *publishing.told(found), sep="\n")
    if not todo:
        return 0
    if not given.yes:
        print("nothing was sent; yes=1 sends it")
        return 0
    return _sent(case, min(todo), max(todo), given.target)


def _sent(case: UseCase, first: date, last: date, target: str) -> int:
    """Have the DAG, which knows Airflow's connections, publish the event dates ``first`` to ``last``; wait for it."""
    from include.orchestration.airflow_client import Airflow

    airflow, dag_id, nights = Airflow(settings()), f"{case.name}_publish", timedelta(case.horizon_days)
    conf = {"from": str(first - nights), "to": str(last - nights)} | ({"target": target} if target else {})
    with watching(f"{airflow.url}/dags/{dag_id}"):
        runs = airflow.follow([airflow.start(dag_id, conf)])
    print(f"{len(runs)} runs, all well")
    return 0
