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


def test_few_rows_have_fewer_bins() -> None:
    """Scores that are true: of 90 rows in ten bins each would be off by a tenth, by chance alone."""
    random = np.random.default_rng(3)
    score = random.uniform(0.2, 0.8, 90)
    label = (random.random(90) < score).astype(int)
    assert metrics.calibration_error(label, score) == metrics.calibration_error(label, score, bins=1) < 0.05
    assert metrics.calibration_error(label, score, bins=10) > 0.1
    many = random.uniform(0.2, 0.8, 500)
    label = (random.random(500) < many).astype(int)
    assert metrics.calibration_error(label, many) == metrics.calibration_error(label, many, bins=10)


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


ROWS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.01, 0.2, 0.5, 0.7, 0.99])), min_size=2, max_size=50)


@given(ROWS.filter(lambda rows: len({label for label, _ in rows}) == 2))
def test_ours_and_those_of_scikit_learn_are_one(rows: list[tuple[int, float]]) -> None:
    from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

    label, score = np.array([label for label, _ in rows]), np.array([score for _, score in rows])
    assert metrics.auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert metrics.log_loss(label, score) == pytest.approx(log_loss(label, score), abs=1e-12)
    assert metrics.brier(label, score) == pytest.approx(brier_score_loss(label, score), abs=1e-12)


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_that_of_scipy(one: list[int], other: list[int]) -> None:
    from scipy.spatial.distance import jensenshannon

    a, b = metrics.shares(np.array(one)), metrics.shares(np.array(other))
    theirs = jensenshannon(a, b, base=2)
    # Of nearly equal ones, theirs may be no number: a sum of rounded logarithms below zero.
    assert np.isnan(theirs) or metrics.jensen_shannon(a, b) == pytest.approx(theirs, abs=1e-7)


def test_losses_of_classes_and_quantiles_by_hand() -> None:
    scores = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    assert metrics.log_loss_of_classes(np.array([0, 2]), scores) == pytest.approx(math.log(2) / 2)
    assert metrics.log_loss_of_classes(np.array([0, 0]), scores) == pytest.approx((math.log(2) + 16.118) / 2, abs=1e-3)
    assert metrics.brier_of_classes(np.array([0, 0]), scores) == pytest.approx((0.25 + 0.0625 * 2 + 2) / 2)
    # One above by 1 and one below by 2, of the quantile 0.9.
    assert metrics.pinball_loss(np.array([1.0, 5.0]), np.array([[2.0], [3.0]]), [0.9]) == pytest.approx((0.1 + 1.8) / 2)


# --- days whose labels overlap ---


def test_days_that_overlap_count_for_fewer() -> None:
    before, after = [1.0, 2.0, 3.0, 2.0] * 5, [2.0, 3.0, 4.0, 3.0] * 5
    alone, overlapping = (metrics.z_of_difference(before, after, overlap) for overlap in (1, 5))
    assert alone == metrics.z_of_difference(before, after)
    # 20 days are worth 4 of them: (4 - 1) / (20 - 1) of the evidence.
    assert overlapping == pytest.approx(alone * math.sqrt(3 / 19))
    assert metrics.z_of_mean(after, 5) == pytest.approx(metrics.z_of_mean(after) * math.sqrt(3 / 19))
    assert metrics.z_of_mean(after, 11) == metrics.z_of_difference(before, after, 11) == 0, "fewer than two spans"


def test_a_short_sample_has_the_scatter_of_the_long_one() -> None:
    short, long = [1.0, 2.0], [4.0, 5.0, 6.0, 5.0] * 5
    own = np.var(long, ddof=1) / 20 * 19 / 3  # of the mean of 20 days, worth 4 of them
    assert metrics.z_of_difference(short, long, 5) == pytest.approx((5.0 - 1.5) / math.sqrt(own + own * 4))
    assert metrics.z_of_difference(long, short, 5) == -metrics.z_of_difference(short, long, 5)


def alarms(overlap: int, holdout: int, window: int, change: float, counted: int) -> float:
    """How often z reaches 2 in 1000 worlds whose daily values are means over the shocks of ``overlap`` days."""
    random, fired = np.random.default_rng(overlap), 0
    for _ in range(1000):
        shocks = random.normal(size=holdout + 100 + window + overlap - 1)
        daily = np.convolve(shocks, np.full(overlap, 1 / math.sqrt(overlap)), "valid")
        then, now = daily[:holdout].tolist(), (daily[-window:] + change).tolist()
        fired += metrics.z_of_difference(then, now, counted) >= 2
    return fired / 1000


@pytest.mark.parametrize(("label_days", "holdout", "window"), [(0, 14, 14), (7, 14, 24), (30, 14, 93), (30, 62, 186)])
def test_false_alarms_stay_rare_where_labels_overlap(label_days: int, holdout: int, window: int) -> None:
    """With nothing changed, and with everything: by six times what a day differs from others."""
    overlap = label_days + 1
    assert alarms(overlap, holdout, window, change=0, counted=overlap) < 0.06
    assert alarms(overlap, holdout, window, change=6, counted=overlap) > 0.97
    if label_days:
        # Each day for itself: an alarm in a quarter of the calm nights, and more.
        assert alarms(overlap, holdout, window, change=0, counted=1) > 0.25


@given(
    st.lists(st.floats(width=32, allow_infinity=False), max_size=50),
    st.lists(st.floats(-1e6, 1e6) | st.floats(-1e6, 1e6, width=32), max_size=20, unique=True),
    st.integers(0, 49),
)
def test_values_are_counted_where_each_of_them_belongs(values: list[float], edges: list[float], at: int) -> None:
    """Also edges that are no 32-bit numbers, and values that are equal to an edge."""
    column = np.array(values, dtype=np.float32)
    if values and not math.isnan(column[at % len(values)]):
        edges = [*edges, float(column[at % len(values)])]
    edges = sorted(set(edges))
    wanted = [0] * (len(edges) + 2)
    for value in column.tolist():
        wanted[-1 if math.isnan(value) else sum(edge < value for edge in edges)] += 1
    assert metrics.bin_counts(column, edges).tolist() == wanted
    assert metrics.bin_counts(column.astype(np.float64), edges).tolist() == wanted
