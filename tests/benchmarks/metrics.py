"""What a scrape of Prometheus costs after three years of nights beside three months, in the real page.

The lakes are those of the benchmark of model health, 20 use cases with their measurements, figures, decisions and
scorings; here each has a source of its own too, with files in landing, counts of rows, and published tables a night. A
first scrape is one of a page that has read nothing; a repeated one finds that no table has changed; after a night, all
that a night writes has a new commit of every use case: measurements, figures, decisions, counts of rows, publications,
and what scoring took.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from include.contracts.source import Source
from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.lake import chain, delta, publications
from include.orchestration import catch_up
from include.web import metrics
from tests.benchmarks import health
from tests.benchmarks.history import lake_at
from tests.web import lake
from tests.web.sources import land, source_of

LAST, TOKEN = health.LAST, "a-token-of-the-benchmark"
LONG, SHORT = 1_096, 92
NOW = datetime(LAST.year, LAST.month, LAST.day, 14, tzinfo=UTC) + timedelta(1)


def with_sources(cases: dict[str, UseCase]) -> tuple[dict[str, Source], dict[str, UseCase]]:
    """A source for each use case, which is told so."""
    own = {name: replace(case, sources=(f"{name}_orders",)) for name, case in cases.items()}
    return {f"{name}_orders": source_of(f"{name}_orders") for name in own}, own


def fill(sources: dict[str, Source], cases: dict[str, UseCase], nights: int) -> None:
    """Files, counts and published labels of so many nights."""
    days = [LAST - timedelta(n) for n in reversed(range(nights))]
    for source in sources.values():
        land(source, days)
    lines = [line for case in cases.values() for day in days for line in published(case, day)]
    delta.append(publications.LAYER, publications.TABLE, pl.DataFrame(lines, schema=publications.SCHEMA))


def published(case: UseCase, night: date) -> list[dict[str, Any]]:
    """The lines of ``ledger.publications`` that a night of ``case`` adds."""
    own = [f"gold.{name}" for name in (case.features_table, case.predictions_table)]
    lines = [{"table": table, "partition_day": night} for table in (f"silver.{case.name}", *own)]
    lines.append({"table": f"gold.{case.labels_table}", "partition_day": night - case.matures})
    return [line | {"rows": 98_000, "run": "bench"} for line in lines]


def grow(source: Source, case: UseCase, number: int) -> None:
    """What one more night of ``case`` writes."""
    health.grow(case, number)
    land(source, [LAST], quarantined=number % 500)
    columns = {name: kind for name, kind in publications.SCHEMA.items() if name not in chain.SEALS}
    chain.append(
        f"{publications.LAYER}.{publications.TABLE}", pl.DataFrame(published(case, LAST), schema=columns), "bench"
    )
    lake.scored(case, [LAST])


def scrape(client: TestClient) -> dict[str, float]:
    begun, busy = time.monotonic(), time.process_time()
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    taken, cpu = time.monotonic() - begun, time.process_time() - busy  # the machine may have other work
    answer.raise_for_status()
    assert "nocturne_unreadable{" not in answer.text
    return {"seconds": round(taken, 4), "cpu": round(cpu, 4), "kb": len(answer.content) / 1000}


def measured(nights: int, turns: int, say: Callable[[str], None]) -> dict[str, list[dict[str, float]]]:
    """Scrapes of a lake of so many nights: the first, repeated, and after a night."""
    found: dict[str, list[dict[str, float]]] = {"first": [], "repeated": [], "after a night": []}
    sources, cases = with_sources(health.cases())
    with tempfile.TemporaryDirectory() as folder, lake_at(Path(folder)), mock.patch.object(health, "NIGHTS", nights):
        health.make(cases)
        fill(sources, cases, nights)
        numbers = count(health.LATER)
        with (
            mock.patch.object(metrics, "KEPT_SECONDS", -1.0),
            mock.patch.object(catch_up, "use_cases", return_value=cases),
            mock.patch.dict(os.environ, {"NOCTURNE_METRICS_TOKEN": TOKEN}),
        ):
            settings.cache_clear()
            for turn in range(turns):
                figures = metrics.Figures(sources=lambda: sources, cases=lambda: cases, now=lambda: NOW)
                client = TestClient(Starlette(routes=[Route("/metrics", metrics.Page(figures).answer)]))
                found["first"].append(scrape(client))
                found["repeated"].append(scrape(client))
                for source, case in zip(sources.values(), cases.values(), strict=True):
                    grow(source, case, next(numbers))
                found["after a night"].append(scrape(client))
                say(f"  {turn + 1}: {nights:,} nights: " + ", ".join(f"{what} {of[-1]}" for what, of in found.items()))
    return found


def run(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Scrapes after three years beside those after three months."""
    found = {nights: measured(nights, given.turns, say) for nights in (LONG, SHORT)}
    of = {"use_cases": health.CASES, "sources": health.CASES, "load": [round(one, 2) for one in os.getloadavg()]}
    return {
        f"a scrape, {what}, {health.CASES} use cases": {
            "turns": {f"{nights:,} nights": found[nights][what] for nights in (LONG, SHORT)}
        }
        | of
        for what in found[LONG]
    }
