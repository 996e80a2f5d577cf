"""In the foreground the services end with the signal, and an end that nobody asked for is an error."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.core.settings import Settings
from include.local import foreground
from include.local.checks import InstallationError


class Services:
    """Stands for the services: what was done to them, and for how many looks the supervisor is there."""

    def __init__(self, looks: int) -> None:
        self.looks, self.done = looks, list[str]()

    def is_up(self) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def up(self, settings: Settings, progress: Any, timeout: float) -> None:
        self.done.append("up")

    def down(self, settings: Settings, progress: Any) -> None:
        self.done.append("down")


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    settings = Settings(var=tmp_path / "var")
    settings.log.mkdir(parents=True)
    return settings


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(monkeypatch: pytest.MonkeyPatch, settings: Settings, services: Services, ready: Any = lambda: None) -> int:
    monkeypatch.setattr(foreground, "control", services)
    monkeypatch.setattr(foreground, "Supervisor", lambda settings: services)
    monkeypatch.setattr(foreground, "STEP", 0.01)
    monkeypatch.setattr(foreground, "LOOK", 0.0)
    return foreground.foreground(settings, print, ready)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_services_and_is_no_error(
    monkeypatch: pytest.MonkeyPatch, here: Settings, number: int
) -> None:
    services = Services(looks=10**6)
    assert run(monkeypatch, here, services, lambda: os.kill(os.getpid(), number)) == 0
    assert services.done == ["up", "down"]


def test_a_signal_during_the_start_stops_what_has_started(monkeypatch: pytest.MonkeyPatch, here: Settings) -> None:
    services = Services(looks=10**6)
    monkeypatch.setattr(services, "up", lambda *_, timeout: os.kill(os.getpid(), signal.SIGTERM))
    assert run(monkeypatch, here, services) == 0
    assert services.done == ["down"]


def test_services_that_end_by_themselves_are_an_error(monkeypatch: pytest.MonkeyPatch, here: Settings) -> None:
    services = Services(looks=3)
    assert run(monkeypatch, here, services) == 1
    assert services.done == ["up", "down"]


def test_a_start_that_fails_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch, here: Settings) -> None:
    services = Services(looks=3)

    def fail(*_: Any, timeout: float) -> None:
        raise InstallationError("a port is taken")

    monkeypatch.setattr(services, "up", fail)
    with pytest.raises(InstallationError, match="a port is taken"):
        run(monkeypatch, here, services)
    assert services.done == ["down"]


def test_what_the_services_write_is_passed_on_with_their_name(
    monkeypatch: pytest.MonkeyPatch, here: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (here.log / "scheduler.log").write_text("of an earlier start\n")

    class Talking(Services):
        def is_up(self) -> bool:
            for name in ("scheduler.log", "alerts.jsonl"):
                with (here.log / name).open("a") as log:
                    log.write(f"look {self.looks}\n")
            return super().is_up()

    assert run(monkeypatch, here, Talking(looks=2)) == 1
    shown = capsys.readouterr().out
    for look in (2, 1, 0):
        assert f"scheduler     | look {look}\n" in shown
        assert f"alerts        | look {look}\n" in shown
    assert "earlier" not in shown
