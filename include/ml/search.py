"""A search for better parameters than the spec's own, on the last of the days that a model would be fitted on.

Trials are fitted on the days before these, and scored on them. Validation and holdout are not among the rows that a
search is given, so that what the gate judges by is as new to what was found as to anything else.

The best of many trials is the best by chance, in part. It is taken only where the days, each for itself, say that it is
better than the spec's own parameters, by the same paired test as in promotion.

The same rows, spec and code give the same trials, also after a kill: the finished ones are on disk, and the sampler of
each begins with a seed of its own, which follows from how many there are. One that was killed half-way is made again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import xgboost as xgb
from xgboost.callback import TrainingCallback

from include.contracts.search import Choices, Range, Scalar, Search
from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.ml import comparison, dataset, fitting, imbalance, scoring, tasks
from include.ml.comparison import ByDay
from include.ml.dataset import DataMissingError, Split
from include.ml.fitting import Device
from include.ml.tasks import UnfitLabelError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Running

STEPS = 8
"""A trial is scored so often on its way, after equal parts of its rounds."""
KEPT = 5
"""The stored searches of a use case: the newest ones; what was found is in the ledger of trainings and in MLflow."""
STARTING = 5
"""Trials that are all made to their end, and drawn at random from the space but for the spec's own."""


class UnfitSearchError(NeedsAttentionError):
    """A search asks for what its task or its days do not have."""


