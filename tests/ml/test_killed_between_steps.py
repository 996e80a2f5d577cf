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
from tests.ml.crossing import OPERATIONS

WRITE = ("train", "promote", "look again", "roll back", "score")
SAMPLE = {
    ("train", "mlflow.start_run"),
    ("promote", "include.ml.ledger.append"),
    ("roll back", "include.ml.registry.show_champion"),
}
"""Of `make test`; all are of `make test-full`."""
ALL = [
    (what, step) if (what, step) in SAMPLE else pytest.param(what, step, marks=pytest.mark.full)
    for what in WRITE
    for step in crossing.STEPS
]


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


def victim(folder: Path, what: str, step: str, nth: int) -> None:
    """Do it, and be killed before its ``nth`` call of ``step``."""
    seen = count(1)

    def reached(now: str) -> None:
        if now == step and next(seen) == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    with crossing.at(folder), crossing.stepping(reached):
        OPERATIONS[what]()


def killed(processes: ForkServerContext, folder: Path, what: str, step: str, nth: int) -> bool:
    """Whether it was killed: there may be no such step."""
    process = processes.Process(target=victim, args=(folder, what, step, nth))
    process.start()
    process.join(300)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize(("what", "step"), ALL)
def test_tried_again_it_ends_as_if_nothing_had_been(
    processes: ForkServerContext,
    fresh: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    step: str,
) -> None:
    with crossing.at(fresh()):
        OPERATIONS[what]()
        undisturbed = crossing.outcome()
    for nth in count(1):
        folder = fresh()
        if not killed(processes, folder, what, step, nth):
            break
        with crossing.at(folder):
            with monkeypatch.context() as patch:
                if step in AFTER_THE_FIT:
                    patch.setattr("include.ml.fitting.fit", lambda *_: pytest.fail("it is fitted once more"))
                OPERATIONS[what]()
            assert crossing.outcome() == undisturbed, f"{what} was killed before call {nth} of {step}"
        if step not in SEVERAL:
            break


SEVERAL = ("include.core.lease.taken", "include.lake.chain.append", "include.lake.commit.commit")
"""Steps that one operation takes more than once."""

AFTER_THE_FIT = (
    "mlflow.start_run",
    "mlflow.log_artifacts",
    "mlflow.pyfunc.log_model",
    "mlflow.register_model",
    "include.ml.model_files.forget_fitted",
)
"""Steps of a training by which its booster is kept."""
