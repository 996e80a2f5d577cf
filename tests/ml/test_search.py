"""A search: on days of its own, the same each time, also after a kill, and honest about what it gains."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

import mlflow
import polars as pl
import pytest

from include.contracts.search import Range, Search
from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.ml import dataset, errors, fitting, metrics, promotion, record, registry, reproduce, scoring, search, train
from include.ml.search import Found, UnfitSearchError
from tests.ml.conftest import FIRST, toy_case, write_days
from tests.ml.worlds import RETURNS, SALES, WEATHER, World

NIGHT = FIRST + timedelta(29)
SPACE = {"learning_rate": Range(0.02, 0.6, log=True), "max_depth": Range(1, 4), "subsample": Range(0.5, 1.0)}
SEARCH = Search(trials=7, days=6, blocks=1, space=SPACE, level=0.5)


def searching(case: UseCase, of: Search = SEARCH, **training: Any) -> UseCase:
    return replace(case, training=replace(case.training, search=of, **training))


def slow_learner(case: UseCase) -> UseCase:
    """One whose own rate is too low for so few rounds: others are better."""
    return searching(case, params={**case.training.params, "learning_rate": 0.05})


@pytest.fixture
def toy_that_searches(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    case = slow_learner(toy)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    return case


def found(case: UseCase, recipe: str = "one", change: pl.Expr | None = None) -> Found:
    """What a search finds on the toy days, with some of the rows changed."""
    data = dataset.load(case, FIRST, NIGHT)
    frame = data.frame if change is None else data.frame.with_columns(change)
    return search.run(case, frame, train.split_of(case, set(data.frame[case.day])).train, "cpu", recipe)


def same(one: Found, other: Found) -> bool:
    """Whether two searches are the same but for their clocks."""
    first, second = ([replace(trial, began=0.0, seconds=0.0) for trial in each.trials] for each in (one, other))
    return (one.chosen, first) == (other.chosen, second)


# --- what it does ---


def test_two_searches_of_the_same_choose_the_same(toy_that_searches: UseCase) -> None:
    one, other = found(toy_that_searches, "one"), found(toy_that_searches, "other")
    assert same(one, other)
    assert len(one.trials) == 7
    assert any(trial.pruned for trial in found(searching(toy_that_searches, replace(SEARCH, trials=14))).trials)
    assert len({str(trial.params) for trial in one.trials}) == 7, "each trial has a draw of its own"
    another_seed = found(searching(toy_that_searches, replace(SEARCH, seed=8)), "seed")
    assert another_seed.trials[0].params == one.trials[0].params, "the first has the spec's own"
    assert another_seed.trials[1].params != one.trials[1].params


def test_the_first_trial_has_the_spec_s_own_parameters_and_a_better_one_replaces_them(
    toy_that_searches: UseCase,
) -> None:
    made = found(toy_that_searches)
    assert made.trials[0].params == {"learning_rate": 0.05, "max_depth": 2, "subsample": 1.0}
    assert made.best < made.own
    assert made.best == min(trial.score for trial in made.trials if not trial.pruned)
    assert made.chosen in [trial.params for trial in made.trials[1:]]
    tried = search.applied(toy_that_searches, made.chosen)
    data = dataset.load(toy_that_searches, FIRST, NIGHT)
    (split,) = search.splits_of(
        toy_that_searches, SEARCH, train.split_of(toy_that_searches, set(data.frame["flight_date"])).train, set()
    )
    booster = fitting.fit(tried, data.frame, split, "cpu")
    rows = dataset.between(toy_that_searches, data.frame, split.holdout)
    scores = scoring.output(tried, booster, tried.features, rows).astype(float)
    assert metrics.log_loss(rows["is_head"].to_numpy(), scores) == pytest.approx(made.best, abs=1e-12)
    assert f"log_loss {made.best:.5g} on 2020-01-18 to 2020-01-23, and {made.own:.5g} of the spec's own" in str(made)


def test_what_is_better_by_chance_only_is_not_taken(toy_that_searches: UseCase) -> None:
    lucky = found(toy_that_searches)
    strict = found(searching(toy_that_searches, replace(SEARCH, level=1e-9)), "strict")
    assert (strict.best, strict.gain) == (lucky.best, lucky.gain)
    assert lucky.gain == pytest.approx(lucky.own - lucky.best)
    assert 0 < lucky.error < 0.1
    assert (lucky.chosen != {}, strict.chosen) == (True, {})
    assert "taken: the own ones, since no others are certain to be better" in str(strict)


def test_where_nothing_is_better_the_spec_s_own_parameters_stay(toy: UseCase) -> None:
    worse = Search(trials=4, days=6, blocks=1, space={"learning_rate": (0.3, 0.000001, 0.0000001)})
    made = found(searching(toy, worse))
    assert (made.chosen, made.best) == ({}, made.own)


def test_neither_holdout_nor_validation_is_seen(toy: UseCase) -> None:
    case = searching(toy, rounds=20, early_stopping_rounds=3, valid_days=3)
    split = train.split_of(case, set(dataset.load(case, FIRST, NIGHT).frame[case.day]))
    assert split.valid is not None
    turned = pl.when(pl.col("flight_date") >= split.valid[0]).then(1 - pl.col("is_head")).otherwise("is_head")
    one, other = found(case, "as they are"), found(case, "turned", turned.alias("is_head"))
    assert one.days == (split.train[1] - timedelta(5), split.train[1])
    assert same(one, other)
    seen = pl.when(pl.col("flight_date") == split.train[1]).then(1 - pl.col("is_head")).otherwise("is_head")
    assert not same(one, found(case, "seen", seen.alias("is_head")))


def test_labels_that_take_days_keep_their_distance(home: object) -> None:
    """30 days lie between what a trial is fitted on, what it is scored on, and what the version is judged by."""
    case = searching(RETURNS.case, Search(days=62, blocks=1))
    whole = dataset.split_days(case, FIRST, FIRST + timedelta(159))
    (cut,) = search.splits_of(case, Search(days=62, blocks=1), whole.train, set())
    assert (cut.holdout[0] - cut.train[1]).days == 31
    assert (whole.holdout[0] - cut.holdout[1]).days == 31


@pytest.mark.parametrize("world", [WEATHER, SALES], ids=lambda world: world.case.name)
def test_of_other_tasks_too(world: World, lake: object) -> None:
    world.write(FIRST, 45)
    case = replace(world.case, training=replace(world.case.training, search=Search(trials=3, days=5, blocks=1)))
    data = dataset.load(case, FIRST, FIRST + timedelta(44))
    made = search.run(case, data.frame, train.split_of(case, set(data.frame[case.day])).train, "cpu", "one")
    assert made.metric == {"weather": "log_loss", "sales": "pinball_loss"}[case.name]
    assert made.best == min(trial.score for trial in made.trials if not trial.pruned)
    assert set(made.trials[1].params) == set(made.trials[0].params) >= {"max_depth", "learning_rate"}


def test_each_block_is_scored_by_a_fit_on_the_days_before_it(toy: UseCase) -> None:
    case = searching(toy, replace(SEARCH, days=4, blocks=2, trials=2))
    made, data = found(case), dataset.load(case, FIRST, NIGHT)
    days = train.split_of(case, set(data.frame[case.day])).train
    newest, older = search.splits_of(case, Search(days=4, blocks=2), days, set())
    assert older.train[1] < older.holdout[0] <= older.holdout[1] < newest.holdout[0]
    assert newest.train[1] == older.holdout[1]
    assert made.days == (older.holdout[0], newest.holdout[1])
    losses = []
    for split in (newest, older):
        rows = dataset.between(case, data.frame, split.holdout)
        scores = scoring.output(case, fitting.fit(case, data.frame, split, "cpu"), case.features, rows).astype(float)
        losses += metrics.log_losses(rows["is_head"].to_numpy(), scores).tolist()
    assert made.own == pytest.approx(sum(losses) / len(losses), abs=1e-12)
    assert len(made.trials[0].sums) == 8


def test_where_classes_have_weights_scores_on_the_way_are_of_probabilities_too(toy: UseCase) -> None:
    case = searching(replace(toy, task=replace(toy.task, positive_weight=9.0)), replace(SEARCH, trials=2))
    own = found(case).trials[0]
    assert own.steps[7] == pytest.approx(own.score, abs=0.02), "one round of eight before the end"


def test_a_metric_of_the_task_can_be_searched_for(toy: UseCase) -> None:
    made = found(searching(toy, replace(SEARCH, metric="average_precision")))
    assert made.best == max(trial.score for trial in made.trials if not trial.pruned)
    with pytest.raises(
        UnfitSearchError, match="is for happiness, which its task does not compare by: put one of auc, "
    ):
        found(searching(toy, replace(SEARCH, metric="happiness")), "other")


def test_rounds_and_choices_can_be_searched_for(toy: UseCase) -> None:
    space = {"rounds": Range(4, 12), "grow_policy": ("depthwise", "lossguide")}
    case = searching(toy, Search(trials=6, days=6, blocks=1, space=space))
    made = found(case)
    assert made.trials[0].params == {"rounds": 8, "grow_policy": "depthwise"}
    tried = search.applied(case, {"rounds": 5, "grow_policy": "lossguide"}).training
    assert (tried.rounds, tried.params["grow_policy"], "rounds" in tried.params) == (5, "lossguide", False)


# --- budgets and kills ---


def test_seconds_end_a_search_between_two_trials(toy: UseCase) -> None:
    made = found(searching(toy, replace(SEARCH, seconds=1e-9)))
    assert (len(made.trials), made.ended_by, made.chosen) == (1, "seconds", {})


def test_what_has_ended_is_not_made_again(toy_that_searches: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    one = found(toy_that_searches)

    def never(*_: object) -> None:
        raise AssertionError("a trial was made again")

    monkeypatch.setattr(fitting, "fit", never)
    assert found(toy_that_searches) == one


KILLED = """
import os, signal, sys
from datetime import timedelta
from include.ml import fitting, search
from tests.ml import test_search
from tests.ml.conftest import toy_case

