"""The image, built and run for real: with Docker, Podman, or what CONTAINER_ENGINE names in its place.

The container gets the options that compose.yaml gives it; compose itself is not run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.docker.compose_file import compose
from tests.s3 import free_port

pytestmark = [pytest.mark.integration, pytest.mark.full]

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 1800
NIGHT = "2013-06-01"
LANDED = f"""
from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import settings
replay(settings().landing, Partitions.parse("{NIGHT}"))
"""


@dataclass
class Engine:
    """A command line that is Docker's."""

    command: list[str]
    image: str = "nocturne-test"

    def __call__(self, *arguments: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done


@dataclass
class Container:
    """A container of the image, and how to reach it."""

    engine: Engine
    name: str = "nocturne-test"
    volume: str = "nocturne-test"
    airflow: int = field(default_factory=free_port)
    mlflow: int = field(default_factory=free_port)

    def run(self) -> None:
        """Start a new one, with the options of compose.yaml."""
        ports = {"NOCTURNE_AIRFLOW_PORT": str(self.airflow), "NOCTURNE_MLFLOW_PORT": str(self.mlflow)}
        service = compose(ports)["services"]["nocturne"]
        flags = ["--detach", "--name", self.name, "--hostname", service["hostname"], "--read-only"]
        flags += [f"--volume={self.volume}:/nocturne/var", *(f"--tmpfs={path}" for path in service["tmpfs"])]
        flags += [f"--publish={port}" for port in service["ports"]]
        flags += [f"--env={name}={value}" for name, value in service["environment"].items()]
        flags += [f"--cap-drop={one}" for one in service["cap_drop"]]
        flags += [f"--security-opt={one.replace(':true', '')}" for one in service["security_opt"]]
        self.engine("run", *flags, self.engine.image)
        self.wait()

    def wait(self) -> None:
        """Until the health check of compose.yaml is content."""
        _, *check = compose()["services"]["nocturne"]["healthcheck"]["test"]
        end, said = time.monotonic() + START_SECONDS, ""
        while time.monotonic() < end:
            done = self.engine("exec", self.name, *check, check=False)
            if done.returncode == 0:
                return
            said = done.stdout + done.stderr
            time.sleep(3)
        pytest.fail(f"not healthy: {said}\n{self.logs()[-5000:]}")

    def exec(self, *command: str, timeout: float = 1800) -> str:
        return self.engine("exec", self.name, *command, timeout=timeout).stdout

    def logs(self) -> str:
        done = self.engine("logs", self.name)
        return done.stdout + done.stderr

    def get(self, path: str, port: int, **options: str) -> int:
        auth = ("admin", options["password"]) if "password" in options else None
        return httpx.get(f"http://127.0.0.1:{port}{path}", auth=auth, trust_env=False, timeout=60).status_code


def missing(engine: Engine) -> str:
    """Why there is no engine that runs containers here; empty where there is."""
    if not shutil.which(engine.command[0]):
        return "neither docker nor podman is here, and CONTAINER_ENGINE names nothing"
    done = engine("version", check=False)
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    found = os.environ.get("CONTAINER_ENGINE") or shutil.which("docker") or shutil.which("podman") or "docker"
    engine = Engine(shlex.split(found))
    if reason := missing(engine):
        pytest.skip(f"the image is neither built nor run: {reason}")
    engine("build", "--file", "docker/Dockerfile", "--tag", engine.image, ".", timeout=3600)
    one = Container(engine)

    def remove() -> None:
        engine("rm", "--force", one.name, check=False)
        engine("volume", "rm", "--force", one.volume, check=False)

    remove()
    try:
        one.run()
        yield one
    finally:
        remove()


def test_each_published_port_leads_to_a_door_with_a_lock(container: Container) -> None:
    password = {
        name: container.exec("cat", f"var/secrets/{name}_admin_password").strip() for name in ("airflow", "mlflow")
    }
    assert container.get("/", container.airflow) == 200  # the page that asks for the password
    assert container.get("/api/v2/dags", container.airflow) == 401
    assert container.get("/", container.mlflow) == 401
    assert container.get("/", container.mlflow, password=password["mlflow"]) == 200
    login = {"username": "admin", "password": password["airflow"]}
    token = httpx.post(f"http://127.0.0.1:{container.airflow}/auth/token", json=login, trust_env=False, timeout=60)
    assert token.status_code == 201


def test_nobody_in_it_is_root_and_the_first_process_is_an_init(container: Container) -> None:
    users = container.exec("sh", "-c", "stat -c %u /proc/[0-9]*").split()
    assert set(users) == {"1000"}
    assert container.exec("cat", "/proc/1/comm").strip() == "tini"


def test_it_holds_no_tests_no_installer_and_no_git(container: Container) -> None:
    for name in ("tests", ".git", ".venv/bin/pytest", ".venv/bin/pip", ".venv/bin/uv"):
        assert container.engine("exec", container.name, "test", "-e", name, check=False).returncode == 1, name


def test_its_logs_are_those_of_the_services(container: Container) -> None:
    end = time.monotonic() + START_SECONDS
    while "all services are healthy" not in (
        shown := container.logs()
    ):  # said after a first query, which takes seconds
        assert time.monotonic() < end, shown[-5000:]
        time.sleep(1)
    for service in ("api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "spark"):
        assert f"\n{service:13} | " in shown, service
    for name in ("airflow", "mlflow"):
        assert container.exec("cat", f"var/secrets/{name}_admin_password").strip() not in shown


def test_its_state_survives_a_stop_a_kill_and_a_new_container(container: Container) -> None:
    container.exec("python", "-c", LANDED)

    def state() -> list[str]:
        landed = container.exec("sh", "-c", "find var/landing -type f | sort | xargs sha256sum")
        return [landed, container.exec("cat", "var/installation.json", "var/secrets/airflow_admin_password")]

    before = state()
    assert NIGHT in before[0]

    container.engine("stop", "--time", "60", container.name)
    code = container.engine("inspect", "--format", "{{.State.ExitCode}}", container.name)
    assert code.stdout.strip() == "0", container.logs()[-3000:]
    container.engine("start", container.name)
    container.wait()
    assert state() == before

    container.engine("kill", container.name)  # leaves its sockets, pid files and locks in the volume
    container.engine("start", container.name)
    container.wait()
    assert state() == before

    container.engine("rm", "--force", container.name)
    container.run()
    assert state() == before


def test_a_night_comes_from_landing_to_silver(container: Container) -> None:
    """Features want the months before it, which the demonstration lands: they fail, and say so."""
    container.exec("python", "-c", LANDED)
    done = container.engine(
        "exec", container.name, "make", "backfill", f"from={NIGHT}", f"to={NIGHT}", check=False, timeout=1800
    )
    for stage in ("ingest", "transform"):
        assert f"lakehouse_{stage}_flights " in done.stdout.partition("\n")[2], done.stdout + done.stderr
    assert "silver." in container.exec("make", "lake")
