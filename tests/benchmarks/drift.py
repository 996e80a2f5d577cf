"""Drift of many rows against a champion's reference: a day as a night measures it, and a hundred of them.

25 features, numeric, of which the reference has deciles. The peer is what a script would do: NumPy's histogram over the
same bins and PSI, of each column. Ours also has the numbers that evidence accumulates, and Jensen-Shannon distances.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from include.contracts.use_case import Feature
from include.ml import dataset, metrics, monitor
from include.ml.counted import counted
from include.ml.monitor import INPUTS, Night
from include.ml.reference import Reference, feature_edges, inputs_of
from tests.benchmarks import scoring

ROWS, FEATURES, FILES, DAYS = 1_000_000, 25, 5, 100
"""A day's rows; so many days' files are made, and read again and again until they are ``DAYS``."""

FIRST = date(2030, 1, 1)
NAMES = [f"x{n}" for n in range(FEATURES)]
CASE = replace(scoring.CASE, name="bench_drift", features=tuple(Feature(name) for name in NAMES))


def make(folder: Path) -> tuple[list[Path], Reference]:
    """A file for each of some days, and the reference of a model that was trained on the first."""
    files, features = [], {}
    for number in range(FILES):
        random = np.random.default_rng(number)
        values = random.standard_normal((FEATURES, ROWS)).astype(np.float32)
        values[:, ::50] = np.nan
        frame = pl.DataFrame(dict(zip(NAMES, values, strict=True))).fill_nan(None)
        files.append(folder / f"{number}.parquet")
        frame.write_parquet(files[-1])
        if not number:
            for feature, column in zip(CASE.features, values, strict=True):
                edges = feature_edges(feature, column)
                shares = metrics.shares(metrics.bin_counts(column, edges)).tolist()
                features[feature.name] = {"edges": edges, "shares": shares, "weight": 1 / FEATURES}
    return files, {"inputs": inputs_of(CASE.features), "features": features, "task": {"kind": "binary"}, "scores": {}}


def ours(file: Path, reference: Reference, day: date) -> None:
    nothing = pl.DataFrame()
    rows = Night(day, day, day, pl.read_parquet(file), nothing, nothing)
    of_day = counted(CASE, reference, rows.features, nothing)
    told = monitor.told(CASE, reference, [(INPUTS, name, "") for name in NAMES], rows, of_day)
    assert len(told) == FEATURES
    assert len(monitor.measure_inputs(reference, day, of_day)) == 2 * FEATURES


def script(file: Path, reference: Reference, day: date) -> None:
    values = dataset.matrix(CASE.features, pl.read_parquet(file))
    for n, name in enumerate(NAMES):
        of = reference["features"][name]
        column = values[:, n]
        bins = np.concatenate([[-np.inf], of["edges"], [np.inf]])
        counts, _ = np.histogram(column[~np.isnan(column)], bins)
        metrics.psi(np.asarray(of["shares"]), metrics.shares(np.append(counts, np.isnan(column).sum())))


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Comparisons by name, as ``__main__`` shows them; with how busy the machine was, and the most memory of all."""
    sides: dict[str, Callable[[Path, Reference, date], None]] = {"ours": ours, "numpy.histogram": script}
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files, reference = make(Path(folder))
        for days, turns in ((1, given.turns), (DAYS, 1)):
            timed: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
            for number in range(turns):
                for name in sorted(sides, reverse=number % 2 == 1):
                    begun = time.monotonic()
                    for n in range(days):
                        sides[name](files[n % FILES], reference, FIRST + timedelta(n))
                    timed[name].append({"seconds": time.monotonic() - begun})
                    say(f"  {days} days, {number + 1}: {name} {timed[name][-1]}")
            shape = {"rows": days * ROWS, "features": FEATURES, "load": [round(one, 2) for one in os.getloadavg()]}
            shape["most_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            found[f"drift, {days * ROWS:,} rows of {days} days"] = {"turns": timed} | shape
    return found
