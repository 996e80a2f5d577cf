"""Whether something is wrong with a use case, what carries it and what to do: pure functions of what was read.

Nothing is judged anew: what the sensors said is repeated with their own limit, and what no sensor looks at is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

import polars as pl

from include.ml import figures

type Level = Literal["bad", "warn", "ok", "none"]
type Row = dict[str, Any]

NEAR = 0.1
"""From this share of what fires on, evidence is worth a look."""

SENSORS = {
    "input_drift": "inputs are not as they were",
    "prediction_drift": "scores are not as they were",
    "quality": "quality is worse than promised",
}
CARRIED = "carried"
"""The metric of features within a slice that carry its evidence."""
WORDS = {"input_drift": "Input drift", "prediction_drift": "Prediction drift", "quality": "Quality"}
FACTS = {
    "constant": "all predictions of the day are the same",
    "against": "the predictions of the day say the opposite of what came",
}


@dataclass(frozen=True)
class Finding:
    """Something that is to be known of a use case: how bad it is, what it is, what carries it, what to do."""

    level: Level
    what: str
    carried: Sequence[tuple[str, float]] = ()
    todo: str = ""


@dataclass(frozen=True)
class Facts:
    """What was read of a use case, for ``judge``.

    Attributes:
        name: the use case's, for what to do.
        champion: the champion of now, as the ledger has it; None where there is none.
        night: the newest that was measured.
        sensors: what the function of that name made of it.
        decision: what the policy decided in that night.
        figures: the newest value by (figure, name).
        label_days: after how many days a label is due.
        waiting: what the feature gate has refused and nobody has mended or accepted: night, feature, kind; the
            feature is empty where rows broke what the spec expects.
        problems: what could not be read.
    """

    name: str = ""
    champion: Row | None = None
    night: date | None = None
    sensors: Sequence[Row] = ()
    decision: Row | None = None
    figures: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    label_days: int = 0
    fallback_rows: int = 0
    waiting: Sequence[tuple[str, str, str]] = ()
    problems: Sequence[str] = ()


def sensors(night: pl.DataFrame) -> list[Row]:
    """Each sensor by one night's measurements: its evidence, what fires, whether it did, and what carries it."""
    found: dict[str, Row] = {name: {"whole": None, "facts": [], "streams": []} for name in SENSORS}
    for row in night.iter_rows(named=True):
        own = found.get(row["sensor"])
        if own is None:
            continue
        if row["metric"] in FACTS and _reached(row["value"], row["threshold"]):
            own["facts"].append(FACTS[row["metric"]])
        elif row["metric"] == CARRIED or (row["metric"] == "evidence" and (row["feature"] or row["slice"])):
            own["streams"].append(row)
        elif row["metric"] == "evidence":
            own["whole"] = row
    return [_sensor(name, **told) for name, told in found.items()]


def _sensor(name: str, whole: Row | None, facts: Sequence[str], streams: Sequence[Row]) -> Row:
    row = whole or {"value": None, "threshold": None, "n": 0}
    return {
        "sensor": name,
        "words": WORDS[name],
        "value": row["value"],
        "threshold": row["threshold"],
        "n": row["n"],
        "facts": facts,
        "fired": bool(facts) or _reached(row["value"], row["threshold"]),
        "share": _share(row["value"], row["threshold"]),
        "carried": carriers(streams),
    }


def _reached(value: float | None, threshold: float | None) -> bool:
    return value is not None and threshold is not None and value >= threshold


def _share(value: float | None, threshold: float | None) -> float | None:
    return value / threshold if value is not None and threshold else None


def carriers(streams: Sequence[Row], most: int = 5) -> list[tuple[str, float]]:
    """Which features and slices carry the evidence of their sensor, by their share of it, the largest first."""
    parts = {named(row["feature"], row["slice"]): (row["weight"] or 0.0) * (row["value"] or 0.0) for row in streams}
    # What is carried within a slice is in the evidence of the slice, which has no name of its own.
    total = sum((row["weight"] or 0.0) * (row["value"] or 0.0) for row in streams if row["metric"] != CARRIED)
    slices = {named("", row["slice"]) for row in streams if not row["feature"]}
    single = [(name, part) for name, part in parts.items() if name not in slices]
    largest = sorted(single, key=lambda one: (-one[1], one[0]))[:most]
    return [(name, part / total) for name, part in largest if total and part / total >= 0.01]


def named(feature: str, group: str | None) -> str:
    if not feature:
        return f"all of {group}"
    return f"{feature} of {group}" if group else feature


