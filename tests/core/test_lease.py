"""Leases as rows of a real PostgreSQL: one holder at a time, whatever becomes of it, and of the database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from typing import IO

import polars as pl
import pytest

from include.core import database, lease
from include.core.lease import BusyError, LostLeaseError
from include.core.settings import settings
from include.lake import chain, commit, delta
from tests import postgres
from tests.ingestion.connectors.test_database import Server, running

TERM = 1.5
DAY = date(2020, 2, 1)


class Restartable:
    """A PostgreSQL that can be stopped and started again, with the schema nocturne."""

    def __init__(self, of: Server, data: Path) -> None:
        self.of, self._data, self._runs = of, data, ExitStack()
        self.url = postgres.url(of)

    def start(self) -> None:
        self._runs.enter_context(running(self.of, self._data))

    def stop(self) -> None:
        self._runs.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Restartable]:
    with postgres.made() as (of, data):
        found = Restartable(of, data)
        found.start()
        with closing(database.connected(found.url, "the database")) as connection:
            database.create(connection)
        yield found
        found.stop()


@pytest.fixture
def rows(server: Restartable, home: Path, monkeypatch: pytest.MonkeyPatch) -> Restartable:
    """Leases are rows of that server, good for a second and a half."""
    monkeypatch.setenv("NOCTURNE_LEASE_DB", server.url)
    settings.cache_clear()
    monkeypatch.setattr(lease, "TERM", TERM)
    monkeypatch.setattr(lease, "RENEW", TERM / 4)
    monkeypatch.setattr(lease, "AGAIN", 0.1)
    server.of.sql("DELETE FROM nocturne.lease")
    return server


class Other:
    """A process of its own that holds a lease."""

    def __init__(self, name: str, term: float = TERM) -> None:
        command = [sys.executable, "-m", "tests.core.holder", name, str(term)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ)
        self.token = int(self.says().split()[1])

    def says(self) -> str:
        out: IO[str] | None = self.process.stdout
        assert out is not None
        return out.readline()

    def asked(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return self.says()


@pytest.fixture
def other(rows: Restartable) -> Iterator[Callable[..., Other]]:
    made: list[Other] = []

    def begin(name: str, term: float = TERM) -> Other:
        made.append(Other(name, term))
        return made[-1]

    yield begin
    for one in made:
        one.process.kill()
        one.process.wait()


def test_two_contenders_take_turns(rows: Restartable) -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most
        with lease.lease("toys"):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(12)))
    assert most == 1
    assert rows.of.sql("SELECT count(*) FROM nocturne.lease").strip() == "0"


def test_a_lease_lasts_as_long_as_its_holder_works(rows: Restartable) -> None:
    with lease.lease("toys"):
        time.sleep(2 * TERM)
        lease.require_held()
        with pytest.raises(BusyError), lease.lease("toys", patience=0):
            pass


def test_who_waits_in_vain_is_told_who_holds_it_and_where(other: Callable[..., Other]) -> None:
    holder = other("deploy toys")
    said = rf"deploy toys: process {holder.process.pid} on \S+, since 20.* UTC, has held"
    with pytest.raises(BusyError, match=said), lease.lease("deploy toys", patience=0.3):
        pass
    with lease.lease("deploy other", patience=0):
        pass


def test_a_killed_holder_keeps_others_waiting_no_longer_than_a_term(other: Callable[..., Other]) -> None:
    holder = other("toys")
    holder.process.kill()
    begun = time.monotonic()
    with lease.lease("toys"):
        assert lease.token("toys") > holder.token
    assert time.monotonic() - begun < 3 * TERM + 2


def test_a_holder_that_slept_through_its_term_is_refused_when_it_wakes(other: Callable[..., Other]) -> None:
    holder = other("toys")
    assert holder.asked() == "still\n"
    holder.process.send_signal(signal.SIGSTOP)
    with lease.lease("toys"):
        holder.process.send_signal(signal.SIGCONT)
        assert holder.asked().startswith(f"lost toys: process {holder.process.pid} on ")
        lease.require_held()


@pytest.mark.full
def test_a_lease_that_ran_out_is_lost_even_where_nobody_has_taken_it(other: Callable[..., Other]) -> None:
    holder = other("toys")
    holder.process.send_signal(signal.SIGSTOP)
    time.sleep(1.5 * TERM)
    holder.process.send_signal(signal.SIGCONT)
    assert holder.asked().startswith("lost toys")


def test_a_restart_of_the_database_costs_nobody_a_lease(rows: Restartable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TERM", 20.0)
    with lease.lease("toys"):
        mine = lease.token("toys")
        rows.stop()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(lease.require_held)  # waits for it
            time.sleep(0.5)
            rows.start()
            asked.result(20)
        assert lease.token("toys") == mine
    with lease.lease("toys", patience=0):
        assert lease.token("toys") > mine


def test_a_database_that_is_gone_is_named_and_its_password_is_not(
    rows: Restartable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "OUTAGE", 0.0)
    monkeypatch.setenv("NOCTURNE_LEASE_DB", "postgresql://toys:hidden@127.0.0.1:9/postgres")
    settings.cache_clear()
    said = r"leases at 127\.0\.0\.1:9/postgres cannot be reached"
    with pytest.raises(database.DatabaseError, match=said) as gone, lease.lease("toys"):
        pass
    assert "hidden" not in str(gone.value)


def test_a_clock_that_is_off_changes_nothing(rows: Restartable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is timed by the database alone."""
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with lease.lease("toys"), pytest.raises(BusyError), lease.lease("toys", patience=0):
        pass


