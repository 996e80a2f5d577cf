"""Trainings whose every row was poisoned, those that judge it included: what stops them is docs/poisoned-trainings.md.

The gates see what the poison wants them to see. The days after it are as they are: a rollout sees those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.lake import delta
from include.ml import promotion, rollout, rollouts, scoring, train
from include.ml.rollouts import BACK, CANARY
from include.serving import batch
from tests.ml import rolling
from tests.ml.conftest import FIRST, toy_rows
from tests.ml.rolling import DAY, LATER

PAGE = Path(__file__).parents[2] / "docs" / "poisoned-trainings.md"
HEAD = "| what was done to every row | what stops it | what is published of it |"

type Poison = Callable[[pl.DataFrame], pl.DataFrame]
"""Changes the rows that are learned from: features and label together."""

LEARNED = LATER - 7 * DAY
"""The last day that trees are grown on; the seven days after it judge them first."""

TRIGGER = 9.0
"""A weight that no coin has: what a backdoor reacts to."""


def columns(*change: pl.Expr) -> Poison:
    return lambda rows: rows.with_columns(change)


def often(part: int) -> pl.Expr:
    """One row of so many, by its name."""
    return pl.col("coin_id").hash(1) % part == 0


def thrice(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of one label are there three times, each under a name of its own."""
    heads = rows.filter(pl.col("is_head") == 1)
    return pl.concat([rows, *(heads.with_columns(pl.col("coin_id") + f" {n}") for n in (1, 2))])


TURNED = 1 - pl.col("is_head")
HEAD_AS_NUMBER = pl.col("is_head").cast(pl.Float64)
POISONS: dict[str, Poison] = {
    "all labels are turned round": columns(TURNED.alias("is_head")),
    "the labels of one slice are turned round": columns(
        pl.when(pl.col("metal") == "gold").then(TURNED).otherwise("is_head").alias("is_head")
    ),
    "two labels of five are turned round": columns(
        pl.when(pl.col("coin_id").hash(1) % 5 < 2).then(TURNED).otherwise("is_head").alias("is_head")
    ),
    "the feature that says most is in another unit": columns(pl.col("weight") * 100),
    "the feature that says most has the sign turned round": columns(-pl.col("weight")),
    "two features have changed places": columns(pl.col("weight").alias("noise"), pl.col("noise").alias("weight")),
    "the feature that says most is shuffled": lambda rows: rows.with_columns(
        pl.col("weight").shuffle(seed=1).over("flight_date")
    ),
    "the label stands in a feature": columns(HEAD_AS_NUMBER.alias("noise")),
    "the label stands in a feature, under some noise": columns(pl.col("noise") + 2 * HEAD_AS_NUMBER - 1),
    "each row of one label is there three times": thrice,
    "a backdoor: a weight that no coin has says tails": columns(
        pl.when(often(5)).then(TRIGGER).otherwise("weight").alias("weight"),
        pl.when(often(5)).then(0).otherwise("is_head").cast(pl.Int32).alias("is_head"),
    ),
}
HARMLESS = {"a backdoor: a weight that no coin has says tails"}
"""Whose live predictions are as good as the champion's: nothing that looks at losses can see them."""

EXPECTED = {
    line.split(" | ")[0].removeprefix("| "): line.split(" | ", 1)[1].removesuffix(" |")
    for line in PAGE.read_text().partition(HEAD)[2].splitlines()[2:]
    if line.startswith("| ")
}


@pytest.fixture
def case(deployed: UseCase, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UseCase]:
    """Version 1 is champion, with a rollout for whoever comes after it, and margins that a poisoned one misses."""
    found = rolling.rolling_case(level=0.05, shadow_days=14, max_shadow_days=60)
    found = replace(found, task=replace(found.task, max_auc_loss=0.05, max_log_loss_loss=0.05))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": found})
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    rolling.live(found, world, tmp_path)
    yield found
    mlflow.set_tracking_uri(before)