def judge(facts: Facts) -> list[Finding]:
    """What is to be known, the worst first; one that says that all is well where nothing is wrong."""
    found = [Finding("bad", problem, todo="make verify names what is broken") for problem in facts.problems]
    found += _of_gate(facts)
    if facts.champion is None:
        if not facts.problems:
            todo = f"Train the first version: make train use_case={facts.name} partition=<the last day to learn from>"
            found.append(Finding("none", "No champion yet: nothing is scored.", todo=todo))
        return found
    if facts.night is None:
        if not facts.problems:
            what = "Not measured yet: its first night with predictions measures it."
            todo = f"Wait for the night, or run it: make night use_case={facts.name} partition=<a day>"
            found.append(Finding("none", what, todo=todo))
        return found
    found += [_of_sensor(one, facts.decision, facts.night) for one in facts.sensors if one["fired"]]
    found += [
        Finding("warn", f"{one['words']} is at {one['share']:.0%} of what fires.", one["carried"], "Keep an eye on it.")
        for one in facts.sensors
        if not one["fired"] and (one["share"] or 0) >= NEAR
    ]
    found += _of_data(facts)
    if all(one["value"] is None for one in facts.sensors):
        what = "The champion is of an earlier release, which kept nothing to tell drift by."
        found.append(Finding("warn", what, todo="It is watched from the next champion on: make train"))
    order = {"bad": 0, "warn": 1, "none": 2, "ok": 3}
    return sorted(found, key=lambda one: order[one.level]) or [Finding("ok", "Nothing is wrong.")]


def _of_sensor(one: Row, decision: Row | None, night: date) -> Finding:
    what = "; ".join(one["facts"]) or SENSORS[one["sensor"]]
    told = ""
    if decision and decision["partition_day"] == night:
        asked = decision["decision"] == "yes"
        told = "A retraining was asked for. " if asked else f"No retraining: {_clipped(decision['reason'])}. "
    look = {
        "input_drift": "Look at the features that carry it: mend the source where it is broken; else it is the world "
        "that has changed.",
        "prediction_drift": "Look at what carries input drift: scores move with what goes in.",
        "quality": "Compare the newest weeks with the promise; train by hand (make train) or roll back (make rollback) "
        "where it cannot wait.",
    }
    return Finding("bad", f"{what[0].upper()}{what[1:]}.", one["carried"], told + look[one["sensor"]])


def _of_gate(facts: Facts) -> list[Finding]:
    """The nights that the feature gate holds back."""
    if not facts.waiting:
        return []
    nights = sorted({night for night, _, _ in facts.waiting})
    features = list(dict.fromkeys(f"{feature or 'a row'} ({kind})" for _, feature, kind in facts.waiting))
    what = f"The feature gate holds back {_listed(nights)}, for {_listed(features)}: nothing is scored of it."
    span = nights[0] if len(nights) == 1 else f"{nights[0]}..{nights[-1]}"
    names = ",".join(dict.fromkeys(feature for _, feature, _ in facts.waiting if feature))
    todo = "Mend what is before it and clear the run from its first task."
    if names:
        accept = f"make accept use_case={facts.name} partition={span} feature={names}"
        todo += f" Where the world has really changed so: {accept}"
    return [Finding("bad", what, todo=todo)]


def _clipped(text: str, most: int = 200) -> str:
    text = text.split("; fired:", 1)[0]
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _of_data(facts: Facts) -> list[Finding]:
    """What freshness, completeness and duplicates say."""
    found = []

    def value(figure: str, name: str = "") -> float | None:
        row = facts.figures.get((figure, name))
        return None if row is None else row["value"]

    late = value(figures.FRESHNESS, "labels")
    if late is not None and late > facts.label_days:
        what = f"The newest labels are {late:.0f} days old, {facts.label_days} are usual: quality is not measured."
        found.append(
            Finding("warn", what, todo="Look at the newest nights of its sources' ingest, and at files that are late")
        )
    scored = value(figures.COMPLETENESS, "scored")
    if scored is not None and scored < 1:
        what = f"{scored:.1%} of the newest day's rows are scored by the champion."
        found.append(
            Finding("warn", what, todo=f"Somebody else scored the rest, or nobody: make stale use_case={facts.name}")
        )
    labelled = value(figures.COMPLETENESS, "labelled")
    if labelled is not None and 0 < labelled < 0.9:
        what = f"{labelled:.0%} of the rows whose labels are due have one."
        found.append(Finding("warn", what, todo="Quality is that of the rest: look at the labels table"))
    if twice := value(figures.DUPLICATES):
        found.append(Finding("bad", f"{twice:.0f} rows of features are there twice.", todo="Mend the model in dbt"))
    if facts.fallback_rows:
        what = f"{facts.fallback_rows:,} rows were scored by a fallback, since the champion could not."
        found.append(
            Finding("bad", what, todo=f"Restore what the alert names, then: make refresh use_case={facts.name}")
        )
    return found


def worst(found: Sequence[Finding]) -> Level:
    """The level of the first, which is the worst."""
    return found[0].level if found else "none"


def summary_of(lines: Sequence[Row]) -> str:
    """The answer to the first question of a morning, in a sentence."""
    bad = [one["name"] for one in lines if one["level"] == "bad"]
    warn = [one["name"] for one in lines if one["level"] == "warn"]
    watched = sum(one["level"] != "none" for one in lines)
    if bad:
        return f"{len(bad)} of {len(lines)} use cases {'needs' if len(bad) == 1 else 'need'} you: {_listed(bad)}."
    if warn:
        return f"Nothing is broken; {len(warn)} of {len(lines)} use cases to keep an eye on: {_listed(warn)}."
    if not watched:
        return "No use case has been measured yet."
    rest = len(lines) - watched
    return f"All is well: {watched} watched{f', {rest} without a measurement yet' if rest else ''}."


def _listed(names: Iterable[str], most: int = 4) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
