"""What the client of Airflow's API waits for."""

from __future__ import annotations

from typing import Any

import pytest

from include.airflow_client import Airflow
from include.partitions import Partitions

RUN = {
    "dag_id": "ingest",
    "dag_run_id": "manual__1",
    "partition_key": "2013-06-01",
    "conf": None,
    "state": "queued",
    "queued_at": "2013-06-02T00:00:00Z",
    "run_after": "2013-06-02T00:00:00Z",
    "start_date": None,
    "end_date": None,
    "run_type": "manual",
}


@pytest.fixture
def airflow() -> Airflow:
    """A client that has not logged in."""
    return object.__new__(Airflow)


def test_a_run_that_was_started_is_there(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow answers before it has committed; what is written next would keep it from that."""
    asked = list[str]()

    def call(method: str, path: str, **_: Any) -> Any:
        asked.append(method)
        if method == "GET" and asked.count("GET") < 3:
            raise RuntimeError(f"Airflow refused {method} {path}: 404 the DagRun was not found")
        return RUN

    monkeypatch.setattr(airflow, "call", call)
    assert airflow.trigger("ingest", Partitions.parse("2013-06-01")).run_id == "manual__1"
    assert asked == ["POST", "GET", "GET", "GET"]


def test_another_refusal_is_not_waited_out(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(method: str, path: str, **_: Any) -> Any:
        if method == "GET":
            raise RuntimeError(f"Airflow refused {method} {path}: 403 forbidden")
        return RUN

    monkeypatch.setattr(airflow, "call", call)
    with pytest.raises(RuntimeError, match="403"):
        airflow.trigger("ingest", Partitions.parse("2013-06-01"))
