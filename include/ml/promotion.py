"""Gates, and what becomes champion through them.

A challenger without a champion to compare it with is judged by the limits of its task, on its holdout. Any other one is
compared with the champion, on days that neither was fitted on (``include.ml.comparison``), and is promoted, refused, or
waits until more of these days have labels. Every look is a line of a sealed ledger, which decides; MLflow shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from include.contracts.use_case import Feature, UseCase
from include.lake import delta
from include.ml import (
    approvals,
    comparison,
    dataset,
    errors,
    evaluation,
    ledger,
    model_files,
    record,
    registry,
    rollouts,
    scoring,
    tasks,
)
from include.ml.comparison import Gain
from include.ml.record import Judgement, Training
from include.ml.reference import features_of
from include.ml.tasks import Compared, Task
from include.use_cases import use_case

if TYPE_CHECKING:
    import xgboost as xgb
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

USUAL_DAYS, LEAST_SINCE = 28, 3
"""Days that say what is usual, and as many at least to be held beside that."""

VERDICT, REASONS = "verdict", "reasons"
"""The tags on a version that show its last judgement in MLflow. Nothing is decided by them."""


@dataclass(frozen=True)
class Member:
    """One of the two that are compared: a version's files, checked, and the task that it was trained for."""

    version: int
    booster: xgb.Booster
    features: tuple[Feature, ...]
    task: Task


def promote(name: str, version: int, through: date | None = None, decided_by: str = "gates") -> dict[str, Any]:
    """Task: judge ``version`` of use case ``name``, and make it champion from the first day not scored yet if it may.

    It is judged on what is known in the partition ``through``; None is that of its training. A look that was taken is
    not taken again: asking again gives the same answer and writes nothing, until there are days enough for the next.
    Raises RegistryRefusedError for an unknown version, UnknownRecipeError for one that no training of ours registered,
    DamagedModelError where its files are not those of that training, and BrokenLedgerError.

    Where the spec asks for approvals, what the gates let through awaits them: see ``include.ml.approvals``.

    Returns ``verdict``, ``promoted``, ``version``, ``reasons`` (of the verdict), ``effective_from`` (of a promotion),
    ``replaces``, ``awaits`` (how it stands with the approvals of a version that was let through; else empty).
    """
    case = use_case(name)
    with ledger.deploying(case):
        return _promoted(case, version, through, decided_by)


def _promoted(case: UseCase, version: int, through: date | None, decided_by: str) -> dict[str, Any]:
    """What ``promote`` does. Hold ``ledger.deploying``."""
    from mlflow import MlflowClient

    client = MlflowClient()
    with errors.of_mlflow(f"to promote version {version} of {case.name}"):
        found = client.get_model_version(case.name, str(version))
        if (done := as_decided(case, version)) is not None:
            return done
        champion, training = ledger.latest_champion(case), registry.training_of(case, found)
        if (going := rolled_out(case, version, training, champion)) is not None:
            return going
        judgement = _judged(case, version, str(found.run_id), training, champion, through, decided_by)
        if not is_shown(found, judgement):  # an earlier try may not have come so far
            show(case, client, str(found.run_id), judgement)
        if judgement.verdict != "promote" or case.promotion.approvals:
            answer = _answer(version, champion) | {"verdict": judgement.verdict, "reasons": judgement.reasons}
            is_good = judgement.verdict == "promote"
            return answer | {"awaits": approvals.how_it_stands(case, version) if is_good else ""}
        reason = "; ".join(judgement.reasons)
        night = through or training.partition
        return let_through(case, found, training, champion, decided_by, reason, judgement.reasons, night)


def _answer(version: int, champion: ledger.Champion | None) -> dict[str, Any]:
    return {
        "version": version,
        "promoted": False,
        "effective_from": None,
        "replaces": champion.model_version if champion else None,
        "awaits": "",
    }


def as_decided(case: UseCase, version: int) -> dict[str, Any] | None:
    """What ``promote`` returns of a version that was promoted; None of another one. Hold the lease of deployments."""
    rows = ledger.read(case)
    earlier = next((row for row in rows if row.model_version == version), None)
    if earlier is None:
        return None
    registry.show_champion(case)  # an earlier try may have died between the ledger and the alias
    replaced = ledger.pick([row for row in rows if row.decided_at < earlier.decided_at], date.max)
    promoted = {"verdict": "promote", "promoted": True, "reasons": [earlier.reason]}
    return _answer(version, replaced) | promoted | {"effective_from": str(earlier.effective_from)}