@dataclass(frozen=True)
class Trial:
    """One set of parameters.

    Attributes:
        number: from 0, the spec's own.
        score: on the search days; of one that was pruned, the last before it was.
        steps: the score on the newest block after so many eighths of the rounds.
        sums, counts: what the score is made of, a number for each of the days; empty of one that was pruned.
        began: seconds since 1970.
    """

    number: int
    params: dict[str, Scalar]
    pruned: bool
    score: float
    steps: dict[int, float]
    sums: list[float]
    counts: list[float]
    began: float
    seconds: float


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        chosen: what to change in the spec's own parameters; empty where these are to stay.
        metric: what trials are scored by.
        days: those that trials were scored on; None where there was no search.
        own, best: the scores of the spec's own parameters, and the best one of a whole trial.
        gain, error: what the best gains on the spec's own, positive where it is better, and its standard error.
        ended_by: ``trials`` or ``seconds``, or why there was no search.
    """

    chosen: dict[str, Scalar]
    metric: str
    days: tuple[date, date] | None
    trials: list[Trial] = field(default_factory=list)
    own: float = math.nan
    best: float = math.nan
    gain: float = 0.0
    error: float = math.nan
    ended_by: str = "trials"

    @property
    def pruned(self) -> int:
        return sum(one.pruned for one in self.trials)

    @property
    def seconds(self) -> float:
        """That all trials took together, those before a kill included."""
        return round(sum(one.seconds for one in self.trials), 3)

    def summary(self) -> dict[str, Scalar]:
        """What the record of a training keeps of it, beside what was chosen."""
        if self.days is None:
            return {"ended_by": self.ended_by}
        found: dict[str, Scalar] = {
            "metric": self.metric,
            "first_day": str(self.days[0]),
            "last_day": str(self.days[1]),
            "trials": len(self.trials),
            "pruned": self.pruned,
            "own": self.own,
            "best": self.best,
            "gain": self.gain,
            "seconds": self.seconds,
            "ended_by": self.ended_by,
        }
        return found | ({"error": self.error} if math.isfinite(self.error) else {})

    def __str__(self) -> str:
        if self.days is None:
            return f"no search: {self.ended_by}; the spec's own parameters are taken"
        what = ", ".join(f"{name} {value}" for name, value in self.chosen.items())
        return (
            f"search of {len(self.trials)} trials ({self.pruned} pruned) in {self.seconds:.0f} s, ended by "
            f"{self.ended_by}: {self.metric} {self.best:.5g} on {self.days[0]} to {self.days[1]}, and {self.own:.5g} "
            f"of the spec's own parameters, a gain of {self.gain:.5f} with a standard error of {self.error:.5f}; "
            f"taken: {what or 'the own ones, since no others are certain to be better'}"
        )


def applied(case: UseCase, chosen: Mapping[str, Scalar]) -> UseCase:
    """``case`` with what a search has chosen, and without the search."""
    training = case.training
    params = {name: value for name, value in chosen.items() if name != "rounds"}
    rounds = int(chosen.get("rounds", training.rounds))
    return replace(case, training=replace(training, params={**training.params, **params}, rounds=rounds, search=None))


def splits_of(case: UseCase, search: Search, days: tuple[date, date], absent: set[date]) -> list[Split]:
    """Cut the days that a model would be fitted on: the last ones score trials, and early stopping has some before.

    One split for each block, the newest first. Where labels take time, as many days lie between as between the parts of
    a training. Raises DataMissingError where fewer than ``min_train_days`` are left to fit on.
    """
    found: list[Split] = []
    for _ in range(search.blocks):
        last = found[-1].holdout[0] - timedelta(1) if found else days[1]
        found.append(_split_of(case, search, (days[0], last), absent))
    return found


def _split_of(case: UseCase, search: Search, days: tuple[date, date], absent: set[date]) -> Split:
    training = replace(case.training, holdout_days=search.days)
    split = dataset.split_days(replace(case, training=training), *days, absent)
    left = sum(split.train[0] <= day <= split.train[1] for day in dataset.days_between(*days) if day not in absent)
    if left < training.min_train_days:
        raise DataMissingError(
            f"{left} days are left to fit trials on, beside {search.days} to score them by, and a training needs "
            f"{training.min_train_days}"
        )
    return split


def run(case: UseCase, frame: pl.DataFrame, days: tuple[date, date], device: Device, recipe: str) -> Found:
    """Search as the spec of ``case`` says, on the rows of ``days``, those that a model would be fitted on.

    ``recipe`` is the key of the training: a search of the same recipe goes on where it was left. Where the days do not
    tell a good trial from a bad one, there is no search, and what is found says why. Raises UnfitSearchError for a
    metric that the task does not have, and what a fit raises.
    """
    search, task = case.training.search, tasks.of(case)
    if search is None:
        raise ValueError(f"the spec of {case.name} has no search")
    metric = search.metric or task.loss
    rows = dataset.between(case, frame, days)  # and no others from here on
    try:
        splits = splits_of(case, search, days, set(dataset.days_between(*days)) - set(rows[case.day].unique()))
        for split in splits:
            for part in (split.train, split.holdout):
                task.check_learnable(task.labels(dataset.between(case, rows, part)[case.label]))
    except (DataMissingError, UnfitLabelError) as error:
        return Found({}, metric, None, ended_by=f"{error}")
    newest, *others = [(split, _Scored(case, dataset.between(case, rows, split.holdout), metric)) for split in splits]
    weights = task.class_weights(task.labels(dataset.between(case, rows, newest[0].train)[case.label]))

    def fitted(tried: UseCase, trial: Running) -> ByDay:
        split, scored = newest
        watched = _Watched(trial, tried.training.rounds, lambda booster: _whole(scored(booster, weights)))
        made = [scored(fitting.fit(tried, rows, split, device, callbacks=[watched]))]
        made += [scored(fitting.fit(tried, rows, split, device)) for split, scored in others]
        sums, counts = (np.concatenate(parts) for parts in zip(*((one.sums, one.counts) for one in made), strict=True))
        return ByDay(sums, counts, made[0].root)

    higher = metric in task.higher_is_better
    trials, ended_by = _searched(search, case, _storage(case, recipe), higher=higher, fitted=fitted)
    own, best = (
        trials[0],
        (max if higher else min)((one for one in trials if not one.pruned), key=lambda one: one.score),
    )
    ours, theirs = (ByDay(np.asarray(one.sums), np.asarray(one.counts), root=metric == "rmse") for one in (best, own))
    gain = comparison.gain(ours, theirs, higher=higher, overlap=case.overlap_days)
    # Written as "not certain", so that NaN stays with the spec.
    chosen = best.params if gain.above(search.level) > 0 else {}
    scored_on = (splits[-1].holdout[0], splits[0].holdout[1])
    return Found(chosen, metric, scored_on, trials, own.score, best.score, gain.value, gain.error, ended_by)


class _Scored:
    """The rows of the search days, and what a booster scores on them."""

    def __init__(self, case: UseCase, rows: pl.DataFrame, metric: str) -> None:
        self.case, self.rows, self.metric, self.task = case, rows, metric, tasks.of(case)
        self.labels = self.task.labels(rows[case.label])
        self.day_of = rows[case.day].rank("dense").to_numpy().astype(np.intp) - 1

    def __call__(self, booster: xgb.Booster, weights: imbalance.Weights = ()) -> ByDay:
        """The metric, day by day; ``weights`` are those that are still in the booster.

        Raises UnfitSearchError where the task has no such metric, or it is no number on these days.
        """
        given = imbalance.without(weights, scoring.output(self.case, booster, self.case.features, self.rows))
        days = int(self.day_of.max()) + 1
        found = self.task.by_day(self.labels, self.task.scores(given), self.day_of, days)
        where = f"in include/use_cases/{self.case.name}/spec.py"
        if self.metric not in found:
            raise UnfitSearchError(
                f"the search of {self.case.name} is for {self.metric}, which its task does not compare by: put one of "
                f"{', '.join(found)} {where}"
            )
        if not math.isfinite(_whole(found[self.metric])):
            raise UnfitSearchError(
                f"the search of {self.case.name} is for {self.metric}, which is no number on its days: take more of "
                f"them, or another metric, {where}"
            )
        return found[self.metric]


def _whole(of: ByDay) -> float:
    """A metric on all days together."""
    return float(of.of(np.ones((1, len(of.sums))))[0])


class _Watched(TrainingCallback):
    """Scores a booster on its way, and has Optuna say whether the rest is worth its time."""

    def __init__(self, trial: Running, rounds: int, score: Callable[[xgb.Booster], float]) -> None:
        self.trial, self.score = trial, score
        self.step_after = {max(1, step * rounds // STEPS): step for step in range(1, STEPS)}

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: TrainingCallback.EvalsLog) -> bool:
        import optuna

        if step := self.step_after.get(epoch + 1):
            self.trial.report(self.score(model), step)
            if self.trial.should_prune():
                raise optuna.TrialPruned
        return False


def _searched(
    search: Search, case: UseCase, storage: Path, *, higher: bool, fitted: Callable[[UseCase, Running], ByDay]
) -> tuple[list[Trial], str]:
    """All trials that have come to an end, those of before a kill among them, and what ended the search."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # which otherwise says each trial, and its own creation
    training, done = case.training, _kept(storage)
    choices = search.choices(training.params, training.rounds)
    space = {name: _distribution(one) for name, one in choices.items()}
    study = optuna.create_study(
        direction="maximize" if higher else "minimize",
        # Not before half of the rounds: a low learning rate is behind at first.
        pruner=optuna.pruners.MedianPruner(STARTING, n_warmup_steps=STEPS // 2 - 1, n_min_trials=STARTING),
    )
    for one in done:
        study.add_trial(_told(one, space))
    while len(done) < search.trials:
        if search.seconds is not None and sum(one.seconds for one in done) >= search.seconds:
            return done, "seconds"
        if not done:
            study.enqueue_trial(search.own(training.params, training.rounds, choices))
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTING, seed=1000 * search.seed + len(done))
        trial, began, begun = study.ask(space), time.time(), time.monotonic()
        sums, counts = [], []
        try:
            made = fitted(applied(case, trial.params if done else {}), trial)
            score, sums, counts = _whole(made), made.sums.tolist(), made.counts.tolist()
            ended = study.tell(trial, score)
        except optuna.TrialPruned:
            ended = study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            score = ended.intermediate_values[max(ended.intermediate_values)]
        seconds = round(time.monotonic() - begun, 3)
        steps, pruned = dict(ended.intermediate_values), not sums
        done.append(Trial(len(done), dict(ended.params), pruned, score, steps, sums, counts, began, seconds))
        _keep(storage, done)
    return done, "trials"


