"""A secret is rotated as a whole: with the real Airflow and the real MLflow, and a kill at each step in between."""

from __future__ import annotations

import json
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import polars as pl
import psutil
import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from include.core import backends
from include.core.errors import BadRequestError
from include.core.settings import Settings, settings
from include.lake import audit
from include.local import credentials, processes, rotating, setup, supervisor
from include.local.programs import Program
from include.local.rotating import RotationError
from tests import commands
from tests.integration.servers import running, wait_for
from tests.killed import Killed, killed_at
from tests.local.test_doors import MAY_HOLD
from tests.s3 import free_port

WHO = "ann"
quiet = [].append


@pytest.fixture(scope="module")
def here(module_home: Path) -> Iterator[Settings]:
    """An installation with secrets and databases, of which nothing runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AIRFLOW", "MLFLOW", "SPARK"):
            patch.setenv(f"NOCTURNE_{name}_PORT", str(free_port()))
        settings.cache_clear()
        made = settings()
        setup.folders(made)
        credentials.generate(made)
        credentials.write_private(made.var / "mlflow" / "basic_auth.ini", setup.mlflow_auth(made))
        setup.migrate(made, print)
        yield made


@pytest.fixture(scope="module")
def mlflow(here: Settings) -> Iterator[Settings]:
    """The same, with MLflow's server running as the supervisor runs it."""
    with running(here, "mlflow"):
        wait_for(f"{here.mlflow_url}/health", here.log / "mlflow.log")
        yield here


def step_of(name: str) -> tuple[ModuleType, str]:
    """Where a step's function is, and what it is called there."""
    elsewhere: dict[str, tuple[ModuleType, str]] = {
        "audit": (rotating.audit, "write"),
        "airflow": (rotating.shared, "airflow"),
    }
    return elsewhere.get(name, (rotating, name))


def rotate_killed(here: Settings, name: str, step: str, number: int, *, after: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, *step_of(step), number, after=after)
        with pytest.raises(Killed):
            rotating.rotate(here, name, WHO, quiet)


def lines_of(name: str) -> int:
    """How many lines the audit log has of rotations of a secret."""
    return audit.read().filter(pl.col("action") == "rotation", pl.col("subject") == name).height


def require_through(here: Settings, name: str, old: str) -> str:
    """The new value; fails where anything is left of the rotation, or is not private."""
    new = here.secret(name)
    assert new != old
    assert "," not in new
    assert {path.name for path in here.secrets.iterdir()} == {*credentials.SECRETS, "airflow_passwords.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in here.secrets.iterdir()} == {0o600}
    return new


def contents(here: Settings) -> dict[str, str]:
    return {path.name: path.read_text() for path in here.secrets.iterdir()}


# --- what is asked first ---


@pytest.mark.parametrize("name", rotating.KINDS)
def test_a_dry_run_says_it_all_and_changes_nothing(here: Settings, name: str) -> None:
    before = contents(here)
    said = "\n".join(rotating.plan(here, name))
    assert contents(here) == before
    assert str(here.secrets / name) in said
    assert rotating.KINDS[name].people in said
    assert [value for value in before.values() if value.strip() in said] == []


def test_every_secret_of_the_setup_is_rotated_or_refused_with_why() -> None:
    assert {*rotating.KINDS, *rotating.REFUSED} == {*credentials.SECRETS}


@pytest.mark.parametrize("name", rotating.KINDS)
def test_all_who_hold_a_secret_start_again(here: Settings, name: str) -> None:
    """But MLflow, which reads the password of its administrator at its very first start, and never again."""
    holders = {service for service, held in MAY_HOLD.items() if name in held}
    wanted = {"mlflow_admin_password": holders - {"mlflow"}, "airflow_admin_password": {"api-server"}}
    assert {*rotating.services(here, name)} == wanted.get(name, holders)


def test_the_key_of_pseudonyms_stays(here: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    assert commands.run("rotate", "--secret", "pseudonym_key", "--yes") == 2
    assert "joins neither with the history" in capsys.readouterr().err
    assert contents(here) == before
    with pytest.raises(BadRequestError, match="fernet_key, jwt_secret"):
        rotating.plan(here, "fernet")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NOCTURNE_JWT_SECRET": "given"}, "as NOCTURNE_JWT_SECRET, .*in this order: api-server, scheduler"),
        ({"NOCTURNE_SECRETS_BACKEND": "environment"}, "as NOCTURNE_JWT_SECRET"),
        ({"NOCTURNE_SECRETS_BACKEND": "vault"}, "by vault as nocturne_jwt_secret"),
    ],
)
def test_who_is_given_a_secret_is_told_where_to_rotate_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(backends, "asked", lambda *_: "")  # a Vault that is there, and has nothing
    with pytest.raises(BadRequestError, match=said) as refused:
        rotating.rotate(Settings(var=home), "jwt_secret", WHO, quiet)
    assert "\n" not in str(refused.value)
    assert list(home.glob("secrets/*")) == []


