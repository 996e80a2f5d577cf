from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from pathlib import Path

import polars as pl
import pytest

from include.lake import delta
from include.ml import ledger
from include.ml.ledger import Champion
from tests.ml.conftest import toy_case


def row(version: int, effective_from: date, decided_hour: int = 0) -> Champion:
    return Champion(
        model_version=version,
        effective_from=effective_from,
        decided_at=datetime(2020, 1, 1, decided_hour, tzinfo=UTC),
        decided_by="gates",
        reason="",
        run_id="run",
        model_sha256="0",
        reference_sha256="0",
        trained_from=date(2020, 1, 1),
        fitted_through=date(2020, 1, 10),
        trained_through=date(2020, 1, 20),
    )


MARCH, APRIL = date(2020, 3, 1), date(2020, 4, 1)


@pytest.mark.parametrize("order", permutations([row(1, MARCH, 1), row(2, APRIL, 2), row(1, APRIL, 3)]))
def test_champion_by_date(order: tuple[Champion, ...]) -> None:
    def version(day: date) -> int | None:
        champion = ledger.pick(list(order), day)
        return champion.model_version if champion else None

    assert version(MARCH - timedelta(1)) is None
    assert version(MARCH) == 1
    assert version(APRIL - timedelta(1)) == 1
    # Version 2 was rolled back to 1 for the same days: the later decision counts.
    assert ledger.pick(list(order), APRIL) == row(1, APRIL, 3)


def test_nobody_is_told_what_to_do() -> None:
    with pytest.raises(
        ledger.NoChampionError, match="no champion for 2020-02-29: the first one takes effect on 2020-03-01"
    ):
        ledger.require_champion(toy_case(), [row(1, MARCH)], date(2020, 2, 29))
    with pytest.raises(ledger.NoChampionError, match=r"none ever\. Train one"):
        ledger.require_champion(toy_case(), [], MARCH)


def test_ledger_in_the_lake(lake: Path) -> None:
    case = toy_case()
    assert ledger.read(case) == []
    assert ledger.champion_for(case, MARCH) is None
    values = {key: getattr(row(1, MARCH), key) for key in ledger.SCHEMA if key != "decided_at"}
    with ledger.deploying(case):
        first = ledger.append(case, **values)
        second = ledger.append(case, **(values | {"model_version": 2, "effective_from": APRIL}))
    assert ledger.read(case) == [first, second]
    assert ledger.champion_for(case, MARCH) == first
    assert ledger.latest_champion(case) == second


def test_first_free_day_is_after_training_and_scores(lake: Path) -> None:
    case = toy_case()
    assert ledger.first_free_day(case, date(2020, 2, 29)) == MARCH
    scored = pl.DataFrame({"coin_id": ["a", "b"], "flight_date": [MARCH, date(2020, 3, 2)], "score": [0.5, 0.5]})
    delta.replace_days("gold", case.predictions_table, scored, MARCH, date(2020, 3, 2))
    assert ledger.first_free_day(case, date(2020, 2, 29)) == date(2020, 3, 3)
    assert ledger.first_free_day(case, date(2020, 3, 20)) == date(2020, 3, 21)


def test_days_that_were_over_when_their_labels_were_known_are_not_free(lake: Path) -> None:
    """Trained on labels through 29 February, known 30 days later: the days between were over by then."""
    assert ledger.first_free_day(toy_case(label_days=30), date(2020, 2, 29)) == date(2020, 3, 31)
