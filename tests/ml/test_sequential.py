"""A test that may be looked at every night: how often it is wrong, beside how often it finds what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from include.contracts.rollout import Rollout
from include.ml import rollout, sequential
from include.ml.rollouts import BACK, CANARY, FULL, SHADOW
from tests.ml.conftest import FIRST, toy_case
from tests.ml.test_rollout import step_of

type Law = Callable[[np.random.Generator, int], sequential.Array]


def autoregressive(random: np.random.Generator, days: int) -> sequential.Array:
    found = random.normal(size=days)
    for day in range(1, days):
        found[day] = 0.2 * found[day - 1] + np.sqrt(1 - 0.2**2) * found[day]
    return found


LAWS: dict[str, Law] = {
    "normal": lambda random, days: random.normal(size=days),
    "heavy tails": lambda random, days: random.standard_t(3, size=days) / np.sqrt(3),
    "weekends scatter more": lambda random, days: (
        random.normal(size=days) * np.where(np.arange(days) % 7 < 2, 1.7, 0.6)
    ),
    "wilder and wilder": lambda random, days: random.normal(size=days) * np.exp(np.arange(days) / days),
    "each day like the one before": autoregressive,
    "lopsided": lambda random, days: 1 - random.exponential(size=days),
}
"""How a metric's daily difference scatters, with a standard deviation of about 1."""

SPEC = Rollout(shadow_days=14, canary_days=14, max_shadow_days=60, max_canary_days=60)
MARGIN = 1.0


def rolled_out(law: Law, worse: float, seed: int, spec: Rollout = SPEC) -> str:
    """How a rollout ends whose challenger is ``worse`` by so many standard deviations of a day, in two metrics."""
    case = toy_case(task=replace(toy_case().task, max_auc_loss=MARGIN, max_log_loss_loss=MARGIN))
    random, step = np.random.default_rng(seed), step_of(SHADOW, FIRST)
    numbers = [law(random, spec.max_shadow_days + spec.max_canary_days) + worse for _ in range(2)]
    # What is worse in one metric is so in the other, and scatters with it.
    both = {"auc": numbers[0], "log_loss": 0.6 * numbers[0] + 0.8 * numbers[1] + (1 - 1.4) * worse}
    days = {FIRST + timedelta(n): {name: float(of[n]) for name, of in both.items()} for n in range(len(numbers[0]))}
    known = dict(list(days.items())[: spec.max_shadow_days])
    found = rollout.verdict(case, spec, step, known)
    if found is None or found.stage != CANARY:
        return found.stage if found else "undecided"
    # A night later it is decided, and the day after that is the first one that nobody has scored.
    first = FIRST + timedelta(found.days + 1)
    last = first + timedelta(spec.max_canary_days)
    found = rollout.verdict(case, spec, step_of(CANARY, first), {day: of for day, of in days.items() if day < last})
    return found.stage if found else "undecided"


def shares(law: Law, worse: float, runs: int) -> dict[str, float]:
    found = [rolled_out(law, worse, seed) for seed in range(runs)]
    return {stage: found.count(stage) / runs for stage in (FULL, BACK, "undecided")}


def require_curve(law: Law, runs: int) -> None:
    """The quiet column and the changed ones, of the same laws in the same run; two standard errors are chance."""
    chance = 2 * np.sqrt(SPEC.level * (1 - SPEC.level) / runs)
    equal, worse, at_margin = (shares(law, by, runs) for by in (0.0, 0.75, MARGIN))
    assert equal[BACK] <= SPEC.level + chance, f"equal ones: {equal}"
    assert equal[FULL] >= 0.8, f"equal ones: {equal}"
    assert worse[BACK] >= 0.8, f"worse by 0.75: {worse}"
    assert at_margin[BACK] >= 0.9, f"worse by the margin: {at_margin}"
    assert at_margin[FULL] <= SPEC.level + chance, f"worse by the margin: {at_margin}"


@pytest.mark.parametrize("law", ["heavy tails", "lopsided"])
def test_a_look_every_night_is_wrong_as_often_as_it_says_and_finds_what_is_worse(law: str) -> None:
    require_curve(LAWS[law], 60)


@pytest.mark.full
@pytest.mark.parametrize("law", LAWS)
def test_so_it_is_of_days_that_scatter_otherwise(law: str) -> None:
    require_curve(LAWS[law], 500)


def test_the_interval_has_what_is_refuted_outside_and_nothing_else() -> None:
    values = np.random.default_rng(3).normal(0.8, 1.0, 80)
    bounds = sequential.bounds_of_bets(values)
    found = sequential.interval(values, bounds, 0.01, 0.05)
    for at, side, level in ((found.low, 1, 0.01), (found.high, -1, 0.05)):
        assert sequential.reached(values, bounds, at - side * 1e-6, side, level)[-1]
        assert not sequential.reached(values, bounds, at + side * 1e-6, side, level)[-1]
    assert 0 < found.low < 0.8 < found.high


def test_the_interval_is_around_the_truth_at_every_look() -> None:
    missed = 0
    for seed in range(200):
        values = np.random.default_rng(seed).standard_t(4, 60)
        bounds = sequential.bounds_of_bets(values)
        # The end at the last look is the narrowest one so far: it has what any look has refuted.
        found = sequential.interval(values, bounds, 0.05, 0.05)
        missed += not found.low <= 0 <= found.high
    assert missed <= 0.1 * 200


def test_no_difference_is_no_evidence_that_it_is_worse_and_soon_some_that_it_is_not() -> None:
    same = np.zeros(30)
    bounds = sequential.bounds_of_bets(same)
    assert not sequential.reached(same, bounds, 0.0, 1, 0.05).any()
    assert sequential.reached(same, bounds, 0.01, -1, 0.05)[-1]


def test_one_wild_day_decides_nothing() -> None:
    values = np.random.default_rng(1).normal(0, 0.01, 40)
    values[20] = 100.0
    capital = sequential.capital(values, sequential.bounds_of_bets(values), 0.0, 1)
    assert capital[20] <= 2 * capital[19], "a day doubles what there is at most"
    assert capital.max() < 20


def test_days_whose_labels_share_time_are_one_number() -> None:
    assert sequential.blocks([1, 2, 3, 4, 5, 6, 7], 3).tolist() == [2.0, 5.0]
    assert sequential.blocks([1.5, 2], 1).tolist() == [1.5, 2]


def test_the_probability_that_it_is_better() -> None:
    assert sequential.chance_of_better(np.asarray([1.0, 2.0])) == 0.5
    values = np.random.default_rng(1).normal(-1.0, 1.0, 30)
    assert sequential.chance_of_better(values) > 0.99
    assert sequential.chance_of_better(-values) == pytest.approx(1 - sequential.chance_of_better(values))
    assert [sequential.chance_of_better(np.full(5, one)) for one in (-1.0, 0.0, 1.0)] == [1.0, 0.5, 0.0]


def test_a_spec_that_cannot_decide_is_refused() -> None:
    with pytest.raises(ValueError, match="max_shadow_days 7; 1 or more, and rising"):
        Rollout(shadow_days=14, max_shadow_days=7)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        Rollout(canary_share=0.6)
    with pytest.raises(ValueError, match="must be 36 or more: 12 numbers decide at the earliest, and the labels of 3"):
        toy_case(rollout=Rollout(max_canary_days=30), label_days=2)
    strange: Any = "greedy"
    with pytest.raises(ValueError, match="`fixed` or `thompson`"):
        Rollout(share=strange)