# --- one whole, whatever ends it in between ---


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("step", "number"), [("write_private", 1), ("write_private", 2), ("write_private", 3), ("audit", 1)]
)
def test_a_kill_at_any_step_is_gone_on_from(here: Settings, step: str, number: int, *, after: bool) -> None:
    old, lines = here.secret("jwt_secret"), lines_of("jwt_secret")
    rotate_killed(here, "jwt_secret", step, number, after=after)
    assert {stat.S_IMODE(path.stat().st_mode) for path in here.secrets.iterdir()} == {0o600}
    next_one = here.secrets / "jwt_secret.next"
    begun = next_one.read_text().strip() if next_one.exists() else ""
    assert here.secret("jwt_secret") in {old, begun}
    rotating.rotate(here, "jwt_secret", WHO, quiet)
    new = require_through(here, "jwt_secret", old)
    assert not begun or new == begun, "it goes on with the same value"
    assert lines_of("jwt_secret") == lines + 1


def test_the_password_of_airflow_is_the_one_that_airflow_lets_in(here: Settings) -> None:
    credentials.write_passwords(here)
    old = here.secret("airflow_admin_password")
    rotate_killed(here, "airflow_admin_password", "write_private", 3, after=True)
    rotating.rotate(here, "airflow_admin_password", WHO, quiet)
    new = require_through(here, "airflow_admin_password", old)
    assert json.loads((here.secrets / "airflow_passwords.json").read_text())["admin"] == new


def encrypted(here: Settings) -> list[bytes]:
    """What Airflow has encrypted: the password and the extra of a connection, and a variable."""
    with closing(sqlite3.connect(here.airflow_database)) as connection:
        rows = connection.execute("SELECT password, extra FROM connection WHERE conn_id = 'shop'").fetchall()
        rows += connection.execute("SELECT val FROM variable WHERE key = 'limit'").fetchall()
    return [value.encode() for row in rows for value in row]


def keep(here: Settings) -> None:
    """Have Airflow's database hold a connection and a variable, as Airflow of now encrypts them."""
    key = MultiFernet([Fernet(one) for one in here.secret("fernet_key").split(",")])
    password, extra, value = (key.encrypt(text).decode() for text in (b"password", b'{"a": 1}', b"7"))
    with closing(sqlite3.connect(here.airflow_database)) as connection, connection:
        connection.execute("DELETE FROM connection")
        connection.execute("DELETE FROM variable")
        connection.execute(
            "INSERT INTO connection (conn_id, conn_type, password, extra, is_encrypted, is_extra_encrypted) "
            "VALUES ('shop', 'http', ?, ?, 1, 1)",
            (password, extra),
        )
        connection.execute("INSERT INTO variable (key, val, is_encrypted) VALUES ('limit', ?, 1)", (value,))


PLAIN = [b"password", b'{"a": 1}', b"7"]
full = pytest.mark.full


