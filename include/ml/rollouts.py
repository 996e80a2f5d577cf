"""The ledger of rollouts, ``gold.<case>__rollouts``: each step of a challenger on its way to champion, and why.

A line says from which event date on it counts, so that a day that is scored again has the same share of the same
version. The last line that was written counts for every day from its date on. Nothing here judges: that is
``include.ml.rollout``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import UseCase
from include.lake import chain, commit, digest
from include.ml import ledger, record
from include.ml.ledger import Champion
from include.ml.record import Training

type Stage = Literal["shadow", "canary", "full", "rolled back", "void"]
type Differences = dict[str, dict[str, float]]
"""Of each day, as ISO 8601, by metric: how much worse the challenger was than the champion."""

SHADOW: Stage = "shadow"
CANARY: Stage = "canary"
FULL: Stage = "full"
BACK: Stage = "rolled back"
VOID: Stage = "void"
"""The rollout ended without a verdict: the champion beside which it was is champion no more, or the spec has none."""
OPEN = (SHADOW, CANARY)

EVIDENCE, SCORING = "evidence", "scoring"
"""Who made a step where no person did: what came of the days, or a challenger that could not score."""

SCHEMA: dict[str, pl.DataType] = {
    "model_version": pl.Int64(),
    "champion": pl.Int64(),
    "stage": pl.String(),
    "share": pl.Float64(),
    "effective_from": pl.Date(),
    "since": pl.Date(),
    "night": pl.Date(),
    "differences": pl.String(),  # JSON
    "reason": pl.String(),
    "decided_by": pl.String(),
    "decided_at": pl.Datetime("us", "UTC"),
    "run_id": pl.String(),
    "model_sha256": pl.String(),
    "reference_sha256": pl.String(),
    "trained_from": pl.Date(),
    "fitted_through": pl.Date(),
    "trained_through": pl.Date(),
}


@dataclass(frozen=True)
class Step:
    """One line.

    Attributes:
        model_version, champion: the challenger, and the version that it is beside.
        share: of the entities whose published predictions are the challenger's; 0 but for a canary.
        effective_from: the first event date of which this line counts.
        since: the first event date of the stage.
        night: the partition as of which it was decided; None of a person's decision.
        differences: what this line adds to the evidence: days that no line before it has.
        decided_by: ``gates`` or a person who let it through, ``evidence``, ``scoring``, or a person who ended it.
        run_id, model_sha256, reference_sha256, trained_from, fitted_through, trained_through: of the challenger, as
            ``include.ml.ledger.Champion`` has them.
    """

    model_version: int
    champion: int
    stage: Stage
    share: float
    effective_from: date
    since: date
    night: date | None
    differences: Differences
    reason: str
    decided_by: str
    decided_at: datetime
    run_id: str
    model_sha256: str
    reference_sha256: str
    trained_from: date
    fitted_through: date
    trained_through: date

    @property
    def is_open(self) -> bool:
        return self.stage in OPEN

    @property
    def challenger(self) -> Champion:
        """The challenger, in the form in which a version is scored with."""
        return Champion(
            model_version=self.model_version,
            effective_from=self.since,
            decided_at=self.decided_at,
            decided_by=self.decided_by,
            reason=self.reason,
            run_id=self.run_id,
            model_sha256=self.model_sha256,
            reference_sha256=self.reference_sha256,
            trained_from=self.trained_from,
            fitted_through=self.fitted_through,
            trained_through=self.trained_through,
            how=self.stage,
        )


def read(case: UseCase) -> list[Step]:
    """All steps of all rollouts, in their order; empty where there is none. Raises BrokenLedgerError."""
    rows = record.lines(f"gold.{case.rollouts_table}", SCHEMA)
    return [Step(**row | {"differences": json.loads(row["differences"])}) for row in rows.iter_rows(named=True)]


def write(case: UseCase, step: Step) -> Step:
    """Write a step down. Hold ``ledger.deploying`` around reading, deciding and this."""
    what = f"{step.stage} of version {step.model_version} of {case.name}"
    chain.append(f"gold.{case.rollouts_table}", _as_lines(step), what)
    return step


def write_full(case: UseCase, step: Step, decided_by: str) -> Step:
    """Write down that the challenger of ``step`` is champion, in both ledgers at once: a kill leaves both or none.

    Hold ``ledger.deploying``.
    """
    champion = replace(
        step.challenger, effective_from=step.effective_from, decided_by=decided_by, reason=step.reason, how=None
    )
    with commit.committing():
        changes = [
            chain.change(f"gold.{case.deployments_table}", ledger.as_lines(champion)),
            chain.change(f"gold.{case.rollouts_table}", _as_lines(step)),
        ]
        commit.commit_all(changes, f"champion {step.model_version} of {case.name}, by its rollout")
    return step


def _as_lines(step: Step) -> pl.DataFrame:
    row = asdict(step) | {"differences": json.dumps(step.differences, sort_keys=True)}
    return pl.DataFrame([row], schema=SCHEMA)


def following(before: Step, **changes: Any) -> Step:
    """The step after ``before``, of now, which adds no evidence unless ``changes`` say so."""
    return replace(before, **{"differences": {}, "decided_at": datetime.now(UTC), **changes})


def ended(before: Step, stage: Stage, effective_from: date, reason: str, decided_by: str, **changes: Any) -> Step:
    """The last step of a rollout: nobody's share is the challenger's from ``effective_from`` on."""
    ending = {"stage": stage, "share": 0.0, "effective_from": effective_from, "since": effective_from}
    return following(before, reason=reason, decided_by=decided_by, **(ending | changes))


def begin(
    case: UseCase,
    version: int,
    run_id: str,
    training: Training,
    champion: Champion,
    decided_by: str,
    reason: str,
    night: date,
) -> Step:
    """Have a version begin in the shadow, with the first day that nobody has scored. Hold ``ledger.deploying``."""
    first = ledger.first_free_day(case, training.trained_through)
    step = Step(
        model_version=version,
        champion=champion.model_version,
        stage=SHADOW,
        share=0.0,
        effective_from=first,
        since=first,
        night=night,
        differences={},
        reason=reason,
        decided_by=decided_by,
        decided_at=datetime.now(UTC),
        run_id=run_id,
        model_sha256=training.model_sha256,
        reference_sha256=training.reference_sha256,
        trained_from=training.trained_from,
        fitted_through=training.fitted_through,
        trained_through=training.trained_through,
    )
    return write(case, step)


def cannot_score(case: UseCase, step: Step, day: date, why: str) -> Step:
    """Take a challenger back that could not score ``day``, from that day on. Hold ``ledger.deploying``."""
    reason, night = f"it could not score {day}: {why}", day - timedelta(case.horizon_days)
    return write(case, ended(step, BACK, day, reason, SCORING, night=night))


# --- what the ledger says ---


def current(steps: Sequence[Step]) -> Step | None:
    """The last step of the rollout that goes on; None where none does."""
    return steps[-1] if steps and steps[-1].is_open else None


def of_day(steps: Sequence[Step], day: date, champion: Champion | None) -> Step | None:
    """What a challenger has to do with ``day``, whose champion is ``champion``; None: nothing."""
    last = next((one for one in reversed(steps) if one.effective_from <= day), None)
    beside = champion is not None and last is not None and last.champion == champion.model_version
    return last if last is not None and last.is_open and beside else None


def latest_of(steps: Sequence[Step], version: int) -> Step | None:
    """The last step of a version; None of one that was never rolled out."""
    return next((one for one in reversed(steps) if one.model_version == version), None)


def fate(steps: Sequence[Step], model_sha256: str) -> Step | None:
    """The last step of whichever version has these bytes. One that was rolled back once stays so."""
    own = [one for one in steps if one.model_sha256 == model_sha256]
    return next((one for one in own if one.stage == BACK), own[-1] if own else None)


def blocks(steps: Sequence[Step], version: int, model_sha256: str) -> str:
    """Why a version cannot begin a rollout now, in a sentence; empty where it can."""
    same = fate(steps, model_sha256)
    if same is not None and same.stage == BACK:
        which = "it" if same.model_version == version else f"the same model, version {same.model_version},"
        return f"{which} was rolled back on {same.decided_at:%Y-%m-%d} and does not come again: {same.reason}"
    if (now := current(steps)) is None or now.model_version == version:
        return ""
    return f"version {now.model_version} is in its {now.stage} since {now.since}, and one is rolled out at a time"


def words(step: Step) -> str:
    """How it stands with a version, in a few words."""
    share = f" with {step.share:.0%} of the entities" if step.share else ""
    return f"version {step.model_version} is in its {step.stage} since event date {step.since}{share}"


def how_it_stands(steps: Sequence[Step], version: int, model_sha256: str) -> str:
    """Where a version that was let through is on its way, or why it cannot begin; empty where no rollout says so."""
    now = current(steps)
    return words(now) if now is not None and now.model_version == version else blocks(steps, version, model_sha256)


def said(step: Step) -> str:
    """A step of a ledger, in a line."""
    when = step.night or step.decided_at.date()
    share = f", {step.share:.0%} of the entities" if step.share else ""
    return (
        f"{when} version {step.model_version}: {step.stage}{share}, from event date {step.effective_from} on, by "
        f"{step.decided_by}: {step.reason}"
    )


def holds(steps: Sequence[Step], night: date, cool_down_days: int) -> str:
    """Why the policy asks for no retraining in ``night``, in a sentence; empty where nothing speaks against it.

    Of what was known in that night: a challenger on its way, or one that was taken back not long before.
    """
    known = [one for one in steps if one.night is not None and one.night <= night]
    if known and known[-1].is_open:
        return f"{words(known[-1])}: what comes of it is waited for"
    taken_back = [one.night for one in known if one.stage == BACK and one.night is not None]
    if taken_back and (night - max(taken_back)).days < cool_down_days:
        return f"cool-down: a version was rolled back on {max(taken_back)}, less than {cool_down_days} nights ago"
    return ""


# --- who is a canary's ---


def places(case: UseCase, version: int, rows: pl.DataFrame) -> npt.NDArray[np.float64]:
    """Where each row's entity lies between 0 and 1. A share of the entities is those that lie below it.

    So whoever is in a share stays in it when it grows, on every day and every machine. The hash is salted with the use
    case and the version, so that it is not always the same entities that try what is new.
    """
    salted = rows.select(pl.lit(f"{case.name} {version}").alias("salt"), *case.entity)
    hashes = digest.row_hashes(salted, salted.columns).view(np.uint64)
    return np.asarray((hashes >> np.uint64(11)).astype(np.float64) / 2.0**53)


def is_canary(case: UseCase, step: Step, rows: pl.DataFrame) -> pl.Series:
    """Whether each row is published as the challenger scores it."""
    return pl.Series(places(case, step.model_version, rows) < step.share, dtype=pl.Boolean)


def days_of_evidence(steps: Sequence[Step], version: int) -> dict[date, dict[str, float]]:
    """The differences of the rollout of ``version`` that goes on or ended last, by day, in the order they came in."""
    found: dict[date, dict[str, float]] = {}
    for one in steps:
        if one.model_version != version or one.stage == VOID:
            found = {} if one.model_version == version else found
            continue
        found |= {date.fromisoformat(day): values for day, values in sorted(one.differences.items())}
    return found