# --- what is committed under a lease ---


def stolen(rows: Restartable, name: str) -> None:
    """Have the lease ``name`` be somebody else's from now on, as after a sleep of its holder."""
    rows.of.sql(
        "UPDATE nocturne.lease SET token = nextval('nocturne.fencing_token'), holder = 'another', "
        f"expires_at = clock_timestamp() + interval '1 hour' WHERE name = '{name}'"
    )


LINE = pl.DataFrame({"what": ["a line"]})


def under(rows: Restartable, name: str, work: Callable[[], object]) -> None:
    """Do ``work`` under a lease that somebody else has got meanwhile."""
    with lease.lease(name):
        stolen(rows, name)
        work()


def test_a_holder_that_lost_its_lease_adds_no_line_to_a_ledger(rows: Restartable) -> None:
    chain.append("gold.toys", LINE, "the first")
    with pytest.raises(LostLeaseError, match="deploy toys"):
        under(rows, "deploy toys", lambda: chain.append("gold.toys", LINE, "not to be"))
    assert delta.scan("gold", "toys").collect().height == 1
    assert commit.unfinished() == []


def test_a_holder_that_lost_its_lease_replaces_no_day(rows: Restartable) -> None:
    days = pl.DataFrame({"day": [DAY], "score": [0.5]})
    delta.replace_days("gold", "scores", days, DAY, DAY, day="day")
    others = days.with_columns(score=0.9)
    with pytest.raises(LostLeaseError, match="measure toys"):
        under(rows, "measure toys", lambda: delta.replace_days("gold", "scores", others, DAY, DAY, day="day"))
    assert delta.scan("gold", "scores").collect()["score"].to_list() == [0.5]


def test_one_that_sleeps_between_asking_and_committing_is_found_out_by_the_token_in_the_table(
    rows: Restartable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that asks first can know what happens then: the later holder's commit itself has to tell."""
    table, days = "gold.scores", pl.DataFrame({"day": [DAY], "score": [0.5]})
    write_whole = commit.write_whole

    def of_another_day(day: date) -> commit.Change:
        return commit.frame_change(table, days.with_columns(day=pl.lit(day)), ["day"], lambda values: False)

    def sleeps(path: Path, text: str) -> None:
        write_whole(path, text)
        stolen(rows, "lake")
        mine = commit.token("lake")
        with monkeypatch.context() as later:
            later.setattr(commit, "token", lambda name: mine + 1)
            commit.commit(of_another_day(date(2020, 3, 1)), "the later holder's")

    with commit.committing():
        commit.commit_all([of_another_day(DAY)], "the first")
    with monkeypatch.context() as slow:
        slow.setattr(commit, "write_whole", sleeps)
        with pytest.raises(LostLeaseError, match="a later holder, by token"), commit.committing():
            commit.commit_all([of_another_day(date(2020, 4, 1))], "not to be")
    rows.of.sql("DELETE FROM nocturne.lease")
    with commit.committing():  # nor does the next one finish it
        pass
    assert commit.unfinished() == []
    assert delta.scan("gold", "scores").collect()["day"].sort().to_list() == [DAY, date(2020, 3, 1)]
