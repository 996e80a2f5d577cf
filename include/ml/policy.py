"""Sensors see, this decides: retrain, or not, and why. Every decision is stored, also "no"."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import takewhile
from typing import Any, Literal

import polars as pl

from include.contracts.use_case import DriftPolicy, UseCase
from include.core.errors import NeedsAttentionError
from include.core.lease import lease
from include.lake import delta
from include.ml import ledger, monitor, record, rollouts
from include.ml.ledger import Champion
from include.ml.monitor import SensorReading
from include.ml.record import Training
from include.use_cases import use_case

SCHEMA: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "decision": pl.String(),
    "reason": pl.String(),
    "evidence": pl.String(),  # JSON
    "model_version": pl.Int64(),  # the champion that was judged; null where there was none
}


class NotMeasuredError(NeedsAttentionError):
    """A night is to be decided on before it was measured."""


@dataclass(frozen=True)
class Decision:
    """Whether to retrain in a night, one sentence why, and everything it stands on (JSON-able)."""

    partition_day: date
    decision: Literal["yes", "no"]
    reason: str
    evidence: dict[str, Any]
    model_version: int | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"partition_day": str(self.partition_day)}


type Outcome = Literal["open", "promoted", "waits", "refused", "rolled back", "failed"]

LOST: tuple[Outcome, ...] = ("refused", "rolled back", "failed")
"""What came to nothing."""

FAILED_NIGHTS = 7
"""A training that nobody has written down so many nights after it was asked for has failed, and may be asked for again:
there are as many new days of labels."""


@dataclass(frozen=True)
class Request:
    """A night that asked for a retraining of a champion, and what has come of it so far."""

    night: date
    model_version: int | None
    outcome: Outcome
    became: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"night": str(self.night)}


def schedule(policy: DriftPolicy, night: date, champion: Champion, label_days: int) -> SensorReading:
    """Fires where the champion's data is as old as the spec allows."""
    age = fresh_days(night, champion, label_days)
    reason = f"the champion's data ended {age} days ago ({policy.max_age_days} fires)"
    return SensorReading("schedule", age >= policy.max_age_days, reason, {"age_days": age})


def new_labels(policy: DriftPolicy, night: date, champion: Champion, label_days: int) -> SensorReading:
    """Fires where the spec wants a retraining for new labels, and there are enough."""
    fresh, wanted = fresh_days(night, champion, label_days), policy.max_label_days
    fires = f"{wanted} fires" if wanted else "that is no reason in the spec"
    return SensorReading(
        "new_labels",
        wanted is not None and fresh >= wanted,
        f"{fresh} days of labels are new ({fires})",
        {"new_label_days": fresh},
    )


def fresh_days(night: date, champion: Champion, label_days: int) -> int:
    """How many days of labels are known in ``night`` that the champion has not seen."""
    return (night - timedelta(label_days) - champion.trained_through).days


GROUNDS = {
    "quality": "quality is worse than promised",
    "prediction_drift": "scores have drifted",
    "input_drift": "inputs have drifted",
    "schedule": "the champion is as old as the spec allows",
    "new_labels": "there are enough new labels",
}
"""Sensors, and what it means that one has fired: the first of them is the reason that is given."""


