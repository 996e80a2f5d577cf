"""What became knowable in a night: quality of matured predictions, drift of inputs and of scores. And three sensors.

In the night of day T the labels of day T - label_days mature, and day T + horizon has just been scored. Everything here
is measured for the champion of day T, against its own reference, and depends on nothing later: measuring a night again
gives the same rows. Single days are stored to be looked at; the sensors look at windows, because the rows of one day
share what happened on it, and even a calm week has days that differ wildly.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import isfinite
from typing import Any

import numpy as np
import polars as pl

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import dataset, ledger, metrics, model_files, scoring, tasks
from include.ml.ledger import Champion
from include.ml.reference import Reference, daily_quality, features_of
from include.ml.tasks import Watched
from include.use_cases import use_case

SCHEMA: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "sensor": pl.String(),
    "metric": pl.String(),
    "feature": pl.String(),  # empty where a metric is not of one feature, or one column of the predictions
    "window_from": pl.Date(),
    "window_to": pl.Date(),
    "days": pl.Int32(),
    "n": pl.Int64(),
    "value": pl.Float64(),  # null where it cannot be computed
    "threshold": pl.Float64(),  # null where nothing is compared with it
    "model_version": pl.Int64(),
}

DAY, WINDOW = "day_", ""
"""Prefixes of metric names: of the newest day alone, and of the trailing window."""


MOST_CERTAIN = 99.0
"""As large as a z is stored."""


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


@dataclass(frozen=True)
class SensorReading:
    """What a sensor saw: whether it fired, one sentence why, and the numbers."""

    sensor: str
    fired: bool
    reason: str
    evidence: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


# --- measuring: pure functions on frames that hold at least the window's days ---


def measure_inputs(case: UseCase, reference: Reference, features: pl.DataFrame, last: date) -> list[Measurement]:
    """PSI and Jensen-Shannon distance of each feature that the version takes, for the day ``last`` and its window."""
    policy = case.drift
    first = last - timedelta(policy.drift_window_days - 1)
    window = dataset.between(case, features, (first, last))
    if not window.height:
        # A night that was looked at and had nothing is told from one that nobody has measured.
        return [Measurement("input_drift", "drifted_share", first, last, 0, 0, None, policy.input_drift_share)]
    taken = features_of(reference)
    values, newest = dataset.matrix(taken, window), (window[case.day] == last).to_numpy()
    days, found, drifted = window[case.day].n_unique(), [], 0.0
    for column, name in enumerate(feature.name for feature in taken):
        of_feature = reference["features"][name]
        expected = np.asarray(of_feature["shares"])
        limit = max(policy.feature_psi_floor, of_feature["psi_limit"])
        for prefix, start, rows, span in (
            (WINDOW, first, values[:, column], days),
            (DAY, last, values[newest, column], 1),
        ):
            if not len(rows):
                continue
            actual = metrics.shares(metrics.bin_counts(rows, of_feature["edges"]))
            distance = metrics.psi(expected, actual)
            js = metrics.jensen_shannon(expected, actual)
            # A single day is compared with nothing: the limit is that of windows.
            threshold = limit if prefix == WINDOW else None
            found += [
                Measurement("input_drift", f"{prefix}psi", start, last, span, len(rows), distance, threshold, name),
                Measurement("input_drift", f"{prefix}js", start, last, span, len(rows), js, None, name),
            ]
            if prefix == WINDOW and distance > limit:
                drifted += of_feature["weight"]
    summary = Measurement(
        "input_drift", "drifted_share", first, last, days, window.height, drifted, policy.input_drift_share
    )
    return [summary, *found]


def measure_scores(case: UseCase, reference: Reference, predictions: pl.DataFrame, last: date) -> list[Measurement]:
    """PSI of what is predicted, for the day ``last`` and the window that ends with it.

    Where several numbers are predicted for a row, each one's, and the largest.
    """
    first = last - timedelta(case.drift.drift_window_days - 1)
    task, found = tasks.of_version(case, reference["task"]), []
    for prefix, start, limit in ((WINDOW, first, case.drift.prediction_psi), (DAY, last, None)):
        rows = dataset.between(case, predictions, (start, last))
        if not rows.height:
            continue
        days, distances = rows[case.day].n_unique(), {}
        for column, values in task.watched_values(rows).items():
            before = reference["scores"][column]
            counts = metrics.bin_counts(values, before["edges"])
            distances[column] = metrics.psi(np.asarray(before["shares"]), metrics.shares(counts))
        of_columns = distances if len(distances) > 1 else {}
        found += [
            Measurement("prediction_drift", f"{prefix}psi", start, last, days, rows.height, value, limit, column)
            for column, value in {"": max(distances.values()), **of_columns}.items()
        ]
    return found


def measure_quality(case: UseCase, reference: Reference, matured: pl.DataFrame, last: date) -> list[Measurement]:
    """Quality of predictions with labels, for the day ``last`` and the window that ends with it.

    ``matured`` has day, label and what was predicted. Days are the independent unit, or spans of days whose labels do
    not overlap: what the task watches are means of daily values, and their ``_z`` says how many standard errors between
    days they are away from no change.
    """
    task = tasks.since(tasks.of_version(case, reference["task"]), tasks.of(case))
    first = last - timedelta(case.quality_window_days - 1)
    found = []
    for prefix, start in ((WINDOW, first), (DAY, last)):
        rows = dataset.between(case, matured, (start, last)).sort(case.day)
        if not rows.height:
            continue
        labels, scores = task.labels(rows[case.label]), task.scores_of(rows)
        days = rows[case.day].n_unique()

        def add(metric: str, value: float, threshold: float | None = None) -> None:
            kept = value if isfinite(value) else None
            found.append(
                Measurement("quality", prefix + metric, start, last, days, rows.height, kept, threshold)  # noqa: B023
            )

        for metric, value in task.quality(labels, scores).items():
            if metric != "n":
                add(metric, value)
        if prefix == WINDOW:
            now = daily_quality(task, labels, scores, rows[case.day].to_numpy())
            for watched in task.watched:
                value, z = change(watched, reference["holdout"]["daily"], now, case.overlap_days)
                add(watched.metric, value, watched.limit)
                add(f"{watched.metric}_z", _finite(z), case.drift.quality_z)
    return found


def change(
    watched: Watched, then: dict[str, list[float]], now: dict[str, list[float]], overlap: int
) -> tuple[float, float]:
    """How much worse a daily value is than it was in the holdout, and by how many standard errors; worse is positive.

    Of one that is worse in either direction, how far it is from zero. ``then`` and ``now`` are daily values by name.
    """
    unit = (_mean(then[watched.unit]) if watched.unit else 1.0) or 1.0
    before, after = ([value / unit for value in daily[watched.daily]] for daily in (then, now))
    if watched.worse == "either":
        return _mean(after), metrics.z_of_mean(after, overlap)
    z = metrics.z_of_difference(before, after, overlap)
    return (_mean(after) - _mean(before), z) if watched.worse == "higher" else (_mean(before) - _mean(after), -z)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _finite(z: float) -> float:
    """Days without any scatter make a difference certain: a large number, where no number would read as none."""
    return float(np.clip(z, -MOST_CERTAIN, MOST_CERTAIN))


# --- the sensors: what the stored measurements of one night mean ---


def _window_rows(rows: pl.DataFrame, sensor: str) -> dict[str, dict[str, Any]]:
    """The window measurements of a sensor that are not of one feature, by metric."""
    of_sensor = rows.filter((pl.col("sensor") == sensor) & (pl.col("feature") == ""))
    return {row["metric"]: row for row in of_sensor.iter_rows(named=True) if not row["metric"].startswith(DAY)}


def _too_little(sensor: str, row: dict[str, Any] | None, days: int, least: int) -> SensorReading | None:
    """A reading that has not fired, where ``row`` stands on less than it takes."""
    if row is None:
        return SensorReading(sensor, False, "nothing to measure", {"n": 0, "days": 0})
    if row["days"] < days or row["n"] < least:
        reason = f"too little evidence: {row['days']} days, {row['n']} rows; it takes {days} days and {least} rows"
        return SensorReading(sensor, False, reason, _evidence(row))
    return None


def _evidence(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "metric": row["metric"],
        "value": None if row["value"] is None else round(row["value"], 4),
        "threshold": row["threshold"],
        "window": f"{row['window_from']}..{row['window_to']}",
        "days": row["days"],
        "n": row["n"],
    }


def read_input_drift(case: UseCase, rows: pl.DataFrame) -> SensorReading:
    """Fires when drifted features carry ``input_drift_share`` of the gain. ``rows``: one night's measurements."""
    policy = case.drift
    row = _window_rows(rows, "input_drift").get("drifted_share")
    thin = _too_little("input_drift", row, policy.drift_min_days, policy.drift_min_rows)
    if thin is not None or row is None:
        return thin or SensorReading("input_drift", False, "nothing to measure", {})
    per_feature = rows.filter((pl.col("sensor") == "input_drift") & (pl.col("metric") == "psi"))
    drifted = per_feature.filter(pl.col("value") > pl.col("threshold")).sort("value", "feature", descending=True)
    fired = row["value"] >= policy.input_drift_share
    reason = (
        f"{drifted.height} of {per_feature.height} features, with {row['value']:.0%} of the model's gain, differ from "
        f"its training data more than any week of it did ({policy.input_drift_share:.0%} fires)"
    )
    worst = {name: round(value, 3) for name, value in drifted.select("feature", "value").head(5).iter_rows()}
    return SensorReading("input_drift", fired, reason, _evidence(row) | {"features": worst})


