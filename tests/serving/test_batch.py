from dataclasses import replace
from datetime import date, timedelta
from threading import Thread
from typing import Any

import numpy as np
import polars as pl
import pytest
import xgboost as xgb

from include.contracts.use_case import Cost, Feature, Regression, Scoring, UseCase, Value
from include.core.partitions import Partitions
from include.lake import delta
from include.ml import dataset, errors, ledger, model_files, scoring, tasks
from include.ml.reference import features_of
from include.serving import batch
from tests.ml.conftest import FIRST, ROWS, toy_case, toy_rows, write_days

NIGHT = FIRST + timedelta(29)
TOMORROW = NIGHT + timedelta(1)


@pytest.fixture
def champion(deployed: UseCase) -> UseCase:
    """The toy use case with a champion from ``TOMORROW`` on, and features of that day and the next."""
    write_days(deployed, TOMORROW, 2, labels=False)
    return deployed


def test_each_row_is_scored_once_and_stamped(champion: UseCase) -> None:
    done = batch.predict("toy", TOMORROW, TOMORROW)
    version = delta.version("gold", champion.features_table)
    told = {"rows": ROWS, "days": 1, "by_version": {"1": ROWS}, "changed": True, "table_version": 0}
    assert done == told | {"features_version": version, "fallback": []}
    rows = delta.read_all("gold", champion.predictions_table)
    assert sorted(rows["coin_id"]) == sorted(toy_rows(TOMORROW, 1)["coin_id"])
    assert rows.schema == {
        "coin_id": pl.String,
        "flight_date": pl.Date,
        "score": pl.Float64,
        "model_version": pl.Int64,
        "scored_by": pl.String,
        "features_content": pl.String,
    }
    assert rows["score"].is_between(0, 1).all()


def test_scoring_again_changes_nothing_and_days_may_come_in_any_order(champion: UseCase) -> None:
    batch.predict("toy", TOMORROW + timedelta(1), TOMORROW + timedelta(1))
    batch.predict("toy", TOMORROW, TOMORROW)
    whole = delta.content_hash(delta.read_all("gold", champion.predictions_table))
    again = batch.predict("toy", TOMORROW, TOMORROW + timedelta(1))
    assert (again["changed"], again["table_version"], again["rows"]) == (False, 1, 2 * ROWS)
    assert delta.content_hash(delta.read_all("gold", champion.predictions_table)) == whole


def test_days_without_a_champion_are_refused(champion: UseCase) -> None:
    with pytest.raises(ledger.NoChampionError, match=f"no champion for {NIGHT}"):
        batch.predict("toy", NIGHT, TOMORROW)


def test_of_a_range_the_days_before_the_first_champion_are_left_out(champion: UseCase) -> None:
    (row,) = ledger.read(champion)
    day, after = row.effective_from, row.effective_from + timedelta(9)
    assert batch.with_champion("toy", Partitions(day - timedelta(20), after)) == Partitions(day, after)
    assert batch.with_champion("toy", Partitions(day, day)) == Partitions(day, day)
    with pytest.raises(ledger.NoChampionError):
        batch.with_champion("toy", Partitions(day - timedelta(20), day - timedelta(1)))


def test_missing_days_and_columns_are_refused(champion: UseCase) -> None:
    with pytest.raises(dataset.DataMissingError, match="no rows for 1 of the days"):
        batch.predict("toy", TOMORROW, TOMORROW + timedelta(2))
    path = str(delta.table_path("gold", champion.features_table))
    leaking = toy_rows(TOMORROW, 1).drop("is_head").with_columns(dep_delay=pl.lit(1.0))
    leaking.write_delta(path, mode="overwrite", delta_write_options={"schema_mode": "overwrite"})
    with pytest.raises(dataset.DataMissingError, match="not in the spec dep_delay"):
        batch.predict("toy", TOMORROW, TOMORROW)
    assert not delta.exists("gold", champion.predictions_table)


def test_an_entity_twice_is_refused(champion: UseCase) -> None:
    rows = toy_rows(TOMORROW, 1).drop("is_head")
    delta.replace_days("gold", champion.features_table, pl.concat([rows, rows.head(1)]), TOMORROW, TOMORROW)
    with pytest.raises(ValueError, match="has an coin_id twice in 61 rows"):
        batch.predict("toy", TOMORROW, TOMORROW)


