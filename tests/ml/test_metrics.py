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


def test_top_decile_lift() -> None:
    label = np.array([1, 1] + [0] * 18)
    assert metrics.top_decile_lift(label, np.linspace(1, 0, 20)) == pytest.approx(10.0)
    assert math.isnan(metrics.top_decile_lift(np.zeros(20), np.linspace(1, 0, 20)))


def test_bins() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    edges = metrics.bin_edges(values, bins=2)
    assert edges == [2.5]
    assert metrics.bin_counts(values, edges).tolist() == [2, 2, 1]
    assert metrics.bin_counts(np.array([2.5, np.nan]), edges).tolist() == [1, 0, 1]
    assert metrics.bin_edges(np.array([7.0] * 9), bins=10) == [7.0]
    assert metrics.bin_edges(np.array([np.nan])) == []
    with pytest.raises(ValueError, match="no rows"):
        metrics.shares(np.zeros(3))


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
