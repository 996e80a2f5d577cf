"""Train, gate, promote, predict, measure, decide: several classes, quantiles, and a label that takes 30 days.

The binary case of the day itself has files of its own. Each of these has a challenger that must be refused, too.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import mlflow
import polars as pl
import pytest

from include.contracts.rollout import Rollout
from include.contracts.use_case import Multiclass
from include.lake import delta
from include.ml import dataset, ledger, monitor, policy, promotion, record, registry, rollout, rollouts, tasks, train
from include.serving import batch
from tests.ml.worlds import FIRST, RETURNS, SALES, WEATHER, World

pytestmark = pytest.mark.usefixtures("home")


def day(n: int) -> date:
    """The n-th day, counted from 1."""
    return FIRST + timedelta(n - 1)


def days_of(case: Any, first: date, last: date) -> pl.DataFrame:
    return delta.read_days("gold", case.predictions_table, first, last, day=case.day)


def judged(world: World, change: pl.Expr | list[pl.Expr] | None = None, days: int = 40, **task: Any) -> list[str]:
    """Why a challenger of the first days is refused; empty where it is not. MLflow is not asked."""
    case = replace(world.case, task=replace(world.case.task, **task))
    replace(world, case=case).write(FIRST, days, change)
    night = day(days) + timedelta(case.label_days)
    data = dataset.load(case, *dataset.training_range(case, night), as_of=night)
    return tasks.of(case).reasons(train.fit_and_judge(case, data, "cpu", None).metrics)


# --- the whole path ---


@pytest.mark.parametrize(
    ("world", "named", "predicted"),
    [
        (WEATHER, "accuracy", ["predicted", "score_dry", "score_wet", "score_icy_road"]),
        (SALES, "MAE", ["predicted", "q10", "q90"]),
    ],
    ids=["multiclass", "regression"],
)
def test_from_training_to_a_decision(
    world: World, named: str, predicted: list[str], mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world.found(monkeypatch)
    case = world.case
    world.write(FIRST, 40)
    trained = train.train(case.name, day(40), "cpu")
    assert (trained["fitted_through"], trained["trained_through"]) == (str(day(30)), str(day(40)))
    promoted = promotion.promote(case.name, 1)
    assert promoted["promoted"], promoted
    (row,) = ledger.read(case)
    assert row.effective_from == day(41)
    assert row.reason.startswith(f"passed all gates with {named}")

    world.write(day(41), 9)
    done = batch.predict(case.name, day(41), day(49))
    rows = world.rows(day(41), 9)
    assert done["rows"] == rows.height
    scored = days_of(case, day(41), day(49))
    assert set(scored.columns) == {*case.key, *predicted, "model_version", "scored_by", "features_content"}
    assert scored.select(case.key).sort(case.key).equals(rows.select(case.key).sort(case.key))
    assert not batch.predict(case.name, day(41), day(49))["changed"]

    # Calm nights: everything is measured, nothing fires, and a night again is the same night.
    first = monitor.measure(case.name, day(41), day(48))
    assert (first["nights"], first["changed"]) == (8, True)
    assert not monitor.measure(case.name, day(44), day(44))["changed"]
    calm = [read(monitor.measurements(case, day(48))) for read in monitor.READERS.values()]
    assert [one.fired for one in calm] == [False] * 3, calm
    assert [one.evidence["n"] for one in calm] == [rows.height / 9] * 3
    assert policy.decide_night(case.name, day(48))["decision"] == "no"

    # Labels that have nothing to do with the features any more.
    turned = pl.col(case.label).reverse() if isinstance(case.task, Multiclass) else pl.col(case.label) * 2
    world.write(day(50), 9, turned)
    batch.predict(case.name, day(50), day(58))
    monitor.measure(case.name, day(50), day(57))
    reading = monitor.quality(case.name, day(57))
    assert reading["fired"], reading
    assert next(iter(reading["evidence"]["carried_by"])) in ("log_loss_rise", "error_rise", "bias", "calibration_gap")
    assert policy.decide_night(case.name, day(57))["reason"].startswith("quality is worse than promised")

    # The retraining is compared with the champion on days that neither was fitted on.
    answer = promotion.promote(case.name, train.train(case.name, day(57), "cpu")["version"])
    judgement = record.last_judgement(case, answer["version"])
    assert judgement is not None
    assert (judgement.champion, judgement.days, judgement.look) == (1, 10, 1)
    assert registry.training_set(case, 1).frame.height == 40 * rows.height / 9


@pytest.mark.parametrize("world", [WEATHER, SALES], ids=["multiclass", "regression"])
@pytest.mark.parametrize(("is_poisoned", "stage"), [(True, rollouts.BACK), (False, rollouts.CANARY)])
def test_a_challenger_is_rolled_out(
    world: World, is_poisoned: bool, stage: str, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By differences of classes' probabilities, and of errors as shares, as they were published and kept."""
    world = replace(world, case=replace(world.case, rollout=Rollout(shadow_days=3, level=0.2))).found(monkeypatch)
    case, turned = world.case, pl.col(world.case.label).reverse()
    world.write(FIRST, 40)
    assert promotion.promote(case.name, train.train(case.name, day(40), "cpu")["version"])["promoted"]
    champion = ledger.latest_champion(case)
    assert champion is not None
    if is_poisoned:
        world.write(FIRST, 40, turned)
        train.train(case.name, day(40), "cpu")
    else:  # as good as the champion: its own files
        one = mlflow.MlflowClient().get_model_version(case.name, "1")
        mlflow.MlflowClient().create_model_version(case.name, one.source, one.run_id, tags=one.tags)
    run_id = str(mlflow.MlflowClient().get_model_version(case.name, "2").run_id)
    rollouts.begin(case, 2, run_id, record.trainings(case)[-1], champion, "gates", "a test", day(40))
    world.write(day(41), 40)
    batch.predict(case.name, day(41), day(80))
    rollout.look_again(case.name, day(80))
    assert rollouts.read(case)[-1].stage == stage
    assert set(days_of(case, day(41), day(80))["scored_by"]) == {"champion"}