def read_prediction_drift(case: UseCase, rows: pl.DataFrame) -> SensorReading:
    """Fires when the scores' PSI reaches ``prediction_psi``. ``rows``: one night's measurements."""
    policy = case.drift
    row = _window_rows(rows, "prediction_drift").get("psi")
    thin = _too_little("prediction_drift", row, policy.drift_min_days, policy.drift_min_rows)
    if thin is not None or row is None:
        return thin or SensorReading("prediction_drift", False, "nothing to measure", {})
    reason = f"PSI of the scores against the holdout's is {row['value']:.3f} ({policy.prediction_psi} fires)"
    return SensorReading("prediction_drift", row["value"] >= policy.prediction_psi, reason, _evidence(row))


def read_quality(case: UseCase, rows: pl.DataFrame) -> SensorReading:
    """Fires when something that the task watches is worse by enough, and by more than days differ by chance."""
    policy, watched = case.drift, tasks.of(case).watched
    found = _window_rows(rows, "quality")
    thin = _too_little("quality", found.get(watched[0].metric), case.quality_min_days, policy.drift_min_rows)
    if thin is not None:
        return thin
    # A value is null where no day of a window tells it, as an AUC without both classes.
    value = {metric: row["value"] for metric, row in found.items() if row["value"] is not None}
    said, fired = [], []
    for one in watched:
        size, z = value.get(one.metric, 0.0), value.get(f"{one.metric}_z", 0.0)
        said.append(f"{one.words.format(value=size)} (z {z:.1f}; {one.limit} fires)")
        sized, certain = (abs(size), abs(z)) if one.worse == "either" else (size, z)
        if sized >= one.limit and certain >= policy.quality_z:
            fired.append(one)
    reason = f"{', '.join(said)}, {'both' if len(said) == 2 else 'each'} from z {policy.quality_z} on"
    others = {metric: round(value[metric], 4) for metric in sorted(value) if found[metric]["threshold"] is not None}
    named = (fired or watched)[0].metric
    return SensorReading("quality", bool(fired), reason, _evidence(found[named]) | {"metrics": others})


