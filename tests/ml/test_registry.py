import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from threading import Thread
from types import SimpleNamespace
from typing import Any

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import Binary, UseCase
from include.core.settings import settings
from include.lake import delta
from include.ml import code, dataset, errors, ledger, model_files, promotion, record, registry, tasks, train
from include.serving import batch
from tests.ml.conftest import FIRST, toy_case, write_days

NIGHT = FIRST + timedelta(29)
GATES = tasks.of(toy_case(task=Binary(min_auc=0.65, max_auc=0.85, baseline="noise")))
GOOD = {"auc": 0.74, "baseline_auc": 0.68, "calibration_error": 0.03}


def test_a_good_challenger_passes() -> None:
    assert GATES.reasons(GOOD) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"auc": 0.649, "baseline_auc": 0.5}, "something is missing"),
        ({"auc": 0.851}, "something leaks"),
        ({"baseline_auc": 0.721}, "adds less than 0.02 to 0.7210 of noise alone"),
        ({"calibration_error": 0.101}, "calibration error 0.1010 is above 0.1"),
        ({"calibration_error": float("nan")}, "calibration error"),
    ],
)
def test_each_gate_can_refuse(change: dict[str, float], reason: str) -> None:
    (found,) = GATES.reasons(GOOD | change)
    assert reason in found


def test_missing_metrics_pass_no_gate() -> None:
    assert len(GATES.reasons({})) == 4


@pytest.fixture
def first(toy: UseCase, mlflow_store: None) -> dict[str, Any]:
    """Version 1, trained and champion."""
    trained = train.train("toy", NIGHT, "cpu")
    promotion.promote("toy", trained["version"])
    return trained


def test_a_version_says_how_to_cook_it_again(toy: UseCase, first: dict[str, Any]) -> None:
    client = mlflow.MlflowClient()
    assert client.get_model_version_by_alias("toy", "challenger").version == 1
    assert client.get_model_version_by_alias("toy", "champion").version == 1
    run = client.get_run(first["run_id"])
    assert run.data.params["max_depth"] == "2"
    assert run.data.params["seed"] == "7"
    assert run.data.metrics["auc"] == pytest.approx(first["metrics"]["auc"])
    tags = run.data.tags
    assert tags["delta_version.toy__features"] == "0"
    assert tags["partition"] == str(NIGHT)
    assert tags["device"] == "cpu"
    assert tags["git_commit"] == code.code_state(settings().home).commit
    assert len(tags["content_hash"]) == 64
    files = {file.path for file in client.list_artifacts(first["run_id"])}
    assert {"reference.json", "use_case.json"} <= files
    assert ("diff.patch" in files) == (tags["git_dirty"] == "true")


def test_what_a_version_was_trained_on_is_pinned_until_it_is_deleted(toy: UseCase, first: dict[str, Any]) -> None:
    write_days(toy, NIGHT + timedelta(1), 11)
    train.train("toy", NIGHT + timedelta(10), "cpu")
    assert registry.pinned() == {"gold.toy__features": [0, 1], "gold.toy__labels": [0, 1]}
    assert {version: set(known["features"]) for version, known in registry.references(toy).items()} == {
        1: set(toy.feature_names),
        2: set(toy.feature_names),
    }
    mlflow.MlflowClient().delete_model_version("toy", "1")
    assert registry.pinned() == {"gold.toy__features": [1], "gold.toy__labels": [1]}


def test_the_rows_of_a_version_come_back(toy: UseCase, first: dict[str, Any]) -> None:
    trained = dataset.load(toy, FIRST, NIGHT)
    write_days(toy, FIRST, 2, shift=0.5)
    assert dataset.load(toy, FIRST, NIGHT).content_hash != trained.content_hash
    assert registry.training_set(toy, 1).frame.equals(trained.frame)
    for table in (toy.features_table, toy.labels_table):
        shutil.rmtree(delta.table_path("gold", table))
    write_days(toy, FIRST, 30, shift=0.5)
    with pytest.raises(dataset.DataMissingError, match=r"toy version 1 was not trained on what .* made anew since"):
        registry.training_set(toy, 1)


