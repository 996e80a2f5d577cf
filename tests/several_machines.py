"""An installation of several machines as processes of this one: each service has a ``var`` of its own, as a disk.

PostgreSQL and Redis are real. What services share is what their settings name: databases, broker, lake, landing, and a
folder for models.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from include.core.settings import CLUSTER, EMBEDDED, Settings
from include.local.health import get
from tests import postgres
from tests.ingestion.connectors.test_database import Server, running
from tests.s3 import free_port

PASSWORD = "a-password-of-redis"
FOREIGN = ("NOCTURNE_", "AIRFLOW", "MLFLOW_", "SPARK_", "_MLFLOW", "DBT_")
"""How the variables begin that the tests' own installation has put into this process."""


def without_installation() -> dict[str, str]:
    """The environment of this process, less what is of an installation."""
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis on loopback that asks for a password, while this lasts; its port."""
    found = shutil.which("redis-server")
    assert found, "Redis is not installed: apt-get install redis-server"
    port = free_port()
    command = [found, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", ""]
    with subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.DEVNULL) as it:
        try:
            with redis.Redis(port=port, password=PASSWORD) as client:
                until = time.monotonic() + 30
                while time.monotonic() < until:
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.1)
            yield port
        finally:
            it.terminate()


@dataclass
class Machines:
    """The services that run, by the names of their machines."""

    folder: Path
    shared: dict[str, str]
    database: Server
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, machine: str, **more: str) -> dict[str, str]:
        """What the service of ``machine`` is started with."""
        return without_installation() | self.shared | {"NOCTURNE_VAR": str(self.folder / machine)} | more

    def carry_out(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command of ours on a machine of its own."""
        return subprocess.run(
            [sys.executable, "-m", "include.cli", *command],
            env=self.environment("operator", **more),
            capture_output=True,
            text=True,
            check=False,
        )

    def serve(self, service: str, machine: str = "", **more: str) -> None:
        """Start a service on a machine, which has the service's name where it is not given."""
        machine = machine or service
        with self.log(machine).open("a") as out:
            self.running[machine] = subprocess.Popen(
                [sys.executable, "-m", "include.cli", "serve", service],
                env=self.environment(machine, **more),
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def log(self, machine: str) -> Path:
        return self.folder / f"{machine}.log"

    def kill(self, machine: str, number: int = signal.SIGKILL) -> None:
        """Have a machine go, with all that runs there."""
        it = self.running.pop(machine)
        os.killpg(it.pid, number)
        it.wait(30)

    def settings(self) -> Settings:
        """Those of somebody who asks the services."""
        names = {name.removeprefix("NOCTURNE_").lower(): value for name, value in self.shared.items()}
        return Settings(var=self.folder / "operator", **names)

    def wait_healthy(self, patience: float = 600) -> None:
        """Return when Airflow's report has every component well, and MLflow answers."""
        until, of = time.monotonic() + patience, self.settings()
        while True:
            for machine, it in self.running.items():
                assert it.poll() is None, f"{machine}: {self.log(machine).read_text()[-3000:]}"
            try:
                report = json.loads(get(f"{of.airflow_url}/api/v2/monitor/health", 5))
                get(f"{of.mlflow_url}/health", 5)
            except (OSError, ValueError):
                report = {}
            if report and all(part["status"] == "healthy" for part in report.values() if part):
                return
            assert time.monotonic() < until, report
            time.sleep(1)


@contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """PostgreSQL, Redis, and an installation on them that ``init`` has made. No service runs yet."""
    with ExitStack() as stack:
        of, data = stack.enter_context(postgres.made())
        stack.enter_context(running(of, data))
        port = stack.enter_context(redis_server(folder))
        for name in ("airflow", "mlflow"):
            of.sql(f"CREATE DATABASE {name}")
        airflow, mlflow = free_port(), free_port()
        found = Machines(folder, shared(folder, of, port, airflow, mlflow), of)
        try:
            yield found
        finally:
            for machine in list(found.running):
                found.kill(machine)


def shared(folder: Path, of: Server, broker: int, airflow: int, mlflow: int) -> Mapping[str, str]:
    """What every service is told. The engine is the embedded one: its files are of one real machine."""
    return {
        "NOCTURNE_PROFILE": CLUSTER,
        "NOCTURNE_ENGINE": EMBEDDED,
        "NOCTURNE_AIRFLOW_DB": postgres.url(of, "airflow"),
        "NOCTURNE_MLFLOW_DB": postgres.url(of, "mlflow"),
        "NOCTURNE_CELERY_BROKER": f"redis://:{PASSWORD}@127.0.0.1:{broker}/0",
        "NOCTURNE_AIRFLOW_PORT": str(airflow),
        "NOCTURNE_MLFLOW_PORT": str(mlflow),
        "NOCTURNE_SPARK_PORT": str(free_port()),
        "NOCTURNE_AIRFLOW_REMOTE": f"http://127.0.0.1:{airflow}",
        "NOCTURNE_MLFLOW_REMOTE": f"http://127.0.0.1:{mlflow}",
        "NOCTURNE_LAKE_URI": str(folder / "lake"),
        "NOCTURNE_LANDING_URI": str(folder / "landing"),
        "NOCTURNE_MODEL_STORE": str(folder / "models"),
        "NOCTURNE_FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "NOCTURNE_PSEUDONYM_KEY": secrets.token_hex(32),
        **{
            f"NOCTURNE_{name}": secrets.token_urlsafe(32)
            for name in (
                "JWT_SECRET",
                "API_SECRET_KEY",
                "AIRFLOW_ADMIN_PASSWORD",
                "MLFLOW_ADMIN_PASSWORD",
                "MLFLOW_SECRET_KEY",
                "SPARK_TOKEN",
            )
        },
    }
