"""The figures of a night: they add up, a rerun changes none, and what is missing shows."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.use_case import UseCase
from include.lake import delta
from include.ml import figures, monitor, summaries
from include.ml.figures import Bins
from include.serving import batch
from tests.ml.conftest import FIRST, ROWS, write_days

NIGHT = FIRST + timedelta(29)


def days(n: int) -> timedelta:
    return timedelta(n)


@pytest.fixture
def live(deployed: UseCase) -> UseCase:
    """A champion and eight scored days; the last one has no labels yet."""
    write_days(deployed, NIGHT + days(1), 7)
    write_days(deployed, NIGHT + days(8), 1, labels=False)
    batch.predict("toy", NIGHT + days(1), NIGHT + days(8))
    return deployed


def of(case: UseCase, figure: str, feature: str = "", night: int = 3) -> dict[str, object]:
    rows = figures.read(case, NIGHT + days(night), NIGHT + days(night))
    return rows.filter(figure=figure, feature=feature).row(0, named=True)


def bins(case: UseCase, figure: str, feature: str, night: int = 3) -> Bins:
    return Bins.from_dict(json.loads(str(of(case, figure, feature, night)["bins"])))


@given(st.lists(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=20), min_size=1, max_size=8))
def test_a_month_is_the_sum_of_its_days(rows: list[list[tuple[bool, float]]]) -> None:
    def counted(some: list[tuple[bool, float]]) -> Bins:
        labels, scores = np.array([a for a, _ in some], float), np.array([b for _, b in some], float)
        return summaries.calibration(labels, scores)

    whole, added = counted([one for day in rows for one in day]), figures.merged(map(counted, rows))
    assert added is not None
    assert added.counts == whole.counts
    assert added.scores == pytest.approx(whole.scores, abs=1e-6)
    assert added.labels == pytest.approx(whole.labels, abs=1e-6)


def test_what_was_counted_in_other_bins_is_not_added() -> None:
    with pytest.raises(ValueError, match="other bins"):
        figures.merged([Bins((0.5,), (1, 2, 0)), Bins((0.6,), (1, 2, 0))])
    assert figures.merged([]) is None


def test_calibration_counts_by_hand() -> None:
    found = summaries.calibration(np.array([1, 0, 1, 1]), np.array([0.05, 0.1, 0.95, 1.0]))
    assert found.counts == (2, 0, 0, 0, 0, 0, 0, 0, 0, 2)
    assert found.scores[0] == pytest.approx(0.15)
    assert (found.labels[0], found.labels[-1]) == (1, 2)


def test_a_night_keeps_what_a_page_draws(live: UseCase) -> None:
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(7))
    weight = of(live, "distribution", "weight")
    told = json.loads(str(weight["bins"]))
    assert (weight["n"], sum(told["counts"]), weight["day"]) == (ROWS, ROWS, NIGHT + days(4))
    assert len(told["counts"]) == len(told["expected"]) == len(told["edges"]) + 2
    shares = [float(str(of(live, "distribution", name)["value"])) for name in live.feature_names]
    assert sum(shares) == pytest.approx(1)
    assert json.loads(str(of(live, "distribution", "metal")["bins"]))["levels"] == ["gold", "iron", "unknown"]
    assert sum(bins(live, "calibration", "score").counts) == ROWS
    assert (of(live, "completeness", "scored")["value"], of(live, "completeness", "labelled")["value"]) == (1, 1)
    assert of(live, "quality", "auc")["value"] == pytest.approx(
        monitor.measurements(live, NIGHT + days(3)).filter(metric="day_auc")["value"][0]
    )
    promise = of(live, "promise", "auc")
    assert float(str(promise["low"])) < float(str(promise["value"])) < float(str(promise["high"]))
    assert json.loads(str(promise["bins"])) == {"worse": "lower", "tolerated": 0.0}
    assert [of(live, "freshness", what)["value"] for what in ("features", "predictions", "labels")] == [-1, -1, 0]


def test_what_is_missing_double_or_late_shows(live: UseCase) -> None:
    scored, labelled = NIGHT + days(4), NIGHT + days(3)
    rows = delta.read_days("gold", live.features_table, scored, scored)
    holes = rows.with_columns(weight=pl.when(pl.int_range(pl.len()) >= 15).then("weight"))
    delta.replace_days("gold", live.features_table, pl.concat([holes, holes.head(1)]), scored, scored)
    labels = delta.read_days("gold", live.labels_table, labelled, labelled)
    delta.replace_days("gold", live.labels_table, labels.head(45), labelled, labelled)
    monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))
    assert of(live, "duplicates")["value"] == 1
    assert bins(live, "distribution", "weight").counts[-1] == 16  # the row that is there twice has none either
    assert of(live, "missing")["value"] == pytest.approx(16 / (3 * (ROWS + 1)))
    assert (of(live, "completeness", "labelled")["n"], of(live, "completeness", "labelled")["value"]) == (ROWS, 0.75)
    delta.replace_days("gold", live.labels_table, labels.clear(), labelled, labelled)
    monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))
    assert of(live, "completeness", "labelled")["value"] == 0
    assert of(live, "freshness", "labels")["value"] == 1


def test_a_day_of_the_next_champion_is_scored(live: UseCase) -> None:
    """The night before another version takes over measures the old one, whose successor has scored the new day."""
    scored = NIGHT + days(4)
    rows = delta.read_days("gold", live.predictions_table, scored, scored)
    changed = rows.with_columns(model_version=pl.lit(2, pl.Int64))
    delta.replace_days("gold", live.predictions_table, changed, scored, scored)
    monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))
    assert of(live, "completeness", "scored")["value"] == 1
    delta.replace_days("gold", live.predictions_table, changed.head(45), scored, scored)
    monitor.measure("toy", NIGHT + days(3), NIGHT + days(3))
    assert of(live, "completeness", "scored")["value"] == 0.75


def test_measuring_again_changes_no_figure_and_a_range_gives_what_nights_give(live: UseCase) -> None:
    monitor.measure("toy", NIGHT + days(1), NIGHT + days(3))
    version, whole = delta.version("gold", live.figures_table), figures.read(live, NIGHT, NIGHT + days(9))
    for first, last in ((1, 1), (3, 3), (2, 3)):
        monitor.measure("toy", NIGHT + days(first), NIGHT + days(last))
    assert delta.version("gold", live.figures_table) == version
    assert delta.content_hash(figures.read(live, NIGHT, NIGHT + days(9))) == delta.content_hash(whole)
