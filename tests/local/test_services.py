"""What runs, how it is watched, and that nothing of it is left."""

import configparser
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from include.core.settings import SPARK, Settings
from include.local import control, credentials, health, processes, supervisor
from include.local.checks import InstallationError
from include.local.launch import child_environment
from include.local.programs import Program, programs


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    settings = Settings(var=tmp_path / "var", airflow_port=18081, mlflow_port=15001, spark_port=25003)
    credentials.generate(settings)
    return settings


def secret_values(settings: Settings) -> list[str]:
    return [settings.secret(name) for name in credentials.SECRETS]


def test_no_secret_is_an_argument_or_in_the_supervisors_file(installation: Settings) -> None:
    text = supervisor.configuration(installation) + " ".join(
        argument for program in programs(installation) for argument in program.argv
    )
    assert [value for value in secret_values(installation) if value in text] == []


def test_every_listener_binds_the_host_of_the_settings(installation: Settings) -> None:
    on_spark = installation.model_copy(update={"engine": SPARK})
    by_name = {program.name: " ".join(program.argv) for program in programs(on_spark)}
    assert "--host 127.0.0.1 --port 18081" in by_name["api-server"]
    assert "--host 127.0.0.1 --port 15001" in by_name["mlflow"]
    assert "spark.connect.grpc.binding.address=127.0.0.1" in by_name["spark"]
    assert "spark.driver.bindAddress=127.0.0.1" in by_name["spark"]


def test_another_spark_is_not_started_here(installation: Settings) -> None:
    elsewhere = installation.model_copy(update={"spark_remote": "sc://cluster.example:15002"})
    assert "spark" not in [program.name for program in programs(elsewhere)]


def test_the_supervisor_can_read_its_file_wherever_the_installation_lies() -> None:
    with tempfile.TemporaryDirectory(prefix="100% mine") as folder:  # the path of a socket must not be long
        settings = Settings(var=Path(folder))
        credentials.generate(settings)
        parsed = configparser.RawConfigParser()
        parsed.read_string(supervisor.configuration(settings))
    assert parsed["supervisord"]["pidfile"].replace("%%", "%").startswith(str(settings.run))
    names = {section.removeprefix("program:") for section in parsed.sections() if section.startswith("program:")}
    assert names == {"api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "spark"}


def test_a_path_too_long_for_a_socket_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InstallationError, match="NOCTURNE_VAR"):
        supervisor.socket_path(Settings(var=tmp_path / ("x" * 120)))


def test_a_program_gets_its_own_environment(installation: Settings) -> None:
    program = Program("p", [], installation.var, environment={"A": "1"})
    child = child_environment(installation, program)
    assert child["A"] == "1"
    assert child[processes.SERVICE] == "p"
    assert "SPARK_REMOTE" not in child
    assert child[processes.INSTALLATION] == str(installation.var)


REPORT = {
    "scheduler": {"status": "healthy", "latest_scheduler_heartbeat": "2026-01-01T00:00:10+00:00"},
    "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
}
AT_10 = 1767225610.0


@pytest.mark.parametrize(
    ("component", "started", "word"),
    [
        ("scheduler", AT_10 - 5, "healthy"),
        ("scheduler", AT_10 + 5, "starting"),
        ("triggerer", AT_10, "no heartbeat yet"),
        ("dag_processor", AT_10, "no heartbeat yet"),
    ],
)
def test_an_earlier_incarnations_heartbeat_proves_nothing(component: str, started: float, word: str) -> None:
    assert health.component_health(REPORT, component, started) == word


def test_a_service_that_was_given_up_is_named_with_its_last_words(installation: Settings) -> None:
    installation.log.mkdir(parents=True)
    (installation.log / "mlflow.log").write_text("first\nAddress already in use\n\n")
    infos = {"spark": {"statename": "RUNNING"}, "mlflow": {"statename": "FATAL"}}
    line = control.given_up(infos, installation)
    assert line is not None
    assert "mlflow" in line
    assert "Address already in use" in line
    assert control.given_up({"spark": {"statename": "RUNNING"}}, installation) is None


def test_other_settings_than_the_running_ones_are_named(installation: Settings) -> None:
    then = installation.model_dump_json()
    assert control.other_settings(installation, then) is None
    now = installation.model_copy(update={"mlflow_port": 9})
    assert "NOCTURNE_MLFLOW_PORT=15001 (not 9)" in str(control.other_settings(now, then))


def test_without_a_supervisor_there_is_no_status_and_nothing_to_stop(installation: Settings) -> None:
    with pytest.raises(ConnectionError):
        control.status(installation)
    control.down(installation, progress=lambda line: pytest.fail(line))


def test_a_start_whose_services_are_stopped_meanwhile_says_so(installation: Settings) -> None:
    with pytest.raises(InstallationError, match="were stopped while this waited"):
        control.wait_healthy(installation, print, timeout=5)


@pytest.fixture
def leftovers(installation: Settings) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A service that sleeps in a session of its own, its child, and the same of another installation."""
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    code += "print(flush=True); time.sleep(60)"
    started = []
    for var in (installation.var, installation.var.parent / "other"):
        marks = {processes.SERVICE: "scheduler", processes.INSTALLATION: str(var)}
        child = subprocess.Popen(
            [sys.executable, "-c", code], env=marks, start_new_session=True, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        started.append(child)
    yield started
    for child in started:
        child.kill()
        child.wait()
    processes.kill_all(installation.var.parent / "other")


def test_a_clock_that_was_set_back_leaves_no_service_starting_for_ever(
    installation: Settings, leftovers: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    infos = {"scheduler": {"statename": "RUNNING", "pid": leftovers[0].pid, "start": int(time.time()) + 7 * 86400}}
    now = datetime.now(UTC).isoformat()
    report = {"scheduler": {"status": "healthy", "latest_scheduler_heartbeat": now}}
    monkeypatch.setattr(health, "airflow_report", lambda _: report)
    assert health.every(installation, infos)["scheduler"] == "healthy"


def test_what_a_service_left_is_found_and_ended_and_only_that(
    installation: Settings, leftovers: list[subprocess.Popen[bytes]]
) -> None:
    ours, others = leftovers
    assert len(processes.of_service(installation.var, "scheduler")) == 2
    assert processes.memory_by_service(installation.var)["scheduler"] > 1_000_000
    assert processes.started_before(installation.var, {"scheduler": time.time() + 60}) == {"scheduler"}
    assert processes.started_before(installation.var, {"scheduler": time.time() - 60}) == set()
    assert processes.kill_all(installation.var, ["mlflow"]) == 0
    assert processes.kill_all(installation.var, ["scheduler"]) == 2
    assert ours.poll() is not None
    assert others.poll() is None


def test_the_listener_of_a_port_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert "pid" in str(processes.listener(listener.getsockname()[1]))
