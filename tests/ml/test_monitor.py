from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from include.contracts.use_case import DriftPolicy, UseCase
from include.lake import delta
from include.ml import dataset, monitor
from include.ml.monitor import SCHEMA
from include.serving import batch
from tests.ml.conftest import FIRST, ROWS, toy_case, toy_rows, write_days

NIGHT = FIRST + timedelta(29)
CASE = toy_case(drift=DriftPolicy())


def days(n: int) -> timedelta:
    return timedelta(n)


@pytest.fixture
def live(deployed: UseCase) -> UseCase:
    """A champion, and seven nights after it was trained, all scored; the last day has no labels yet."""
    write_days(deployed, NIGHT + days(1), 7)
    write_days(deployed, NIGHT + days(8), 1, labels=False)
    batch.predict("toy", NIGHT + days(1), NIGHT + days(8))
    return deployed


def stored(case: UseCase, night: date, metric: str, feature: str = "") -> dict[str, object]:
    rows = monitor.measurements(case, night)
    return rows.filter((pl.col("metric") == metric) & (pl.col("feature") == feature)).row(0, named=True)


def test_nights_alone_and_as_a_range_give_the_same(live: UseCase) -> None:
    for n in (3, 1, 2):
        assert monitor.measure("toy", NIGHT + days(n), NIGHT + days(n))["changed"]
    version = delta.version("gold", live.monitoring_table)
    again = monitor.measure("toy", NIGHT + days(1), NIGHT + days(3))
    assert (again["nights"], again["changed"]) == (3, False)
    assert delta.version("gold", live.monitoring_table) == version


def test_quality_is_of_the_day_that_matured(live: UseCase) -> None:
    last = NIGHT + days(7)
    done = monitor.measure("toy", last, last)
    labels = delta.read_days("gold", live.labels_table, last, last)
    scores = delta.read_days("gold", live.predictions_table, last, last)
    joined = labels.join(scores, on="coin_id")
    expected = ((joined["score"] - joined["is_head"]) ** 2).mean()
    assert done["quality"]["brier"] == pytest.approx(expected)
    row = stored(live, last, "day_brier")
    assert (row["window_from"], row["n"], row["days"], row["model_version"]) == (last, ROWS, 1, 1)
    window = stored(live, last, "auc_drop")
    assert (window["days"], window["n"]) == (7, 7 * ROWS)


def test_calm_nights_fire_nothing(live: UseCase) -> None:
    last = NIGHT + days(7)
    monitor.measure("toy", last, last)
    for sensor in (monitor.input_drift, monitor.prediction_drift, monitor.quality):
        reading = sensor("toy", last)
        assert not reading["fired"], reading
        assert reading["evidence"]["n"] > 0


def test_shifted_inputs_fire_both_drift_sensors(live: UseCase) -> None:
    last = NIGHT + days(7)
    write_days(live, NIGHT + days(6), 3, shift=3.0)
    batch.predict("toy", NIGHT + days(6), NIGHT + days(8))
    monitor.measure("toy", last, last)
    inputs, scores = monitor.input_drift("toy", last), monitor.prediction_drift("toy", last)
    assert inputs["fired"]
    assert list(inputs["evidence"]["features"]) == ["weight"]
    assert scores["fired"]
    assert scores["evidence"]["value"] >= 0.25
    assert scores["evidence"]["window"] == f"{last - days(1)}..{last + days(1)}"


def test_later_days_do_not_change_a_night(live: UseCase) -> None:
    monitor.measure("toy", NIGHT + days(2), NIGHT + days(2))
    write_days(live, NIGHT + days(6), 3, shift=3.0)
    batch.predict("toy", NIGHT + days(6), NIGHT + days(8))
    assert not monitor.measure("toy", NIGHT + days(2), NIGHT + days(2))["changed"]


def test_another_versions_scores_are_left_out(live: UseCase) -> None:
    last = NIGHT + days(7)
    rows = delta.read_days("gold", live.predictions_table, last, last + days(1))
    other = rows.with_columns(score=pl.lit(0.999), model_version=pl.lit(2, dtype=pl.Int64))
    delta.replace_days("gold", live.predictions_table, other, last, last + days(1))
    monitor.measure("toy", last, last)
    assert stored(live, last, "psi")["n"] == ROWS
    reading = monitor.prediction_drift("toy", last)
    assert (reading["fired"], reading["reason"][:19]) == (False, "too little evidence")


def test_before_the_first_champion_there_is_nothing_to_measure(live: UseCase) -> None:
    assert monitor.measure("toy", FIRST, NIGHT)["reason"] == "no champion in these nights"
    assert not delta.exists("gold", live.monitoring_table)
    assert monitor.quality("toy", NIGHT)["reason"] == "nothing to measure"


