"""A challenger and a champion on the same days: what is measured, how certain it is, and how often that is right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from include.ml import comparison
from include.ml.comparison import ByDay, Gain, gain, levels, mean, pairs_in_order

LOOKS = (14, 28, 60)
ONE = np.ones((1, 3))


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from([0.1, 0.2, 0.2, 0.7, 0.9])),
        min_size=1,
        max_size=40,
    )
)
def test_pairs_of_one_day_are_counted_and_no_others(rows: list[tuple[int, int, float]]) -> None:
    days, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = pairs_in_order(labels, scores, days, 3)
    for day in range(3):
        its = [(label, score) for of, label, score in rows if of == day]
        pairs = [(up, down) for up in its for down in its if (up[0], down[0]) == (1, 0)]
        assert found.counts[day] == len(pairs)
        assert found.sums[day] == pytest.approx(sum((up[1] > down[1]) + (up[1] == down[1]) / 2 for up, down in pairs))


def test_a_mean_and_its_root_are_of_the_rows() -> None:
    values, days = np.array([1.0, 4.0, 4.0]), np.array([0, 2, 2])
    assert mean(values, days, 3).of(ONE)[0] == 3.0
    assert mean(values, days, 3, root=True).of(ONE)[0] == pytest.approx(np.sqrt(3.0))
    assert np.isnan(mean(values, days, 3).of(np.array([[0.0, 1.0, 0.0]]))[0])


def by_day(values: np.ndarray) -> ByDay:
    return ByDay(values, np.ones(len(values)))


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=20))
def test_of_plain_means_it_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (np.array(column) for column in zip(*pairs, strict=True))
    found = gain(by_day(ours), by_day(theirs), higher=True)
    assert found.value == pytest.approx(float((ours - theirs).mean()), abs=1e-9)
    assert found.error == pytest.approx(float((ours - theirs).std(ddof=1) / np.sqrt(len(pairs))), abs=1e-7)
    assert found.freedom == len(pairs) - 1
    lower = gain(by_day(ours), by_day(theirs), higher=False)
    assert (lower.value, lower.error) == (pytest.approx(-found.value), pytest.approx(found.error))


def test_days_whose_labels_overlap_are_worth_less() -> None:
    random = np.random.default_rng(1)
    ours, theirs = by_day(random.normal(size=30)), by_day(random.normal(size=30))
    alone, overlapping = (gain(ours, theirs, higher=True, overlap=days) for days in (1, 10))
    assert overlapping.freedom == 2
    assert overlapping.error == pytest.approx(alone.error * np.sqrt(29 / 2))
    assert gain(ours, theirs, higher=True, overlap=30).above(0.05) == -np.inf


@pytest.mark.parametrize("values", [[1.0], [float("nan"), 1.0, 2.0]])
def test_what_cannot_be_told_has_no_bound(values: list[float]) -> None:
    found = gain(by_day(np.array(values)), by_day(np.zeros(len(values))), higher=True)
    assert (found.above(0.05), found.below(0.05)) == (-np.inf, np.inf)


def test_one_that_gives_the_same_gains_nothing_for_certain() -> None:
    same = by_day(np.arange(14.0))
    assert gain(same, same, higher=True) == Gain(0.0, 0.0, 13)
    assert gain(same, same, higher=True).above(0.01) == 0.0


@pytest.mark.parametrize("looks", [LOOKS, (10,), (5, 10, 20, 40, 80)])
def test_all_looks_together_keep_the_level(looks: tuple[int, ...]) -> None:
    sums = np.random.default_rng(3).normal(size=(100_000, looks[-1])).cumsum(axis=1)
    found = levels(looks, 0.05)
    passed = [sums[:, days - 1] / np.sqrt(days) > stats.norm.isf(at) for days, at in zip(looks, found, strict=True)]
    assert np.any(passed, axis=0).mean() == pytest.approx(0.05, abs=0.003)
    assert all(at < 0.05 for at in found) or len(looks) == 1


def test_a_single_look_has_the_whole_level() -> None:
    assert levels((28,), 0.05) == (pytest.approx(0.05),)


@pytest.mark.parametrize(("truth", "low", "high"), [(-1.0, 0.0, 0.06), (0.0, 0.9, 1.0)])
def test_worse_by_the_margin_is_let_through_as_often_as_the_level_says(truth: float, low: float, high: float) -> None:
    """With nothing changed beside it: days that scatter by two margins, looked at three times."""
    random, passed, margin = np.random.default_rng(5), 0, 1.0
    for _ in range(600):
        days = random.normal(truth, 2.0, LOOKS[-1])
        found = (gain(by_day(days[:n]), by_day(np.zeros(n)), higher=True) for n in LOOKS)
        passed += any(one.above(at) > -margin for one, at in zip(found, levels(LOOKS, 0.05), strict=True))
    assert low <= passed / 600 <= high


def test_the_margin_of_an_error_is_a_share_of_the_champion_s() -> None:
    found = comparison.gain(by_day(np.full(5, 8.0)), by_day(np.full(5, 10.0)), higher=False, relative=True)
    assert found.value == pytest.approx(0.2)
