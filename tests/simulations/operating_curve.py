"""The promotion gate's operating curve: how often it promotes, waits and refuses, where the truth is known.

``python -m tests.simulations.operating_curve`` reads features and labels of the demonstration from this installation's
lake (after ``make run``), and writes docs/operating-curve.md. ``make test-full`` makes a lake of its own and holds the
curve to its bounds.

Models are trained on the first two months and score the three that follow. Their days are the population: of it, weeks
are drawn with replacement, and the gate looks at them as it would in production. What is to be exactly as good, or
worse or better by a margin, is made so by noise on the scores of the better one, as much as it takes on all days.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.lake import delta
from include.ml import comparison, dataset, promotion, scoring, tasks
from include.ml.comparison import ByDay
from include.use_cases import use_case

type Array = npt.NDArray[np.float64]

CASE = "flight_delays"
THROUGH, EVIDENCE_FROM, LAST = date(2013, 3, 31), date(2013, 4, 1), date(2013, 7, 1)
MODELS = 10  # of each kind
DRAWS = 60  # of each pair
WEEK = 7


@dataclass(frozen=True)
class Days:
    """The rows that all models score, sorted by day: the population that evidence is drawn from."""

    case: UseCase
    rows: pl.DataFrame

    @cached_property
    def labels(self) -> npt.NDArray[np.int8]:
        return tasks.of(self.case).labels(self.rows[self.case.label])

    @cached_property
    def day_of(self) -> npt.NDArray[np.intp]:
        return self.rows[self.case.day].rank("dense").to_numpy().astype(np.intp) - 1

    @cached_property
    def starts(self) -> npt.NDArray[np.intp]:
        """Where each day begins, and where the last one ends."""
        return np.append(np.searchsorted(self.day_of, np.arange(self.number)), len(self.day_of))

    @property
    def number(self) -> int:
        return int(self.day_of[-1]) + 1

    def rows_of(self, days: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        return np.concatenate([np.arange(self.starts[day], self.starts[day + 1]) for day in days])


class Model:
    """Scores of all days, and what the compared metrics are made of on each."""

    def __init__(self, days: Days, scores: Array) -> None:
        self.days, self.scores = days, scores
        self.made = tasks.of(days.case).by_day(days.labels, scores, days.day_of, days.number)

    @property
    def auc(self) -> float:
        """Within days, on all of them."""
        return float(self.made["auc"].of(np.ones((1, self.days.number)))[0])

    def on(self, days: npt.NDArray[np.intp]) -> dict[str, ByDay]:
        return {name: replace(one, sums=one.sums[days], counts=one.counts[days]) for name, one in self.made.items()}

    def quality(self, days: npt.NDArray[np.intp]) -> dict[str, float]:
        at, task = self.days.rows_of(days), tasks.of(self.days.case)
        found = task.quality(self.days.labels[at], self.scores[at])
        return found | task.beside({}, self.days.rows[at], self.days.labels[at], self.scores[at])


@dataclass(frozen=True)
class Scenario:
    """Pairs of challenger and champion of which something is known, and what the gate may do with them.

    ``bounds`` are of the share that has a verdict by so many days: (verdict, days, least, most).
    """

    name: str
    pairs: Callable[[World], Sequence[tuple[Model, Model]]]
    bounds: tuple[tuple[str, int, float, float], ...] = ()


@dataclass(frozen=True)
class World:
    """The models: of other seeds, of days drawn again, of labels turned round, of the last days alone."""

    seeds: list[Model]
    redrawn: list[Model]
    flipped: dict[float, list[Model]]
    short: list[Model]


def world(case: UseCase, say: Callable[[str], None] = print) -> World:
    """Train all models. Takes minutes."""
    data = dataset.load(case, case.training.first_day, LAST)
    frame = data.frame.sort(case.day)
    days = Days(case, frame.filter(pl.col(case.day) >= EVIDENCE_FROM))
    learned = frame.filter(pl.col(case.day) <= THROUGH)
    task, kinds = tasks.of(case), scoring.feature_types(case.features)
    values, labels = dataset.matrix(case.features, learned), task.labels(learned[case.label])
    day_of = learned[case.day].rank("dense").to_numpy().astype(np.intp) - 1
    number = int(day_of[-1]) + 1
    ahead = xgb.DMatrix(
        dataset.matrix(case.features, days.rows),
        feature_names=list(case.feature_names),
        feature_types=kinds,
        enable_categorical=True,
    )

    def fitted(of: npt.NDArray[np.intp], seed: int, flipped: float = 0.0) -> Model:
        at = np.concatenate([np.flatnonzero(day_of == day) for day in of])
        wrong = np.random.default_rng([seed, 3]).random(len(at)) < flipped
        rows = xgb.QuantileDMatrix(
            values[at],
            np.where(wrong, 1 - labels[at], labels[at]),
            feature_names=list(case.feature_names),
            feature_types=kinds,
            enable_categorical=True,
        )
        params = {**task.params, **case.training.params, "seed": seed, "nthread": case.training.threads}
        return Model(days, task.scores(xgb.train(params, rows, case.training.rounds).predict(ahead)))

    def several(what: str, one: Callable[[int], Model]) -> list[Model]:
        found = [one(seed) for seed in range(MODELS)]
        say(f"{what}: AUC within days {min(m.auc for m in found):.4f} to {max(m.auc for m in found):.4f}")
        return found

    every = np.arange(number)
    return World(
        several("another seed", lambda seed: fitted(every, seed)),
        several("days drawn again", lambda seed: fitted(np.random.default_rng(seed).integers(0, number, number), seed)),
        {
            share: several(
                f"{share:.0%} of the labels turned round", lambda seed, share=share: fitted(every, seed, share)
            )
            for share in (0.05, 0.2)
        },
        several("the last 14 days alone", lambda seed: fitted(every[-14:], seed)),
    )


def neighbours(models: Sequence[Model]) -> list[tuple[Model, Model]]:
    """Each with the next one."""
    return list(zip(models, [*models[1:], models[0]], strict=True))


def apart(models: Sequence[Model], by: float) -> list[tuple[Model, Model]]:
    """The same, the challenger's AUC exactly ``by`` above the champion's: the better one has noise on its scores."""
    found = []
    for seed, (challenger, champion) in enumerate(neighbours(models)):
        if challenger.auc - by > champion.auc:
            found.append((worsened(challenger, champion.auc + by, seed), champion))
        else:
            found.append((challenger, worsened(champion, challenger.auc - by, seed)))
    return found


def worsened(model: Model, auc: float, seed: int) -> Model:
    """``model`` with so much noise on the log-odds of its scores that its AUC is ``auc``."""
    odds, noise = np.log(model.scores / (1 - model.scores)), np.random.default_rng(seed).normal(size=len(model.scores))
    low, high = 0.0, 2.0
    for _ in range(14):
        middle = (low + high) / 2
        found = Model(model.days, 1 / (1 + np.exp(-(odds + middle * noise))))
        low, high = (middle, high) if found.auc > auc else (low, middle)
    return found


SCENARIOS = (
    Scenario(
        "as good: another seed",
        lambda world: apart(world.seeds, 0.0),
        (("refuse", 60, 0, 0.05), ("promote", 28, 0.5, 1), ("promote", 60, 0.85, 1)),
    ),
    # Their AUC is made equal; calibration and log loss are not, and some of them are worse in these.
    Scenario("as good in AUC, trained on days drawn again", lambda world: apart(world.redrawn, 0.0)),
    Scenario("worse by .01", lambda world: apart(world.seeds, -0.01), (("promote", 60, 0, 0.05),)),
    Scenario(
        "worse by .01, trained on days drawn again",
        lambda world: apart(world.redrawn, -0.01),
        (("promote", 60, 0, 0.05),),
    ),
    Scenario("worse by .02", lambda world: apart(world.seeds, -0.02), (("promote", 60, 0, 0.01),)),
    Scenario("better by .01", lambda world: apart(world.seeds, 0.01), (("promote", 28, 0.9, 1),)),
    Scenario("5 % of the labels turned round", lambda world: list(zip(world.flipped[0.05], world.seeds, strict=True))),
    Scenario(
        "20 % of the labels turned round",
        lambda world: list(zip(world.flipped[0.2], world.seeds, strict=True)),
        (("promote", 60, 0, 0.01),),
    ),
    Scenario(
        "trained on 14 days",
        lambda world: list(zip(world.short, world.seeds, strict=True)),
        (("promote", 60, 0, 0.05),),
    ),
)


def verdicts(
    case: UseCase, challenger: Model, champion: Model, random: np.random.Generator
) -> Iterator[tuple[str, int]]:
    """What becomes of the challenger, ``DRAWS`` times: the verdict and after how many days."""
    last = case.looks[-1]
    for _ in range(DRAWS):
        begins = random.integers(0, challenger.days.number - WEEK + 1, -(-last // WEEK))
        drawn = np.concatenate([np.arange(begin, begin + WEEK) for begin in begins])
        for look, number in enumerate(case.looks, start=1):
            days = drawn[:number]
            ours, theirs = challenger.on(days), champion.on(days)
            task = tasks.of(case)
            gains = {
                one.metric: comparison.gain(
                    ours[one.metric], theirs[one.metric], higher=one.metric in task.higher_is_better
                )
                for one in task.compared
            }
            verdict, _ = promotion.judge(case, challenger.quality(days), champion.quality(days), gains, look, 1, 1)
            if verdict != "wait":
                break
        yield verdict, number


@dataclass(frozen=True)
class Found:
    """The share of challengers with each verdict, by the days that it took."""

    scenario: Scenario
    tried: int
    verdicts: list[tuple[str, int]]

    def share(self, verdict: str, days: int) -> float:
        return sum(one == verdict and after <= days for one, after in self.verdicts) / self.tried

    def broken(self) -> list[str]:
        """The bounds that do not hold."""
        return [
            f"{self.scenario.name}: {verdict} by {days} days: {self.share(verdict, days):.1%}, "
            f"and the bounds are {least:.0%} and {most:.0%}"
            for verdict, days, least, most in self.scenario.bounds
            if not least <= self.share(verdict, days) <= most
        ]


def curve(case: UseCase, models: World, say: Callable[[str], None] = print) -> list[Found]:
    """Every scenario."""
    found = []
    for scenario in SCENARIOS:
        random = np.random.default_rng(11)
        told = [one for pair in scenario.pairs(models) for one in verdicts(case, *pair, random)]
        found.append(Found(scenario, len(told), told))
        say(row(case, found[-1]))
    return found


def row(case: UseCase, found: Found) -> str:
    """A line of the page's table."""
    cells = [f"{found.share(verdict, days):.1%}" for verdict in ("promote", "refuse") for days in case.looks]
    waits = 1 - found.share("promote", case.looks[-1]) - found.share("refuse", case.looks[-1])
    return f"| {found.scenario.name} | {' | '.join(cells)} | {waits:.1%} |"


