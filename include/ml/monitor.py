"""What became knowable in a night: quality of matured predictions, drift of inputs and of scores. And three sensors.

In the night of day T the labels of day T - label_days mature, and day T + horizon has just been scored. Everything here
is measured for the champion of day T, against its own reference. Of each feature, score and quality figure, of all rows
and of each declared slice, the day's numbers take the evidence of the night before one step further
(``include.ml.evidence``); what it has come to is stored with the night, so that no night reads more than the one before
it. A night without rows carries the evidence on. A new champion begins anew.

A night depends on earlier ones and on nothing later: measuring it again gives the same rows. Earlier nights that nobody
has measured are measured first, and where an earlier night changes, the later ones that are stored are measured again.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import LOOK_BACK_NIGHTS, UseCase
from include.core.lease import lease
from include.lake import delta, usage
from include.ml import dataset, evidence, ledger, metrics, model_files, scoring, slices, summaries, tasks
from include.ml.counted import Counted, counted
from include.ml.evidence import Beside, Floats, Quiet, State, Surprise
from include.ml.ledger import Champion
from include.ml.reference import (
    SIDES,
    Reference,
    feature_weights,
    features_of,
    less_beside,
    quality_by_day,
    quality_units,
    together_of,
)
from include.ml.slices import Layout, Sliced
from include.ml.tasks import Watched
from include.use_cases import use_case

SCHEMA: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "sensor": pl.String(),
    "metric": pl.String(),
    "feature": pl.String(),  # a feature, a column of the predictions or a figure of quality; empty of all together
    "slice": pl.String(),  # column=value; empty of all rows
    "window_from": pl.Date(),
    "window_to": pl.Date(),
    "days": pl.Int32(),
    "n": pl.Int64(),
    "value": pl.Float64(),  # null where it cannot be computed
    "threshold": pl.Float64(),  # null where nothing is compared with it
    "weight": pl.Float64(),  # of evidence, in that of its sensor
    "state": pl.String(),  # of evidence: where it stands, as JSON, for the next night to go on from
    "model_version": pl.Int64(),
}

DAY, EVIDENCE, CARRIED = "day_", "evidence", "carried"
"""What the names of metrics of the newest day begin with; the metric that sensors look at; and that of those features
within slices that carry most of it, whose evidence is in that of their slice."""

MOST_CARRIED = 10
"""So many features within slices, of a sensor, are said to carry evidence."""

CONSTANT, AGAINST = "constant", "against"
"""Two facts that need no evidence over nights: all predictions of a day are one, or say the opposite of what came."""

CONSTANT_ROWS, AGAINST_ERRORS = 20, 6.0
"""So many predictions that are all one are no chance, nor are those that are wrong by so many standard errors."""

INPUTS, SCORES, QUALITY = "input_drift", "prediction_drift", "quality"

type Key = tuple[str, str, str]
"""What is watched: the sensor; a feature, column or figure, empty for all of them together within a slice; a slice,
empty for all rows."""


@dataclass(frozen=True)
class Measurement:
    """One row of the monitoring table, less its night and model version. ``days`` and ``n`` are those with data."""

    sensor: str
    metric: str
    window_from: date
    window_to: date
    days: int
    n: int
    value: float | None
    threshold: float | None = None
    feature: str = ""
    slice: str = ""
    weight: float | None = None
    state: str | None = None


@dataclass(frozen=True)
class SensorReading:
    """What a sensor saw: whether it fired, one sentence why, and the numbers."""

    sensor: str
    fired: bool
    reason: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Stream:
    """Something that is watched: what it does on quiet days, and what counts as a change of it; see ``evidence.step``.

    ``weight`` is its share in the evidence of its sensor. ``ways`` is 2 where it is held beside others as well. What is
    watched within a slice has a ``layout`` of its numbers, and a weight for each of them.
    """

    quiet: Quiet
    weight: float
    sides: tuple[int, ...] = (-1, 1)
    follows: float = evidence.FOLLOWS
    tolerated: float = 0.0
    kept: float = evidence.KEPT
    ways: int = 1
    layout: Layout | None = None
    weights: Floats | None = None

    @property
    def sizes(self) -> tuple[float, ...] | None:
        return slices.SIZES if self.layout else None

    def evidence(self, state: State) -> float:
        """What its evidence has come to."""
        return state.evidence if self.weights is None else float(state.by_number @ self.weights)

    def by_column(self, state: State) -> dict[str, tuple[float, float]]:
        """Within a slice: the evidence of each feature or column, and its weight."""
        if self.layout is None or self.weights is None:
            return {}
        parts, weights = (self.layout.by_column(of) for of in (state.by_number * self.weights, self.weights))
        return {name: (parts[name] / weight, weight) for name, weight in weights.items() if weight}


@dataclass(frozen=True)
class Told:
    """What the ``rows`` of one day tell of a stream: its numbers, and how far each may be off by chance."""

    numbers: Floats
    floors: Floats
    rows: int


@dataclass(frozen=True)
class Night:
    """The rows that a night brings: of the day just scored, and of the day whose labels are known now.

    ``predictions`` and ``matured`` are the champion's own; ``matured`` has the columns of the slices. ``left_out`` rows
    of the day just scored are by somebody else, since the champion could not score them.
    """

    night: date
    scored: date
    labelled: date
    features: pl.DataFrame
    predictions: pl.DataFrame
    matured: pl.DataFrame
    left_out: int = 0


# --- what is watched ---


def streams(case: UseCase, reference: Reference) -> dict[Key, Stream]:
    """All that is watched of a version, by the quiet days that its reference has kept.

    Of one of an earlier release, whose reference has kept none of inputs and scores, its quality alone.
    """
    return _of_inputs(reference) | _of_scores(reference) | _of_quality(case, reference)


def _of_inputs(reference: Reference) -> dict[Key, Stream]:
    kept = {name: of for name, of in reference["features"].items() if of.get("quiet")}
    weights = feature_weights({name: of["weight"] for name, of in kept.items()})
    together = {name for group in reference.get("beside", []) for name in group["features"]}
    whole = {
        (INPUTS, name, ""): Stream(Quiet.from_dict(of["quiet"]), weights[name], ways=1 + (name in together))
        for name, of in kept.items()
    }
    return _beside_slices(reference, INPUTS, whole, Layout(features_of(reference)), weights)


def _beside_slices(
    reference: Reference, sensor: str, whole: dict[Key, Stream], layout: Layout, weights: Mapping[str, float]
) -> dict[Key, Stream]:
    """What is watched of all rows, and within slices, where the reference has kept any: they have their share."""
    name = {INPUTS: "inputs", SCORES: "scores"}[sensor]
    kept = {group: of for group, of in reference.get("within", {}).items() if of[name]}
    if not kept or not whole:
        return whole
    of_slice = feature_weights({group: of["rows"] for group, of in reference["within"].items()})
    own = {key: replace(one, weight=one.weight * (1 - slices.SHARE)) for key, one in whole.items()}
    total = sum(of_slice[group] for group in kept)
    return own | {
        (sensor, "", group): Stream(
            Quiet.from_dict(of[name]),
            slices.SHARE * of_slice[group] / total,
            layout=layout,
            weights=layout.weights(weights, group.split("=", 1)[0]),
        )
        for group, of in kept.items()
    }


def beside(reference: Reference) -> list[tuple[list[Key], Beside]]:
    """Which streams are held beside each other, and how they hang together; of an earlier release none are."""
    return [
        ([(INPUTS, name, "") for name in group["features"]], Beside.from_dict(group))
        for group in reference.get("beside", [])
    ]


def _of_scores(reference: Reference) -> dict[Key, Stream]:
    kept = {column: of["quiet"] for column, of in reference["scores"].items() if of.get("quiet")}
    weights = {column: 1 / len(kept) for column in kept}
    whole = {(SCORES, column, ""): Stream(Quiet.from_dict(quiet), weights[column]) for column, quiet in kept.items()}
    layout = Layout(slices.columns_of_scores(reference["scores"]), of_number=2)
    return _beside_slices(reference, SCORES, whole, layout, weights)


def _of_quality(case: UseCase, reference: Reference) -> dict[Key, Stream]:
    """Against what the gate promised, which follows no season."""
    task = tasks.since(tasks.of_version(case, reference["task"]), tasks.of(case))
    watched = {one.metric: one for one in task.watched}
    found: dict[tuple[str, str], Quiet | None] = {
        ("", name): _promised(case, reference, one) for name, one in watched.items()
    }
    for name, of in reference.get("slices", {}).items():
        found |= {(name, metric): Quiet.from_dict(quiet) for metric, quiet in of.items() if quiet}
    there = {key: quiet for key, quiet in found.items() if quiet and key[1] in watched}
    weights = _with_slices(there)
    return {
        (QUALITY, name, group): Stream(
            quiet,
            weights[group, name],
            SIDES[watched[name].worse],
            follows=0.0,
            tolerated=watched[name].limit,
            # A slice is held beside all rows of its day, and what begins there is seen in days.
            kept=evidence.KEPT if group else evidence.KEPT_OF_PROMISED,
        )
        for (group, name), quiet in there.items()
    }


def _promised(case: UseCase, reference: Reference, watched: Watched) -> Quiet | None:
    """What a figure did on days that no model had seen; of an earlier release, on those of the holdout."""
    if (kept := reference.get("quality", {}).get(watched.metric)) is not None:
        return Quiet.from_dict(kept)
    holdout, task = reference["holdout"], tasks.of_version(case, reference["task"])
    daily = np.asarray(holdout["daily"].get(watched.daily, []), dtype=np.float64)
    unit = quality_units(task, holdout["daily"]).get(watched.metric, 1.0)
    first = date.fromisoformat(holdout["first"])
    days = [first + timedelta(n) for n in range(len(daily))]
    return evidence.learn(daily[:, np.newaxis] / unit, days, follows=0.0, overlap=case.overlap_days)


def _with_slices(there: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """The weight of each (slice, name): half of it is that of all rows, the other half that of their slices."""
    keys = list(there)
    sliced = sum(group != "" for group, _ in keys)
    whole = len(keys) - sliced
    share = 0.5 if whole and sliced else 1.0
    return {key: share / (sliced if key[0] else whole) for key in keys}


# --- measuring: pure functions on the rows of one night ---


def told(
    case: UseCase, reference: Reference, watched: Iterable[Key], rows: Night, of_night: Counted
) -> dict[Key, Told]:
    """What the night tells of each of ``watched``. What has no rows is not there. ``of_night`` are its counts."""
    wanted = set(watched)
    found = dict(_told_columns(of_night)) | dict(_told_quality(case, reference, wanted, rows))
    return {key: one for key, one in found.items() if key in wanted}


def _told_columns(of: Counted) -> Iterator[tuple[Key, Told]]:
    for sensor, columns, rows in ((INPUTS, of.inputs, of.input_rows), (SCORES, of.scores, of.score_rows)):
        for name, one in columns.items():
            yield (sensor, name, ""), Told(one.numbers, one.floors, rows)
    for sensor, within in ((INPUTS, of.within_inputs), (SCORES, of.within_scores)):
        if within is not None:
            yield from _told_within(sensor, within)


def _told_within(sensor: str, of: Sliced) -> Iterator[tuple[Key, Told]]:
    for place, name in enumerate(of.names):
        if of.rows[place]:
            yield (sensor, "", name), Told(of.numbers[place], of.floors[place], int(of.rows[place]))


def _told_quality(case: UseCase, reference: Reference, wanted: set[Key], rows: Night) -> Iterator[tuple[Key, Told]]:
    if not rows.matured.height:
        return
    task, whole = tasks.since(tasks.of_version(case, reference["task"]), tasks.of(case)), dict[str, Floats]()
    units, together = quality_units(task, reference["holdout"]["daily"]), together_of(reference)
    labels, scores = task.labels(rows.matured[case.label]), task.scores_of(rows.matured)
    for group, inside in _groups(rows.matured, wanted):
        own_labels, own_scores = (labels, scores) if inside is None else (labels[inside], scores[inside])
        floor = evidence.share_floor(np.asarray([float(len(own_labels))]))
        of_day = quality_by_day(task, units, own_labels, own_scores, _one_day(own_scores), 1)
        for metric, value in of_day.items():
            # A slice is held beside all rows of its day, and these beside what else the day was like.
            own = value - whole[metric] if group else less_beside(together.get(metric), metric, of_day)
            whole.setdefault(metric, value)
            if not np.isnan(own[0]):
                yield (QUALITY, metric, group), Told(own, floor, len(own_labels))


def _one_day(values: Any) -> Any:
    """The number of the day, which is one, of each of ``values``."""
    return np.zeros(len(values), dtype=np.intp)


def _groups(rows: pl.DataFrame, wanted: set[Key]) -> Iterator[tuple[str, npt.NDArray[np.bool_] | None]]:
    """All rows first, which is None, then those of each slice whose quality is watched."""
    yield "", None
    names = sorted({key[2] for key in wanted if key[0] == QUALITY and key[2]})
    groups = slices.grouped(names, rows)
    for place, name in enumerate(names):
        inside = np.logical_or.reduce([one == place for one in groups.codes])
        if inside.any():
            yield name, inside


def advanced(
    watched: Mapping[Key, Stream],
    groups: Iterable[tuple[list[Key], Beside]],
    before: Mapping[Key, State],
    found: Mapping[Key, Told],
    rows: Night,
) -> dict[Key, State]:
    """Where each stream stands after the night. What the night tells nothing of stands where it stood.

    ``groups`` are those of :func:`beside`.
    """
    states = {
        key: evidence.resumed(before[key], one.sides, one.ways, one.sizes)
        if key in before
        else evidence.begin(one.quiet, one.sides, one.ways, one.sizes)
        for key, one in watched.items()
    }
    surprises: dict[Key, Surprise] = {}
    for key in watched.keys() & found.keys():
        stream, day = watched[key], rows.labelled if key[0] == QUALITY else rows.scored
        surprises[key] = evidence.surprise(
            stream.quiet, states[key], day, found[key].numbers, sides=stream.sides, tolerated=stream.tolerated
        )
    off = dict(_off_beside(groups, surprises, found))
    for key, one in surprises.items():
        stream = watched[key]
        states[key] = evidence.advanced(
            stream.quiet,
            states[key],
            one,
            found[key].floors,
            off.get(key),
            sides=stream.sides,
            follows=stream.follows,
            kept=stream.kept,
            sizes=stream.sizes,
            freedom=slices.FREEDOM if stream.layout else evidence.FREEDOM,
        )
        if stream.layout:  # as it will be read back, so that a range of nights is what its nights are
            states[key] = states[key].rounded()
    return states


def _off_beside(
    groups: Iterable[tuple[list[Key], Beside]], surprises: Mapping[Key, Surprise], found: Mapping[Key, Told]
) -> Iterator[tuple[Key, Floats]]:
    """By how many usual distances the numbers of each stream are off those beside them. A group comes as a whole."""
    for keys, of_group in groups:
        if all(key in surprises for key in keys):
            left = np.concatenate([surprises[key].left for key in keys])
            floors = np.concatenate([found[key].floors for key in keys])
            ends = np.cumsum([len(surprises[key].left) for key in keys])[:-1]
            yield from zip(keys, np.split(of_group.off(left, floors), ends), strict=True)


MOST_BELOW, BEYOND = {INPUTS: 3.0, SCORES: 3.0, QUALITY: 15.0}, 3.0
"""So far below Markov's limit a sensor may fire, and not below so many times what its own quiet weeks come to. Quality
is learned on days that no model had seen, and may go farther."""


def limit(case: UseCase) -> float:
    """The evidence that holds the rate of false alarms whatever hangs together, where quiet days are as was learned.

    The three sensors share the rate.
    """
    return len(READERS) / case.drift.false_alarm_rate


def limits(case: UseCase, reference: Reference) -> dict[str, float]:
    """The evidence from which on each sensor fires: :func:`limit`, or less where the champion's own days allow it.

    Of e-values that many numbers share, hardly any ever comes near to that limit. The quiet weeks of training, drawn
    again, say what they do come to in the share of nights that the sensor has (``calm``), and it fires at three times
    as much, since seasons will come that they have not seen: an estimate, and no bound.
    """
    most, share = limit(case), case.drift.false_alarm_rate / len(READERS)
    calm = {sensor: reference.get("calm", {}).get(sensor) for sensor in READERS}
    return {
        sensor: most
        if came is None
        else float(np.clip(BEYOND * evidence.calm_at(came, share), most / MOST_BELOW[sensor], most))
        for sensor, came in calm.items()
    }


def measure_evidence(
    fires: Mapping[str, float],
    watched: Mapping[Key, Stream],
    states: Mapping[Key, State],
    found: Mapping[Key, Told],
    rows: Night,
) -> list[Measurement]:
    """The evidence of each sensor, and of each stream, with where it stands. ``fires`` has each sensor's limit."""
    made = []
    for sensor in READERS:
        day = rows.labelled if sensor == QUALITY else rows.scored
        own = {key: stream for key, stream in watched.items() if key[0] == sensor}
        of_night = [found[key].rows for key in own if key in found]
        total = sum(stream.weight * stream.evidence(states[key]) for key, stream in own.items()) if own else None
        made.append(
            Measurement(
                sensor,
                EVIDENCE,
                day,
                day,
                int(bool(of_night)),
                max(of_night, default=0),
                total,
                round(fires[sensor], 6),
            )
        )
        for key, stream in own.items():
            state, there = states[key], found.get(key)
            made.append(
                Measurement(
                    sensor,
                    EVIDENCE,
                    state.day or day,
                    day,
                    int(there is not None),
                    there.rows if there else 0,
                    stream.evidence(state),
                    None,
                    key[1],
                    key[2],
                    stream.weight,
                    json.dumps(state.packed() if stream.layout else state.to_dict()),
                )
            )
        made += _carried(sensor, own, states, found, day, total or 0.0)
    return made


