from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.use_case import Feature, Training, UseCase
from include.lake import delta
from include.ml import dataset
from include.sources import source
from tests.ml.conftest import FIRST, ROWS, toy_case, toy_rows, write_days
from tests.ml.worlds import SALES

LAST = FIRST + timedelta(29)


def test_load_joins_sorts_and_names_versions(toy: UseCase) -> None:
    data = dataset.load(toy, FIRST, LAST)
    assert data.frame.columns == ["coin_id", "flight_date", "weight", "metal", "noise", "is_head"]
    assert data.frame.height == 30 * ROWS
    assert data.frame.equals(data.frame.sort("flight_date", "coin_id"))
    assert data.versions == {"toy__features": 0, "toy__labels": 0}
    again = dataset.load(toy, FIRST, LAST)
    assert again.content_hash == data.content_hash
    assert again.frame.equals(data.frame)


def test_it_reads_the_same_part_by_part(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dataset.load(toy, FIRST, LAST)
    monkeypatch.setattr(dataset, "PART_ROWS", 4 * ROWS)
    cut = dataset.load(toy, FIRST, LAST)
    batches = list(cut.batches(rows=100))
    assert max(batch.num_rows for batch in batches) == 100
    assert pl.from_arrow(batches).equals(whole.frame)
    assert cut.content_hash == whole.content_hash == delta.hash_in_order([whole.frame])
    assert cut.frame.equals(whole.frame)
    assert cut.scan().collect().equals(whole.frame)


def test_days_are_cut_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "PART_ROWS", 10)
    days = dataset.days_between(FIRST, FIRST + timedelta(5))
    rows = [4, 6, 1, 11, 9, 1]
    assert dataset.parts(list(zip(days, rows, strict=True))) == [
        (days[0], days[1]),
        (days[2], days[2]),
        (days[3], days[3]),
        (days[4], days[5]),
    ]


def test_other_content_has_another_hash(toy: UseCase) -> None:
    before = dataset.load(toy, FIRST, LAST)
    write_days(toy, LAST, 1, shift=0.001)
    after = dataset.load(toy, FIRST, LAST)
    assert after.content_hash != before.content_hash
    assert after.versions["toy__features"] == 1


def test_pinned_versions_give_the_same_set_whatever_was_written_since(toy: UseCase) -> None:
    write_labels(toy, LAST, ROWS - 1)
    before = dataset.load(toy, FIRST, LAST)
    write_labels(toy, LAST, ROWS, late=1)
    write_days(toy, FIRST, 2, shift=0.5, labels=False)
    again = dataset.load(toy, FIRST, LAST, versions=before.versions)
    assert again.content_hash == before.content_hash
    assert dataset.load(toy, FIRST, LAST).content_hash != before.content_hash


def test_what_cannot_be_meant_is_refused(toy: UseCase) -> None:
    with pytest.raises(ValueError, match="ends before it begins: 2020-01-30 to 2020-01-01"):
        dataset.load(toy, LAST, FIRST)
    with pytest.raises(
        ValueError, match="as of the night 2020-01-29, 2020-01-30 has no labels yet: end the range with"
    ):
        dataset.load(toy, FIRST, LAST, as_of=LAST - timedelta(1))
    with pytest.raises(ValueError, match="versions of toy__features are given, and not of toy__features and toy__lab"):
        dataset.load(toy, FIRST, LAST, versions={"toy__features": 0})


def test_a_version_that_is_not_there_is_named(toy: UseCase) -> None:
    with pytest.raises(delta.VersionMissingError, match=r"gold\.toy__labels has no version 7: .* The newest is 0"):
        dataset.load(toy, FIRST, LAST, versions={"toy__features": 0, "toy__labels": 7})