@pytest.mark.parametrize(
    ("step", "number", "after"),
    [
        ("airflow", 1, True),
        pytest.param("airflow", 1, False, marks=full),
        pytest.param("write_private", 3, True, marks=full),
        pytest.param("write_private", 4, True, marks=full),
    ],
)
def test_what_airflow_has_encrypted_can_be_read_all_the_while(
    here: Settings, step: str, number: int, *, after: bool
) -> None:
    keep(here)
    old, lines = here.secret("fernet_key"), lines_of("fernet_key")
    rotate_killed(here, "fernet_key", step, number, after=after)
    of_now = MultiFernet([Fernet(one) for one in here.secret("fernet_key").split(",")])
    assert [of_now.decrypt(one) for one in encrypted(here)] == PLAIN, "with what the services have when they start now"
    rotating.rotate(here, "fernet_key", WHO, quiet)
    new = Fernet(require_through(here, "fernet_key", old))
    assert [new.decrypt(one) for one in encrypted(here)] == PLAIN
    with pytest.raises(InvalidToken):
        Fernet(old).decrypt(encrypted(here)[0])
    assert lines_of("fernet_key") == lines + 1


def test_a_password_without_mlflow_is_not_begun(here: Settings) -> None:
    before = contents(here)
    nowhere = here.model_copy(update={"mlflow_port": free_port()})
    with pytest.raises(RotationError, match=r"does not answer .*make up.*Nothing was changed"):
        rotating.rotate(nowhere, "mlflow_admin_password", WHO, quiet)
    assert contents(here) == before


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("step", "number"), [("_change_at_mlflow", 1), ("write_private", 3), ("audit", 1)])
def test_mlflow_and_the_file_come_to_the_same_password(
    mlflow: Settings, step: str, number: int, *, after: bool
) -> None:
    old, lines = mlflow.secret("mlflow_admin_password"), lines_of("mlflow_admin_password")
    rotate_killed(mlflow, "mlflow_admin_password", step, number, after=after)
    rotating.rotate(mlflow, "mlflow_admin_password", WHO, quiet)
    new = require_through(mlflow, "mlflow_admin_password", old)
    assert lets_in(mlflow, new)
    assert not lets_in(mlflow, old)
    assert lines_of("mlflow_admin_password") == lines + 1


def test_a_password_that_was_changed_at_mlflow_by_hand_is_told(mlflow: Settings) -> None:
    right = mlflow.secret("mlflow_admin_password")
    file = mlflow.secrets / "mlflow_admin_password"
    credentials.write_private(file, "another-one-than-there\n")
    with pytest.raises(RotationError, match="neither the old nor the new") as told:
        rotating.rotate(mlflow, "mlflow_admin_password", WHO, quiet)
    assert "another-one-than-there" not in str(told.value)
    credentials.write_private(file, right + "\n")  # what the message says to do
    file.with_name(f"{file.name}.next").unlink()
    rotating.rotate(mlflow, "mlflow_admin_password", WHO, quiet)
    assert lets_in(mlflow, require_through(mlflow, "mlflow_admin_password", right))


def lets_in(of: Settings, password: str) -> bool:
    url = f"{of.mlflow_url}/api/2.0/mlflow/experiments/search?max_results=1"
    return httpx.get(url, auth=("admin", password)).is_success


