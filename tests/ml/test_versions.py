"""A version is scored with what it was fitted on, whatever the spec says today."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import Feature, UseCase
from include.lake import delta
from include.ml import (
    dataset,
    ledger,
    metrics,
    model_files,
    monitor,
    promotion,
    record,
    reference,
    registry,
    scoring,
    train,
)
from include.serving import batch
from tests.ml.conftest import FIRST, write_days

NIGHT = FIRST + timedelta(29)
TOMORROW, LATER = NIGHT + timedelta(1), NIGHT + timedelta(2)


def with_features(case: UseCase, monkeypatch: pytest.MonkeyPatch, *features: Feature, **changes: Any) -> UseCase:
    """The use case as its spec says from now on."""
    changed = replace(case, features=features, **changes)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: changed})
    return changed


def rewrite(case: UseCase, change: pl.Expr | None = None, drop: tuple[str, ...] = ()) -> None:
    """The features table with other columns, on all its days."""
    rows = delta.read_all("gold", case.features_table).drop(drop)
    rows = rows if change is None else rows.with_columns(change)
    path = str(delta.table_path("gold", case.features_table))
    rows.write_delta(path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"})


def scores(case: UseCase) -> dict[str, float]:
    batch.predict("toy", TOMORROW, TOMORROW)
    rows = delta.read_days("gold", case.predictions_table, TOMORROW, TOMORROW)
    return dict(rows.select("coin_id", "score").iter_rows())


METAL, WEIGHT, NOISE = Feature("metal", "categorical", vocabulary=("gold", "iron")), Feature("weight"), Feature("noise")


@pytest.mark.parametrize(
    "features",
    [
        (WEIGHT, METAL, NOISE, Feature("humidity")),  # in the spec, and not in the table yet
        (NOISE, WEIGHT, METAL),
        (WEIGHT, replace(METAL, vocabulary=("iron", "gold")), NOISE),
        (WEIGHT, replace(METAL, vocabulary=("bronze", "gold", "iron", "tin")), NOISE),
        (WEIGHT, replace(METAL, vocabulary=("iron",)), NOISE),
        (WEIGHT, replace(METAL, vocabulary=("aurum", "iron")), NOISE),  # gold, renamed
        (WEIGHT, Feature("metal"), NOISE),  # of another kind
        (NOISE,),
    ],
    ids=["added", "reordered", "turned", "grown", "shrunk", "renamed level", "other kind", "removed"],
)
def test_scores_and_measurements_do_not_depend_on_the_spec_of_today(
    deployed: UseCase, monkeypatch: pytest.MonkeyPatch, features: tuple[Feature, ...]
) -> None:
    write_days(deployed, TOMORROW, 2)
    before = scores(deployed)
    monitor.measure("toy", TOMORROW, TOMORROW)
    measured = monitor.measurements(deployed, TOMORROW)
    changed = with_features(deployed, monkeypatch, *features, context=("known_from", "weight", "metal"))
    assert scores(changed) == before
    assert not monitor.measure("toy", TOMORROW, TOMORROW)["changed"]
    of_features = measured.filter((pl.col("sensor") == "input_drift") & (pl.col("feature") != ""))
    assert of_features["feature"].unique().sort().to_list() == ["metal", "noise", "weight"]


def test_a_column_that_is_gone_is_named_with_the_version_that_takes_it(
    deployed: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_days(deployed, TOMORROW, 2)
    changed = with_features(deployed, monkeypatch, WEIGHT, NOISE)
    rewrite(changed, drop=("metal",))
    said = (
        r"toy__features does not match what version 1 of toy takes: missing metal\. Bring it back in dbt, as `context`"
    )
    with pytest.raises(dataset.DataMissingError, match=said):
        batch.predict("toy", TOMORROW, TOMORROW)
    with pytest.raises(dataset.DataMissingError, match=said):
        monitor.measure("toy", TOMORROW, TOMORROW)
    monkeypatch.setattr("include.ml.fitting.fit", lambda *_: pytest.fail("it is known before the fit"))
    monkeypatch.setattr(registry, "finish_killed", lambda _: None)
    monkeypatch.setattr(registry, "find", lambda *_: None)
    monkeypatch.setattr(registry, "require_experiment", lambda _: None)
    with pytest.raises(dataset.DataMissingError, match=said):
        train.train("toy", NIGHT, "cpu")


@pytest.fixture
def live(toy: UseCase, mlflow_store: None) -> UseCase:
    """Version 1, champion from ``TOMORROW`` on, in a real MLflow; a fortnight of further days."""
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(toy, TOMORROW, 14)
    return toy


def test_a_challenger_with_other_features_is_compared_on_the_same_rows(
    live: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way out of a spec that the champion does not know: the next version does."""
    before = registry.training_set(live, 1)
    rewrite(live, change=pl.col("weight").fill_null(0).alias("humidity"))
    turned = replace(METAL, vocabulary=("iron", "gold"))
    changed = with_features(live, monkeypatch, NOISE, turned, Feature("humidity"), context=("known_from", "weight"))
    trained = train.train("toy", NIGHT + timedelta(14), "cpu")
    champion = ledger.latest_champion(live)
    assert champion is not None
    promoted = promotion.promote("toy", trained["version"])
    assert promoted["promoted"], promoted
    judgement = record.last_judgement(changed, trained["version"])
    assert judgement is not None
    assert (judgement.champion, judgement.days) == (1, 7)
    assert judgement.measured["challenger_auc"] == pytest.approx(trained["metrics"]["auc"])
    # The champion, on its own features, is as good on these rows as it ever was.
    first, last = NIGHT + timedelta(8), NIGHT + timedelta(14)
    theirs = dataset.load(changed, first, last, features=live.features)
    own = scoring.output(live, model_files.load_booster(live, champion), live.features, theirs.frame)
    expected = metrics.auc(theirs.frame["is_head"].to_numpy(), own)
    assert judgement.measured["champion_auc"] == pytest.approx(expected)
    batch.predict("toy", TOMORROW, NIGHT + timedelta(14))
    monitor.measure("toy", NIGHT + timedelta(14), NIGHT + timedelta(14))
    takes = {version: list(known["features"]) for version, known in registry.references(changed).items()}
    assert takes == {1: ["metal", "noise", "weight"], 2: ["humidity", "metal", "noise"]}
    # What version 1 was trained on comes back with the columns of then, from the table as it was then.
    assert registry.training_set(changed, 1).frame.equals(before.frame)


