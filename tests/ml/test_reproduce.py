"""A version is trained again from its record alone: the same bytes, or what is not as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import code, environment, model_files, record, reproduce
from include.ml.reproduce import NotOnRecordError, spec_of
from tests import commands
from tests.ml.conftest import FIRST, write_days
from tests.ml.worlds import RETURNS, SALES, WEATHER

NIGHT = FIRST + timedelta(29)


@pytest.fixture
def live(deployed: UseCase, world: Path, tmp_path: Path) -> Iterator[UseCase]:
    """Version 1 of the toy use case, its lake, and its MLflow."""
    shutil.copy(world / "mlflow.db", tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield deployed
    mlflow.set_tracking_uri(before)


def test_byte_by_byte(live: UseCase) -> None:
    found = reproduce.reproduce("toy", 1)
    assert (found.equal, found.rows, found.differs) == (True, "the versions of then", [])


def test_also_where_the_spec_of_today_is_another_or_gone(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(live, training=replace(live.training, rounds=99), features=live.features[2:])
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": other})
    assert reproduce.reproduce("toy", 1).equal
    monkeypatch.setattr("include.use_cases.use_cases", dict)
    assert reproduce.reproduce("toy", 1).equal


def test_also_after_the_days_were_written_again_and_others_came(live: UseCase) -> None:
    write_days(live, FIRST, 2, shift=0.5)
    write_days(live, NIGHT + timedelta(1), 5)
    assert reproduce.reproduce("toy", 1).rows == "the versions of then"


def test_also_after_the_tables_were_compacted_and_cleaned(live: UseCase) -> None:
    for name in (live.features_table, live.labels_table):
        write_days(live, NIGHT + timedelta(1), 1)
        table = delta.opened("gold", name)
        table.optimize.compact()
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert reproduce.reproduce("toy", 1).equal


def test_also_where_the_tables_were_made_anew_with_the_same_content(live: UseCase) -> None:
    rows = {name: delta.read_all("gold", name) for name in (live.features_table, live.labels_table)}
    for name, frame in rows.items():
        shutil.rmtree(delta.table_path("gold", name))
        for day in sorted(frame["flight_date"].unique()):  # in other commits, so that the versions mean something else
            delta.replace_days("gold", name, frame.filter(pl.col("flight_date") == day).reverse(), day, day)
    found = reproduce.reproduce("toy", 1)
    assert (found.equal, found.rows) == (True, "the tables of now")


def test_other_rows_are_said(live: UseCase) -> None:
    for name in (live.features_table, live.labels_table):
        shutil.rmtree(delta.table_path("gold", name))
    write_days(live, FIRST, 30, shift=0.5)
    found = reproduce.reproduce("toy", 1)
    assert (found.equal, found.rows) == (False, "nowhere")
    assert any(one.startswith("the tables of now have other rows: content ") for one in found.differs)


def test_other_code_and_another_library_are_said(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "code_state", lambda home: code.Code("decaf", True, "-1\n+2"))
    monkeypatch.setattr(environment, "of_training", lambda: environment_of(live) | {"xgboost": "1.0"})
    found = reproduce.reproduce("toy", 1)
    assert found.equal, "they have made no difference"
    assert found.differs[0].startswith("the code is decaf+")
    assert found.differs[1].startswith("xgboost is 1.0, and was ")


def environment_of(case: UseCase) -> dict[str, str]:
    return record.trainings(case)[0].environment


def test_another_model_is_said(
    live: UseCase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = json.loads(model_files.text_of("toy", record_run(), model_files.USE_CASE_FILE))
    changed = kept | {"training": kept["training"] | {"seed": 8, "params": {"max_depth": 1}}}
    monkeypatch.setattr(model_files, "text_of", lambda *_: json.dumps(changed))
    assert commands.run("reproduce", "--model", "toy", "--version", "1") == 1
    assert "version 1: another model, from the rows of the versions of then" in capsys.readouterr().out


def record_run() -> str:
    return str(mlflow.MlflowClient().get_model_version("toy", "1").run_id)


def test_what_is_not_on_record_is_said(live: UseCase) -> None:
    shutil.rmtree(delta.table_path("gold", live.trainings_table))
    with pytest.raises(NotOnRecordError, match="what it was made of is not on record"):
        reproduce.reproduce("toy", 1)


@pytest.mark.parametrize("case", [WEATHER.case, SALES.case, RETURNS.case], ids=lambda case: case.name)
def test_a_spec_comes_back_from_its_json(case: UseCase) -> None:
    assert spec_of(json.loads(json.dumps(asdict(case), default=str))) == case