def test_every_page_of_the_registry_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(list):
        token: str | None = None

    class Registry:
        def search_model_versions(self, which: str | None, page_token: str | None) -> Page:
            page = Page(
                [SimpleNamespace(tags={"delta_version.t": "2" if page_token else "1", "partition": "2020-01-01"})]
            )
            page.token = None if page_token else "more"
            return page

    monkeypatch.setattr("mlflow.MlflowClient", Registry)
    assert registry.pinned() == {"gold.t": [1, 2]}


def test_the_same_request_makes_no_second_version(toy: UseCase, first: dict[str, Any]) -> None:
    again = train.train("toy", NIGHT, "cpu")
    assert (again["created"], again["version"], again["run_id"]) == (False, 1, first["run_id"])
    assert again["metrics"]["auc"] == pytest.approx(first["metrics"]["auc"])
    assert len(mlflow.MlflowClient().search_model_versions("name = 'toy'")) == 1


def test_promotion_starts_with_the_first_free_day_and_happens_once(toy: UseCase, first: dict[str, Any]) -> None:
    answer = promotion.promote("toy", 1)
    assert answer["promoted"]
    assert answer["effective_from"] == str(NIGHT + timedelta(1))
    (row,) = ledger.read(toy)
    assert (row.model_version, row.effective_from, row.trained_through) == (1, NIGHT + timedelta(1), NIGHT)
    assert row.decided_by == "gates"


def test_a_better_challenger_takes_over_later_days_only(toy: UseCase, first: dict[str, Any]) -> None:
    write_days(toy, NIGHT + timedelta(1), 11)
    batch.predict("toy", NIGHT + timedelta(1), NIGHT + timedelta(11))
    trained = train.train("toy", NIGHT + timedelta(10), "cpu")
    answer = promotion.promote("toy", trained["version"])
    (judgement,) = [one for one in record.judgements(toy) if one.model_version == 2]
    assert (judgement.verdict, judgement.champion, judgement.days, judgement.look) == ("promote", 1, 7, 1)
    again = promotion.promote("toy", trained["version"])
    assert again | {"reasons": answer["reasons"]} == answer
    assert (answer["promoted"], answer["replaces"]) == (True, 1)
    assert answer["effective_from"] == str(NIGHT + timedelta(12))
    assert [row.model_version for row in ledger.read(toy)] == [1, 2]
    assert mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version == 2
    # The days before keep their champion, and asking for version 1 again does not bring it back.
    assert not batch.predict("toy", NIGHT + timedelta(1), NIGHT + timedelta(11))["changed"]
    promotion.promote("toy", 1)
    assert mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version == 2


