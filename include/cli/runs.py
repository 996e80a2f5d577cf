"""Runs of Airflow that a person starts and watches: a backfill, a training, what is in quarantine once more.

What each needs is imported when it runs: a slip in an option is told before the seconds of XGBoost and Polars.
"""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from include.cli.console import console
from include.cli.options import day, flag, names, partition
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.core.partitions import Partitions, require_past
from include.core.settings import settings
from include.sources import source
from include.use_cases import use_case


@contextmanager
def watching(page: str) -> Iterator[None]:
    """Around what follows a run. Whoever looks away stops nothing, and is told where to."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"no longer watched; what was started goes on. To stop it: {page}") from None


def backfill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", type=day, required=True, help="first night, YYYY-MM-DD")
    parser.add_argument("--to", dest="last", type=day, required=True, help="last night, included")
    parser.add_argument("--source", default="flights", help="whose nights (flights)")
    flag(parser, "--nightly", "a run for each night, where by default there is one for each month of them")
    flag(parser, "--at-once", "one run for all of them, as a range, which is how history is loaded")


def backfill(given: argparse.Namespace) -> int:
    """0 where every run succeeded. Raises NocturneError where one failed or nothing was done."""
    from include.orchestration import backfill as backfilling
    from include.orchestration.airflow_client import Airflow
    from include.orchestration.backfill import Each

    nights, of = Partitions.parse(f"{given.first}..{given.last}"), source(given.source)
    require_past(nights)
    if given.nightly and given.at_once:
        raise BadRequestError("nightly=1 and at_once=1 are two ways to run the same nights: give one of them")
    each = Each.NIGHT if given.nightly else Each.ALL if given.at_once else Each.MONTH
    airflow, head = Airflow(settings()), f"lakehouse_ingest_{of.name}"
    with watching(f"{airflow.url}/dags/{head}"):
        runs = backfilling.run(airflow, of, nights, each)
    print(f"{len(runs)} runs, all well ({sum(run.dag_id == head for run in runs)} of them of {head})")
    return 0


def train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--partition", type=partition, required=True, help="the last day to learn from, YYYY-MM-DD")


def train(given: argparse.Namespace) -> int:
    """0 where a champion came of it. Raises NocturneError where the gates refused it or a run failed."""
    from include.orchestration import train as training
    from include.orchestration.airflow_client import Airflow

    case, airflow = use_case(given.use_case), Airflow(settings())
    with watching(f"{airflow.url}/dags/{case.name}_train"):
        print(training.run(airflow, case, given.partition))
    return 0


def rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--version", type=int, help="one that was champion before (the one that served last)")
    parser.add_argument("--since", type=day, help="event date from which on, scored days too (the first unscored one)")
    parser.add_argument("--why", default="", help="for the ledger")
    flag(parser, "--yes", "do it; else it is only said")


def rollback(given: argparse.Namespace) -> int:
    """0 where it is done, or said. Raises NothingToRollBackError, BadRequestError.

    Where a day to go back from was given, the days since are scored again, and what was measured of them.
    """
    from include.ml import rollback as going_back

    case = use_case(given.use_case)
    if not given.yes:
        print(f"{going_back.plan(case, given.version, given.since)}\nnothing was done; yes=1 why='…' does it")
        return 0
    if not given.why:
        raise BadRequestError("a rollback is written down with its reason: why='scores look wrong'")
    who = f"{getpass.getuser()} on the command line"
    found, new = going_back.carry_out(case, given.version, who, given.why, given.since)
    print(f"{found}{'' if new else ': it is champion already, nothing was written'}")
    return _refreshed(case, found.effective_from - timedelta(case.horizon_days), date.max) if given.since else 0


def rollout_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    flag(parser, "--stop", "take the version back that is rolled out")
    parser.add_argument("--why", default="", help="for the ledger")
    flag(parser, "--yes", "do it; else it is only said")


def rollout(given: argparse.Namespace) -> int:
    """0 where it is said, or done. Raises NothingToStopError, BadRequestError."""
    from include.ml import rollout as rolling
    from include.ml import rollouts

    case = use_case(given.use_case)
    if not given.stop:
        print(*rolling.told(case), sep="\n")
        return 0
    step = rolling.to_stop(case)
    if not given.yes:
        print(f"{rollouts.words(step)}, and would be rolled back for good\nnothing was done; yes=1 why='…' does it")
        return 0
    if not given.why:
        raise BadRequestError("a rollout is ended with a reason, for the ledger: why='scores look wrong'")
    print(rollouts.said(rolling.stop(case, f"{getpass.getuser()} on the command line", given.why)))
    return 0


def stale_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--from", dest="first", type=day, default=date.min, help="first night (all)")
    parser.add_argument("--to", dest="last", type=day, default=date.max, help="last night, included (all)")


def stale(given: argparse.Namespace) -> int:
    """0 where nothing is stale, 1 where something is, which is printed with why."""
    from include.governance import staleness
    from include.orchestration import refresh as refreshing

    found = staleness.find(use_case(given.use_case), given.first, given.last)
    print(*refreshing.told(found), sep="\n")
    return 1 if found else 0


def refresh_arguments(parser: argparse.ArgumentParser) -> None:
    stale_arguments(parser)
    flag(parser, "--yes", "do it; else it is only said")


def refresh(given: argparse.Namespace) -> int:
    """0 where nothing is stale afterwards, or it was only said, 1 where something is. Raises NocturneError."""
    from include.governance import staleness
    from include.orchestration import refresh as refreshing

    case = use_case(given.use_case)
    if given.yes:
        return _refreshed(case, given.first, given.last)
    found = staleness.find(case, given.first, given.last)
    print(*refreshing.told(found), *(["nothing was done; yes=1 makes these again"] if found else []), sep="\n")
    return 0


def _refreshed(case: UseCase, first: date, last: date) -> int:
    """Make again what is stale of the nights ``first`` to ``last``. 0 where nothing is stale afterwards."""
    from include.governance import staleness
    from include.orchestration import refresh as refreshing
    from include.orchestration.airflow_client import Airflow

    found = staleness.find(case, first, last)
    print(*refreshing.told(found), sep="\n")
    if not found:
        return 0
    airflow = Airflow(settings())
    with watching(f"{airflow.url}/dags"):
        runs, left = refreshing.run(airflow, case, first, last)
    print(f"{len(runs)} runs, all well", *refreshing.told(left), sep="\n")
    return 1 if left else 0


def promote_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--version", type=int, required=True, help="one that waits, or is older than the champion")
    parser.add_argument("--why", default="", help="for the ledger")
    flag(parser, "--yes", "do it, or ask those who have to approve it; else it is only said")


def promote(given: argparse.Namespace) -> int:
    """0 where it is done, asked for, or said. Raises NotToPromoteError, BadRequestError."""
    from include.ml import by_person
    from include.orchestration.airflow_client import Airflow

    case, who = use_case(given.use_case), f"{getpass.getuser()} on the command line"
    plan = by_person.plan(case, given.version)
    if not given.yes:
        print(f"{plan}\nnothing was done; yes=1 why='…' {'asks for that' if plan.approvals else 'does it'}")
        return 0
    if not given.why:
        raise BadRequestError("a promotion is written down with its reason: why='it was right all spring'")
    if plan.approvals:
        # Who gives a command is not proven here. In Airflow it is: there the persons answer.
        airflow, dag_id = Airflow(settings()), f"{case.name}_promote"
        airflow.start(dag_id, {"version": given.version, "why": f"{given.why} ({who})"})
        print(f"{plan}\nthey are asked here: {airflow.url}/dags/{dag_id}")
        return 0
    request = f"{who}, {datetime.now(UTC).isoformat()}"
    by_person.ask(case.name, request, given.version, who, given.why)
    by_person.carry_out(case.name, request)
    print(plan)
    return 0


def accept_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--partition", type=partition, required=True, help="the night that the gate has refused")
    parser.add_argument("--feature", type=names, required=True, help="which of its features, as a,b")
    parser.add_argument("--why", default="", help="for the ledger")
    flag(parser, "--yes", "do it; else it is only said")


def accept(given: argparse.Namespace) -> int:
    """0 where it is done, or said. Raises NothingRefusedError, BadRequestError."""
    from include.quality import acceptance

    case, nights = use_case(given.use_case), given.partition
    if not given.yes:
        for line in acceptance.plan(case, nights, given.feature):
            print(line.said)
        print("nothing was done; yes=1 why='…' lets it through, and makes it part of what later days are compared with")
        return 0
    if not given.why:
        raise BadRequestError("what is accepted is written down with its reason: why='the summer schedule begins'")
    done = acceptance.accept(case, nights, given.feature, f"{getpass.getuser()} on the command line", given.why)
    for line in done:
        print(f"accepted: {line.said}")
    print(f"clear the failed run of {case.name}_features for {nights} from its first task")
    return 0


def reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="its use case")
    parser.add_argument("--version", type=int, required=True)


def reproduce(given: argparse.Namespace) -> int:
    """0 where it is byte-equal, 1 where it is another one, and what differs. Raises NotOnRecordError."""
    from include.ml import reproduce as again

    found = again.reproduce(given.model, given.version)
    print(found)
    return 0 if found.equal else 1


def backtest_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)


def backtest(given: argparse.Namespace) -> int:
    """0 where the policy is accepted, 1 where it is not. Raises TooShortError."""
    from include.ml import backtest as again

    found = again.backtest(given.use_case)
    print(found)
    return 1 if found.problems else 0


def card_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--use-case", required=True)
    parser.add_argument("--version", type=int, default=None, help="which one; else the champion")
    flag(parser, "--json", "print it as the field `html` of JSON, and write no file")


def card(given: argparse.Namespace) -> int:
    """0 where the card of a version is written to var/report. Raises NoChampionError, NotOnRecordError and the like."""
    import json

    from include.ml import card as cards
    from include.ml import ledger, reproduce

    case = use_case(given.use_case)
    version = given.version
    if version is None:
        champion = ledger.latest_champion(case)
        if champion is None:
            raise BadRequestError(f"{case.name} has no champion: say which version, as version=1")
        version = champion.model_version
    html = cards.today(reproduce.spec_then(case.name, version), version)
    if given.json:
        print(json.dumps({"html": html}))
        return 0
    path = settings().report / cards.file_name(case, version)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html)
    print(path)
    return 0


def reprocess_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default="flights", help="whose quarantine (flights)")
    parser.add_argument("--from", dest="first", type=day, default=date.min, help="first night")
    parser.add_argument("--to", dest="last", type=day, default=date.max, help="last night, included")
    flag(parser, "--dry-run", "only show what is there, and what would become of it")


def reprocess(given: argparse.Namespace) -> int:
    """0 when the quarantine was looked at, or every night of it has been ingested again. Raises NocturneError."""
    from include.orchestration import reprocess as reprocessing

    of = source(given.source)
    before = reprocessing.quarantined(of, given.first, given.last)
    if before.is_empty():
        console.print("nothing is in quarantine")
        return 0
    nights, title = sorted(before["ingestion_date"].unique()), f"{before.height} rows in quarantine"
    if given.dry_run:
        found = reprocessing.foreseen(of, before)
        console.print(reprocessing.shown(found.counts, title))
        console.print(f"{found}. Without dry_run, these nights would be ingested again: {', '.join(map(str, nights))}")
        console.print(f"Rows, samples and a button: {settings().airflow_link}/nocturne/quarantine")
        return 0
    console.print(reprocessing.shown(reprocessing.counted(of, before), title))
    with watching(f"{settings().airflow_link}/dags/lakehouse_ingest_{of.name}"):
        reprocessing.ingest_again(of, nights)
    console.print(reprocessing.outcome(before.height, of, Partitions(given.first, given.last)))
    return 0
