"""Whatever is killed while a night is ingested, the night ends as if nothing had been.

``kill -9`` of the task, the worker that watches it, the Spark server or the scheduler, at a seeded random moment of an
ingestion whose content differs from what is published. A reader looks at the tables all the while.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl
import psutil
import pytest
from deltalake import DeltaTable

from examples.replay import replay
from include.core.partitions import Partitions
from include.lake.delta import content_hash
from include.local.launch import starts_file
from include.local.processes import of_service
from include.local.supervisor import Supervisor
from include.orchestration.airflow_client import FINISHED, Run
from tests.integration.conftest import Stack

pytestmark = pytest.mark.integration

HEAD, FOLLOWER = "lakehouse_ingest_flights", "lakehouse_transform_flights"
NIGHT = Partitions.parse("2013-12-01")
LATE = date(2013, 11, 20)
SAMPLE = (0, 3, 5)  # rounds of `make test`: a task, a worker, the scheduler; the others are for `make test-full`
ROUNDS = 52
VICTIMS = ("task", "spark", "scheduler", "worker", "idle worker")
# Every kind in turn. An idle worker may hold the lock of the queue that all of them wait at.
ORDER = [{3: "worker", 9: "idle worker"}.get(n % 12, VICTIMS[n % 3]) for n in range(ROUNDS)]
Content = dict[str, str]


@dataclass
class Reader(threading.Thread):
    """Looks at every table of the night again and again, and keeps each content that it saw."""

    stack: Stack
    seen: dict[str, set[str]] = field(default_factory=dict)
    looks: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._stop_now = threading.Event()

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        while not self._stop_now.is_set():
            for table, content in published(self.stack).items():
                self.seen.setdefault(table, set()).add(content)
            self.looks += 1
            time.sleep(0.2)

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


def published(stack: Stack) -> Content:
    """The content hash of the night's rows in every bronze table. When and by which run a row came is no content."""
    found = {}
    for path in sorted((stack.settings.lake / "bronze").glob("flights__*")):
        if not DeltaTable.is_deltatable(str(path)):
            continue
        rows = (
            pl.scan_delta(str(path))
            .filter(pl.col("ingestion_date") == NIGHT.first)
            .drop("arrived_at", "run", strict=False)
        )
        found[path.name] = content_hash(rows.collect())
    return found


def ingest(stack: Stack) -> Run:
    return stack.airflow.trigger(HEAD, NIGHT)


def end_of(stack: Stack, run: Run, patience: float = 600) -> Run:
    deadline = time.monotonic() + patience
    while (now := stack.airflow.run(run.dag_id, run.run_id)).state not in FINISHED:
        assert time.monotonic() < deadline, f"{run.run_id} has not ended after {patience} s"
        time.sleep(0.3)
    return now


def variant(stack: Stack, which: str) -> None:
    """Put the night's file there: as it is, or with a broken, a repeated, a changed and a late row."""
    file = stack.landing("actuals", NIGHT.key)
    lines = Path(f"{file}.whole").read_text().splitlines()
    if which == "other":
        broken, changed, late = (lines[n].split(",") for n in (1, 2, 3))
        broken[7], changed[6], late[0], late[2] = "late", "N00000", str(LATE), "9997"
        lines = [lines[0], *(",".join(row) for row in (broken, changed, late)), *lines[3:], lines[4]]
    part = file.with_name(f".{file.name}")
    part.write_text("\n".join(lines) + "\n")
    part.replace(file)


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> Iterator[dict[str, tuple[Content, float]]]:
    """What each variant comes to when nothing is killed, and the seconds that it took."""
    stack.airflow.wait_for_dags({HEAD, FOLLOWER})
    stack.airflow.call("PATCH", f"/dags/{FOLLOWER}", json={"is_paused": True})
    replay(stack.settings.landing, NIGHT)
    file = stack.landing("actuals", NIGHT.key)
    Path(f"{file}.whole").write_bytes(file.read_bytes())
    found = {}
    for which in ("whole", "other", "whole"):
        variant(stack, which)
        run = end_of(stack, ingest(stack))
        assert run.state == "success"
        found[which] = (published(stack), run.seconds or 0.0)
    assert found["whole"][0] != found["other"][0]
    yield found
    stack.airflow.call("PATCH", f"/dags/{FOLLOWER}", json={"is_paused": False})


def victim(stack: Stack, name: str, run: Run) -> int | None:
    """The process to kill; for a task or its worker, the first to be at work from now on. None once ``run`` is over."""
    if name in ("spark", "scheduler"):
        pid = int(Supervisor(stack.settings).services()[name]["pid"])
        assert pid, f"{name} is not running"
        # All rounds together kill it more often than a service is started again in ten minutes.
        starts_file(stack.settings, name).unlink(missing_ok=True)
        return pid
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in of_service(stack.settings.var, "scheduler"):
            with suppress(psutil.Error):
                title = " ".join(process.cmdline())
                is_worker, is_idle = "LocalExecutor" in title, "<idle>" in title
                kind = "idle worker" if is_idle else "worker" if is_worker else "task"
                if title.startswith("airflow worker -- ") and kind == name:
                    return process.pid
        if stack.airflow.run(run.dag_id, run.run_id).state in FINISHED:
            return None
        time.sleep(0.02)
    pytest.fail(f"no {name} was at work for a minute")


@pytest.mark.parametrize(
    "seed",
    [pytest.param(n, marks=[pytest.mark.full] if n not in SAMPLE else [], id=f"{n}-{ORDER[n]}") for n in range(ROUNDS)],
)
def test_a_killed_ingestion_ends_as_an_undisturbed_one(
    stack: Stack, undisturbed: dict[str, tuple[Content, float]], seed: int
) -> None:
    chance = random.Random(seed)
    which = "other" if seed % 2 == 0 else "whole"
    expected, seconds = undisturbed[which]
    variant(stack, which)
    reader = Reader(stack)
    reader.start()
    killed = None
    while not killed:  # now and then a run is faster: somebody must be there to be killed
        run = ingest(stack)
        time.sleep(chance.uniform(0, 0.8 * seconds))
        if killed := victim(stack, ORDER[seed], run):
            os.kill(killed, signal.SIGKILL)
    ended = end_of(stack, run)
    reader.stop()
    assert ended.state == "success"
    assert published(stack) == expected
    whole = {table: {undisturbed[each][0][table] for each in undisturbed} for table in expected}
    half = {table: contents - whole[table] for table, contents in reader.seen.items() if contents - whole[table]}
    assert half == {}, f"a reader saw something of neither variant, in {reader.looks} looks"


def test_the_equation_is_exact_after_all_that(stack: Stack, undisturbed: dict[str, tuple[Content, float]]) -> None:
    rows = pl.read_delta(str(stack.settings.lake / "bronze" / "flights__completeness"))
    rows = rows.filter(pl.col("ingestion_date") == NIGHT.first)
    for row in rows.iter_rows(named=True):
        file = stack.landing(row["feed"], str(row["partition_day"]))
        assert row["rows_in"] == len(file.read_text().splitlines()) - 1
        assert row["rows_in"] == row["published"] + row["quarantined"] + row["deduplicated"]
