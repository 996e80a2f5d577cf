"""A night in which a rollout takes a step, killed before any of its own and tried again, ends as an undisturbed one.

A process of its own, which ends by SIGKILL, as in ``test_killed_between_steps.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path

import mlflow
import pytest

from include.lake import delta
from include.ml import ledger, rollout, rollouts, scoring
from include.ml.rollouts import BACK, CANARY, FULL, Stage
from include.serving import batch
from tests.ml import crossing, rolling
from tests.ml.rolling import DAY, LATER

type Outcome = tuple[object, ...]
type States = dict[Stage, tuple[Path, date]]

STEPS = (
    "include.ml.rollouts.write",
    "include.ml.rollouts.write_full",
    "include.ml.rollouts.read",
    "include.ml.scoring.score_rows",
)
SAMPLE: list[tuple[Stage, str]] = [
    (CANARY, "include.ml.rollouts.write"),
    (BACK, "include.lake.delta.replace_days"),
    (FULL, "include.lake.commit.commit"),  # of two ledgers that change together
    (FULL, "include.ml.registry.show_champion"),
]
"""Of `make test`: the stage that the night leads to, and the step before which it is killed."""


@contextmanager
def at(folder: Path) -> Iterator[None]:
    """While this lasts, this process is one of the installation in ``folder``, whose use case has a rollout."""
    with crossing.at(folder), crossing.found(rolling.rolling_case()):
        yield


@contextmanager
def stepping(reached: Callable[[str], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossing, "STEPS", (*crossing.STEPS, *STEPS))
        with crossing.stepping(reached):
            yield


@pytest.fixture(scope="module")
def states(world: Path, tmp_path_factory: pytest.TempPathFactory) -> States:
    """The state before the night that leads to a stage, and that night."""
    found: States = {}
    for poisoned in (False, True):
        state = tmp_path_factory.mktemp("rolling") / "state"
        state.mkdir()
        shutil.copytree(world / "var", state / "var")
        with at(state):
            rolling.live(rolling.rolling_case(), world, state)
            rolling.challenge(rolling.rolling_case(), poisoned=poisoned)
        for n in range(1, 40):
            before = crossing.copied(state, tmp_path_factory.mktemp("before") / "state")
            with at(state):
                rolling.night(LATER + n * DAY)
                steps = rollouts.read(rolling.rolling_case())
            if steps[-1].stage not in found and steps[-1].stage != rollouts.SHADOW:
                found[steps[-1].stage] = before, LATER + n * DAY
            if not steps[-1].is_open:
                break
    return found


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[Path], Path]:
    numbers = count()
    return lambda state: crossing.copied(state, tmp_path / f"{next(numbers)}")


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.ml.crossing", "tests.ml.test_rollout_killed"])
    return found


def outcome() -> Outcome:
    """What it has come to: both ledgers, what is published and kept; and that nothing would be done once more."""
    case = rolling.rolling_case()
    rows = delta.read_all("gold", case.predictions_table).sort(case.key)
    shadow = delta.read_all("gold", case.shadow_table).sort(case.key)
    days = rows[case.day]
    assert not batch.predict("toy", LATER, max(days))["changed"]
    champion = ledger.latest_champion(case)
    assert champion is not None
    alias = mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version
    assert alias == champion.model_version
    return (
        [(one.model_version, one.effective_from) for one in ledger.read(case)],
        [
            (one.stage, one.share, one.effective_from, one.since, one.night, one.differences)
            for one in rollouts.read(case)
        ],
        delta.content_hash(rows),
        delta.content_hash(shadow.drop(scoring.FEATURES)),
    )


def victim(folder: Path, night: date, at_step: int | str) -> None:
    numbers = count(1)

    def reached(step: str) -> None:
        if at_step in (next(numbers), step):
            os.kill(os.getpid(), signal.SIGKILL)

    with at(folder), stepping(reached):
        rolling.night(night)


def alone(folder: Path, night: date) -> tuple[Outcome, object, list[str]]:
    steps: list[str] = []
    with at(folder):
        with stepping(steps.append):
            answer = rolling.night(night)
        return outcome(), answer, steps


def require_mended(
    processes: ForkServerContext, folder: Path, night: date, at_step: int | str, undisturbed: Outcome, answer: object
) -> None:
    process = processes.Process(target=victim, args=(folder, night, at_step))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    with at(folder):
        batch.predict("toy", night + DAY, night + DAY)
        assert rollout.look_again("toy", night) == answer, f"killed before {at_step}: the second try tells the same"
        assert outcome() == undisturbed, f"killed before {at_step}"


@pytest.mark.parametrize(("stage", "step"), SAMPLE)
def test_tried_again_it_ends_as_if_nothing_had_been(
    states: States, processes: ForkServerContext, fresh: Callable[[Path], Path], stage: Stage, step: str
) -> None:
    state, night = states[stage]
    undisturbed, answer, _ = alone(fresh(state), night)
    require_mended(processes, fresh(state), night, step, undisturbed, answer)


@pytest.mark.full
@pytest.mark.parametrize("stage", [CANARY, BACK, FULL])
def test_killed_at_each_step_it_ends_as_if_nothing_had_been(
    states: States, processes: ForkServerContext, fresh: Callable[[Path], Path], stage: Stage
) -> None:
    state, night = states[stage]
    undisturbed, answer, steps = alone(fresh(state), night)
    assert len(steps) > 8
    for number in range(len(steps)):
        require_mended(processes, fresh(state), night, number + 1, undisturbed, answer)
