import shutil
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from include.contracts.use_case import DriftPolicy, Evaluation, UseCase
from include.lake import delta
from include.ml import dataset, evidence, figures, ledger, model_files, monitor, promotion, train
from include.ml.counted import counted
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


def stored(case: UseCase, night: date, sensor: str, metric: str, feature: str = "") -> dict[str, object]:
    rows = monitor.measurements(case, night).filter(sensor=sensor, metric=metric, feature=feature, slice="")
    return rows.row(0, named=True)


def test_nights_alone_and_as_a_range_give_the_same(live: UseCase) -> None:
    assert monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))["changed"]
    version = delta.version("gold", live.monitoring_table)
    for first, last in ((1, 1), (2, 2), (1, 3)):
        again = monitor.measure("toy", NIGHT + days(first), NIGHT + days(last))
        assert (again["nights"], again["changed"]) == (last - first + 1, False)
    assert delta.version("gold", live.monitoring_table) == version


def test_a_night_in_between_that_comes_late_ends_as_if_it_had_been_in_time(live: UseCase) -> None:
    """Night 3 was refused, and mended after night 6: what stands on it is measured again."""
    rows = delta.read_days("gold", live.features_table, NIGHT + days(4), NIGHT + days(4))
    delta.replace_days("gold", live.features_table, rows.clear(), NIGHT + days(4), NIGHT + days(4))
    scores = delta.read_days("gold", live.predictions_table, NIGHT + days(4), NIGHT + days(4))
    delta.replace_days("gold", live.predictions_table, scores.clear(), NIGHT + days(4), NIGHT + days(4))
    for n in range(1, 7):
        monitor.measure("toy", NIGHT + days(n), NIGHT + days(n))
    without = monitor.measurements(live, NIGHT + days(6))
    delta.replace_days("gold", live.features_table, rows, NIGHT + days(4), NIGHT + days(4))
    delta.replace_days("gold", live.predictions_table, scores, NIGHT + days(4), NIGHT + days(4))
    assert monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))["nights"] == 1
    mended = monitor.measurements(live, NIGHT + days(1), NIGHT + days(6))
    assert not mended.filter(partition_day=NIGHT + days(6)).equals(without)
    shutil.rmtree(str(delta.table_path("gold", live.monitoring_table)))
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(6))
    in_time = monitor.measurements(live, NIGHT + days(1), NIGHT + days(6))
    assert delta.content_hash(in_time) == delta.content_hash(mended)


def test_a_night_reads_the_night_before_and_no_more(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(6))
    read, scanned = delta.read_days, []

    def counted(layer: str, name: str, first: date, last: date, **kwargs: object) -> pl.DataFrame:
        scanned.append((name, (last - first).days + 1))
        return read(layer, name, first, last, **kwargs)

    monkeypatch.setattr(delta, "read_days", counted)
    monitor.measure("toy", NIGHT + days(7), NIGHT + days(7))
    assert max(span for _, span in scanned) == 1
    assert [name for name, _ in scanned].count(live.monitoring_table) == 1


def test_a_night_without_rows_carries_the_evidence_on_and_says_so(live: UseCase) -> None:
    write_days(live, NIGHT + days(4), 5, shift=3.0)
    batch.predict("toy", NIGHT + days(4), NIGHT + days(8))
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(6))
    before = monitor.input_drift("toy", NIGHT + days(6))
    for table in (live.features_table, live.predictions_table):
        rows = delta.read_days("gold", table, NIGHT + days(8), NIGHT + days(8))
        delta.replace_days("gold", table, rows.clear(), NIGHT + days(8), NIGHT + days(8))
    monitor.measure("toy", NIGHT + days(7), NIGHT + days(7))
    after = monitor.input_drift("toy", NIGHT + days(7))
    assert before["fired"]
    assert (after["evidence"]["value"], after["evidence"]["n"]) == (before["evidence"]["value"], 0)
    assert after["reason"].endswith("this night has no rows, and the evidence of earlier ones stands")
    assert not before["reason"].endswith("stands")


