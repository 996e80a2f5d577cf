"""The feature gate names the feature, what was found and what was allowed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

from include.contracts.use_case import Feature, UseCase
from include.ml import dataset, ledger, model_files, reference
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


def test_of_a_closed_day_there_may_be_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """2020-06-06 is a Saturday. Of an open day none at all are refused, where the spec wants different values."""
    wants_metals = replace(CASE, sources=("coins",))
    coins = replace(source("flights"), closed_weekdays=(6, 7))
    monkeypatch.setattr(features, "use_case", lambda name: wants_metals)
    monkeypatch.setattr(features, "source", lambda name: coins)
    monkeypatch.setattr(features.dbt, "candidate_for", lambda table, build: "none")
    monkeypatch.setattr(features.candidate, "rows", lambda name: rows().clear().lazy())
    made = {"name": "candidate.gold__toy__features__x", "table": "gold.toy__features", "day": "flight_date"}
    features.audit("toy", {"nights": "2020-06-05", "candidates": [made | {"lead_days": 1}]})
    with pytest.raises(GateFailedError, match="metal"):
        features.audit("toy", {"nights": "2020-06-08", "candidates": [made | {"lead_days": 1}]})


def test_what_each_days_champion_takes_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature that was taken out of the spec is compared as long as a champion takes it."""
    kept, taken_out = toy_case(features=(Feature("noise"),), context=("known_from", "weight", "metal")), "weight"
    asked: list[str] = []

    def references(case: UseCase, champion: SimpleNamespace) -> reference.Reference:
        asked.append(champion.model_version)
        return {"inputs": reference.inputs_of([Feature("noise"), Feature(champion.takes)])}

    first, second = (SimpleNamespace(model_version=n, takes=name) for n, name in ((1, taken_out), (2, "gone")))
    monkeypatch.setattr(model_files, "load_reference", references)
    monkeypatch.setattr(ledger, "read", lambda case: [])
    monkeypatch.setattr(ledger, "pick", lambda decided, day: None if day.day < 4 else first if day.day < 6 else second)
    days = toy_rows(FIRST, 5).drop("is_head").lazy()
    assert [one.name for one in features._taken(kept, days)] == ["noise", "weight"]
    assert asked == [1]
    with pytest.raises(dataset.DataMissingError, match=r"version 2 of toy, which is champion of 2020-01-06.*gone"):
        features._taken(kept, toy_rows(FIRST, 7).drop("is_head").lazy())