def test_drift_is_of_each_number_that_is_predicted(mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = WEATHER.found(monkeypatch)
    world.write(FIRST, 40)
    promotion.promote("weather", train.train("weather", day(40), "cpu")["version"])
    world.write(day(41), 6, [pl.col("cold") + 3, pl.col("damp") + 3])
    batch.predict("weather", day(41), day(46))
    monitor.measure("weather", day(45), day(45))
    rows = monitor.measurements(world.case, day(45)).filter(sensor="prediction_drift", metric="day_psi")
    assert set(rows["feature"]) == {"score_dry", "score_wet", "score_icy_road"}
    evidence = monitor.measurements(world.case, day(45)).filter(sensor="prediction_drift", metric="evidence")
    assert set(evidence["feature"]) == {"", *rows["feature"]}
    assert monitor.prediction_drift("weather", day(45))["fired"]
    assert monitor.input_drift("weather", day(45))["fired"]


# --- challengers that must be refused ---


@pytest.mark.parametrize(
    ("world", "change", "reason"),
    [
        (WEATHER, pl.col("kind").replace_strict({"dry": 0.0, "wet": 1.0, "Icy road": 2.0}).alias("cold"), "leaks"),
        (WEATHER, pl.col("kind").shuffle(1), "is below 0.55: something is missing"),
        (SALES, pl.col("amount").alias("warm"), "something leaks"),
        (SALES, (pl.col("amount") + 0.1).alias("usual"), "of usual alone, and not 2.0% below: something is missing"),
        (SALES, pl.col("amount").shuffle(1), "something is missing"),
        (RETURNS, pl.col("returns").cast(pl.Float64).alias("visits"), "is above 0.98: something leaks"),
        (RETURNS, pl.col("returns").shuffle(1), "is below 0.55: something is missing"),
    ],
)
def test_what_leaks_or_adds_nothing_is_refused(world: World, change: pl.Expr, reason: str) -> None:
    days = 90 if world is RETURNS else 40
    reasons = judged(world, change, days)
    assert any(reason in one for one in reasons), reasons


def test_classes_no_better_than_yesterday_s_are_refused() -> None:
    """Nine times of ten yesterday's kind is right, and nothing else says anything."""
    often = pl.when(pl.int_range(pl.len()) % 10 > 0).then("kind").otherwise("kind_1d").alias("kind_1d")
    reasons = judged(WEATHER, [often, pl.col("cold").shuffle(1), pl.col("damp").shuffle(2)], min_lift=0.01)
    assert any("adds less than 0.01 to" in one and "of kind_1d" in one for one in reasons), reasons


def test_a_class_that_training_lacks_is_refused() -> None:
    late = pl.when((pl.col("kind") == "wet") & (pl.col("day") < day(31))).then(pl.lit("dry")).otherwise("kind")
    reasons = judged(WEATHER, late.alias("kind"))
    assert reasons[0].startswith("kind is wet in 0 rows that it was fitted on, fewer than 10")


def test_a_class_that_is_there_once_is_refused() -> None:
    once = pl.when(pl.int_range(pl.len()) == 5).then(pl.lit("Icy road")).otherwise(pl.lit("dry"))
    either = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("wet")).otherwise(once).alias("kind")
    assert judged(WEATHER, either)[0].startswith("kind is Icy road in 1 rows that it was fitted on")