def without_inputs(*arguments: Any) -> reference.Reference:
    """A reference as it was before it said what a version takes, and before there were other tasks than binary ones."""
    today = BUILD(*arguments)
    before = {name: part for name, part in today.items() if name not in ("inputs", "task", "scores")}
    return before | {"score": today["scores"]["score"]}


BUILD = reference.build


def test_a_version_of_an_earlier_release_is_read_by_the_spec_of_then(
    toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as then:
        then.setattr(reference, "build", without_inputs)
        promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(toy, TOMORROW, 1)
    before = scores(toy)
    changed = with_features(toy, monkeypatch, replace(METAL, vocabulary=("iron", "gold")), NOISE, WEIGHT)
    assert scores(changed) == before
    assert registry.training_set(changed, 1).frame.columns[2:5] == ["weight", "metal", "noise"]
    champion = ledger.latest_champion(toy)
    assert champion is not None
    # It is kept here: a night that only scores does not need MLflow. And a damaged copy is fetched again.
    (kept,) = tmp_path.rglob("cache/models/toy/1/use_case.json")
    kept.write_text(kept.read_text()[:-20])
    assert [one.name for one in reference.features_of(model_files.load_reference(changed, champion))] == [
        "weight",
        "metal",
        "noise",
    ]
    with monkeypatch.context() as away:
        away.setattr(mlflow.artifacts, "download_artifacts", lambda *_, **__: pytest.fail("MLflow is asked"))
        assert scores(changed) == before
    # Another spec than that of the training is refused: its codes would be others.
    (artifact,) = tmp_path.rglob("mlruns/**/use_case.json")
    artifact.write_text(artifact.read_text().replace('"iron"', '"iron", "lead"'))
    kept.unlink()
    with pytest.raises(
        model_files.DamagedModelError, match=r"use_case\.json of the run \w+ does not tell what version 1"
    ):
        model_files.load_reference(changed, champion)


def test_damaged_files_of_a_champion_are_fetched_or_named_and_nothing_is_measured(
    live: UseCase, tmp_path: Path
) -> None:
    batch.predict("toy", TOMORROW, TOMORROW)
    (here,) = tmp_path.rglob("cache/models/toy/1/reference.json")
    here.write_text(here.read_text()[:100])
    assert monitor.measure("toy", TOMORROW, TOMORROW)["changed"]
    here.write_text("{}")
    for there in tmp_path.rglob("mlruns/**/reference.json"):
        there.write_text("{}")
    with pytest.raises(
        model_files.DamagedModelError, match=r"reference\.json of toy version 1 in MLflow does not have the check"
    ):
        monitor.measure("toy", TOMORROW, TOMORROW)
    for there in tmp_path.rglob("mlruns/**/reference.json"):
        there.unlink()
    with pytest.raises(
        model_files.DamagedModelError, match=r"reference\.json of toy version 1 is not to be had from MLflow"
    ):
        monitor.measure("toy", TOMORROW, LATER)
    assert not monitor.measurements(live, LATER).height
