"""Our scoring of a day, from Delta to Delta, beside a bare ``inplace_predict`` with the same reading and writing.

100 trees of depth 6 on 50 features. Ours checks columns, keys and completeness, notes what a row was made of, and
writes nothing that is there already; the script does none of it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import xgboost as xgb
from deltalake import write_deltalake

from include.contracts.use_case import Binary, Feature, Training, UseCase
from include.core.settings import settings
from include.core.storage import remove
from include.lake import delta
from include.ml import ledger, model_files, reference
from include.serving import batch

ROWS, TREES, DEPTH, FEATURES = 1_000_000, 100, 6, 50
DAY = date(2030, 1, 1)
NAMES = [f"x{n}" for n in range(FEATURES)]
CASE = UseCase(
    name="bench_scoring",
    description="made up",
    owner="nobody",
    sources=("bench",),
    entity=("thing",),
    day="day",
    label="label",
    task=Binary(baseline="x0"),
    features=tuple(Feature(name) for name in NAMES),
    training=Training(params={"max_depth": DEPTH}, rounds=TREES, first_day=DAY),
)


def make_features(rows: int) -> None:
    random = np.random.default_rng(1)
    values = random.standard_normal((FEATURES, rows))
    frame = pl.DataFrame({"thing": np.arange(rows), CASE.day: [DAY] * rows} | dict(zip(NAMES, values, strict=True)))
    remove(delta.table_path("gold", CASE.features_table))
    delta.replace_days("gold", CASE.features_table, frame, DAY, DAY, day=CASE.day)


def make_champion() -> None:
    """A model of the size that is asked for, in the cache and in the ledger."""
    random = np.random.default_rng(2)
    values = random.standard_normal((50_000, FEATURES)).astype(np.float32)
    label = (values[:, 0] + values[:, 1] * values[:, 2] + random.standard_normal(len(values)) > 0).astype(np.int8)
    matrix = xgb.DMatrix(values, label, feature_names=NAMES, feature_types=["q"] * FEATURES)
    params = {"objective": "binary:logistic", "max_depth": DEPTH, "learning_rate": 0.1, "nthread": 2}
    model = bytes(xgb.train(params, matrix, TREES).save_raw("ubj"))
    kept = {"inputs": reference.inputs_of(CASE.features), "task": {"kind": "binary"}, "features": {}, "scores": {}}
    text = json.dumps(kept, sort_keys=True).encode()
    folder = model_files._folder(CASE, 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / model_files.MODEL_FILE).write_bytes(model)
    (folder / model_files.REFERENCE_FILE).write_bytes(text)
    remove(delta.table_path("gold", CASE.deployments_table))
    ledger.append(
        CASE,
        model_version=1,
        effective_from=DAY,
        decided_by="bench",
        reason="bench",
        run_id="bench",
        model_sha256=model_files.sha256(model),
        reference_sha256=model_files.sha256(text),
        trained_from=DAY,
        fitted_through=DAY,
        trained_through=DAY,
    )


def ours() -> None:
    with mock.patch("include.use_cases.use_cases", return_value={CASE.name: CASE}):
        batch.predict(CASE.name, DAY, DAY)


def bare() -> None:
    """What a script would do: read, score, write."""
    rows = pl.read_delta(str(delta.table_path("gold", CASE.features_table)))
    model = model_files._folder(CASE, 1) / model_files.MODEL_FILE
    booster = xgb.Booster({"nthread": CASE.training.threads}, model_file=str(model))
    scores = booster.inplace_predict(rows.select(pl.col(NAMES).cast(pl.Float32)).to_numpy())
    out = rows.select("thing", CASE.day).with_columns(
        score=pl.Series(scores, dtype=pl.Float64), model_version=pl.lit(1)
    )
    path = str(delta.table_path("gold", "bench_scoring__bare"))
    write_deltalake(path, out, mode="overwrite", partition_by=[CASE.day])


def turn(do: Any) -> dict[str, float]:
    """Seconds of one scoring into tables that are empty."""
    for table in (CASE.predictions_table, "bench_scoring__bare"):
        remove(delta.table_path("gold", table))
    begun = time.monotonic()
    do()
    return {"seconds": time.monotonic() - begun}


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Comparisons by name, as ``__main__`` shows them; with how busy the machine was."""
    with ExitStack() as at_end:
        for table in (CASE.features_table, CASE.predictions_table, CASE.deployments_table, "bench_scoring__bare"):
            at_end.callback(remove, delta.table_path("gold", table))
        at_end.callback(shutil.rmtree, settings().var / "cache" / "models" / CASE.name)
        make_features(ROWS)
        make_champion()
        sides = {"ours": ours, "inplace_predict": bare}
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for number in range(given.turns):
            for name in sorted(sides, reverse=number % 2 == 1):
                turns[name].append(turn(sides[name]))
                say(f"  {number + 1}: {name} {turns[name][-1]}")
    load = [round(one, 2) for one in os.getloadavg()]
    shape = {"rows": ROWS, "trees": TREES, "depth": DEPTH, "features": FEATURES, "load": load}
    return {
        f"scoring, {ROWS:,} rows of a day from Delta to Delta": {"turns": turns} | shape,
    }
