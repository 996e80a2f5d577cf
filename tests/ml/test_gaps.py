"""A night that the upstream never had, listed in the source's ``gaps``, from training to the monitor."""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import dataset, monitor, policy, promotion, record, registry, train
from include.serving import batch
from include.sources import source
from tests.ml.conftest import FIRST, ROWS, write_days

NIGHT = FIRST + timedelta(29)
LOST = [FIRST + timedelta(n) for n in (4, 20, 26, 33)]  # in training, in the holdout, and after it


@pytest.fixture
def gappy(toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """40 days. A lost night has no labels of its own day, and no features of the next, whose schedule it had."""
    write_days(toy, NIGHT + timedelta(1), 10)
    for table, later in ((toy.labels_table, 0), (toy.features_table, 1)):
        for night in LOST:
            day = night + timedelta(later)
            rows = delta.read_days("gold", table, day, day)
            delta.replace_days("gold", table, rows.clear(), day, day)
    listed = replace(source("flights"), name="coins", gaps=tuple(LOST))
    monkeypatch.setattr(dataset, "sources", lambda: {"coins": listed})
    return toy


def test_a_gap_breaks_no_stage(gappy: UseCase) -> None:
    trained = train.train("toy", NIGHT, "cpu")
    assert trained["metrics"]["rows"] == (30 - 6) * ROWS
    # Seven days of holdout are seven days with rows.
    assert trained["metrics"]["n"] == 7 * ROWS
    assert trained["fitted_through"] == str(NIGHT - timedelta(11))
    promotion.promote("toy", trained["version"])
    assert registry.training_set(gappy, 1).frame.height == 24 * ROWS
    first, last = NIGHT + timedelta(1), NIGHT + timedelta(10)
    done = batch.predict("toy", first, last)
    assert done["rows"] == 9 * ROWS
    night = NIGHT + timedelta(9)
    monitor.measure("toy", first, night)
    assert policy.decide_night("toy", night)["decision"] == "no"
    challenger = train.train("toy", night, "cpu")
    assert promotion.promote("toy", challenger["version"])["verdict"] in ("promote", "wait")
    judgement = record.last_judgement(gappy, challenger["version"])
    assert judgement is not None
    assert (judgement.days, judgement.look) == (7, 1)


def test_a_day_that_is_no_gap_is_still_missed(gappy: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = replace(source("flights"), name="coins", gaps=tuple(LOST[1:]))
    monkeypatch.setattr(dataset, "sources", lambda: {"coins": listed})
    with pytest.raises(dataset.DataMissingError, match=r"toy__features has no rows for 1 of the days .*: 2020-01-06"):
        train.train("toy", NIGHT, "cpu")


def test_gaps_do_not_count_as_days_to_learn_from(gappy: UseCase) -> None:
    more = replace(gappy, training=replace(gappy.training, min_train_days=18))
    with pytest.raises(dataset.DataMissingError, match=r"needs 18 days .* beside 7 .* there are 24, which leave 17"):
        dataset.training_range(more, NIGHT, dataset.days_of_gaps(gappy))


def test_days_that_are_all_gaps_give_no_empty_predictions(gappy: UseCase) -> None:
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    day = LOST[-1] + timedelta(1)
    with pytest.raises(dataset.DataMissingError, match=f"toy__features has no rows for 1 of the days {day}"):
        batch.predict("toy", day, day)


def test_a_night_with_nothing_in_its_windows_is_measured_and_decided(gappy: UseCase) -> None:
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    for table in (gappy.features_table, gappy.labels_table):
        rows = delta.read_days("gold", table, NIGHT, date(2020, 3, 1))
        delta.replace_days("gold", table, rows.clear(), NIGHT, date(2020, 3, 1))
    night = NIGHT + timedelta(8)
    assert monitor.measure("toy", night, night)["nights"] == 1
    assert monitor.measurements(gappy, night).filter(pl.col("n") > 0).is_empty()
    assert monitor.input_drift("toy", night)["reason"].endswith("the evidence of earlier ones stands")
    assert policy.decide_night("toy", night)["decision"] == "no"
