"""What nobody tells of: nights that are late, sources that are silent, DAGs that are paused, questions that wait.

Each kind is a function of what is there now: what it finds is wrong, and what it finds no more is over. So nothing has
to be there when something ends, and a service that was down for a day finds both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial

from include.contracts.source import Source
from include.contracts.use_case import UseCase
from include.core.errors import NocturneError
from include.core.partitions import Partitions, ranges
from include.core.settings import settings
from include.governance import staleness
from include.ingestion import landing
from include.lake import delta
from include.ml import approvals, ledger, scoring
from include.orchestration import alert_log, alerts, catch_up, incidents
from include.orchestration.airflow_client import Airflow, Run, few
from include.orchestration.catch_up import CATCH_UP_DAYS
from include.orchestration.incidents import FAILED, Incident
from include.orchestration.refresh import told
from include.sources import sources
from include.use_cases import use_cases

log = logging.getLogger(__name__)

UNTOLD = timedelta(minutes=2)
"""After so long a failed run that nobody has told of will not be told of by itself."""

MENDS_ITSELF = timedelta(hours=1)
"""A stale partition may be one that a run is on its way to."""

type Look = Callable[["Now", Sequence[Incident]], Iterable[Incident]]


class LookError(NocturneError):
    """Something could not be looked at. What is open of it stays as it is."""


@dataclass(frozen=True)
class Now:
    """What all looks share, each read once and only if it is asked for."""

    at: datetime
    airflow: Airflow

    @cached_property
    def paused(self) -> set[str]:
        return self.airflow.paused() - self.airflow.asleep()

    @cached_property
    def dag_ids(self) -> set[str]:
        return set(self.airflow.dag_ids())

    def runs_of(self, incident: Incident) -> list[Run]:
        """The newest runs of its DAG, among them ranges, and those for its partition, which may be older."""
        if incident.dag not in self._newest:
            self._newest[incident.dag] = self.airflow.newest_runs(incident.dag)
        own = self.airflow.runs_of(incident.dag, incident.partition) if incident.partition else []
        return [*self._newest[incident.dag], *own]

    @cached_property
    def _newest(self) -> dict[str, list[Run]]:
        return {}

    @property
    def recent(self) -> date:
        """The first night that anybody waits for."""
        return catch_up.recent(self.at)


def look(at: datetime, airflow: Airflow | None = None) -> list[str]:
    """Task: look at everything, tell what has begun and what is over; returns the headline of each message.

    What is stale is looked for once an hour: it reads more than the others do. Raises LookError after the rest has been
    looked at, naming what could not be.
    """
    now = Now(at, airflow or Airflow(settings()))
    said, failed = [], []
    for kind, of_kind in LOOKS.items():
        if kind in HOURLY and at.minute >= 60 // LOOKS_AN_HOUR:
            continue
        try:
            events = incidents.settle([kind], partial(of_kind, now), at)
        except Exception as error:
            log.exception("%s was not looked at", kind)
            failed.append(f"{kind} ({type(error).__name__}: {error})")
            continue
        for event, incident in events:
            alert = incidents.alert_of(incident, event)
            alerts.deliver(alert)
            said.append(alert_log.headline(alert))
    if failed:
        raise LookError(f"not looked at: {'; '.join(failed)}. What is open of that stays as it is")
    return said


# --- what can be wrong ---


def failed(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Failures that are not mended, and runs that failed of which nobody has told.

    A failure is mended when a run of its DAG that ended later has passed each of its partitions.
    """
    of_kind = [one for one in open_ if one.kind == FAILED]
    for one in of_kind:
        if one.dag in now.dag_ids and not is_mended(one, now.runs_of(one), one.told_at or now.at):
            yield one
    told_of = {key for one in of_kind for key in (one.key, *one.stopped)}
    since = now.at - timedelta(days=1)
    for run in now.airflow.runs(state="failed", end_date_gte=since.isoformat()):
        ended = datetime.fromtimestamp(run.end, UTC) if run.end else now.at
        new = _untold(run)
        if new.key not in told_of and now.at - ended >= UNTOLD and not is_mended(new, now.runs_of(new), ended):
            yield new


def _untold(run: Run) -> Incident:
    partition = run.partition_key or ""
    return Incident(
        key=f"{FAILED} {run.dag_id} {partition or run.run_id}",
        kind=FAILED,
        said="the run failed, and nothing of it has told why",
        todo="see in the log of the failed or unfinished tasks why they ended, then clear the run",
        touches=alerts.touches(run.dag_id),
        dag=run.dag_id,
        run=run.run_id,
        partition=partition,
        link=f"{settings().airflow_link}/dags/{run.dag_id}/runs/{run.run_id}",
    )


def is_mended(incident: Incident, runs: Iterable[Run], since: datetime) -> bool:
    """Whether of each partition of a failure the last of ``runs`` that has ended did well, and ended after ``since``.

    Of a DAG without partitions the next run does what this one did not.
    """
    nights = [str(night) for night in incidents.nights_of(incident.partition)]
    last: dict[str, Run] = {}
    for run in sorted((one for one in runs if one.end is not None), key=lambda one: one.end or 0.0):
        last |= {str(night): run for night in incidents.nights_of(run.partition_key or "")} if nights else {"": run}
    found = [last.get(night) for night in nights or [""]]
    return all(run is not None and run.state == "success" and (run.end or 0) >= since.timestamp() for run in found)