def _carried(
    sensor: str,
    watched: Mapping[Key, Stream],
    states: Mapping[Key, State],
    found: Mapping[Key, Told],
    day: date,
    total: float,
) -> list[Measurement]:
    """The features within slices that carry most of the evidence of a sensor: a hundredth of it, or more."""
    parts = [
        (weight * stream.weight * value, key, name, value, weight * stream.weight)
        for key, stream in watched.items()
        for name, (value, weight) in stream.by_column(states[key]).items()
    ]
    largest = sorted((one for one in parts if total and one[0] >= 0.01 * total), reverse=True)[:MOST_CARRIED]
    return [
        Measurement(
            sensor,
            CARRIED,
            states[key].day or day,
            day,
            int(key in found),
            found[key].rows if key in found else 0,
            value,
            None,
            name,
            key[2],
            weight,
        )
        for _, key, name, value, weight in largest
    ]


def measure_inputs(reference: Reference, day: date, of: Counted) -> list[Measurement]:
    """PSI and Jensen-Shannon distance of each feature, of the day just scored. To be looked at: nothing is decided."""
    found = []
    for name, column in of.inputs.items():
        expected, actual = np.asarray(reference["features"][name]["shares"]), metrics.shares(column.counts)
        distance, js = metrics.psi(expected, actual), metrics.jensen_shannon(expected, actual)
        found += [
            Measurement(INPUTS, f"{DAY}psi", day, day, 1, of.input_rows, distance, feature=name),
            Measurement(INPUTS, f"{DAY}js", day, day, 1, of.input_rows, js, feature=name),
        ]
    return found


