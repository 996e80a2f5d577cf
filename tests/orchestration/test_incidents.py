"""One message an incident: when it begins, when it is wrong in another way, and when it is over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from include.lake import commit, delta
from include.orchestration import incidents
from include.orchestration.alert_log import text
from include.orchestration.incidents import Event, Incident, alert_of, reported, settled

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def failure(partition: str = "2026-06-13", said: str = "no rows", dag: str = "lakehouse_ingest_flights") -> Incident:
    return Incident(
        f"failed {dag} {partition}", "failed", said, "mend it", dag=dag, run=f"run of {partition}", partition=partition
    )


def late(**more: object) -> Incident:
    return replace(Incident("late flights", "late", "flights: 2026-06-13 is late", "look"), **more)


def known(one: Incident) -> dict[str, Incident]:
    return {one.key: replace(one, opened_at=NOW, told_at=NOW)}


@pytest.mark.parametrize(
    ("open_", "new", "stopped_by", "event"),
    [
        ({}, failure(), "", "opened"),
        (known(failure()), failure(), "", "known"),
        (known(failure(said="process 17 was killed")), failure(said="process 4711 was killed"), "", "known"),
        (known(failure()), failure(said="no header"), "", "again"),
        (known(failure()), failure("2026-06-14"), "", "opened"),
        (known(failure()), failure("2026-06-14", "waits"), "2026-06-13", "waits"),
        (known(failure("2026-06-01..2026-06-13")), failure("2026-06-14", "waits"), "2026-06-13", "waits"),
        ({}, failure("2026-06-14", "waits"), "2026-06-13", "opened"),
    ],
)
def test_what_a_failure_is_among_those_that_are_open(
    open_: dict[str, Incident], new: Incident, stopped_by: str, event: Event
) -> None:
    assert reported(open_, new, stopped_by, None, NOW)[0] == event


def test_a_run_adds_nothing_to_what_its_task_has_said() -> None:
    of_run = failure(said="the run failed: task_failure")
    assert reported(known(failure()), of_run, "", NOW - timedelta(minutes=1), NOW)[0] == "known"
    begun_since = NOW + timedelta(minutes=1)
    assert reported(known(failure()), of_run, "", begun_since, NOW)[0] == "again", "that was an earlier try of the run"


def test_what_waits_for_a_night_is_counted_once_a_run() -> None:
    open_ = known(failure())
    for partition in ("2026-06-14", "2026-06-15", "2026-06-15"):
        _, changed = reported(open_, failure(partition, "waits"), "2026-06-13", None, NOW)
        assert changed is not None
        open_ |= {changed.key: changed}
    (one,) = open_.values()
    assert len(one.stopped) == 2
    said = text(alert_of(replace(one, over_at=NOW + timedelta(minutes=65)), "over"))
    assert "is well again: it lasted 1 h 5 min; 2 runs waited for it. It was: no rows" in said
    assert "To do" not in said


def test_a_state_begins_lasts_and_is_over() -> None:
    events, open_ = settled([], ["late"], [late()], NOW)
    assert [event for event, _ in events] == ["opened"]
    events, open_ = settled(open_.values(), ["late"], [late(said="now of two nights")], NOW + timedelta(hours=1))
    assert (events, open_["late flights"].said) == ([], "now of two nights")
    events, open_ = settled(open_.values(), ["late"], [], NOW + timedelta(hours=2))
    assert [(event, one.lasted) for event, one in events] == [("over", "2 h 0 min")]
    assert open_ == {}


def test_what_may_go_by_itself_is_told_when_it_has_not() -> None:
    hour = late(patience=timedelta(hours=1))
    events, open_ = settled([], ["late"], [hour], NOW)
    assert events == [], "nobody is told yet"
    assert settled(open_.values(), ["late"], [], NOW + timedelta(minutes=30)) == ([], {}), "nor that it went by itself"
    events, _ = settled(open_.values(), ["late"], [hour], NOW + timedelta(hours=1))
    assert [event for event, _ in events] == ["opened"]


def test_what_was_not_looked_at_and_what_opens_nothing() -> None:
    assert settled(known(late()).values(), ["paused"], [], NOW) == ([], known(late()))
    assert settled([], ["late"], [late(opens=False)], NOW) == ([], {}), "it began long ago, and nobody was told"
    events, open_ = settled(known(late()).values(), ["late"], [late(opens=False)], NOW)
    assert (events, list(open_)) == ([], ["late flights"]), "it is no end either"


def test_an_incident_is_kept_until_it_is_over(home: None) -> None:
    assert incidents.report(failure()) == "opened"
    assert incidents.report(failure()) == "known"
    assert incidents.report(failure("2026-06-14", "waits"), "2026-06-13") == "waits"
    (one,) = incidents.open_incidents().values()
    assert (one.said, len(one.stopped)) == ("no rows", 1)
    ((event, over),) = incidents.settle(["failed"], lambda _: [], datetime.now(UTC))
    assert (event, over.key, len(over.stopped)) == ("over", one.key, 1)
    assert incidents.open_incidents() == {}
    assert delta.read_all("ledger", "incidents").select("state", "key").rows() == [("over", one.key)]
    assert incidents.report(failure()) == "opened", "it may come again"
    assert incidents.close("no such") is None
    assert incidents.close(one.key) is not None
    assert incidents.open_incidents() == {}


def test_what_is_reported_during_a_look_is_not_over(home: None) -> None:
    incidents.report(failure("2026-06-12"))

    def look(open_: object) -> list[Incident]:
        incidents.report(failure("2026-06-13"))
        return []

    ((event, over),) = incidents.settle(["failed"], look, datetime.now(UTC))
    assert (event, over.partition) == ("over", "2026-06-12")
    assert [one.partition for one in incidents.open_incidents().values()] == ["2026-06-13"]


def test_many_who_report_at_once_open_one(home: None) -> None:
    with ThreadPoolExecutor(8) as threads:
        events = list(threads.map(lambda n: incidents.report(failure(f"2026-06-{10 + n % 2}")), range(8)))
    assert sorted(events) == ["known"] * 6 + ["opened"] * 2
    assert len(incidents.open_incidents()) == 2


def test_another_machine_that_writes_meanwhile_loses_nothing(home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease is its own: the table itself refuses who has read an older version."""
    version_of, crossed = commit.version_of, []

    def crossing(table: str) -> int:
        version = version_of(table)
        if not crossed:
            crossed.append(True)
            monkeypatch.setattr(incidents, "lease", lambda *_: pytest.MonkeyPatch.context())
            incidents.report(failure("2026-06-14"))
        return version

    monkeypatch.setattr(commit, "version_of", crossing)
    incidents.report(failure("2026-06-13"))
    assert {one.partition for one in incidents.open_incidents().values()} == {"2026-06-13", "2026-06-14"}


def test_a_look_reads_what_is_open_and_no_history(home: None) -> None:
    for n in range(1, 4):
        incidents.report(failure(f"2026-06-0{n}"))
        incidents.close(failure(f"2026-06-0{n}").key)
    incidents.report(failure())
    files = pl.DataFrame(delta.opened("ledger", "incidents").get_add_actions(flatten=True))
    assert files.filter(pl.col("partition.state") == "open").height == 1
