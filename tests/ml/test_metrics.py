import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.ml import metrics

LABEL = np.array([0, 0, 1, 1])


def test_auc() -> None:
    assert metrics.auc(LABEL, np.array([0.1, 0.2, 0.8, 0.9])) == 1.0
    assert metrics.auc(LABEL, np.array([0.9, 0.8, 0.2, 0.1])) == 0.0
    assert metrics.auc(LABEL, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert metrics.auc(LABEL, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5
    assert metrics.auc(LABEL, np.array([0.1, 0.5, 0.5, 0.9])) == 0.875
    assert math.isnan(metrics.auc(np.ones(3), np.ones(3)))


def test_log_loss_and_brier() -> None:
    assert metrics.log_loss(np.array([1, 0]), np.array([0.5, 0.5])) == pytest.approx(0.693147, abs=1e-6)
    assert metrics.log_loss(np.array([1]), np.array([0.0])) == pytest.approx(16.118, abs=1e-3)
    assert metrics.brier(np.array([1, 0]), np.array([0.8, 0.4])) == pytest.approx((0.04 + 0.16) / 2)


def test_calibration_error() -> None:
    label = np.array([0, 1, 0, 1])
    assert metrics.calibration_error(label, np.array([0.5, 0.5, 0.5, 0.5]), bins=1) == 0.0
    assert metrics.calibration_error(label, np.array([0.9, 0.9, 0.9, 0.9]), bins=1) == pytest.approx(0.4)
    # Two bins: means .1 and .7 against label means 0 and 1, half of the rows each.
    assert metrics.calibration_error(LABEL, np.array([0.1, 0.1, 0.7, 0.7]), bins=2) == pytest.approx(0.2)


def test_rows_of_one_score_belong_together_in_whichever_order_they_come() -> None:
    """Rows are sorted by day: ties that are torn apart take the days' base rates for miscalibration."""
    half = np.full(100, 0.5)
    by_day, mixed = np.array([0] * 50 + [1] * 50), np.tile([0, 1], 50)
    assert metrics.calibration_error(by_day, half) == metrics.calibration_error(mixed, half) == 0
    first, last = np.array([1] * 10 + [0] * 90), np.array([0] * 90 + [1] * 10)
    assert metrics.top_decile_lift(first, half) == metrics.top_decile_lift(last, half) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.2, 0.7, 1.0])), min_size=1, max_size=50))
def test_no_metric_depends_on_the_order_of_rows(rows: list[tuple[int, float]]) -> None:
    label, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    turned = metrics.quality(label[::-1], score[::-1])
    assert metrics.quality(label, score) == pytest.approx(turned, nan_ok=True, abs=1e-12)


def test_top_decile_lift() -> None:
    # Two scores at the top, five at the end of the tenth, of which one counts, as their mean does.
    label, score = np.array([1, 0, 1, 1, 0, 0, 0] + [0] * 23), np.array([0.9, 0.8] + [0.7] * 5 + [0.1] * 23)
    assert metrics.top_decile_lift(label, score) == pytest.approx((1 + 0.4) / 3 / 0.1)
    label = np.array([1, 1] + [0] * 18)
    assert metrics.top_decile_lift(label, np.linspace(1, 0, 20)) == pytest.approx(10.0)
    assert math.isnan(metrics.top_decile_lift(np.zeros(20), np.linspace(1, 0, 20)))