def test_a_refused_version_is_tagged_and_the_ledger_untouched(
    toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(toy, task=replace(toy.task, min_auc=0.99, max_auc=1.0))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": strict})
    version = train.train("toy", NIGHT, "cpu")["version"]
    answer = promotion.promote("toy", version)
    assert not answer["promoted"]
    assert "is below 0.99" in answer["reasons"][0]
    assert promotion.promote("toy", version) == answer
    assert ledger.read(toy) == []
    found = mlflow.MlflowClient().get_model_version("toy", str(version))
    assert (found.tags["verdict"], json.loads(found.tags["reasons"])) == ("refuse", answer["reasons"])
    assert found.aliases == ["challenger"]


def test_a_damaged_cache_is_fetched_again_and_a_damaged_model_refused(toy: UseCase, first: dict[str, Any]) -> None:
    champion = ledger.latest_champion(toy)
    assert champion is not None
    model = (toy, champion.model_version, champion.run_id, model_files.MODEL_FILE)
    path = model_files.cached(*model, champion.model_sha256)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert model_files.cached(*model, champion.model_sha256).read_bytes() == whole
    with pytest.raises(
        model_files.DamagedModelError, match=r"model\.ubj of toy version 1 in MLflow does not have the checksum"
    ):
        model_files.cached(*model, "0" * 64)


def test_unknown_days_cannot_train(toy: UseCase, mlflow_store: None) -> None:
    with pytest.raises(dataset.DataMissingError, match="2020-01-31"):
        train.train("toy", date(2020, 1, 31), "cpu")
    assert not delta.exists("gold", toy.deployments_table)


KILLED = """
import os, signal, sys
from datetime import date
from importlib import import_module

import mlflow
import include.use_cases as catalogue
from tests.ml.conftest import toy_case

catalogue.use_cases = lambda: {"toy": toy_case()}
mlflow.set_tracking_uri(sys.argv[1])
where, name = sys.argv[2].split(".")
holder = {"mlflow": mlflow, "client": mlflow.MlflowClient, "pyfunc": import_module("mlflow.pyfunc")}[where]
real = getattr(holder, name)


def dies(*given, **named):
    if sys.argv[3] == "after":
        real(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)


setattr(holder, name, dies)
from include.ml import promotion, train

version = train.train("toy", date(2020, 1, 30), "cpu")["version"]
promotion.promote("toy", version)
"""


def killed(where: str, when: str) -> None:
    """A process trains and promotes, and is killed before or after the call ``where`` to MLflow."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, mlflow.get_tracking_uri(), where, when],
        env={**os.environ, "PYTHONPATH": str(settings().home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("where", "when", "statuses"),
    [
        ("pyfunc.save_model", "before", ["FINISHED", "KILLED"]),  # the model is there, and pending
        pytest.param("mlflow.register_model", "after", ["FINISHED"], marks=pytest.mark.full),
        pytest.param("mlflow.log_metrics", "after", ["FINISHED", "KILLED"], marks=pytest.mark.full),
        pytest.param("mlflow.register_model", "before", ["FINISHED", "KILLED"], marks=pytest.mark.full),
        pytest.param("client.set_registered_model_alias", "before", ["FINISHED"], marks=pytest.mark.full),
    ],
)
def test_a_killed_training_leaves_one_version_and_no_run_that_seems_to_go_on(
    toy: UseCase, mlflow_store: None, where: str, when: str, statuses: list[str]
) -> None:
    killed(where, when)
    client = mlflow.MlflowClient()
    own = client.create_run(mlflow.get_experiment_by_name("toy").experiment_id).info.run_id
    trained = train.train("toy", NIGHT, "cpu")
    again = train.train("toy", NIGHT, "cpu")
    assert (again["version"], again["created"]) == (trained["version"], False) == (1, False)
    (version,) = client.search_model_versions("name = 'toy'")
    assert client.get_model_version_by_alias("toy", "challenger").version == version.version
    runs = mlflow.search_runs(experiment_names=["toy"], output_format="list")
    assert sorted(run.info.status for run in runs if run.info.run_id != own) == statuses
    assert client.get_run(own).info.status == "RUNNING", "a person's own run is left alone"
    models = client.search_logged_models([runs[0].info.experiment_id])
    assert not [model for model in models if model.status == "PENDING"]
    assert promotion.promote("toy", 1)["promoted"]


@pytest.mark.full
def test_a_promotion_that_was_killed_before_the_alias_is_finished(toy: UseCase, mlflow_store: None) -> None:
    train.train("toy", NIGHT, "cpu")
    killed("client.set_registered_model_alias", "before")
    client = mlflow.MlflowClient()
    assert "champion" not in client.get_registered_model("toy").aliases
    assert [row.model_version for row in ledger.read(toy)] == [1]
    answer = promotion.promote("toy", 1)
    assert (answer["promoted"], answer["replaces"]) == (True, None)
    assert client.get_model_version_by_alias("toy", "champion").version == 1
    assert len(ledger.read(toy)) == 1


def test_of_two_versions_of_one_request_the_first_counts(toy: UseCase, first: dict[str, Any]) -> None:
    client = mlflow.MlflowClient()
    one = client.get_model_version("toy", "1")
    client.create_model_version("toy", one.source, one.run_id, tags=one.tags)
    again = train.train("toy", NIGHT, "cpu")
    assert (again["version"], again["created"]) == (1, False)


def test_a_version_that_no_training_registered_is_named_and_disturbs_nothing(
    toy: UseCase, first: dict[str, Any]
) -> None:
    client = mlflow.MlflowClient()
    one = client.get_model_version("toy", "1")
    client.create_model_version("toy", one.source, one.run_id)
    said = r"version 2 of toy in MLflow has no tag `\w+`: .* DAG toy_train"
    with pytest.raises(registry.UnknownRecipeError, match=said):
        promotion.promote("toy", 2)
    with pytest.raises(registry.UnknownRecipeError, match=said):
        registry.training_set(toy, 2)
    assert set(registry.references(toy)) == {1}
    assert registry.pinned() == {"gold.toy__features": [0], "gold.toy__labels": [0]}
    assert train.train("toy", NIGHT, "cpu")["version"] == 1


def test_what_mlflow_refuses_is_not_tried_again(
    toy: UseCase, first: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        errors.RegistryRefusedError, match=r"MLflow refuses to promote version 7 of toy \(RESOURCE_DOES_NOT"
    ):
        promotion.promote("toy", 7)
    client = mlflow.MlflowClient()
    client.delete_experiment(mlflow.get_experiment_by_name("toy").experiment_id)
    write_days(toy, NIGHT, 2)
    monkeypatch.setattr(train, "fit_and_judge", lambda *_: pytest.fail("hours of training, for nothing"))
    with pytest.raises(errors.RegistryRefusedError, match="the experiment of that name was deleted there"):
        train.train("toy", NIGHT + timedelta(1), "cpu")


@pytest.mark.parametrize(
    ("code", "again"),
    [
        ("RESOURCE_DOES_NOT_EXIST", False),
        ("PERMISSION_DENIED", False),
        ("INVALID_PARAMETER_VALUE", False),
        ("INTERNAL_ERROR", True),
        ("TEMPORARILY_UNAVAILABLE", True),
        ("REQUEST_LIMIT_EXCEEDED", True),
    ],
)
def test_what_may_pass_is_tried_again(code: str, again: bool) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    expected = errors.RegistryAwayError if again else errors.RegistryRefusedError
    with pytest.raises(expected), errors.of_mlflow("to do it"):
        raise MlflowException("no", ErrorCode.Value(code))


def test_a_version_records_why_its_commit_is_unknown(
    toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "code_state", lambda home: code.Code("unknown", False, "", "no git"))
    tags = mlflow.MlflowClient().get_run(train.train("toy", NIGHT, "cpu")["run_id"]).data.tags
    assert (tags["git_commit"], tags["git_dirty"], tags["git_reason"]) == ("unknown", "false", "no git")


@pytest.mark.parametrize("metric", ["auc", "baseline_auc", "calibration_error"])
def test_a_metric_that_is_no_number_passes_no_gate(metric: str) -> None:
    assert GATES.reasons(GOOD | {metric: float("nan")})


def test_an_auc_of_exactly_zero_is_one() -> None:
    assert "AUC 0.0000 is below 0.65" in GATES.reasons(GOOD | {"auc": 0.0})[0]


def test_labels_of_one_kind_in_the_holdout_are_refused(toy: UseCase, mlflow_store: None) -> None:
    rows = delta.read_days("gold", toy.labels_table, NIGHT - timedelta(6), NIGHT)
    rows = rows.with_columns(is_head=pl.lit(1, pl.Int32))
    delta.replace_days("gold", toy.labels_table, rows, NIGHT - timedelta(6), NIGHT)
    answer = promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    assert not answer["promoted"]
    assert answer["reasons"][0] == "AUC nan is below 0.6: is_head is 1 in all rows of the holdout"


def test_a_promotion_waits_for_a_scoring(toy: UseCase, mlflow_store: None) -> None:
    version = train.train("toy", NIGHT, "cpu")["version"]
    promoting = Thread(target=promotion.promote, args=("toy", version))
    with ledger.deploying(toy):
        promoting.start()
        promoting.join(1)
        assert promoting.is_alive()
        assert ledger.read(toy) == []
    promoting.join()
    assert [row.model_version for row in ledger.read(toy)] == [version]