def test_a_promotion_beside_a_scoring_takes_effect_after_it(champion: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each day is scored by the version that the ledger names for it, whatever comes in between."""
    write, promotions = delta.replace_days, list[Thread]()
    first = ledger.latest_champion(champion)
    assert first is not None

    def promote() -> None:
        """As the task does, once MLflow and the gates have been asked."""
        with ledger.deploying(champion):
            values = {name: getattr(first, name) for name in ledger.SCHEMA if name != "decided_at"}
            free = ledger.first_free_day(champion, NIGHT)
            ledger.append(champion, **values | {"model_version": 2, "effective_from": free})

    def promoted_meanwhile(*arguments: Any, **named: Any) -> Any:
        promotions.append(Thread(target=promote))
        promotions[0].start()
        promotions[0].join(0.5)
        return write(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(delta, "replace_days", promoted_meanwhile)
        batch.predict("toy", TOMORROW, TOMORROW)
    promotions[0].join()
    scored: list[tuple[date, int]] = (
        delta.read_all("gold", champion.predictions_table).select("flight_date", "model_version").unique().rows()
    )
    named = [(day, ledger.require_champion(champion, ledger.read(champion), day).model_version) for day, _ in scored]
    assert scored == named == [(TOMORROW, 1)]
    second = ledger.latest_champion(champion)
    assert second is not None
    assert (second.model_version, second.effective_from) == (2, TOMORROW + timedelta(1))


def test_the_days_that_wait_for_a_champion(champion: UseCase) -> None:
    """Its days begin TOMORROW: those with features, until the first without, and none that was scored before."""
    day_after = TOMORROW + timedelta(1)
    write_days(champion, TOMORROW + timedelta(3), 1, labels=False)
    assert batch.waiting("toy", TOMORROW) == Partitions(TOMORROW, day_after)
    batch.predict("toy", TOMORROW, TOMORROW)
    assert batch.waiting("toy", TOMORROW) is None
    assert batch.waiting("toy", day_after) == Partitions(day_after, day_after)
    assert batch.waiting("toy", day_after + timedelta(9)) is None


def changed(champion: UseCase, monkeypatch: pytest.MonkeyPatch, **values: Any) -> pl.DataFrame:
    """The predictions of TOMORROW where the spec has other values."""
    case = replace(champion, **values)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    batch.predict("toy", TOMORROW, TOMORROW)
    return delta.read_all("gold", case.predictions_table).sort("coin_id")


def test_a_prediction_says_what_to_do_where_the_spec_says_what_that_is_worth(
    champion: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To act on a tail costs 3, and on a head it brings 1: it pays from a probability of 3/4 on."""
    worth = replace(champion.task, value=Value(true_positive=1.0, false_positive=-3.0))
    rows = changed(champion, monkeypatch, task=worth)
    assert rows["decision"].to_list() == (rows["score"] >= 0.75).to_list()
    assert rows["decision"].n_unique() == 2
    without = changed(champion, monkeypatch)
    assert without["decision"].null_count() == ROWS


@pytest.mark.parametrize(("quantiles", "wanted"), [((), 0), ((0.25, 0.5, 0.75), 2), ((0.1, 0.5), 1)])
def test_of_a_number_it_is_the_quantile_that_costs_least(quantiles: tuple[float, ...], wanted: int) -> None:
    """A unit too little costs three times one too much: three of four should be below."""
    task = tasks.of(toy_case(task=Regression(baseline="noise", quantiles=quantiles, cost=Cost(over=1, under=3))))
    scores = np.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[:, : max(1, len(quantiles))]
    found = scoring.framed(task, scores)
    assert found["decision"].to_list() == scores[:, wanted].tolist()


def test_a_prediction_names_what_moved_it_most(champion: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a coin falls on its head hangs on its weight; what moved it adds up to its log odds."""
    rows = changed(champion, monkeypatch, scoring=Scoring(reasons=3))
    told = [[part.rsplit(" ", 1) for part in one.split("; ")] for one in rows["reasons"]]
    assert all({name for name, _ in one} == {"weight", "metal", "noise"} for one in told)
    sizes = [[abs(float(by)) for _, by in one] for one in told]
    assert all(one == sorted(one, reverse=True) for one in sizes)
    first = [one[0][0] for one in told]
    assert first.count("weight") > ROWS / 2
    odds = np.log(rows["score"].to_numpy() / (1 - rows["score"].to_numpy()))
    sums = np.asarray([sum(float(by) for _, by in one) for one in told])
    assert np.ptp(odds - sums) < 0.01, "but for what is added for every row"
    assert changed(champion, monkeypatch)["reasons"].null_count() == ROWS
    fewer = changed(champion, monkeypatch, scoring=Scoring(reasons=1))
    assert fewer["reasons"].to_list() == [one.split("; ")[0] for one in rows["reasons"]]


def test_a_reason_of_several_outputs_is_of_the_one_that_is_predicted() -> None:
    """Three classes, each of which one feature tells."""
    random = np.random.default_rng(1)
    values = random.random((600, 3), dtype=np.float32)
    classes = values.argmax(axis=1)
    features = [Feature(f"x{n}") for n in range(3)]
    booster = xgb.train(
        {"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 1},
        xgb.DMatrix(values, classes, feature_names=["x0", "x1", "x2"], feature_types=["q"] * 3),
        20,
    )
    case = toy_case()
    told = scoring.reasons(case, booster, features, values, classes, 1)
    right = np.mean([one.startswith(f"x{n} +") for one, n in zip(told, classes, strict=True)])
    assert right > 0.6
    others = scoring.reasons(case, booster, features, values, (classes + 1) % 3, 1)
    assert np.mean([" -" in one for one in others]) > 0.9


@pytest.mark.parametrize("reasons", [-1, True, 1.5])
def test_a_number_of_reasons_is_one(reasons: Any) -> None:
    with pytest.raises(ValueError, match="reasons is"):
        Scoring(reasons=reasons)


def test_a_range_that_is_read_in_parts_gives_what_it_gives_at_once(
    champion: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = (TOMORROW, TOMORROW + timedelta(1))
    batch.predict("toy", *days)
    read = []
    scored = batch._scored
    monkeypatch.setattr(batch, "_scored", lambda *given: read.append(given[2].height) or scored(*given))
    monkeypatch.setattr(dataset, "PART_ROWS", ROWS)
    assert batch.predict("toy", *days)["changed"] is False
    assert read == [ROWS, ROWS]


def test_a_model_of_other_features_is_refused(champion: UseCase) -> None:
    """It would take whatever stands at the place of a feature."""
    (of,) = ledger.read(champion)
    booster, reference = model_files.load_booster(champion, of), model_files.load_reference(champion, of)
    features = features_of(reference)
    rows = toy_rows(TOMORROW, 1)
    assert len(scoring.output(champion, booster, features, rows)) == ROWS
    with pytest.raises(errors.ModelRefusedError, match="or in another order: their order"):
        scoring.output(champion, booster, features[::-1], rows)
