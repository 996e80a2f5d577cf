from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import xgboost as xgb

from include.contracts.use_case import Promotion, UseCase
from include.ml import dataset, errors, fitting, gpu, ledger, scoring, train
from include.ml.code import Code
from tests.ml.conftest import FIRST, ROWS

LAST = FIRST + timedelta(29)


@pytest.fixture
def data(toy: UseCase) -> dataset.Dataset:
    return dataset.load(toy, FIRST, LAST)


def test_training_twice_gives_the_same_bytes(toy: UseCase, data: dataset.Dataset) -> None:
    one, two = (train.fit_and_judge(toy, data, "cpu", None) for _ in range(2))
    assert one.booster.save_raw("ubj") == two.booster.save_raw("ubj")
    assert one.metrics == two.metrics
    assert one.reference == two.reference


def test_holdout_is_later_than_what_was_trained_on(toy: UseCase, data: dataset.Dataset) -> None:
    trained = train.fit_and_judge(toy, data, "cpu", None)
    assert trained.split.train == (FIRST, LAST - timedelta(7))
    assert trained.split.holdout == (LAST - timedelta(6), LAST)
    assert trained.metrics["n"] == 7 * ROWS
    assert 0.7 < trained.metrics["auc"] < 0.95
    assert trained.metrics["baseline_auc"] == pytest.approx(0.5, abs=0.1)
    # What the holdout's labels say must not reach the trees.
    flipped = data.frame.with_columns(
        is_head=pl.when(pl.col("flight_date") >= trained.split.holdout[0])
        .then(1 - pl.col("is_head"))
        .otherwise("is_head")
    )
    other = fitting.fit(toy, flipped, trained.split, "cpu")
    assert other.save_raw("ubj") == trained.booster.save_raw("ubj")


def test_early_stopping_keeps_the_best_trees_only(toy: UseCase, data: dataset.Dataset) -> None:
    training = replace(toy.training, rounds=200, early_stopping_rounds=3, valid_days=4)
    trained = train.fit_and_judge(replace(toy, training=training), data, "cpu", None)
    assert trained.split.valid == (LAST - timedelta(10), LAST - timedelta(7))
    assert 1 <= trained.booster.num_boosted_rounds() < 100


def test_reference_describes_the_training_set(toy: UseCase, data: dataset.Dataset) -> None:
    reference = train.fit_and_judge(toy, data, "cpu", None).reference
    assert list(reference["features"]) == ["weight", "metal", "noise"]
    for of_feature in reference["features"].values():
        assert len(of_feature["shares"]) == len(of_feature["edges"]) + 2
        assert sum(of_feature["shares"]) == pytest.approx(1)
        # Mean, spread and missing share of a number; of a category, the share of each level.
        assert len(of_feature["quiet"]["scale"]) == 3
    assert sum(each["weight"] for each in reference["features"].values()) == pytest.approx(1)
    assert reference["features"]["metal"]["edges"] == [0.5, 1.5]
    # A third each of gold, iron and tin; tin is outside the vocabulary.
    assert reference["features"]["metal"]["shares"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.05)
    assert len(reference["holdout"]["daily"]["auc"]) == 7
    assert reference["data"] == {"first": str(FIRST), "last": str(LAST)}


