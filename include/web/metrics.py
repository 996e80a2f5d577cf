"""What Prometheus reads of an installation: nights, rows, drift, quality, models, costs and what is wrong.

A page of Airflow's api-server, so that there is no further port or process; its lock is a token of its own, since no
program can log in as a person does and stay logged in. All of it is read from summaries, never from rows, and what was
read is kept until somebody commits, so that a scrape costs the same after years of nights. What cannot be read is a
figure itself (``nocturne_unreadable``), and the rest is there.

Every figure is a state of now. Nothing is counted up, so that a restart or a second api-server makes no difference.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl
from deltalake.exceptions import DeltaError
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from include.contracts.source import Source, completeness_table
from include.contracts.use_case import UseCase
from include.core.errors import NocturneError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import landing
from include.lake import publications
from include.ml import figures, ledger, policy, record
from include.orchestration import catch_up, incidents
from include.serving import throughput
from include.sources import sources
from include.use_cases import use_cases
from include.web import health
from include.web.tables import Tables

log = logging.getLogger(__name__)

PREFIX = "nocturne_"
KEPT_SECONDS = 10.0
"""Who asks again within so long is given the same: several who ask at once cost no more than one."""
COST_DAYS = 30

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "info": ("The installation; always 1.", ("engine",)),
    "collect_seconds": ("How long it took to read all this.", ()),
    "unreadable": ("What could not be read; 1 as long as it is so.", ("what",)),
    "component_up": ("Whether a component of Airflow has said that it lives, 1 or 0.", ("component",)),
    # nights
    "nights_due": ("Nights of the last 14 days that have landed and whose deadline is over.", ("source",)),
    "nights_late": ("Those of them that are not through, and whose failure nobody was told of.", ("source",)),
    "nights_silent": ("Nights whose files are due and of which nothing has landed.", ("source",)),
    "night_end_timestamp_seconds": ("When the newest night that was ingested ended.", ("source",)),
    "night_rows": ("Rows of the newest night by what became of them.", ("source", "feed", "outcome")),
    "night_rows_in": ("Rows of the newest night's files.", ("source", "feed")),
    "quarantine_limit_ratio": ("The share of rows in quarantine above which a night fails.", ("source", "feed")),
    # what is wrong
    "incidents_open": ("Incidents that somebody was told of and that are not over.", ("kind",)),
    "incident_oldest_timestamp_seconds": ("Since when the oldest of them is open; none: no series.", ("kind",)),
    # models
    "champion_info": ("The version that scores; always 1.", ("use_case", "version", "how")),
    "champion_age_days": ("Days of known labels that the champion has not seen.", ("use_case",)),
    "champion_age_limit_days": ("From how many of them on it is retrained.", ("use_case",)),
    "monitored_night_end_timestamp_seconds": ("When the newest night that was measured ended.", ("use_case",)),
    "drift_ratio": ("Evidence of a sensor by what fires: from 1 on it does.", ("use_case", "sensor")),
    "drift_fired": ("Whether a sensor fires, 1 or 0.", ("use_case", "sensor")),
    "retraining_asked": ("Whether the newest night asked for a retraining, 1 or 0.", ("use_case",)),
    "quality": ("A watched metric of the newest day with labels.", ("use_case", "metric")),
    "quality_promised": ("The same on the days that the version was judged by.", ("use_case", "metric")),
    "freshness_days": ("How old the newest day of features, predictions, labels is.", ("use_case", "of")),
    "complete_ratio": ("Rows that are scored, or labelled, of all that should be.", ("use_case", "of")),
    "fallback_rows": ("Rows of the newest night that somebody else than the champion scored.", ("use_case",)),
    # what it takes
    "training_timestamp_seconds": ("When the newest training ended.", ("use_case",)),
    "training_seconds": ("How long it took.", ("use_case", "device")),
    "training_gpu_seconds": ("For how long it held a GPU.", ("use_case",)),
    "training_gpu_busy_ratio": ("How busy that was, in the mean.", ("use_case",)),
    "training_gpu_memory_bytes": ("The most memory that it took of it.", ("use_case",)),
    "scoring_timestamp_seconds": ("When the newest scoring ended.", ("use_case",)),
    "scoring_rows": ("Rows of the newest scoring.", ("use_case",)),
    "scoring_seconds": ("How long it took.", ("use_case",)),
    "scoring_memory_bytes": ("The most memory of its process.", ("use_case",)),
    "scoring_gpu_seconds_30d": ("Seconds that scorings of 30 days held a GPU.", ("use_case",)),
    "scoring_rows_30d": ("Rows that were scored in 30 days.", ("use_case",)),
    "scoring_cost_30d": ("What that cost by NOCTURNE_MACHINE_HOUR_PRICE, in its currency.", ("use_case",)),
}
"""Each figure, all of them gauges: its name without ``nocturne_``, what it is, and its labels."""

type Sample = tuple[str, tuple[str, ...], float]
"""The name of a figure, the values of its labels, and its value."""

SCORINGS = ("use_case", "at", "rows", "seconds", "peak_mib", "gpu_seconds", "price")
COUNTS: dict[str, pl.DataType] = {
    "ingestion_date": pl.Date(),
    "feed": pl.String(),
    "rows_in": pl.Int64(),
    "published": pl.Int64(),
    "quarantined": pl.Int64(),
    "deduplicated": pl.Int64(),
}
OUTCOMES = ("published", "quarantined", "deduplicated")


@dataclass(eq=False)  # a registry knows it by its identity
class Figures(Collector):
    """Reads the figures each time that somebody asks; ``now`` and what there is are given by tests."""

    tables: Tables = field(default_factory=Tables)
    sources: Callable[[], Mapping[str, Source]] = sources
    cases: Callable[[], Mapping[str, UseCase]] = use_cases
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    components: Callable[[], Mapping[str, bool]] = dict
    """Airflow's components, and whether each lives: only a process of Airflow's can tell."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that knows the names would read the lake to learn them."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every figure of ``FIGURES`` with its samples; one that nothing is known of has none."""
        begun = time.monotonic()
        families = {
            name: GaugeMetricFamily(PREFIX + name, text, labels=labels) for name, (text, labels) in FIGURES.items()
        }
        with self.tables.once():
            samples, problems = self._read()
        samples += [("unreadable", (what,), 1.0) for what in sorted(problems)]
        samples.append(("collect_seconds", (), time.monotonic() - begun))
        for name, labels, value in samples:
            families[name].add_metric(labels, value)
        yield from families.values()

    def _read(self) -> tuple[list[Sample], set[str]]:
        at, there, found = self.now(), self.sources(), list[Sample]()
        problems = set[str]()
        cases = self.cases()
        reads = _reads(
            self.tables, catch_up.recent(at) - max((case.matures for case in cases.values()), default=timedelta())
        )
        parts: list[tuple[str, Callable[[], Iterable[Sample]]]] = [
            ("airflow", lambda: of_components(self.components())),
            ("ledger.incidents", lambda: of_incidents(_open(self.tables))),
        ]
        for source in there.values():
            parts.append((f"landing of {source.name}", partial(of_nights, self.tables, source, at, reads)))
            parts.append((f"bronze.{completeness_table(source)}", partial(of_rows, self.tables, source)))
        parts.append((throughput.LEDGER, partial(of_scorings, self.tables, at)))
        for case in cases.values():
            parts += [
                (case.name, partial(of_health, self.tables, case, problems)),
                (f"gold.{case.deployments_table}", partial(of_champion, self.tables, case)),
                (f"gold.{case.trainings_table}", partial(of_training, self.tables, case)),
            ]
        found.append(("info", (settings().engine,), 1.0))
        for what, part in parts:
            try:
                found += part()
            except (NocturneError, DeltaError, pl.exceptions.PolarsError, OSError, ValueError, KeyError) as error:
                log.warning("no figures of %s: %s: %s", what, type(error).__name__, error)
                problems.add(what)
        return found, problems


# --- what each part of the lake says ---


def of_components(components: Mapping[str, bool]) -> Iterator[Sample]:
    yield from (("component_up", (name,), float(lives)) for name, lives in components.items())


def _open(tables: Tables) -> list[incidents.Incident]:
    """The open incidents, as long as nobody has changed them."""
    return tables.kept("incidents", [incidents.TABLE], lambda: [*incidents.open_incidents().values()])


def of_incidents(open_: Iterable[incidents.Incident]) -> Iterator[Sample]:
    """Each kind, be there none: an alert on a series that comes and goes would miss its first."""
    told = [one for one in open_ if one.told_at]
    for kind in incidents.KINDS:
        since = [one.opened_at for one in told if one.kind == kind and one.opened_at]
        yield "incidents_open", (kind,), float(sum(one.kind == kind for one in told))
        if since:
            yield "incident_oldest_timestamp_seconds", (kind,), min(since).timestamp()


def of_nights(tables: Tables, source: Source, at: datetime, reads: catch_up.Reads) -> Iterator[Sample]:
    """Late and silent by the same functions that open incidents, and by the clock of now: also where nothing looks."""
    landed = landing.landed_days(source, Partitions(catch_up.recent(at), at.date()))
    told_of = incidents.failed_nights(_open(tables))
    late = catch_up.late(source, at, told_of, reads) if landed else []
    # history that is replayed owes nothing
    owed = catch_up.owed(source, landed[-1], at) if landed else []
    yield "nights_due", (source.name,), float(sum(at >= catch_up.deadline(source, night) for night in landed))
    yield "nights_late", (source.name,), float(len(late))
    yield "nights_silent", (source.name,), float(len(owed))


def _reads(tables: Tables, since: date) -> catch_up.Reads:
    """What lateness asks of the lake, of which only what is new is read; fast for days from ``since`` on."""

    def known(table: str, days: Sequence[date]) -> set[date]:
        if not days:
            return set()
        low = ("partition_day", min(since, *days))  # one for all use cases: they share what is kept
        lines = tables.lines(LEDGER, publications.SCHEMA, ("table", "partition_day"), low)
        published = lines.filter(pl.col("table") == table)["partition_day"]
        return (set(tables.days(table)) | set(published)) & set(days)

    def files(table: str, first: date, last: date) -> dict[tuple[str, date], int | None]:
        schema: dict[str, pl.DataType] = {"feed": pl.String(), "ingestion_date": pl.Date(), "files": pl.Int64()}
        rows = tables.rows(f"bronze.{table}", schema, between=("ingestion_date", first, last))
        # of a time when each day had one file nobody wrote down how many
        return {} if rows["files"].is_null().all() else {(feed, day): number for feed, day, number in rows.iter_rows()}

    return catch_up.Reads(lambda table, _: set(tables.days(f"bronze.{table}")), known, files)


LEDGER = f"{publications.LAYER}.{publications.TABLE}"


def of_rows(tables: Tables, source: Source) -> Iterator[Sample]:
    """The terms of the completeness equation of the newest night."""
    table = f"bronze.{completeness_table(source)}"
    for feed in source.feeds:
        yield "quarantine_limit_ratio", (source.name, feed.name), feed.max_quarantined_share
    nights = tables.days(table)
    if not nights:
        return
    last = nights[-1]
    rows = tables.kept("counts", [table], lambda: tables.rows(table, COUNTS, between=("ingestion_date", last, last)))
    yield "night_end_timestamp_seconds", (source.name,), source.ends(last).timestamp()
    for row in rows.iter_rows(named=True):
        yield "night_rows_in", (source.name, row["feed"]), float(row["rows_in"])
        for outcome in OUTCOMES:
            yield "night_rows", (source.name, row["feed"], outcome), float(row[outcome])


def of_health(tables: Tables, case: UseCase, problems: set[str]) -> Iterator[Sample]:
    """What the newest night measured, as the page of model health has it; ``problems`` gets what cannot be read."""
    facts = health.newest(tables, case)
    problems |= {problem.partition(" cannot be read")[0] for problem in facts.problems}
    if facts.night is None:
        return
    ended = datetime.combine(facts.night + timedelta(1), datetime.min.time(), UTC)
    yield "monitored_night_end_timestamp_seconds", (case.name,), ended.timestamp()
    yield "fallback_rows", (case.name,), float(facts.fallback_rows)
    yield "retraining_asked", (case.name,), float(bool(facts.decision and facts.decision["decision"] == "yes"))
    for one in facts.sensors:
        if one["share"] is not None:
            yield "drift_ratio", (case.name, one["sensor"]), one["share"]
        yield "drift_fired", (case.name, one["sensor"]), float(one["fired"])
    for (figure, what), row in facts.figures.items():
        name = _OF_FIGURE.get(figure)
        if name and row["value"] is not None:
            yield name, (case.name, what), row["value"]


_OF_FIGURE = {
    figures.QUALITY: "quality",
    figures.PROMISE: "quality_promised",
    figures.FRESHNESS: "freshness_days",
    figures.COMPLETENESS: "complete_ratio",
}


def of_champion(tables: Tables, case: UseCase) -> Iterator[Sample]:
    """Who scores, and how old what it learned from is beside the newest night that was measured."""
    champion = ledger.pick(health.champions(tables, case), date.max)
    if champion is None:
        return
    yield "champion_info", (case.name, str(champion.model_version), champion.how or "gates"), 1.0
    yield "champion_age_limit_days", (case.name,), float(case.drift.max_age_days)
    night = health.newest(tables, case).night
    if night is not None:
        yield "champion_age_days", (case.name,), float(policy.fresh_days(night, champion, case.label_days))


def of_training(tables: Tables, case: UseCase) -> Iterator[Sample]:
    """The newest training, with what it took of a GPU where it had one."""
    table = f"gold.{case.trainings_table}"
    all_ = tables.kept(("trainings", case.name), [table], lambda: record.trainings(case)[-1:])
    for one in all_:
        yield "training_timestamp_seconds", (case.name,), one.trained_at.timestamp()
        yield "training_seconds", (case.name, one.device), one.seconds
        for metric, name, unit in (
            ("gpu_seconds", "training_gpu_seconds", 1.0),
            ("gpu_utilisation", "training_gpu_busy_ratio", 0.01),
            ("gpu_memory_mib", "training_gpu_memory_bytes", 2.0**20),
        ):
            if metric in one.metrics:
                yield name, (case.name,), one.metrics[metric] * unit


def of_scorings(tables: Tables, at: datetime) -> Iterator[Sample]:
    """The newest scoring of each use case, and those of 30 days together."""
    since = at - timedelta(COST_DAYS)
    lines = tables.lines(throughput.LEDGER, throughput.SCHEMA, SCORINGS, ("at", since)).sort("at")
    for (name,), of_case in lines.partition_by("use_case", as_dict=True).items():
        label, last = (str(name),), of_case.row(-1, named=True)
        yield "scoring_timestamp_seconds", label, last["at"].timestamp()
        yield "scoring_rows", label, float(last["rows"])
        yield "scoring_seconds", label, last["seconds"]
        if last["peak_mib"] is not None:
            yield "scoring_memory_bytes", label, last["peak_mib"] * 2.0**20
        yield "scoring_rows_30d", label, float(of_case["rows"].sum())
        yield "scoring_gpu_seconds_30d", label, float(of_case["gpu_seconds"].sum())
        if (of_case["price"] > 0).any():
            yield "scoring_cost_30d", label, float((of_case["price"] * of_case["seconds"]).sum()) / 3600


# --- the page ---


class Page:
    """``/nocturne/metrics``: the figures for whoever has the token; 401 for others, those who are logged in too."""

    def __init__(self, collector: Figures) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._turn = asyncio.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def answer(self, request: Request) -> Response:
        """The figures in the format that is asked for."""
        if not is_authorised(request.headers.get("authorization", ""), settings().metrics_token.get_secret_value()):
            text = "the figures are for whoever has the token: `authorization: Bearer <var/secrets/metrics_token>`\n"
            return PlainTextResponse(text, 401, {"WWW-Authenticate": "Bearer"})
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        async with self._turn:
            at, text_ = self._kept.get(content_type, (-KEPT_SECONDS, b""))
            if not text_ or time.monotonic() - at >= KEPT_SECONDS:
                text_ = await asyncio.to_thread(encode, self._registry)
                self._kept[content_type] = (time.monotonic(), text_)
        return Response(text_, headers={"Content-Type": content_type, "Cache-Control": "no-store"})


def is_authorised(header: str, token: str) -> bool:
    """Whether an ``authorization`` header bears ``token``; never where there is none to bear."""
    scheme, _, given = header.partition(" ")
    told = hmac.compare_digest(given.strip().encode(), token.encode())  # takes as long whatever is wrong
    return bool(token) and scheme.lower() == "bearer" and told


def of_airflow() -> dict[str, bool]:
    """Airflow's components and whether each lives, by their heartbeats in its database."""
    from airflow.api.common.airflow_health import HEALTHY, get_airflow_health

    # a component that has never run here is none of this installation
    return {name: one["status"] == HEALTHY for name, one in get_airflow_health().items() if one["status"]}


def main() -> int:
    """Print the figures as Prometheus would read them, without Airflow's own."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    sys.stdout.write(generate_latest(registry).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
