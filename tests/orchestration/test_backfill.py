"""What the command says of a backfill, and its exit code."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from include.core.partitions import Partitions
from include.orchestration import airflow_client, backfill
from include.orchestration.airflow_client import AirflowError, NotStartedError, RunFailedError
from include.orchestration.backfill import Each
from include.sources import source
from tests import commands

HEAD, NEXT = "lakehouse_ingest_flights", "lakehouse_transform_flights"


def ran(*dag_ids: str, monkeypatch: pytest.MonkeyPatch) -> int:
    runs = [SimpleNamespace(dag_id=one) for one in dag_ids]
    airflow = SimpleNamespace(
        url="",
        wait_for_dags=lambda ids, patience=0.0: None,
        trigger=lambda head, nights: runs[0],
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


class Recorded:
    """An Airflow that writes down what it is asked for. ``broken`` ranges and nights end as they say."""

    url = ""

    def __init__(self, broken: dict[str, Exception] | None = None) -> None:
        self.broken, self.said = broken or {}, list[str]()

    def wait_for_dags(self, wanted: set[str], patience: float = 0.0) -> None:
        pass

    def trigger(self, dag_id: str, nights: Partitions) -> SimpleNamespace:
        return SimpleNamespace(dag_id=dag_id, key=nights.key)

    def backfill(self, dag_id: str, nights: Partitions) -> list[SimpleNamespace]:
        return [SimpleNamespace(dag_id=dag_id, key=str(day)) for day in nights.days]

    def follow(self, heads: Sequence[SimpleNamespace]) -> list[SimpleNamespace]:
        for head in heads:
            self.said.append(head.key)
            if head.key in self.broken:
                raise self.broken[head.key]
        return [*heads, *(SimpleNamespace(dag_id=NEXT, key=head.key) for head in heads)]


def backfilled(airflow: Recorded, nights: str, each: Each = Each.MONTH) -> list[str]:
    runs = backfill.run(airflow, source("flights"), Partitions.parse(nights), each)
    return [run.key for run in runs if run.dag_id == HEAD]


def test_there_is_a_run_for_each_month_one_after_the_other() -> None:
    airflow = Recorded()
    assert backfilled(airflow, "2013-12-30..2014-03-01") == airflow.said
    assert airflow.said == ["2013-12-30..2013-12-31", "2014-01-01..2014-01-31", "2014-02-01..2014-02-28", "2014-03-01"]


def test_on_request_there_is_one_for_each_night_or_for_all_of_them() -> None:
    assert backfilled(Recorded(), "2013-06-30..2013-07-02", Each.NIGHT) == ["2013-06-30", "2013-07-01", "2013-07-02"]
    assert backfilled(Recorded(), "2013-06-30..2013-07-02", Each.ALL) == ["2013-06-30..2013-07-02"]
    assert commands.run("backfill", "--from", "2013-06-01", "--to", "2013-06-02", "--nightly", "--at-once") == 2


def test_the_nights_of_a_month_that_failed_are_run_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What comes before the broken night is brought, it is named, and nothing after it is begun."""
    broken = {"2013-06-28..2013-06-30": RunFailedError("29 is damaged"), "2013-06-29": RunFailedError("29 is damaged")}
    airflow = Recorded(dict(broken))
    with pytest.raises(RunFailedError, match="29 is damaged"):
        backfilled(airflow, "2013-06-28..2013-07-05")
    assert airflow.said == ["2013-06-28..2013-06-30", "2013-06-28", "2013-06-29"]
    assert "2013-06-28..2013-06-30 failed as a range: its nights are run one by one" in capsys.readouterr().err

    mended_meanwhile = Recorded({"2013-06-28..2013-06-30": RunFailedError("a race was lost")})
    nights = ["2013-06-28", "2013-06-29", "2013-06-30"]
    assert backfilled(mended_meanwhile, "2013-06-28..2013-07-05") == [*nights, "2013-07-01..2013-07-05"]


@pytest.mark.parametrize(
    ("error", "each", "nights"),
    [
        (NotStartedError("is paused"), Each.MONTH, "2013-06-01..2013-06-03"),
        (RunFailedError("damaged"), Each.ALL, "2013-06-01..2013-06-03"),
        (RunFailedError("damaged"), Each.MONTH, "2013-06-03"),
    ],
)
def test_what_nights_one_by_one_would_not_mend_is_not_tried(error: Exception, each: Each, nights: str) -> None:
    airflow = Recorded({nights: error})
    with pytest.raises(type(error)):
        backfilled(airflow, nights, each)
    assert airflow.said == [nights]