def rolled_out(
    case: UseCase, version: int, training: Training, champion: ledger.Champion | None
) -> dict[str, Any] | None:
    """What ``promote`` returns of a version that is on its way to champion, or was taken back; None of another one."""
    steps = rollouts.read(case)
    going, fate = rollouts.current(steps), rollouts.fate(steps, training.model_sha256)
    if going is not None and going.model_version == version:
        said = {"verdict": "promote", "reasons": [going.reason], "awaits": rollouts.words(going)}
        return _answer(version, champion) | said
    if fate is not None and fate.stage == rollouts.BACK:
        why = rollouts.blocks(steps, version, training.model_sha256)
        return _answer(version, champion) | {"verdict": "refuse", "reasons": [why]}
    return None


def let_through(
    case: UseCase,
    found: ModelVersion,
    training: Training,
    champion: ledger.Champion | None,
    decided_by: str,
    reason: str,
    reasons: list[str],
    night: date,
    how: str | None = None,
) -> dict[str, Any]:
    """Make a version champion, or have it begin its rollout where the spec has one; what ``promote`` returns.

    The first champion replaces nobody, and is champion at once. While another version is rolled out this one waits:
    ``look_again`` takes it up. Hold the lease of deployments.
    """
    if case.rollout is None or champion is None:
        return make_champion(case, found, training, champion, decided_by, reason, reasons, how)
    version = registry.number_of(found)
    awaits = rollouts.blocks(rollouts.read(case), version, training.model_sha256)
    if not awaits:
        step = rollouts.begin(case, version, str(found.run_id), training, champion, decided_by, reason, night)
        awaits = rollouts.words(step)
    return _answer(version, champion) | {"verdict": "promote", "reasons": reasons, "awaits": awaits}


def make_champion(
    case: UseCase,
    found: ModelVersion,
    training: Training,
    champion: ledger.Champion | None,
    decided_by: str,
    reason: str,
    reasons: list[str],
    how: str | None = None,
) -> dict[str, Any]:
    """Write the decision down, then show it by the alias; what ``promote`` returns. Hold the lease of deployments."""
    version = registry.number_of(found)
    row = ledger.append(
        case,
        model_version=version,
        effective_from=ledger.first_free_day(case, training.trained_through),
        decided_by=decided_by,
        reason=reason,
        run_id=str(found.run_id),
        model_sha256=training.model_sha256,
        reference_sha256=training.reference_sha256,
        trained_from=training.trained_from,
        fitted_through=training.fitted_through,
        trained_through=training.trained_through,
        how=how,
    )
    registry.show_champion(case)
    promoted = {"verdict": "promote", "promoted": True, "reasons": reasons}
    return _answer(version, champion) | promoted | {"effective_from": str(row.effective_from)}


def look_again(name: str, through: date) -> dict[str, Any] | None:
    """Task: judge the version that waits, if the partition ``through`` has brought days enough for its next look.

    Returns what ``promote`` does; None where no version waits.
    """
    case = use_case(name)
    with ledger.deploying(case):  # or another one is promoted before the one that waits is looked at
        version = _waits(case, through)
        return _promoted(case, version, through, "gates") if version else None


def _waits(case: UseCase, through: date) -> int | None:
    """The version that waits for its next look, or for what a try that was killed has not carried out of its last.

    One that was champion and was taken back does not come again by itself, nor does one that was rolled back.
    """
    steps, champion = rollouts.read(case), ledger.latest_champion(case)
    serving = champion.model_version if champion else None
    was_champion = {row.model_version for row in ledger.read(case)}
    newest = record.newest_judgement(case)
    fate = rollouts.fate(steps, newest.model_sha256) if newest else None
    if fate is not None and fate.stage == rollouts.BACK:
        return None
    if found := record.waiting(case, serving):
        return None if found.model_version in was_champion else found.model_version
    last = newest
    if last is None or last.verdict != "promote":
        return None
    if last.model_version in was_champion:  # the alias may lack
        left = last.model_version == serving and last.last == dataset.newest_label_day(case, through)
    else:  # persons are asked once
        left = not case.promotion.approvals or approvals.open_judgement(case) is not None
    return last.model_version if left else None


def _judged(
    case: UseCase,
    version: int,
    run_id: str,
    training: Training,
    champion: ledger.Champion | None,
    through: date | None,
    judged_by: str,
) -> Judgement:
    """The last judgement of ``version``, or a new one where a look is due, which is written down."""
    new = considered(case, version, run_id, training, champion, through, judged_by)
    if new != record.last_judgement(case, version):
        record.append_judgement(case, new)
    return new


