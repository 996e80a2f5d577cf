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
from include.ml import ledger, monitor
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
    with a "yes"; in ``night`` the labels of the day ``label_days`` before it are known. ``held`` is the champion of all
    if a person has put it back: then nothing is asked for. Worse quality is reason enough.
    Drift is reason only when inputs and scores drift together: inputs alone may be of no consequence, scores alone are
    what a model is for.
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


def stored(case: UseCase) -> pl.DataFrame:
    """All decisions so far, by night; empty where there are none."""
    if not delta.exists("gold", case.decisions_table):
        return pl.DataFrame(schema=SCHEMA)
    return delta.read_all("gold", case.decisions_table).sort("partition_day")


def decide_night(name: str, night: date) -> dict[str, Any]:
    """Task: decide on a retraining of use case ``name`` as of ``night`` (the last one of a range), and store it.

    Reads the monitoring table, the ledger and earlier decisions. A night that has its decision keeps it: deciding
    again returns the stored one, so that nothing is asked for twice, and says in ``differs`` whether today's data
    would have given another one. Raises NotMeasuredError where there is a champion and no measurement.

    Returns ``night``, ``decision``, ``reason``, ``evidence``, ``model_version``, ``created``, ``differs``.
    """
    case = use_case(name)
    with lease(f"decide {case.name}"):
        return _decide_night(case, night)


def _decide_night(case: UseCase, night: date) -> dict[str, Any]:
    champion = ledger.champion_for(case, night)
    rows = monitor.measurements(case, night)
    if champion is not None and not rows.height:
        raise NotMeasuredError(f"{case.monitoring_table} has nothing for the night {night}: run `measure` for it first")
    earlier = stored(case)
    # Nights may run out of order: a request of a later night counts as well when this one is decided on afterwards.
    requests: list[date] = earlier.filter((pl.col("decision") == "yes") & (pl.col("partition_day") != night))[
        "partition_day"
    ].to_list()
    last_request = min(requests, key=lambda other: abs((night - other).days), default=None)
    readings = [read(case, rows) for read in monitor.READERS.values()]
    latest = ledger.latest_champion(case)
    held = latest if latest is not None and latest.how == ledger.ROLLBACK else None
    made = decide(case.drift, night, champion, readings, last_request, case.label_days, held)
    before = earlier.filter(pl.col("partition_day") == night)
    if before.height:
        kept = before.row(0, named=True)
        decision = Decision(**kept | {"evidence": json.loads(kept["evidence"])})
        differs = (decision.decision, decision.reason) != (made.decision, made.reason)
        return decision.to_dict() | {"created": False, "differs": differs}
    row = asdict(made) | {"evidence": json.dumps(made.evidence, sort_keys=True)}
    frame = pl.DataFrame([row], schema=SCHEMA)
    delta.replace_days("gold", case.decisions_table, frame, night, night, day="partition_day")
    return made.to_dict() | {"created": True, "differs": False}