def test_quality_is_of_the_day_that_matured(live: UseCase) -> None:
    last = NIGHT + days(7)
    done = monitor.measure("toy", last, last)
    labels = delta.read_days("gold", live.labels_table, last, last)
    scores = delta.read_days("gold", live.predictions_table, last, last)
    joined = labels.join(scores, on="coin_id")
    expected = ((joined["score"] - joined["is_head"]) ** 2).mean()
    assert done["quality"]["brier"] == pytest.approx(expected)
    row = stored(live, last, "quality", "day_brier")
    assert (row["window_from"], row["n"], row["days"], row["model_version"]) == (last, ROWS, 1, 1)


def test_calm_nights_fire_nothing(live: UseCase) -> None:
    last = NIGHT + days(7)
    monitor.measure("toy", last, last)
    for sensor in (monitor.input_drift, monitor.prediction_drift, monitor.quality):
        reading = sensor("toy", last)
        assert not reading["fired"], reading
        assert reading["evidence"]["n"] == ROWS


def test_shifted_inputs_fire_both_drift_sensors(live: UseCase) -> None:
    last = NIGHT + days(7)
    write_days(live, NIGHT + days(5), 4, shift=3.0)
    batch.predict("toy", NIGHT + days(5), NIGHT + days(8))
    monitor.measure("toy", last, last)
    inputs, scores = monitor.input_drift("toy", last), monitor.prediction_drift("toy", last)
    assert inputs["fired"]
    assert next(iter(inputs["evidence"]["carried_by"])) == "weight"
    assert inputs["evidence"]["carried_by"]["weight"] > 0.9
    assert "carried by weight" in inputs["reason"]
    assert scores["fired"]
    assert scores["evidence"]["value"] >= scores["evidence"]["threshold"]
    assert scores["evidence"]["window"] == f"{last + days(1)}..{last + days(1)}"


def test_scores_that_are_all_one_fire_at_once(live: UseCase) -> None:
    night = NIGHT + days(1)
    rows = delta.read_days("gold", live.predictions_table, NIGHT + days(2), NIGHT + days(2))
    delta.replace_days("gold", live.predictions_table, rows.with_columns(score=0.4), NIGHT + days(2), NIGHT + days(2))
    monitor.measure("toy", night, night)
    reading = monitor.prediction_drift("toy", night)
    assert reading["fired"]
    assert reading["reason"].startswith("all predictions of the day are the same; evidence of ")


def test_predictions_that_say_the_opposite_fire_at_once(live: UseCase) -> None:
    """An AUC of 0 on every day has no variance, and once was no evidence."""
    night = NIGHT + days(1)
    rows = delta.read_days("gold", live.labels_table, night, night)
    scores = delta.read_days("gold", live.predictions_table, night, night).select("coin_id", "score")
    turned = rows.join(scores, on="coin_id").with_columns(
        is_head=(pl.col("score") < pl.col("score").median()).cast(pl.Int32)
    )
    delta.replace_days("gold", live.labels_table, turned.drop("score"), night, night)
    monitor.measure("toy", night, night)
    assert stored(live, night, "quality", "day_auc")["value"] == 0
    reading = monitor.quality("toy", night)
    assert reading["fired"]
    assert reading["reason"].startswith("the predictions of the day say the opposite of what came; evidence of ")


def test_a_slice_is_watched_beside_all_rows_of_its_day() -> None:
    """What a day does to all rows is nobody's own: a gap of .3 everywhere is a slice's gap of 0."""
    daily = {"auc": [0.7, 0.8] * 5, "gap": [0.0, 0.1] * 5}
    reference = {"task": {"kind": "binary"}, "holdout": {"first": "2020-01-01", "daily": daily}}
    labels, scores = [0, 1] * 40, [0.8] * 80
    matured = pl.DataFrame(
        {"flight_date": [NIGHT] * 80, "metal": ["gold"] * 40 + ["iron"] * 40, "is_head": labels, "score": scores}
    )
    rows = monitor.Night(NIGHT, NIGHT, NIGHT, matured.clear(), matured.clear(), matured)
    key = ("quality", "calibration_gap", "metal=iron")
    whole = ("quality", "calibration_gap", "")
    nothing = counted(toy_case(), reference, rows.features, rows.predictions)
    found = monitor.told(toy_case(), reference, {key, whole}, rows, nothing)
    assert (found[whole].numbers[0], found[key].numbers[0]) == (pytest.approx(0.3), pytest.approx(0))
    turned = matured.with_columns(is_head=pl.when(metal="iron").then(0).otherwise("is_head"))
    found = monitor.told(toy_case(), reference, {key}, replace(rows, matured=turned), nothing)
    assert found[key].numbers[0] == pytest.approx(0.25)
    assert found[key].rows == 40


