"""The SQL endpoint as a service: off unless asked for, without secrets, and how people open it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from include.core.settings import HOME, Settings
from include.local import credentials, doors, health
from include.local.checks import InstallationError
from include.local.environment import environment
from include.local.health import WELL, sql_health
from include.local.launch import child_environment
from include.local.programs import ports, programs
from include.local.setup import folders
from include.serving.sql.personal import fingerprint
from tests.s3 import free_port
from tests.serving.sql.conftest import Client


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    """Set up, with what dbt would say of its models."""
    of = Settings(var=tmp_path / "var", sql_port=free_port())
    folders(of)
    credentials.generate(of)
    (of.var / "sql" / "personal.json").write_text(json.dumps({"mark": fingerprint(HOME), "tables": {}}))
    return of


def command(of: Settings, *given: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "include.cli", *given]
    return subprocess.run(
        argv, cwd=HOME, env=environment(of, frozenset()), capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def service(installation: Settings) -> Iterator[psutil.Process]:
    """As the supervisor starts it, once it is healthy."""
    argv, log = [sys.executable, "-m", "include.local.launch", "sql"], installation.log / "sql.log"
    given = {**os.environ, **environment(installation, frozenset()), "PYTHONPATH": str(HOME)}
    with log.open("w") as out, subprocess.Popen(argv, cwd=HOME, env=given, stdout=out, stderr=out) as running:
        try:
            until = time.monotonic() + 60
            while sql_health("127.0.0.1", installation.sql_port, 2) != WELL:
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield psutil.Process(running.pid)
        finally:
            running.terminate()


def test_nothing_listens_unless_asked_for(installation: Settings) -> None:
    without = installation.model_copy(update={"sql_port": 0})
    assert "sql" not in [program.name for program in programs(without)]
    assert "sql" not in [port.service for port in ports(without)]
    assert Settings.model_fields["sql_port"].default == 0
    assert [program.url for program in programs(installation) if program.name == "sql"] == [installation.sql_url]


def test_another_host_than_loopback_needs_tls(installation: Settings) -> None:
    with pytest.raises(InstallationError, match=rf"sql \({installation.sql_port}\): it has logins, and passwords"):
        doors.check_host(installation.model_copy(update={"host": "0.0.0.0"}))


def test_the_service_has_no_secret_and_ends_at_once(installation: Settings, service: psutil.Process) -> None:
    of = next(program for program in programs(installation) if program.name == "sql")
    values = [installation.secret(name) for name in credentials.SECRETS]
    assert not [value for value in values if value in "\n".join(child_environment(installation, of).values())]
    assert not [value for value in values if value in "\n".join(service.environ().values())]
    assert health.one(of, installation, {"statename": "RUNNING"}, {}) == WELL
    assert service.nice() == 10 + psutil.Process().nice()
    log = (installation.log / "sql.log").read_text()
    if "can read other services' files" not in log:  # the system lets a process hide them
        seen = Path(f"/proc/{service.pid}/root{installation.secrets}")
        assert list(seen.iterdir()) == []
    service.terminate()
    assert service.wait(10) == 0


def test_a_user_is_made_by_a_command_and_asks(installation: Settings, service: psutil.Process) -> None:
    made = command(installation, "sql-user", "--name", "ann", "--role", "data_scientist")
    password = made.stdout.splitlines()[-1]
    assert re.fullmatch(r"[\w-]{24}", password), made.stderr
    assert password not in (installation.var / "sql" / "users.json").read_text()
    client = Client(installation.sql_port, {"ann": password})
    assert client.ask("ann", "select 6 * 7 n") == [{"n": 42}]
    client.close()
    assert "ann   data_scientist" in command(installation, "sql-user").stdout
    told = command(installation, "sql").stdout
    assert f"jdbc:arrow-flight-sql://127.0.0.1:{installation.sql_port}?useEncryption=false" in told
    assert "users     ann" in told
    assert "ann is no user any more" in command(installation, "sql-user", "--name", "ann", "--remove").stdout


def test_a_command_without_sense_is_refused(installation: Settings) -> None:
    for given, said in (
        (("sql-user", "--name", "ann", "--role", "boss"), "there is no role 'boss' in config/sql.toml"),
        (("sql-user", "--name", "ann", "--remove"), "there is no user 'ann'"),
        (("sql", "--port", "1"), "leave port= out"),
    ):
        done = command(installation, *given)
        assert done.returncode == 2
        assert said in done.stderr