def test_a_version_that_a_vacuum_has_taken_is_named(toy: UseCase) -> None:
    before = dataset.load(toy, FIRST, LAST).versions
    write_days(toy, LAST, 1, shift=0.5)
    delta.opened("gold", toy.features_table).vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(
        delta.VersionMissingError, match=r"gold\.toy__features version 0 has lost 1 of its 30 files .* the newest is 3"
    ):
        dataset.load(toy, FIRST, LAST, versions=before)
    # What the vacuum has not touched can be read.
    there = dataset.load(toy, FIRST, LAST - timedelta(1), versions=before)
    assert there.frame.height == 29 * ROWS


def test_missing_days_are_listed(toy: UseCase) -> None:
    with pytest.raises(
        dataset.DataMissingError, match=r"toy__features has no rows for 2 of the days .*: 2020-01-31, 2020-02-01"
    ):
        dataset.load(toy, FIRST, date(2020, 2, 1))
    write_days(toy, date(2020, 1, 31), 1, labels=False)
    with pytest.raises(dataset.DataMissingError, match=r"toy__labels has no rows for 1 .*: 2020-01-31"):
        dataset.load(toy, FIRST, date(2020, 1, 31))


def write_labels(case: UseCase, day: date, rows: int, late: int = 0) -> None:
    """Labels of the first ``rows`` flips of ``day``, the ``late`` last of which came a night later."""
    nights = [day] * (rows - late) + [day + timedelta(1)] * late
    labels = toy_rows(day, 1).select("coin_id", "flight_date", "is_head").head(rows)
    delta.replace_days("gold", case.labels_table, labels.with_columns(ingestion_date=pl.Series(nights)), day, day)


def test_rows_without_a_partner_are_an_error(toy: UseCase) -> None:
    write_labels(toy, LAST, ROWS - 19)
    with pytest.raises(dataset.DataMissingError, match=r"has 1800 rows and toy__labels 1781 .* only 1781 have both"):
        dataset.load(toy, FIRST, LAST)


def test_a_row_of_which_is_known_that_it_has_no_label_is_complete_and_teaches_nothing(toy: UseCase) -> None:
    labels = toy_rows(LAST, 1).select("coin_id", "flight_date", "is_head")
    is_there = pl.int_range(pl.len()) < ROWS // 2
    half = labels.with_columns(pl.when(is_there).then("is_head"), ingestion_date="flight_date")
    delta.replace_days("gold", toy.labels_table, half, LAST, LAST)
    data = dataset.load(replace(toy, unlabelled=True), FIRST, LAST)
    assert data.frame.height == 30 * ROWS - ROWS // 2
    assert data.frame["is_head"].null_count() == 0
    assert sum(batch.num_rows for batch in data.batches()) == data.scan().collect().height == data.frame.height
    assert dataset.load(toy, FIRST, LAST).frame["is_head"].null_count() == ROWS // 2, "which a task refuses"


def test_a_few_may_come_late(toy: UseCase) -> None:
    write_labels(toy, LAST, ROWS - 18)
    assert dataset.load(toy, FIRST, LAST).frame.height == 1800 - 18


def test_a_label_that_came_later_was_not_known(toy: UseCase) -> None:
    """So that a training set as of a day stays what it was."""
    write_labels(toy, LAST, ROWS - 1)
    before = dataset.load(toy, FIRST, LAST)
    write_labels(toy, LAST, ROWS, late=1)
    assert dataset.load(toy, FIRST, LAST).content_hash == before.content_hash
    assert dataset.load(toy, FIRST, LAST, as_of=LAST + timedelta(1)).frame.height == before.frame.height + 1
    write_days(toy, LAST + timedelta(1), 1)
    assert dataset.load(toy, FIRST, LAST + timedelta(1)).frame.height == 1800 + ROWS


def test_columns_must_match_the_spec(toy: UseCase) -> None:
    expected = ["coin_id", "flight_date", "known_from", "weight", "metal", "noise"]
    dataset.check_columns(toy, expected)
    with pytest.raises(dataset.DataMissingError, match="missing noise; not in the spec dep_delay"):
        dataset.check_columns(toy, [*expected[:-1], "dep_delay"])


