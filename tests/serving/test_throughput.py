"""What a scoring took is kept beside the predictions, and not in them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.governance import verify
from include.lake import delta
from include.serving import batch, throughput
from tests.ml.conftest import FIRST, ROWS, write_days

DAY = FIRST + timedelta(30)


@pytest.fixture
def scored(deployed: UseCase, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    monkeypatch.setenv("NOCTURNE_MACHINE_HOUR_PRICE", "3.6")
    settings.cache_clear()
    write_days(deployed, DAY, 2)
    batch.predict("toy", DAY, DAY + timedelta(1))
    return deployed


def test_a_scoring_leaves_what_it_took_and_cost(scored: UseCase) -> None:
    (line,) = throughput.read().to_dicts()
    assert (line["use_case"], line["rows"], line["first_day"], line["changed"]) == ("toy", 2 * ROWS, DAY, True)
    assert line["seconds"] > 0
    assert line["rows_a_second"] == pytest.approx(2 * ROWS / line["seconds"])
    assert line["cost_a_thousand"] == pytest.approx(line["seconds"] * 0.001 / line["rows"] * 1000)
    assert 20 < line["peak_mib"] < 20_000
    assert (line["device"], line["gpu"], line["gpu_seconds"]) == ("cpu", "", 0)


def test_scoring_again_adds_a_line_and_changes_no_prediction(scored: UseCase) -> None:
    version = delta.version("gold", scored.predictions_table)
    batch.predict("toy", DAY, DAY + timedelta(1))
    assert delta.version("gold", scored.predictions_table) == version
    assert throughput.read()["changed"].to_list() == [True, False]
    assert throughput.LEDGER in verify.ledgers()
    assert list(verify.edited_lines(throughput.LEDGER)) == []


def test_a_scoring_that_fails_leaves_no_line(scored: UseCase) -> None:
    before = throughput.read().height
    with pytest.raises(LookupError):
        batch.predict("toy", FIRST - timedelta(9), FIRST - timedelta(9))
    assert throughput.read().height == before


def test_without_a_price_the_cost_is_unknown(deployed: UseCase) -> None:
    write_days(deployed, DAY, 1)
    batch.predict("toy", DAY, DAY)
    assert throughput.read()["cost_a_thousand"].to_list() == [None]