PAGE = """\
# How often the promotion gate is right

Made by `python -m tests.simulations.operating_curve` on the days of the demonstration, and held to its bounds by
`make test-full`. What the gate does, and how this is simulated: [promotion](decisions/promotion.md).

| the truth | {looks} | waits |
|---|{rule}
{rows}

Each line is of {tried} challengers. *Worse* and *better* are in AUC within days, whose margin is {margin}.

| the truth | the gate | bound | found |
|---|---|---|---|
{bounds}
"""


def page(case: UseCase, found: Sequence[Found]) -> str:
    """docs/operating-curve.md."""
    looks = [f"{verdict} by {days} days" for verdict in ("promoted", "refused") for days in case.looks]
    bounds = [
        f"| {one.scenario.name} | {verdict} by {days} days | {'at least' if most == 1 else 'at most'} "
        f"{least if most == 1 else most:.0%} | {one.share(verdict, days):.1%} |"
        for one in found
        for verdict, days, least, most in one.scenario.bounds
    ]
    return PAGE.format(
        looks=" | ".join(looks),
        rule="---|" * (len(looks) + 1),
        rows="\n".join(row(case, one) for one in found),
        tried=found[0].tried,
        margin=tasks.of(case).compared[0].margin,
        bounds="\n".join(bounds),
    )


def main() -> int:
    """Write the page. Exit code 1 where a bound does not hold."""
    case = use_case(CASE)
    if not delta.exists("gold", case.features_table):
        print(f"gold.{case.features_table} is missing: run the demonstration first (make run)", file=sys.stderr)
        return 1
    found = curve(case, world(case))
    (settings().home / "docs" / "operating-curve.md").write_text(page(case, found))
    broken = [line for one in found for line in one.broken()]
    print("\n".join(broken) or "all bounds hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