def test_each_slice_of_the_spec_is_watched(toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(toy, evaluation=Evaluation(slices=("metal",), min_slice_rows=10**6))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(case, NIGHT + days(1), 4)
    batch.predict("toy", NIGHT + days(1), NIGHT + days(4))
    monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))
    rows = monitor.measurements(case, NIGHT + days(3)).filter(metric="evidence", sensor="quality").drop_nulls("weight")
    assert set(rows["slice"]) == {"", "metal=gold", "metal=iron", "metal=tin"}
    assert rows["weight"].sum() == pytest.approx(1)
    assert rows.filter(slice="")["weight"].sum() == pytest.approx(0.5)
    watched = rows.with_columns(
        value=pl.when((pl.col("slice") == "metal=iron") & (pl.col("feature") == "auc_drop")).then(1e6).otherwise(0.5)
    )
    assert next(iter(monitor.carriers(watched))) == "auc_drop of metal=iron"


@pytest.fixture
def sliced(toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """A champion that is watched within slices too, and its nights to the seventh."""
    case = replace(toy, evaluation=Evaluation(slices=("metal",), min_slice_rows=10**6))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(case, NIGHT + days(1), 8)
    batch.predict("toy", NIGHT + days(1), NIGHT + days(8))
    return case


def test_inputs_and_scores_are_watched_within_each_slice_of_the_spec(sliced: UseCase) -> None:
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(7))
    rows = monitor.measurements(sliced, NIGHT + days(7)).filter(metric="evidence").drop_nulls("weight")
    for sensor in ("input_drift", "prediction_drift"):
        own = rows.filter(sensor=sensor)
        assert set(own["slice"]) == {"", "metal=gold", "metal=iron", "metal=tin"}
        assert own["weight"].sum() == pytest.approx(1)
        assert own.filter(slice="")["weight"].sum() == pytest.approx(0.75)
        assert own.filter(pl.col("slice") != "")["feature"].unique().to_list() == [""]
    for sensor in (monitor.input_drift, monitor.prediction_drift):
        assert not sensor("toy", NIGHT + days(7))["fired"]
    told = figures.read(sliced, NIGHT + days(7), NIGHT + days(7)).filter(figure="within")
    assert told["feature"].to_list() == ["metal=gold", "metal=iron", "metal=tin"]
    assert told["n"].sum() == ROWS


def test_a_feature_that_moves_within_one_slice_is_found_and_said_to_carry_it(sliced: UseCase) -> None:
    later = (NIGHT + days(5), NIGHT + days(8))
    rows = delta.read_days("gold", sliced.features_table, *later)
    noise = pl.when(pl.col("metal") == "iron").then(pl.col("noise") * 0.02 + 2).otherwise(pl.col("noise"))
    delta.replace_days("gold", sliced.features_table, rows.with_columns(noise.alias("noise")), *later)
    batch.predict("toy", *later)
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(7))
    assert not monitor.input_drift("toy", NIGHT + days(3))["fired"]
    reading = monitor.input_drift("toy", NIGHT + days(7))
    carried = reading["evidence"]["carried_by"]
    assert reading["fired"]
    assert "noise of metal=iron" in carried
    assert not any(name.startswith((" of", "all of", "weight")) for name in carried)
    assert 0.9 < sum(carried.values()) <= 1.001


def test_nights_within_slices_are_the_same_alone_and_as_a_range(sliced: UseCase) -> None:
    """Where evidence stands is stored in a few bytes: what is read back is what it was."""
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(3))
    whole = monitor.measurements(sliced, NIGHT + days(1), NIGHT + days(3))
    shutil.rmtree(str(delta.table_path("gold", sliced.monitoring_table)))
    for n in range(1, 4):
        monitor.measure("toy", NIGHT + days(n), NIGHT + days(n))
    alone = monitor.measurements(sliced, NIGHT + days(1), NIGHT + days(3))
    assert delta.content_hash(alone) == delta.content_hash(whole)


