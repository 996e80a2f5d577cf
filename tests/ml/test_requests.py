"""Which rows are asked for: what a model is least sure of, and what is unlike its training; nothing twice."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from include.cli import labels as command
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.lake import chain, delta
from include.ml import answers, ledger, requests
from include.ml.requests import Scaled
from include.serving import batch
from tests.ml.conftest import FIRST, ROWS, toy_rows, write_days
from tests.ml.worlds import SALES, WEATHER

NIGHT = FIRST + timedelta(29)
DAY = NIGHT + timedelta(1)


@pytest.fixture
def scored(deployed: UseCase) -> UseCase:
    """The toy use case with a champion, and a day that is scored and has no labels; one coin is of an odd weight."""
    write_days(deployed, DAY, 1, labels=False)
    odd = pl.when(pl.col("coin_id") == f"{DAY}-7").then(40.0).otherwise(pl.col("weight")).alias("weight")
    rows = toy_rows(DAY, 1).drop("is_head").with_columns(odd)
    delta.replace_days("gold", deployed.features_table, rows, DAY, DAY)
    batch.predict("toy", DAY, DAY)
    return deployed


def asked(case: UseCase, out: Path, budget: int = 10) -> pl.DataFrame:
    return requests.ask(case, DAY, DAY, budget, out, "ann")[1]


def test_the_least_sure_and_the_most_novel_are_asked_for_in_turns(scored: UseCase, tmp_path: Path) -> None:
    file = asked(scored, tmp_path / "out.csv")
    predictions = delta.read_all("gold", scored.predictions_table).sort((pl.col("score") - 0.5).abs())
    assert file["coin_id"][0] == predictions["coin_id"][0]
    assert file["why"][0].startswith("least sure: a probability of 0.")
    assert file["coin_id"][1] == f"{DAY}-7"
    assert file["why"][1].startswith("most novel: ")
    assert "weight" in file["why"][1]
    assert file["why"].str.starts_with("least sure").to_list() == [True, False] * 5
    assert file.columns == [
        "flight_date", "coin_id", "is_head", "why", "score", "model_version", "weight", "metal", "noise"
    ]  # fmt: skip
    read = pl.read_csv(tmp_path / "out.csv")
    assert read["coin_id"].to_list() == file["coin_id"].to_list()


def test_nothing_is_asked_for_twice_and_what_has_a_label_is_not(scored: UseCase, tmp_path: Path) -> None:
    first = asked(scored, tmp_path / "1.csv", 20)
    label = pl.DataFrame({"coin_id": [f"{DAY}-50"], "flight_date": [DAY], "is_head": [1], "ingestion_date": [DAY]})
    delta.replace_days("gold", scored.labels_table, label.cast({"is_head": pl.Int32}), DAY, DAY)
    by_hand = pl.DataFrame({"coin_id": [f"{DAY}-51"], "flight_date": [str(DAY)], "is_head": ["1"]})
    answers.take("x", scored, by_hand, DAY, "ann")
    second = asked(scored, tmp_path / "2.csv", 100)
    assert not set(first["coin_id"]) & set(second["coin_id"])
    assert not {f"{DAY}-50", f"{DAY}-51"} & set(second["coin_id"])
    lines = delta.read_all("gold", scored.label_requests_table).sort("line")
    assert lines["request"].to_list() == [1] * first.height + [2] * second.height
    assert chain.broken(lines) == []


def test_the_same_state_gives_the_same_request(
    scored: UseCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill between the file and the ledger: what was written is written again."""
    with monkeypatch.context() as patch:
        patch.setattr(requests.chain, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            asked(scored, tmp_path / "out.csv")
    killed = (tmp_path / "out.csv").read_bytes()
    asked(scored, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == killed


def test_of_rows_that_are_near_each_other_one_is_asked_for(scored: UseCase, tmp_path: Path) -> None:
    rows = toy_rows(DAY, 1).drop("is_head")
    copies = rows.filter(pl.col("coin_id") == f"{DAY}-3")
    same = pl.concat([copies.with_columns(coin_id=pl.lit(f"copy {n}")) for n in range(30)])
    delta.replace_days("gold", scored.features_table, pl.concat([rows, same]), DAY, DAY)
    batch.predict("toy", DAY, DAY)
    file = asked(scored, tmp_path / "out.csv", ROWS + 30)
    assert file["coin_id"].str.starts_with("copy").sum() + (file["coin_id"] == f"{DAY}-3").sum() == 1


def test_what_cannot_be_asked_for_is_said(toy: UseCase, tmp_path: Path) -> None:
    with pytest.raises(ledger.NoChampionError, match="nobody knows what would teach it"):
        asked(toy, tmp_path / "out.csv")


def test_when_all_was_asked_for_it_is_said(scored: UseCase, tmp_path: Path) -> None:
    with pytest.raises(BadRequestError, match="budget is 0"):
        asked(scored, tmp_path / "out.csv", 0)
    with pytest.raises(BadRequestError, match="nothing is left to ask for"):
        requests.ask(scored, FIRST, NIGHT, 5, tmp_path / "out.csv", "ann")
    assert not (tmp_path / "out.csv").exists()


def test_each_task_says_what_it_is_unsure_of() -> None:
    of_classes = pl.DataFrame(
        {"predicted": ["dry"] * 2, "score_dry": [0.5, 0.9], "score_wet": [0.45, 0.05], "score_icy_road": [0.05, 0.05]}
    )
    unsure, words = requests.unsure(WEATHER.case, of_classes)
    assert unsure[0] > unsure[1]
    assert words[0] == "its two likeliest classes are 0.05 apart"
    wide = pl.DataFrame({"score_q10": [1.0, 1.0], "score": [2.0, 2.0], "score_q90": [3.0, 9.0]})
    names = list(requests.tasks.of(SALES.case).columns)
    unsure, words = requests.unsure(SALES.case, wide.rename(dict(zip(wide.columns, names, strict=True))))
    assert unsure.tolist() == [2.0, 8.0]
    assert words[1] == "an interval 8 wide"
    mean = replace(SALES.case, task=replace(SALES.case.task, quantiles=()))
    unsure, _ = requests.unsure(mean, pl.DataFrame({"score": [1.0]}))
    assert np.isnan(unsure).all()


def test_coordinates_are_in_spreads_and_missing_is_a_place_of_its_own(toy: UseCase) -> None:
    rows = toy_rows(FIRST, 10)
    scaled = Scaled.of(toy.features, rows)
    found, names = scaled.coordinates(
        pl.DataFrame({"weight": [None, 1e9, 0.0], "metal": ["gold", "iron", "tin"], "noise": [0.0, 0.0, 0.0]})
    )
    assert names[:2] == ["weight", "weight"]
    assert found[:, 0].tolist()[:2] == [0.0, 5.0]
    assert found[:, 1].tolist() == [1.0, 0.0, 0.0]
    metals = found[:, [name == "metal" for name in names]]
    assert np.isclose(np.linalg.norm(metals[0] - metals[1]), 1)


def test_the_command_writes_a_file_and_says_what_to_do(
    scored: UseCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.label_requests_arguments(parser)
    out = tmp_path / "new" / "out.csv"
    assert command.label_requests(parser.parse_args(["--use-case=toy", "--budget=4", f"--out={out}"])) == 0
    assert capsys.readouterr().out.splitlines() == [
        "request 1: 4 rows of toy: 2 least sure, 2 most novel",
        f"{out}: fill in is_head, then make labels use_case=toy file={out}",
    ]
    answered = pl.read_csv(out, infer_schema=False).with_columns(is_head=pl.lit("1"))
    assert answers.take("out.csv", scored, answered, DAY, "ann")["new"] == 4
