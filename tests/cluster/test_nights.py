"""The demonstration on the cluster, and nights in whose middle a service goes: all hold what a laptop's do.

What a lake holds is told by one word a table (``make lake``). That no row is lost or doubled is that the words are
those of a laptop that had the same nights and was left alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from include.core.partitions import Partitions
from tests.cluster.containers import Cluster, Container
from tests.s3 import free_port
from tests.several_machines import without_installation

pytestmark = [pytest.mark.integration, pytest.mark.full]

HELD = """
import json
from include.lake import delta, publications
predictions = "flight_delays__predictions"
print(json.dumps(publications.held() | {predictions: delta.content_hash(delta.read_all("gold", predictions))}))
"""
LAND = """
import sys
from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import settings
replay(settings().landing, Partitions.parse(sys.argv[1]))
"""
LAST = """
import polars as pl
from include.lake import delta
print(delta.scan("gold", "flight_delays__decisions").select(pl.col("partition_day").max()).collect().item())
"""
RUNNING = "SELECT hostname FROM task_instance WHERE state = 'running' AND dag_id LIKE '{stage}%' AND hostname <> ''"
HOUR = 3600.0


@dataclass(frozen=True)
class Laptop:
    """An installation as ``make run`` makes it, in a folder of its own."""

    environment: dict[str, str]

    def carry_out(self, *argv: str) -> str:
        """What a command of ours says. Raises AssertionError where it fails."""
        command = [sys.executable, "-m", "include.cli", *argv]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop that has had the demonstration. Its services are stopped while nobody asks it anything."""
    ports = {f"NOCTURNE_{service}_PORT": str(free_port()) for service in ("AIRFLOW", "MLFLOW", "SPARK")}
    of = Laptop(without_installation() | ports | {"NOCTURNE_VAR": str(tmp_path_factory.mktemp("laptop") / "var")})
    try:
        of.carry_out("run")
        of.carry_out("down")
        yield of
    finally:
        of.carry_out("down")


def python(code: str, *argv: str) -> list[str]:
    return ["exec", "--", "python", "-c", code, *argv]


def last_line(said: str) -> str:
    return said.strip().splitlines()[-1]


def held(carry_out: Callable[..., str]) -> dict[str, str]:
    """One word a table of what a lake holds, each column of the predictions among it."""
    found: dict[str, str] = json.loads(last_line(carry_out(*python(HELD))))
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(table for table in one.keys() | other.keys() if one.get(table) != other.get(table))


def of_cluster(cluster: Cluster) -> Callable[..., str]:
    return lambda *argv: cluster.do("operator", *argv, timeout=HOUR)


def test_the_demonstration_holds_what_a_laptops_does(cluster: Cluster, laptop: Laptop) -> None:
    carry_out = of_cluster(cluster)
    print(carry_out("run"))
    assert differences(held(carry_out), held(laptop.carry_out)) == []
    assert "all is as it was published" in carry_out("verify")


# --- nights in whose middle something goes


@dataclass
class Night:
    """A night that runs on the cluster."""

    cluster: Cluster
    ends: Future[str]

    def wait_for(self, stage: str) -> list[str]:
        """The hosts of the tasks of ``stage`` at work, once there are some. Raises AssertionError where none comes."""
        address = (self.cluster.folder / "secrets" / "NOCTURNE_AIRFLOW_DB").read_text().strip()
        ask = ("psql", address, "-qAt", "-c", RUNNING.format(stage=stage))
        until = time.monotonic() + 900
        while not (found := self.cluster.exec("postgres", *ask, check=False).split()):
            assert not self.ends.done(), f"the night ended before {stage} was seen at work: {self.ends.result()}"
            assert time.monotonic() < until, stage
            time.sleep(0.3)
        return found


@contextmanager
def a_night(cluster: Cluster, night: Partitions) -> Iterator[Night]:
    """``night`` lands and runs; at the end it has to be through, and well."""
    carry_out = of_cluster(cluster)
    carry_out(*python(LAND, str(night)))
    with ThreadPoolExecutor(1) as beside:
        going = Night(cluster, beside.submit(carry_out, "backfill", "--from", str(night), "--to", str(night)))
        yield going
        assert "all well" in going.ends.result()


@pytest.fixture(scope="module")
def nights(cluster: Cluster) -> Iterator[Partitions]:
    """The nights after the demonstration's, one a test."""
    last = last_line(of_cluster(cluster)(*python(LAST)))
    return iter(Partitions.parse(last).shift(after) for after in range(1, 40))


KILLED = [
    *((service, "lakehouse_ingest") for service in ("s3", "redis", "scheduler", "api-server", "dag-processor")),
    *((service, "lakehouse_transform") for service in ("postgres", "spark-master", "spark-worker", "spark")),
    *((service, "flight_delays_features") for service in ("mlflow", "triggerer")),
]


def require_well_again(cluster: Cluster, one: Container) -> None:
    """Raise AssertionError where a container that was started again does not become healthy."""
    until = time.monotonic() + 300
    while said := cluster.health(one):
        assert time.monotonic() < until, said
        time.sleep(2)


@pytest.mark.parametrize(("service", "stage"), KILLED)
def test_a_service_that_is_killed_costs_no_night(
    cluster: Cluster, nights: Iterator[Partitions], service: str, stage: str
) -> None:
    one = cluster.of(service)
    with a_night(cluster, next(nights)) as night:
        night.wait_for(stage)
        killed = one.process
        cluster.kill(one)
    assert one.process is not killed, "it was not started again"
    require_well_again(cluster, one)


def test_a_worker_is_lost_with_its_disk(cluster: Cluster, nights: Iterator[Partitions]) -> None:
    with a_night(cluster, next(nights)) as night:
        at_work = night.wait_for("lakehouse_transform")
        lost = next(one for one in cluster.containers if one.hostname in at_work)
        cluster.lose(lost)
    require_well_again(cluster, lost)


REFUSE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class No(BaseHTTPRequestHandler):
    def no(self):
        self.send_response(503, "Slow Down"); self.send_header("Content-Length", "0"); self.end_headers()
    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = no
ThreadingHTTPServer(("", 8333), No).serve_forever()
"""


@contextmanager
def in_place_of(cluster: Cluster, one: Container, code: str) -> Iterator[None]:
    """A program of this machine's Python answers at the address of a container, which is stopped meanwhile."""
    cluster.away.add(one.hostname)
    cluster.kill(one)
    command = ["ip", "netns", "exec", one.namespace, sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as it:
        try:
            yield
        finally:
            it.kill()
            cluster.away.remove(one.hostname)


def test_s3_answers_503_for_a_minute(cluster: Cluster, nights: Iterator[Partitions]) -> None:
    with a_night(cluster, next(nights)) as night:
        night.wait_for("lakehouse_ingest")
        with in_place_of(cluster, cluster.of("s3"), REFUSE):
            time.sleep(60)


def test_after_all_of_it_the_lake_is_a_laptops_that_was_left_alone(
    cluster: Cluster, laptop: Laptop, nights: Iterator[Partitions]
) -> None:
    first = Partitions.parse(last_line(laptop.carry_out(*python(LAST)))).shift(1).first
    had = Partitions(first, next(nights).first - timedelta(1))
    laptop.carry_out("up", "--quiet")
    for day in had.days:
        night = str(Partitions(day, day))
        laptop.carry_out(*python(LAND, night))
        laptop.carry_out("backfill", "--from", night, "--to", night)
    carry_out = of_cluster(cluster)
    assert differences(held(carry_out), held(laptop.carry_out)) == []
    assert "all is as it was published" in carry_out("verify")
    carry_out("audit")
