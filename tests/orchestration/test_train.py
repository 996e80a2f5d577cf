"""What the command says of a training, and its exit code."""

from types import SimpleNamespace

import pytest

from include.orchestration import airflow_client, train
from tests import commands


def ran(monkeypatch: pytest.MonkeyPatch, *, partition: str = "2013-05-31", paused: tuple[str, ...] = ()) -> int:
    """The exit code, where Airflow trains version 3, and versions 1 and 2 are in the ledger."""
    airflow = SimpleNamespace(
        url="",
        wait_for_dags=lambda ids: None,
        paused=lambda: set(paused),
        trigger=lambda dag_id, nights: SimpleNamespace(dag_id=dag_id),
        follow=lambda heads: heads,
        result=lambda run, task_id: {"version": 3},
    )
    monkeypatch.setattr(airflow_client, "Airflow", lambda settings: airflow)
    return commands.run("train", "--use-case", "flight_delays", "--partition", partition)


def champions(monkeypatch: pytest.MonkeyPatch, *versions: int, verdict: str = "refuse") -> None:
    rows = [SimpleNamespace(model_version=one, effective_from="2013-06-01", reason="passed") for one in versions]
    monkeypatch.setattr(train.ledger, "read", lambda case: rows)
    said = SimpleNamespace(verdict=verdict, reasons=["AUC .51 is below .55"], model_sha256="three")
    monkeypatch.setattr(train.rollouts, "read", lambda case: [])
    monkeypatch.setattr(train.record, "last_judgement", lambda case, version: said)


def test_a_champion_is_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    champions(monkeypatch, 1, 2, 3)
    assert ran(monkeypatch) == 0
    assert "version 3 is champion from 2013-06-01 on: passed" in capsys.readouterr().out


def test_a_refusal_says_why_and_is_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    champions(monkeypatch, 1, 2)
    assert ran(monkeypatch) == 1
    assert "version 3 was refused: AUC .51 is below .55" in capsys.readouterr().err


def test_one_that_waits_is_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    champions(monkeypatch, 1, 2, verdict="wait")
    assert ran(monkeypatch) == 0
    assert "version 3 waits: AUC .51" in capsys.readouterr().out


def test_one_that_waits_for_an_approval_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    champions(monkeypatch, 1, 2, verdict="promote")
    monkeypatch.setattr(train.approvals, "how_it_stands", lambda case, version: "it waits for a person")
    assert ran(monkeypatch) == 0
    assert "version 3 is not champion yet: it waits for a person" in capsys.readouterr().out


def test_one_that_is_rolled_out_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    champions(monkeypatch, 1, 2, verdict="promote")
    monkeypatch.setattr(train.rollouts, "how_it_stands", lambda steps, version, sha: "it is in its shadow")
    assert ran(monkeypatch) == 0
    assert "version 3 is not champion yet: it is in its shadow" in capsys.readouterr().out


def test_a_paused_dag_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(monkeypatch, paused=("flight_delays_train",)) == 1
    assert "flight_delays_train is paused" in capsys.readouterr().err


def test_what_is_no_day_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(monkeypatch, partition="May") == 2
    assert "'May' is no partition key" in capsys.readouterr().err