def late(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Nights that have landed and are not through by their hour, but for those whose failure is told of."""
    told_of = incidents.failed_nights(open_)
    for source in sources().values():
        nights = catch_up.late(source, now.at, told_of)
        if nights:
            which = ", ".join(map(str, ranges(nights)))
            first, last = nights[0], nights[-1]
            yield Incident(
                f"late {source.name}",
                "late",
                f"{source.name}: {which} landed and should be through by now",
                f"see what they wait for in Airflow; if nothing runs them: "
                f"make backfill from={first} to={last} source={source.name}",
                touches=_readers(source),
                link=f"{settings().airflow_link}/dags/lakehouse_ingest_{source.name}",
            )


def silent(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Sources of which nothing has come for a night that is due.

    One that has been silent for longer than anybody waits for opens no incident, and keeps one from being over.
    """
    for source in sources().values():
        landed = landing.landed_days(source)
        owed = catch_up.owed(source, landed[-1], now.at) if landed else []
        if owed:
            yield Incident(
                f"silent {source.name}",
                "silent",
                f"{source.name}: nothing has landed since {landed[-1]}; due was {few([str(night) for night in owed])}",
                f"ask its upstream; where it had nothing, list the days as `gaps` in "
                f"include/sources/{source.name}/spec.py",
                touches=_readers(source),
                link=f"{settings().airflow_link}/dags/lakehouse_ingest_{source.name}",
                opens=landed[-1] >= now.recent,
            )


def _readers(source: Source) -> str:
    names = [case.name for case in use_cases().values() if source.name in case.sources and case.enabled]
    return f"{', '.join(names)}: no new predictions" if names else ""


def paused(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """DAGs of a night that are paused while nights land: Airflow drops what they would have followed."""
    for source in sources().values():
        landed = [night for night in landing.landed_days(source) if night >= now.recent]
        of_source = [f"lakehouse_{stage}_{source.name}" for stage in ("ingest", "transform")]
        cases = [case for case in use_cases().values() if case.enabled and source.name == case.sources[0]]
        of_cases = [f"{case.name}_{stage}" for case in cases for stage in ("features", "predict", "monitor")]
        for dag_id in [one for one in (*of_source, *of_cases) if landed and one in now.paused]:
            yield Incident(
                f"paused {dag_id}",
                "paused",
                f"{dag_id} is paused, and nights of {source.name} land, the last of {landed[-1]}: they are lost to it",
                f"unpause it, then run what it has missed: make backfill from=… to=… source={source.name}",
                touches=alerts.touches(dag_id),
                dag=dag_id,
                link=f"{settings().airflow_link}/dags/{dag_id}",
            )


def approval(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Versions that the gates let through, and that wait for a person."""
    for case in use_cases().values():
        question = approvals.waiting(case) if case.promotion.approvals else None
        if question is not None:
            yield Incident(
                f"approval {question.request}",
                "approval",
                question.subject,
                f"answer under Required Actions within {case.promotion.approval_hours:g} hours of "
                f"{question.said_at:%Y-%m-%d %H:%M} UTC; no answer is a no",
                touches=f"{case.name}: its champion stays until then",
                link=f"{settings().airflow_link}/dags/{case.name}_promote",
            )


def rollback(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Use cases whose champion a person has put back: nothing is retrained until another version takes its place."""
    for case in use_cases().values():
        champion = ledger.latest_champion(case)
        if champion is not None and champion.how == ledger.ROLLBACK:
            yield Incident(
                f"rollback {case.name} {champion.decided_at.isoformat()}",
                "rollback",
                f"{case.name}: version {champion.model_version} was put back by {champion.decided_by}, from "
                f"{champion.effective_from} on: {champion.reason}",
                f"when what was wrong is mended: make train use_case={case.name} partition=…",
                touches=f"{case.name}: the policy asks for no retraining until another version becomes champion",
                link=f"{settings().airflow_link}/dags/{case.name}_train",
                opens=now.at - champion.decided_at < timedelta(CATCH_UP_DAYS),
            )


def fallback(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Days that somebody else than their champion has scored and that are told of, as long as it is so."""
    for one in open_:
        if one.kind == "fallback":
            _, name, key = one.key.split(" ", 2)
            case = use_cases().get(name)
            if case is not None and _scored_by_others(case, Partitions.parse(key)):
                yield one


def _scored_by_others(case: UseCase, days: Partitions) -> bool:
    if not delta.exists("gold", case.predictions_table):
        return False
    rows = delta.read_days("gold", case.predictions_table, days.first, days.last, day=case.day)
    return rows[scoring.SCORED_BY].is_in([scoring.PREVIOUS, scoring.PRIOR]).any()


def stale(now: Now, open_: Sequence[Incident]) -> Iterator[Incident]:
    """Partitions that were made of what is there no more, and that no run is making again."""
    for case in use_cases().values():
        found = staleness.find(case) if case.enabled else []
        if found:
            yield Incident(
                f"stale {case.name}",
                "stale",
                f"{case.name}: {len(found)} partitions are out of date\n" + "\n".join(told(found)[:5]),
                f"make stale use_case={case.name} says which and why; make refresh use_case={case.name} yes=1 makes "
                "them again",
                touches=f"{case.name}: features, predictions or measurements of these days are of older data",
                link=f"{settings().airflow_link}/dags/{case.name}_refresh",
                patience=MENDS_ITSELF,
            )


LOOKS: dict[str, Look] = {
    FAILED: failed,
    "late": late,
    "silent": silent,
    "paused": paused,
    "approval": approval,
    "rollback": rollback,
    "fallback": fallback,
    "stale": stale,
}
"""Each kind of incident, and who looks for it."""

HOURLY = ("stale",)
LOOKS_AN_HOUR = 4
"""As the schedule of the DAG has it."""
