"""A use case whose challengers are rolled out, on its nights: the champion of the first night, and what comes after."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl

from include.contracts.rollout import Rollout
from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import ledger, promotion, rollout, rollouts, scoring, train
from include.ml.rollouts import Step
from include.serving import batch
from tests.ml.conftest import FIRST, toy_case, write_days

DAY = timedelta(1)
NIGHT = FIRST + timedelta(29)
LATER = NIGHT + 10 * DAY
"""The night in which the challenger is trained."""

SPEC = Rollout(shadow_days=3, canary_days=3, canary_share=0.3, max_share=0.6, level=0.2, cool_down_days=5)
"""Sixty rows a day tell little: it decides sooner than the default, and is wrong more often."""


def rolling_case(**changes: Any) -> UseCase:
    """The toy use case with a rollout, whose fields ``changes`` are."""
    return toy_case(rollout=replace(SPEC, **changes))


@contextmanager
def in_mlflow(store: Path) -> Iterator[None]:
    """While this lasts, MLflow is the one of ``store``."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{store}")
    yield
    mlflow.set_tracking_uri(before)


def live(case: UseCase, world: Path, folder: Path, days: int = 60) -> None:
    """Version 1 is champion, has scored the days to ``LATER``, and ``days`` more are there to be scored."""
    shutil.copy(world / "mlflow.db", folder / "mlflow.db")
    write_days(case, NIGHT + DAY, 10 + days)
    batch.predict("toy", NIGHT + DAY, LATER + DAY)


def invert(case: UseCase, first: date, last: date) -> None:
    """Turn the labels of some days round: what learns from them predicts the opposite."""
    rows = delta.read_days("gold", case.labels_table, first, last)
    delta.replace_days("gold", case.labels_table, rows.with_columns(is_head=1 - pl.col("is_head")), first, last)


def challenge(case: UseCase, *, poisoned: bool = False) -> dict[str, Any]:
    """Train a challenger in ``LATER``, and take it through its gates; a poisoned one learns labels turned round.

    So does the holdout that judges it say: the gates see a champion that is wrong, and a challenger that is right.
    """
    if poisoned:
        invert(case, FIRST, LATER)
    version = train.train("toy", LATER, "cpu")["version"]
    answer = promotion.promote("toy", version, LATER)
    if poisoned:
        invert(case, FIRST, LATER)
    return answer


def night(which: date) -> dict[str, Any] | None:
    """What a night does: score the day after it, and look at the challenger."""
    batch.predict("toy", which + DAY, which + DAY)
    return rollout.look_again("toy", which)


def nights(first: date, count: int) -> list[dict[str, Any] | None]:
    return [night(first + n * DAY) for n in range(count)]


def stages(case: UseCase) -> list[str]:
    """The stages in their order, each once."""
    found: list[str] = []
    for one in rollouts.read(case):
        if found[-1:] != [one.stage]:
            found.append(one.stage)
    return found


def until(case: UseCase, stage: str, first: date = LATER + DAY, most: int = 40) -> tuple[date, Step]:
    """Go through nights until a rollout is in ``stage``. Returns the last night, and the step."""
    for n in range(most):
        night(first + n * DAY)
        steps = rollouts.read(case)
        if steps[-1].stage == stage:
            return first + n * DAY, steps[-1]
    raise AssertionError(f"after {most} nights it is {rollouts.said(rollouts.read(case)[-1])}")


def published(case: UseCase) -> pl.DataFrame:
    """Who has scored how many rows of each day."""
    rows = delta.read_all("gold", case.predictions_table)
    return rows.group_by(case.day, scoring.VERSION, scoring.SCORED_BY).len().sort(pl.all())


def versions_published(case: UseCase) -> set[int]:
    return set(published(case)[scoring.VERSION])


def champion_of(case: UseCase, day: date) -> int:
    found = ledger.pick(ledger.read(case), day)
    assert found is not None
    return found.model_version
