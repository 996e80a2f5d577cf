"""The rows of a training on disk: the same model however they are cut, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xgboost as xgb

from include.contracts.use_case import Feature, UseCase
from include.core.scratch import scratch
from include.core.settings import HOME, settings
from include.ml import dataset, encoded, fitting, model_files, scoring, tasks, train
from tests.ml.conftest import FIRST, ROWS, toy_rows

LAST = FIRST + timedelta(29)
SPLIT = dataset.Split((FIRST, FIRST + timedelta(18)), (FIRST + timedelta(19), FIRST + timedelta(22)), (LAST, LAST))
LEFT = """
import os, signal
from include.core.scratch import scratch
with scratch("rows") as folder:
    (folder / "0").write_text("...")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def stopping(toy: UseCase) -> UseCase:
    """With validation, and a part of the rows and columns drawn in each round."""
    params = {**toy.training.params, "subsample": 0.8, "colsample_bytree": 0.7}
    return replace(
        toy, training=replace(toy.training, params=params, rounds=60, early_stopping_rounds=20, valid_days=4)
    )


def sha256(booster: xgb.Booster) -> str:
    return model_files.sha256(bytes(booster.save_raw("ubj")))


def days_of(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    return iter(frame.partition_by("flight_date", maintain_order=True))


def test_a_model_is_that_of_xgboost_itself_with_the_whole_matrix(stopping: UseCase) -> None:
    case, rows = stopping, toy_rows(FIRST, 30)
    parts = [dataset.between(case, rows, days) for days in (SPLIT.train, SPLIT.valid or SPLIT.train)]
    made: list[xgb.QuantileDMatrix] = []
    for part in parts:
        values = dataset.matrix(case.features, part)
        names, kinds = list(case.feature_names), scoring.feature_types(case.features)
        like = made[0] if made else None
        labels = tasks.of(case).labels(part["is_head"])
        made.append(
            xgb.QuantileDMatrix(
                values, labels, feature_names=names, feature_types=kinds, enable_categorical=True, ref=like
            )
        )
    params = {**case.training.params, "seed": 7, "nthread": 1, "seed_per_iteration": True, "eval_metric": "logloss"}
    bare = xgb.train(params, made[0], 60, evals=[(made[1], "valid")], early_stopping_rounds=20, verbose_eval=False)
    assert 0 < bare.best_iteration < bare.num_boosted_rounds() - 1, "stops early"
    ours = fitting.fit(case, rows, SPLIT, "cpu")
    assert sha256(ours) == sha256(bare[: bare.best_iteration + 1])


@pytest.mark.parametrize("gib", [4.0, 1e-9], ids=["in memory", "on disk"])
@pytest.mark.parametrize("batch", [97, 10**6])
def test_neither_batches_nor_parts_nor_the_disk_make_another_model(
    stopping: UseCase, monkeypatch: pytest.MonkeyPatch, batch: int, gib: float, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = toy_rows(FIRST, 30)
    expected = sha256(fitting.fit(stopping, rows, SPLIT, "cpu"))
    monkeypatch.setattr(encoded, "BATCH_ROWS", batch)
    monkeypatch.setattr(fitting, "settings", lambda: settings().model_copy(update={"matrix_gib": gib}))
    with encoded.encoded(stopping, days_of(rows)) as found:
        assert sha256(fitting.fit(stopping, found, SPLIT, "cpu")) == expected
    assert ("are kept on disk" in capsys.readouterr().out) == (gib < 1)
    assert not list((settings().var / "scratch").iterdir()), "the files of rows and bins are gone"


def test_categories_are_codes_that_a_model_names_as_such(toy: UseCase) -> None:
    booster = fitting.fit(toy, toy_rows(FIRST, 30), replace(SPLIT, valid=None), "cpu")
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    assert learner["feature_names"] == ["weight", "metal", "noise"]
    assert learner["feature_types"] == ["q", "c", "q"]
    trees = learner["gradient_booster"]["model"]["trees"]
    # A split of a category names the codes of its vocabulary, and of "unknown", the last one.
    assert {code for tree in trees for code in tree["categories"]} <= {0, 1, 2}
    assert any(tree["categories"] for tree in trees)


def test_rows_come_back_as_they_were(toy: UseCase) -> None:
    rows = toy_rows(FIRST, 5)
    with encoded.encoded(toy, days_of(rows)) as found:
        assert (found.rows, found.days[-1]) == (5 * ROWS, FIRST + timedelta(4))
        which = found.between((FIRST + timedelta(1), FIRST + timedelta(2)))
        assert which == slice(ROWS, 3 * ROWS)
        np.testing.assert_array_equal(found.matrix(which), dataset.matrix(toy.features, rows[which]))
        np.testing.assert_array_equal(found.day_of, rows["flight_date"].to_numpy())
        np.testing.assert_array_equal(list(found.columns()), dataset.matrix(toy.features, rows).T)


def test_rows_that_are_not_sorted_by_day_are_refused(toy: UseCase) -> None:
    for wrong in (toy_rows(FIRST, 3).reverse(), pl.concat([toy_rows(FIRST, 2), toy_rows(FIRST, 1)])):
        with pytest.raises(ValueError, match="not sorted by"), encoded.encoded(toy, [wrong]):
            pass


@pytest.mark.parametrize(
    ("values", "fine"),
    [
        (pl.Series([2**24, -(2**24), None]), True),
        (pl.Series([2**24 + 2]), True),  # this one is there
        (pl.Series([1, 2**24 + 1]), False),
        (pl.Series([2**24 + 1], dtype=pl.UInt32), False),
        (pl.Series([2.0**24 + 1]), True),  # in a column of floats, rounding is expected
    ],
)
def test_whole_numbers_that_a_model_would_see_rounded_are_named(values: pl.Series, fine: bool) -> None:
    if fine:
        encoded.require_exact(Feature("cents"), values)
    else:
        with pytest.raises(dataset.UnfitFeatureError, match=r"cents has 1 of . values, as 16777217, that 32-bit"):
            encoded.require_exact(Feature("cents"), values)


def test_what_a_killed_process_left_goes_with_the_next_and_nothing_else(home: Path) -> None:
    command = [sys.executable, "-c", LEFT]
    done = subprocess.run(
        command, cwd=HOME, env=os.environ | {"NOCTURNE_VAR": str(settings().var)}, stdout=subprocess.PIPE, text=True
    )
    left = Path(done.stdout.strip())
    assert done.returncode == -signal.SIGKILL
    assert left.is_dir()
    with scratch("other") as mine, scratch("other") as second:
        assert not left.exists()
        assert mine != second
        assert mine.is_dir()
    assert not mine.exists()


def test_training_never_has_all_rows_in_one_frame(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "PART_ROWS", 3 * ROWS)
    data = dataset.load(toy, FIRST, LAST)
    whole = train.fit_and_judge(toy, data, "cpu", None)
    frame = dataset.Dataset.frame.func

    def of_few_days(self: dataset.Dataset) -> pl.DataFrame:
        assert self.last - self.first < timedelta(7), "all rows in one frame"
        return frame(self)

    monkeypatch.setattr(dataset.Dataset, "frame", property(of_few_days))
    again = train.fit_and_judge(toy, dataset.load(toy, FIRST, LAST), "cpu", None)
    assert max(one.height for one in data.frames()) == 3 * ROWS
    assert (sha256(again.booster), again.reference) == (sha256(whole.booster), whole.reference)