trials, real = 0, fitting.fit

def dying(*asked, callbacks):
    global trials
    trials += 1
    if trials == 4:
        callbacks[0].after_iteration = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return real(*asked, callbacks=callbacks)

fitting.fit = dying
test_search.found(test_search.slow_learner(toy_case()), "killed")
"""


def test_a_killed_search_goes_on_and_ends_as_one_that_was_left_alone(toy_that_searches: UseCase) -> None:
    environment = os.environ | {"NOCTURNE_VAR": str(settings().var)}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    made: list[object] = []
    real = fitting.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit", lambda *asked, **named: made.append(asked) or real(*asked, **named))
        after = found(toy_that_searches, "killed")
    assert len(made) == 4, "three had ended; the fourth, which was killed, is made again"
    assert [trial.number for trial in after.trials] == list(range(7))
    assert same(after, found(toy_that_searches, "alone"))


def test_only_the_newest_searches_are_kept(toy: UseCase) -> None:
    case = searching(toy, Search(trials=2, days=6, blocks=1, space={"max_depth": Range(1, 3)}))
    for n in range(search.KEPT + 2):
        found(case, f"recipe {n}")
    names = {path.name for path in (settings().var / "searches" / "toy").glob("*.json")}
    assert len(names) == search.KEPT
    assert f"recipe {search.KEPT + 1}.json" in names


# --- days that tell nothing ---


@pytest.mark.parametrize(
    ("of", "change", "why"),
    [
        (SEARCH, pl.when(pl.col("flight_date") >= date(2020, 1, 18)).then(1).otherwise("is_head"), "is 1 in all 360"),
        (SEARCH, pl.when(pl.col("flight_date") < date(2020, 1, 18)).then(0).otherwise("is_head"), "is 0 in all 1020"),
        (replace(SEARCH, days=14), pl.col("is_head"), "9 days are left to fit trials on, beside 14 to score them by"),
        (replace(SEARCH, days=40), pl.col("is_head"), "leaves no day to train on"),
        (replace(SEARCH, blocks=3), pl.col("is_head"), "5 days are left to fit trials on, beside 6 to score them by"),
    ],
)  # fmt: skip
def test_where_the_days_tell_nothing_there_is_no_search_and_it_is_said(
    toy: UseCase, of: Search, change: pl.Expr, why: str
) -> None:
    made = found(searching(toy, of), change=change.alias("is_head"))
    assert (made.chosen, made.trials) == ({}, [])
    assert why in made.ended_by
    assert str(made).startswith("no search: ")


# --- what a training makes of it ---


def test_the_record_keeps_what_was_chosen_and_a_version_comes_of_it_without_the_search(
    toy_that_searches: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train.train("toy", NIGHT, "cpu")
    (kept,) = record.trainings(toy_that_searches)
    assert kept.chosen
    assert kept.searched["trials"] == 7
    assert kept.searched["best"] < kept.searched["own"]
    assert (kept.searched["first_day"], kept.searched["last_day"]) == ("2020-01-18", "2020-01-23")
    params = mlflow.MlflowClient().get_run(trained["run_id"]).data.params
    assert params["learning_rate"] == str(kept.chosen["learning_rate"]) != "0.05"
    assert params["search_own"] == str(kept.searched["own"])

    def never(*_: object) -> None:
        raise AssertionError("it was searched again")

    monkeypatch.setattr(search, "run", never)
    assert reproduce.reproduce("toy", 1).equal
    again = train.train("toy", NIGHT, "cpu")
    assert (again["version"], again["created"]) == (1, False)


def test_each_trial_is_a_run_below_the_training_s(toy_that_searches: UseCase, mlflow_store: None) -> None:
    trained = train.train("toy", NIGHT, "cpu")
    (kept,) = record.trainings(toy_that_searches)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    below = f"tags.mlflow.parentRunId = '{trained['run_id']}'"
    runs = sorted(client.search_runs([experiment.experiment_id], below), key=lambda run: int(run.data.tags["trial"]))
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert runs[0].info.run_name == "trial 0: the spec's own parameters"
    assert runs[0].data.metrics["log_loss"] == pytest.approx(float(kept.searched["own"]))
    best = min(run.data.metrics["log_loss"] for run in runs if run.data.tags["pruned"] == "false")
    assert best == pytest.approx(float(kept.searched["best"]))
    history = client.get_metric_history(runs[0].info.run_id, "log_loss")
    assert [point.step for point in history] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_training_killed_among_its_trials_leaves_no_run_running(
    toy_that_searches: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    real, logged = mlflow.MlflowClient.log_batch, []

    def dying(self: mlflow.MlflowClient, *asked: Any, **named: Any) -> Any:
        logged.append(asked)
        if len(logged) == 4:
            raise KilledError
        return real(self, *asked, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", dying)
    with pytest.raises(KilledError):
        train.train("toy", NIGHT, "cpu")
    monkeypatch.undo()
    case = toy_that_searches
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    registry.finish_killed(case)
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'") == []


def test_another_search_is_another_recipe(toy_that_searches: UseCase) -> None:
    from include.ml.code import Code

    clean = Code("c0ffee", False, "")
    others = [replace(SEARCH, trials=8), replace(SEARCH, seed=9), replace(SEARCH, space={"max_depth": Range(1, 3)})]
    cases = [toy_that_searches, *(searching(toy_that_searches, of) for of in others), toy_case()]
    assert len({train.keys_of(case, NIGHT, "abc", clean, "cpu", None).recipe for case in cases}) == 5


def test_a_search_comes_back_from_the_json_of_a_spec() -> None:
    space = {"max_depth": Range(1, 4), "grow_policy": ("depthwise", "lossguide"), "reg_lambda": Range(0.1, 9.0, True)}
    case = searching(toy_case(), Search(trials=5, seconds=60, days=6, space=space, metric="auc"))
    assert reproduce.spec_of(json.loads(json.dumps(asdict(case), default=str))) == case


def test_a_parameter_that_xgboost_does_not_know_is_named(toy: UseCase) -> None:
    case = searching(toy, Search(trials=3, days=6, blocks=1, space={"max_depht": Range(1, 3)}), params={"max_depht": 2})
    with pytest.raises(errors.ModelRefusedError, match="max_depht"):
        found(case)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Range(3, 3), "it must rise"),
    (lambda: Range(0, 3, log=True), "it must begin above 0"),
    (lambda: Search(trials=1), "it needs two of each"),
    (lambda: Search(level=0), "must be above 0"),
    (lambda: Search(blocks=0), "0 blocks of days; it needs one"),
    (lambda: searching(RETURNS.case, Search(days=61)), "labels that take 30: give it 62 or more"),
    (lambda: Search(seconds=0), "it needs more than none"),
    (lambda: Search(space={"seed": Range(1, 9)}), "cannot look for seed"),
    (lambda: Search(space={"max_depth": (3,)}), "a tuple of different values"),
    (lambda: searching(toy_case(), Search(space={"max_depth": Range(5, 9)})), "leaves out 2, which the spec has"),
    (lambda: searching(toy_case(), Search(space={"eta": Range(0.1, 0.5)})), "which the spec calls learning_rate"),
    (lambda: searching(toy_case(), Search(space={"interaction": Range(1, 2)})), "put the value that it has without"),
]


@pytest.mark.parametrize(("made", "said"), WRONG)
def test_a_search_that_contradicts_itself_is_refused(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made()


def test_usual_ranges_are_made_wide_enough_for_the_spec_s_own() -> None:
    space = Search().choices({"eta": 0.5, "lambda": 0}, 10)
    assert space["eta"] == Range(0.01, 0.5, log=True)
    assert space["lambda"] == Range(0, 50.0)
    assert "learning_rate" not in space


def test_a_challenger_of_a_search_is_judged_as_any_other(
    toy_that_searches: UseCase, mlflow_store: None, capsys: pytest.CaptureFixture[str]
) -> None:
    version = train.train("toy", NIGHT, "cpu")["version"]
    assert "search of 7 trials" in capsys.readouterr().out
    assert promotion.promote("toy", version)["promoted"]
    write_days(toy_that_searches, NIGHT + timedelta(1), 10)
    later = train.train("toy", NIGHT + timedelta(10), "cpu")["version"]
    assert promotion.promote("toy", later)["verdict"] in ("promote", "wait")