@pytest.mark.parametrize("world", [WEATHER, SALES, RETURNS], ids=["multiclass", "regression", "binary"])
def test_a_constant_label_is_refused_before_the_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.ml.fitting.fit", lambda *_: pytest.fail("it is known before the fit"))
    value = world.rows(FIRST, 1)[world.case.label][0]
    with pytest.raises(tasks.UnfitLabelError, match=f"{world.case.name}: {world.case.label} is .* in all .* rows"):
        judged(world, pl.lit(value).alias(world.case.label), 90 if world is RETURNS else 40)


def test_quantiles_that_do_not_cover_are_refused() -> None:
    """The last days scatter four times as much as those that the quantiles were learned from."""
    wild = pl.when(pl.col("day") > day(30)).then(pl.col("usual") + 4 * (pl.col("amount") - pl.col("usual")))
    reasons = judged(SALES, wild.otherwise("amount").alias("amount"))
    assert any("of the labels are between the outermost quantiles, which promise 80.0%" in one for one in reasons)


def test_quantiles_that_cross_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given = train.predicted
    monkeypatch.setattr(train, "predicted", lambda *arguments: given(*arguments)[:, ::-1])
    assert any("cross, over 5.0%" in one for one in judged(SALES))


@pytest.mark.parametrize("world", [WEATHER, SALES], ids=["multiclass", "regression"])
def test_early_stopping_looks_at_the_metric_of_the_task(world: World) -> None:
    stopping = replace(world.case.training, rounds=200, early_stopping_rounds=3, valid_days=5)
    case = replace(world.case, training=stopping)
    world.write(FIRST, 40)
    trained = train.fit_and_judge(case, dataset.load(case, FIRST, day(40)), "cpu", None)
    assert trained.split.valid == (day(26), day(30))
    assert 1 <= trained.booster.num_boosted_rounds() < 200
    assert tasks.of(case).reasons(trained.metrics) == []


