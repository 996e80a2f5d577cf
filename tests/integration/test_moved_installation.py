"""A copy of an installation, made by ``cp -r``, writes into its own lake, and leaves the original's as it was."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from include.core.settings import Settings, settings
from include.lake import delta
from include.local import control, processes
from include.local.environment import environment
from include.local.health import WELL, spark_health
from include.local.installation import Owner, claim_lake, forget_moved_catalogue, identify
from tests.s3 import free_port

pytestmark = pytest.mark.integration

CODE = "import sys; from include.lake.spark import session; session().sql(sys.argv[1]).collect()"


def sql(of: Settings, statement: str) -> None:
    """Have an installation's Spark do ``statement``."""
    its = environment(of, frozenset({"SPARK_REMOTE"}))
    subprocess.run([sys.executable, "-c", CODE, statement], env=its, check=True, cwd=of.run)


@contextmanager
def spark_of(copy: Settings) -> Iterator[None]:
    """Spark alone of an installation, started as ``up`` starts it."""
    claim_lake(copy, Owner(identify(copy, print), str(copy.var), socket.gethostname()), False, print)
    forget_moved_catalogue(copy, print)
    command = [sys.executable, "-m", "include.local.launch", "spark"]
    server = subprocess.Popen(command, env=environment(copy), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while spark_health(copy.host, copy.spark_port, 1) != WELL:
            assert server.poll() is None
            assert time.monotonic() < end
        control.register_tables(copy, print)
        yield
    finally:
        processes.kill_all(copy.var)
        server.wait()


def rows(of: Settings, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the table in an installation's own folder holds, read without Spark."""
    monkeypatch.setenv("NOCTURNE_VAR", str(of.var))
    settings.cache_clear()
    found = delta.read_all("gold", "copied")["n"].sort().to_list()
    monkeypatch.undo()
    settings.cache_clear()
    return found


def test_a_copy_writes_into_its_own_lake(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = stack.settings
    sql(original, "CREATE TABLE gold.copied USING delta AS SELECT 1 AS n")
    for name in ("lake", "secrets", *(["spark/metastore"] if original.runs_jvm else [])):
        shutil.copytree(original.var / name, tmp_path / "copy" / name, symlinks=True)
    shutil.copy(original.var / "installation.json", tmp_path / "copy")
    for name in ("run", "log", "spark/tmp"):
        (tmp_path / "copy" / name).mkdir(parents=True)
    copy = original.model_copy(update={"var": tmp_path / "copy", "spark_port": free_port()})
    with spark_of(copy):
        sql(copy, "INSERT INTO gold.copied VALUES (2)")
    assert rows(copy, monkeypatch) == [1, 2]
    assert rows(original, monkeypatch) == [1]
    sql(original, "DROP TABLE gold.copied")
    shutil.rmtree(original.lake / "gold" / "copied", ignore_errors=True)  # the embedded engine leaves files
