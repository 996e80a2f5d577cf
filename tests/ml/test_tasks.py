"""Labels, scores, metrics and gates of each kind of task; small literal data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.use_case import Binary, Multiclass, Regression, UseCase, class_slug
from include.ml import metrics, tasks
from include.ml.tasks import OtherTaskError, UnfitLabelError, UnfitOutputError
from include.ml.tasks.interface import Array
from tests.ml.conftest import toy_case
from tests.ml.worlds import SALES, WEATHER

BINARY, KINDS, AMOUNTS = (tasks.of(case) for case in (toy_case(), WEATHER.case, SALES.case))
COINS = tasks.of(toy_case(task=Binary(baseline="noise")))
MEAN = tasks.of(replace(SALES.case, task=Regression(baseline="usual")))
NULL = pl.Series([None], dtype=pl.Int32)


# --- labels ---


@pytest.mark.parametrize(
    ("task", "values", "encoded"),
    [
        (BINARY, pl.Series([0, 1, 1]), [0, 1, 1]),
        (BINARY, pl.Series([True, False]), [1, 0]),
        (BINARY, pl.Series([1.0, 0.0]), [1, 0]),
        (KINDS, pl.Series(["wet", "dry", "Icy road"]), [1, 0, 2]),
        (tasks.of(replace(WEATHER.case, task=Multiclass(("1", "2")))), pl.Series([2, 1, 1]), [1, 0, 0]),
        (AMOUNTS, pl.Series([1, -2]), [1.0, -2.0]),
    ],
)
def test_labels_are_encoded(task: tasks.Task, values: pl.Series, encoded: list[float]) -> None:
    assert task.labels(values).tolist() == encoded


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        (BINARY, pl.Series([0, 1, 2, 2]), "toy: is_head has values that are neither 0 nor 1: 2 in 2 rows. Mend"),
        (BINARY, pl.Series([0, 1, None]), "toy: is_head has values that are neither 0 nor 1: null in 1 rows"),
        (BINARY, pl.Series(["yes", "no"]), "toy: is_head has values that are neither 0 nor 1: .*yes in 1 rows"),
        (BINARY, pl.Series([0.5]), "0.5 in 1 rows"),
        (KINDS, pl.Series(["dry", "fog", "fog"]), "weather: kind .* none of the classes dry, wet, Icy road: fog in 2"),
        (KINDS, pl.Series(["dry", None]), "null in 1 rows"),
        (AMOUNTS, pl.Series(["12"]), "sales: amount has values that are of the type String, and no numbers: 12 in"),
        (AMOUNTS, pl.Series([1.0, float("nan")]), "sales: amount has values that are no numbers, .*: NaN in"),
        (AMOUNTS, pl.Series([1.0, None]), "null in 1 rows"),
        (AMOUNTS, pl.Series([float("inf")]), "inf in 1 rows"),
        (AMOUNTS, pl.Series([1.0, 1e39]), "too large for a 32-bit float: 1e.39 in 1 rows"),
    ],
)  # fmt: skip
def test_a_label_that_is_none_is_named_with_use_case_column_and_value(
    task: tasks.Task, values: pl.Series, said: str
) -> None:
    with pytest.raises(UnfitLabelError, match=said):
        task.labels(values)


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        (BINARY, [1, 1, 1], "toy: is_head is 1 in all 3 rows that a model would be fitted on"),
        (BINARY, [0, 0, 1], "toy: is_head is 1 in 1 of 3 rows that a model would be fitted on"),
        (KINDS, ["wet", "wet"], "weather: kind is wet in all 2 rows"),
        (AMOUNTS, [2.5, 2.5], "sales: amount is 2.5 in all 2 rows"),
    ],
)
def test_labels_that_teach_nothing_are_refused(task: tasks.Task, values: list[Any], said: str) -> None:
    with pytest.raises(UnfitLabelError, match=said):
        task.check_learnable(task.labels(pl.Series(values)))


# --- scores, and the predictions table ---


def test_what_each_task_predicts() -> None:
    assert BINARY.columns == {"score": pl.Float64()}
    assert list(KINDS.columns) == ["predicted", "score_dry", "score_wet", "score_icy_road"]
    assert KINDS.columns["predicted"] == pl.String()
    assert list(AMOUNTS.columns) == ["predicted", "q10", "q90"]
    assert list(MEAN.columns) == ["predicted"]


@pytest.mark.parametrize(
    ("task", "output", "row"),
    [
        (BINARY, np.array([0.25, 0.75], np.float32), {"score": 0.75}),
        (
            KINDS,
            np.array([[1, 0, 0], [0.25, 0.25, 0.5]], np.float32),
            {"predicted": "Icy road", "score_dry": 0.25, "score_wet": 0.25, "score_icy_road": 0.5},
        ),
        (AMOUNTS, np.array([[0, 1, 2], [5, 4, 6]], np.float32), {"predicted": 5.0, "q10": 4.0, "q90": 6.0}),
        (MEAN, np.array([1, 2], np.float32), {"predicted": 2.0}),
    ],
)
def test_scores_become_rows_and_rows_scores(task: tasks.Task, output: np.ndarray, row: dict[str, Any]) -> None:
    scores = task.scores(output)
    frame = task.frame(scores)
    assert frame.row(1, named=True) == row
    assert dict(frame.schema) == task.columns
    np.testing.assert_array_equal(task.scores_of(frame), scores)
    assert task.problem(frame) is None


@pytest.mark.parametrize(
    ("task", "output", "said"),
    [
        (BINARY, np.zeros((2, 3)), "toy: the model gives 3 numbers a row, and its task takes one"),
        (KINDS, np.zeros((2, 4)), "weather: the model gives 4 numbers a row, and its task takes 3"),
        (KINDS, np.zeros(2), "weather: the model gives one numbers a row"),
        (AMOUNTS, np.zeros((2, 2)), "sales: the model gives 2 numbers a row"),
        (MEAN, np.zeros((2, 2)), "sales: the model gives 2 numbers a row, and its task takes one"),
    ],
)
def test_the_output_of_another_objective_is_refused(task: tasks.Task, output: np.ndarray, said: str) -> None:
    with pytest.raises(UnfitOutputError, match=said):
        task.scores(output)


@pytest.mark.parametrize(
    ("task", "row", "problem"),
    [
        (BINARY, {"score": 1.5}, "a score is not a probability"),
        (BINARY, {"score": None}, "a score is not a probability"),
        (KINDS, {"score_dry": 1.0, "score_wet": -0.1, "score_icy_road": 0.1}, "a score is not a probability"),
        (
            KINDS,
            {"score_dry": 0.5, "score_wet": 0.1, "score_icy_road": 0.1},
            "the probabilities of a row do not add up",
        ),
        (AMOUNTS, {"predicted": 1.0, "q10": 2.0, "q90": 3.0}, "quantiles are not in rising order"),
        (AMOUNTS, {"predicted": 1.0, "q10": None, "q90": 3.0}, "a prediction is not a finite number"),
        (MEAN, {"predicted": float("nan")}, "a prediction is not a finite number"),
    ],
)
def test_a_row_that_is_no_prediction_is_seen(task: tasks.Task, row: dict[str, Any], problem: str) -> None:
    schema = {name: kind for name, kind in task.columns.items() if name in row}
    assert str(task.problem(pl.DataFrame([row], schema=schema))).startswith(problem)


# --- a version's own task ---


def test_a_version_has_the_classes_it_was_trained_with() -> None:
    grown = replace(WEATHER.case, task=replace(WEATHER.case.task, classes=("dry", "fog", "wet", "Icy road")))
    version = tasks.of_version(grown, KINDS.recipe)
    assert version.recipe == KINDS.recipe
    judge = tasks.since(version, tasks.of(grown))
    assert judge.recipe["classes"] == ["dry", "wet", "Icy road", "fog"]
    scores = judge.scores_of(version.frame(version.scores(np.array([[0.5, 0.25, 0.25]]))))
    assert scores.tolist() == [[0.5, 0.25, 0.25, 0.0]]
    assert judge.quality(judge.labels(pl.Series(["fog"])), scores)["log_loss"] == pytest.approx(16.118, abs=1e-3)


def test_a_version_has_the_quantiles_it_was_trained_with() -> None:
    other = replace(SALES.case, task=Regression(baseline="usual"))
    assert tasks.of_version(other, AMOUNTS.recipe).columns == AMOUNTS.columns


def test_another_kind_of_task_is_another_use_case() -> None:
    with pytest.raises(
        OtherTaskError, match="sales is a regression task in its spec, and its champion was trained for a binary"
    ):
        tasks.of_version(SALES.case, BINARY.recipe)


# --- metrics ---

PROBABILITIES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)


@given(st.lists(st.tuples(st.integers(0, 2), PROBABILITIES), min_size=1, max_size=30))
def test_quality_of_classes(rows: list[tuple[int, list[float]]]) -> None:
    from sklearn.metrics import accuracy_score, log_loss

    labels = np.array([label for label, _ in rows])
    scores = KINDS.scores(np.array([given for _, given in rows]))
    found = KINDS.quality(labels, scores)
    assert found["log_loss"] == pytest.approx(log_loss(labels, scores, labels=[0, 1, 2]), abs=1e-9)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, scores.argmax(axis=1)))
    assert 0 <= found["brier"] <= 2
    assert np.isnan(found["auc"]) == (len(set(labels)) == 1)
    assert found == pytest.approx(KINDS.quality(labels[::-1], scores[::-1]), nan_ok=True, abs=1e-9)


@given(st.lists(st.tuples(st.floats(-9, 9), st.lists(st.floats(-9, 9), min_size=3, max_size=3)), min_size=2))
def test_quality_of_quantiles(rows: list[tuple[float, list[float]]]) -> None:
    from sklearn.metrics import mean_absolute_error, mean_pinball_loss, root_mean_squared_error

    labels, scores = np.array([label for label, _ in rows]), AMOUNTS.scores(np.array([given for _, given in rows]))
    found = AMOUNTS.quality(labels, scores)
    assert found["mae"] == pytest.approx(mean_absolute_error(labels, scores[:, 1]))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(labels, scores[:, 1]))
    losses = [mean_pinball_loss(labels, scores[:, n], alpha=q) for n, q in enumerate((0.1, 0.5, 0.9))]
    assert found["pinball_loss"] == pytest.approx(np.mean(losses))
    assert 0 <= found["coverage"] <= 1
    # Sorting never makes a pinball loss larger.
    given = np.array([given for _, given in rows])
    assert found["pinball_loss"] <= metrics.pinball_loss(labels, given, (0.1, 0.5, 0.9)) + 1e-9


def test_auc_of_classes_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    labels = random.choice(3, 90, p=[0.6, 0.35, 0.05])
    scores = KINDS.scores(random.random((90, 3)) + np.eye(3)[labels] / 3)
    expected = roc_auc_score(labels, scores, multi_class="ovr", average="weighted")
    assert KINDS.quality(labels, scores)["auc"] == pytest.approx(expected, abs=1e-12)


def test_a_day_of_one_row_has_its_daily_values() -> None:
    """As of one weather station: nothing of it is undefined."""
    daily = KINDS.daily(np.array([1]), KINDS.scores(np.array([[0.25, 0.5, 0.25]])))
    assert daily == {"log_loss": pytest.approx(np.log(2)), "gap": -0.5, "unlikely": pytest.approx(np.nan, nan_ok=True)}
    daily = AMOUNTS.daily(np.array([5.0]), AMOUNTS.scores(np.array([[1.0, 3.0, 4.0]])))
    far = {"far": pytest.approx(np.nan, nan_ok=True)}  # of so few rows a day does not tell
    assert daily == {"error": 2.0, "bias": -2.0, "coverage_gap": pytest.approx(-0.8)} | far


def test_baselines() -> None:
    holdout = pl.DataFrame({"kind_1d": ["dry", "wet", None, "fog"], "usual": [1.0, None, 3.0, 5.0]})
    fitted, labels = np.array([1, 1, 1, 0]), np.array([0, 0, 1, 1])
    usual = KINDS.usual(fitted)
    found = KINDS.beside(usual, holdout, labels, np.full((4, 3), 1 / 3))
    # dry is right, wet is not; where yesterday says nothing, the usual class, wet, is right twice.
    assert found["baseline_accuracy"] == 0.75
    assert usual == {"fitted_rows_dry": 1.0, "fitted_rows_wet": 3.0, "fitted_rows_icy_road": 0.0}
    amounts = np.array([1.0, 3.0, 4.0, 5.0])
    usual = AMOUNTS.usual(amounts)
    found = AMOUNTS.beside(usual, holdout, amounts, np.tile(amounts[:, np.newaxis] + 0.1, 3))
    assert found["baseline_mae"] == 0.25  # only where 3 is said and 4 was
    assert found["constant_mae"] == 1.25  # always 3.5
    assert found["skill"] == pytest.approx(1 - 0.1 / 0.25)
    crossing = np.array([[1, 2, 3], [2, 1, 3], [3, 2, 1], [1, 1, 1]])
    assert AMOUNTS.beside(usual, holdout, amounts, crossing)["crossed"] == 0.5


# --- gates ---

GOOD: dict[str, dict[str, float]] = {
    "multiclass": {
        "auc": 0.8,
        "skill": 0.2,
        "accuracy": 0.7,
        "baseline_accuracy": 0.6,
        "calibration_error": 0.02,
        "fitted_rows_dry": 99,
        "fitted_rows_wet": 99,
        "fitted_rows_icy_road": 10,
    },
    "regression": {
        "mae": 4.0,
        "baseline_mae": 5.0,
        "constant_mae": 6.0,
        "skill": 0.2,
        "crossed": 0.0,
        "coverage": 0.78,
    },
}


@pytest.mark.parametrize("task", [KINDS, AMOUNTS], ids=["multiclass", "regression"])
def test_a_good_challenger_passes(task: tasks.Task) -> None:
    assert task.reasons(GOOD[task.kind]) == []
    assert task.reasons(GOOD[task.kind], GOOD[task.kind]) == []


@pytest.mark.parametrize(
    ("task", "change", "reason"),
    [
        (KINDS, {"auc": 0.54}, "AUC 0.5400 is below 0.55: something is missing"),
        (KINDS, {"auc": 0.985}, "AUC 0.9850 is above 0.98: something leaks"),
        (KINDS, {"skill": 0.019}, "log loss is 1.9% below that of the classes' frequencies, less than 2.0%"),
        (KINDS, {"accuracy": 0.59}, "accuracy 0.5900 adds less than 0 to 0.6000 of kind_1d"),
        (KINDS, {"calibration_error": 0.11}, "calibration error 0.1100 is above 0.1"),
        (KINDS, {"fitted_rows_icy_road": 1}, "kind is Icy road in 1 rows that it was fitted on, fewer than 10"),
        (AMOUNTS, {"skill": 0.01}, "MAE 4 is 1.0% below 5 of usual alone, and not 2.0% below: something is missing"),
        (AMOUNTS, {"skill": -0.5, "mae": 7.5}, "MAE 7.5 is 50.0% above 5 of usual alone, and not 2.0% below"),
        (AMOUNTS, {"skill": 0.91}, "more than 90.0%: something leaks"),
        (AMOUNTS, {"skill": 0.01, "constant_mae": 4.5}, "MAE 4 is 1.0% below 4.5 of always the same, and not 2.0%"),
        (AMOUNTS, {"crossed": 0.06}, "the quantiles of 6.0% of the rows cross, over 5.0%"),
        (AMOUNTS, {"coverage": 0.69}, "69.0% of the labels are between the outermost quantiles, which promise 80.0%"),
        (AMOUNTS, {"coverage": 0.91}, "91.0% of the labels are between the outermost quantiles"),
    ],
)
def test_each_gate_can_refuse(task: tasks.Task, change: dict[str, float], reason: str) -> None:
    (found,) = task.reasons(GOOD[task.kind] | change)
    assert reason in found


@pytest.mark.parametrize(
    ("task", "season", "worse"),
    [
        (COINS, {"auc": 0.52, "baseline_auc": 0.515, "calibration_error": 0.05}, {"auc": 0.465}),
        (COINS, {"auc": 0.7, "baseline_auc": 0.5, "calibration_error": 0.15}, {"calibration_error": 0.21}),
        (KINDS, {"auc": 0.52}, {"auc": 0.465}),
        (KINDS, {"skill": 0.01}, {"skill": -0.1}),
        (KINDS, {"accuracy": 0.58}, {"accuracy": 0.52}),
        (KINDS, {"calibration_error": 0.15}, {"calibration_error": 0.21}),
        (AMOUNTS, {"skill": 0.01}, {"skill": -0.1}),
        (AMOUNTS, {"coverage": 0.92}, {"coverage": 0.98}),
    ],
)
def test_a_limit_that_the_champion_misses_too_is_the_season_s(
    task: tasks.Task, season: dict[str, float], worse: dict[str, float]
) -> None:
    """What the champion reaches, less five margins, is asked for then, and not nothing."""
    found = GOOD.get(task.kind, {}) | season
    assert task.reasons(found)
    assert task.reasons(found, found) == []
    assert task.reasons(found | worse, found)


@pytest.mark.parametrize(
    ("task", "leaks"),
    [
        (COINS, {"auc": 0.985, "baseline_auc": 0.5, "calibration_error": 0.05}),
        (KINDS, {"auc": 0.985}),
        (AMOUNTS, {"skill": 0.95}),
    ],
)
def test_what_leaks_is_refused_also_where_the_champion_takes_it_too(task: tasks.Task, leaks: dict[str, float]) -> None:
    found = GOOD.get(task.kind, {}) | leaks
    assert any("something leaks" in one for one in task.reasons(found, found))


@pytest.mark.parametrize(
    ("task", "metric"), [(task, metric) for task in (KINDS, AMOUNTS) for metric in GOOD[task.kind]]
)
def test_a_metric_that_is_missing_or_no_number_passes_no_gate(task: tasks.Task, metric: str) -> None:
    found = GOOD[task.kind]
    if metric in ("mae", "baseline_mae", "constant_mae"):  # said in the reason, and judged by as skill
        return
    for champion in ({}, found, {metric: float("nan")}):
        assert task.reasons(found | {metric: float("nan")}, champion)
        assert task.reasons({name: value for name, value in found.items() if name != metric}, champion)


@pytest.mark.parametrize("task", [BINARY, KINDS, AMOUNTS, MEAN], ids=lambda task: task.kind)
def test_what_is_compared_and_watched_is_measured(task: tasks.Task) -> None:
    labels = task.labels(pl.Series([0, 1]) if task is not KINDS else pl.Series(["dry", "wet"]))
    width = {"binary": (), "multiclass": (3,), "regression": (3,) if task is AMOUNTS else ()}[task.kind]
    scores = task.scores(np.full((2, *width), 0.5))
    assert {one.metric for one in task.compared} <= set(task.by_day(labels, scores, np.array([0, 0]), 1))
    assert {one.daily for one in task.watched} == set(task.daily(labels, scores))
    assert {one.unit for one in task.watched} - {""} <= set(task.daily(labels, scores))
    assert "n" in task.quality(labels, scores)


def odds(random: np.random.Generator, rows: int, day: float = 0.0) -> tuple[Array, Array]:
    """Labels, and scores that are right of a day as any; ``day`` moves the log odds of all labels."""
    given = random.normal(-1.5, 1.2, rows)
    return (random.random(rows) < 1 / (1 + np.exp(-given - day))).astype(np.int8), 1 / (1 + np.exp(-given))


def test_labels_turned_round_show_among_the_lowest_scores_and_a_stormy_day_does_not() -> None:
    random = np.random.default_rng(1)
    labels, scores = odds(random, 20_000)
    turned = np.where(random.random(20_000) < 0.1, 1 - labels, labels)
    assert BINARY.daily(labels, scores)["low"] == pytest.approx(0, abs=0.03)
    assert BINARY.daily(*odds(random, 20_000, day=1.5))["low"] == pytest.approx(0, abs=0.03)
    assert BINARY.daily(turned, scores)["low"] > 0.1
    assert np.isnan(BINARY.daily(labels[:49], scores[:49])["low"])
    alike = np.zeros(100, np.int8), scores[:100]
    assert BINARY.daily(*alike)["low"] <= 0


def test_wrong_labels_show_where_hardly_any_should_be_of_other_tasks_too() -> None:
    random = np.random.default_rng(2)
    scores = random.dirichlet([8, 1, 0.2], 20_000)
    labels = (random.random(20_000)[:, np.newaxis] > scores.cumsum(axis=1)).sum(axis=1)
    wrong = np.where(random.random(20_000) < 0.1, random.permutation(3)[labels], labels)
    assert KINDS.daily(labels, scores)["unlikely"] == pytest.approx(0, abs=0.02)
    assert KINDS.daily(wrong, scores)["unlikely"] > 0.05
    true = random.normal(100, 20, 5_000)
    given = np.repeat((true + random.normal(0, 1, 5_000))[:, np.newaxis], 3, axis=1)
    mixed = np.where(random.random(5_000) < 0.1, random.permutation(true), true)
    assert AMOUNTS.daily(true, given)["far"] < 0.1
    assert AMOUNTS.daily(true * 3, given * 3)["far"] < 0.1
    assert AMOUNTS.daily(mixed, given)["far"] > 0.2


# --- specs ---


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (lambda: Multiclass("dry"), "classes is 'dry'; it must be a tuple of at least two texts"),
        (lambda: Multiclass(("dry",)), "at least two texts"),
        (lambda: Multiclass(("Icy road", "icy_road")), "two of them give the same column name"),
        (lambda: Multiclass(("<=50K", ">50K")), "the same column name, 50k. Call them by other words"),
        (lambda: Regression("usual", (0.1, 0.9)), r"must rise between 0 and 1, with 0\.5, which is the prediction"),
        (lambda: Regression("usual", (0.9, 0.5)), "must rise"),
        (lambda: Regression("usual", (0.5, 1.0)), "between 0 and 1"),
    ],
)
def test_tasks_that_contradict_themselves_are_refused(task: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"entity": "coin_id"}, "entity is 'coin_id'; it must be a tuple of different names"),
        ({"sources": ()}, "sources is \\(\\); it must be a tuple"),
        ({"label": "weight"}, "weight is its day or label, and something else too"),
        ({"entity": ("coin_id", "flight_date")}, "flight_date is its day or label, and something else too"),
        ({"label": "flight_date"}, "flight_date is its day or label, and something else too"),
        ({"label_days": -1}, "must not be negative"),
    ],
)
def test_cases_that_contradict_themselves_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        toy_case(**change)


@pytest.mark.parametrize(
    ("case", "baseline", "said"),
    [
        (WEATHER.case, "cold", "the baseline cold is numeric, and must be categorical"),
        (toy_case(), "metal", "the baseline metal is categorical, and must be numeric"),
        (SALES.case, "price", "the baseline price is not a feature"),
    ],
)
def test_a_baseline_that_cannot_be_one_is_refused(case: UseCase, baseline: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(case, task=replace(case.task, baseline=baseline))


@given(st.text(min_size=1))
def test_a_class_of_any_name_gives_a_column(name: str) -> None:
    assert class_slug(name)
    assert not set(class_slug(name)) & set(" ,;{}()\n\t=.")
