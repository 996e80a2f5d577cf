"""How often a group of rows refuses a challenger: where nothing has changed, and where one group is turned round.

``python -m tests.simulations.slices`` reads the demonstration's days from this installation's lake (after ``make run``)
and prints the table of docs/decisions/evaluation.md; ``make test-full`` holds it to its bounds. Models of the first
months score the three that follow, of which weeks are drawn with replacement, as in ``operating_curve``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import dataset, evaluation, promotion, scoring, tasks
from include.use_cases import use_case
from tests.simulations.operating_curve import CASE, EVIDENCE_FROM, LAST, THROUGH, WEEK, Days, Model

MODELS = 6  # of each kind
DRAWS = 20  # of each pair
TURNED = ("carrier", "AA")  # a tenth of the rows


@dataclass(frozen=True)
class World:
    """Models of other seeds, of days drawn again, and of labels turned round in one group; and always the usual."""

    seeds: list[Model]
    redrawn: list[Model]
    turned: list[Model]
    usual: Model


def world(case: UseCase) -> World:
    """Train all models. Takes a minute or two."""
    frame = dataset.load(case, case.training.first_day, LAST).frame.sort(case.day)
    days = Days(case, frame.filter(pl.col(case.day) >= EVIDENCE_FROM))
    learned = frame.filter(pl.col(case.day) <= THROUGH)
    task, kinds = tasks.of(case), scoring.feature_types(case.features)
    values, labels = dataset.matrix(case.features, learned), task.labels(learned[case.label])
    day_of = learned[case.day].rank("dense").to_numpy().astype(np.intp) - 1
    number = int(day_of[-1]) + 1
    column, value = TURNED
    within = (learned[column] == value).to_numpy()
    names = list(case.feature_names)
    ahead = xgb.DMatrix(
        dataset.matrix(case.features, days.rows), feature_names=names, feature_types=kinds, enable_categorical=True
    )

    def fitted(of: npt.NDArray[np.intp], seed: int, turned: npt.NDArray[np.bool_] | bool = False) -> Model:
        at = np.concatenate([np.flatnonzero(day_of == day) for day in of])
        truth = np.where(turned, 1 - labels, labels)[at]
        rows = xgb.QuantileDMatrix(values[at], truth, feature_names=names, feature_types=kinds, enable_categorical=True)
        params = {**task.params, **case.training.params, "seed": seed, "nthread": case.training.threads}
        return Model(days, task.scores(xgb.train(params, rows, case.training.rounds).predict(ahead)))

    every = np.arange(number)
    return World(
        [fitted(every, seed) for seed in range(MODELS)],
        [fitted(np.random.default_rng(seed).integers(0, number, number), seed) for seed in range(MODELS)],
        [fitted(every, seed, within) for seed in range(MODELS)],
        Model(days, np.repeat(task.always(labels), len(days.labels), axis=0)),
    )


@dataclass(frozen=True)
class Scenario:
    """Pairs of challenger and champion. ``bounds`` are of the share that a group refuses by the last look."""

    name: str
    pairs: Callable[[World], Sequence[tuple[Model, Model]]]
    least: float
    most: float
    alone: bool = False


def _next(models: Sequence[Model]) -> list[Model]:
    return [*models[1:], models[0]]


SCENARIOS = (
    Scenario("as good: another seed", lambda of: list(zip(of.seeds, _next(of.seeds), strict=True)), 0, 0.05),
    Scenario("trained on days drawn again", lambda of: list(zip(of.redrawn, of.seeds, strict=True)), 0, 0.05),
    Scenario(
        f"labels of {' '.join(TURNED)} turned round", lambda of: list(zip(of.turned, of.seeds, strict=True)), 0.95, 1
    ),
    Scenario("no champion", lambda of: [(one, of.usual) for one in of.seeds], 0, 0.05, alone=True),
    Scenario(
        f"no champion, labels of {' '.join(TURNED)} turned round",
        lambda of: [(one, of.usual) for one in of.turned],
        0.95,
        1,
        alone=True,
    ),
)


@dataclass(frozen=True)
class Found:
    """Of so many challengers, the share that a group has refused, by look, and that all rows together let through."""

    scenario: Scenario
    tried: int
    refused: list[float]
    let_through: float

    @property
    def is_broken(self) -> bool:
        return not self.scenario.least <= self.refused[-1] <= self.scenario.most

    def __str__(self) -> str:
        shares = " | ".join(f"{share:.1%}" for share in self.refused)
        return f"| {self.scenario.name} | {shares} | {self.let_through:.1%} |"


def outcome(case: UseCase, scenario: Scenario, of: World) -> Found:
    """Draw evidence for each pair, and look at it as promotion would."""
    random, task = np.random.default_rng(11), tasks.of(case)
    looks = case.looks[:1] if scenario.alone else case.looks
    refused, through, tried = np.zeros(len(looks)), 0, 0
    for challenger, champion in scenario.pairs(of):
        for _ in range(DRAWS):
            tried += 1
            begins = random.integers(0, challenger.days.number - WEEK + 1, -(-looks[-1] // WEEK))
            drawn = np.concatenate([np.arange(begin, begin + WEEK) for begin in begins])
            for look, number in enumerate(looks, start=1):
                rows, at = evidence(case, challenger.days, drawn[:number])
                ours, theirs = ((task, one.days.labels[at], one.scores[at]) for one in (challenger, champion))
                groups = evaluation.groups(case, rows, ours, theirs)
                if evaluation.slice_reasons(case, groups, None if scenario.alone else look, "the other's"):
                    refused[look - 1 :] += 1
                    break
            through += passes_as_a_whole(case, challenger, champion, drawn, alone=scenario.alone)
    return Found(scenario, tried, [*(refused / tried)], through / tried)


def passes_as_a_whole(
    case: UseCase, challenger: Model, champion: Model, drawn: npt.NDArray[np.intp], *, alone: bool
) -> bool:
    """Whether the gates of all rows together let the challenger through, with all the days or without a champion."""
    own = challenger.quality(drawn)
    if alone:
        return not tasks.of(case).reasons(own)
    rows, at = evidence(case, challenger.days, drawn)
    task = tasks.of(case)
    ours, theirs = (
        promotion.Scored(rows, task, one.days.labels[at], one.scores[at], one.scores[at], is_of_today=True)
        for one in (challenger, champion)
    )
    gains = promotion.gains_of(case, ours, theirs)
    verdict, _ = promotion.judge(case, own, champion.quality(drawn), gains, len(case.looks), 1, 1)
    return verdict == "promote"


def evidence(case: UseCase, days: Days, drawn: npt.NDArray[np.intp]) -> tuple[pl.DataFrame, npt.NDArray[np.intp]]:
    """The rows of some days, each a day of its own where it is drawn twice, and where they are in ``days``."""
    at = days.rows_of(drawn)
    sizes = [days.starts[day + 1] - days.starts[day] for day in drawn]
    numbers = np.repeat(np.arange(len(drawn)), sizes)
    day = pl.Series(case.day, [date(2000, 1, 1) + timedelta(int(n)) for n in range(len(drawn))])
    rows = days.rows.select(case.evaluation.slices)[at].with_columns(day.gather(numbers))
    return rows, at


def curve(case: UseCase, say: Callable[[str], None] = print) -> list[Found]:
    """Every scenario."""
    of, found = world(case), []
    for scenario in SCENARIOS:
        found.append(outcome(case, scenario, of))
        say(f"{found[-1]} of {found[-1].tried}")
    return found


def main() -> int:
    """Print the table. Exit code 1 where a bound does not hold."""
    case = use_case(CASE)
    if not delta.exists("gold", case.features_table):
        print(f"gold.{case.features_table} is missing: run the demonstration first (make run)", file=sys.stderr)
        return 1
    broken = [one.scenario.name for one in curve(case) if one.is_broken]
    print(f"not within their bounds: {', '.join(broken)}" if broken else "all bounds hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
