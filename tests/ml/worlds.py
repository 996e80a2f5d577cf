"""Tiny use cases of the other kinds: several classes, a number with quantiles, and a label that takes 30 days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Binary, DriftPolicy, Feature, Multiclass, Regression, Training, UseCase
from include.lake import delta

FIRST = date(2020, 1, 1)

type Frame = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A use case, and how the rows of a day come about: features and label together, without the day."""

    case: UseCase
    of_day: Callable[[np.random.Generator, int], Frame]

    def rows(self, first: date, days: int) -> pl.DataFrame:
        """A day has the same rows whichever range it is asked with."""
        frames = []
        for n in range(days):
            day = first + timedelta(n)
            frame = pl.DataFrame(self.of_day(np.random.default_rng(day.toordinal()), (day - FIRST).days))
            frames.append(frame.with_columns(pl.lit(day).alias(self.case.day), known_from=pl.lit(day - timedelta(1))))
        return pl.concat(frames)

    def write(self, first: date, days: int, change: pl.Expr | list[pl.Expr] | None = None) -> None:
        """Put features and labels of some days into the lake, as dbt would; ``change`` is made to them before."""
        case, last = self.case, first + timedelta(days - 1)
        rows = self.rows(first, days)
        rows = rows if change is None else rows.with_columns(change)
        delta.replace_days("gold", case.features_table, rows.drop(case.label), first, last, day=case.day)
        night = (pl.col(case.day) + pl.duration(days=case.label_days)).alias("ingestion_date")
        labels = rows.select(*case.key, case.label, night)
        delta.replace_days("gold", case.labels_table, labels, first, last, day=case.day)

    def found(self, monkeypatch: pytest.MonkeyPatch, **task: Any) -> World:
        """The same, found by its name, with some of its task changed."""
        changed = replace(self.case, task=replace(self.case.task, **task)) if task else self.case
        monkeypatch.setattr("include.use_cases.use_cases", lambda: {changed.name: changed})
        return replace(self, case=changed)


def training(**values: Any) -> Training:
    params = {"max_depth": 3, "learning_rate": 0.3}
    few = {"rounds": 12, "first_day": FIRST, "holdout_days": 10, "min_train_days": 20, "threads": 1}
    return Training(**({"params": params} | few | values))


POLICY = DriftPolicy(cool_down_days=5)
TOWNS, SHOPS, PRODUCTS = 40, ("north", "south"), ("ale", "bread", "cheese", "dates", "eggs", "figs", "grapes", "ham")


def _weather(random: np.random.Generator, day: int) -> Frame:
    """Cold and damp make ice, damp alone makes rain; yesterday's kind is as good as a coin."""
    cold, damp = random.normal(size=TOWNS), random.normal(size=TOWNS)
    wet = damp + random.normal(scale=0.5, size=TOWNS) > 0.2
    kind = np.where(wet & (cold + random.normal(scale=0.5, size=TOWNS) > 0), "Icy road", np.where(wet, "wet", "dry"))
    return {
        "town": [f"town {n}" for n in range(TOWNS)],
        "cold": cold,
        "damp": damp,
        "kind_1d": random.choice(["dry", "wet", "Icy road"], TOWNS),
        "kind": kind,
    }


WEATHER = World(
    UseCase(
        name="weather",
        description="which kind of road there will be in each town",
        owner="tests",
        sources=("stations", "roads"),
        entity=("town",),
        day="day",
        label="kind",
        task=Multiclass(classes=("dry", "wet", "Icy road"), baseline="kind_1d"),
        features=(
            Feature("cold"),
            Feature("damp"),
            Feature("kind_1d", "categorical", vocabulary=("dry", "wet", "Icy road")),
        ),
        training=training(),
        drift=POLICY,
    ),
    _weather,
)


def _sales(random: np.random.Generator, day: int) -> Frame:
    """Each product of each shop: as much as last week's mean says, and more on a warm day."""
    size = len(SHOPS) * len(PRODUCTS)
    usual, warm = random.uniform(10, 90, size), random.normal(size=size)
    return {
        "shop": [shop for shop in SHOPS for _ in PRODUCTS],
        "product": list(PRODUCTS) * len(SHOPS),
        "usual": usual,
        "warm": warm,
        "amount": usual + 12 * warm + random.normal(scale=5, size=size),
    }


SALES = World(
    UseCase(
        name="sales",
        description="how much of each product each shop will sell",
        owner="tests",
        sources=("tills",),
        entity=("shop", "product"),
        day="day",
        label="amount",
        task=Regression(baseline="usual", quantiles=(0.1, 0.5, 0.9)),
        features=(Feature("usual"), Feature("warm")),
        training=training(rounds=60, params={"max_depth": 3, "learning_rate": 0.15}),
        drift=POLICY,
    ),
    _sales,
)


def _returns(random: np.random.Generator, day: int) -> Frame:
    """Whether a customer comes back within 30 days: those who came often do."""
    visits = random.normal(size=TOWNS)
    return {
        "customer": list(range(TOWNS)),
        "visits": visits,
        "noise": random.normal(size=TOWNS),
        "returns": (random.random(TOWNS) < 1 / (1 + np.exp(-1.5 * visits))).astype(np.int32),
    }


RETURNS = World(
    UseCase(
        name="returns",
        description="which customers will come back within 30 days",
        owner="tests",
        sources=("visits",),
        entity=("customer",),
        day="day",
        label="returns",
        task=Binary(baseline="noise"),
        features=(Feature("visits"), Feature("noise")),
        training=training(),
        drift=POLICY,
        label_days=30,
    ),
    _returns,
)
