"""From a verdict to a champion: a challenger that waits and is looked at again, and records that nobody can edit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from deltalake import write_deltalake

from include.contracts.use_case import Promotion, UseCase
from include.lake import chain, delta, usage
from include.ml import ledger, model_files, promotion, record, registry, train
from tests.ml.conftest import FIRST, write_days

NIGHT = FIRST + timedelta(29)
LATER = NIGHT + timedelta(7)

type Changed = Callable[..., UseCase]


@pytest.fixture
def changed(deployed: UseCase, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Changed]:
    """The toy use case with other limits, found by its name; version 1 is champion, and 40 further days are there."""

    def to(promotion: Promotion | None = None, **task: Any) -> UseCase:
        case = replace(deployed, task=replace(deployed.task, **task), promotion=promotion or deployed.promotion)
        monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
        return case

    shutil.copy(world / "mlflow.db", tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    write_days(deployed, NIGHT + timedelta(1), 40)
    yield to
    mlflow.set_tracking_uri(before)


def judged(case: UseCase, version: int = 2) -> record.Judgement:
    found = record.last_judgement(case, version)
    assert found is not None
    return found


def champion() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version)


# --- wait, look again ---


def test_one_that_waits_is_looked_at_when_there_are_days_enough(changed: Changed) -> None:
    case = changed(max_auc_loss=0.001)
    assert case.looks == (7, 14, 30)
    version = train.train("toy", LATER, "cpu")["version"]
    answer = promotion.promote("toy", version, LATER)
    assert (answer["verdict"], answer["promoted"]) == ("wait", False)
    assert "too little to tell. The next look is at 14 days." in answer["reasons"][0]
    assert champion() == 1
    assert (judged(case).look, judged(case).days) == (1, 7)

    # Nights that bring too few days write nothing, and say so.
    for later in range(1, 7):
        again = promotion.look_again("toy", LATER + timedelta(later))
        assert again is not None
        assert again["verdict"] == "wait"
    assert len(record.judgements(case)) == 2  # version 1, and one look at version 2
    changed(max_auc_loss=0.2, max_log_loss_loss=0.3)
    promoted = promotion.look_again("toy", LATER + timedelta(7))
    assert promoted is not None
    assert promoted["promoted"], promoted
    assert (judged(case).look, judged(case).days) == (2, 14)
    assert champion() == 2
    assert promotion.look_again("toy", LATER + timedelta(8)) is None


def test_as_bad_as_the_champion_is_not_good_enough(changed: Changed) -> None:
    """The day after its training the world is another one: the champion knows as little of that as it does."""
    case = changed(max_auc_loss=0.001)
    version = train.train("toy", LATER, "cpu")["version"]
    assert promotion.promote("toy", version, LATER)["verdict"] == "wait"
    rows = delta.read_all("gold", case.labels_table)
    new = pl.col("flight_date") > LATER
    turned = rows.with_columns(is_head=pl.when(new).then(1 - pl.col("is_head")).otherwise("is_head"))
    delta.replace_days("gold", case.labels_table, turned, FIRST, NIGHT + timedelta(40))
    changed(max_auc_loss=0.5, max_log_loss_loss=5.0)  # whatever the margin is
    answer = promotion.look_again("toy", LATER + timedelta(7))
    assert answer is not None
    assert answer["verdict"] == "refuse"
    assert "worse than what is always said of the days before, and no chance" in " ".join(answer["reasons"])
    assert champion() == 1


def test_after_the_last_look_a_new_version_is_asked_for(changed: Changed) -> None:
    case = changed(Promotion(looks=(7,)), max_auc_loss=0.001)
    promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    with pytest.MonkeyPatch.context() as patch:  # nothing is read for it, however long it waits
        patch.setattr(promotion, "_evidence", lambda *_: pytest.fail("rows are read"))
        again = promotion.look_again("toy", LATER + timedelta(20))
    assert again is not None
    assert again["reasons"][0].endswith("There is no further look: train a new version.")
    assert judged(case).verdict == "wait"


def test_a_day_that_lacks_keeps_it_waiting_and_fails_no_night(
    changed: Changed, capsys: pytest.CaptureFixture[str]
) -> None:
    case = changed(max_auc_loss=0.001)
    promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    lost = LATER + timedelta(3)
    delta.replace_days("gold", case.labels_table, delta.read_all("gold", case.labels_table).limit(0), lost, lost)
    again = promotion.look_again("toy", LATER + timedelta(7))
    assert again is not None
    assert again["verdict"] == "wait"
    assert "version 2 is not looked at: toy__labels has no rows for 1 of the days" in capsys.readouterr().out
    assert judged(case).look == 1


def test_before_the_first_look_the_days_are_counted(changed: Changed) -> None:
    case = changed(Promotion(looks=(20,)))
    answer = promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    assert answer["reasons"] == [
        "7 days with labels that neither it nor version 1 was fitted on: the next look is at 20"
    ]
    assert judged(case).look == 0


def test_the_labels_of_another_world_are_refused(changed: Changed) -> None:
    """A fifth of the labels that it learned from are turned round; those that it is judged by are not."""
    case = changed()
    rows = delta.read_all("gold", case.labels_table)
    wrong = (pl.int_range(pl.len()) % 5 < 4) & (pl.col("flight_date") <= NIGHT)
    turned = rows.with_columns(pl.when(wrong).then(1 - pl.col("is_head")).otherwise("is_head").alias("is_head"))
    delta.replace_days("gold", case.labels_table, turned, FIRST, NIGHT + timedelta(40))
    answer = promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    assert answer["verdict"] == "refuse"
    assert champion() == 1


def test_a_better_one_is_promoted_and_the_evidence_is_told(changed: Changed) -> None:
    case = changed()
    answer = promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    assert answer["promoted"], answer
    assert answer["reasons"][0].startswith("AUC within days: gains ")
    (first, second) = ledger.read(case)
    assert (first.model_version, second.model_version) == (1, 2)
    assert second.reason == "; ".join(answer["reasons"])
    run = mlflow.MlflowClient().get_run(second.run_id).data.metrics
    assert run["look_1_gain_auc"] == pytest.approx(judged(case).measured["gain_auc"])


def test_an_older_one_replaces_no_newer_one(changed: Changed) -> None:
    case = changed()
    promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    older = train.train("toy", NIGHT + timedelta(3), "cpu")["version"]
    answer = promotion.promote("toy", older, LATER + timedelta(20))
    assert (older, answer["verdict"]) == (3, "refuse")
    assert "an older one replaces no newer one" in answer["reasons"][0]
    assert judged(case, 3).measured == {}


def test_each_version_that_is_judged_on_the_same_days_makes_it_harder(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = changed(max_auc_loss=0.001)
    for n in (1, 2, 3):
        monkeypatch.setattr(train, "code_state", lambda home, n=n: train.Code(f"commit {n}", False, ""))
        promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    found = [judged(case, version) for version in (2, 3, 4)]
    assert [one.versions for one in found] == [1, 2, 3]
    assert found[0].level > found[1].level > found[2].level


def test_trained_again_it_is_the_champion_and_nothing_is_written(changed: Changed) -> None:
    case = changed()
    promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    before = record.trainings(case), record.judgements(case), ledger.read(case)
    again = train.train("toy", LATER, "cpu")
    assert (again["version"], again["created"]) == (2, False)
    # Nor is one that learned from earlier days made anew: it could not become champion.
    assert train.train("toy", NIGHT, "cpu")["version"] == 1
    assert promotion.promote("toy", 2, LATER)["promoted"]
    assert (record.trainings(case), record.judgements(case), ledger.read(case)) == before


def test_what_waited_and_was_overtaken_is_looked_at_no_more(changed: Changed) -> None:
    changed(max_auc_loss=0.001)
    promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    changed()
    promotion.promote("toy", train.train("toy", LATER + timedelta(7), "cpu")["version"], LATER + timedelta(7))
    assert champion() == 3
    assert promotion.look_again("toy", LATER + timedelta(20)) is None


def test_days_of_a_single_row_are_compared_by_log_loss_alone(changed: Changed) -> None:
    """No day has a pair to rank."""
    case = changed()
    for name in (case.features_table, case.labels_table):
        rows = delta.read_all("gold", name).filter(pl.col("flight_date") > NIGHT).sort("coin_id")
        single = rows.unique("flight_date", keep="first", maintain_order=True)
        delta.replace_days("gold", name, single, NIGHT + timedelta(1), NIGHT + timedelta(40))
    answer = promotion.promote("toy", train.train("toy", LATER, "cpu")["version"], LATER)
    assert answer["verdict"] in ("promote", "wait"), answer
    assert {name for name in judged(case).measured if name.startswith("gain_")} == {
        "gain_log_loss",
        "gain_log_loss_error",
    }


# --- what decides is ours ---


def test_an_edited_metric_and_a_deleted_tag_promote_nobody(changed: Changed) -> None:
    case = changed(min_auc=0.995, max_auc=1.0)
    shutil.rmtree(delta.table_path("gold", case.deployments_table))  # nobody is champion: the limits alone decide
    client, version = mlflow.MlflowClient(), train.train("toy", LATER, "cpu")["version"]
    answer = promotion.promote("toy", version)
    assert answer["verdict"] == "refuse"
    found = client.get_model_version("toy", str(version))
    client.log_metric(found.run_id, "auc", 0.999)
    for tag in (promotion.VERDICT, promotion.REASONS):
        client.delete_model_version_tag("toy", str(version), tag)
    assert promotion.promote("toy", version) == answer
    assert ledger.read(case) == []


def test_another_file_under_a_version_is_refused_before_it_is_parsed(changed: Changed) -> None:
    case = changed()
    version = train.train("toy", LATER, "cpu")["version"]
    (path,) = Path(mlflow.artifacts.download_artifacts(f"models:/toy/{version}")).rglob("model.ubj")
    path.write_bytes(b"something else")
    with pytest.raises(model_files.DamagedModelError, match="does not have the checksum that it was registered with"):
        promotion.promote("toy", version, LATER)
    assert champion() == 1
    assert record.last_judgement(case, version) is None


def test_tags_that_name_another_training_are_refused(changed: Changed) -> None:
    changed()
    client, version = mlflow.MlflowClient(), train.train("toy", LATER, "cpu")["version"]
    client.set_model_version_tag("toy", str(version), "model_sha256", "0" * 64)
    with pytest.raises(registry.UnknownRecipeError, match="knows no training of its files"):
        promotion.promote("toy", version, LATER)


def test_a_signed_older_file_under_a_newer_version_is_refused(changed: Changed) -> None:
    """Its tags are those of version 1, whose training is known, and whose files it has not."""
    changed()
    client, version = mlflow.MlflowClient(), train.train("toy", LATER, "cpu")["version"]
    older = client.get_model_version("toy", "1").tags
    for tag in ("request_key", "model_sha256", "reference_sha256"):
        client.set_model_version_tag("toy", str(version), tag, older[tag])
    shutil.rmtree(model_files._folder(changed(), version), ignore_errors=True)
    with pytest.raises(model_files.DamagedModelError):
        promotion.promote("toy", version, LATER)


@pytest.mark.parametrize("table", ["trainings_table", "judgements_table", "deployments_table"])
def test_nothing_is_decided_by_a_ledger_with_an_edited_line(changed: Changed, table: str) -> None:
    case = changed()
    version = train.train("toy", LATER, "cpu")["version"]
    name = f"gold.{getattr(case, table)}"
    rows = delta.read_all("gold", getattr(case, table))
    column = {"trainings_table": "device", "judgements_table": "verdict", "deployments_table": "reason"}[table]
    write_deltalake(usage.opened(name), rows.with_columns(pl.lit("edited").alias(column)).to_arrow(), mode="overwrite")
    with pytest.raises(record.BrokenLedgerError, match=rf"{name} is not as it was written, .* line 1 is not"):
        promotion.promote("toy", version, LATER)
    assert getattr(case, table) in case.ledgers


def test_a_kill_between_the_verdict_and_the_ledger_is_made_up_for(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = changed()
    version = train.train("toy", LATER, "cpu")["version"]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    append = ledger.append
    monkeypatch.setattr(ledger, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        promotion.promote("toy", version, LATER)
    assert (judged(case).verdict, champion()) == ("promote", 1)
    monkeypatch.setattr(ledger, "append", append)
    assert promotion.promote("toy", version, LATER)["promoted"]
    assert len([one for one in record.judgements(case) if one.model_version == version]) == 1
    assert [row.model_version for row in ledger.read(case)] == [1, 2]


def test_a_line_of_an_earlier_release_has_what_it_does_not_say(changed: Changed) -> None:
    case = changed()
    old = delta.read_all("gold", case.trainings_table).drop(
        "versions", "code", "environment", "seconds", "line", "seal"
    )
    shutil.rmtree(delta.table_path("gold", case.trainings_table))
    chain.append(f"gold.{case.trainings_table}", old, "before there were these")
    (training,) = record.trainings(case)
    assert (training.versions, training.code, training.environment, training.seconds) == ({}, "", {}, 0.0)


def test_a_training_of_before_a_kill_is_written_down_once(toy: UseCase, mlflow_store: None) -> None:
    real = mlflow.register_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow, "register_model", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.train("toy", NIGHT, "cpu")
    assert mlflow.register_model is real
    assert len(record.trainings(toy)) == 1
    train.train("toy", NIGHT, "cpu")
    assert len(record.trainings(toy)) == 1
    assert date.fromisoformat(str(record.trainings(toy)[0].partition)) == NIGHT
