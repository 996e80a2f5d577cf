"""An operation that is killed before any of its steps, and tried again, leaves what an undisturbed one leaves.

A process of its own, which ends by SIGKILL: no `finally` runs in it, and no lease is given back but by the system.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.ml import crossing
from tests.ml.crossing import OPERATIONS, Outcome

SAMPLE = [
    ("train", "mlflow.start_run"),
    ("promote", "include.lake.commit.commit"),
    ("look again", "include.ml.ledger.append"),
    ("look again", "include.ml.registry.show_champion"),
    ("roll back", "include.ml.registry.show_champion"),
]
"""Of `make test`: who is killed, before which step."""

ASKED = "mlflow.start_run"
"""The first thing that a training asks of MLflow after its fit: from here on nothing is fitted again."""


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Starts processes that have imported what is slow to import, and used none of it."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.ml.crossing", "tests.ml.test_killed_between_steps"])
    return found


@pytest.fixture
def fresh(middle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Gives a copy of the state, each time another one."""
    numbers = count()
    return lambda: crossing.copied(middle, tmp_path / f"{next(numbers)}")


def victim(folder: Path, what: str, at: int | str) -> None:
    """Do it, and be killed before the step ``at``, a number or a name."""
    numbers = count(1)

    def reached(step: str) -> None:
        if at in (next(numbers), step):
            os.kill(os.getpid(), signal.SIGKILL)

    with crossing.at(folder), crossing.stepping(reached):
        OPERATIONS[what]()


def require_mended(
    processes: ForkServerContext, folder: Path, what: str, at: int | str, undisturbed: Outcome, *, is_fitted: bool
) -> None:
    """Kill it there, try it again, and compare."""
    process = processes.Process(target=victim, args=(folder, what, at))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    with crossing.at(folder):
        with pytest.MonkeyPatch.context() as patch:
            if is_fitted:
                patch.setattr("include.ml.fitting.fit", lambda *_: pytest.fail("it is fitted once more"))
            OPERATIONS[what]()
        assert crossing.outcome() == undisturbed, f"{what} was killed before {at}"


def alone(folder: Path, what: str) -> tuple[Outcome, list[str]]:
    """What it ends with where nobody disturbs it, and its steps."""
    steps: list[str] = []
    with crossing.at(folder):
        with crossing.stepping(steps.append):
            OPERATIONS[what]()
        return crossing.outcome(), steps


@pytest.mark.parametrize(("what", "step"), SAMPLE)
def test_tried_again_it_ends_as_if_nothing_had_been(
    processes: ForkServerContext, fresh: Callable[[], Path], what: str, step: str
) -> None:
    undisturbed, _ = alone(fresh(), what)
    require_mended(processes, fresh(), what, step, undisturbed, is_fitted=what == "train")


@pytest.mark.full
@pytest.mark.parametrize("what", OPERATIONS)
def test_killed_at_each_step_it_ends_as_if_nothing_had_been(
    processes: ForkServerContext, fresh: Callable[[], Path], what: str
) -> None:
    undisturbed, steps = alone(fresh(), what)
    assert len(steps) > 3
    fitted = steps.index(ASKED) if ASKED in steps else len(steps)
    for number in range(len(steps)):
        require_mended(processes, fresh(), what, number + 1, undisturbed, is_fitted=number >= fitted)
