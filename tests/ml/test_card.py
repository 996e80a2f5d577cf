"""The card of a version: what it has, that it is one file, that names stay text, and that it costs no training."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Evaluation, Feature, Multiclass, UseCase
from include.lake import chain
from include.ml import (
    card,
    dataset,
    evaluation,
    fitting,
    ledger,
    model_files,
    promotion,
    record,
    reproduce,
    scoring,
    tasks,
    train,
)
from include.ml.card import Known
from include.ml.dataset import Split
from tests.ml.conftest import FIRST, toy_case, toy_rows, write_days
from tests.ml.worlds import RETURNS, SALES, WEATHER, World

NIGHT = FIRST + timedelta(29)
HOSTILE = "<script>alert(1)</script>"
NAMED = '"> onload="alert(1)&lt;'  # XGBoost takes no < in the name of a feature


def known(case: UseCase, rows: pl.DataFrame) -> Known:
    """What a card is made of, of a model of all rows but the last ten days."""

    days = sorted(rows[case.day].unique())
    split = Split((days[0], days[-11 - case.label_days]), None, (days[-10], days[-1]))
    booster, task = fitting.fit(case, rows, split, "cpu"), tasks.of(case)
    holdout, fitted = (dataset.between(case, rows, part) for part in (split.holdout, split.train))
    shown = card.of_rows(case, task, booster, case.features, holdout)
    output = scoring.output(case, booster, case.features, holdout)
    found = evaluation.measure(
        case,
        booster,
        holdout,
        output,
        tasks.of(case).labels(fitted[case.label]),
        fitted[case.day].to_numpy(),
        fitting.gain_shares(booster),
    )
    training = record.Training(
        request_key="r",
        recipe_key="r",
        partition=days[-1],
        model_sha256="a" * 64,
        reference_sha256="b" * 64,
        content_hash="c" * 64,
        trained_from=days[0],
        fitted_through=split.train[1],
        holdout_from=split.holdout[0],
        trained_through=days[-1],
        device="cpu",
        champion=None,
        metrics=task.quality(shown.labels, shown.scores) | found | evaluation.timings(case, booster, holdout),
        versions={case.features_table: 3, case.labels_table: 4},
        environment={"python": "3.12"},
        evaluation=evaluation.VERSION,
    )
    return Known(case, 7, "run", task, training, card.split_of(training, rows.group_by(case.day).len()), shown)


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)).split())


@pytest.mark.parametrize("world", [WEATHER, SALES, RETURNS], ids=lambda world: world.case.name)
def test_a_card_of_each_task_has_what_somebody_asks_for(world: World) -> None:
    case = world.case
    slices = {"weather": "kind_1d", "sales": "shop", "returns": "customer"}[case.name]
    case = replace(case, evaluation=Evaluation(slices=(slices,), min_slice_rows=100))
    rows = world.rows(FIRST, 120 if case.label_days else 60)
    made = known(case, rows)
    html = card.page(made)
    said = text(html)
    training = made.training
    for wanted in (
        case.description,
        f"gold.{case.features_table} Delta version 3",
        training.content_hash,
        f"{training.holdout_from} to {training.trained_through}",
        "One row takes",
        "SHAP",
        "The lowest",
        "Limits",
        "judged by nobody yet",
    ):
        assert wanted in said, wanted
    assert len([tag for tag, _ in tags(html) if tag == "svg"]) == 3
    assert f"{slices} " in said
    assert "nan" not in re.sub(r"[^a-z]nan[^a-z]", " nan ", said).split(), "a number that does not exist is shown"


def test_it_is_one_file_that_asks_nobody() -> None:
    html = card.page(known(toy_case(), toy_rows(FIRST, 40)))
    found = tags(html)
    assert not {tag for tag, _ in found} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    loading = [
        value for _, attributes in found for name, value in attributes.items() if name in ("src", "srcset", "data")
    ]
    assert loading == []
    assert not any(name.startswith("on") for _, attributes in found for name in attributes)
    assert "url(" not in html
    assert "@import" not in html


def test_names_that_are_code_stay_names() -> None:
    case = replace(
        WEATHER.case,
        description=HOSTILE,
        owner=HOSTILE,
        task=Multiclass(classes=("dry", "wet", HOSTILE), baseline="kind_1d"),
        features=(
            *WEATHER.case.features[:2],
            Feature("kind_1d", "categorical", vocabulary=("dry", "wet", HOSTILE)),
            Feature(NAMED),
        ),
        evaluation=Evaluation(slices=("kind_1d",), min_slice_rows=10),
    )
    rows = WEATHER.rows(FIRST, 40).with_columns(pl.col("kind", "kind_1d").replace({"Icy road": HOSTILE}))
    rows = rows.with_columns((pl.col("cold") + 0.1).alias(NAMED))
    made = known(case, rows)
    made = replace(made, history=[card.Said("2020-01-01 00:00", HOSTILE, HOSTILE, HOSTILE)], problem=HOSTILE)
    html = card.page(made)
    assert "script" not in {tag for tag, _ in tags(html)}
    assert not any(name.startswith("on") for _, attributes in tags(html) for name in attributes)
    assert NAMED.replace("&", "&amp;").replace('"', "&#34;").replace(">", "&gt;") in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 7


def test_what_moves_a_prediction_adds_up_to_it() -> None:
    for world in (WEATHER, SALES, RETURNS):
        rows = world.rows(FIRST, 120 if world is RETURNS else 40)
        shown = known(world.case, rows).holdout
        assert shown is not None
        parts = card.contributions(shown.booster, shown.features, shown.rows)
        margin = evaluation.predict(
            world.case, shown.booster, dataset.matrix(shown.features, shown.rows), output_margin=True
        )
        assert np.abs(parts.sum(axis=2) - margin.reshape(len(margin), -1)).max() < 1e-3


def test_rows_of_one_prediction_are_in_one_point_whatever_their_order() -> None:
    random = np.random.default_rng(1)
    predicted = np.repeat([0.1, 0.2, 0.7], [500, 30, 470])
    true, days = (random.random(1000) < predicted).astype(float), np.arange(1000) % 20
    found = card.reliability(predicted, true, days)
    assert sorted(one.predicted for one in found) == [one.predicted for one in found]
    assert all(one.rows in (500, 30, 470, 530, 970) for one in found)
    order = random.permutation(1000)
    again = card.reliability(predicted[order], true[order], days[order])
    assert [one.rows for one in again] == [one.rows for one in found]
    same = card.reliability(np.full(1000, 0.3), true, days)
    assert [one.rows for one in same] == [1000]


def test_a_point_is_as_certain_as_days_are() -> None:
    days = np.repeat(np.arange(20), 50)
    by_day = np.repeat(np.random.default_rng(1).random(20) < 0.5, 50).astype(float)
    own = np.tile(by_day[::50], 50)  # the same labels, and no day of its own kind
    (alike,), (apart,) = (card.reliability(np.full(1000, 0.5), true, days, bins=1) for true in (by_day, own))
    assert alike.error == pytest.approx(0.11, abs=0.02)
    assert apart.error < 0.05


# --- in MLflow, and today ---


def test_a_training_has_its_card_in_mlflow(toy: UseCase, mlflow_store: None) -> None:
    import mlflow

    made = train.train("toy", NIGHT, "cpu")
    html = mlflow.artifacts.load_text(f"runs:/{made['run_id']}/card.html")
    assert "toy version 1" in html
    assert record.trainings(toy)[0].content_hash in html


def test_a_card_that_cannot_be_made_costs_no_training(
    toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(of: Known) -> str:
        raise RuntimeError("no ink")

    monkeypatch.setattr(card, "page", broken)
    made = train.train("toy", NIGHT, "cpu")
    assert (made["version"], made["created"]) == (1, True)
    said = "version 1 of toy is registered without a card (RuntimeError: no ink). To make it: make card use_case=toy"
    assert said in capsys.readouterr().out
    assert promotion.promote("toy", 1)["promoted"]


def test_the_card_of_today_has_what_became_of_it(toy: UseCase, mlflow_store: None) -> None:
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(toy, NIGHT + timedelta(1), 10)
    promotion.promote("toy", train.train("toy", NIGHT + timedelta(10), "cpu")["version"], decided_by="ann")
    one, two = (text(card.today(reproduce.spec_then("toy", version), version)) for version in (1, 2))
    assert "champion from 2020-01-31 on" in one
    assert "replaced by version 2 from 2020-02-10 on ann" in one
    assert "Beside version 1, on 7 days from 2020-02-03 to 2020-02-09 (look 1)" in two
    assert "let through the gates ann" in two
    assert "gain in AUC within days" in two
    row = ledger.latest_champion(toy)
    assert row is not None
    assert row.model_version == 2


def test_without_its_rows_a_card_says_so_and_has_the_rest(
    toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.train("toy", NIGHT, "cpu")

    def gone(*_: object) -> None:
        raise dataset.DataMissingError("the tables were made anew since")

    monkeypatch.setattr("include.ml.registry.training_set", gone)
    html = card.today(toy, 1)
    assert "No pictures: the tables were made anew since" in text(html)
    assert "svg" not in {tag for tag, _ in tags(html)}
    assert "calibration error" in text(html)


def test_a_file_that_was_changed_gives_no_card(toy: UseCase, mlflow_store: None, tmp_path: Path) -> None:
    train.train("toy", NIGHT, "cpu")
    file = next(tmp_path.rglob("artifacts/model.ubj"), None) or next(tmp_path.rglob("model.ubj"))
    for one in tmp_path.rglob("model.ubj"):
        one.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(model_files.DamagedModelError):
        card.today(toy, 1)


def test_who_made_it_champion_and_how_is_part_of_the_history(toy: UseCase, mlflow_store: None) -> None:
    train.train("toy", NIGHT, "cpu")
    (made,) = record.trainings(toy)
    for how in (ledger.BY_HAND, ledger.ROLLBACK):
        ledger.append(
            toy,
            model_version=1,
            effective_from=NIGHT,
            decided_by="ann",
            reason="it was right",
            run_id="",
            model_sha256=made.model_sha256,
            reference_sha256=made.reference_sha256,
            trained_from=made.trained_from,
            fitted_through=made.fitted_through,
            trained_through=made.trained_through,
            how=how,
        )
    shown = text(card.today(toy, 1))
    assert f"champion by hand from {NIGHT} on" in shown
    assert f"put back as champion from {NIGHT} on" in shown


def test_what_persons_have_answered_is_part_of_the_history(toy: UseCase, mlflow_store: None) -> None:
    train.train("toy", NIGHT, "cpu")
    row = {"model_version": 1, "word": "reject", "who": "ann", "why": "not in summer", "said_at": datetime.now(UTC)}
    chain.append("gold.toy__approvals", pl.DataFrame([row]), "an answer")
    assert "rejected ann not in summer" in text(card.today(toy, 1))