READERS: dict[str, Callable[[UseCase, pl.DataFrame], SensorReading]] = {
    "input_drift": read_input_drift,
    "prediction_drift": read_prediction_drift,
    "quality": read_quality,
}


# --- tasks ---


def _read_if_there(case: UseCase, table: str, first: date, last: date) -> pl.DataFrame | None:
    if not delta.exists("gold", table):
        return None
    return delta.read_days("gold", table, first, last, day=case.day)


def _matured(case: UseCase, predictions: pl.DataFrame, labels: pl.DataFrame | None) -> pl.DataFrame:
    """Predictions that have a label, with it and the night from which it is known."""
    if labels is None:
        return predictions.clear().with_columns(
            pl.lit(None).alias(case.label), pl.lit(None, pl.Date).alias(dataset.KNOWN)
        )
    known = dataset.labelled(case, labels).select(*case.key, case.label, dataset.KNOWN)
    return predictions.join(known, on=case.key, how="inner", validate="1:1")


def measure_night(
    case: UseCase,
    night: date,
    champion: Champion,
    reference: Reference,
    features: pl.DataFrame,
    predictions: pl.DataFrame,
    matured: pl.DataFrame,
) -> pl.DataFrame:
    """All measurements of one night, in the schema of the monitoring table. The frames may hold more days."""
    scored = night + timedelta(case.horizon_days)
    own = pl.col(scoring.VERSION) == champion.model_version
    found = [
        *measure_inputs(case, reference, features, scored),
        # Only its own scores: another version's, against this one's reference, would look like drift.
        *measure_scores(case, reference, predictions.filter(own), scored),
        # What came later was not known in that night, and must not change what was measured in it.
        *measure_quality(
            case,
            reference,
            matured.filter(own & (pl.col(dataset.KNOWN) <= night)),
            dataset.newest_label_day(case, night),
        ),
    ]
    rows = [asdict(each) | {"partition_day": night, "model_version": champion.model_version} for each in found]
    return pl.DataFrame(rows, schema=SCHEMA)


