"""A lake as nights of monitoring leave it, made up in one go: for the tests and the benchmark of the pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from deltalake import DeltaTable, write_deltalake

from include.contracts.use_case import Binary, Feature, Training, UseCase
from include.lake import chain, commit, delta
from include.ml import figures, ledger, monitor, policy, record
from include.serving import throughput
from include.web import health

LIMIT = 300.0
SLICES = ("carrier=AA", "carrier=B6", "carrier=UA", "shop=a", "shop=b", "shop=c")
LEVELS = ("AA", "B6", "UA", "unknown")
METRICS = {"auc": (0.74, 0.03, "lower", 0.0), "gap": (0.01, 0.02, "either", 0.05)}
PART = np.asarray([0.02, *[0.1] * 9, 0.06])
"""Of a number: the shares of its ten bins, and of missing values."""

# Types as those who write the tables have them: what the pages read of them has to fit.
MONITORING = {name: monitor.SCHEMA[name] for name in (*health.MONITORING, "state")}
DECISIONS = policy.SCHEMA


def case_of(name: str, features: int = 12) -> UseCase:
    """A use case of made-up numbers and a category."""
    names = ("carrier", *(f"{what}_{n // 8 + 1}d" for n, what in zip(range(features - 1), _words(), strict=False)))
    return UseCase(
        name=name,
        description="Which of tomorrow's orders will come back?",
        owner="operations",
        sources=("orders",),
        entity=("order_id",),
        day="order_date",
        label="returned",
        task=Binary(baseline=names[1]),
        features=tuple(
            Feature(one, "categorical", vocabulary=LEVELS[:-1]) if one == "carrier" else Feature(one) for one in names
        ),
        training=Training(params={}, rounds=10, first_day=date(2020, 1, 1)),
    )


def _words() -> Iterator[str]:
    words = ("delay_mean", "orders", "price_mean", "weight_max", "distance", "returned_rate", "age", "discount")
    while True:
        yield from words


@dataclass(frozen=True)
class Story:
    """What happens in the last nights: which feature drifts, since how many nights, and by how much a night.

    Attributes:
        fades: by how much the AUC falls each night of these.
        asks: whether the last night asked for a retraining.
        within: which feature drifts in the first of ``SLICES``, if any.
    """

    drifts: str = ""
    nights: int = 0
    factor: float = 1.0
    fades: float = 0.0
    asks: bool = False
    within: str = ""


QUIET = Story()


def make(case: UseCase, last: date, nights: int, story: Story = QUIET, seed: int = 1) -> None:
    """The tables of ``case`` for so many ``nights`` to ``last``: champion, measurements, figures, decisions, costs."""
    days = [last - timedelta(n) for n in reversed(range(nights))]
    random = np.random.default_rng(seed)
    importance = _importance(case, random)
    _write(case.monitoring_table, _monitoring(case, days, importance, story, random))
    _write(case.figures_table, _figures(case, days, importance, story, random))
    _write(case.decisions_table, _decisions(days, story))
    champion(case, days[0])
    scored(case, days)


def champion(case: UseCase, since: date, version: int = 1) -> None:
    """A champion from ``since`` on, with its training and judgement."""
    sha = f"{version}" * 64
    ledger.append(
        case,
        model_version=version,
        effective_from=since,
        decided_by="gates",
        reason="AUC within days: gains +0.0121 on the baseline, at least +0.0034",
        run_id="run",
        model_sha256=sha,
        reference_sha256=sha,
        trained_from=since - timedelta(200),
        fitted_through=since - timedelta(15),
        trained_through=since - timedelta(1),
    )
    training = record.Training(
        request_key=f"r{version}",
        recipe_key="k",
        partition=since - timedelta(1),
        model_sha256=sha,
        reference_sha256=sha,
        content_hash="c",
        trained_from=since - timedelta(200),
        fitted_through=since - timedelta(15),
        holdout_from=since - timedelta(14),
        trained_through=since - timedelta(1),
        device="cpu",
        champion=None,
        metrics={"auc": 0.74},
        seconds=12.5,
    )
    record.append_training(case, training)
    judged = record.Judgement(
        model_version=version,
        model_sha256=sha,
        champion=None,
        look=1,
        versions=1,
        level=0.03,
        verdict="promote",
        reasons=["AUC 0.7400 adds 0.1100 to the baseline's"],
        measured={},
        judged_by="gates",
        first=since - timedelta(14),
        last=since - timedelta(1),
        days=14,
    )
    record.append_judgement(case, judged)


def scored(case: UseCase, days: list[date]) -> None:
    """A line of what scoring took for each day."""
    random = np.random.default_rng(3)
    lines = pl.DataFrame(
        [
            {
                "use_case": case.name,
                "at": datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=27),
                "first_day": day + timedelta(1),
                "last_day": day + timedelta(1),
                "rows": 98_000,
                "seconds": float(random.uniform(0.4, 0.7)),
                "peak_mib": 412.0,
                "device": "cpu",
                "gpu": "",
                "gpu_seconds": 0.0,
                "price": 0.4,
                "changed": True,
            }
            for day in days
        ],
        schema=throughput.SCHEMA,
    )
    with commit.committing():
        commit.commit_all([chain.change(throughput.LEDGER, lines)], "made up")


def _importance(case: UseCase, random: np.random.Generator) -> dict[str, float]:
    shares = random.dirichlet(np.linspace(3, 0.2, len(case.features)))
    return dict(zip(case.feature_names, sorted(shares.tolist(), reverse=True), strict=True))


def _evidence(nights: int, story: Story, random: np.random.Generator, drifts: bool) -> np.ndarray[Any, Any]:
    quiet = np.exp(np.cumsum(random.normal(0, 0.15, nights)))
    quiet = 0.3 * quiet / np.maximum.accumulate(np.maximum(quiet, 1.0))
    if drifts and story.nights:
        quiet[-story.nights :] = 0.3 * story.factor ** np.arange(1, story.nights + 1)
    return quiet


def _monitoring(
    case: UseCase, days: list[date], importance: dict[str, float], story: Story, random: np.random.Generator
) -> pl.DataFrame:
    names, nights, frames = list(importance), len(days), []
    weights = {name: (share + 1 / len(names)) / 2 for name, share in importance.items()}
    state = json.dumps({"mean": [0.0] * 12, "day": str(days[-1])})

    def rows(sensor: str, metric: str, values: Any, feature: str = "", **more: Any) -> np.ndarray[Any, Any]:
        told = {"sensor": sensor, "metric": metric, "feature": feature, "slice": "", "n": 98_000, "model_version": 1}
        columns = {name: pl.lit(value) for name, value in (told | more).items()}
        frames.append(pl.DataFrame({"partition_day": days, "value": values}).with_columns(**columns))
        return np.asarray(values)

    whole = np.zeros(nights)
    for name in names:
        values = rows(
            "input_drift",
            "evidence",
            _evidence(nights, story, random, name == story.drifts),
            name,
            weight=weights[name],
            state=state,
        )
        whole += weights[name] * values
        rows("input_drift", "day_psi", np.clip(0.02 * values**0.5, 0, 3), name)
        rows("input_drift", "day_js", np.clip(0.01 * values**0.5, 0, 1), name)
    for n, name in enumerate(SLICES):
        drifts, found = n == 0 and bool(story.within), {"slice": name, "weight": 0.25 / len(SLICES)}
        values = rows("input_drift", "evidence", _evidence(nights, story, random, drifts), state=state, **found)
        whole += 0.25 / len(SLICES) * values
        rows("prediction_drift", "evidence", _evidence(nights, QUIET, random, False), state=state, **found)
        if drifts:
            rows("input_drift", "carried", values, story.within, **found)
    rows("input_drift", "evidence", whole, threshold=LIMIT)
    for sensor, name in (("prediction_drift", "score"), ("quality", "auc_drop")):
        fades = sensor == "quality" and story.fades > 0
        values = rows(sensor, "evidence", _evidence(nights, story, random, fades), name, weight=1.0, state=state)
        rows(sensor, "evidence", values, threshold=LIMIT)
    found = pl.concat(frames, how="diagonal_relaxed")
    return found.select(pl.col(name).cast(kind) for name, kind in MONITORING.items())


def _figures(
    case: UseCase, days: list[date], importance: dict[str, float], story: Story, random: np.random.Generator
) -> pl.DataFrame:
    found: list[dict[str, Any]] = []
    for n, day in enumerate(days):
        back = len(days) - n  # 1 in the last night
        within = story.nights and back <= story.nights

        def add(
            figure: str,
            feature: str,
            value: float | None,
            bins: dict[str, Any] | None = None,
            *,
            of: date = day,
            low: float | None = None,
            high: float | None = None,
        ) -> None:
            told = {"partition_day": of, "day": of, "figure": figure, "feature": feature, "value": value, "n": 98_000}
            drawn = {"bins": json.dumps(bins) if bins else None, "low": low, "high": high, "model_version": 1}
            found.append(told | drawn)

        counted = {"counts": {name: [9_800] * 11 for name in importance}}
        sums = {name: [n * 10.0, 120_000.0] for name in importance if name != "carrier"}
        for name in SLICES:
            add("within", name, None, {"inputs": counted | {"sums": sums}})
        for name, share in importance.items():
            add("distribution", name, share, _bins(name, bool(within) and name == story.drifts, random))
        for name, (mean, spread, worse, tolerated) in METRICS.items():
            told = {"worse": worse, "tolerated": tolerated}
            add("promise", name, mean, told, low=mean - 2 * spread, high=mean + 2 * spread)
            fallen = story.fades * (story.nights - back + 1) if within and name == "auc" else 0.0
            add("quality", name, float(random.normal(mean, spread)) - fallen)
        counts = random.multinomial(98_000, np.linspace(18, 1, 10) / np.linspace(18, 1, 10).sum())
        middles = (np.arange(10) + 0.5) / 10
        calibrated = {
            "edges": list(np.arange(1, 10) / 10),
            "counts": counts.tolist(),
            "scores": (counts * middles).tolist(),
            "labels": (counts * (0.9 * middles + 0.03)).tolist(),
        }
        add("calibration", "score", None, calibrated)
        for what, value in (("features", -1.0), ("predictions", -1.0), ("labels", 0.0)):
            add("freshness", what, value)
        add("completeness", "scored", 1.0)
        add("completeness", "labelled", float(random.uniform(0.985, 1)))
        add("duplicates", "", 0.0)
        add("missing", "", float(random.uniform(0.02, 0.04)))
    return pl.DataFrame(found, schema=figures.SCHEMA)


def _bins(name: str, shifted: bool, random: np.random.Generator) -> dict[str, Any]:
    if name == "carrier":
        expected = np.asarray([0.5, 0.3, 0.19, 0.01, 0.0])
        edges = [0.5, 1.5, 2.5]
    else:
        expected, edges = PART, list(np.arange(1.0, 10.0))
    now = np.roll(expected, 3) * np.linspace(0.4, 2, len(expected)) if shifted else expected
    counts = random.multinomial(98_000, now / now.sum())
    found = asdict(figures.Bins(tuple(edges), tuple(counts.tolist()))) | {"expected": expected.tolist()}
    return found | ({"levels": list(LEVELS)} if name == "carrier" else {})


def _decisions(days: list[date], story: Story) -> pl.DataFrame:
    asked = [story.asks and day == days[-1] for day in days]
    why = [
        "inputs have drifted; fired: input_drift" if yes else "nothing calls for it; no sensor fired" for yes in asked
    ]
    said = ["yes" if yes else "no" for yes in asked]
    told = {"partition_day": days, "decision": said, "reason": why}
    return pl.DataFrame(told | {"evidence": ["{}"] * len(days), "model_version": [1] * len(days)}, schema=DECISIONS)


def _write(table: str, rows: pl.DataFrame) -> None:
    path = str(delta.table_path("gold", table))
    write_deltalake(path, rows, partition_by=["partition_day"], mode="overwrite", configuration=delta.CONFIGURATION)
    DeltaTable(path).create_checkpoint()
