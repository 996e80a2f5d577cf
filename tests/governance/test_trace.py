"""From a prediction back to the landing files: as it was when it was made, whatever was published since."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.governance import trace
from include.governance.lineage import NotBuiltError
from include.governance.trace import Trace, UnknownPredictionError
from include.lake import delta
from tests import commands
from tests.governance.conftest import COIN, DAY, Lake, day
from tests.ml.worlds import FIRST, RETURNS, SALES, World


def files(found: Trace) -> dict[str, str]:
    return {one.path: one.now for one in found.files}


def drawn(found: Trace, table: str) -> list[tuple[date, date | None, int, int]]:
    return [(one.day, one.ingestion_date, one.revision, one.newest) for one in found.drawn if one.table == table]


OWN = {
    f"coins/tosses/{day(8)}.csv": "equal",
    f"coins/tosses/{day(9)}.csv": "equal",
    f"coins/register/{day(5)}.csv": "equal",
}


def test_the_chain_ends_at_the_files_of_the_look_back_with_their_hashes(lake: Lake) -> None:
    found = lake.trace()
    assert files(found) == OWN
    assert {one.sha256 for one in found.files} == {
        lake.land("tosses", day(8), "tosses of day 7").sha256,
        lake.land("tosses", day(9), "tosses of day 8").sha256,
        lake.land("register", day(5), "register of day 4").sha256,
    }
    assert [one.table for one in found.drawn if one.day == day(8)] == ["silver.tosses", "bronze.coins__tosses"]
    assert (found.prediction.day, found.prediction.model_version, found.prediction.version) == (DAY, 1, 0)
    assert found.champion is not None
    assert found.champion.model_sha256 == "5a"
    assert found.row["coin_id"] == COIN


def test_a_file_that_was_replaced_or_removed_since_is_told(lake: Lake) -> None:
    lake.land("tosses", day(8), "something else")
    (settings().landing / f"coins/tosses/{day(9)}.csv").unlink()
    assert files(lake.trace()) == OWN | {
        f"coins/tosses/{day(8)}.csv": "changed",
        f"coins/tosses/{day(9)}.csv": "gone",
    }


def test_what_was_published_after_the_prediction_is_not_in_its_chain(lake: Lake) -> None:
    before = lake.trace()
    lake.ingest("tosses", day(8), day(8), "mended tosses")
    lake.ingest("register", day(9), day(9), "a newer register")
    lake.features(DAY, content=2, shift=1.0)
    after = lake.trace()
    assert drawn(after, "bronze.coins__tosses") == [(day(8), day(8), 1, 2), (day(9), day(9), 1, 1)]
    assert files(after) == OWN | {f"coins/tosses/{day(8)}.csv": "changed"}
    assert after.features is not None
    assert (after.features.revision, after.features.newest) == (1, 2)
    assert after.row == before.row, "the row that was scored, not the one that is there now"


def test_the_same_once_scored_again_is_in_it(lake: Lake) -> None:
    lake.ingest("tosses", day(8), day(8), "mended tosses")
    lake.features(DAY, content=2, shift=1.0)
    lake.score(DAY, 0.75)
    found = lake.trace()
    assert drawn(found, "bronze.coins__tosses") == [(day(8), day(8), 2, 2), (day(9), day(9), 1, 1)]
    assert files(found) == OWN
    assert (found.prediction.predicted, found.prediction.version) == ({"score": 0.75}, 1)


def test_a_row_that_arrived_after_the_evening_before_is_not_in_it(lake: Lake) -> None:
    lake.ingest("tosses", day(8), DAY, "late tosses of day 8")
    lake.features(DAY, content=2)
    lake.score(DAY, 0.75)
    found = lake.trace()
    assert drawn(found, "bronze.coins__tosses") == [(day(8), day(8), 1, 1), (day(9), day(9), 1, 1)]
    assert files(found) == OWN


def test_a_merge_of_small_files_does_not_count_as_scoring(lake: Lake) -> None:
    table = lake.case.predictions_table
    rows = delta.read_all("gold", table)
    delta.append("gold", table, rows.head(1).with_columns(coin_id=pl.lit("another")))
    before = delta.written("gold", table, "flight_date", DAY)
    delta.opened("gold", table).optimize.compact()
    assert delta.version("gold", table) == 2
    assert delta.written("gold", table, "flight_date", DAY) == before
    assert lake.trace().prediction.version == 1


def test_the_training_set_is_that_of_the_versions_it_was_read_at(lake: Lake) -> None:
    learned = "gold.toy__features"
    version = delta.version("gold", "toy__features")
    lake.features(day(5), content=2, shift=1.0)
    found = lake.trace(tags={"delta_version.toy__features": str(version), "content_hash": "c"})
    assert found.training is not None
    partitions = found.training.partitions
    assert [(one.day, one.revision, one.newest) for one in partitions if one.table == learned] == [
        (day(4), 1, 1),
        (day(5), 1, 2),
        (day(6), 1, 1),
    ]
    assert sorted({one.file.path for one in partitions if one.file}) == [
        f"coins/register/{day(1)}.csv",
        f"coins/register/{day(5)}.csv",
        *(f"coins/tosses/{day(n)}.csv" for n in range(2, 6)),
    ]


def test_rows_whose_verdicts_changed_without_a_file_of_their_own_keep_the_one_that_brought_them(lake: Lake) -> None:
    for table in ("bronze.coins__tosses", "silver.tosses"):
        partition = (day(9), day(9)) if table.startswith("bronze") else (day(9),)
        lake.publish(table, partition, 99)
    lake.features(DAY, content=2)
    lake.score(DAY, 0.75)
    assert files(lake.trace()) == OWN


def predicted(world: World, days: int) -> UseCase:
    """Predictions for some days, each 0.5."""
    case = world.case
    rows = world.rows(FIRST, days).select(*case.entity, case.day)
    rows = rows.with_columns(predicted=pl.lit(0.5), model_version=pl.lit(1, pl.Int64))
    delta.replace_days("gold", case.predictions_table, rows, FIRST, FIRST + timedelta(days - 1), day=case.day)
    return case


@pytest.mark.usefixtures("home")
def test_a_prediction_of_several_columns_is_found_by_day_and_values() -> None:
    case = predicted(SALES, 2)
    found = trace.find_prediction(case, "2020-01-02:south:eggs")
    assert (found.day, found.entity) == (date(2020, 1, 2), {"shop": "south", "product": "eggs"})
    assert (found.predicted, found.model_version) == ({"predicted": 0.5}, 1)
    with pytest.raises(UnknownPredictionError, match=r"no prediction with the shop \+ product 'eggs'. Near it are"):
        trace.find_prediction(case, "eggs")
    with pytest.raises(UnknownPredictionError, match="2020-01-02:south:dates, 2020-01-02:south:eggs, 2020"):
        trace.find_prediction(case, "2020-01-02:south:egg")


@pytest.mark.usefixtures("home")
def test_what_recurs_is_named_with_its_day() -> None:
    case = predicted(RETURNS, 2)
    assert trace.find_prediction(case, "2020-01-01:7").entity == {"customer": 7}
    with pytest.raises(
        UnknownPredictionError,
        match=r"returns has 2 predictions with the customer '7'\. Name one .*: 2020-01-01:7, 2020-01-02:7",
    ):
        trace.find_prediction(case, "7")


@pytest.mark.parametrize(
    ("coin", "words"),
    [
        (f"{DAY}-70", [f"{DAY}-7, {DAY}-8", f"predictions for {DAY} to {DAY}"]),
        ("2030-01-01-1", [f"{DAY}-9", f"predictions for {DAY} to {DAY}"]),
    ],
)
def test_an_unknown_prediction_names_near_ones_and_the_days(lake: Lake, coin: str, words: list[str]) -> None:
    with pytest.raises(UnknownPredictionError) as raised:
        lake.trace(coin)
    assert f"no prediction with the coin_id {coin!r}" in str(raised.value)
    assert [word for word in words if word not in str(raised.value)] == []


def test_without_a_build_nobody_can_tell(lake: Lake) -> None:
    (settings().lake / "dbt" / "toy_features" / "manifest.json").unlink()
    with pytest.raises(NotBuiltError, match=r"no run of toy_features has left its lineage there\. Run a night first"):
        lake.trace()


def test_it_is_plain_data(lake: Lake) -> None:
    found: dict[str, Any] = json.loads(json.dumps(lake.trace().to_dict()))
    assert {one["path"] for one in found["files"]} == set(OWN)
    assert found["prediction"]["day"] == str(DAY)
    assert found["champion"]["trained_through"] == str(day(6))
    assert len(found["training"]["files"]) == 6


def test_the_command_refuses_what_it_does_not_know(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("trace", "--prediction=2013-06-02:UA:15:EWR") == 1
    assert capsys.readouterr().err.startswith("nocturne trace: table gold.flight_delays__predictions is missing")
