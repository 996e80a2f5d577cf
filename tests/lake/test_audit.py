"""The audit log: whole whatever happens meanwhile, in nobody's way, and not to be cut at its end unseen."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from include.core.lease import lease
from include.lake import audit, chain, commit, delta
from tests.conftest import installed

STEPS: dict[str, tuple[object, str]] = {
    "change": (chain, "change"),
    "commit": (commit, "commit"),
    "anchor": (audit, "_move_on"),
    "end": (Path, "unlink"),
}
"""Where a process can be killed that writes."""


@pytest.fixture
def lake(home: Path) -> Path:
    return home / "lake"


def lines() -> list[tuple[str, str, str]]:
    return list(audit.read().select("action", "subject", "who").iter_rows())


def fill(number: int) -> None:
    for line in range(number):
        audit.record("login", "Airflow", f"ann {line}")


def test_a_line_says_who_did_what(lake: Path) -> None:
    audit.record("rotation", "fernet key", "ann", "two services\nwere restarted")
    audit.record("login", "Airflow", "bob")
    rows = audit.read()
    assert lines() == [("rotation", "fernet key", "ann"), ("login", "Airflow", "bob")]
    assert rows["detail"].to_list() == ["two services were restarted", ""]
    assert rows["line"].to_list() == [1, 2]
    assert audit.broken() == []
    assert audit.anchored() == audit.Anchor(2, rows["seal"][1])


def test_a_long_detail_is_cut(lake: Path) -> None:
    audit.record("removal", "x" * 1000, "ann", "y" * 1000)
    row = audit.read().row(0, named=True)
    assert len(row["subject"]) == len(row["detail"]) == audit.MOST


def test_an_event_is_there_once(lake: Path) -> None:
    moment = datetime.now(UTC) - timedelta(days=3)
    entry = audit.Entry("login", "Airflow", "ann", happened_at=moment, event="airflow 17")
    audit.write([entry])
    audit.record("login", "Airflow", "bob")
    audit.write([entry, audit.Entry("login", "Airflow", "cid", happened_at=moment, event="airflow 18")])
    assert [who for _, _, who in lines()] == ["ann", "bob", "cid"]


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported what is slow to import, and used none of it."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["include.lake.audit", "tests.lake.test_audit"])
    return found


def beside(folder: Path, number: int) -> None:
    with installed(folder):
        fill(number)


def test_two_at_once_end_as_one_after_the_other(processes: ForkServerContext, home: Path, lake: Path) -> None:
    both = [processes.Process(target=beside, args=(home, 3)) for _ in range(2)]
    for process in both:
        process.start()
    fill(3)
    for process in both:
        process.join(120)
    audit.settle()
    assert audit.read()["line"].to_list() == list(range(1, 10))
    assert audit.broken() == []


def test_nobody_waits_for_it(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "PATIENCE", 0.2)
    with lease("audit"):
        begun = time.monotonic()
        audit.record("login", "Airflow", "ann")
        assert time.monotonic() - begun < 1
        assert lines() == []
    audit.record("login", "Airflow", "bob")
    assert [who for _, _, who in lines()] == ["ann", "bob"]
    assert list((lake / "_audit").iterdir()) == []


def test_a_night_does_not_wait_for_it_nor_it_for_a_night(lake: Path) -> None:
    with commit.committing():
        audit.record("login", "Airflow", "ann")
    assert [who for _, _, who in lines()] == ["ann"]


def test_a_lake_that_takes_nothing_leaves_lines_on_this_machine(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*given: object, **named: object) -> None:
        raise OSError("503")

    monkeypatch.setattr(audit.chain, "change", refuses)
    monkeypatch.setattr(audit, "_places", lambda: (UPath("/proc/no"), UPath(lake.parent / "waiting")))
    audit.record("login", "Airflow", "ann")
    monkeypatch.undo()
    monkeypatch.setattr(audit, "_places", lambda: (UPath(lake.parent / "waiting"),))
    audit.settle()
    assert [who for _, _, who in lines()] == ["ann"]


def test_who_commits_between_is_no_end_of_it(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit.record("login", "Airflow", "ann")
    change, once = chain.change, []

    def late(table: str, rows: pl.DataFrame) -> commit.Change:
        found = change(table, rows)
        if not once:
            once.append(1)
            delta.opened(audit.LAYER, audit.NAME).alter.set_table_properties({"delta.checkpointInterval": "21"})
        return found

    monkeypatch.setattr(audit.chain, "change", late)
    audit.record("login", "Airflow", "bob")
    assert [who for _, _, who in lines()] == ["ann", "bob"]
    assert audit.broken() == []


@pytest.mark.parametrize("where", STEPS)
def test_killed_anywhere_the_chain_is_whole_and_the_line_there_once(
    processes: ForkServerContext, home: Path, lake: Path, where: str
) -> None:
    """A line that waits is taken in by a process that dies in the middle, and again by the next one."""
    audit.record("login", "Airflow", "ann")
    audit._put_aside([audit.Entry("login", "Airflow", "bob", event="the one that waits")])
    process = processes.Process(target=victim, args=(home, where))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert audit.broken() == []
    audit.record("login", "Airflow", "cid")
    assert sorted(who for _, _, who in lines()) == ["ann", "bob", "cid"]
    assert audit.broken() == []


def victim(folder: Path, where: str) -> None:
    """Write what waits, and be killed as it comes to a step."""

    def die(*given: object, **named: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(*STEPS[where], die)
    with installed(folder):
        audit.settle()


def edited(change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Write the log anew, as somebody does who may write to the lake."""
    rows = change(audit.read())
    rows.write_delta(str(delta.table_path(audit.LAYER, audit.NAME)), mode="overwrite")


def test_a_line_that_was_edited_is_told(lake: Path) -> None:
    fill(3)
    edited(lambda rows: rows.with_columns(who=pl.when(pl.col("line") == 2).then(pl.lit("eve")).otherwise("who")))
    [said] = audit.broken()
    assert said.startswith("line 2 is not as it was written")


def test_lines_off_the_end_are_told_and_stay_told(lake: Path) -> None:
    fill(3)
    edited(lambda rows: rows.filter(pl.col("line") < 3))
    assert chain.broken(audit.read()) == []
    [said] = audit.broken()
    assert said.startswith("ledger.audit: line 3 is gone: ")
    fill(2)  # what comes after it covers nothing up
    assert len(audit.broken()) == 1
    audit.anchor_anew("ann")
    assert audit.cut_off() == []
    assert lines()[-1] == ("anchor", "ledger.audit", "ann")


def test_an_older_line_may_be_named(lake: Path) -> None:
    """Another machine has written since."""
    fill(2)
    before = audit._anchor().read_text()
    fill(2)
    audit._anchor().write_text(before)
    assert audit.broken() == []
    assert audit.look() == audit.Anchor(4, audit.read()["seal"][3])
