"""A policy is accepted where it is quiet on what is stored, and finds what is broken."""

from datetime import date, timedelta

import polars as pl
import pytest

from include.cli.scaffold import backtested
from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import backtest, monitor
from include.ml.backtest import TooShortError
from tests.ml.conftest import FIRST, write_days

LONG = 130


def versions(case: UseCase) -> dict[str, int]:
    return {table: delta.version("gold", table) for table in (case.features_table, case.labels_table)}


def test_a_quiet_history_is_accepted_and_nothing_is_written(toy: UseCase) -> None:
    write_days(toy, FIRST, LONG)
    before = versions(toy)
    found = backtest.backtest("toy")
    assert found.problems == []
    assert found.quiet.alarms == []
    assert found.quiet.asked == []
    assert len(found.quiet.days) == backtest.NIGHTS
    by_name = {one.name: one for one in found.lines}
    unit = by_name["weight in another unit (°F for °C)"]
    assert unit.night == 1
    assert "input_drift" in unit.sensors
    assert by_name["all numeric features by a third of their width"].night is not None
    assert "accepted: quiet on what is stored" in str(found)
    assert versions(toy) == before
    assert not delta.exists("gold", toy.monitoring_table)
    assert not delta.exists("gold", toy.decisions_table)


def test_a_history_that_changes_is_not_accepted(toy: UseCase) -> None:
    changed = LONG - 20
    write_days(toy, FIRST, changed)
    write_days(toy, FIRST + timedelta(changed), 20, shift=3.0)
    found = backtest.backtest("toy")
    assert FIRST + timedelta(changed) in found.quiet.alarms
    assert found.quiet.asked, "the policy would have asked for a retraining"
    both = [day for day, fired in zip(found.quiet.days, found.quiet.fired[:, 0], strict=True) if fired]
    labels = next(one for one in found.lines if one.name == "a tenth of the labels turned round")
    assert both
    assert "input_drift" not in labels.sensors, "what fires anyway was not found by what was broken"


def test_where_nothing_is_found_it_is_not_accepted(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    write_days(toy, FIRST, LONG)
    monkeypatch.setattr(monitor, "limits", lambda *_: dict.fromkeys(monitor.READERS, 1e30))
    found = backtest.backtest("toy")
    assert found.problems == ["not found: weight in another unit (°F for °C)"]


def test_a_champion_with_enough_nights_watches_them_itself(deployed: UseCase) -> None:
    write_days(deployed, FIRST, 70)
    found = backtest.backtest("toy")
    assert found.who == "version 1"
    assert found.quiet.days[0] == FIRST + timedelta(30)
    assert len(found.quiet.days) == 40


def test_too_short_a_history_says_what_is_missing(toy: UseCase) -> None:
    with pytest.raises(TooShortError, match=r"toy has 30 days .* at least 28 .*a training needs 10 days"):
        backtest.backtest("toy")


def test_before_there_is_a_history_it_says_so(lake: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.ml.conftest import toy_case

    case = toy_case()
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    with pytest.raises(TooShortError, match=r"gold\.toy__features has no days yet"):
        backtest.backtest("toy")


def test_what_is_read_does_not_grow_with_the_history(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    write_days(toy, FIRST, 200)
    asked: list[tuple[date, date]] = []
    real = delta.read_days

    def read_days(layer: str, name: str, first: date, last: date, *, day: str = "flight_date") -> pl.DataFrame:
        asked.append((first, last))
        return real(layer, name, first, last, day=day)

    monkeypatch.setattr(delta, "read_days", read_days)
    backtest.backtest("toy")
    assert min(first for first, _ in asked) >= FIRST + timedelta(200 - backtest.NIGHTS)
    assert max((last - first).days for first, last in asked) < backtest.AT_ONCE_DAYS


def test_make_use_case_backtests_where_there_is_a_history_and_else_says_why_not(toy: UseCase) -> None:
    assert backtested("other").startswith("nothing of other is in the lake yet")
    assert backtested("toy").startswith("not yet: toy has 30 days")
    write_days(toy, FIRST, LONG)
    assert "accepted: quiet on what is stored" in backtested("toy")