def decide(
    policy: DriftPolicy,
    night: date,
    champion: Champion | None,
    readings: Sequence[SensorReading],
    requests: Sequence[Request] = (),
    label_days: int = 0,
    held: Champion | None = None,
    resting: str = "",
) -> Decision:
    """Whether to ask for a retraining in ``night``. Pure: the same state gives the same decision.

    ``champion`` is that of day ``night``, ``readings`` are of that night, and any sensor that fired is a reason.
    ``requests`` are the other nights with a "yes", earlier or later ones, of the policy's budget and cool-down: they
    say when that must wait. In ``night`` the labels of the day ``label_days`` before it are known. ``held`` is the
    champion of all if a person has put it back: then nothing is asked for. Nor is anything while a challenger is rolled
    out, or was rolled back not long ago: ``resting`` says so.
    """
    fired = sorted(reading.sensor for reading in readings if reading.fired)
    nearest = min(requests, key=lambda one: (abs(night - one.night), one.night), default=None)
    evidence: dict[str, Any] = {
        "fired": fired,
        "sensors": {reading.sensor: reading.evidence | {"reason": reading.reason} for reading in readings},
        "last_request": str(nearest.night) if nearest else None,
    }
    if champion is None:
        return Decision(night, "no", "there is no champion yet that could need a retraining", evidence, None)
    if held is not None:
        said = (
            f"held: version {held.model_version} was put back by {held.decided_by} ({held.reason}). A version that "
            "becomes champion in another way ends that: make train"
        )
        return Decision(night, "no", said, evidence, champion.model_version)
    fresh = fresh_days(night, champion, label_days)
    evidence |= {
        "trained_through": str(champion.trained_through),
        "new_label_days": fresh,
        "cool_down_days": policy.cool_down_days,
    }
    why = next((words for sensor, words in GROUNDS.items() if sensor in fired), None)
    saw = f"; fired: {', '.join(fired)}" if fired else "; no sensor fired"

    def answer(decision: Literal["yes", "no"], reason: str) -> Decision:
        return Decision(night, decision, reason, evidence, champion.model_version)

    if why is None:
        return answer("no", "nothing calls for it" + saw)
    if fresh < policy.cool_down_days:
        return answer("no", f"cool-down: {fresh} days of new labels, {policy.cool_down_days} are needed{saw}")
    if resting:
        return answer("no", resting + saw)
    if (wait := _must_wait(policy, night, champion, requests)) is not None:
        return answer("no", wait + saw)
    return answer("yes", why + saw)


def _must_wait(policy: DriftPolicy, night: date, champion: Champion, requests: Sequence[Request]) -> str | None:
    """Why nothing is asked for in ``night`` though there is reason to, by what was asked for; None where it may be."""
    for one in sorted(requests, key=lambda one: (abs(night - one.night), one.night)):
        waits = FAILED_NIGHTS if one.outcome == "failed" else policy.cool_down_days
        if abs((night - one.night).days) < waits:
            return f"cool-down: a retraining was asked for on {one.night}{f': {one.became}' if one.became else ''}"
    earlier = sorted((one for one in requests if one.night < night), key=lambda one: one.night, reverse=True)
    lost = list(takewhile(lambda one: one.outcome in LOST, earlier))
    lost = [one for one in lost if one.model_version == champion.model_version]
    if len(lost) >= policy.max_refusals:
        return (
            f"given up: the last {len(lost)} retrainings of version {champion.model_version} came to nothing, the "
            f"newest of {lost[0].night}: {lost[0].became}. Look at why, and train by hand: make train"
        )
    spent = [one for one in earlier if (night - one.night).days < policy.budget_days]
    if len(spent) >= policy.budget:
        return f"budget: {len(spent)} retrainings in {policy.budget_days} days, and {policy.budget} are allowed"
    return None


def outcome_of(
    case: UseCase, night: date, model_version: int | None, trainings: Sequence[Training], today: date
) -> tuple[Outcome, str]:
    """What has come by night ``today`` of the retraining of ``model_version`` that ``night`` asked for."""
    made = [one for one in trainings if one.partition >= night and one.champion == model_version]
    if not made:
        if (today - night).days < FAILED_NIGHTS:
            return "open", ""
        return "failed", "no training came of it"
    first = min(made, key=lambda one: one.partition)
    judged = [one for one in record.judgements(case) if one.model_sha256 == first.model_sha256]
    if not judged:
        return "open", ""
    last = judged[-1]
    if (step := rollouts.fate(rollouts.read(case), first.model_sha256)) is not None:
        if step.stage == rollouts.BACK:
            return "rolled back", f"version {step.model_version} was rolled back: {step.reason}"
        if step.is_open:
            return "waits", rollouts.words(step)
    words: dict[str, tuple[Outcome, str]] = {
        "promote": ("promoted", f"version {last.model_version} was let through"),
        "wait": ("waits", f"version {last.model_version} waits"),
        "refuse": ("refused", f"version {last.model_version} was refused: {last.reasons[0]}"),
    }
    return words[last.verdict]


def asked_for(case: UseCase, first: date, last: date, today: date) -> list[Request]:
    """The nights ``first`` to ``last`` that asked for a retraining, and what has come of each by night ``today``."""
    rows = stored(case, first, last).filter(pl.col("decision") == "yes")
    trainings = record.trainings(case) if rows.height else []
    return [
        Request(night, version, *outcome_of(case, night, version, trainings, today))
        for night, version in rows.select("partition_day", "model_version").iter_rows()
    ]


