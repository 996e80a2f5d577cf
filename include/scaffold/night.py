"""``make night``: one partition through all its stages on this machine, in one process, by the functions of the tasks.

What a stage publishes is published as by a run of Airflow, and recorded as ``make night``. Airflow is not told: nothing
follows by itself, and ``make backfill`` runs the partition there.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import httpx

from include.contracts.source import Source
from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.governance import staleness
from include.ingestion import ingest as ingestion
from include.ingestion import landing
from include.ingestion.connectors import fetch
from include.lake import candidate, commit, dbt, spark
from include.lake.dbt import Build
from include.lake.publish import Publication
from include.local import compare_engines
from include.local.checks import InstallationError
from include.orchestration import readiness
from include.orchestration.airflow_client import FINISHED, PATIENCE, few
from include.scaffold.errors import ScaffoldError
from include.sources import source as source_called
from include.use_cases import use_case

RUN = "make night"
Say = Callable[[str], None]


class NothingLandedError(ScaffoldError):
    """No file of the partition is in landing."""


class OnItsWayError(ScaffoldError):
    """A run of Airflow has the partition, and both would publish it."""


def ingest(source: Source, nights: Partitions, say: Say = print) -> list[Publication]:
    """Landing to bronze. Returns what was published. Raises NothingLandedError, and what the stages of ingestion do."""
    if any(feed.connector for feed in source.feeds):
        fetch.extract(source, nights)
    if not (found := landing.plan(source, nights)) and any(map(source.expects_files, nights.days)):
        where = ", ".join(str(landing.path_of(source, feed, feed.due(nights.last))) for feed in source.feeds)
        raise NothingLandedError(f"nothing of {source.name} {nights} has landed: bring {where}")
    candidates = ingestion.load(source, nights, found)
    audited = ingestion.audit(source, nights, found, candidates)
    for row in audited["counts"]:
        say(
            f"{row['feed']} {row['partition_day']}: {row['rows_in']} rows in = {row['published']} published + "
            f"{row['quarantined']} quarantined + {row['deduplicated']} deduplicated"
        )
    for feed, night, reason, raw in ingestion.refused(source, found, candidates, audited).head(5).iter_rows():
        say(f"quarantine: {feed} {night}: {reason}: {raw[:80]!r}")
    try:
        return ingestion.publish_all(source, nights, found, candidates, audited, run=RUN)
    finally:
        ingestion.discard(candidates, audited)


def transform(
    source: Source, nights: Partitions, of: Settings | None = None, environment: Mapping[str, str] | None = None
) -> list[Publication]:
    """Bronze to silver, for the partition and the earlier ones of which rows came late. Returns what was published.

    ``of`` and ``environment`` are of an engine other than the installation's.
    """
    if not (feeds := ingestion.ingested(source, nights)):  # of a day without files there is nothing to build
        return []
    select = " ".join(f"source:{source.name}.{feed}+,marts.core" for feed in feeds)
    stage, late = f"lakehouse_transform_{source.name}", ingestion.touched(source, nights)
    with _built(stage, nights, select, late, of, environment) as built:
        return dbt.publish_built(stage, built, run=RUN)


@contextmanager
def _built(
    stage: str,
    nights: Partitions,
    select: str,
    also: Sequence[date] = (),
    of: Settings | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Build]:
    """The candidates of ``dbt build``, tested; they are removed afterwards."""
    begun, suffix, of = commit.moment(), candidate.suffix(nights), of or settings()
    left: dict[str, Any] = {}
    try:
        compare_engines.build(
            of, dict(environment or compare_engines.client(of)), nights, suffix, *select.split(), also=also
        )
    finally:
        dbt.keep_artifacts(str(of.var), stage=stage, left=left, context=None)
    built = dbt.built(nights, also, begun, spark.engine(), suffix, left)
    try:
        yield built
    finally:
        dbt.discard_built(built)


def features(case: UseCase, nights: Partitions, say: Say = print) -> list[Publication]:
    """Silver to gold: features and labels, through the feature gate. Returns what was published."""
    from include.quality import features as gate

    stage = f"{case.name}_features"
    with _built(stage, nights, _folder_of(case)) as built:
        gate.audit(case.name, built)
        say("the feature gate let it through")
        return gate.publish_built(case.name, built, RUN, staleness.recording(case))


def _folder_of(case: UseCase) -> str:
    """What dbt calls the models of ``case``."""
    marts = settings().home / "dbt_project" / "models" / "marts"
    return f"marts.use_cases.{case.name}" if (marts / "use_cases" / case.name).exists() else f"marts.{case.name}"


def after_features(case: UseCase, nights: Partitions, say: Say = print) -> Iterator[tuple[str, Callable[[], None]]]:
    """The stages behind the features, by name: predict, measure, decide. Without a champion there are none."""
    from include.ml import ledger, monitor, policy, rollout
    from include.serving import batch

    days = nights.shift(case.horizon_days)
    if not all(ledger.champion_for(case, day) for day in days.days):
        say(
            f"no version is champion of {days}: nothing is scored. To train the first one: "
            f"make train use_case={case.name} partition=<the last day to learn from>"
        )
        return

    def score() -> None:
        done = batch.predict(case.name, days.first, days.last)
        versions = ", ".join(f"{rows} by version {version}" for version, rows in done["by_version"].items())
        how = "; ".join([versions or "by no version", *done["fallback"]])
        say(f"{_changed(done)} gold.{case.predictions_table} {days}: {done['rows']} rows, {how}")

    def measure() -> None:
        with staleness.measuring(case, nights, run=RUN):
            done = monitor.measure(case.name, nights.first, nights.last)
        say(f"{_changed(done)} gold.{case.monitoring_table} {nights}: {done['rows']} rows")
        for metric, value in done["quality"].items():
            shown = "cannot be told" if value is None else f"{value:.4g}"
            say(f"quality of the newest event date with labels: {metric} {shown}")
        for sensor in (monitor.input_drift, monitor.prediction_drift, monitor.quality):
            reading = sensor(case.name, nights.last)
            say(f"{reading['sensor']}: {'fired' if reading['fired'] else 'quiet'}: {reading['reason']}")

    def decide() -> None:
        for made in policy.decide_nights(case.name, nights.first, nights.last):
            say(f"retrain: {made['decision']}, since {made['reason']}")
            if made["decision"] == "yes":
                say(f"Airflow was not told: make train use_case={case.name} partition={nights.last}")

    def look_again() -> None:
        found = rollout.look_again(case.name, nights.last)
        if found is None:
            say("no version waits to be looked at")
        elif found["promoted"]:
            say(f"version {found['version']} is champion from {found['effective_from']} on: {found['reasons'][0]}")
        else:
            why = found["awaits"] or "; ".join(found["reasons"])
            say(f"version {found['version']}: {found['verdict']}: {why}")

    yield from (("predict", score), ("measure", measure), ("decide", decide), ("look again", look_again))


def _changed(done: Mapping[str, Any]) -> str:
    return "wrote" if done["changed"] else "found unchanged"


def refuse_what_is_on_its_way(dag_ids: Sequence[str], nights: Partitions) -> None:
    """Raise OnItsWayError naming the run where Airflow has one for a night, or is about to start the next stage's.

    ``dag_ids`` are those of the stages, in their order.
    """
    try:
        runs = readiness.runs_with(dag_ids, nights.days)
    except (OSError, httpx.HTTPError, RuntimeError) as error:
        raise ScaffoldError(f"Airflow does not say which partitions it has: {error}. Start it with make up") from None
    for night in readiness.standing(nights.days, runs, time.time()).on_their_way:
        its = [run for run in runs if run.partition_key and night in Partitions.parse(run.partition_key).days]
        under_way = {f"{one.dag_id} {one.run_id} ({one.state})": one for one in its if one.state not in FINISHED}
        if under_way:
            raise OnItsWayError(
                f"{night} is on its way in Airflow: {few(list(under_way))}. Wait until it is through, or end it there: "
                f"{settings().airflow_link}"
            )
        newest = max(its, key=lambda run: run.end or 0)
        if newest.dag_id != dag_ids[-1]:  # behind the last stage nothing follows
            raise OnItsWayError(
                f"{night} has just come through {newest.dag_id} in Airflow, and the next stage may be about to begin. "
                f"Try again in {PATIENCE:.0f} s"
            )


def run(nights: Partitions, source: str = "", case: str = "", say: Say = print) -> int:
    """Run all stages of ``nights``, one partition, of a source, or of a use case with its sources.

    Returns 0, or 1 where a stage failed: what was published before it stands. Raises BadRequestError where it cannot
    begin: ScaffoldError, NoSourceError, NoUseCaseError.
    """
    of_case = use_case(case) if case else None
    read = [source_called(name) for name in (of_case.sources if of_case else (source,))]
    dag_ids = [f"lakehouse_{stage}_{one.name}" for one in read for stage in ("ingest", "transform")]
    dag_ids += [one for one in of_case.dag_ids if not one.endswith("_train")] if of_case else []
    refuse_what_is_on_its_way(dag_ids, nights)
    begun, told = time.monotonic(), _Told(say)
    try:
        for one in read:
            with told.stage(f"ingest {one.name}"):
                has_landed = _ingested(one, nights, told)
            if has_landed:
                with told.stage(f"transform {one.name}"):
                    told.published(transform(one, nights))
        if of_case:
            with told.stage("features"):
                told.published(features(of_case, nights, told.line))
            for name, step in after_features(of_case, nights, told.line):
                with told.stage(name):
                    step()
    except _StageFailedError:
        return 1
    say(f"{nights} is through in {time.monotonic() - begun:.1f} s. Airflow was not told: nothing follows by itself")
    return 0


def _ingested(source: Source, nights: Partitions, told: _Told) -> bool:
    """Whether anything had landed. A source need not bring something each night."""
    try:
        told.published(ingest(source, nights, told.line))
    except NothingLandedError as nothing:
        told.line(f"{nothing}. What was ingested before stands")
        return False
    return True


class _StageFailedError(Exception):
    """A stage has failed, and it has been said why."""


@dataclass(frozen=True)
class _Told:
    """Says of each stage what it did and how long it took."""

    say: Say

    def line(self, text: str) -> None:
        self.say(f"  {text}")

    def published(self, done: Sequence[Publication]) -> None:
        for one in done:
            self.line(str(one))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Around a stage. Raises _StageFailedError where it fails; its error is said."""
        begun = time.monotonic()
        self.say(name)
        try:
            yield
        except Exception as error:
            if not isinstance(error, NeedsAttentionError | InstallationError | ScaffoldError):
                traceback.print_exc()
            self.line(str(error))
            self.say(f"{name} failed after {time.monotonic() - begun:.1f} s. What was published before it stands")
            raise _StageFailedError from error
        self.line(f"{time.monotonic() - begun:.1f} s")