# --- who starts again ---


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a supervisor that runs, and when the secret is written."""
    found = list[str]()

    class Supervised:
        def __init__(self, _: Settings) -> None: ...

        def is_up(self) -> bool:
            return True

        def stop_service(self, name: str) -> None:
            found.append(f"stop {name}")

        def start_service(self, name: str) -> None:
            found.append(f"start {name}")

    def noted(word: str) -> Callable[..., Any]:
        return lambda *_: found.append(word)

    monkeypatch.setattr(rotating, "Supervisor", Supervised)
    monkeypatch.setattr(rotating.control, "check_settings", lambda _: None)
    monkeypatch.setattr(rotating.control, "wait_healthy", noted("healthy"))
    real = rotating._write

    def write(*arguments: Any) -> None:
        found.append("write")
        real(*arguments)

    monkeypatch.setattr(rotating, "_write", write)
    return found


def test_who_uses_a_secret_stands_still_while_it_changes(here: Settings, calls: list[str]) -> None:
    rotating.rotate(here, "spark_token", WHO, quiet)
    assert calls == ["stop scheduler", "stop spark", "write", "start spark", "start scheduler", "healthy"]
    assert audit.read().filter(pl.col("subject") == "spark_token")["detail"][-1] == "restarted: spark, scheduler"
    assert any("tries its tasks again" in line for line in rotating.plan(here, "spark_token"))


def test_what_fails_leaves_no_service_stopped(
    here: Settings, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old = here.secret("jwt_secret")
    with monkeypatch.context() as patch:
        patch.setattr(rotating, "_write", fails)
        with pytest.raises(OSError, match="No space"):
            rotating.rotate(here, "jwt_secret", WHO, quiet)
    assert calls[-2:] == ["start api-server", "start scheduler"]
    assert here.secret("jwt_secret") == old
    assert any("did not end" in line for line in rotating.plan(here, "jwt_secret"))
    rotating.rotate(here, "jwt_secret", WHO, quiet)
    require_through(here, "jwt_secret", old)


# Notes which secret a service has at its start, and stays.
NOTES = """
import sys, time
from include.core.settings import settings
with (settings().log / "starts.txt").open("a") as file:
    file.write(sys.argv[1] + " " + settings().secret("jwt_secret") + "\\n")
time.sleep(600)
"""


@pytest.fixture
def supervised(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An installation whose supervisor runs something small in place of each service."""
    made, sections = settings(), supervisor._section
    setup.folders(made)
    credentials.generate(made)
    script = home / "notes.py"
    script.write_text(NOTES)

    def section(program: Program, of: Settings) -> str:
        lines = sections(program, of).splitlines()
        command = f"command={sys.executable} {script} {program.name}"
        return "\n".join(command if line.startswith("command=") else line for line in lines) + "\n"

    monkeypatch.setattr(supervisor, "_section", section)
    monkeypatch.setattr(rotating.control, "wait_healthy", lambda *_: None)
    supervisor.Supervisor(made).start()
    yield made
    processes.kill_all(home)


def started(of: Settings, number: int) -> list[list[str]]:
    """(service, secret) of each start, once there were so many."""
    file, end = of.log / "starts.txt", time.monotonic() + 60
    while len(found := [line.split() for line in file.read_text().splitlines()] if file.exists() else []) < number:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def test_a_real_supervisor_starts_again_who_uses_it_and_nobody_else(supervised: Settings) -> None:
    watched, old = supervisor.Supervisor(supervised), supervised.secret("jwt_secret")
    every = [*watched.services()]
    started(supervised, len(every))
    before = {name: info["pid"] for name, info in watched.services().items()}
    rotating.rotate(supervised, "jwt_secret", WHO, quiet)
    new, later = supervised.secret("jwt_secret"), started(supervised, len(every) + 2)[len(every) :]
    assert sorted(later) == [["api-server", new], ["scheduler", new]]
    assert new != old
    after = {name: info["pid"] for name, info in watched.services().items()}
    assert {name for name in every if before[name] != after[name]} == {"api-server", "scheduler"}
    assert not psutil.pid_exists(before["scheduler"])


def test_the_command_says_and_does(here: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    old = here.secret("metrics_token")
    assert commands.run("rotate", "--secret", "metrics_token") == 0
    assert "yes=1 does it" in capsys.readouterr().out
    assert here.secret("metrics_token") == old
    assert commands.run("rotate", "--secret", "metrics_token", "--yes") == 0
    new, said = require_through(here, "metrics_token", old), "".join(capsys.readouterr())
    assert old not in said
    assert new not in said
    assert lines_of("metrics_token") == 1
