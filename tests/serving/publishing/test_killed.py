"""A publisher that is killed before any of its steps, and run again, leaves each target as one that nobody disturbs.

A process of its own, which ends by SIGKILL: no `finally` runs in it, and what it had open the system closes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from include.contracts.publishing import Target, ToFiles, ToHttp, ToKafka, ToPostgres
from include.core.settings import settings
from include.lake import chain, delta
from include.serving.publishing import ledger
from tests.conftest import installed
from tests.ingestion.connectors.test_database import Server
from tests.kafka import broker, make, messages
from tests.serving.publishing.conftest import DAY, FIRST, NEXT, SECOND, Receiver, case_of, publish, score

STEPS = (
    "include.core.lease.taken",
    "include.lake.chain.change",
    "include.lake.commit.write_whole",
    "include.lake.commit._forget",
    "include.lake.commit.commit",
    "include.serving.publishing.content.days",
    "include.serving.publishing.http.HttpSender._post",
    "include.serving.publishing.kafka.KafkaSender._produce",
    "include.serving.publishing.kafka.KafkaSender.send",
    "os.fsync",
    "pathlib.Path.replace",
    "psycopg.Connection.execute",
    "psycopg.Cursor.copy",
)
"""What a publisher does, one after the other: between two of them it can be killed."""

TARGETS: dict[str, Target] = {
    "postgres": ToPostgres(connection="scores", table="app.scores"),
    "files": ToFiles("out"),
    "http": ToHttp(connection="receiver", path="scores", batch=2),
    "kafka": ToKafka(connection="events", topic="scores", batch=2, timeout=30),
}
SAMPLE = [("postgres", 23), ("files", 9), ("http", 13)]
"""Of `make test`: who is killed, before which of its steps."""


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported what is slow to import, and used none of it."""
    found = multiprocessing.get_context("forkserver")
    slow = ("airflow.sdk.definitions.connection", "airflow.sdk.exceptions", "httpx", "psycopg", "confluent_kafka")
    found.set_forkserver_preload(["tests.serving.publishing.test_killed", *slow])
    return found


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(tmp_path_factory.mktemp("kafka") / "broker") as address:
        yield address


class World:
    """Two days that were published, one of which is scored anew, in a lake and a target of its own."""

    def __init__(self, kind: str, folder: Path, reach: Any) -> None:
        self.kind, self.folder, self.reach = kind, folder, reach
        self.target: Target = TARGETS[kind]
        if isinstance(self.target, ToKafka):
            self.target = ToKafka(connection="events", topic=f"scores-{folder.name}", batch=2, timeout=30)
            make(reach, self.target.topic)
        if isinstance(reach, Server):
            reach.sql("DROP SCHEMA IF EXISTS app CASCADE; CREATE SCHEMA app")
        if isinstance(reach, Receiver):
            reach.rows.clear()
        with installed(folder):
            found(self.target)
            score(case_of(self.target), DAY, FIRST)
            score(case_of(self.target), NEXT, {"coin 7": 0.7})
            publish(case_of(self.target))
            score(case_of(self.target), DAY, SECOND)

    def outcome(self) -> Any:
        """What the target has, and what the ledger says of it."""
        case = case_of(self.target)
        lines = delta.read_all("gold", case.published_table)
        assert chain.broken(lines) == []
        ends = [ledger.last(case, self.target.name, day) for day in (DAY, NEXT)]
        said = [(one.revision, one.content, one.rows, one.changed, one.gone, one.is_done) for one in ends if one]
        assert all(one[-1] for one in said)
        return said, self._held()

    def _held(self) -> Any:
        if self.kind == "postgres":
            marker = "SELECT prediction_day, revision, content, rows FROM app.scores__published ORDER BY 1"
            return self.reach.sql("SELECT * FROM app.scores ORDER BY 1, 2") + self.reach.sql(marker)
        if self.kind == "files":
            files = sorted((self.folder / "out").iterdir())
            return {file.name: file.read_bytes() for file in files if file.suffix == ".parquet"}, [
                file.name for file in files
            ]
        if self.kind == "http":
            return dict(sorted(self.reach.rows.items()))
        assert isinstance(self.target, ToKafka)
        newest: dict[bytes, tuple[int, bytes | None]] = {}
        for message in messages(self.reach, self.target.topic):
            revision = int(dict(message.headers())["revision"])
            if revision > newest.get(message.key(), (0, None))[0]:
                newest[message.key()] = (revision, message.value())
        return dict(sorted(newest.items()))


