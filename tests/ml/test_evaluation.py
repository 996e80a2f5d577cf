"""What refuses a challenger beside the limits of its task: groups of rows, odd input, suspicion, speed and size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from itertools import count
from typing import Any

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Evaluation, UseCase
from include.lake import delta
from include.ml import dataset, evaluation, fitting, ledger, promotion, record, reproduce, scoring, tasks, train
from include.ml.dataset import Split
from tests.ml.conftest import FIRST, toy_case, toy_rows, write_days
from tests.ml.worlds import RETURNS, SALES, WEATHER, World

NIGHT = FIRST + timedelta(29)
SLICED = Evaluation(slices=("metal",), min_slice_rows=60)


def with_evaluation(case: UseCase, **changes: Any) -> UseCase:
    return replace(case, evaluation=replace(case.evaluation, **changes))


def measured(case: UseCase, rows: pl.DataFrame) -> dict[str, float]:
    days = sorted(rows[case.day].unique())
    split = Split((days[0], days[-11 - case.label_days]), None, (days[-10], days[-1]))
    booster = fitting.fit(case, rows, split, "cpu")
    holdout, fitted = (dataset.between(case, rows, part) for part in (split.holdout, split.train))
    output = scoring.output(case, booster, case.features, holdout)
    found = evaluation.measure(
        case,
        booster,
        holdout,
        output,
        tasks.of(case).labels(fitted[case.label]),
        fitted[case.day].to_numpy(),
        fitting.gain_shares(booster),
    )
    return found | evaluation.timings(case, booster, holdout)


@pytest.fixture(scope="module")
def sound() -> dict[str, float]:
    return measured(toy_case(evaluation=SLICED), toy_rows(FIRST, 40))


# --- every kind of task ---


@pytest.mark.parametrize("world", [WEATHER, SALES, RETURNS], ids=lambda world: world.case.task.__class__.__name__)
def test_a_sound_model_of_each_task_passes_and_nothing_of_it_may_be_missing(world: World) -> None:
    found = measured(world.case, world.rows(FIRST, 60 if world is not RETURNS else 120))
    assert evaluation.reasons(world.case, found) == []
    used = [name for name in found if name.startswith("loss_missing/")]
    assert found["features_tried"] == len(used) > 0
    assert evaluation.reasons(world.case, {}), "no evidence is no pass"
    for name in ("score_values", "label_values", "loss", "loss_noise", "usual_loss", "model_mib", "ms_p99", used[-1]):
        without = {one: value for one, value in found.items() if one != name}
        assert evaluation.reasons(world.case, without), f"{name} is missing, and it passes"


def test_the_same_rows_give_the_same_measurements() -> None:
    case, rows = toy_case(evaluation=SLICED), toy_rows(FIRST, 40)
    split = Split((FIRST, FIRST + timedelta(29)), None, (FIRST + timedelta(30), FIRST + timedelta(39)))
    booster = fitting.fit(case, rows, split, "cpu")
    holdout, fitted = (dataset.between(case, rows, part) for part in (split.holdout, split.train))
    output, shares = scoring.output(case, booster, case.features, holdout), fitting.gain_shares(booster)
    labels, days = tasks.of(case).labels(fitted[case.label]), fitted[case.day].to_numpy()
    one, two = (evaluation.measure(case, booster, holdout, output, labels, days, shares) for _ in range(2))
    assert one == two


# --- odd input, suspicion, size ---


@pytest.mark.parametrize(
    ("changes", "found", "said"),
    [
        ({"max_missing_loss": 0.1}, {}, "without weight its loss is"),
        ({}, {"loss_noise": 9.0}, "with noise of a tenth its loss rises from"),
        ({"max_gain_share": 0.5}, {}, "weight carries 9"),
        ({"max_model_mib": 1e-4}, {}, "MiB, over 0.0001"),
        ({"max_ms_p99": 1e-4}, {}, "one row in a hundred takes"),
        ({}, {"score_values": 1.0}, "it says the same of every row"),
        ({}, {"label_values": 1.0}, "is_head has one value in all rows of the holdout"),
        (
            {},
            {"label_shift/rows with is_head": -0.6, "label_shift_z/rows with is_head": -9.0},
            "rows with is_head: -60.0% from training to holdout, over 0.5: look at the labels",
        ),
    ],
)
def test_each_limit_has_its_reason(
    sound: dict[str, float], changes: dict[str, float], found: dict[str, float], said: str
) -> None:
    case = with_evaluation(toy_case(), **changes)
    reasons = evaluation.reasons(case, sound | found)
    assert len(reasons) == 1
    assert said in reasons[0]


def test_labels_that_moved_by_chance_are_no_suspicion(sound: dict[str, float]) -> None:
    moved = {"label_shift/rows with is_head": 0.6, "label_shift_z/rows with is_head": 2.0}
    assert evaluation.reasons(toy_case(), sound | moved) == []
    certain = moved | {"label_shift_z/rows with is_head": 9.0}
    assert evaluation.reasons(toy_case(), sound | certain)
    assert evaluation.reasons(toy_case(), sound | certain, has_champion=True) == [], "a retraining is for this"


def test_one_feature_alone_carries_all_and_is_not_suspected_of_it() -> None:
    case = toy_case(features=(toy_case().features[0],), task=replace(toy_case().task, baseline="weight"))
    found = measured(case, toy_rows(FIRST, 40))
    assert found["gain_share/weight"] == 1
    assert evaluation.reasons(case, found) == []


def test_labels_that_are_made_in_another_way_are_named() -> None:
    rows = toy_rows(FIRST, 40)
    later = pl.col("flight_date") > FIRST + timedelta(29)
    turned = pl.when(later & (pl.col("coin_id").hash(1) % 25 > 0)).then(1).otherwise("is_head").cast(pl.Int32)
    found = measured(with_evaluation(toy_case(), max_label_shift=0.3), rows.with_columns(is_head=turned))
    said = evaluation.reasons(with_evaluation(toy_case(), max_label_shift=0.3), found)
    assert any(one.startswith("rows with is_head: +3") or one.startswith("rows with is_head: +4") for one in said)


def test_a_feature_in_another_unit_is_as_bad_as_it_is(sound: dict[str, float]) -> None:
    assert sound["loss_unit/weight"] > 1.1 * sound["loss"]
    assert "loss_unit/metal" not in sound, "a category has no unit"


def test_times_are_those_of_the_clock() -> None:
    case, rows = toy_case(), toy_rows(FIRST, 40)
    booster = fitting.fit(case, rows, Split((FIRST, FIRST + timedelta(29)), None, (NIGHT, NIGHT)), "cpu")
    ticks = count()
    found = evaluation.timings(case, booster, rows.tail(100), clock=lambda: next(ticks) / 1000)
    assert (found["ms_p50"], found["ms_p99"]) == pytest.approx((1, 1))
    assert found["rows_per_second"] == pytest.approx(100_000)


def test_mlflow_is_shown_names_that_it_takes(sound: dict[str, float]) -> None:
    shown = evaluation.shown(sound | {"slice/metal/<b>/x/gain": -0.5})
    assert all("/" not in name for name in shown)
    assert shown["slice_gain_least"] == -0.5
    assert shown["loss_missing_worst"] == sound["loss_missing/weight"]


# --- groups of rows ---

A_DAY = 300  # rows, of which a group has a tenth


def compared(
    case: UseCase, days: int, theirs: Callable[[np.random.Generator, pl.DataFrame], Any], seed: int
) -> list[str]:
    """What groups refuse a challenger for whose labels follow its scores, beside other scores of the same rows."""
    random = np.random.default_rng(seed)
    size = days * A_DAY
    rows = pl.DataFrame(
        {
            "flight_date": [FIRST + timedelta(n // A_DAY) for n in range(size)],
            "metal": random.choice([f"m{n}" for n in range(10)], size),
        }
    )
    odds = random.normal(size=size) + np.repeat(random.normal(scale=0.5, size=days), A_DAY)  # a day has its own weather
    labels = (random.random(size) < 1 / (1 + np.exp(-odds))).astype(np.int8)
    task = tasks.of(case)
    ours, other = (1 / (1 + np.exp(-(odds + change))) for change in theirs(random, rows))
    found = evaluation.groups(case, rows, (task, labels, ours), (task, labels, other))
    return evaluation.slice_reasons(case, found, 1, "version 1's")


CASE = toy_case(evaluation=Evaluation(slices=("metal",)))


def test_as_good_in_each_of_ten_groups_is_seldom_refused_for_one() -> None:
    def noise(random: np.random.Generator, rows: pl.DataFrame) -> Any:
        return random.normal(scale=0.3, size=(2, rows.height))

    alarms = sum(bool(compared(CASE, 14, noise, seed)) for seed in range(60))
    assert alarms <= 3, "at most one in twenty, by the level"


def test_one_group_of_ten_that_is_turned_round_is_refused_by_its_name() -> None:
    def turned(random: np.random.Generator, rows: pl.DataFrame) -> Any:
        wrong = 3.0 * random.choice([-1, 1], rows.height)  # whatever is true
        inverted = np.where(rows["metal"].to_numpy() == "m3", wrong, 0.0)
        return inverted, random.normal(scale=0.3, size=rows.height)

    found = [compared(CASE, 14, turned, seed) for seed in range(20)]
    assert sum(bool(one) for one in found) >= 19
    assert all(one.startswith("metal m3: its loss on ") for reasons in found for one in reasons)


def test_predictions_that_are_off_in_one_group_are_refused_though_their_loss_is_no_worse() -> None:
    def tilted(random: np.random.Generator, rows: pl.DataFrame) -> Any:
        shift = np.where(rows["metal"].to_numpy() == "m3", 2.5, 0.0)
        return shift, 1.2 * shift

    case = with_evaluation(CASE, max_slice_loss=5.0)
    found = [compared(case, 60, tilted, seed) for seed in range(5)]
    # The champion is off as well, and what it does is not held against the challenger.
    assert found == [[]] * 5

    def alone(random: np.random.Generator, rows: pl.DataFrame) -> Any:
        return tilted(random, rows)[0], np.zeros(rows.height)

    found = [compared(case, 60, alone, seed) for seed in range(5)]
    assert all(len(one) == 1 and "metal m3: predictions are off by +0." in one[0] for one in found)


def test_a_small_group_and_one_of_few_days_are_not_judged() -> None:
    rows = toy_rows(FIRST, 20).with_columns(
        metal=pl.when(pl.col("flight_date") < FIRST + timedelta(3)).then(pl.lit("early")).otherwise("metal")
    )
    task, labels = tasks.of(CASE), rows["is_head"].cast(pl.Int8).to_numpy()
    scores = np.full(len(labels), 0.5)
    found = evaluation.groups(CASE, rows, (task, labels, scores), (task, labels, scores))
    assert {one.value for one in found} == {"early", "gold", "iron", "tin"}
    assert {one.value for one in evaluation.judged(CASE, found)} == {"gold", "iron", "tin"}


def test_a_record_gives_the_groups_back_whatever_they_are_called() -> None:
    case = toy_case(evaluation=SLICED)
    rows = toy_rows(FIRST, 20).with_columns(metal=pl.col("metal").replace({"tin": "a/b <c>", "iron": "a/gain"}))
    task, labels = tasks.of(case), rows["is_head"].cast(pl.Int8).to_numpy()
    one, two = np.random.default_rng(1).random((2, len(labels)))
    found = evaluation.groups(case, rows, (task, labels, one), (task, labels, two))
    kept = evaluation.of_record(case.evaluation, evaluation.flat(found))
    assert [asdict(replace(group, other_gap=0.0)) for group in found] == [
        asdict(replace(group, other_gap=0.0)) for group in kept
    ]


# --- the whole way ---


def turn_gold_round(case: UseCase, first: int, last: int) -> None:
    """The labels of one metal, of some days."""
    gold = delta.read_all("gold", case.features_table).filter(metal="gold")["coin_id"]
    days = pl.col("flight_date").is_between(FIRST + timedelta(first), FIRST + timedelta(last))
    changed = pl.when(days & pl.col("coin_id").is_in(gold.implode())).then(1 - pl.col("is_head")).otherwise("is_head")
    frame = delta.read_all("gold", case.labels_table).with_columns(changed.cast(pl.Int32).alias("is_head"))
    delta.replace_days("gold", case.labels_table, frame, FIRST, frame["flight_date"].max())


@pytest.fixture
def sliced(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    # A wide level: days of 60 coins tell little.
    case = replace(toy, evaluation=replace(SLICED, max_slice_loss=0.05, slice_level=0.3))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    return case


def test_a_group_that_is_turned_round_is_not_promoted_where_there_is_no_champion(
    sliced: UseCase, mlflow_store: None
) -> None:
    turn_gold_round(sliced, 0, 22)
    promoted = promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    assert not promoted["promoted"]
    assert any(one.startswith("metal gold: its loss on ") for one in promoted["reasons"])
    assert ledger.latest_champion(sliced) is None


def test_a_group_that_is_turned_round_is_not_promoted_beside_a_champion(sliced: UseCase, mlflow_store: None) -> None:
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(sliced, NIGHT + timedelta(1), 10)
    turn_gold_round(sliced, 0, 32)
    answer = promotion.promote("toy", train.train("toy", NIGHT + timedelta(10), "cpu")["version"])
    assert answer["verdict"] == "refuse"
    assert any(one.startswith("metal gold: its loss on ") for one in answer["reasons"])
    judgement = record.last_judgement(sliced, 2)
    assert judgement is not None
    assert judgement.measured["slice/metal/gold/gain"] < -0.05
    both = {name.partition("_")[2] for name in judgement.measured if name.startswith(("challenger_", "champion_"))}
    assert {"auc", "log_loss"} < both
    assert not any(name.startswith(("slice", "loss", "ms_")) for name in both), "what was measured in training is there"
    champion = ledger.latest_champion(sliced)
    assert champion is not None
    assert champion.model_version == 1


def test_a_training_of_a_release_that_measured_nothing_is_judged_without(sliced: UseCase, mlflow_store: None) -> None:
    train.train("toy", NIGHT, "cpu")
    training = record.trainings(sliced)[0]
    assert training.evaluation == evaluation.VERSION
    plain = {name: value for name, value in training.metrics.items() if name in ("n", "auc", "baseline_auc")}
    plain |= {name: training.metrics[name] for name in ("calibration_error", "base_rate")}
    earlier = replace(training, metrics=plain, evaluation=0)
    assert promotion.alone(sliced, 1, earlier, "gates").verdict == "promote"
    today = promotion.alone(sliced, 1, replace(earlier, evaluation=1), "gates")
    assert today.verdict == "refuse", "what says that it was measured, and was not, fails"


def test_another_limit_is_another_request_and_the_same_recipe(sliced: UseCase, mlflow_store: None) -> None:
    first = train.train("toy", NIGHT, "cpu")
    keys = record.trainings(sliced)[0]
    changed = with_evaluation(sliced, max_gain_share=0.9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.use_cases.use_cases", lambda: {changed.name: changed})
        again = train.train("toy", NIGHT, "cpu")
    assert again["version"] != first["version"]
    assert record.trainings(sliced)[1].recipe_key == keys.recipe_key
    assert record.trainings(sliced)[1].model_sha256 == keys.model_sha256


def test_the_spec_of_then_has_its_limits_again(sliced: UseCase) -> None:
    import json

    kept = json.loads(json.dumps(asdict(sliced), default=str))
    assert reproduce.spec_of(kept).evaluation == sliced.evaluation
    kept.pop("evaluation")
    assert reproduce.spec_of(kept).evaluation == Evaluation()


def test_a_slice_is_a_column_that_training_reads() -> None:
    with pytest.raises(ValueError, match="slices are columns of entity or features, and not known_from"):
        toy_case(evaluation=Evaluation(slices=("known_from",)))
    with pytest.raises(ValueError, match="slices is 'metal' and no tuple"):
        Evaluation(slices="metal")
