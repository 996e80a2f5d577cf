"""``make compare-engines``: builds a partition on both engines from the same published tables, compares each value.

Each engine is started beside whatever runs, with files of its own, and ends with the command. Nothing is published; the
candidates that it builds are removed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import polars as pl

from include.contracts.use_case import UseCase
from include.core.partitions import Partitions
from include.core.settings import EMBEDDED, SPARK, Settings, settings
from include.lake import candidate
from include.local import credentials, jars
from include.local.checks import InstallationError, check_embedded, check_java
from include.local.health import WELL, spark_health
from include.local.launch import child_environment
from include.local.programs import Program, programs

START_SECONDS, BUILD_SECONDS = 120, 1800


def beside(here: Settings, engine: str, var: Path) -> Settings:
    """The settings of ``engine`` for the lake of ``here``, with everything else under ``var``.

    Raises InstallationError where this machine or this lake lacks what the engine needs.
    """
    if here.uses_s3:
        raise InstallationError("the embedded engine reads folders of this machine: a lake in S3 has one engine")
    if engine == SPARK:
        check_java()
    else:
        check_embedded()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(free.getsockname()[1])
    own = {"var": var / engine, "lake_uri": str(here.lake), "engine": engine, "spark_port": port, "spark_remote": ""}
    return here.model_copy(update=own)


@contextmanager
def running(of: Settings) -> Iterator[dict[str, str]]:
    """While this lasts the engine of the settings runs; gives the environment of its clients.

    Raises InstallationError.
    """
    credentials.generate(of)
    for folder in (of.var / "spark" / "tmp", of.log, of.run):
        folder.mkdir(parents=True, exist_ok=True)
    if of.runs_jvm:
        jars.fetch(of)
    program = next(one for one in programs(of) if one.name == "spark")
    log = of.log / "spark.log"
    with log.open("w") as out:
        service = subprocess.Popen(  # noqa: S603  # a service of ours
            program.argv, env=child_environment(of, program), cwd=program.folder, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while spark_health("127.0.0.1", of.spark_port, 2) != WELL:
            if service.poll() is not None or time.monotonic() > deadline:
                raise InstallationError(f"the engine {of.engine} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield client(of)
    finally:
        service.kill()
        service.wait()


def client(of: Settings) -> dict[str, str]:
    """The environment of a client of the engine of the settings."""
    return child_environment(of, Program("client", [], of.var, secrets=frozenset({"SPARK_REMOTE"})))


def dbt(
    of: Settings,
    environment: dict[str, str],
    nights: Partitions,
    suffix: str,
    *arguments: str,
    also: Iterable[date] = (),
) -> None:
    """Run a command of dbt for ``nights`` and, ``also``, for earlier ones; its candidates end in ``suffix``.

    Raises InstallationError with what dbt said.
    """
    project = of.home / "dbt_project"
    of_run = {
        "NOCTURNE_FROM": str(nights.first),
        "NOCTURNE_TO": str(nights.last),
        "NOCTURNE_ALSO": ",".join(map(str, also)),
        "NOCTURNE_CANDIDATE_SUFFIX": suffix,
    }
    places = {"project-dir": project, "profiles-dir": project, "target-path": of.var / "target", "log-path": of.log}
    argv = [sys.executable, "-m", "dbt.cli.main", *arguments, *(f"--{name}={place}" for name, place in places.items())]
    done = subprocess.run(  # noqa: S603  # dbt, on folders of ours
        argv, env=environment | of_run, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
    )
    if done.returncode:
        raise InstallationError(f"dbt on {of.engine}:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")


def build(
    of: Settings, environment: dict[str, str], nights: Partitions, suffix: str, *select: str, also: Iterable[date] = ()
) -> None:
    """Build and test the models that ``select`` names, from published tables."""
    if of.engine == SPARK:  # whose catalogue has to be told of them
        told = [sys.executable, "-m", "include.lake.spark"]
        subprocess.run(  # noqa: S603  # a module of ours
            told, env=environment, cwd=of.home, check=True, capture_output=True, timeout=BUILD_SECONDS
        )
    what = ("build", "--indirect-selection", "buildable", "--exclude-resource-type", "unit_test", "--select", *select)
    dbt(of, environment, nights, suffix, *what, also=also)


def built(suffix: str) -> dict[str, pl.DataFrame]:
    """The candidates that end in ``suffix``, by the table they are for: ``<layer>.<name>``."""
    names = sorted(path.name for path in (settings().lake / "candidate").glob(f"*{suffix}"))
    tables = {name: name.removesuffix(suffix).replace("__", ".", 1) for name in names}
    return {table: candidate.rows(f"candidate.{name}").collect() for name, table in tables.items()}


def differences(one: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    """In which the rows of two tables differ, whatever their order; empty where each value is equal."""
    if one.schema != other.schema:
        return [f"the columns: {sorted(set(one.schema.items()) ^ set(other.schema.items()), key=str)}"]
    if one.height != other.height:
        return [f"the number of rows: {one.height} and {other.height}"]
    one, other = (rows.sort(rows.columns) for rows in (one, other))
    unequal = [(name, (~one[name].eq_missing(other[name])).sum()) for name in one.columns]
    return [f"{name}: {count} of {one.height} values" for name, count in unequal if count]


def compare(here: Settings, case: UseCase, nights: Partitions, var: Path) -> dict[str, tuple[int, list[str]]]:
    """Build silver and the use case's gold of ``nights`` on both engines: per table its rows and its differences."""
    mark = candidate.suffix(nights)
    select = [*(f"marts.core.{source}" for source in case.sources), f"marts.use_cases.{case.name}"]
    try:
        for engine in (EMBEDDED, SPARK):
            of, begun = beside(here, engine, var), time.monotonic()
            credentials.generate(of)
            shutil.copy(here.secrets / "pseudonym_key", of.secrets / "pseudonym_key")
            with running(of) as environment:
                up = time.monotonic()
                build(of, environment, nights, f"{mark}__{engine}", *select)
            print(f"{engine}: up after {up - begun:.0f} s, built in {time.monotonic() - up:.0f} s", flush=True)
        embedded, spark = (built(f"{mark}__{engine}") for engine in (EMBEDDED, SPARK))
        return {table: (rows.height, differences(embedded[table], rows)) for table, rows in spark.items()}
    finally:
        left = (settings().lake / "candidate").glob(f"*{mark}__*")
        candidate.remove(f"candidate.{path.name}" for path in left)