def measure_scores(reference: Reference, day: date, of: Counted) -> list[Measurement]:
    """PSI of what is predicted, of each column; and whether all predictions of the day are one."""
    if not of.scores:
        return []
    found, constant, n = [], True, of.score_rows
    for name, column in of.scores.items():
        before = reference["scores"][name]
        distance = metrics.psi(np.asarray(before["shares"]), metrics.shares(column.counts))
        found.append(Measurement(SCORES, f"{DAY}psi", day, day, 1, n, distance, feature=name))
        # Scores that were one number in the holdout as well say nothing new.
        constant &= name in of.constant and len(before["edges"]) > 2 and n >= CONSTANT_ROWS
    return [Measurement(SCORES, CONSTANT, day, day, 1, n, float(constant), 1.0), *found]


def measure_quality(case: UseCase, reference: Reference, rows: Night) -> list[Measurement]:
    """Quality of the day whose labels are known now, and whether its predictions say the opposite of what came."""
    matured, day = rows.matured, rows.labelled
    if not matured.height:
        return []
    task = tasks.since(tasks.of_version(case, reference["task"]), tasks.of(case))
    labels, scores = task.labels(matured[case.label]), task.scores_of(matured)
    found = {f"{DAY}{name}": value for name, value in task.quality(labels, scores).items() if name != "n"}
    against = task.against(labels, scores)
    return [
        Measurement(QUALITY, AGAINST, day, day, 1, matured.height, against, AGAINST_ERRORS),
        *(
            Measurement(QUALITY, name, day, day, 1, matured.height, value if isfinite(value) else None)
            for name, value in found.items()
        ),
    ]


