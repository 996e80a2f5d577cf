"""Both engines in one process, for tests that ask both the same."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.s3 import free_port

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Ask = Callable[[str], Any]


@pytest.fixture(scope="session")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session of the embedded engine, without its door."""
    from pyspark.sql.connect.session import SparkSession as Connected

    port = free_port()
    argv = [sys.executable, "-m", "pysail", "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]
    log = tmp_path_factory.mktemp("sail") / "log"
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=out, cwd=log.parent) as server:
        try:
            deadline = time.monotonic() + 60
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            session = Connected.builder.remote(f"sc://127.0.0.1:{port}").create()
            yield session
            # It tells the server from a thread that a result was read, and tries that for minutes where nobody answers.
            session.stop()
        finally:
            server.kill()


@pytest.fixture(scope="module")
def engines(spark: SparkSession, sail: Any) -> tuple[Ask, Ask]:
    """Apache Spark and the embedded engine, each as what answers a query: rows, or ``error``.

    As dbt has them: without ANSI mode, in UTC.
    """

    def asked(session: Any) -> Ask:
        for name, value in (("spark.sql.ansi.enabled", "false"), ("spark.sql.session.timeZone", "UTC")):
            session.conf.set(name, value)

        def ask(query: str) -> Any:
            try:
                rows = session.sql(query).collect()
            except Exception as error:  # noqa: BLE001  # an error is an answer: both engines have to give it
                return f"error: {type(error).__name__} {str(error)[:200]}"
            return sorted(repr(tuple(row)) for row in rows)

        return ask

    return asked(spark), asked(sail)