def test_a_champion_that_knows_nothing_of_slices_is_watched_as_before(
    sliced: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = model_files.load_reference

    def of_then(case: UseCase, champion: ledger.Champion) -> dict[str, object]:
        return {name: part for name, part in kept(case, champion).items() if name != "within"}

    monkeypatch.setattr(model_files, "load_reference", of_then)
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(1))
    rows = monitor.measurements(sliced, NIGHT + days(1)).filter(metric="evidence", sensor="input_drift")
    assert set(rows["slice"]) == {""}
    assert rows.drop_nulls("weight")["weight"].sum() == pytest.approx(1)


def test_a_version_of_the_release_before_goes_on_from_its_evidence(
    live: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows nothing of what features are beside each other, and looked for other changes."""
    kept = model_files.load_reference

    def of_then(case: UseCase, champion: ledger.Champion) -> dict[str, object]:
        new = ("beside", "quality", "calm")
        return {name: part for name, part in kept(case, champion).items() if name not in new}

    monkeypatch.setattr(model_files, "load_reference", of_then)
    monkeypatch.setattr(evidence, "SIZES", (1.0, 2.0, 4.0, 8.0, 16.0))
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(1))
    monkeypatch.undo()
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {live.name: live})
    monkeypatch.setattr(model_files, "load_reference", of_then)
    monitor.measure("toy", NIGHT + days(2), NIGHT + days(2))
    reading = monitor.input_drift("toy", NIGHT + days(2))
    assert reading["evidence"]["threshold"] == 300
    assert 0 < reading["evidence"]["value"] < 300


def test_a_version_of_an_earlier_release_is_watched_by_its_quality(
    live: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reference has kept nothing of how days differ. Its holdout's daily figures it has."""
    kept = model_files.load_reference

    def of_then(case: UseCase, champion: ledger.Champion) -> dict[str, object]:
        found = {name: part for name, part in kept(case, champion).items() if name != "slices"}
        for part in ("features", "scores"):
            found[part] = {name: {k: v for k, v in of.items() if k != "quiet"} for name, of in found[part].items()}
        return found

    monkeypatch.setattr(model_files, "load_reference", of_then)
    monitor.measure("toy", NIGHT + days(7), NIGHT + days(7))
    inputs, quality = monitor.input_drift("toy", NIGHT + days(7)), monitor.quality("toy", NIGHT + days(7))
    assert (inputs["fired"], inputs["reason"]) == (False, monitor.EARLIER)
    assert quality["evidence"]["value"] is not None
    assert stored(live, NIGHT + days(7), "input_drift", "day_psi", "weight")["value"] is not None


def test_nights_of_an_earlier_release_are_measured_again(live: UseCase) -> None:
    """The table of then has no columns for evidence."""
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(2))
    expected = monitor.measurements(live, NIGHT + days(1), NIGHT + days(3))
    of_then = expected.filter(pl.col("metric") != monitor.EVIDENCE).drop("slice", "weight", "state")
    shutil.rmtree(str(delta.table_path("gold", live.monitoring_table)))
    delta.replace_days("gold", live.monitoring_table, of_then, NIGHT + days(1), NIGHT + days(2), day="partition_day")
    monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))
    found = monitor.measurements(live, NIGHT + days(1), NIGHT + days(2))
    assert delta.content_hash(found) == delta.content_hash(expected)


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
    assert stored(live, last, "prediction_drift", "evidence")["n"] == 0
    assert stored(live, last, "quality", "evidence")["n"] == 0
    assert not monitor.prediction_drift("toy", last)["fired"]


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


def measured(*values: tuple[str, str, str, float | None, float | None, float | None]) -> pl.DataFrame:
    """Rows as stored: metric, feature, slice, value, threshold, weight."""
    fixed = {"partition_day": NIGHT, "sensor": "quality", "window_from": NIGHT, "window_to": NIGHT, "days": 1, "n": 60}
    names = ("metric", "feature", "slice", "value", "threshold", "weight")
    rows = [fixed | dict(zip(names, one, strict=True)) | {"state": None, "model_version": 1} for one in values]
    return pl.DataFrame(rows, schema=SCHEMA)


