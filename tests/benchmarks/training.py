"""Our training beside bare XGBoost, on the same Delta tables, turn by turn; and the memory that it takes.

The boosting alone, on one matrix, beside ``xgboost.train``; from Delta to a registered version, beside a script of a
screenful that does the same and checks nothing; the memory beside the size of the bins; and that of a training whose
bins are on disk beside one of a fifth of its rows. But for the first, each turn is a process of its own.
"""

from __future__ import annotations

import os
import resource
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Binary, Feature, Training, UseCase
from include.core.scratch import scratch
from include.core.settings import settings
from include.core.storage import remove
from include.lake import delta
from include.ml import checkpoint, dataset, encoded, fitting, tasks, train

ROWS, TREES, DAYS, HOLDOUT = 1_000_000, 100, 50, 5
FIRST = date(2030, 1, 1)
NIGHT = FIRST + timedelta(DAYS - 1)
TOWNS = tuple(f"town {n}" for n in range(20))
NUMBERS = [f"x{n}" for n in range(28)]
ON_DISK = {"rows": 2_000_000, "trees": 3}
CASE = UseCase(
    name="bench_training",
    description="made up",
    owner="nobody",
    sources=("bench",),
    entity=("thing",),
    day="day",
    label="label",
    task=Binary(baseline="x0"),
    features=(
        *(Feature(name) for name in NUMBERS),
        Feature("town", "categorical", vocabulary=TOWNS),
        Feature("hour"),
    ),
    training=Training(
        params={"tree_method": "hist", "max_depth": 6, "learning_rate": 0.1, "subsample": 0.8},
        rounds=TREES,
        first_day=FIRST,
        holdout_days=HOLDOUT,
    ),
)


def make_tables(rows: int) -> None:
    """Features and labels of ``DAYS`` days, of every 50th number nothing known; day by day."""
    remove(delta.table_path("gold", CASE.features_table))
    remove(delta.table_path("gold", CASE.labels_table))
    for n in range(DAYS):
        random, size, day = np.random.default_rng(n), rows // DAYS, FIRST + timedelta(n)
        numbers = random.standard_normal((len(NUMBERS), size))
        noise = random.standard_normal(size)
        label = (numbers[0] + numbers[1] * numbers[2] + noise > 0).astype(np.int32)
        numbers[random.random(numbers.shape) < 0.02] = np.nan
        frame = pl.DataFrame(
            {"thing": random.permutation(size), CASE.day: [day] * size}
            | dict(zip(NUMBERS, numbers, strict=True))
            | {"town": pl.Series(TOWNS)[random.integers(0, 20, size)], "hour": random.integers(0, 24, size)}
        ).with_columns(pl.col(NUMBERS).fill_nan(None))
        known = pl.DataFrame({"thing": frame["thing"], CASE.day: day, "ingestion_date": day, "label": label})
        delta.replace_days("gold", CASE.features_table, frame, day, day, day=CASE.day)
        delta.replace_days("gold", CASE.labels_table, known, day, day, day=CASE.day)


def params_of(case: UseCase) -> dict[str, Any]:
    own = {"seed": case.training.seed, "nthread": case.training.threads, "seed_per_iteration": True}
    return {**tasks.of(case).params, **case.training.params, **own}