def test_columns_that_are_not_in_the_spec_are_refused(live: UseCase) -> None:
    path = str(delta.table_path("gold", live.features_table))
    rows = delta.read_all("gold", live.features_table).drop("noise")
    rows.write_delta(path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
    with pytest.raises(dataset.DataMissingError, match="missing noise"):
        monitor.measure("toy", NIGHT + days(1), NIGHT + days(1))


# --- sensors on literal measurements ---


def measured(
    sensor: str, *values: tuple[str, str, float | None, float | None], n: int = 6000, spans: int = 7
) -> pl.DataFrame:
    """Rows as stored: metric, feature, value, threshold."""
    fixed = {"partition_day": NIGHT, "sensor": sensor, "window_from": FIRST, "window_to": NIGHT, "days": spans, "n": n}
    return pl.DataFrame(
        [
            fixed | {"metric": metric, "feature": feature, "value": value, "threshold": threshold, "model_version": 1}
            for metric, feature, value, threshold in values
        ],
        schema=SCHEMA,
    )


@pytest.mark.parametrize(("psi", "fired"), [(0.249, False), (0.25, True)])
def test_prediction_sensor_fires_at_its_threshold(psi: float, fired: bool) -> None:
    rows = measured("prediction_drift", ("psi", "", psi, 0.25), ("day_psi", "", 3.0, None))
    reading = monitor.read_prediction_drift(CASE, rows)
    assert reading.fired is fired
    assert reading.evidence == {
        "metric": "psi", "value": psi, "threshold": 0.25, "window": f"{FIRST}..{NIGHT}", "days": 7, "n": 6000
    }  # fmt: skip


@pytest.mark.parametrize(("n", "spans"), [(999, 7), (6000, 4)])
def test_thin_evidence_never_fires(n: int, spans: int) -> None:
    rows = measured("prediction_drift", ("psi", "", 9.0, 0.25), n=n, spans=spans)
    reading = monitor.read_prediction_drift(CASE, rows)
    assert not reading.fired
    assert reading.reason.startswith("too little evidence")


def test_input_sensor_names_the_features_that_drifted() -> None:
    rows = measured(
        "input_drift",
        ("drifted_share", "", 0.4, 0.33),
        ("psi", "calm", 0.1, 0.2),
        ("psi", "wild", 0.5, 0.2),
        ("psi", "seasonal", 0.9, 5.0),
        ("day_psi", "calm", 9.9, None),
    )
    reading = monitor.read_input_drift(CASE, rows)
    assert reading.fired
    assert reading.evidence["features"] == {"wild": 0.5}


@pytest.mark.parametrize(
    ("drop", "drop_z", "gap", "gap_z", "fired", "named"),
    [
        (0.06, 2.5, 0.0, 0.0, True, "auc_drop"),
        (0.06, 1.5, 0.0, 0.0, False, "auc_drop"),  # large, and no more than days differ by chance
        (0.01, 5.0, 0.0, 0.0, False, "auc_drop"),  # certain, and too small to matter
        (0.0, 0.0, -0.08, -2.5, True, "calibration_gap"),
        (0.0, 0.0, 0.08, 2.5, True, "calibration_gap"),
        (-0.1, -9.0, 0.0, 0.0, False, "auc_drop"),  # better is no alarm
    ],
)
def test_quality_needs_size_and_certainty(
    drop: float, drop_z: float, gap: float, gap_z: float, fired: bool, named: str
) -> None:
    rows = measured(
        "quality",
        ("auc_drop", "", drop, 0.05),
        ("auc_drop_z", "", drop_z, 2.0),
        ("calibration_gap", "", gap, 0.05),
        ("calibration_gap_z", "", gap_z, 2.0),
    )
    reading = monitor.read_quality(CASE, rows)
    assert reading.fired is fired
    assert reading.evidence["metric"] == named


def test_quality_where_every_coin_falls_on_its_head() -> None:
    case = toy_case()
    reference = {"task": {"kind": "binary"}, "holdout": {"daily": {"auc": [0.7, 0.75, 0.72], "gap": [0.0, 0.0, 0.0]}}}
    matured = pl.DataFrame({"flight_date": [NIGHT] * 3, "is_head": [1, 1, 1], "score": [0.5, 0.6, 0.7]})
    value = {each.metric: each.value for each in monitor.measure_quality(case, reference, matured, NIGHT)}
    assert value["auc"] is value["auc_drop"] is None
    assert value["calibration_gap"] == pytest.approx(-0.4)


def test_a_change_that_is_the_same_every_day_is_certain() -> None:
    """Days without scatter have no standard error: such a z once was stored as none, and read as no change."""
    case = toy_case()
    reference = {"task": {"kind": "binary"}, "holdout": {"daily": {"auc": [1.0, 1.0, 1.0], "gap": [0.0, 0.0, 0.0]}}}
    one_day = pl.DataFrame({"is_head": [0, 1] * 40, "score": [0.9] * 80})
    spans = [NIGHT - days(n) for n in range(4)]
    matured = pl.concat([one_day.with_columns(flight_date=pl.lit(day)) for day in spans])
    found = monitor.measure_quality(case, reference, matured, NIGHT)
    value = {each.metric: each.value for each in found}
    assert value["auc_drop"] == 0.5
    assert value["auc_drop_z"] == value["calibration_gap_z"] == monitor.MOST_CERTAIN
    rows = pl.DataFrame([{**vars(each), "partition_day": NIGHT, "model_version": 1} for each in found], schema=SCHEMA)
    assert monitor.read_quality(case, rows).fired


def test_a_row_of_which_is_known_that_it_has_no_label_is_not_measured(toy: UseCase) -> None:
    rows = toy_rows(FIRST, 1)
    labels = rows.select(
        "coin_id", "flight_date", pl.when(pl.int_range(pl.len()) < 3).then("is_head"), ingestion_date="flight_date"
    )
    predictions = rows.select("coin_id", "flight_date", score=0.5)
    matured = monitor._matured(replace(toy, unlabelled=True), predictions, labels)
    assert (matured.height, matured["is_head"].null_count()) == (3, 0)
