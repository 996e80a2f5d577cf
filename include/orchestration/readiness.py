"""Nights may run in any order and side by side; a stage that looks back waits here for the nights before its own.

What has landed decides: a night whose files are there and that is not through yet is waited for, as long as a run is
on its way with it. So the result of a night does not depend on when the others ran. Where none is, since its run has
failed or nobody ever started one, waiting would bring nothing: the message names the night to mend. A look-back that
lacks a night of which nothing has landed is refused: features on half a history would look like any others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from include.contracts.use_case import LOOK_BACK_NIGHTS, UseCase
from include.core.errors import NeedsAttentionError, StoppedError
from include.core.partitions import BadPartitionError, Partitions, ranges
from include.core.settings import settings
from include.governance.lineage import NotBuiltError, manifest_of
from include.ingestion.landing import has_begun
from include.lake import publications, usage
from include.ml import ledger
from include.orchestration.airflow_client import FINISHED, PATIENCE, Airflow, Run, few
from include.sources import source
from include.use_cases import use_case

# Of each silver table that features look back on: the first and the last day, counted from a row's own.
LookBack = Mapping[str, tuple[int, int]]


class HistoryMissingError(NeedsAttentionError):
    """A stage looks back on nights that have never landed; the message lists them and says what to do."""


def landed_nights(source_name: str, nights: Partitions) -> list[date]:
    """The nights of which at least one nightly file is in landing."""
    this = source(source_name)
    # A feed that leads lands a day's file in the night before; only one that does not tells the night itself.
    own = [feed for feed in this.nightly if feed.lead_days == 0]
    return [night for night in nights.days if any(has_begun(this, feed, night) for feed in own)]


def landed_nights_of(case: UseCase, nights: Partitions) -> list[date]:
    """The nights that can come through to ``case``: each of its sources has landed or is closed, and one has landed."""
    landed = {name: set(landed_nights(name, nights)) for name in case.sources}
    return [
        night
        for night in nights.days
        if any(night in there for there in landed.values())
        and all(night in there or not source(name).expects_files(night) for name, there in landed.items())
    ]


def owner_of(table: str, case: UseCase) -> str:
    """The source that a silver table is of: the folder of its model. One that no folder has is of the first source."""
    core = settings().home / "dbt_project" / "models" / "marts" / "core"
    return next((name for name in case.sources if (core / name / f"{table}.sql").exists()), case.sources[0])


def silver_nights(source_name: str, nights: Partitions) -> set[date]:
    """Those of ``nights`` that have been published as silver: a build publishes all its tables at once, or none."""
    try:
        nodes = manifest_of(f"lakehouse_transform_{source_name}")["nodes"].values()
    except NotBuiltError:
        return set()
    found: set[date] = set()
    for node in nodes:
        meta = node["config"].get("meta", {})
        if node["fqn"][1:-1] == ["marts", "core", source_name] and "day" in meta and not meta.get("whole"):
            lead = timedelta(meta.get("lead_days", 0))
            known = publications.known(f"{node['schema']}.{node['alias']}", [night + lead for night in nights.days])
            found |= {day - lead for day in known}
    return found


def complete(case: UseCase, nights: Partitions) -> list[Partitions]:
    """The parts of ``nights`` for which all sources of ``case`` are silver, or closed."""
    there = set(nights.days)
    for name in case.sources:
        owed = {night for night in nights.days if source(name).expects_files(night)}
        there -= owed - silver_nights(name, nights)
    return ranges(sorted(there))


def awaited_by_features(
    use_case_name: str, nights: Partitions, draws_on: LookBack, source_name: str = ""
) -> list[date]:
    """The nights of the look-back on a source, by default the first one, that have landed and are not silver yet.

    It reaches back as ``draws_on`` says for each silver table, and not before the source's first day. Raises
    HistoryMissingError where nothing has landed for one of its nights, unless the source was closed on it.
    """
    case = use_case(use_case_name)
    this = source(source_name or case.sources[0])
    draws_on = {table: days for table, days in draws_on.items() if owner_of(table, case) == this.name}
    ahead = nights.shift(case.horizon_days)
    wanted: set[date] = set()
    for table, (first, last) in draws_on.items():
        back = Partitions(ahead.first + timedelta(first), ahead.last + timedelta(last))
        wanted |= set(back.days) - publications.known(f"silver.{table}", back.days)
    needed = sorted(night for night in wanted if night >= this.first_day and this.is_open(night))
    landed = landed_nights(this.name, Partitions(needed[0], needed[-1])) if needed else []
    if missing := [night for night in needed if night not in landed]:
        shown = ", ".join(map(str, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        back_days = min(-min(first for first, _ in draws_on.values()), (ahead.first - this.first_day).days)
        raise HistoryMissingError(
            f"{use_case_name} {nights} looks back on {back_days} days, and of "
            f"{len(missing)} nights nothing has landed: {shown}. Bring their files to "
            f"{settings().landing_uri or settings().landing}/{this.name} and run "
            f"`make backfill from={missing[0]} to={missing[-1]} source={this.name}`; or list days that the upstream "
            f"never had as `gaps` in include/sources/{this.name}/spec.py."
        )
    return needed


def awaited_by_monitor(use_case_name: str, nights: Partitions) -> list[date]:
    """The nights whose evidence counts that have landed and lack their labels, or the predictions a champion owes."""
    case = use_case(use_case_name)
    back = Partitions(nights.first - timedelta(LOOK_BACK_NIGHTS), nights.last)
    labelled = publications.known(f"gold.{case.labels_table}", [night - case.matures for night in back.days])
    ahead = back.shift(case.horizon_days).days
    scored = usage.days_of(f"gold.{case.predictions_table}")
    empty = publications.known(f"gold.{case.features_table}", ahead) - usage.days_of(f"gold.{case.features_table}")
    champions = ledger.read(case)

    def through(night: date) -> bool:
        ahead = night + timedelta(case.horizon_days)
        return night - case.matures in labelled and (ahead in scored | empty or ledger.pick(champions, ahead) is None)

    return [night for night in landed_nights_of(case, back) if not through(night)]


def before_features(source_name: str) -> tuple[str, ...]:
    """The DAGs that a night of a source has to pass before features can look back on it."""
    return f"lakehouse_ingest_{source_name}", f"lakehouse_transform_{source_name}"


def before_monitor(use_case_name: str) -> tuple[str, ...]:
    """The DAGs that a night has to pass before the monitor can measure it."""
    of_sources = (dag_id for name in use_case(use_case_name).sources for dag_id in before_features(name))
    return *of_sources, f"{use_case_name}_features", f"{use_case_name}_predict"


@dataclass(frozen=True)
class Standing:
    """How nights that are not through stand: ``stopped`` those that nothing brings any further, with their last run."""

    on_their_way: list[date]
    stopped: dict[date, Run | None]


def standing(nights: Iterable[date], runs: Iterable[Run], now: float) -> Standing:
    """How each of ``nights`` stands, by the ``runs`` of the DAGs that it has to pass. ``now`` is in seconds (epoch).

    A night is on its way while a run with it is queued or under way, and for a little while after one has succeeded:
    the next stage's run is made then. A night without any run, or whose last one to end has failed, is stopped.
    """
    of_night: dict[date, list[Run]] = {night: [] for night in nights}
    for run in runs:
        for night in _nights_of(run) & of_night.keys():
            of_night[night].append(run)
    on_their_way: list[date] = []
    stopped: dict[date, Run | None] = {}
    for night, its in of_night.items():
        last = max(its, key=lambda run: run.end or 0, default=None)
        just_passed = last and last.state == "success" and now - (last.end or 0) < PATIENCE
        if just_passed or any(run.state not in FINISHED for run in its):
            on_their_way.append(night)
        else:
            stopped[night] = last
    return Standing(on_their_way, stopped)


def _nights_of(run: Run) -> set[date]:
    try:
        return set(Partitions.parse(run.partition_key or "").days)
    except BadPartitionError:
        return set()


def are_through(awaited: Sequence[date], dag_ids: Sequence[str], run: Any, of: str, *, goes_on: bool = False) -> bool:
    """Whether nothing is awaited of the source ``of`` by the ``run`` any more.

    Else says what for, where runs of ``dag_ids`` bring it.

    Raises StoppedError naming the first of the nights that nobody brings, unless the run ``goes_on`` without them. One
    without a run that has failed gets a little time from the start of ``run``, since it may be about to be started.
    """
    if not awaited:
        return True
    now = time.time()
    found = standing(awaited, runs_with(dag_ids, awaited), now)
    waited = now - run.start_date.timestamp()
    stopped = {
        night: last for night, last in found.stopped.items() if waited > PATIENCE or (last and last.state == "failed")
    }
    if stopped and goes_on:
        print("without the nights, which nobody brings,", *sorted(stopped))
        awaited = [night for night in awaited if night not in stopped]
        if not awaited:
            return True
    elif stopped:
        first = min(stopped)
        raise StoppedError(
            _stopped(first, stopped[first], [str(night) for night in sorted(stopped)], run, of), str(first)
        )
    print("waiting, without a worker, for the nights", *awaited)
    return False


def runs_with(dag_ids: Sequence[str], nights: Sequence[date]) -> list[Run]:
    """The runs that could have ``nights``: those of their months, and of ranges the newest.

    Without those that never start: they bring no night any further.
    """
    airflow = Airflow(settings())
    months = sorted({f"{night:%Y-%m}" for night in nights})
    found = [
        run
        for dag_id in dag_ids
        for some in (
            *(airflow.runs(dag_id, partition_key_prefix_pattern=month) for month in months),
            airflow.newest_runs(dag_id),
        )
        for run in some
    ]
    dead = airflow.never_starting(found)
    return [run for run in found if run not in dead]


def _stopped(first: date, last: Run | None, nights: Sequence[str], run: Any, of: str) -> str:
    why = (
        f"{last.dag_id} has failed for it: {settings().airflow_link}/dags/{last.dag_id}/runs/{last.run_id}"
        if last and last.state == "failed"
        else "it has landed, and nothing runs it"
    )
    others = f" (nights that stop this one: {few(nights)})" if len(nights) > 1 else ""
    until = Partitions.parse(run.partition_key or nights[-1]).last
    again = f"make backfill from={first} to={until} source={of}"
    return f"stopped by night {first}{others}: {why}. When that is mended: `{again}`"