TRAINING = Training(
    params={}, rounds=5, early_stopping_rounds=2, first_day=FIRST, valid_days=3, holdout_days=7, min_train_days=5
)
CASE = toy_case(training=TRAINING)


@given(days=st.integers(11, 400), valid=st.integers(0, 3))
def test_split_is_ordered_by_time_and_loses_no_day(days: int, valid: int) -> None:
    training = replace(TRAINING, valid_days=valid, early_stopping_rounds=2 if valid else None)
    last = FIRST + timedelta(days - 1)
    split = dataset.split_days(replace(CASE, training=training), FIRST, last)
    parts = [part for part in (split.train, split.valid, split.holdout) if part]
    assert [day for part in parts for day in dataset.days_between(*part)] == dataset.days_between(FIRST, last)
    assert len(dataset.days_between(*split.holdout)) == 7
    assert (split.valid is None) == (valid == 0)


def test_training_range() -> None:
    assert dataset.training_range(CASE, date(2020, 1, 15)) == (FIRST, date(2020, 1, 15))
    assert dataset.training_range(CASE, date(2022, 1, 15)) == (date(2021, 1, 16), date(2022, 1, 15))
    with pytest.raises(
        dataset.DataMissingError, match=r"needs 5 days .* 2020-01-14 there are 14, which leave 4\. Train"
    ):
        dataset.training_range(CASE, date(2020, 1, 14))


@given(label_days=st.integers(0, 40), valid=st.integers(0, 3), gaps=st.sets(st.integers(0, 160), max_size=20))
def test_no_label_of_training_shares_time_with_a_later_part(label_days: int, valid: int, gaps: set[int]) -> None:
    training = replace(TRAINING, valid_days=valid, early_stopping_rounds=2 if valid else None)
    case, last = replace(CASE, training=training, label_days=label_days), FIRST + timedelta(160)
    absent = {FIRST + timedelta(n) for n in gaps}
    split = dataset.split_days(case, FIRST, last, absent)
    parts = [part for part in (split.train, split.valid, split.holdout) if part]
    for earlier, later in pairwise(parts):
        assert earlier[1] + timedelta(label_days) < later[0]
        between = dataset.days_between(earlier[1], later[0])[1:-1]
        assert len(between) - label_days <= len(absent & set(between)), "no day is left out for nothing"
    assert len(set(dataset.days_between(*split.holdout)) - absent) == 7
    assert split.holdout[1] == max(set(dataset.days_between(FIRST, last)) - absent)


def test_a_training_ends_with_the_newest_label() -> None:
    late = replace(CASE, label_days=30)
    # 5 to train, 3 to validate, 7 to judge, and twice 30 between them.
    assert dataset.training_range(late, date(2020, 4, 14)) == (FIRST, date(2020, 3, 15))
    with pytest.raises(
        dataset.DataMissingError,
        match=r"needs 5 days .* 30 before .* 2020-03-14, whose labels are known in the night 2020-04-13, .* leave 4\.",
    ):
        dataset.training_range(late, date(2020, 4, 13))


def test_a_range_whose_labels_are_not_known_is_refused(toy: UseCase) -> None:
    late = replace(toy, label_days=3)
    with pytest.raises(ValueError, match=r"as of the night 2020-02-01, 2020-01-30 has no labels yet: .* 2020-01-29"):
        dataset.load(late, FIRST, LAST, as_of=LAST + timedelta(2))


def test_an_entity_of_several_columns_recurs_on_many_days(lake: Path) -> None:
    SALES.write(FIRST, 3)
    data = dataset.load(SALES.case, FIRST, FIRST + timedelta(2))
    assert data.frame.height == 3 * 16
    assert data.frame.columns == ["shop", "product", "day", "usual", "warm", "amount"]
    assert data.frame.equals(data.frame.sort("day", "shop", "product"))
    rows = delta.read_days("gold", "sales__labels", FIRST, FIRST, day="day")
    doubled = pl.concat([rows, rows.head(1)])
    delta.replace_days("gold", "sales__labels", doubled, FIRST, FIRST, day="day")
    with pytest.raises(dataset.DataMissingError, match=r"sales__labels has a shop \+ product twice on a day"):
        dataset.load(SALES.case, FIRST, FIRST + timedelta(2))


