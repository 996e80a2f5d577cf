"""Whatever train, promote, look again, score, roll back and vacuum do together ends as one after the other would.

No chance: one is held up before each of its steps, the other one is done meanwhile as far as it can be, and the first
goes on. How far that is, the leases say: where the first holds what the second needs, the second waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import pytest

from include.core import lease
from tests.ml import crossing
from tests.ml.crossing import OPERATIONS, Outcome

SAMPLE = [
    ("roll back", "promote", "include.ml.registry.show_champion"),
    ("promote", "score", "include.ml.ledger.append"),
    ("score", "promote", "include.lake.delta.replace_days"),
    ("train", "train", "mlflow.register_model"),
    ("look again", "promote", "include.core.lease.taken"),
]
"""Of `make test`: who is held up, what is done meanwhile, before which step."""


class Doing(Thread):
    """An operation in a thread of its own; what it raises is raised where it is waited for."""

    def __init__(self, what: str) -> None:
        super().__init__(name=what, daemon=True)
        self.what = what
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            OPERATIONS[self.what]()
        except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
            self.error = error

    def done(self) -> None:
        self.join(300)
        assert not self.is_alive(), f"{self.what} does not end"
        if self.error is not None:
            raise self.error


@dataclass
class Held:
    """Holds ``first`` up before its step ``at``, a number or a name; notes when ``second`` has to wait for a lease."""

    at: int | str
    first: Thread
    second: Thread
    steps: list[str] = field(default_factory=list)
    here: Event = field(default_factory=Event)
    go: Event = field(default_factory=Event)
    waits: Event = field(default_factory=Event)

    def reached(self, step: str) -> None:
        if current_thread() is not self.first or self.go.is_set():
            return
        self.steps.append(step)
        if self.at in (len(self.steps), step):
            self.here.set()
            assert self.go.wait(300)


def crossed(one: str, other: str, at: int | str) -> str | None:
    """Do ``other`` while ``one`` is held up before step ``at``. Returns that step; None where it has no such step."""
    first, second = Doing(one), Doing(other)
    held = Held(at, first, second)
    taken = lease.taken

    def tried(path: Path) -> Any:
        file = taken(path)
        if file is None and current_thread() is second:
            held.waits.set()
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "taken", tried)
        with crossing.stepping(held.reached):
            first.start()
            while first.is_alive() and not held.here.wait(0.01):
                pass
            if not held.here.is_set():
                first.done()
                return None
            second.start()
            while second.is_alive() and not held.waits.wait(0.01):
                pass
            held.go.set()
            first.done()
            second.done()
    return held.steps[-1]


@pytest.fixture
def fresh(middle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Gives a copy of the state, each time another one."""
    numbers = count()
    return lambda: crossing.copied(middle, tmp_path / f"{next(numbers)}")


def in_turn(folder: Path, *what: str) -> Outcome:
    with crossing.at(folder):
        for one in what:
            OPERATIONS[one]()
        return crossing.outcome()


@pytest.mark.parametrize(("one", "other", "step"), SAMPLE)
def test_it_ends_as_one_after_the_other(fresh: Callable[[], Path], one: str, other: str, step: str) -> None:
    with crossing.at(fresh()):
        assert crossed(one, other, step) == step
        found = crossing.outcome()
    assert found in (in_turn(fresh(), one, other), in_turn(fresh(), other, one))


@pytest.mark.full
@pytest.mark.parametrize(("one", "other"), list(product(OPERATIONS, OPERATIONS)))
def test_at_each_step_it_ends_as_one_after_the_other(fresh: Callable[[], Path], one: str, other: str) -> None:
    either = {in_turn(fresh(), one, other), in_turn(fresh(), other, one)}
    for at in count(1):
        with crossing.at(fresh()):
            step = crossed(one, other, at)
            if step is None:
                break
            assert crossing.outcome() in either, f"{other}, while {one} is held up before {step}"
    assert at > 3, "it was held up somewhere"
