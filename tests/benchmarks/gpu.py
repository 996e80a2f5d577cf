"""Training on the GPU, ten million rows as airlines have them: ours beside bare XGBoost, and LightGBM where it is.

The boosting alone, on one matrix of bins, beside ``xgboost.train`` on the same GPU; beside LightGBM on the processor,
whose wheel has no CUDA; and from Delta to a model in a file, beside a script of a screenful that checks nothing. Each
turn of that is a process of its own, and all of ours must give the same bytes. Nothing of it runs without a GPU.
"""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Binary, Feature, Training, UseCase
from include.core.scratch import scratch
from include.core.storage import remove
from include.lake import delta
from include.ml import checkpoint, dataset, encoded, fitting, gpu, tasks

ROWS, TREES, DEPTH, DAYS, HOLDOUT, THREADS = 10_000_000, 100, 10, 50, 1, 16
FIRST = date(2030, 1, 1)
LAST = FIRST + timedelta(DAYS - 1)
CARRIERS, AIRPORTS = (tuple(f"{letter}{n}" for n in range(many)) for letter, many in (("c", 22), ("a", 300)))
WORDS = {"carrier": CARRIERS, "origin": AIRPORTS, "destination": AIRPORTS}
MOST = {"month": 12, "day_of_month": 31, "day_of_week": 7, "departure": 2400, "arrival": 2400, "number": 8000}
NUMBERS = (*MOST, "minutes", "miles", "diverted", "year")
CASE = UseCase(
    name="bench_gpu",
    description="made up",
    owner="nobody",
    sources=("bench",),
    entity=("flight",),
    day="day",
    label="late",
    task=Binary(baseline="departure"),
    features=(
        *(Feature(name) for name in NUMBERS),
        *(Feature(name, "categorical", vocabulary=words) for name, words in WORDS.items()),
    ),
    training=Training(
        params={"tree_method": "hist", "max_depth": DEPTH, "learning_rate": 0.1},
        rounds=TREES,
        first_day=FIRST,
        holdout_days=HOLDOUT,
        threads=THREADS,
    ),
)