def found(target: Target) -> None:
    """Have the toy use case with this target be the one that there is."""
    import include.use_cases

    include.use_cases.use_cases = lambda: {"toy": case_of(target)}


def stepping(reached: Callable[[str], None]) -> None:
    """From now on ``reached`` is called before each of the ``STEPS``. For a process that ends soon."""
    from importlib import import_module

    for name in STEPS:
        module, _, attribute = name.rpartition(".")
        try:
            owner: Any = import_module(module)
        except ModuleNotFoundError:
            above, _, kind = module.rpartition(".")
            owner = getattr(import_module(above), kind)
        before = getattr(owner, attribute)

        def step(*given: Any, _before: Any = before, _name: str = name, **named: Any) -> Any:
            reached(_name)
            return _before(*given, **named)

        setattr(owner, attribute, step)


def victim(folder: str, environment: dict[str, str], target: Target, at: int, told: Any) -> None:
    """Publish, and be killed before the step ``at``; past the last one, say how many there were."""
    os.environ.update(environment | {"NOCTURNE_VAR": folder})
    settings.cache_clear()
    found(target)
    numbers = count(1)
    last = 0

    def reached(step: str) -> None:
        nonlocal last
        last = next(numbers)
        if last == at:
            os.kill(os.getpid(), signal.SIGKILL)

    stepping(reached)
    publish(case_of(target))
    told.put(last)


@pytest.fixture
def disturbed(
    processes: ForkServerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[str, int], tuple[Any, int | None]]]:
    """Gives what a publisher leaves that is killed before a step and run again; and how many steps, if it was not."""
    import include.use_cases

    before, numbers = include.use_cases.use_cases, count()
    reaching = {"postgres": "database", "files": "tmp_path", "http": "receiver", "kafka": "kafka"}

    def left(kind: str, at: int) -> tuple[Any, int | None]:
        reach = request.getfixturevalue(reaching[kind])
        if kind == "kafka":
            monkeypatch.setenv("AIRFLOW_CONN_EVENTS", json.dumps({"conn_type": "kafka", "host": reach}))
        world = World(kind, tmp_path / f"{next(numbers)}", reach)
        connections = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
        told = processes.Queue()
        process = processes.Process(target=victim, args=(str(world.folder), connections, world.target, at, told))
        process.start()
        process.join(120)
        steps = told.get(timeout=10) if process.exitcode == 0 else None
        assert process.exitcode in (0, -signal.SIGKILL)
        with installed(world.folder):
            found(world.target)
            publish(case_of(world.target))
            return world.outcome(), steps

    yield left
    include.use_cases.use_cases = before


@pytest.mark.parametrize(("kind", "at"), SAMPLE)
def test_run_again_it_ends_as_if_nothing_had_been(
    disturbed: Callable[[str, int], tuple[Any, int | None]], kind: str, at: int
) -> None:
    undisturbed, steps = disturbed(kind, 0)
    assert steps is not None
    assert at <= steps
    assert disturbed(kind, at) == (undisturbed, None)


@pytest.mark.full
@pytest.mark.parametrize("kind", TARGETS)
def test_killed_at_each_step_it_ends_as_if_nothing_had_been(
    disturbed: Callable[[str, int], tuple[Any, int | None]], kind: str
) -> None:
    undisturbed, steps = disturbed(kind, 0)
    assert steps is not None
    assert steps > 8
    for number in range(1, steps + 1):
        assert disturbed(kind, number) == (undisturbed, None), f"{kind} was killed before step {number} of {steps}"