def test_a_refused_challenger_leaves_the_champion(mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SALES.found(monkeypatch, min_skill=0.99, max_skill=1.0)
    world.write(FIRST, 40)
    train.train("sales", day(40), "cpu")
    answer = promotion.promote("sales", 1)
    assert not answer["promoted"]
    assert "of usual alone, and not 99.0% below: something is missing" in answer["reasons"][0]
    assert ledger.read(world.case) == []


def test_a_version_of_fewer_classes_goes_on_until_one_of_more_takes_over(
    mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = WEATHER.found(monkeypatch)
    world.write(FIRST, 40)
    promotion.promote("weather", train.train("weather", day(40), "cpu")["version"])
    fog = pl.when(pl.col("damp") < -1).then(pl.lit("fog")).otherwise("kind").alias("kind")
    world.write(day(41), 60, fog)
    grown = WEATHER.found(monkeypatch, classes=("fog", "dry", "wet", "Icy road")).case
    batch.predict("weather", day(41), day(101 - 1))
    monitor.measure("weather", day(50), day(50))
    # The champion gives fog no chance: that is no error, and it shows.
    assert monitor.quality("weather", day(50))["fired"]
    again = train.train("weather", day(99), "cpu")
    assert promotion.promote("weather", again["version"])["promoted"]
    judgement = record.last_judgement(grown, 2)
    assert judgement is not None
    assert judgement.measured["champion_log_loss"] > 1 > judgement.measured["challenger_log_loss"]
    world.write(day(101), 2, fog)
    batch.predict("weather", day(100), day(102))
    rows = days_of(grown, day(100), day(101)).sort("day")
    assert rows["score_fog"].is_null().to_list() == [True] * 40 + [False] * 40
    assert not batch.predict("weather", day(100), day(102))["changed"]
    # The days of version 1 have the new column too, empty: scored again, they are the same.
    assert not batch.predict("weather", day(41), day(50))["changed"]
    monitor.measure("weather", day(100), day(101))


# --- a label that takes 30 days, of a customer who recurs ---


def test_a_label_that_takes_30_days(mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    world = RETURNS.found(monkeypatch)
    case = world.case
    world.write(FIRST, 100)
    night = day(120)  # the labels of day 90 are known, and those of the last ten days are not
    with pytest.raises(dataset.DataMissingError, match=r"needs 20 days .* 2020-02-28, whose labels .* leave 19"):
        train.train("returns", day(89), "cpu")
    trained = train.train("returns", night, "cpu")
    assert trained["trained_through"] == str(day(90))
    # Ten days of holdout, 30 between whose labels reach into it, and the rest.
    assert trained["fitted_through"] == str(day(50))
    assert trained["metrics"]["rows"] == 90 * 40
    answer = promotion.promote("returns", 1)
    # Not from day 91 on: until day 120 labels were learned from that came after these days.
    assert answer["effective_from"] == str(day(121))
    assert registry.training_set(case, 1).frame.height == 90 * 40

    world.write(day(101), 140)
    batch.predict("returns", day(121), day(240))
    assert monitor.measure("returns", day(140), day(140))["quality"] == {}, "no label of its own days yet"
    assert monitor.quality("returns", day(140))["evidence"]["n"] == 0
    monitor.measure("returns", day(141), day(239))
    measured = monitor.measurements(case, day(239)).filter(sensor="quality", metric="evidence", feature="auc_drop")
    assert (measured["window_to"][0], measured["n"][0]) == (day(209), 40)
    assert not monitor.quality("returns", day(239))["fired"]
    early = monitor.measurements(case, day(200)).filter(sensor="quality", metric="day_auc").row(0, named=True)
    assert early["window_to"] == day(170)
    # New labels since the training: in the night 120 those of day 90 were the newest.
    evidence = policy.decide_night("returns", day(200))["evidence"]
    assert (evidence["new_label_days"], evidence["trained_through"]) == (80, str(day(90)))

    # The next one is compared on days that lie clear of what the champion was fitted on.
    again = train.train("returns", day(239), "cpu")
    answer = promotion.promote("returns", again["version"])
    # Ten days whose labels share 30 with each other are less than one: nothing can be told of them.
    assert answer["verdict"] == "wait"
    judgement = record.last_judgement(case, 2)
    assert judgement is not None
    assert (judgement.days, judgement.look) == (10, 1)


def test_a_challenger_soon_after_has_no_fair_day(mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holdout lies after the champion's last day of fitting, and shares the time of its labels."""
    world = RETURNS.found(monkeypatch)
    case = world.case
    world.write(FIRST, 120)
    promotion.promote("returns", train.train("returns", day(120), "cpu")["version"])
    (champion,) = ledger.read(case)
    assert champion.fitted_through == day(50)
    # Fitted through day 51, judged on day 82 to 91: of these, day 82 to 80 + 1 share time with what was fitted on.
    again = train.train("returns", day(121), "cpu")
    answer = promotion.promote("returns", again["version"])
    judgement = record.last_judgement(case, again["version"])
    assert judgement is not None
    assert judgement.first == day(82)
    monkeypatch.setattr(ledger, "latest_champion", lambda _: replace(champion, fitted_through=day(61)))
    first = promotion.beside(
        case, 2, "", record.trainings(case)[1], replace(champion, fitted_through=day(61)), day(121), "tests"
    )
    assert (first.first, first.days, first.verdict) == (day(92), 0, "wait")
    assert answer["verdict"] == "wait"