def measure(name: str, first_night: date, last_night: date) -> dict[str, Any]:
    """Task: measure the nights ``first_night`` to ``last_night`` of use case ``name``, and store what was found.

    Reads features, labels, predictions and the ledger; replaces those nights of the monitoring table. Nights before
    the first champion have nothing to measure and get no rows. Raises TableMissingError when there are no features.

    Returns ``nights`` (measured ones), ``rows``, ``changed``, ``quality`` (of the last day whose labels the last
    night knows, where it has some).
    """
    case = use_case(name)
    decided = ledger.read(case)
    champions = {
        night: champion
        for night in dataset.days_between(first_night, last_night)
        if (champion := ledger.pick(decided, night)) is not None
    }
    if not champions:
        return {"nights": 0, "rows": 0, "changed": False, "quality": {}, "reason": "no champion in these nights"}
    back = max(case.drift.drift_window_days, case.quality_window_days + case.label_days)
    first, last = min(champions) - timedelta(back), max(champions) + timedelta(case.horizon_days)
    features = delta.read_days("gold", case.features_table, first, last, day=case.day)
    predictions = _read_if_there(case, case.predictions_table, first, last)
    labels = _read_if_there(case, case.labels_table, first, last)
    if predictions is None:
        columns = tasks.of(case).columns | {scoring.VERSION: pl.Int64()}
        nothing = (pl.lit(None, kind).alias(name) for name, kind in columns.items())
        predictions = features.select(case.key).clear().with_columns(nothing)
    others, predictions = scoring.of_others(predictions), scoring.of_champions(predictions)
    matured = _matured(case, predictions, labels)
    references = {
        champion.model_version: model_files.load_reference(case, champion)
        for champion in {row.model_version: row for row in champions.values()}.values()
    }
    for version, reference in references.items():
        who = f"version {version} of {case.name}"
        dataset.check_columns(case, features.columns, features_of(reference), who=who)
    frames = [
        measure_night(case, night, champion, references[champion.model_version], features, predictions, matured)
        for night, champion in champions.items()
    ]
    rows = pl.concat([*frames, *(_left_out(case, night, champion, others) for night, champion in champions.items())])
    written = delta.replace_days("gold", case.monitoring_table, rows, first_night, last_night, day="partition_day")
    newest = frames[-1].filter((pl.col("sensor") == "quality") & pl.col("metric").str.starts_with(DAY))
    quality_of_day = {metric.removeprefix(DAY): value for metric, value in newest.select("metric", "value").iter_rows()}
    return {"nights": len(frames), "rows": rows.height, "changed": written.changed, "quality": quality_of_day}


def _left_out(case: UseCase, night: date, champion: Champion, others: pl.DataFrame) -> pl.DataFrame:
    """How many rows of the night's window nothing was measured of, since somebody else had to score them, if any."""
    last = night + timedelta(case.horizon_days)
    first = last - timedelta(case.drift.drift_window_days - 1)
    of_window = dataset.between(case, others, (first, last))
    found = Measurement("fallback", "rows", first, last, of_window[case.day].n_unique(), of_window.height, None)
    row = asdict(found) | {"partition_day": night, "model_version": champion.model_version}
    return pl.DataFrame([row] if of_window.height else [], schema=SCHEMA)


def measurements(case: UseCase, night: date, last: date | None = None) -> pl.DataFrame:
    """The stored measurements of one night, or of the nights to ``last``; empty where none was measured."""
    if not delta.exists("gold", case.monitoring_table):
        return pl.DataFrame(schema=SCHEMA)
    return delta.read_days("gold", case.monitoring_table, night, last or night, day="partition_day")


def _sense(name: str, sensor: str, night: date) -> dict[str, Any]:
    case = use_case(name)
    return READERS[sensor](case, measurements(case, night)).to_dict()


def input_drift(name: str, night: date) -> dict[str, Any]:
    """Task: whether the inputs of use case ``name`` have drifted as of ``night``: sensor, fired, reason, evidence."""
    return _sense(name, "input_drift", night)


def prediction_drift(name: str, night: date) -> dict[str, Any]:
    """Task: whether the scores have drifted as of ``night``: sensor, fired, reason, evidence."""
    return _sense(name, "prediction_drift", night)


def quality(name: str, night: date) -> dict[str, Any]:
    """Task: whether matured predictions have become worse as of ``night``: sensor, fired, reason, evidence."""
    return _sense(name, "quality", night)