def make_tables(rows: int) -> None:
    """Features and labels of ``DAYS`` days, in which some carriers and airports are later than others."""
    remove(delta.table_path("gold", CASE.features_table))
    remove(delta.table_path("gold", CASE.labels_table))
    always = np.random.default_rng(0)
    effects = {name: always.normal(0, 0.5, len(words)) for name, words in WORDS.items()}
    for n in range(DAYS):
        random, size, day = np.random.default_rng(n + 1), rows // DAYS, FIRST + timedelta(n)
        codes = {name: random.integers(0, len(words), size) for name, words in WORDS.items()}
        numbers = {name: random.integers(0, most, size, dtype=np.int32) for name, most in MOST.items()}
        miles = random.integers(80, 3000, size, dtype=np.int32)
        numbers |= {"minutes": miles // 8 + random.integers(20, 60, size, dtype=np.int32), "miles": miles}
        numbers |= {"diverted": (random.random(size) < 0.002).astype(np.int32), "year": np.full(size, 2030, np.int32)}
        odds = sum(effects[name][codes[name]] for name in WORDS) + numbers["departure"] / 1200 - 2
        label = (odds + random.logistic(size=size) > 0).astype(np.int32)
        words = {name: pl.Series(WORDS[name])[codes[name]] for name in WORDS}
        frame = pl.DataFrame({"flight": random.permutation(size), "day": [day] * size} | numbers | words)
        known = pl.DataFrame({"flight": frame["flight"], "day": day, "ingestion_date": day, CASE.label: label})
        delta.replace_days("gold", CASE.features_table, frame, day, day, day=CASE.day)
        delta.replace_days("gold", CASE.labels_table, known, day, day, day=CASE.day)


def params_of(case: UseCase) -> dict[str, Any]:
    own = {"seed": case.training.seed, "nthread": THREADS, "seed_per_iteration": True, "device": "cuda"}
    return {**tasks.of(case).params, **case.training.params, **own}


def boosting(turns: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Our loop beside ``xgboost.train`` on one matrix of the GPU, and beside LightGBM on all of the processor."""
    ours: list[dict[str, float]] = []
    peers: dict[str, list[dict[str, float]]] = {"xgboost.train": []}
    data = dataset.load(CASE, FIRST, LAST)
    split = dataset.split_days(CASE, FIRST, LAST)
    with encoded.encoded(CASE, data.frames()) as rows:
        of = fitting.matrices(CASE, rows, split, "cuda")
        learned = rows.between(split.train)
        lightgbm = _lightgbm(rows.matrix(learned), rows.labels[learned])
        for number in range(turns + 1):
            checkpoint.of(CASE, "").remove()
            begun = time.monotonic()
            model = fitting.boost(CASE, of, "cuda", checkpoint=checkpoint.of(CASE, ""))
            taken = [time.monotonic() - begun]
            begun = time.monotonic()
            peer = xgb.train(params_of(CASE), of.train, TREES)
            taken.append(time.monotonic() - begun)
            # Not the same bytes: ours is loaded from its own now and then, so that a killed one ends as it would have.
            losses = [float(one.eval(of.train).split(":")[1]) for one in (model, peer)]
            if abs(losses[0] - losses[1]) > 1e-4:
                raise AssertionError(f"one has learned more than the other: {losses}")
            say(f"  boosting {number}: ours {taken[0]:.2f} s, xgboost.train {taken[1]:.2f} s")
            if number:  # the first one warms the GPU up, for both
                ours.append({"seconds": taken[0]})
                peers["xgboost.train"].append({"seconds": taken[1]})
        if lightgbm is not None:
            peers["LightGBM on the processor"] = [{"seconds": lightgbm()} for _ in range(turns)]
            say(f"  LightGBM: {peers['LightGBM on the processor']}")
    checkpoint.of(CASE, "").remove()
    return {f"GPU, the boosting beside {peer}": {"turns": {"ours": ours, peer: took}} for peer, took in peers.items()}


def _lightgbm(values: dataset.Floats, labels: Any) -> Callable[[], float] | None:
    """Seconds of a training like ours by LightGBM, its bins not counted; None where it is not installed."""
    try:
        import lightgbm as lgb
    except ImportError:
        return None
    words = list(range(len(NUMBERS), len(CASE.features)))
    rows = lgb.Dataset(values, labels, categorical_feature=words, params={"verbose": -1, "max_bin": 255})
    rows.construct()
    asked = {"objective": "binary", "num_leaves": 2**DEPTH, "max_depth": DEPTH, "num_threads": THREADS, "verbose": -1}

    def seconds() -> float:
        begun = time.monotonic()
        lgb.train(asked | {"learning_rate": 0.1}, rows, TREES)
        return time.monotonic() - begun

    return seconds


def ours(path: str) -> dict[str, float]:
    """From the tables to a model in a file, as a training does it; its checks are part of it."""
    data = dataset.load(CASE, FIRST, LAST)
    begun = time.monotonic()
    with encoded.encoded(CASE, data.frames()) as rows:
        took = {"encode": time.monotonic() - begun}
        split = dataset.split_days(CASE, FIRST, LAST)
        begun = time.monotonic()
        with gpu.taken("cuda", encoded.quantised_bytes(rows.rows, len(CASE.features))) as watched:
            booster = fitting.fit(CASE, rows, split, "cuda")
        took["fit"] = time.monotonic() - begun
    Path(path).write_bytes(bytes(booster.save_raw("ubj")))
    return took | watched


def bare(path: str) -> dict[str, float]:
    """The same by hand: the rows in one frame, and no check."""
    features = pl.scan_delta(str(delta.table_path("gold", CASE.features_table)))
    labels = pl.scan_delta(str(delta.table_path("gold", CASE.labels_table))).drop("ingestion_date")
    last = pl.col("day") <= LAST - timedelta(HOLDOUT)
    frame = features.filter(last).join(labels, on=["flight", "day"]).sort("day", "flight").collect()
    coded = [pl.col(name).cast(pl.Enum(words)).to_physical() for name, words in WORDS.items()]
    values = frame.with_columns(coded).select(pl.col(*NUMBERS, *WORDS).cast(pl.Float32)).to_numpy()
    kinds = ["q"] * len(NUMBERS) + ["c"] * len(WORDS)
    data = xgb.QuantileDMatrix(values, frame[CASE.label].to_numpy(), feature_types=kinds, nthread=THREADS)
    xgb.train(params_of(CASE), data, TREES).save_model(path)
    return {}


SIDES = {"ours": ours, "bare script": bare}


def turn(side: str, path: str) -> dict[str, Any]:
    """One turn in a process of its own, which has imported everything and used the GPU once."""
    small = xgb.QuantileDMatrix(np.ones((10, 1), np.float32), np.ones(10))
    xgb.train({"device": "cuda", "verbosity": 0}, small, 1)
    begun = time.monotonic()
    told = SIDES[side](path)
    return {"seconds": time.monotonic() - begun} | {name: round(value, 2) for name, value in told.items()}


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Comparisons by name, as ``__main__`` shows them; none where there is no GPU."""
    if not gpu.names():
        say("GPU: there is none here, nothing is measured")
        return {}
    say(f"GPU: {gpu.names()[0]}, {ROWS:,} rows, {len(CASE.features)} features, {TREES} trees of depth {DEPTH}")
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with scratch("bench-gpu") as folder, ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        fresh.submit(make_tables, ROWS).result()
        digests = set()
        for number in range(given.turns):
            for side in sorted(SIDES, reverse=number % 2 == 1):
                path = folder / f"{side}.ubj"
                found[side].append(fresh.submit(turn, side, str(path)).result())
                say(f"  {number + 1}: {side} {found[side][-1]}")
                if side == "ours":
                    digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
        if len(digests) > 1:
            raise AssertionError(f"{given.turns} processes made {len(digests)} different models of the same rows")
        say(f"  {given.turns} fresh processes made the same bytes: {digests.pop()[:12]}")
        compared = fresh.submit(boosting, given.turns, print).result()
    for name in (CASE.features_table, CASE.labels_table):
        remove(delta.table_path("gold", name))
    return {f"GPU, {ROWS:,} rows from Delta to a model": {"turns": found}, **compared}