def measure_night(
    case: UseCase,
    champion: Champion,
    reference: Reference,
    watched: Mapping[Key, Stream],
    before: Mapping[Key, State],
    rows: Night,
    of_night: Counted,
) -> tuple[pl.DataFrame, dict[Key, State]]:
    """All measurements of one night, in the schema of the monitoring table, and where evidence stands after it."""
    found = told(case, reference, watched, rows, of_night)
    after = advanced(watched, beside(reference), before, found, rows)
    made = [
        *measure_evidence(limits(case, reference), watched, after, found, rows),
        *measure_inputs(reference, rows.scored, of_night),
        *measure_scores(reference, rows.scored, of_night),
        *measure_quality(case, reference, rows),
        *_left_out(rows),
    ]
    table = [vars(each) | {"partition_day": rows.night, "model_version": champion.model_version} for each in made]
    return pl.DataFrame(table, schema=SCHEMA), after


def _left_out(rows: Night) -> list[Measurement]:
    """How many rows nothing was measured of, since somebody else had to score them, if any."""
    found = Measurement("fallback", "rows", rows.scored, rows.scored, 1, rows.left_out, None)
    return [found] if rows.left_out else []


# --- the sensors: what the stored measurements of one night mean ---


def _read(sensor: str, what: str, unwatched: str, rows: pl.DataFrame) -> SensorReading:
    """The reading of ``sensor`` by one night's measurements; it fires on ``what``."""
    own = rows.filter(pl.col("sensor") == sensor)
    of_evidence = own.filter(pl.col("metric").is_in([EVIDENCE, CARRIED]))
    whole = of_evidence.filter((pl.col("feature") == "") & (pl.col("slice") == ""))
    if whole.is_empty():
        return SensorReading(sensor, False, "nothing to measure", {"n": 0, "days": 0})
    row = whole.row(0, named=True)
    facts = {one["metric"]: one for one in own.filter(pl.col("metric").is_in([CONSTANT, AGAINST])).to_dicts()}
    broken = [fact for name, fact in _FACTS.items() if name in facts and _reached(facts[name])]
    seen: dict[str, Any] = {
        "metric": EVIDENCE,
        "value": None if row["value"] is None else float(f"{row['value']:.4g}"),
        "threshold": row["threshold"],
        "window": f"{row['window_from']}..{row['window_to']}",
        "days": row["days"],
        "n": row["n"],
    }
    if row["value"] is None:
        return SensorReading(sensor, bool(broken), "; ".join([*broken, unwatched]), seen)
    carried = carriers(of_evidence)
    fired = bool(broken) or _reached(row)
    by = ", ".join(f"{name} {share:.0%}" for name, share in carried.items())
    said = [*broken, f"evidence of {row['value']:.3g} that {what} ({row['threshold']:g} fires)"]
    if fired and carried:
        said[-1] += f", carried by {by}"
    if not row["n"]:
        said.append("this night has no rows, and the evidence of earlier ones stands")
    return SensorReading(sensor, fired, "; ".join(said), seen | {"carried_by": carried})