def considered(
    case: UseCase,
    version: int,
    run_id: str,
    training: Training,
    champion: ledger.Champion | None,
    through: date | None = None,
    judged_by: str = "gates",
) -> Judgement:
    """How it stands with ``version`` beside the champion of now. Nothing is written.

    By what is known in the partition ``through``; None is that of its training.
    """
    against = champion.model_version if champion else None
    last = record.last_judgement(case, version)
    # What was decided stands. What was decided against another champion, and not carried out, does not.
    if last is not None and (last.verdict == "refuse" or (last.verdict == "promote" and last.champion == against)):
        return last
    if champion is None:
        new = alone(case, version, training, judged_by)
    else:
        done = last.look if last is not None and last.champion == against else 0
        new = beside(case, version, run_id, training, champion, through or training.partition, judged_by, done)
    return last if last is not None and new.look == last.look and new.champion == last.champion else new


def alone(case: UseCase, version: int, training: Training, judged_by: str) -> Judgement:
    """By the limits of the task on the holdout, where there is no champion."""
    task = tasks.of(case)
    reasons = task.reasons(training.metrics) + evaluated(case, training, has_champion=False)
    if training.evaluation:
        found = evaluation.of_record(case.evaluation, training.metrics)
        reasons += evaluation.slice_reasons(case, found, None, "that of always the usual")
    return Judgement(
        model_version=version,
        model_sha256=training.model_sha256,
        champion=None,
        first=training.holdout_from,
        last=training.trained_through,
        days=(training.trained_through - training.holdout_from).days + 1,
        look=1,
        versions=record.judged_on(case, version, training.holdout_from, training.trained_through),
        level=case.promotion.level,
        verdict="refuse" if reasons else "promote",
        reasons=reasons or [f"passed all gates with {task.summary(training.metrics)} on its holdout"],
        measured=training.metrics,
        judged_by=judged_by,
    )


def evaluated(case: UseCase, training: Training, *, has_champion: bool) -> list[str]:
    """What its training's measurements refuse it for. A release that made none is not held against it."""
    return evaluation.reasons(case, training.metrics, has_champion=has_champion) if training.evaluation else []


def beside(
    case: UseCase,
    version: int,
    run_id: str,
    training: Training,
    champion: ledger.Champion,
    through: date,
    judged_by: str,
    done: int = 0,
) -> Judgement:
    """On the days that neither version was fitted on, with labels by ``through``.

    ``done`` looks were taken before. Nor are days used whose labels share time with those that one was fitted on.
    """
    first = max(training.holdout_from, champion.fitted_through + timedelta(case.overlap_days))
    last = dataset.newest_label_day(case, through)
    none = Judgement(
        model_version=version,
        model_sha256=training.model_sha256,
        champion=champion.model_version,
        first=first,
        last=last,
        days=0,
        look=done,
        versions=1,
        level=case.promotion.level,
        verdict="wait",
        reasons=[],
        measured={},
        judged_by=judged_by,
    )
    if training.trained_through < champion.trained_through:
        why = (
            f"it learned from days through {training.trained_through}, and version {champion.model_version} from days "
            f"through {champion.trained_through}: an older one replaces no newer one"
        )
        return replace(none, verdict="refuse", reasons=[why], too_old=True)
    # Looked up before anything is read: what waits for good must not cost a night more and more.
    possible, following = (last - first).days + 1, next(iter(case.looks[done:]), None)
    if following is None or possible < following:
        return replace(none, days=max(possible, 0), reasons=[_too_few(max(possible, 0), champion, following)])
    challenger = _member(case, version, run_id, training.model_sha256, training.reference_sha256)
    theirs = _member(case, champion.model_version, champion.run_id, champion.model_sha256, champion.reference_sha256)
    try:
        rows = _evidence(case, first, last, through, (*challenger.features, *_sliced(case, challenger.features)))
    except dataset.DataMissingError as error:  # a night in between failed, or is on its way: it is told of elsewhere
        print(f"version {version} is not looked at: {error}")
        return replace(none, reasons=[f"some of its days are not there yet: {error}"])
    days = rows[case.day].n_unique()
    look = max((n + 1 for n, wanted in enumerate(case.looks) if wanted <= days), default=0)
    if look <= done:
        return replace(none, days=days, reasons=[_too_few(days, champion, following)])
    ours = _scored(case, challenger, rows)
    other = _scored(case, theirs, _evidence(case, first, last, through, theirs.features))
    own, champions = (measured(case, one, evaluation.others(training.metrics)) for one in (ours, other))
    gains = gains_of(case, ours, other)
    versions = record.judged_on(case, version, first, last)
    verdict, reasons = judge(case, own, champions, gains, look, versions, champion.model_version)
    groups = evaluation.groups(case, rows, *((of.task, of.labels, of.scores) for of in (ours, other)))
    against = f"version {champion.model_version}'s"
    own_failed = evaluated(case, training, has_champion=True)
    failed = [*own_failed, *worse_than_usual(case, ours, training.trained_through, through, look)]
    if failed := [*failed, *evaluation.slice_reasons(case, groups, look, against)]:
        verdict, reasons = "refuse", [*(reasons if verdict == "refuse" else []), *failed]
    return replace(
        none,
        days=days,
        look=look,
        versions=versions,
        level=comparison.levels(case.looks, case.promotion.level / versions)[look - 1],
        verdict=verdict,
        reasons=reasons,
        measured=_flat(own, champions, gains) | evaluation.flat(groups),
    )