def test_bins() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    edges = metrics.bin_edges(values, bins=2)
    assert edges == [2.5]
    assert metrics.bin_counts(values, edges).tolist() == [2, 2, 1]
    assert metrics.bin_counts(np.array([2.5, np.nan]), edges).tolist() == [1, 0, 1]
    # A frequent value has a bin of its own, and what it leaves of an ordinary one is no sliver beside it.
    low, high = metrics.bin_edges(np.array([7.0] * 9), bins=10)
    assert (low < 7.0, high) == (True, 7.0)
    assert metrics.bin_counts(np.array([6.9, 7.0, 7.1], dtype=np.float32), [low, high]).tolist() == [1, 1, 1, 0]
    dry = np.concatenate([np.zeros(61), np.linspace(0.1, 3.9, 39)])
    assert metrics.bin_counts(dry, metrics.bin_edges(dry)).tolist() == [0, 61, 9, 10, 10, 10, 0]
    assert metrics.bin_edges(np.array([np.nan])) == []
    with pytest.raises(ValueError, match="no rows"):
        metrics.shares(np.zeros(3))


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ([10.0] * 95 + [2.0] * 5, [2.0] * 100),  # visibility: nearly always its maximum, then fog for days
        ([0.0] * 95 + [2.0] * 5, [2.0] * 100),
        ([1.0] * 92 + [0.0] * 8, [0.0] * 100),  # a flag that is nearly always set
        ([0.0] * 92 + [1.0] * 8, [1.0] * 100),
        ([7.0] * 100, [3.0] * 100),  # a constant
        ([7.0] * 100, [8.0] * 100),
        ([0.0] * 100, [-1.0] * 100),
        ([0.1] * 100, [0.0] * 100),
        ([1.0] * 30 + [5.0] * 40 + [9.0] * 30, [4.0] * 100),  # common values with none between them
        ([5.0] * 100, [np.nan] * 100),
    ],
)
def test_to_leave_a_common_value_is_a_distance_in_either_direction(then: list[float], now: list[float]) -> None:
    reference, current = np.array(then, dtype=np.float32), np.array(now, dtype=np.float32)
    edges = metrics.bin_edges(reference)
    before, after = (metrics.shares(metrics.bin_counts(values, edges)) for values in (reference, current))
    assert metrics.psi(before, after) > 5
    assert metrics.psi(before, before) == 0


@given(st.lists(st.sampled_from([-1.5, 0.0, 0.1, 2.0, 2.5, 3e38]), min_size=1, max_size=60))
def test_every_value_of_a_column_is_in_a_bin_whatever_is_common(values: list[float]) -> None:
    column = np.array(values, dtype=np.float32)
    edges = metrics.bin_edges(column)
    assert edges == sorted(set(edges))
    assert metrics.bin_counts(column, edges).sum() == len(column)


def test_psi_by_hand() -> None:
    # (.5 - .25) ln(.5 / .25) + (.5 - .75) ln(.5 / .75)
    assert metrics.psi(np.array([0.25, 0.75]), np.array([0.5, 0.5])) == pytest.approx(0.274653, abs=1e-6)
    assert metrics.psi(np.array([1.0, 0.0]), np.array([0.0, 1.0])) > 10
    with pytest.raises(ValueError, match="2 reference bins and 3"):
        metrics.psi(np.ones(2), np.ones(3))


COUNTS = st.lists(st.integers(0, 1000), min_size=5, max_size=5).filter(lambda counts: sum(counts) > 0)


@given(COUNTS, COUNTS)
def test_distances_are_distances(one: list[int], other: list[int]) -> None:
    a, b = metrics.shares(np.array(one)), metrics.shares(np.array(other))
    for distance in (metrics.psi, metrics.jensen_shannon):
        assert distance(a, b) >= 0
        assert distance(a, b) == pytest.approx(distance(b, a))
        assert distance(a, a) == 0
    assert metrics.jensen_shannon(a, b) <= 1


@given(COUNTS, st.integers(2, 9))
def test_distances_see_shares_and_not_sizes(one: list[int], times: int) -> None:
    counts = np.array(one)
    assert metrics.psi(metrics.shares(counts), metrics.shares(counts * times)) == pytest.approx(0, abs=1e-12)


def test_z_of_difference() -> None:
    assert metrics.z_of_difference([1, 2, 3], [3, 4, 5]) == pytest.approx(2 / math.sqrt(2 / 3))
    assert metrics.z_of_difference([1, 2, 3], [0, 1, 2]) < 0
    assert metrics.z_of_difference([1], [5, 6]) == 0
    assert metrics.z_of_difference([1, 1], [1, 1]) == 0
    assert metrics.z_of_difference([1, 1], [2, 2]) == math.inf