_FACTS = {
    CONSTANT: "all predictions of the day are the same",
    AGAINST: "the predictions of the day say the opposite of what came",
}


def _reached(row: Mapping[str, Any]) -> bool:
    return row["value"] is not None and row["value"] >= row["threshold"]


def carriers(of_evidence: pl.DataFrame, most: int = 5) -> dict[str, float]:
    """Which features and slices carry the evidence of a sensor, by their share of it, the largest first."""
    single = of_evidence.filter((pl.col("feature") != "") | (pl.col("slice") != ""))
    parts = single.with_columns(part=pl.col("weight") * pl.col("value")).sort(
        "part", "feature", "slice", descending=True
    )
    # What is carried within a slice is in the evidence of the slice, which has no name.
    total = parts.filter(pl.col("metric") == EVIDENCE)["part"].sum()
    parts = parts.filter(pl.col("feature") != "")
    return {
        f"{row['feature']} of {row['slice']}" if row["slice"] else row["feature"]: round(row["part"] / total, 3)
        for row in parts.head(most).iter_rows(named=True)
        if total and row["part"] / total >= 0.01
    }


EARLIER = "the champion is of an earlier release, which kept nothing to tell it by: watched from the next champion on"


def read_input_drift(rows: pl.DataFrame) -> SensorReading:
    """Fires on evidence that features are not as they were. ``rows``: one night's measurements."""
    return _read(INPUTS, "inputs are not as they were", EARLIER, rows)