def boosting(turns: int) -> dict[str, list[dict[str, float]]]:
    """Our loop, with its checkpoint, and XGBoost's, on one matrix; which is first changes with each turn."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "xgboost.train": []}
    data = dataset.load(CASE, FIRST, NIGHT)
    with encoded.encoded(CASE, data.frames()) as rows:
        of = fitting.matrices(CASE, rows, dataset.split_days(CASE, FIRST, NIGHT), "cpu")
        sides = {
            "ours": lambda: fitting.boost(CASE, of, "cpu", checkpoint=checkpoint.of(CASE, "")),
            "xgboost.train": lambda: xgb.train(params_of(CASE), of.train, TREES),
        }
        for number in range(turns):
            models = {}
            for side in sorted(sides, reverse=number % 2 == 1):
                checkpoint.of(CASE, "").remove()
                begun = time.monotonic()
                models[side] = sides[side]()
                found[side].append({"seconds": time.monotonic() - begun})
            ours, peer = (bytes(models[side].save_raw("ubj")) for side in sides)
            if ours != peer:
                raise AssertionError("the two have made another model")
    checkpoint.of(CASE, "").remove()
    return found


def ours(seed: int) -> None:
    """The task of the DAG: from the tables to a registered version."""
    case = replace(CASE, training=replace(CASE.training, seed=seed))
    with mock.patch("include.use_cases.use_cases", return_value={case.name: case}):
        made = train.train(case.name, NIGHT, "cpu")
    if not made["created"]:
        raise AssertionError("this training was there already")


def bare(seed: int) -> None:
    """The same by hand: no check, no record, no reference; the rows in one frame."""
    import mlflow

    features = pl.scan_delta(str(delta.table_path("gold", CASE.features_table)))
    labels = pl.scan_delta(str(delta.table_path("gold", CASE.labels_table))).drop("ingestion_date")
    frame = features.join(labels, on=["thing", "day"]).sort("day", "thing").collect()
    frame = frame.with_columns(pl.col("town").cast(pl.Enum(TOWNS)).to_physical())
    names = [*NUMBERS, "town", "hour"]
    kinds = ["c" if name == "town" else "q" for name in names]

    def matrix(rows: pl.DataFrame, like: xgb.QuantileDMatrix | None = None) -> xgb.QuantileDMatrix:
        values = rows.select(pl.col(names).cast(pl.Float32)).to_numpy()
        return xgb.QuantileDMatrix(
            values, rows["label"].to_numpy(), feature_names=names, feature_types=kinds, ref=like, nthread=2
        )

    later = pl.col("day") > NIGHT - timedelta(HOLDOUT)
    learned, holdout = matrix(frame.filter(~later)), frame.filter(later)
    booster = xgb.train(params_of(CASE) | {"seed": seed}, learned, TREES)
    auc = booster.eval(matrix(holdout, learned))
    mlflow.set_experiment("bare")
    with mlflow.start_run():
        mlflow.log_params(CASE.training.params)
        mlflow.log_param("evaluation", auc)
        model = mlflow.xgboost.log_model(booster, name="model", model_format="ubj", pip_requirements=["xgboost"])
        mlflow.register_model(model.model_uri, "bare")


SIDES = {"ours": ours, "bare script": bare}


def use(folder: str) -> None:
    """MLflow in a folder of its own."""
    import mlflow

    os.chdir(folder)  # where MLflow puts a model's files
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.MlflowClient().search_experiments()
    mlflow.xgboost  # noqa: B018  # imported when it is first looked at


def most() -> float:
    """The most memory that this process had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def turn(side: str, seed: int, folder: str) -> dict[str, float]:
    use(folder)
    begun, before = time.monotonic(), most()
    SIDES[side](seed)
    return {"seconds": round(time.monotonic() - begun, 2), "mib": round(most() - before)}


def fitted(trees: int, gib: float) -> dict[str, float]:
    """Fit and judge alone, with at most so many GiB of bins in memory. MiB of memory beside that of the imports."""
    case, before, begun = replace(CASE, training=replace(CASE.training, rounds=trees)), most(), time.monotonic()
    data = dataset.load(case, FIRST, NIGHT)
    told = settings().model_copy(update={"matrix_gib": gib})
    with mock.patch.object(fitting, "settings", return_value=told):
        train.fit_and_judge(case, data, "cpu", None)
    return {"mib": round(most() - before), "took": round(time.monotonic() - begun)}


def binned(folder: str) -> dict[str, float]:
    """The size of the bins of all rows, as XGBoost writes them to a file, in MiB."""
    with encoded.encoded(CASE, dataset.load(CASE, FIRST, NIGHT).frames()) as rows:
        found = encoded.Batches(rows, slice(0, rows.rows), cache=Path(folder) / "bins")
        kept = xgb.ExtMemQuantileDMatrix(found, nthread=2, enable_categorical=True)
        size = sum(path.stat().st_size for path in Path(folder).glob("bins*"))
        del kept
    return {"mib": round(size / 2**20)}


def compare(processes: Executor, turns: int, folder: str, say: Callable[[str], None]) -> dict[str, Any]:
    """From Delta to a version, ``turns`` times, each side first in every second one."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(turns):
        for side in sorted(SIDES, reverse=number % 2 == 0):
            found[side].append(processes.submit(turn, side, 100 + number, folder).result())
            say(f"  {number + 1}: {side} {found[side][-1]}")
    return found


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Comparisons by name, as ``__main__`` shows them."""
    found: dict[str, dict[str, Any]] = {}
    # All in processes that end: the most memory that a process had counts for those that it starts.
    with scratch("bench") as folder, ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        say(f"Training: {ROWS:,} rows, {len(CASE.features)} features, {TREES} trees")
        processes.submit(make_tables, ROWS).result()
        found["training, the boosting alone"] = {"turns": processes.submit(boosting, given.turns).result()}
        say(f"  boosting alone: {found['training, the boosting alone']}")
        name = f"training, {ROWS:,} rows from Delta to a version"
        found[name] = {"turns": compare(processes, given.turns, str(folder), say)}
        bins = processes.submit(binned, str(folder)).result()
        peak = processes.submit(fitted, 10, 100).result()
        say(f"  memory: {peak}, bins {bins}")
        found["training, memory beside that of the bins (MiB)"] = {"turns": {"ours": [peak], "the bins": [bins]}}
        peaks = {}
        for rows in (ON_DISK["rows"], ON_DISK["rows"] // 5):
            processes.submit(make_tables, rows).result()
            peaks[f"{rows:,} rows"] = [processes.submit(fitted, ON_DISK["trees"], 1e-9).result()]
            say(f"  bins on disk, {rows:,} rows: {peaks[f'{rows:,} rows']}")
        found["training, memory with the bins on disk (MiB)"] = {"turns": peaks}
    for name in (CASE.features_table, CASE.labels_table, CASE.trainings_table):
        remove(delta.table_path("gold", name))
    return found