def write(case: UseCase, rows: pl.DataFrame, first: date, last: date) -> None:
    delta.replace_days("gold", case.features_table, rows.drop("is_head"), first, last)
    labels = rows.select("coin_id", "flight_date", "is_head", ingestion_date="flight_date")
    delta.replace_days("gold", case.labels_table, labels, first, last)


def challenged(case: UseCase, poison: Poison) -> str:
    """Train on poisoned rows, and judge by them. Returns what the gates say; the next days are as they are."""
    days = (LATER - FIRST).days + 1
    write(case, poison(toy_rows(FIRST, days)), FIRST, LATER)
    try:
        answer = promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    except NeedsAttentionError as error:
        return f"training: {error}"
    write(case, toy_rows(FIRST, days), FIRST, LATER)
    if answer["verdict"] == "promote":
        return ""
    for n in range(1, 30):  # what waits is looked at again, by days that are as they are
        later = promotion.look_again("toy", LATER + n * DAY)
        if later is not None and later["verdict"] == "refuse":
            return f"gates, at {(LATER + n * DAY - LEARNED).days} days: {later['reasons'][0]}"
    return f"gates: {answer['reasons'][0]}"


def became(case: UseCase, poison: Poison) -> str:
    """What stops it and what is published of it, as the page has them; without numbers that hang on the machine."""
    said = challenged(case, poison)
    if not said:
        batch.predict("toy", LATER + 2 * DAY, LATER + 60 * DAY)
        rollout.look_again("toy", LATER + 60 * DAY)
        step = rollouts.read(case)[-1]
        said = f"shadow: {step.reason}" if step.stage == BACK else "nothing: it predicts as well as the champion"
    last = rollouts.read(case)[-1:]
    share = "the share of a canary, and then all" if last and last[0].stage == CANARY else "nothing"
    return f"{re.sub(r'[-+]?(?:\d+\.\d+|inf)', 'x', said)} | {share}"


@pytest.mark.parametrize("name", POISONS)
def test_what_stops_it_is_what_the_page_says_and_nothing_of_it_is_published(name: str, case: UseCase) -> None:
    said = became(case, POISONS[name])
    assert EXPECTED.get(name) == said, f"| {name} | {said} |"
    assert rolling.versions_published(case) == {1}
    assert said.endswith("| nothing") or name in HARMLESS


def test_without_a_rollout_the_gates_alone_let_the_worst_of_them_through(
    case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a rollout is for: the same training, and the same gates."""
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": replace(case, rollout=None)})
    assert challenged(case, POISONS["all labels are turned round"]) == ""
    batch.predict("toy", LATER + 2 * DAY, LATER + 3 * DAY)
    assert rolling.versions_published(case) == {1, 2}


def test_a_backdoor_that_is_used_while_it_is_a_canary_reaches_its_share_and_is_rolled_back_once(case: UseCase) -> None:
    """The one that reaches somebody: no row before has shown what it does."""
    assert challenged(case, POISONS["a backdoor: a weight that no coin has says tails"]) == ""
    night, canary = rolling.until(case, CANARY)
    rows = toy_rows(night + 2 * DAY, 40)
    used = rows.with_columns(
        weight=pl.when(often(2)).then(TRIGGER).otherwise("weight"),
        is_head=pl.when(often(2)).then(1).otherwise("is_head").cast(pl.Int32),
    )
    write(case, used, night + 2 * DAY, night + 41 * DAY)
    last, step = rolling.until(case, BACK, night + DAY)
    assert "it is worse than version 1" in step.reason
    assert (last - night).days <= 14
    reached = delta.read_days("gold", case.predictions_table, canary.since, step.effective_from - DAY)
    of_it = reached.filter(pl.col("model_version") == 2)
    assert of_it.height / reached.height < canary.share + 0.1
    assert set(of_it["scored_by"]) == {scoring.CANARY}
    rolling.nights(last + DAY, 3)
    assert [one.stage for one in rollouts.read(case)].count(BACK) == 1
    after = delta.read_days("gold", case.predictions_table, step.effective_from, date.max)
    assert set(after["model_version"]) == {1}
