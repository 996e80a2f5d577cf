"""Rolling a challenger out: what the days with labels say of it, each night, and the step that follows.

In every stage both versions score all rows, one of them for nobody's use, so that they are compared row by row and day
by day. Each metric that the gates compare gives a difference a day; a test that may be looked at every night
(``include.ml.sequential``) says whether the challenger is worse, or is not by the margin of the task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise, takewhile
from math import isfinite, log, log1p
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.rollout import Rollout
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.lake import delta
from include.ml import dataset, ledger, promotion, registry, rollouts, scoring, sequential, tasks
from include.ml.monitor import AGAINST_ERRORS
from include.ml.rollouts import BACK, CANARY, EVIDENCE, FULL, SHADOW, VOID, Step
from include.ml.sequential import Interval
from include.ml.tasks import Compared
from include.use_cases import use_case

AGAINST = "against"
"""Beside the differences of a day: by how many standard errors the challenger says the opposite of what came."""

STAGES = 2
"""A challenger can be taken back in either of them, so that each has its part of the level."""


class NothingToStopError(BadRequestError):
    """No version is rolled out."""


@dataclass(frozen=True)
class Seen:
    """What the days of a stage say of one metric.

    Attributes:
        differences: of its days, or of as many days as have labels that share time: by how much the challenger is
            worse; of a relative metric the logarithm of the quotient.
        bounds: how far each of them counts.
        known: of each day of the stage, how many of them were there after it.
    """

    compared: Compared
    differences: sequential.Array
    bounds: sequential.Array
    known: npt.NDArray[np.intp]

    @property
    def margin(self) -> float:
        return log1p(self.compared.margin) if self.compared.relative else self.compared.margin

    def after_each_day(self, at: float, side: int, level: float) -> npt.NDArray[np.bool_]:
        """Of each day of the stage, whether the claim of ``sequential.capital`` was refuted by then."""
        return np.append(sequential.reached(self.differences, self.bounds, at, side, level), False)[self.known - 1]

    def until(self, n: int) -> Seen:
        """What was known after day number ``n`` of the stage, from 0."""
        many = int(self.known[n])
        return replace(self, differences=self.differences[:many], bounds=self.bounds[:many], known=self.known[: n + 1])


@dataclass(frozen=True)
class Reading:
    """One metric as it is shown: the interval lies around the truth at every look, but for the level.

    Attributes:
        mean: by how much the challenger is worse, on the days of the stage; in the metric's unit or as a share.
        interval: above 0 it is rolled back, below ``margin`` it may go on.
        days: how many numbers that is made of.
    """

    words: str
    mean: float
    interval: Interval
    margin: float
    days: int
    relative: bool

    def __str__(self) -> str:
        shape = "{:+.2%}" if self.relative else "{:+.4f}"
        mean, low, high, margin = (
            shape.format(one) for one in (self.mean, self.interval.low, self.interval.high, self.margin)
        )
        return f"{self.words}: worse by {mean}, between {low} and {high}; the margin is {margin}"


@dataclass(frozen=True)
class Status:
    """How it stands with the rollout that goes on.

    Attributes:
        days: event dates of the stage with labels for both.
        missing: what the next step waits for, each in a sentence.
    """

    step: Step
    days: int
    readings: tuple[Reading, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{rollouts.words(self.step)}, beside version {self.step.champion}; {self.days} days with labels",
                *(f"  {one}" for one in self.readings),
                *(f"to the next step: {one}" for one in self.missing),
            ]
        )


@dataclass(frozen=True)
class Verdict:
    """What the days of a stage say: a step to make, and why; ``days`` of them were enough to say so."""

    stage: rollouts.Stage
    reason: str
    days: int


# --- what the days say ---


def seen(case: UseCase, step: Step, days: Mapping[date, Mapping[str, float]]) -> list[Seen]:
    """The evidence of the stage of ``step``, by metric. Days before it say only how far differences scatter."""
    overlap, own_days = case.overlap_days, [day for day in days if day >= step.since]
    found = []
    for one in tasks.of(case).compared:
        name = one.metric
        before = sequential.blocks([of[name] for day, of in days.items() if name in of and day < step.since], overlap)
        own = sequential.blocks([days[day][name] for day in own_days if name in days[day]], overlap)
        bounds = sequential.bounds_of_bets(np.concatenate([before, own]))[len(before) :]
        known = np.cumsum([name in days[day] for day in own_days], dtype=np.intp) // overlap
        found.append(Seen(one, own, bounds, known))
    return [one for one in found if len(one.differences)]


def verdict(case: UseCase, spec: Rollout, step: Step, days: Mapping[date, Mapping[str, float]]) -> Verdict | None:
    """The first step that the days of a stage called for, in the order in which they came; None where none did.

    So a range of nights that is looked at once ends as its nights would, one after the other.
    """
    told = seen(case, step, days)
    worse = [one.after_each_day(0.0, 1, _level_of_worse(spec, told)) for one in told]
    within = [one.after_each_day(one.margin, -1, spec.level) for one in told]
    least = spec.shadow_days if step.stage == SHADOW else spec.canary_days
    for n, day in enumerate(day for day in days if day >= step.since):
        if days[day].get(AGAINST, 0.0) >= AGAINST_ERRORS:
            return Verdict(BACK, f"on {day} it said the opposite of what came", n + 1)
        if found := [one for one, is_worse in zip(told, worse, strict=True) if is_worse[n]]:
            reading = _reading(found[0].until(n), spec, told)
            return Verdict(BACK, f"it is worse than version {step.champion}. {reading}", n + 1)
        if n + 1 >= least and told and all(one[n] for one in within):
            said = "; ".join(str(_reading(one.until(n), spec, told)) for one in told)
            return Verdict(CANARY if step.stage == SHADOW else FULL, said, n + 1)
    return None


def _level_of_worse(spec: Rollout, told: Sequence[Seen]) -> float:
    return spec.level / STAGES / max(1, len(told))


def _reading(one: Seen, spec: Rollout, told: Sequence[Seen]) -> Reading:
    interval = sequential.interval(one.differences, one.bounds, _level_of_worse(spec, told), spec.level)
    mean, low, high = float(one.differences.mean()), interval.low, interval.high
    if one.compared.relative:
        mean, low, high = (float(np.expm1(value)) for value in (mean, low, high))
    words, margin = one.compared.words, one.compared.margin
    return Reading(words, mean, Interval(low, high), margin, len(one.differences), one.compared.relative)


def share_of(case: UseCase, spec: Rollout, step: Step, days: Mapping[date, Mapping[str, float]]) -> float:
    """The share of a canary on the next day, in hundredths.

    By Thompson sampling: the probability that the challenger is better, in the metric that says so least, by all days
    of the rollout. Nothing is drawn: who is in the share is drawn by the hash of each entity.
    """
    if spec.share == "fixed":
        return spec.canary_share
    chances = [
        sequential.chance_of_better(
            sequential.blocks([of[one.metric] for of in days.values() if one.metric in of], case.overlap_days)
        )
        for one in tasks.of(case).compared
    ]
    return min(max(round(min(chances), 2), spec.canary_share), spec.max_share)


# --- live evidence ---


def differences(case: UseCase, step: Step, known: Iterable[date], through: date) -> rollouts.Differences:
    """How much worse the challenger was than the champion, on days with labels that ``known`` does not have yet.

    By what was known in the partition ``through``, since ``step`` began. A day that was not scored by both counts when
    it is.
    """
    newest = dataset.newest_label_day(case, through)
    missing = sorted(set(dataset.days_between(step.since, newest)) - set(known)) if step.since <= newest else []
    tables = (case.predictions_table, case.shadow_table, case.labels_table)
    if not missing or not all(delta.exists("gold", table) for table in tables):
        return {}
    is_missing = pl.col(case.day).is_in(missing)
    published, shadow, labels = (delta.scan("gold", table).filter(is_missing).collect() for table in tables)
    labels = dataset.labelled(case, labels.filter(pl.col(dataset.KNOWN) <= through))
    both = pl.concat([published, shadow], how="diagonal_relaxed")
    found: rollouts.Differences = {}
    for day in missing:
        of_day = both.filter(pl.col(case.day) == day)
        ours, theirs = (
            of_day.filter(pl.col(scoring.VERSION) == version).sort(case.key)
            for version in (step.model_version, step.champion)
        )
        rows = published.filter(pl.col(case.day) == day).height
        of_same = of_day[scoring.FEATURES].n_unique() == 1  # or one of the two was written, and the other not yet
        is_whole = of_same and ours.height == theirs.height == rows == ours.join(theirs, on=case.key, how="semi").height
        if rows and is_whole and (values := _of_day(case, ours, theirs, labels)):
            found[str(day)] = values
    return found


def _of_day(case: UseCase, ours: pl.DataFrame, theirs: pl.DataFrame, labels: pl.DataFrame) -> dict[str, float]:
    """The differences of one day, by metric; empty where it has no labels, or none that tell."""
    task, known = tasks.of(case), labels.select(*case.key, case.label)
    own, other = (one.join(known, on=case.key, how="inner", validate="1:1").sort(case.key) for one in (ours, theirs))
    if own.is_empty():
        return {}
    of_label, day_of = task.labels(own[case.label]), np.zeros(own.height, dtype=np.intp)
    mine, champions = (task.by_day(of_label, task.scores_of(one), day_of, 1) for one in (own, other))
    found = {}
    for one in task.compared:
        value, beside = (float(of[one.metric].of(np.ones((1, 1)))[0]) for of in (mine, champions))
        worse = value - beside
        if one.relative:
            worse = log(value / beside) if min(value, beside) > 0 else float("nan")
        if isfinite(worse):
            found[one.metric] = -worse if one.metric in task.higher_is_better else worse
    return found | {AGAINST: task.against(of_label, task.scores_of(own))} if found else {}


# --- the steps ---


def look_again(name: str, through: date) -> dict[str, Any] | None:
    """Task: look at the version that is rolled out, or if none is, at one that waits: ``promotion.look_again``.

    A step is made once: looking again in the same partition finds the same days, and writes nothing.

    Returns what ``promotion.promote`` does, with ``rolled_back``: why it was, or empty. None where nothing waits.
    """
    case = use_case(name)
    with ledger.deploying(case):
        found = _looked(case, through)
    return found if found is not None else promotion.look_again(name, through)


def _looked(case: UseCase, through: date) -> dict[str, Any] | None:
    steps, champion = rollouts.read(case), ledger.latest_champion(case)
    step = rollouts.current(steps)
    if step is None:
        return _news(case, steps[-1], through) if steps else None
    if case.rollout is None or champion is None or champion.model_version != step.champion:
        why = (
            "the spec has no rollout any more"
            if case.rollout is None
            else f"version {step.champion}, which it was beside, is champion no more"
        )
        free = ledger.first_free_day(case, step.trained_through)
        rollouts.write(case, rollouts.ended(step, VOID, free, why, EVIDENCE, night=through))
        return None
    return _answer(_stepped(case, case.rollout, steps, step, through))


def _news(case: UseCase, last: Step, through: date) -> dict[str, Any] | None:
    """A rollout that has ended in this partition: a second try of the task has to tell of it, as the first one would.

    What a person has ended is no news.
    """
    if last.night != through or last.decided_by not in (EVIDENCE, rollouts.SCORING) or last.stage == VOID:
        return None
    if last.stage == FULL:
        registry.show_champion(case)
    return _answer(last)


def _stepped(case: UseCase, spec: Rollout, steps: Sequence[Step], step: Step, through: date) -> Step:
    """The step that the days known in ``through`` call for, written down; ``step`` itself where they call for none."""
    known = rollouts.days_of_evidence(steps, step.model_version)
    new = differences(case, _first(steps, step), known, through)
    days = known | {date.fromisoformat(day): values for day, values in sorted(new.items())}
    found = verdict(case, spec, step, days) or _undecided(case, spec, step, through)
    free = ledger.first_free_day(case, step.trained_through)
    if found is None:
        share = share_of(case, spec, step, days) if step.stage == CANARY and new else step.share
        if share != step.share:
            return rollouts.write(
                case, rollouts.following(step, share=share, effective_from=free, **_evidence(new, through))
            )
        return rollouts.write(case, rollouts.following(step, **_evidence(new, through))) if new else step
    if found.stage == BACK:
        return rollouts.write(case, rollouts.ended(step, BACK, free, found.reason, EVIDENCE, **_evidence(new, through)))
    told = {"reason": found.reason, "decided_by": EVIDENCE, **_evidence(new, through)}
    if found.stage == CANARY:
        share = share_of(case, spec, step, days)
        changes = {"stage": CANARY, "share": share, "effective_from": free, "since": free}
        return rollouts.write(case, rollouts.following(step, **changes, **told))
    full = rollouts.ended(step, FULL, free, found.reason, EVIDENCE, **_evidence(new, through))
    rollouts.write_full(case, full, "rollout")
    registry.show_champion(case)
    return full


def _evidence(new: rollouts.Differences, through: date) -> dict[str, Any]:
    return {"differences": new, "night": through}


def _first(steps: Sequence[Step], step: Step) -> Step:
    """The first step of the rollout that ``step`` is the last one of."""
    own = takewhile(lambda one: one.model_version == step.model_version and one.is_open, reversed(steps))
    return list(own)[-1]


def _undecided(case: UseCase, spec: Rollout, step: Step, through: date) -> Verdict | None:
    """A stage ends when its time is up, also where no day of it tells anything."""
    most = spec.max_shadow_days if step.stage == SHADOW else spec.max_canary_days
    days = (dataset.newest_label_day(case, through) - step.since).days + 1
    if days < most:
        return None
    said = f"after {days} days as {step.stage} it is neither worse nor within the margin for certain"
    return Verdict(BACK, said, days)


def _answer(step: Step) -> dict[str, Any]:
    """What ``promotion.promote`` returns, of the step of a rollout."""
    is_back = step.stage == BACK
    said = f"version {step.model_version} was rolled back: {step.reason}" if is_back else ""
    return {
        "version": step.model_version,
        "promoted": step.stage == FULL,
        "verdict": "refuse" if is_back else "promote",
        "reasons": [step.reason],
        "effective_from": str(step.effective_from) if step.stage == FULL else None,
        "replaces": step.champion,
        "awaits": rollouts.words(step) if step.is_open else "",
        "rolled_back": said,
    }


# --- what persons see and do ---


def status(case: UseCase) -> Status | None:
    """How it stands with the rollout that goes on; None where none does. Nothing is written."""
    steps = rollouts.read(case)
    step, spec = rollouts.current(steps), case.rollout
    if step is None or spec is None:
        return None
    days = rollouts.days_of_evidence(steps, step.model_version)
    own, told = [day for day in days if day >= step.since], seen(case, step, days)
    readings = tuple(_reading(one, spec, told) for one in told)
    least = spec.shadow_days if step.stage == SHADOW else spec.canary_days
    missing = [f"{least - len(own)} more days with labels"] if len(own) < least else []
    missing += [
        f"{one.words}: to be certain that it is worse by less than the margin"
        for one in readings
        if not one.interval.high < one.margin
    ]
    if not readings:
        missing.append("a first day with labels that both have scored")
    return Status(step, len(own), readings, tuple(missing or ["the next night looks at it"]))


def told(case: UseCase) -> list[str]:
    """The steps of the last rollout, and how it stands with it, in lines."""
    steps = rollouts.read(case)
    if not steps:
        return [f"no version of {case.name} was ever rolled out"]
    version = steps[-1].model_version
    own = [one for one in steps if one.model_version == version]
    changes = own[:1] + [one for before, one in pairwise(own) if one.stage != before.stage]
    now = status(case)
    return [*map(rollouts.said, changes), *([str(now)] if now else [])]


def to_stop(case: UseCase) -> Step:
    """The step at which the rollout is that goes on. Raises NothingToStopError."""
    step = rollouts.current(rollouts.read(case))
    if step is None:
        raise NothingToStopError(f"no version of {case.name} is rolled out")
    return step


def stop(case: UseCase, who: str, why: str) -> Step:
    """Take back the version that is rolled out, by a person's decision, from the first day not scored yet.

    Raises NothingToStopError.
    """
    with ledger.deploying(case):
        step = to_stop(case)
        free = ledger.first_free_day(case, step.trained_through)
        return rollouts.write(case, rollouts.ended(step, BACK, free, f"stopped: {why}", who))
