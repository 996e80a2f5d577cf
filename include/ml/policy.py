"""Sensors see, this decides: retrain, or not, and why. Every decision is stored, also "no"."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Literal

import polars as pl

from include.contracts.use_case import DriftPolicy, UseCase
from include.core.errors import NeedsAttentionError
from include.core.lease import lease
from include.lake import delta
from include.ml import ledger, monitor, record
from include.ml.ledger import Champion
from include.ml.monitor import SensorReading
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


def decide(
    policy: DriftPolicy,
    night: date,
    champion: Champion | None,
    readings: Sequence[SensorReading],
    last_request: date | None,
    label_days: int = 0,
    held: Champion | None = None,
) -> Decision:
    """Whether to ask for a retraining in ``night``. Pure: the same state gives the same decision.

    ``champion`` is that of day ``night``, ``readings`` are of that night, ``last_request`` is the nearest other night
    with a "yes", where one is within the cool-down; in ``night`` the labels of the day ``label_days`` before it are
    known. ``held`` is the champion of all if a person has put it back: then nothing is asked for. Worse quality is
    reason enough. Drift is reason only when inputs and scores drift together: inputs alone may be of no consequence,
    scores alone are what a model is for.
    """
    fired = sorted(reading.sensor for reading in readings if reading.fired)
    evidence: dict[str, Any] = {
        "fired": fired,
        "sensors": {reading.sensor: reading.evidence | {"reason": reading.reason} for reading in readings},
        "last_request": str(last_request) if last_request else None,
    }
    if champion is None:
        return Decision(night, "no", "there is no champion yet that could need a retraining", evidence, None)
    if held is not None:
        said = (
            f"held: version {held.model_version} was put back by {held.decided_by} ({held.reason}). A version that "
            "becomes champion in another way ends that: make train"
        )
        return Decision(night, "no", said, evidence, champion.model_version)
    fresh = (night - timedelta(label_days) - champion.trained_through).days
    evidence |= {
        "trained_through": str(champion.trained_through),
        "new_label_days": fresh,
        "cool_down_days": policy.cool_down_days,
    }
    why = _grounds(policy, fired, fresh)
    saw = f"; fired: {', '.join(fired)}" if fired else "; no sensor fired"

    def answer(decision: Literal["yes", "no"], reason: str) -> Decision:
        return Decision(night, decision, reason, evidence, champion.model_version)

    if why is None:
        return answer("no", ("not enough to retrain" if fired else "nothing calls for it") + saw)
    if fresh < policy.cool_down_days:
        return answer("no", f"cool-down: {fresh} days of new labels, {policy.cool_down_days} are needed{saw}")
    if last_request is not None and abs((night - last_request).days) < policy.cool_down_days:
        return answer("no", f"cool-down: a retraining was asked for on {last_request}{saw}")
    return answer("yes", why + saw)


def _grounds(policy: DriftPolicy, fired: Sequence[str], age_days: int) -> str | None:
    """The first good reason to retrain, or None."""
    if "quality" in fired:
        return "quality has become worse"
    if "input_drift" in fired and "prediction_drift" in fired:
        return "inputs and scores have drifted together"
    if age_days >= policy.max_age_days:
        return f"the champion's data ended {age_days} days ago"
    return None


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
    decided = ledger.read(case)
    latest = ledger.pick(decided, date.max)
    held = latest if latest is not None and latest.how == ledger.ROLLBACK else None
    measured = monitor.measurements(case, first, last)
    # Nights may run out of order: a request of a later night counts as well when an earlier one is decided on
    # afterwards. One that is farther away than a cool-down says nothing: what a night reads does not grow with history.
    near = timedelta(max(case.drift.cool_down_days - 1, 0))
    there = stored(case, first - near, last + near)
    kept = {row["partition_day"]: row for row in there.iter_rows(named=True) if first <= row["partition_day"] <= last}
    requests = set(there.filter(pl.col("decision") == "yes")["partition_day"])
    found, rows = [], []
    for night in (first + timedelta(n) for n in range((last - first).days + 1)):
        champion, of_night = ledger.pick(decided, night), measured.filter(pl.col("partition_day") == night)
        if champion is not None and of_night.is_empty():
            raise NotMeasuredError(
                f"{case.monitoring_table} has nothing for the night {night}: run `measure` for it first"
            )
        readings = [read(case, of_night) for read in monitor.READERS.values()]
        others = sorted((abs(night - one), one) for one in requests if one != night)
        asked = others[0][1] if others and others[0][0] <= near else None
        made = decide(case.drift, night, champion, readings, asked, case.label_days, held)
        if before := kept.get(night):
            decision = Decision(**before | {"evidence": json.loads(before["evidence"])})
            differs = (decision.decision, decision.reason) != (made.decision, made.reason)
            found.append(decision.to_dict() | {"created": False, "differs": differs})
            rows.append(before)
            continue
        if made.decision == "yes":
            requests.add(night)
        found.append(made.to_dict() | {"created": True, "differs": False})
        rows.append(asdict(made) | {"evidence": json.dumps(made.evidence, sort_keys=True)})
    if len(kept) < len(rows):
        frame = pl.DataFrame(rows, schema=SCHEMA)
        delta.replace_days("gold", case.decisions_table, frame, first, last, day="partition_day")
    return found
