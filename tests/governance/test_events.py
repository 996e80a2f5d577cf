"""Lineage events: each names what was read and written, and a server that is down holds nobody up."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from upath import UPath

from include.contracts.source import Column, Feed, Source
from include.core.settings import settings
from include.governance import events
from include.lake import delta
from include.lake.publish import Content, Publication
from tests.governance.conftest import DAY, Lake, day
from tests.s3 import free_port

NOW = datetime(2020, 1, 11, 0, 1, tzinfo=UTC)
COINS = Source(
    name="coins",
    description="coins",
    owner="tests",
    access="nobody",
    schedule="0 0 * * *",
    freshness_hours=1,
    first_day=day(1),
    feeds=(Feed("tosses", "tosses", (Column("a", "int", "a"),), key=("a",)),),
)


def context(dag_id: str = "toy_predict") -> dict[str, Any]:
    run = SimpleNamespace(dag_id=dag_id, run_id="scheduled", partition_key=str(DAY), run_after=NOW)
    return {"dag_run": run, "params": {}, "ti": SimpleNamespace(start_date=NOW, try_number=1)}


def parsed(line: str) -> RunEvent:
    """A line as OpenLineage's own model of the specification, which checks ids and times."""
    body = json.loads(line)
    assert body.pop("schemaURL").endswith("OpenLineage.json#/$defs/RunEvent")
    return RunEvent(
        **body
        | {
            "eventType": RunState(body["eventType"]),
            "run": Run(**body["run"]),
            "job": Job(**body["job"]),
            "inputs": [InputDataset(**one) for one in body["inputs"]],
            "outputs": [OutputDataset(**one) for one in body["outputs"]],
        }
    )


def told() -> list[RunEvent]:
    return [parsed(line) for line in events.default_file().read_text().splitlines()]


def names(datasets: list[Any]) -> dict[str, str]:
    """What people call a dataset, and its version."""
    return {
        one.facets.get("symlinks", {"identifiers": [{"name": one.name}]})["identifiers"][0]["name"]: one.facets[
            "version"
        ]["datasetVersion"]
        for one in datasets
    }


@pytest.fixture
def lake(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()
    events.default_file().parent.mkdir(parents=True)
    yield lake
    settings.cache_clear()


def test_a_feed_goes_from_its_landing_files_to_its_bronze_table(lake: Lake) -> None:
    plan = {"tosses": {str(day(9)): {"rows": 3, "columns": [], "sha256": "ab"}}}
    published = [Publication("bronze.coins__tosses", {(day(9), day(9)): Content(3, 1)}, ())]
    events.emit(context("lakehouse_ingest_coins"), events.of_ingest, COINS, plan, published)
    start, complete = told()
    assert (start.eventType, complete.eventType) == (RunState.START, RunState.COMPLETE)
    assert start.run.runId == complete.run.runId
    assert complete.job.name == "lakehouse_ingest_coins.tosses"
    assert complete.run.facets["parent"]["job"]["name"] == "lakehouse_ingest_coins"
    assert complete.run.facets["nominalTime"]["nominalEndTime"] == "2020-01-11T00:00:00+00:00"
    [file], [table] = complete.inputs, complete.outputs
    assert (file.namespace, file.name) == ("file", str(settings().landing / f"coins/tosses/{day(9)}.csv"))
    assert names([file]) == {file.name: "ab"}
    assert (table.namespace, table.name) == ("file", str(settings().lake / "bronze" / "coins__tosses"))
    assert table.outputFacets["outputStatistics"]["rowCount"] == 3
    assert table.facets["schema"]["fields"][0]["name"] == "day"


def test_a_model_comes_from_what_its_sql_names_and_not_from_all(lake: Lake) -> None:
    published = [Publication(f"gold.toy__{name}", {(DAY,): Content(1, 1)}, ()) for name in ("features", "labels")]
    delta.append("gold", "toy__labels", toy := delta.read_all("gold", "toy__features").head(0))
    assert toy.width
    events.emit(context("toy_features"), events.of_dbt, "toy_features", published)
    done = {one.job.name: one for one in told() if one.eventType is RunState.COMPLETE}
    assert names(done["toy_features.toy__features"].inputs).keys() == {"silver.register", "silver.tosses"}
    assert names(done["toy_features.toy__features"].outputs) == {
        "gold.toy__features": str(delta.version("gold", "toy__features"))
    }
    assert names(done["toy_features.toy__labels"].inputs).keys() == {"silver.tosses"}


def test_training_and_scoring_meet_in_a_version_of_the_model(lake: Lake) -> None:
    events.emit(context("toy_train"), events.of_training, "toy", {"version": 1, "versions": {"toy__features": 2}})
    scored = {"rows": 60, "by_version": {"1": 60}, "table_version": 0, "features_version": 3}
    events.emit(context("toy_predict"), events.of_scoring, "toy", scored)
    training, scoring = (one for one in told() if one.eventType is RunState.COMPLETE)
    assert names(training.inputs) == {"gold.toy__features": "2"}
    assert names(scoring.inputs) == {"gold.toy__features": "3", "toy": "1"}
    assert training.outputs[0].name == scoring.inputs[1].name
    assert training.outputs[0].namespace == scoring.inputs[1].namespace
    assert names(scoring.outputs) == {"gold.toy__predictions": "0"}


def test_another_try_is_another_run_and_the_same_one_the_same(lake: Lake) -> None:
    steps = [events.Step("score")]
    first, again = (events.events_of(context(), steps)[0].run.runId for _ in range(2))
    other = context()
    other["ti"].try_number = 2
    assert first == again
    assert events.events_of(other, steps)[0].run.runId != first


def test_a_bucket_and_its_keys_are_named_as_such() -> None:
    found = events._at(InputDataset, UPath("s3://nocturne/lake/gold/toy"), {})
    assert (found.namespace, found.name) == ("s3://nocturne", "lake/gold/toy")


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("answers", [False, None], ids=["refuses", "is silent"])
def test_a_server_that_is_down_fails_no_task_and_holds_none_up(
    lake: Lake,
    answers: bool | None,
    silent: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port() if answers is False else silent
    monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(events, "PATIENCE", 0.5)
    settings.cache_clear()
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING, "include.governance.events"):
        events.emit(context(), lambda: [events.Step("score")])
    assert time.monotonic() - begun < 15, "as long as the client tries by itself, or nearly"
    assert "the task does not wait for it any longer" in caplog.text or "no lineage was told" in caplog.text
    assert not events.default_file().exists()


def test_what_cannot_be_described_fails_no_task_either(lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    events.emit(context(), events.of_scoring, "toy", {})
    assert "no lineage was told: KeyError" in caplog.text