def test_a_column_of_the_entity_may_be_a_feature(lake: Path) -> None:
    SALES.write(FIRST, 3)
    shop = Feature("shop", "categorical", vocabulary=("north", "south"))
    case = replace(SALES.case, features=(*SALES.case.features, shop))
    frame = dataset.load(case, FIRST, FIRST + timedelta(2)).frame
    assert set(dataset.matrix(case.features, frame)[:, 2]) == {0.0, 1.0}


def test_a_lost_night_takes_the_labels_of_the_days_that_matured_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = replace(source("flights"), name="coins", gaps=(FIRST,))
    monkeypatch.setattr(dataset, "sources", lambda: {"coins": lost})
    late = toy_case(label_days=3, sources=("weather", "coins"))
    assert dataset.days_of_gaps(late) == [FIRST - timedelta(3), FIRST + timedelta(1)]


def test_categories_have_fixed_codes() -> None:
    case = toy_case()
    frame = pl.DataFrame({"weight": [1.5, None, 0.0], "metal": ["iron", "tin", None], "noise": [1, 2, 3]})
    expected = [[1.5, 1, 1], [np.nan, 2, 2], [0, 2, 3]]
    np.testing.assert_array_equal(dataset.matrix(case.features, frame), np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(
    ("feature", "values", "said"),
    [
        (Feature("weight"), pl.Series([1.0, float("inf")]), r"weight has 1 of 2 values that are infinite"),
        (Feature("weight"), pl.Series([1e39]), "too large for 32 bits"),
        (Feature("weight"), pl.Series(["heavy"]), "weight is a number to the model, and the column has String"),
        (Feature("metal", "categorical", vocabulary=("1",)), pl.Series([1]), "metal is a category .* has Int64"),
    ],
)
def test_values_that_no_model_can_take_are_named(feature: Feature, values: pl.Series, said: str) -> None:
    with pytest.raises(dataset.UnfitFeatureError, match=said):
        dataset.encode(feature, values)


@pytest.mark.parametrize(
    ("feature", "values", "codes"),
    [
        (Feature("flag"), pl.Series([True, False, None]), [1.0, 0.0, None]),
        (Feature("big"), pl.Series([2**24 + 1, -(2**24) - 1]), [2.0**24, -(2.0**24)]),  # as XGBoost has them
        (Feature("none"), pl.Series([None, None]), [None, None]),
        (Feature("metal", "categorical", vocabulary=("gold",)), pl.Series([None, None]), [1.0, 1.0]),
        (Feature("metal", "categorical", vocabulary=("gold",)), pl.Series(["gold", "GOLD", ""]), [0.0, 1.0, 1.0]),
        (
            Feature("metal", "categorical", vocabulary=("gold",)),
            pl.Series(["gold", None], dtype=pl.Categorical),
            [0, 1],
        ),
    ],
)
def test_whatever_type_a_column_has_its_values_become_floats(
    feature: Feature, values: pl.Series, codes: list[float]
) -> None:
    assert dataset.encode(feature, values).to_list() == codes


def test_an_entity_that_is_twice_on_a_day_is_named(toy: UseCase) -> None:
    rows = delta.read_days("gold", toy.labels_table, LAST, LAST)
    delta.replace_days("gold", toy.labels_table, pl.concat([rows, rows.head(1)]), LAST, LAST)
    with pytest.raises(
        dataset.DataMissingError, match="toy__labels has a coin_id twice on a day of 2020-01-01 to 2020-01-30"
    ):
        dataset.load(toy, FIRST, LAST)