@pytest.mark.parametrize(("value", "fired"), [(299.9, False), (300.0, True)])
def test_a_sensor_fires_at_its_threshold_and_says_who_carries_it(value: float, fired: bool) -> None:
    rows = measured(
        ("evidence", "", "", value, 300.0, None),
        ("evidence", "auc_drop", "", 20.0, None, 0.25),
        ("evidence", "auc_drop", "carrier=UA", 5000.0, None, 0.05),
        ("evidence", "calibration_gap", "", 0.1, None, 0.25),
        ("day_auc", "", "", 0.7, None, None),
        ("against", "", "", -8.0, 6.0, None),
    )
    reading = monitor.read_quality(rows)
    assert reading.fired is fired
    assert reading.evidence["carried_by"] == {"auc_drop of carrier=UA": 0.98, "auc_drop": 0.02}
    assert ("carried by auc_drop of carrier=UA 98%" in reading.reason) is fired


def test_a_night_that_nobody_measured_is_no_reading() -> None:
    assert monitor.read_quality(measured()).reason == "nothing to measure"


def test_the_sensors_share_the_rate_of_the_spec() -> None:
    assert monitor.limit(CASE) == pytest.approx(300)
    assert monitor.limit(toy_case(drift=DriftPolicy(false_alarm_rate=0.05))) == pytest.approx(60)


def test_a_sensor_fires_at_less_where_the_own_days_of_the_champion_allow_it() -> None:
    wild, calm = [4000.0] * 8, [0.5] * 8
    assert monitor.limits(CASE, {}) == dict.fromkeys(monitor.READERS, 300)  # of an earlier release: Markov's
    found = monitor.limits(CASE, {"calm": {"input_drift": calm, "prediction_drift": [40.0] * 8, "quality": wild}})
    assert found == {"input_drift": pytest.approx(100), "prediction_drift": pytest.approx(120), "quality": 300}
    assert monitor.limits(CASE, {"calm": {"quality": calm}})["quality"] == pytest.approx(20)


def test_what_is_kept_for_the_monitor_is_in_the_reference(deployed: UseCase) -> None:
    """Thirty days are too few to hold features beside each other, and enough to know what is quiet."""
    champion = ledger.latest_champion(deployed)
    assert champion is not None
    reference = model_files.load_reference(deployed, champion)
    assert reference["beside"] == []
    assert reference["quality"] == {}
    assert len(reference["calm"]["input_drift"]) == len(evidence.CALM_SHARES)
    assert reference["calm"]["quality"] is None


def test_a_day_whose_labels_are_all_one_tells_the_gap_and_no_auc() -> None:
    reference = {"task": {"kind": "binary"}, "holdout": {"daily": {"auc": [0.7] * 7, "gap": [0.0] * 7}}}
    matured = pl.DataFrame({"flight_date": [NIGHT] * 3, "is_head": [1, 1, 1], "score": [0.5, 0.6, 0.7]})
    rows = monitor.Night(NIGHT, NIGHT, NIGHT, matured.clear(), matured.clear(), matured)
    wanted = {("quality", "auc_drop", ""), ("quality", "calibration_gap", "")}
    nothing = counted(toy_case(), reference, rows.features, rows.predictions)
    found = monitor.told(toy_case(), reference, wanted, rows, nothing)
    assert list(found) == [("quality", "calibration_gap", "")]
    assert found["quality", "calibration_gap", ""].numbers == pytest.approx([-0.4])


def test_a_row_of_which_is_known_that_it_has_no_label_is_not_measured(toy: UseCase) -> None:
    rows = toy_rows(FIRST, 1)
    labels = rows.select(
        "coin_id", "flight_date", pl.when(pl.int_range(pl.len()) < 3).then("is_head"), ingestion_date="flight_date"
    )
    predictions = rows.select("coin_id", "flight_date", score=0.5)
    matured = monitor._matured(replace(toy, unlabelled=True), predictions, labels)
    assert (matured.height, matured["is_head"].null_count()) == (3, 0)
