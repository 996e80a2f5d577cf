"""A landing file is the record of its night: made whole or not at all, kept, and fetched again only when it is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.contracts.connectors import Bucket, Cursor, Database, Http
from include.contracts.source import Column, Feed, Format, Source
from include.core.partitions import Partitions
from include.ingestion import landing
from include.ingestion.connectors import fetch as module
from include.ingestion.connectors.errors import NightNotOverError
from include.ingestion.connectors.fetch import extract, fetch

DAY = date(2020, 6, 1)
TRIPS = Feed("trips", "trips", (Column("a", "int", "a"),), key=("a",), connector=Bucket("s3", "toys", "{day}.csv"))
PLAN = replace(TRIPS, name="plan", lead_days=1)
STOPS = replace(TRIPS, name="stops", connector=None)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, (TRIPS, PLAN, STOPS))
Upstream = dict[date, bytes]


@pytest.fixture
def upstream(home: Path, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """What an upstream has for each day; asked for by a fetcher that only copies."""
    there: Upstream = {}

    def copies(_: Any, source: Source, feed: Feed, day: date, part: Path) -> bool:
        part.write_bytes(there.get(day, b"half of "))
        if there.get(day) == b"fails":
            raise OSError("cut off")
        return day in there

    monkeypatch.setitem(module.FETCHERS, Bucket, copies)
    return there


def folder() -> Path:
    return landing.path_of(SOURCE, TRIPS, DAY).parent


def test_it_becomes_the_landing_file(upstream: Upstream) -> None:
    upstream[DAY] = b"a\n1\n"
    path = fetch(SOURCE, TRIPS, DAY)
    assert path == landing.path_of(SOURCE, TRIPS, DAY)
    assert path.read_bytes() == b"a\n1\n"
    assert list(folder().iterdir()) == [path]


def test_what_is_there_is_kept(upstream: Upstream) -> None:
    upstream[DAY] = b"first"
    path = fetch(SOURCE, TRIPS, DAY)
    upstream[DAY] = b"second"
    assert fetch(SOURCE, TRIPS, DAY) == path
    assert path
    assert path.read_bytes() == b"first"
    path.unlink()
    fetch(SOURCE, TRIPS, DAY)
    assert path.read_bytes() == b"second", "deleting it is how to ask for it again"


def test_nothing_makes_no_file(upstream: Upstream) -> None:
    assert fetch(SOURCE, TRIPS, DAY) is None
    assert list(folder().iterdir()) == []


def test_a_failure_leaves_nothing(upstream: Upstream) -> None:
    upstream[DAY] = b"fails"
    with pytest.raises(OSError, match="cut off"):
        fetch(SOURCE, TRIPS, DAY)
    assert list(folder().iterdir()) == []


def test_what_is_being_written_is_seen_by_nobody(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of a kill: a hidden name, which `landed` and `unexpected` pass over."""
    seen: list[Path] = []

    def looks(part: Path, path: Path) -> None:
        seen.extend(folder().iterdir())
        assert not path.exists()
        assert landing.unexpected(SOURCE) == []
        assert landing.landed(SOURCE, Partitions(DAY, DAY)) == {}

    upstream[DAY] = b"a\n1\n"
    monkeypatch.setattr(module, "land", looks)
    monkeypatch.setattr(module, "log", type("Log", (), {"info": lambda *_: None}))
    with pytest.raises(FileNotFoundError):
        fetch(SOURCE, TRIPS, DAY)
    assert [path.name[0] for path in seen] == ["."]


def test_what_a_kill_left_goes_after_a_day(upstream: Upstream) -> None:
    folder().mkdir(parents=True)
    old, new = folder() / ".2020-05-01.csv.0.part", folder() / ".2020-05-02.csv.0.part"
    (folder() / ".2020-05-01.csv.0.spark.part").mkdir()
    for path in (old, new, *folder().glob("*.spark.part")):
        if not path.is_dir():
            path.write_bytes(b"half")
    for path in (old, folder() / ".2020-05-01.csv.0.spark.part"):
        os.utime(path, times=(time.time() - 2 * 86400,) * 2)
    fetch(SOURCE, TRIPS, DAY)
    assert list(folder().iterdir()) == [new]


@pytest.mark.parametrize(("feed", "ahead"), [(TRIPS, 0), (PLAN, 1)])
def test_a_night_that_is_not_over_is_not_recorded(upstream: Upstream, feed: Feed, ahead: int) -> None:
    today = datetime.now(UTC).date()
    day, over = today + timedelta(ahead), today + timedelta(ahead - 1)
    upstream |= {day: b"so far", over: b"all"}
    with pytest.raises(NightNotOverError, match=f"night {today} ends at .* 00:00 UTC"):
        fetch(SOURCE, feed, day)
    assert fetch(SOURCE, feed, over)


def test_a_range_is_fetched_night_by_night_each_feed_by_its_own_day(upstream: Upstream) -> None:
    upstream |= {DAY + timedelta(n): b"a\n1\n" for n in (0, 2)}
    assert extract(SOURCE, Partitions(DAY, DAY + timedelta(1))) == {"trips": ["2020-06-01"], "plan": ["2020-06-03"]}
    assert not landing.path_of(SOURCE, STOPS, DAY).parent.exists(), "its upstream puts its files there itself"


@pytest.mark.parametrize(
    ("connector", "brought", "problem"),
    [
        (Http("api", "trips", Cursor()), Format.CSV, "feed trips: Http brings jsonl, not csv"),
        (Database("db", "public.trips", "at"), Format.JSONL, "feed trips: Database brings parquet, not jsonl"),
    ],
)
def test_a_connector_and_a_format_that_it_does_not_bring_are_refused(
    connector: Http | Database, brought: Format, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(TRIPS, connector=connector, format=brought)


def test_the_recipe_extracts_for_sources_with_connectors_only(recipe: Callable[[Source], Any]) -> None:
    dag = recipe(SOURCE)
    assert dag.get_task("plan").upstream_task_ids == {"extract", "wait"}
    assert dag.get_task("extract").upstream_task_ids == set()
    without = replace(SOURCE, feeds=(STOPS,))
    assert "extract" not in recipe(without).task_ids


@pytest.fixture
def recipe() -> Callable[[Source], Any]:
    """The function of the DAG file."""
    import importlib.util

    path = Path(__file__).resolve().parents[3] / "dags" / "sources" / "ingest.py"
    spec = importlib.util.spec_from_file_location("recipe_of_ingest", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ingest