def read_prediction_drift(rows: pl.DataFrame) -> SensorReading:
    """Fires on evidence that scores are not as they were, and where all are one. ``rows``: one night's measurements."""
    return _read(SCORES, "scores are not as they were", EARLIER, rows)


def read_quality(rows: pl.DataFrame) -> SensorReading:
    """Fires on evidence that predictions are worse than promised, and where they say the opposite of what came."""
    return _read(QUALITY, "quality is worse than promised", "the champion's holdout has too few days to tell by", rows)


READERS: dict[str, Callable[[pl.DataFrame], SensorReading]] = {
    INPUTS: read_input_drift,
    SCORES: read_prediction_drift,
    QUALITY: read_quality,
}


# --- tasks ---


def _matured(case: UseCase, predictions: pl.DataFrame, labels: pl.DataFrame | None) -> pl.DataFrame:
    """Predictions that have a label, with it and the night from which it is known."""
    if labels is None:
        return predictions.clear().with_columns(
            pl.lit(None).alias(case.label), pl.lit(None, pl.Date).alias(dataset.KNOWN)
        )
    known = dataset.labelled(case, labels).select(*case.key, case.label, dataset.KNOWN)
    return predictions.join(known, on=case.key, how="inner", validate="1:1")


@dataclass(frozen=True)
class _Tables:
    """What is read of the lake for some nights: of the days scored in them, and of those whose labels they know."""

    case: UseCase
    features: pl.DataFrame
    predictions: pl.DataFrame
    others: pl.DataFrame
    matured: pl.DataFrame

    @classmethod
    def of(cls, case: UseCase, first: date, last: date) -> "_Tables":
        scored = (first + timedelta(case.horizon_days), last + timedelta(case.horizon_days))
        known = (dataset.newest_label_day(case, first), dataset.newest_label_day(case, last))
        features = delta.read_days("gold", case.features_table, *scored, day=case.day)
        slices = [name for name in case.evaluation.slices if name not in case.entity and name in features.columns]
        new, old = (_days(case, case.predictions_table, days) for days in (scored, known))
        if new is None or old is None:
            columns = tasks.of(case).columns | {scoring.VERSION: pl.Int64()}
            nothing = (pl.lit(None, kind).alias(name) for name, kind in columns.items())
            new = old = features.select(case.key).clear().with_columns(nothing)
        matured = _matured(case, scoring.of_champions(old), _days(case, case.labels_table, known))
        if slices:
            groups = delta.read_days("gold", case.features_table, *known, day=case.day, columns=[*case.key, *slices])
            matured = matured.join(groups, on=case.key, how="left")
        return cls(case, features, scoring.of_champions(new), scoring.of_others(new), matured)

    def night(self, night: date, champion: Champion) -> Night:
        case, own = self.case, pl.col(scoring.VERSION) == champion.model_version
        scored, labelled = night + timedelta(case.horizon_days), dataset.newest_label_day(case, night)
        # What came later was not known in that night, and must not change what was measured in it.
        known = pl.col(dataset.KNOWN) <= night
        return Night(
            night,
            scored,
            labelled,
            self.features.filter(pl.col(case.day) == scored).sort(case.key),
            # Only its own scores: another version's, against this one's reference, would look like drift.
            self.predictions.filter(own & (pl.col(case.day) == scored)).sort(case.key),
            self.matured.filter(own & (pl.col(case.day) == labelled) & known).sort(case.key),
            self.others.filter(pl.col(case.day) == scored).height,
        )


