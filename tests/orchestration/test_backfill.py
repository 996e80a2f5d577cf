"""What the command says of a backfill, and its exit code."""

from types import SimpleNamespace

import pytest

from include.orchestration import airflow_client, backfill
from include.orchestration.airflow_client import AirflowError
from tests import commands

HEAD, NEXT = "lakehouse_ingest_flights", "lakehouse_transform_flights"


def ran(*dag_ids: str, monkeypatch: pytest.MonkeyPatch) -> int:
    runs = [SimpleNamespace(dag_id=one) for one in dag_ids]
    airflow = SimpleNamespace(
        url="",
        wait_for_dags=lambda ids, patience=0.0: None,
        backfill=lambda head, nights: runs,
        follow=lambda heads: runs,
    )
    monkeypatch.setattr(airflow_client, "Airflow", lambda settings: airflow)
    return commands.run("backfill", "--from", "2013-06-01", "--to", "2013-06-02")


def test_nights_that_went_on_are_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(HEAD, HEAD, NEXT, monkeypatch=monkeypatch) == 0
    assert "3 runs, all well" in capsys.readouterr().out


def test_nights_that_were_all_skipped_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source that was mistyped, or whose files are elsewhere: each of its nights is skipped, and none fails."""
    assert ran(HEAD, HEAD, monkeypatch=monkeypatch) == 1
    said = capsys.readouterr()
    assert "all well" not in said.out
    assert "for none of the 2 nights had a file of flights landed" in said.err


def test_a_use_case_that_is_broken_is_told_of_and_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(ids: set[str], patience: float = 0.0) -> None:
        if "flight_delays_features" in ids:
            raise AirflowError("Airflow does not know ['flight_delays_features']: SyntaxError")

    airflow = SimpleNamespace(wait_for_dags=wait)
    backfill.wait_for_use_cases(airflow, "flights")
    assert "flight_delays is left out, these days will not reach it" in capsys.readouterr().err