def test_a_silent_fallback_to_the_cpu_is_an_error(
    toy: UseCase, data: dataset.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = fitting.boost
    # What XGBoost does when no GPU is visible: it warns, and trains on the CPU.
    monkeypatch.setattr(fitting, "boost", lambda case, of, device, **more: on_cpu(case, of, "cpu", **more))
    with pytest.raises(fitting.WrongDeviceError, match="meant to train on cuda, but XGBoost trained on cpu"):
        fitting.fit(toy, data.frame, dataset.split_days(toy, FIRST, LAST), "cuda")


def test_choosing_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xgb, "build_info", lambda: {"USE_CUDA": True})
    monkeypatch.setattr(gpu, "names", lambda: ["NVIDIA H100"])
    assert [fitting.choose_device(word) for word in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(gpu, "names", list)
    assert fitting.choose_device("auto") == "cpu"
    with pytest.raises(fitting.WrongDeviceError, match="no GPU is visible"):
        fitting.choose_device("cuda")
    with pytest.raises(ValueError, match="must be auto, cpu or cuda"):
        fitting.choose_device("gpu")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"max_depht": 2}, r'XGBoost refuses to train toy with .*spec\.py: Parameters: \{ "max_depht" \} are not used'),
        ({"objective": "binary:logit"}, "Unknown objective function: `binary:logit`"),
        ({"max_depth": "deep"}, "Invalid Parameter format for max_depth expect int"),
    ],
)
def test_parameters_that_xgboost_does_not_take_are_named(
    toy: UseCase, data: dataset.Dataset, params: dict[str, str], said: str
) -> None:
    wrong = replace(toy, training=replace(toy.training, params={**toy.training.params, **params}))
    with pytest.raises(errors.ModelRefusedError, match=said):
        fitting.fit(wrong, data.frame, dataset.split_days(toy, FIRST, LAST), "cpu")


@pytest.mark.parametrize("message", ["Memory allocation error", "CUDA out of memory"])
def test_what_ran_out_may_be_there_at_another_try(message: str) -> None:
    with pytest.raises(xgb.core.XGBoostError), errors.of_xgboost("to train"):
        raise xgb.core.XGBoostError(message)


@pytest.mark.skipif(not gpu.names(), reason="no GPU")
def test_training_on_a_gpu(toy: UseCase, data: dataset.Dataset) -> None:
    trained = train.fit_and_judge(toy, data, "cuda", None)
    assert trained.gpu
    assert trained.metrics["auc"] == pytest.approx(train.fit_and_judge(toy, data, "cpu", None).metrics["auc"], abs=0.01)


def keys(*asked: Any) -> train.Keys:
    return train.keys_of(*asked)


def test_request_key_knows_what_matters(toy: UseCase) -> None:
    more_trees = replace(toy, training=replace(toy.training, rounds=9))
    other_gates = replace(toy, task=replace(toy.task, min_auc=0.61))
    other_margins = replace(toy, promotion=Promotion(level=0.01))
    clean, edited = Code("c0ffee", False, ""), Code("c0ffee", True, "-1\n+2")
    champion = ledger.Champion(3, FIRST, datetime(2020, 2, 1, tzinfo=UTC), "", "", "", "", "", FIRST, FIRST, FIRST)
    asked = (toy, LAST, "abc", clean, "cpu", None)
    made = {
        "": asked,
        "rows": (toy, LAST, "abd", clean, "cpu", None),
        "parameters": (more_trees, *asked[1:]),
        "commit": (*asked[:3], Code("decaf", False, ""), "cpu", None),
        "edited": (*asked[:3], edited, "cpu", None),
        "device": (*asked[:4], "cuda", None),
    }
    asked_otherwise = {
        "night": (toy, FIRST, *asked[2:]),
        "gates": (other_gates, *asked[1:]),
        "margins": (other_margins, *asked[1:]),
        "champion": (*asked[:5], champion),
    }
    recipes = {name: keys(*one).recipe for name, one in made.items()}
    assert len(set(recipes.values())) == len(made), recipes
    requests = {name: keys(*one).request for name, one in (made | asked_otherwise).items()}
    assert len(set(requests.values())) == len(requests), requests
    assert {keys(*one).recipe for one in asked_otherwise.values()} == {recipes[""]}
    assert keys(*asked) == keys(*asked)


def test_scores_are_of_the_rows_in_their_order(toy: UseCase, data: dataset.Dataset) -> None:
    booster = train.fit_and_judge(toy, data, "cpu", None).booster
    scores = scoring.output(toy, booster, toy.features, data.frame)
    assert scores.shape == (30 * ROWS,)
    np.testing.assert_array_equal(scoring.output(toy, booster, toy.features, data.frame.reverse()), scores[::-1])