def _days(case: UseCase, table: str, days: tuple[date, date], columns: list[str] | None = None) -> pl.DataFrame | None:
    """Those days of a table; None where there is no such table."""
    if not delta.exists("gold", table):
        return None
    return delta.read_days("gold", table, *days, day=case.day, columns=columns)


def _kept(rows: pl.DataFrame) -> dict[Key, str]:
    """Where evidence stood after the night of ``rows``, as it is stored."""
    kept = rows.filter(pl.col("state").is_not_null())
    return {(row["sensor"], row["feature"], row["slice"]): row["state"] for row in kept.iter_rows(named=True)}


def _states(rows: pl.DataFrame) -> dict[Key, State]:
    return {key: State.from_dict(json.loads(kept)) for key, kept in _kept(rows).items()}


def _before(case: UseCase, decided: list[Champion], first: date) -> tuple[date, dict[Key, State]]:
    """From which night on to measure for ``first`` to have its evidence, and where that stood after the night before.

    That is ``first`` itself where the night before is stored, and else the night after the last stored one.
    """
    champion = ledger.pick(decided, first)
    earliest = first - timedelta(LOOK_BACK_NIGHTS)
    for back in (first - timedelta(1), earliest):  # most nights need one night, and read no more
        rows = measurements(case, back, first - timedelta(1)).filter(pl.col("state").is_not_null())
        if champion is not None and not rows.is_empty():
            newest = max(rows["partition_day"])
            of_newest = rows.filter(pl.col("partition_day") == newest)
            if of_newest["model_version"][0] == champion.model_version:
                return newest + timedelta(1), _states(of_newest)
            return max(newest + timedelta(1), champion.effective_from), {}
    return (max(earliest, champion.effective_from) if champion else first), {}


