"""Trainings that somebody poisoned, by mistake or on purpose: what becomes of each is docs/poisoned-trainings.md.

Each goes the whole way, from the tables to the verdict, beside a champion. Where what becomes of one changes, its test
says the line of now: put it into the page if that was meant.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import Binary, Training, UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.lake import delta
from include.ml import ledger, model_files, promotion, train
from tests.ml.conftest import FIRST, write_days

PAGE = Path(__file__).parents[2] / "docs" / "poisoned-trainings.md"
NIGHT = FIRST + timedelta(29)
LATER = NIGHT + timedelta(10)
LEARNED = pl.col("flight_date") <= LATER - timedelta(7)  # what it is fitted on; the last seven days judge it

type Poison = Callable[[UseCase, pytest.MonkeyPatch], None]


def rows(table: str, *change: pl.Expr) -> Poison:
    """A change of the rows of the features or the labels table."""

    def poison(case: UseCase, patch: pytest.MonkeyPatch) -> None:
        name = getattr(case, table)
        frame = delta.read_all("gold", name).sort("flight_date", "coin_id").with_columns(change)
        delta.replace_days("gold", name, frame, FIRST, frame["flight_date"].max())

    return poison


def labels(value: Any, where: pl.Expr) -> Poison:
    changed = pl.when(where).then(value).otherwise("is_head").cast(pl.Int32).alias("is_head")
    return rows("labels_table", changed)


def leak(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    truth = delta.read_all("gold", case.labels_table).select("coin_id", "is_head")
    frame = delta.read_all("gold", case.features_table).join(truth, on="coin_id", how="left")
    frame = frame.with_columns(weight=pl.col("is_head").cast(pl.Float64).fill_null(0.0)).drop("is_head")
    delta.replace_days("gold", case.features_table, frame, FIRST, frame["flight_date"].max())


def slice_turned(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    gold = delta.read_all("gold", case.features_table).filter(pl.col("metal") == "gold")["coin_id"]
    labels(1 - pl.col("is_head"), LEARNED & pl.col("coin_id").is_in(gold.implode()))(case, patch)


def text_for_numbers(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    """Another type, so that the table has to be made anew."""
    frame = delta.read_all("gold", case.features_table).with_columns(pl.col("weight").cast(pl.String))
    shutil.rmtree(delta.table_path("gold", case.features_table))
    delta.replace_days("gold", case.features_table, frame, FIRST, frame["flight_date"].max())


def without_days(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    frame = delta.read_all("gold", case.labels_table)
    delta.replace_days("gold", case.labels_table, frame.limit(0), FIRST + timedelta(3), FIRST + timedelta(4))


def no_git(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    """A machine on which there is no such program."""
    programs = settings().var / "programs"
    programs.mkdir()
    (programs / "env").symlink_to(str(shutil.which("env")))
    patch.setenv("PATH", str(programs))


def few_rows(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    for name in (case.features_table, case.labels_table):
        frame = delta.read_all("gold", name)
        kept = frame.filter(pl.col("coin_id").str.ends_with("-1"))
        delta.replace_days("gold", name, kept, FIRST, frame["flight_date"].max())


def few_days(case: UseCase, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("include.use_cases.use_cases", lambda: {"toy": replace(case, training=late(case))})


def late(case: UseCase) -> Training:
    return replace(case.training, first_day=LATER - timedelta(12))


def file_of(version: int) -> Path:
    (path,) = Path(mlflow.artifacts.download_artifacts(f"models:/toy/{version}")).rglob("model.ubj")
    return path


def another_file(version: int) -> None:
    file_of(version).write_bytes(b"another model")


def half_a_file(version: int) -> None:
    content = file_of(version).read_bytes()
    file_of(version).write_bytes(content[: len(content) // 2])


def the_tags_of_version_1(version: int) -> None:
    older = mlflow.MlflowClient().get_model_version("toy", "1").tags
    for tag in ("request_key", "model_sha256", "reference_sha256"):
        mlflow.MlflowClient().set_model_version_tag("toy", str(version), tag, older[tag])


def a_better_metric(version: int) -> None:
    client = mlflow.MlflowClient()
    client.log_metric(client.get_model_version("toy", str(version)).run_id, "auc", 0.999)


TURNED = 1 - pl.col("is_head")
BEFORE: dict[str, Poison] = {
    "nothing": lambda case, patch: None,
    "the label stands in a feature": leak,
    "one label of a hundred is turned round": labels(TURNED, LEARNED & (pl.col("coin_id").hash(1) % 100 == 0)),
    "one label of twenty is turned round": labels(TURNED, LEARNED & (pl.col("coin_id").hash(1) % 20 == 0)),
    "one label of five is turned round": labels(TURNED, LEARNED & (pl.col("coin_id").hash(1) % 5 == 0)),
    "four labels of five are turned round": labels(TURNED, LEARNED & (pl.col("coin_id").hash(1) % 5 < 4)),
    "the labels of one slice are turned round": slice_turned,
    "the label is a constant": labels(1, pl.lit(True)),
    "one row has the other label": labels(pl.int_range(pl.len()) == 5, LEARNED),
    "one kind is missing from what it is judged on": labels(1, ~LEARNED),
    "a label is 2": labels(2, pl.int_range(pl.len()) == 7),
    "the feature that says most is null throughout": rows("features_table", pl.lit(None, pl.Float64).alias("weight")),
    "the baseline is null throughout": rows("features_table", pl.lit(None, pl.Float64).alias("noise")),
    "a value is infinite": rows(
        "features_table",
        pl.when(pl.int_range(pl.len()) == 3).then(float("inf")).otherwise("weight").alias("weight"),
    ),
    "numbers have become text": text_for_numbers,
    "two days have no labels": without_days,
    "one row of each day is left": few_rows,
    "there are thirteen days": few_days,
    "there is no git": no_git,
}
AFTER: dict[str, Callable[[int], None]] = {
    "another file lies under the version in MLflow": another_file,
    "half of the file is lost": half_a_file,
    "the version has the tags of an older one that was promoted": the_tags_of_version_1,
    "a better metric was written into MLflow": a_better_metric,
}


SOUND = {
    "nothing",
    "there is no git",
    "a better metric was written into MLflow",
    # As good as the champion, within the margin: of trees this flat, labels turned round by chance change little.
    "one label of a hundred is turned round",
    "one label of twenty is turned round",
    "one label of five is turned round",
}


@pytest.fixture
def live(deployed: UseCase, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UseCase]:
    """Version 1 of the toy use case is champion, and its limits are those that a poisoned one has to miss."""
    case = replace(deployed, task=replace(deployed.task, max_auc_loss=0.1, max_log_loss_loss=0.15))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": case})
    shutil.copy(world / "mlflow.db", tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    write_days(case, NIGHT + timedelta(1), 10)
    yield case
    mlflow.set_tracking_uri(before)


def outcome(case: UseCase, after: Callable[[int], None] | None = None) -> str:
    """What a training and its judgement end with, in a sentence. Numbers that hang on the machine are left out."""
    try:
        version = train.train("toy", LATER, "cpu")["version"]
        if after is not None:
            after(version)
        answer = promotion.promote("toy", version, LATER)
        verdict = {"promote": "promoted", "wait": "waits", "refuse": "refused"}[answer["verdict"]]
        said = f"**{verdict}**: {answer['reasons'][0]}"
    except NeedsAttentionError as error:
        said = f"**fails**: {str(error).partition(': restore')[0]}"
    said = re.sub(r"[0-9a-f]{64}", "…", said)
    return re.sub(r"[-+]?\d+\.\d+", "x", said)


EXPECTED = {
    line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1].removesuffix(" |")
    for line in (PAGE.read_text().splitlines() if PAGE.exists() else [])
    if line.startswith("| ") and " | **" in line
}


@pytest.mark.parametrize("name", [*BEFORE, *AFTER])
def test_what_becomes_of_it_is_what_the_page_says(
    name: str, live: UseCase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    BEFORE.get(name, BEFORE["nothing"])(live, monkeypatch)
    said = outcome(live, AFTER.get(name))
    assert EXPECTED.get(name) == said, f"| {name} | {said} |"
    assert name in SOUND or not said.startswith("**promoted**")
    if not said.startswith("**promoted**"):
        champion = ledger.latest_champion(live)
        assert champion is not None
        assert champion.model_version == 1, "the champion is untouched"
        model_files.load_booster(live, champion)


def test_the_page_has_them_all_and_no_others() -> None:
    assert set(EXPECTED) == {*BEFORE, *AFTER}


def test_without_git_it_is_recorded_that_the_code_is_unknown(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    no_git(live, monkeypatch)
    tags = mlflow.MlflowClient().get_run(train.train("toy", LATER, "cpu")["run_id"]).data.tags
    assert tags["git_commit"] == "unknown"
    assert re.search(r"git does not tell about .*git.* No such file", tags["git_reason"])


def test_a_categorical_baseline_is_refused_by_the_spec(live: UseCase) -> None:
    with pytest.raises(ValueError, match="the baseline metal is categorical, and must be numeric"):
        replace(live, task=Binary(baseline="metal"))
