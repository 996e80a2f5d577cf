"""A service that dies again and again is given up, on a real supervisor; one that was killed once is back at once."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.core.settings import Settings
from include.local import control, credentials, launch, processes, supervisor
from include.local.programs import Program
from include.local.setup import folders

# What launch.py does before it becomes the service, with fewer starts and no waits, and a service that then dies.
DIES = """
import sys
from include.local import launch
from include.core.settings import settings
launch.LONGEST_WAIT, launch.MOST_STARTS = 0, 3
launch.wait_or_give_up(settings(), "mlflow")
sys.exit("the port is taken")
"""


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    settings = Settings(var=tmp_path)
    folders(settings)
    credentials.generate(settings)
    monkeypatch.setattr(supervisor, "programs", lambda _: [Program("mlflow", [], tmp_path)])
    sections = supervisor._section

    def section(program: Program, of: Settings) -> str:
        (tmp_path / "dies.py").write_text(DIES)
        lines = sections(program, of).splitlines()
        command = f"command={sys.executable} {tmp_path / 'dies.py'}"
        return "\n".join(command if line.startswith("command=") else line for line in lines) + "\n"

    monkeypatch.setattr(supervisor, "_section", section)
    yield settings
    processes.kill_all(settings.var)


def info_of(watched: supervisor.Supervisor) -> dict[str, Any]:
    """What is known of the service once nothing starts it any more."""
    end = time.monotonic() + 120
    while not supervisor.stays_down(info := watched.services()["mlflow"]):
        assert time.monotonic() < end, info
        time.sleep(0.1)
    return info


def test_a_service_that_keeps_dying_is_given_up_with_its_last_words(installation: Settings) -> None:
    watched = supervisor.Supervisor(installation)
    watched.start()
    info = info_of(watched)
    line = control.given_up({"mlflow": info}, installation)
    assert line is not None
    assert "mlflow does not stay up" in line
    assert "the port is taken" in line
    log = (installation.log / "mlflow.log").read_text()
    assert log.count("the port is taken") == 3
    assert watched.start_missing() == ["mlflow"]  # `make up` tries again, from the first
    info_of(watched)
    assert (installation.log / "mlflow.log").read_text().count("the port is taken") == 6


def test_starts_of_long_ago_or_of_before_the_machine_was_started_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.starts"
    assert launch.starts(path, 1000.0) == [1000.0]
    path.write_text("[1.0, 900.0, 5000.0]")
    assert launch.starts(path, 1000.0) == [900.0, 1000.0]
    path.write_text("[90")
    assert launch.starts(path, 1000.0) == [1000.0]


def test_the_first_two_starts_do_not_wait_and_later_ones_ever_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, waited = Settings(var=tmp_path), list[float]()
    settings.run.mkdir()
    monkeypatch.setattr(launch.time, "sleep", waited.append)
    for _ in range(launch.MOST_STARTS):
        launch.wait_or_give_up(settings, "mlflow")
    assert waited == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    with pytest.raises(SystemExit) as ended:
        launch.wait_or_give_up(settings, "mlflow")
    assert ended.value.code == launch.GIVEN_UP