def stored(case: UseCase, first: date = date.min, last: date = date.max) -> pl.DataFrame:
    """The decisions so far, all or those of the nights ``first`` to ``last``, by night; empty where there are none."""
    if not delta.exists("gold", case.decisions_table):
        return pl.DataFrame(schema=SCHEMA)
    return delta.read_days("gold", case.decisions_table, first, last, day="partition_day").sort("partition_day")


def decide_night(name: str, night: date) -> dict[str, Any]:
    """Task: decide on a retraining of use case ``name`` as of ``night``, and store it. See ``decide_nights``."""
    return decide_nights(name, night, night)[0]


def decide_nights(name: str, first: date, last: date) -> list[dict[str, Any]]:
    """Task: decide for each of the nights ``first`` to ``last``, one after the other, and store that, in one commit.

    Reads the monitoring table, the ledger and earlier decisions. A night that has its decision keeps it: deciding
    again returns the stored one, so that nothing is asked for twice, and says in ``differs`` whether today's data
    would have given another one. Raises NotMeasuredError where there is a champion and no measurement.

    Returns for each night ``night``, ``decision``, ``reason``, ``evidence``, ``model_version``, ``created``,
    ``differs``.
    """
    case = use_case(name)
    with lease(f"decide {case.name}"):
        return _decide_nights(case, first, last)


def train_as_of(name: str, asked: date, last: date) -> date:
    """The night as of which to train for a range that ends with ``last``, of which the night ``asked`` said "yes".

    The last one: what is trained scores nothing of the range, so that it may learn all of it. Where a training has been
    made for one of the nights since ``asked``, that one, which makes no other version: a range may be run again.
    """
    made = [one.partition for one in record.trainings(use_case(name)) if asked <= one.partition <= last]
    return max(made, default=last)


def _decide_nights(case: UseCase, first: date, last: date) -> list[dict[str, Any]]:
    decided, policy = ledger.read(case), case.drift
    latest = ledger.pick(decided, date.max)
    held = latest if latest is not None and latest.how == ledger.ROLLBACK else None
    measured = monitor.measurements(case, first, last)
    steps, calm = rollouts.read(case), case.rollout.cool_down_days if case.rollout else 0
    # Nights may run out of order: a request of a later night counts as well when an earlier one is decided on
    # afterwards. What is farther away than budget and cool-down says nothing: a night does not read all of history.
    cool = timedelta(max(policy.cool_down_days - 1, 0))
    back = max(cool, timedelta(policy.budget_days - 1))
    requests = {one.night: one for one in asked_for(case, first - back, last + cool, last)}
    kept = {row["partition_day"]: row for row in stored(case, first, last).iter_rows(named=True)}
    found, rows = [], []
    for night in (first + timedelta(n) for n in range((last - first).days + 1)):
        champion, of_night = ledger.pick(decided, night), measured.filter(pl.col("partition_day") == night)
        if champion is not None and of_night.is_empty():
            raise NotMeasuredError(
                f"{case.monitoring_table} has nothing for the night {night}: run `measure` for it first"
            )
        readings = [read(of_night) for read in monitor.READERS.values()]
        if champion is not None:
            readings += [sense(policy, night, champion, case.label_days) for sense in (schedule, new_labels)]
        near = [one for one in requests.values() if one.night != night and night - back <= one.night <= night + cool]
        made = decide(
            policy, night, champion, readings, near, case.label_days, held, rollouts.holds(steps, night, calm)
        )
        if before := kept.get(night):
            decision = Decision(**before | {"evidence": json.loads(before["evidence"])})
            differs = (decision.decision, decision.reason) != (made.decision, made.reason)
            found.append(decision.to_dict() | {"created": False, "differs": differs})
            rows.append(before)
            continue
        if made.decision == "yes":
            requests[night] = Request(night, made.model_version, "open")
        found.append(made.to_dict() | {"created": True, "differs": False})
        rows.append(asdict(made) | {"evidence": json.dumps(made.evidence, sort_keys=True)})
    if len(kept) < len(rows):
        frame = pl.DataFrame(rows, schema=SCHEMA)
        delta.replace_days("gold", case.decisions_table, frame, first, last, day="partition_day")
    return found