def _too_few(days: int, champion: ledger.Champion, following: int | None) -> str:
    """Why there is no look, in a sentence."""
    then = f"the next look is at {following}" if following else "there is no further look: train a new version"
    return f"{days} days with labels that neither it nor version {champion.model_version} was fitted on: {then}"


def judge(
    case: UseCase,
    own: Mapping[str, float],
    champion: Mapping[str, float],
    gains: Mapping[str, Gain],
    look: int,
    versions: int,
    against: int,
) -> tuple[record.Verdict, list[str]]:
    """The verdict and why, of the metrics of both and what the challenger gains, in the ``look``, counted from 1."""
    task = tasks.of(case)
    if failed := task.reasons(own, champion):
        return "refuse", failed
    compared = [one for one in task.compared if one.metric in gains]
    if not compared:
        return "wait", ["these days have nothing that the two could be compared by"]
    let_through = comparison.levels(case.looks, case.promotion.level / versions)[look - 1]
    # Each of several metrics may refuse, so that each has its part of the level.
    turned_down = comparison.levels(case.looks, case.promotion.refusal_level / len(compared))[look - 1]
    said = {one: _said(one, gains[one.metric], let_through, against) for one in compared}
    if all(gains[one.metric].above(let_through) > -one.margin for one in compared):
        return "promote", list(said.values())
    if worse := [one for one in compared if gains[one.metric].below(turned_down) < 0]:
        return "refuse", [said[one] for one in worse]
    undecided = [one for one in compared if not gains[one.metric].above(let_through) > -one.margin]
    following = next(iter(case.looks[look:]), None)
    then = f"The next look is at {following} days." if following else "There is no further look: train a new version."
    return "wait", [f"{said[one]}, which is too little to tell. {then}" for one in undecided]


def _said(compared: Compared, gain: Gain, level: float, against: int) -> str:
    """What is known of a gain, in a sentence."""
    shape = "{:+.1%}" if compared.relative else "{:+.4f}"
    found, least, margin = (shape.format(one) for one in (gain.value, gain.above(level), -compared.margin))
    return f"{compared.words}: gains {found} on version {against}, at least {least}; the margin is {margin}"


def _member(case: UseCase, version: int, run_id: str, model_sha256: str, reference_sha256: str) -> Member:
    reference = model_files.reference_of(case, version, run_id, reference_sha256)
    booster = model_files.booster_of(case, version, run_id, model_sha256)
    return Member(version, booster, features_of(reference), tasks.of_version(case, reference["task"]))


def _evidence(case: UseCase, first: date, last: date, through: date, features: tuple[Feature, ...]) -> pl.DataFrame:
    """The rows of these days with the labels that are known by ``through``, in the order of their keys."""
    return dataset.load(case, first, last, as_of=through, features=features).frame


def _sliced(case: UseCase, features: tuple[Feature, ...]) -> list[Feature]:
    """The features of today whose groups are judged, and which a version does not take."""
    wanted = set(case.evaluation.slices) - {one.name for one in features}
    return [one for one in case.features if one.name in wanted]


@dataclass(frozen=True)
class Scored:
    """Rows with what a version gives for them.

    Attributes:
        task: judges it: its own, and of classes, with those that the spec has had since.
        labels, scores: as ``task`` has them.
        output: the booster's, a row each.
        is_of_today: whether the version was trained for the task of the spec as it is.
    """

    rows: pl.DataFrame
    task: Task
    labels: Any
    scores: Any
    output: Any
    is_of_today: bool


