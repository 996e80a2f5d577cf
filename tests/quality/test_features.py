"""The feature gate names the feature, what was found and what was allowed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Feature, UseCase
from include.ml import dataset, ledger, reference
from include.quality import features, gate
from include.quality.gate import GateFailedError
from include.sources import source
from tests.ml.conftest import FIRST, ROWS, toy_case, toy_rows

pytestmark = pytest.mark.usefixtures("home")

CASE = toy_case(
    context=("known_from",),
    features=(
        Feature("weight", low=-9, high=9, nullable=False),
        Feature("metal", "categorical", vocabulary=("gold", "iron", "tin"), min_distinct=2),
        Feature("noise"),
    ),
)
DAYS = 40


def rows(days: int = 1) -> pl.DataFrame:
    return toy_rows(FIRST, days).drop("is_head")


def check(case: UseCase, found: pl.DataFrame) -> list[str]:
    """What the gate says of ``found``, a line an expectation that failed."""
    try:
        gate.check("gold.toy__features", "2020-01-01", found.lazy(), features.suite(case))
    except GateFailedError as failed:
        return str(failed).splitlines()[1:]
    return []


def test_a_good_day_passes() -> None:
    assert check(CASE, rows()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.col("coin_id").first(), "expect_compound_columns_to_be_unique (column_list ['coin_id', 'flight_date']"),
        (pl.col("weight") * 1000, "weight: expect_column_values_to_be_between (min_value -9.0, max_value 9.0"),
        (pl.lit(None, pl.Float64).alias("weight"), "weight: expect_column_values_to_not_be_null"),
        (pl.lit(float("nan")).alias("weight"), "weight: expect_column_values_to_be_between"),
        (pl.lit("lead").alias("metal"), "metal: expect_column_values_to_be_in_set (mostly 0.95, value_set"),
        (pl.lit("tin").alias("metal"), "metal: expect_column_unique_value_count_to_be_between (min_value 2"),
        (pl.lit(None, pl.Date).alias("known_from"), "known_from: expect_column_values_to_not_be_null"),
        (pl.col("flight_date").alias("known_from"), "expect_column_pair_values_a_to_be_greater_than_b"),
    ],
)
def test_what_is_wrong_is_named(change: pl.Expr, said: str) -> None:
    lines = check(CASE, rows().with_columns(change))
    assert any(said in line for line in lines), lines


def test_one_thing_may_be_predicted_on_many_days() -> None:
    again = rows(2).with_columns(coin_id=pl.concat_str(pl.lit("coin"), pl.int_range(pl.len()).over("flight_date")))
    assert again["coin_id"].n_unique() == ROWS
    assert check(CASE, again) == []


@pytest.fixture(scope="module")
def trained() -> reference.Reference:
    """What a champion that was trained on the first 40 days knows of them."""
    known = toy_rows(FIRST, DAYS)
    days = known["flight_date"].to_numpy().astype("datetime64[D]")
    labels = known["is_head"].to_numpy()
    holdout = (FIRST + timedelta(DAYS - 7), FIRST + timedelta(DAYS - 1))
    late = days >= np.datetime64(holdout[0])
    scores = np.linspace(0, 1, int(late.sum()))
    return reference.build(CASE, dataset.matrix(CASE.features, known).T, days, {}, holdout, labels[late], scores)


def distant(trained: reference.Reference, found: pl.DataFrame) -> list[str]:
    measured = features.distances(CASE, trained, found.lazy())
    try:
        gate.check("gold.toy__features.psi", "2020-02-20", measured.lazy(), features.distance_suite(CASE, trained))
    except GateFailedError as failed:
        return [line.removeprefix("- ") for line in str(failed).splitlines()[1:]]
    return []


def later(days: int) -> pl.DataFrame:
    return toy_rows(date(2020, 6, 1), days).drop("is_head")


def test_days_like_those_of_the_training_set_pass(trained: reference.Reference) -> None:
    assert distant(trained, later(60)) == []


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (pl.lit(None, pl.Float64).alias("noise"), "noise"),  # its source has gone
        (pl.lit(0.0).alias("noise"), "noise"),  # filled with a constant
        (pl.col("weight") * 1.8 + 32, "weight"),  # in another unit
        (pl.lit("gold").alias("metal"), "metal"),
    ],
)
def test_one_day_unlike_all_of_them_is_named(trained: reference.Reference, change: pl.Expr, feature: str) -> None:
    days = later(3)
    changed = days.filter(pl.col("flight_date") == date(2020, 6, 2)).with_columns(change)
    lines = distant(trained, pl.concat([days.filter(pl.col("flight_date") != date(2020, 6, 2)), changed]))
    assert len(lines) == 1
    limit = round(trained["features"][feature]["day_psi_limit"] + features.PSI_MARGIN, 3)
    assert lines[0].startswith(f"{feature}: expect_column_max_to_be_between (max_value {limit}")
    assert "observed_value" in lines[0]


def test_a_champion_of_an_earlier_version_is_named(trained: reference.Reference) -> None:
    before = {name: {"edges": one["edges"], "shares": one["shares"]} for name, one in trained["features"].items()}
    with pytest.raises(features.NoLimitsError, match=r"these features: 3, the first weight\..* DAG toy_train"):
        features.distance_suite(CASE, {**trained, "features": before})


def test_distances_are_a_row_a_day(trained: reference.Reference) -> None:
    found = features.distances(CASE, trained, later(3).lazy())
    assert found.columns == ["flight_date", "weight", "metal", "noise"]
    assert len(found) == 3


def test_days_are_compared_by_what_the_champion_takes_and_not_by_the_spec(trained: reference.Reference) -> None:
    """A feature added, one removed and a vocabulary in another order, before a version has learned of it."""
    turned = Feature("metal", "categorical", vocabulary=("tin", "iron", "gold"))
    changed = toy_case(features=(Feature("noise"), turned, Feature("humidity")), context=("known_from", "weight"))
    before, after = (features.distances(case, trained, later(3).lazy()) for case in (CASE, changed))
    assert after.equals(before)
    told = [each.column for each in features.distance_suite(changed, trained)]
    assert told == ["weight", "metal", "noise"]


def test_of_a_closed_day_there_may_be_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """2020-06-06 is a Saturday. Of an open day none at all are refused, where the spec wants different values."""
    wants_metals = replace(CASE, sources=("coins",))
    coins = replace(source("flights"), closed_weekdays=(6, 7))
    monkeypatch.setattr(features, "use_case", lambda name: wants_metals)
    monkeypatch.setattr(features, "source", lambda name: coins)
    monkeypatch.setattr(features.dbt, "candidate_for", lambda table, build: "none")
    monkeypatch.setattr(features.candidate, "rows", lambda name: rows().clear().lazy())
    features.audit("toy", {"nights": "2020-06-05"})
    with pytest.raises(GateFailedError, match="metal"):
        features.audit("toy", {"nights": "2020-06-08"})


def test_each_day_is_compared_with_its_own_champion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """History that is built once more has no champion, though the last of its days has one."""
    compared = []
    monkeypatch.setattr(
        features,
        "_audit_distances_from",
        lambda champion, case, table, days, rows: compared.append((champion, str(days))),
    )
    monkeypatch.setattr(ledger, "read", lambda case: [])
    monkeypatch.setattr(
        ledger, "pick", lambda decided, day: None if day.day < 4 else "first" if day.day < 6 else "second"
    )
    days = [date(2020, 1, day) for day in range(1, 8) for _ in range(2)]
    features._audit_distances(CASE, "gold.toy__features", pl.LazyFrame({"flight_date": days}))
    assert compared == [("first", "2020-01-04..2020-01-05"), ("second", "2020-01-06..2020-01-07")]
    assert "2020-01-01..2020-01-03 has no champion" in capsys.readouterr().out
