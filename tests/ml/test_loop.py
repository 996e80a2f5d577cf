"""The loop closes by itself, for each task: the world changes, and without a hand on it another champion knows it.

Each night does what its DAGs do, by the functions of their tasks: score, measure, decide, and where the policy asks for
it train and judge. The quiet column is the same number of nights in which nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import polars as pl
import pytest

from include.contracts.use_case import Binary, DriftPolicy, UseCase
from include.ml import ledger, monitor, policy, promotion, train
from include.serving import batch
from tests.ml.worlds import FIRST, RETURNS, SALES, WEATHER, World

HISTORY, QUIET, CHANGED = 60, 20, 80
CHANGE = FIRST + timedelta(HISTORY + QUIET)
"""The first day on which the world is another one."""

BINARY = replace(RETURNS, case=replace(RETURNS.case, label_days=0, task=Binary(baseline="noise")))

CASES: dict[str, tuple[World, pl.Expr]] = {
    "binary": (BINARY, (1 - pl.col("returns")).alias("returns")),
    "multiclass": (WEATHER, pl.col("kind").replace({"dry": "wet", "wet": "dry"}).alias("kind")),
    "regression": (SALES, (pl.col("amount") - 24 * pl.col("warm")).alias("amount")),
}


@dataclass
class Loop:
    """What nights have come to: those of a "yes", and those that made a champion, with its version."""

    case: UseCase
    asked: list[date] = field(default_factory=list)
    promoted: list[tuple[date, int]] = field(default_factory=list)

    def train(self, night: date) -> None:
        version = train.train(self.case.name, night, "cpu")["version"]
        self._took(night, promotion.promote(self.case.name, version))

    def night(self, night: date) -> None:
        ahead = night + timedelta(self.case.horizon_days)
        batch.predict(self.case.name, ahead, ahead)
        monitor.measure(self.case.name, night, night)
        looked = promotion.look_again(self.case.name, night)
        if looked is not None:
            self._took(night, looked)
        if policy.decide_night(self.case.name, night)["decision"] == "yes":
            self.asked.append(night)
            self.train(night)

    def _took(self, night: date, result: dict[str, object]) -> None:
        if result["promoted"]:
            self.promoted.append((night, int(str(result["version"]))))


def run(world: World, change: pl.Expr | None, monkeypatch: pytest.MonkeyPatch, max_age_days: int = 400) -> Loop:
    case = replace(
        world.case,
        training=replace(world.case.training, window_days=56, holdout_days=7, min_train_days=20),
        drift=DriftPolicy(cool_down_days=10, max_age_days=max_age_days, max_refusals=12, budget=12),
    )
    world = replace(world, case=case).found(monkeypatch)
    world.write(FIRST, HISTORY + QUIET)
    world.write(CHANGE, CHANGED + 1, change)
    loop = Loop(case)
    loop.train(FIRST + timedelta(HISTORY - 1))
    for n in range(QUIET + CHANGED):
        loop.night(FIRST + timedelta(HISTORY + n))
    return loop


def quality(case: UseCase, nights: Sequence[date]) -> float:
    """The log loss, or error, of what has matured in ``nights``, in the mean."""
    rows = monitor.measurements(case, nights[0], nights[-1])
    of_day = rows.filter(pl.col("metric").is_in(["day_log_loss", "day_mae"]))
    return float(of_day.select(pl.col("value").mean()).item())


@pytest.mark.full
@pytest.mark.parametrize("task", CASES)
def test_the_world_changes_and_a_champion_knows_it(
    task: str, lake: object, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, change = CASES[task]
    # A retraining that has seen little of what is new may be as good as the champion, and promise no more. The schedule
    # has it learn the rest.
    loop = run(world, change, monkeypatch, max_age_days=40)
    noticed = policy.stored(loop.case).filter(pl.col("reason").str.contains("quality is worse than promised"))
    assert not noticed.is_empty(), "it is noticed"
    assert CHANGE <= noticed["partition_day"].min() <= CHANGE + timedelta(10), "and not before it was so"
    first, *later = loop.promoted
    assert first[1] == 1
    assert later, "and learned"
    assert {row.decided_by for row in ledger.read(loop.case)} == {"gates"}, "and no hand was on it"
    before = [CHANGE + timedelta(n) for n in range(1, 6)]
    after = [FIRST + timedelta(HISTORY + QUIET + CHANGED - n) for n in range(5, 0, -1)]
    assert quality(loop.case, after) < 0.8 * quality(loop.case, before), "who is champion now is better"


@pytest.mark.full
@pytest.mark.parametrize("task", CASES)
def test_nothing_changes_and_nothing_is_asked_for(
    task: str, lake: object, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = run(CASES[task][0], None, monkeypatch)
    assert loop.asked == []
    assert [version for _, version in loop.promoted] == [1]