def _measured(
    case: UseCase, decided: list[Champion], nights: Iterable[date], states: dict[Key, State], version: int
) -> tuple[list[pl.DataFrame], dict[Key, State]]:
    """The measurements of each of ``nights``, one after the other, which have a champion, and where evidence stands.

    ``states`` are those of ``version`` before them.
    """
    champions = {night: champion for night in nights if (champion := ledger.pick(decided, night)) is not None}
    tables = _Tables.of(case, min(champions), max(champions))
    known: dict[int, tuple[Reference, dict[Key, Stream]]] = {}
    frames, figures = [], summaries.Kept(case)
    for night, champion in champions.items():
        if champion.model_version != version:
            version, states = champion.model_version, {}  # evidence is of one version
        if version not in known:
            reference = model_files.load_reference(case, champion)
            who = f"version {version} of {case.name}"
            dataset.check_columns(case, tables.features.columns, features_of(reference), who=who)
            known[version] = reference, streams(case, reference)
        reference, watched = known[version]
        rows = tables.night(night, champion)
        of_night = counted(case, reference, rows.features, rows.predictions)
        made, states = measure_night(case, champion, reference, watched, states, rows, of_night)
        figures.add(champion, reference, rows, of_night)
        frames.append(made)
    figures.store()
    return frames, states


def measure(name: str, first_night: date, last_night: date) -> dict[str, Any]:
    """Task: measure the nights ``first_night`` to ``last_night`` of use case ``name``, and store what was found.

    Reads features, labels, predictions, the ledger and the night before; replaces those nights of the monitoring
    table. Nights before them that nobody has measured are measured too, and so are later ones that are stored, where
    what they stand on has changed. Nights before the first champion have nothing to measure and get no rows. Raises
    TableMissingError when there are no features.

    Returns ``nights`` (measured ones, of those asked for), ``rows``, ``changed``, ``quality`` (of the last day whose
    labels the last night knows, where it has some).
    """
    case = use_case(name)
    with lease(f"measure {case.name}"):
        return _measure(case, first_night, last_night)


def _measure(case: UseCase, first_night: date, last_night: date) -> dict[str, Any]:
    decided = ledger.read(case)
    asked = [night for night in dataset.days_between(first_night, last_night) if ledger.pick(decided, night)]
    if not asked:
        return {"nights": 0, "rows": 0, "changed": False, "quality": {}, "reason": "no champion in these nights"}
    begin, states = _before(case, decided, asked[0])
    champion = ledger.pick(decided, begin)
    nights = dataset.days_between(begin, last_night)
    frames, states = _measured(case, decided, nights, states, champion.model_version if champion else 0)
    of_last = frames[-1]
    stored_later = {day for day in usage.days_of(f"gold.{case.monitoring_table}") if day > last_night}
    end = last_night
    if stored_later and _kept(measurements(case, last_night)) != _kept(of_last):
        end = max(stored_later)
        later, version = dataset.days_between(last_night + timedelta(1), end), int(of_last["model_version"][0])
        frames += _measured(case, decided, later, states, version)[0]
    rows = pl.concat(frames)
    first = min(begin, first_night)
    written = delta.replace_days("gold", case.monitoring_table, rows, first, end, day="partition_day")
    newest = of_last.filter((pl.col("sensor") == QUALITY) & pl.col("metric").str.starts_with(DAY))
    quality_of_day = {metric.removeprefix(DAY): value for metric, value in newest.select("metric", "value").iter_rows()}
    return {"nights": len(asked), "rows": rows.height, "changed": written.changed, "quality": quality_of_day}


def measurements(case: UseCase, night: date, last: date | None = None) -> pl.DataFrame:
    """The stored measurements of one night, or of the nights to ``last``; empty where none was measured.

    What a release before this one has stored has no slice, weight or state.
    """
    nothing = pl.DataFrame(schema=SCHEMA)
    if not delta.exists("gold", case.monitoring_table):
        return nothing
    found = delta.read_days("gold", case.monitoring_table, night, last or night, day="partition_day")
    return pl.concat([nothing, found], how="diagonal").with_columns(pl.col("slice").fill_null(""))


def _sense(name: str, sensor: str, night: date) -> dict[str, Any]:
    return READERS[sensor](measurements(use_case(name), night)).to_dict()


def input_drift(name: str, night: date) -> dict[str, Any]:
    """Task: whether the inputs of use case ``name`` have drifted as of ``night``: sensor, fired, reason, evidence."""
    return _sense(name, INPUTS, night)


def prediction_drift(name: str, night: date) -> dict[str, Any]:
    """Task: whether the scores have drifted as of ``night``: sensor, fired, reason, evidence."""
    return _sense(name, SCORES, night)


def quality(name: str, night: date) -> dict[str, Any]:
    """Task: whether matured predictions have become worse as of ``night``: sensor, fired, reason, evidence."""
    return _sense(name, QUALITY, night)