def _scored(case: UseCase, member: Member, rows: pl.DataFrame) -> Scored:
    today = tasks.of(case)
    task, output = tasks.since(member.task, today), scoring.output(case, member.booster, member.features, rows)
    scores = task.scores_of(member.task.frame(member.task.scores(output)))
    return Scored(rows, task, task.labels(rows[case.label]), scores, output, member.task.recipe == today.recipe)


def measured(case: UseCase, of: Scored, usual: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a version; ``usual`` has what the challenger's training says is usual."""
    found = of.task.quality(of.labels, of.scores)
    # What stands beside the metrics is of the task of today, whose classes an older version may not have.
    if of.is_of_today:
        found = dict(usual) | found | tasks.of(case).beside(usual, of.rows, of.labels, of.output)
    return found


def gains_of(case: UseCase, challenger: Scored, champion: Scored) -> dict[str, Gain]:
    """What the challenger gains on the champion, by metric. Both scored the same rows, in the same order.

    A metric that no day can tell is left out: where each day is a single row, none has a pair to rank, and log loss
    decides alone.
    """
    days = challenger.rows[case.day].unique().sort()
    day_of = challenger.rows[case.day].replace_strict(days, range(len(days)), return_dtype=pl.Int64).to_numpy()
    ours, theirs = (of.task.by_day(of.labels, of.scores, day_of, len(days)) for of in (challenger, champion))
    task = tasks.of(case)
    return {
        one.metric: comparison.gain(
            ours[one.metric],
            theirs[one.metric],
            higher=one.metric in task.higher_is_better,
            relative=one.relative,
            overlap=case.overlap_days,
        )
        for one in task.compared
        if ours[one.metric].counts.any()
    }


def worse_than_usual(case: UseCase, of: Scored, trained_through: date, through: date, look: int) -> list[str]:
    """Why a version must not become champion that says less than nothing: worse, for certain, than what is usual.

    On the days since its training, and beside what the labels of the four weeks before them were, of those that are
    known by ``through``. A champion that is as bad makes none good: where the world has changed, both are, and the
    champion's quality goes on asking for a version that has learned enough of what is new.
    """
    since = (of.rows[case.day] > trained_through).to_numpy()
    of = replace(of, rows=of.rows.filter(since), labels=of.labels[since], scores=of.scores[since])
    before = (trained_through - timedelta(USUAL_DAYS - 1), trained_through)
    labels = delta.read_days("gold", case.labels_table, *before, day=case.day)
    known = dataset.labelled(case, labels.filter(pl.col(dataset.KNOWN) <= through))
    if known.is_empty() or of.rows[case.day].n_unique() < LEAST_SINCE:
        return []
    always = of.task.frame(of.task.always(of.task.labels(known[case.label])))
    usual = of.task.scores_of(of.rows.select(case.key).join(always, how="cross"))
    gains = gains_of(case, of, replace(of, scores=usual))
    level = comparison.levels(case.looks, case.promotion.refusal_level / max(len(gains), 1))[look - 1]
    return [
        f"{one.words}: {-gains[one.metric].value:.4g} worse than what is always said of the days before, and no chance"
        for one in tasks.of(case).compared
        if one.metric in gains and gains[one.metric].below(level) < 0
    ]


def _flat(own: Mapping[str, float], champion: Mapping[str, float], gains: Mapping[str, Gain]) -> dict[str, float]:
    """All that was measured, as MLflow takes it. What is no number is left out: JSON has none."""
    found = {f"challenger_{name}": value for name, value in own.items()}
    found |= {f"champion_{name}": value for name, value in champion.items()}
    for name, one in gains.items():
        found |= {f"gain_{name}": one.value, f"gain_{name}_error": one.error}
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def is_shown(found: ModelVersion, judgement: Judgement) -> bool:
    """Whether MLflow shows this judgement of a version, and no earlier one."""
    return (found.tags.get(VERDICT), found.tags.get(REASONS)) == (judgement.verdict, json.dumps(judgement.reasons))


def show(case: UseCase, client: MlflowClient, run_id: str, judgement: Judgement) -> None:
    """Put a judgement where people look: metrics of the version's run, then tags of the version."""
    version = str(judgement.model_version)
    for name, value in evaluation.shown(judgement.measured).items():
        if judgement.champion is not None:
            client.log_metric(run_id, f"look_{judgement.look}_{name}", value)
    client.set_model_version_tag(case.name, version, REASONS, json.dumps(judgement.reasons))
    client.set_model_version_tag(case.name, version, VERDICT, judgement.verdict)
