"""``make night`` runs what nobody else has, says what each stage did, and stops where one fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from include.contracts.source import Column, Feed, Source
from include.core.errors import BadRequestError, NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.lake import delta
from include.orchestration import readiness
from include.orchestration.airflow_client import Run
from include.scaffold import night
from include.sources import source

NIGHT = Partitions(date(2024, 5, 1), date(2024, 5, 1))
TOLLS = Feed(
    "tolls",
    "Tolls",
    (Column("day", "date", "day", required=True), Column("id", "int", "which", required=True)),
    ("id",),
    day_column="day",
    max_quarantined_share=0.5,
    retention_days=0,
)
ROADS = Source("roads", "Roads", "them", "all", "0 0 * * *", 6, date(2024, 5, 1), (TOLLS,))


def a_run(dag_id: str, key: str, state: str) -> Run:
    return Run(
        dag_id, "by_hand", key, state, "2024-05-02T00:00:00Z", None, 0.0 if state == "failed" else None, "manual"
    )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What Airflow knows, for a test to fill."""
    found: list[Run] = []
    monkeypatch.setattr(readiness, "runs_with", lambda dag_ids, nights: [run for run in found if run.dag_id in dag_ids])
    return found


@pytest.fixture
def roads(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with the source ``roads``, whose transformation needs no engine."""
    monkeypatch.setattr(night, "source_called", lambda name: ROADS if name == "roads" else source(name))
    monkeypatch.setattr(night, "transform", lambda source, nights: [])
    return home


def land(home: Path, *lines: str) -> None:
    path = home / "landing" / "roads" / "tolls" / "2024-05-01.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["day,id", *lines, ""]))


def test_it_says_what_each_stage_read_wrote_and_refused(roads: Path, runs: list[Run]) -> None:
    land(roads, "2024-05-01,1", "2024-05-01,2", "2024-05-01,what")
    said: list[str] = []
    assert night.run(NIGHT, source="roads", say=said.append) == 0
    assert said[0] == "ingest roads"
    assert "  tolls 2024-05-01: 3 rows in = 2 published + 1 quarantined + 0 deduplicated" in said
    assert any(line.startswith("  quarantine: tolls 2024-05-01: ") and "what" in line for line in said)
    assert any("bronze.roads__tolls" in line for line in said)
    assert said[-1].startswith("2024-05-01 is through in ")
    assert said[-1].endswith("Airflow was not told: nothing follows by itself")
    assert delta.scan("bronze", "roads__tolls").collect().height == 2
    assert not (settings().lake / "candidate").exists() or not list((settings().lake / "candidate").iterdir())


def test_again_it_changes_nothing(roads: Path, runs: list[Run]) -> None:
    land(roads, "2024-05-01,1")
    versions = set()
    for _ in range(2):
        assert night.run(NIGHT, source="roads", say=lambda line: None) == 0
        versions.add(delta.version("bronze", "roads__tolls"))
    assert len(versions) == 1


def test_a_partition_without_files_is_said(roads: Path, runs: list[Run]) -> None:
    said: list[str] = []
    assert night.run(NIGHT, source="roads", say=said.append) == 0
    assert any("nothing of roads 2024-05-01 has landed: bring " in line for line in said)
    assert "transform roads" not in said


def test_a_stage_that_fails_ends_it_and_says_why(roads: Path, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> None:
        raise NeedsAttentionError("a column is missing")

    land(roads, "2024-05-01,1")
    monkeypatch.setattr(night, "transform", fails)
    said: list[str] = []
    assert night.run(NIGHT, source="roads", say=said.append) == 1
    assert said[-2] == "  a column is missing"
    assert said[-1].startswith("transform roads failed after ")
    assert delta.exists("bronze", "roads__tolls")


@pytest.mark.parametrize("state", ["queued", "running"])
@pytest.mark.parametrize("key", ["2024-05-01", "2024-04-01..2024-05-31"])
def test_a_partition_that_airflow_has_is_refused(roads: Path, runs: list[Run], state: str, key: str) -> None:
    land(roads, "2024-05-01,1")
    runs.append(a_run("lakehouse_transform_roads", key, state))
    with pytest.raises(night.OnItsWayError, match=rf"lakehouse_transform_roads by_hand \({state}\)"):
        night.run(NIGHT, source="roads")
    assert not delta.exists("bronze", "roads__tolls")


def passed(dag_id: str) -> Run:
    """A run that has succeeded a moment ago."""
    return replace(a_run(dag_id, "2024-05-01", "success"), end=time.time())


def test_between_two_stages_a_partition_is_refused_and_behind_the_last_one_it_is_not(
    roads: Path, runs: list[Run]
) -> None:
    land(roads, "2024-05-01,1")
    runs.append(passed("lakehouse_ingest_roads"))
    with pytest.raises(night.OnItsWayError, match=r"just come through lakehouse_ingest_roads .* Try again in \d+ s"):
        night.run(NIGHT, source="roads")
    runs.append(passed("lakehouse_transform_roads"))
    assert night.run(NIGHT, source="roads", say=lambda line: None) == 0


def test_one_that_has_failed_or_is_another_partitions_is_not_in_the_way(roads: Path, runs: list[Run]) -> None:
    land(roads, "2024-05-01,1")
    runs += [
        a_run("lakehouse_ingest_roads", "2024-05-01", "failed"),
        a_run("lakehouse_ingest_roads", "2024-05-02", "running"),
    ]
    assert night.run(NIGHT, source="roads", say=lambda line: None) == 0


def nobody_answers(dag_ids: Any, nights: Any) -> list[Run]:
    raise ConnectionError("refused")


@pytest.mark.parametrize(
    ("source", "runs_with", "why"),
    [
        ("rails", None, "no source is called 'rails'; there are: flights"),
        ("roads", nobody_answers, "Airflow does not say which partitions it has: refused"),
    ],
)
def test_a_request_without_sense_is_refused(
    roads: Path,
    runs: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    runs_with: Callable[..., list[Run]] | None,
    why: str,
) -> None:
    if runs_with:
        monkeypatch.setattr(readiness, "runs_with", runs_with)
    with pytest.raises(BadRequestError, match=why):
        night.run(NIGHT, source=source)
