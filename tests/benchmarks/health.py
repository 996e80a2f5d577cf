"""The pages of model health after three years of nights: the first request and those after it, in the real application.

20 use cases of 40 features, each with 1,096 nights of measurements, figures and decisions, and as many lines of what
scoring took. The tables are made in one commit with a checkpoint, as maintenance leaves them, and then grow by a night
for 19 commits: a table of 1,096 files, and a log to read. A first request is one to a new application that has read
nothing; a repeated one finds that no table has changed. After a night, each table of a use case has a new commit.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
from fastapi.testclient import TestClient

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.lake import delta
from include.local.credentials import generate
from tests.benchmarks.history import lake_at
from tests.web import lake

CASES, NIGHTS, FEATURES, LATER = 20, 1_096, 40, 19
LAST = date(2026, 11, 26)
COPIED = ("monitoring", "figures", "decisions")


def cases() -> dict[str, UseCase]:
    return {name: lake.case_of(name, FEATURES) for name in (f"bench_health_{n}" for n in range(CASES))}


def make(found: dict[str, UseCase]) -> None:
    """One of which an input drifts, a quiet one, and the quiet one's tables for all others, each with its champion."""
    drifting, quiet, *others = found.values()
    lake.make(drifting, LAST, NIGHTS, lake.Story("delay_mean_1d", 9, 3.2))
    lake.make(quiet, LAST, NIGHTS, seed=2)
    for number in range(LATER):
        grow(drifting, number)
        grow(quiet, number)
    days = [LAST - timedelta(n) for n in range(NIGHTS)]
    for case in others:
        for table in COPIED:
            there = delta.table_path("gold", f"{quiet.name}__{table}")
            shutil.copytree(str(there), str(delta.table_path("gold", f"{case.name}__{table}")))
        lake.champion(case, days[-1])
        lake.scored(case, days)


def grow(case: UseCase, number: int) -> None:
    """Another content for the last night of each table, as a night that is new has."""
    for table, column in (("monitoring", "n"), ("figures", "n"), ("decisions", "model_version")):
        name = f"{case.name}__{table}"
        rows = delta.read_days("gold", name, LAST, LAST, day="partition_day")
        changed = rows.with_columns(pl.lit(97_000 + number).cast(rows.schema[column]).alias(column))
        delta.replace_days("gold", name, changed, LAST, LAST, day="partition_day")


@contextmanager
def application(found: dict[str, UseCase]) -> Iterator[TestClient]:
    """The pages, for somebody who is logged in, in an application that has read nothing."""
    from airflow.api_fastapi.app import create_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    from include.web import pages

    create_auth_manager()
    with mock.patch.multiple(pages, use_cases=lambda: found, use_case=found.__getitem__):
        app = pages.app()
        app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="bench", role="viewer")
        with TestClient(app) as client:
            client.get("/static/nocturne.css")
            yield client


def seconds(client: TestClient, path: str) -> dict[str, float]:
    begun, busy = time.monotonic(), time.process_time()
    answer = client.get(path)
    taken, cpu = time.monotonic() - begun, time.process_time() - busy  # the machine may have other work
    answer.raise_for_status()
    return {"seconds": round(taken, 4), "cpu": round(cpu, 4), "kb": len(answer.content) / 1000}


def run(given: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """First requests beside repeated ones: overview, a page of 90 nights, and one of three years."""
    found, name = cases(), "bench_health_0"
    paths = {
        "overview": "/health",
        "page, 90 nights": f"/health/{name}",
        "page, three years": f"/health/{name}?from={LAST - timedelta(NIGHTS - 1)}&to={LAST}",
    }
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of each request
    numbers = count(LATER)  # each night another content
    first, again, night = ({what: list[dict[str, float]]() for what in paths} for _ in range(3))
    with tempfile.TemporaryDirectory() as folder, lake_at(Path(folder)):
        generate(settings())
        say(f"a lake of {CASES} use cases and {NIGHTS:,} nights")
        begun = time.monotonic()
        make(found)
        say(f"  made in {time.monotonic() - begun:.0f} s")
        for turn in range(given.turns):
            for what, path in paths.items():
                with application(found) as client:
                    first[what].append(seconds(client, path))
                    again[what].append(seconds(client, path))
                    for case in found.values() if what == "overview" else [found[name]]:
                        grow(case, next(numbers))
                    night[what].append(seconds(client, path))
                say(
                    f"  {turn + 1}: {what}: {first[what][-1]}, again {again[what][-1]}, after a night {night[what][-1]}"
                )
    load = [round(one, 2) for one in os.getloadavg()]
    of = {"use_cases": CASES, "nights": NIGHTS, "features": FEATURES, "load": load}
    return {
        f"model health, {what}, {CASES} use cases of {NIGHTS:,} nights": {
            "turns": {"the first request": first[what], "repeated": again[what]},
            "after_a_night": night[what],
        }
        | of
        for what in paths
    }
