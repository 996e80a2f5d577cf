"""Scoring on executors ends as scoring in the task's process does: on a real Spark Connect server, by mapInArrow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from include.contracts.use_case import Scoring, UseCase
from include.core.settings import settings
from include.lake import delta
from include.ml import model_files, scoring
from include.ml.model_files import DamagedModelError
from include.serving import batch, executors
from tests.engines.test_executors import home, server, session
from tests.ml.conftest import FIRST, toy_case, toy_rows, write_days

__all__ = ["home", "server", "session"]

pytestmark = [pytest.mark.integration, pytest.mark.full]

DAYS = (FIRST + timedelta(30), FIRST + timedelta(32))


@contextmanager
def scoring_on(where: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_SCORE_ON", where)
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture
def case(world: Path, session: Any, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """The toy with its champion and three days to score, each row with two reasons."""
    found = toy_case(scoring=Scoring(reasons=2))
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {found.name: found})
    shutil.rmtree(settings().var / "lake", ignore_errors=True)
    shutil.copytree(world / "var", settings().var, dirs_exist_ok=True)
    write_days(found, DAYS[0], 3, labels=False)
    return found


def predicted(where: str) -> dict[str, Any]:
    with scoring_on(where):
        return batch.predict("toy", *DAYS)


def table(case: UseCase) -> pl.DataFrame:
    return delta.read_all("gold", case.predictions_table).sort(case.key)


@pytest.mark.parametrize("ways", [("process", "spark"), ("spark", "process")])
def test_whichever_way_a_day_was_scored_the_other_way_changes_nothing(case: UseCase, ways: tuple[str, str]) -> None:
    first = predicted(ways[0])
    there = table(case)
    assert first["changed"]
    assert there.height == first["rows"] == toy_rows(DAYS[0], 3).height
    assert there[scoring.REASONS].str.count_matches(";").unique().to_list() == [1]
    again = predicted(ways[1])
    assert (again["changed"], again["table_version"]) == (False, first["table_version"])
    assert again["by_version"] == first["by_version"]
    assert_frame_equal(table(case), there)
    assert not list((settings().lake / "candidate").glob("*predictions*")), "nothing is left on the way"


def test_an_entity_twice_is_refused_and_what_was_there_stays(case: UseCase) -> None:
    predicted("spark")
    before = table(case)
    rows = delta.read_days("gold", case.features_table, *DAYS, day=case.day)
    delta.replace_days("gold", case.features_table, pl.concat([rows, rows.head(1)]), *DAYS, day=case.day)
    with pytest.raises(batch.IncompletePredictionsError, match=r"181 rows of features gave 181 predictions .180 diff"):
        predicted("spark")
    assert_frame_equal(table(case), before)


def test_where_the_champion_is_damaged_the_process_falls_back(case: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise DamagedModelError("model.ubj of toy version 1 is not to be had")

    monkeypatch.setattr(model_files, "load_booster", damaged)
    result = predicted("spark")
    assert len(result["fallback"]) == 1
    assert set(table(case)[scoring.SCORED_BY]) == {scoring.PRIOR}


def test_small_batches_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors.dataset, "PART_ROWS", 25)
    batches = pl.DataFrame({"a": range(60)}).to_arrow().to_batches(max_chunksize=10)
    assert [frame.height for frame in executors._together(batches)] == [30, 30]