def _told(one: Trial, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial that has ended, as Optuna is told of it."""
    import optuna

    return optuna.trial.create_trial(
        params=one.params,
        distributions=space,
        value=None if one.pruned else one.score,
        state=optuna.trial.TrialState.PRUNED if one.pruned else optuna.trial.TrialState.COMPLETE,
        intermediate_values=one.steps,
    )


def _distribution(choices: Choices) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(choices, Range):
        return CategoricalDistribution(choices)
    if choices.whole:
        return IntDistribution(int(choices.low), int(choices.high), log=choices.log)
    return FloatDistribution(choices.low, choices.high, log=choices.log)


# Not in a storage of Optuna's: its journal cannot be read again after a kill amid a line, and its database takes longer
# for a trial than a small fit does, since each of some twenty changes is its own commit.
def _keep(storage: Path, done: list[Trial]) -> None:
    """Put the trials on disk, all of them in one step."""
    beside = storage.with_suffix(".new")
    beside.write_text(json.dumps([asdict(one) for one in done]))
    beside.replace(storage)


def _kept(storage: Path) -> list[Trial]:
    if not storage.exists():
        return []
    kept = json.loads(storage.read_text())
    return [Trial(**one | {"steps": {int(step): value for step, value in one["steps"].items()}}) for one in kept]


def _storage(case: UseCase, recipe: str) -> Path:
    """The file of a search; those of the oldest ones are removed."""
    folder = settings().var / "searches" / case.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe[:16]}.json"
    others = sorted((one for one in folder.glob("*.json") if one != path), key=lambda one: one.stat().st_mtime)
    for old in others[: -(KEPT - 1)]:
        old.unlink(missing_ok=True)
    return path
