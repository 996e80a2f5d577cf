"""Rare classes: weights in the fit, scores that are probabilities all the same, and metrics of what can be acted on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.use_case import Binary, Cost, Multiclass, Regression, Training, UseCase, Value
from include.lake import delta
from include.ml import comparison, dataset, fitting, imbalance, metrics, promotion, reproduce, scoring, tasks, train
from include.ml.dataset import Split
from tests.ml.conftest import FIRST, toy_case, write_days
from tests.ml.test_served import both
from tests.ml.worlds import SALES, WEATHER, World

NIGHT = FIRST + timedelta(29)
DAYS, A_DAY = 20, 400
SPLIT = Split((FIRST, FIRST + timedelta(9)), None, (FIRST + timedelta(10), FIRST + timedelta(DAYS - 1)))


def rare(seed: int = 1) -> pl.DataFrame:
    """Coins of which one in twenty falls on its head, by their weight."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=DAYS * A_DAY)
    likely = 1 / (1 + np.exp(3.7 - 1.2 * weight))
    return pl.DataFrame(
        {
            "coin_id": [f"{n}" for n in range(len(weight))],
            "flight_date": [FIRST + timedelta(n // A_DAY) for n in range(len(weight))],
            "weight": weight,
            "metal": random.choice(["gold", "iron"], len(weight)),
            "noise": random.normal(size=len(weight)),
            "is_head": (random.random(len(weight)) < likely).astype(np.int32),
        }
    )


def weighted(case: UseCase, **task: Any) -> UseCase:
    return replace(case, task=replace(case.task, **task))


def judged(case: UseCase, rows: pl.DataFrame) -> dict[str, float]:
    booster = fitting.fit(case, rows, SPLIT, "cpu")
    later = dataset.between(case, rows, SPLIT.holdout)
    task = tasks.of(case)
    output = scoring.output(case, booster, case.features, later)
    labels = task.labels(later[case.label])
    return task.quality(labels, task.scores(output)) | task.beside({}, later, labels, output)


# --- weights ---


@pytest.mark.parametrize("weight", ["balanced", 5.0])
def test_scores_of_a_weighted_fit_are_probabilities(weight: Any) -> None:
    case, rows = toy_case(), rare()
    plain, heavy = judged(case, rows), judged(weighted(case, positive_weight=weight), rows)
    assert 0.03 < plain["base_rate"] < 0.07
    assert heavy["mean_score"] == pytest.approx(heavy["base_rate"], abs=0.01)
    assert heavy["calibration_error"] < 0.02
    assert heavy["log_loss"] == pytest.approx(plain["log_loss"], abs=0.01)
    assert heavy["auc"] == pytest.approx(plain["auc"], abs=0.02)
    assert heavy["auc"] != plain["auc"], "it is another model"


def test_as_xgboost_gives_them_they_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imbalance, "corrected", lambda weights, booster: booster)
    found = judged(weighted(toy_case(), positive_weight="balanced"), rare())
    assert found["mean_score"] > 5 * found["base_rate"]


@given(st.floats(0.05, 200), st.sampled_from([1, 2, 3]))
def test_the_booster_says_what_the_odds_divided_by_the_weight_say(weight: float, depth: int) -> None:
    random = np.random.default_rng(2)
    features, labels = random.normal(size=(300, 2)), random.integers(0, 2, 300)
    for weights in ((1.0, weight), (1.0, weight, 2.0)):
        of = labels if len(weights) == 2 else np.where(features[:, 0] > 1, 2, labels)
        objective = {"objective": "binary:logistic"} if len(weights) == 2 else {"objective": "multi:softprob"}
        params = objective | {"max_depth": depth, "nthread": 1} | ({"num_class": 3} if len(weights) == 3 else {})
        rows = xgb.QuantileDMatrix(features, of, weight=imbalance.of_rows(weights, of))
        booster = xgb.train(params, rows, 4)
        given = booster.predict(xgb.DMatrix(features)).astype(np.float64)
        fixed = imbalance.corrected(weights, booster)
        expected = imbalance.without(weights, given)
        np.testing.assert_allclose(fixed.predict(xgb.DMatrix(features)), expected, atol=1e-4)
        again = xgb.Booster(model_file=bytearray(fixed.save_raw("ubj")))
        np.testing.assert_array_equal(again.predict(xgb.DMatrix(features)), fixed.predict(xgb.DMatrix(features)))


def test_balanced_says_how_rare_a_class_is() -> None:
    coins = tasks.of(toy_case(task=Binary(baseline="noise", positive_weight="balanced")))
    assert coins.class_weights(np.array([0] * 9 + [1])) == (1.0, 9.0)
    assert tasks.of(toy_case()).class_weights(np.array([0, 1])) == ()
    kinds = tasks.of(weighted(WEATHER.case, class_weights="balanced"))
    assert kinds.class_weights(np.array([0] * 6 + [1] * 3)) == (0.75, 1.5, 1.0)
    assert tasks.of(weighted(WEATHER.case, class_weights=(1, 2, 3))).class_weights(np.array([0])) == (1.0, 2.0, 3.0)


def test_early_stopping_looks_at_what_the_fit_makes_smaller() -> None:
    """Beside validation days without weights it would go on to the last round: their loss is another one."""
    case = weighted(toy_case(), positive_weight="balanced")
    case = replace(case, training=replace(case.training, rounds=300, early_stopping_rounds=5, valid_days=4))
    split = replace(SPLIT, train=(FIRST, FIRST + timedelta(5)), valid=(FIRST + timedelta(6), FIRST + timedelta(9)))
    assert 3 < fitting.fit(case, rare(), split, "cpu").num_boosted_rounds() < 200


def test_the_probabilities_of_classes_too(monkeypatch: pytest.MonkeyPatch, lake: object) -> None:
    world = WEATHER.found(monkeypatch, class_weights=(1.0, 1.0, 20.0))
    world.write(FIRST, 60)
    rows = dataset.load(world.case, FIRST, FIRST + timedelta(59)).frame
    split = Split((FIRST, FIRST + timedelta(39)), None, (FIRST + timedelta(40), FIRST + timedelta(59)))
    booster = fitting.fit(world.case, rows, split, "cpu")
    later, task = dataset.between(world.case, rows, split.holdout), tasks.of(world.case)
    scores = task.scores(scoring.output(world.case, booster, world.case.features, later))
    true = np.bincount(task.labels(later["kind"]), minlength=3) / later.height
    np.testing.assert_allclose(scores.mean(axis=0), true, atol=0.05)


@pytest.mark.parametrize(
    ("world", "task", "later"),
    [
        (None, {"positive_weight": "balanced"}, {"positive_weight": 1.0}),
        (WEATHER, {"class_weights": "balanced"}, {"class_weights": (1.0, 2.0, 3.0)}),
    ],
    ids=["binary", "multiclass"],
)
def test_what_is_stored_predicts_so_and_a_version_is_compared_with_one_of_other_weights(
    world: World | None,
    task: dict[str, Any],
    later: dict[str, Any],
    toy: UseCase,
    mlflow_store: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Registered, served by MLflow, trained again from its record; and a later one of other weights is compared."""
    if world is not None:
        world.write(FIRST, 60)
    plain = toy if world is None else world.case
    case, night = weighted(plain, **task), FIRST + timedelta(29 if world is None else 39)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    assert promotion.promote(case.name, train.train(case.name, night, "cpu")["version"])["promoted"]
    own, served = both(case, delta.read_all("gold", case.features_table))
    assert served.equals(own)
    assert reproduce.reproduce(case.name, 1).equal
    other = weighted(plain, **later)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: other})
    if world is None:
        write_days(plain, NIGHT + timedelta(1), 14)
    second = train.train(case.name, night + timedelta(14), "cpu")["version"]
    decided = promotion.promote(case.name, second)
    assert decided["verdict"] in ("promote", "wait"), decided


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Binary(baseline="a", positive_weight=0), "positive_weight is 0; it must be above 0"),
        (lambda: Binary(baseline="a", positive_weight="many"), "or `balanced`"),
        (lambda: Multiclass(("a", "b"), class_weights=(1.0,)), "give each class one above 0"),
        (lambda: Training({"scale_pos_weight": 9}, 1, FIRST), "set positive_weight in the task instead"),
        (lambda: Binary(baseline="a", budget_per_day=5, budget_share=0.1), "set one of them"),
        (lambda: Binary(baseline="a", budget_per_day=0), "must be a number of rows"),
        (lambda: Binary(baseline="a", budget_share=1.0), "must be between 0 and 1"),
        (lambda: Binary(baseline="a", max_recall_loss=0.1), "set budget_per_day or budget_share"),
        (lambda: Binary(baseline="a", max_average_precision_loss=0.0), "must be above 0, or None"),
        (lambda: Value(1.0, -1.0, false_negative=2.0), "to act is always right, or never"),
        (lambda: Cost(0, 1), "both must be above 0"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(made: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made()


# --- metrics of what is rare ---

ROWS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.01, 0.2, 0.5, 0.7])), min_size=1, max_size=40)


@given(ROWS.filter(lambda rows: any(label for label, _ in rows)))
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[int, float]]) -> None:
    from sklearn.metrics import average_precision_score

    label, score = np.array([label for label, _ in rows]), np.array([score for _, score in rows])
    assert metrics.average_precision(label, score) == pytest.approx(average_precision_score(label, score), abs=1e-12)


def test_average_precision_of_ties_and_without_positives() -> None:
    first, last, half = np.array([1, 0, 0, 0]), np.array([0, 0, 0, 1]), np.full(4, 0.5)
    assert metrics.average_precision(first, half) == metrics.average_precision(last, half) == 0.25
    assert math.isnan(metrics.average_precision(np.zeros(3), np.ones(3)))


def test_recall_at_a_budget_is_of_the_highest_scores_of_each_day() -> None:
    days = [date(2020, 1, 1)] * 4 + [date(2020, 1, 2)] * 4
    rows = pl.DataFrame({"flight_date": days, "noise": [0.0] * 8})
    labels, scores = np.array([1, 0, 1, 0, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.1, 0.2, 0.04, 0.03, 0.03, 0.01])
    by_day = tasks.of(toy_case(task=Binary(baseline="noise", budget_per_day=2)))
    # The first day: one of two. The second: one of .04, and of two rows of .03 the one that there is room for: half.
    assert by_day.beside({}, rows, labels, scores)["recall_at_budget"] == pytest.approx(1.5 / 3)
    share = tasks.of(toy_case(task=Binary(baseline="noise", budget_share=0.25)))
    assert share.beside({}, rows, labels, scores)["recall_at_budget"] == pytest.approx(1 / 3)
    everything = tasks.of(toy_case(task=Binary(baseline="noise", budget_per_day=9)))
    assert everything.beside({}, rows, labels, scores)["recall_at_budget"] == 1
    assert "recall_at_budget" not in tasks.of(toy_case()).beside({}, rows, labels, scores)
    assert math.isnan(by_day.beside({}, rows, np.zeros(8, dtype=int), scores)["recall_at_budget"])


def test_within_days_each_day_counts_by_its_positives() -> None:
    labels, scores = np.array([1, 0, 1, 1, 0, 0]), np.array([0.1, 0.9, 0.8, 0.7, 0.2, 0.1])
    made = comparison.average_precision(labels, scores, np.array([0, 0, 1, 1, 1, 2]), 3)
    assert made.counts.tolist() == [1, 2, 0]
    assert made.of(np.ones((1, 3)))[0] == pytest.approx((0.5 + 2 * 1.0) / 3)


# --- what it is worth ---


def test_value_is_that_of_acting_where_it_is_worth_more() -> None:
    value = Value(true_positive=3, false_positive=-1)
    assert value.threshold == 0.25
    task = tasks.of(toy_case(task=Binary(baseline="noise", value=value)))
    labels, scores = np.array([1, 1, 0, 0]), np.array([0.3, 0.2, 0.25, 0.1])
    found = task.quality(labels, scores)
    assert found["value"] == pytest.approx((3 + 0 - 1 + 0) / 4)
    assert found["value_without"] == pytest.approx((3 + 3 - 1 - 1) / 4)
    assert "value" not in tasks.of(toy_case()).quality(labels, scores)


@given(st.floats(-5, 5), st.floats(0.1, 9), st.floats(-5, 5), st.floats(0.1, 9), st.floats(0.001, 0.999))
def test_from_the_threshold_on_to_act_is_worth_more(
    left: float, more: float, wrong: float, less: float, likely: float
) -> None:
    value = Value(left + more, wrong, false_negative=left, true_negative=wrong + less)
    acted = likely * value.true_positive + (1 - likely) * value.false_positive
    rested = likely * value.false_negative + (1 - likely) * value.true_negative
    assert (likely > value.threshold) == (acted > rested) or acted == pytest.approx(rested, abs=1e-9)


def test_cost_of_a_number_is_that_of_the_quantile_that_costs_least() -> None:
    cost = Cost(over=1, under=9)
    quantiles = tasks.of(replace(SALES.case, task=Regression("usual", (0.1, 0.5, 0.9), cost=cost)))
    scores, labels = np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]), np.array([3.0, 5.0])
    assert quantiles.quality(labels, scores)["cost"] == pytest.approx((1 * 1 + 9 * 1) / 2)
    mean = tasks.of(replace(SALES.case, task=Regression("usual", cost=cost)))
    assert mean.quality(labels, scores[:, 1:2])["cost"] == pytest.approx((9 * 1 + 9 * 3) / 2)


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ({"value": Value(2.0, -1.0, max_loss=0.5)}, "value"),
        ({"budget_per_day": 5, "max_recall_loss": 0.5}, "recall_at_budget"),
        ({"max_average_precision_loss": 0.5}, "average_precision"),
    ],
)
def test_what_the_spec_asks_for_is_compared_with_the_champion_and_can_refuse(
    task: dict[str, Any], metric: str, toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = weighted(toy, **task)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(case, NIGHT + timedelta(1), 14)
    decided = promotion.promote("toy", train.train("toy", NIGHT + timedelta(14), "cpu")["version"])
    words = next(one.words for one in tasks.of(case).compared if one.metric == metric)
    assert decided["verdict"] == "promote", decided
    assert any(reason.startswith(f"{words}: gains ") for reason in decided["reasons"])
    # The same metric refuses one that is worse in nothing else.
    worse = {one.metric: comparison.Gain(0.0, 0.001, 30.0) for one in tasks.of(case).compared}
    worse[metric] = comparison.Gain(-0.6, 0.01, 30.0)
    good = {"auc": 0.8, "baseline_auc": 0.5, "calibration_error": 0.02}
    verdict, reasons = promotion.judge(case, good, good, worse, 1, 1, 1)
    assert (verdict, len(reasons)) == ("refuse", 1)
    assert reasons[0].startswith(f"{words}: gains -0.6")


def test_specs_with_values_and_costs_come_back_from_their_json() -> None:
    coins = weighted(toy_case(), value=Value(2.0, -1.0, max_loss=0.1), budget_share=0.1, positive_weight="balanced")
    sales = replace(SALES.case, task=replace(SALES.case.task, cost=Cost(1.0, 3.0)))
    kinds = weighted(WEATHER.case, class_weights=(1.0, 2.0, 3.0))
    for case in (coins, sales, kinds):
        assert reproduce.spec_of(json.loads(json.dumps(asdict(case), default=str))) == case
