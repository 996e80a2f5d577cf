"""Evidence over nights: seldom there while nothing changes, there when something does, and the same each time."""

import json
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from include.ml import evidence
from include.ml.evidence import Floats, Quiet, State

FIRST = date(2020, 1, 6)  # a Monday
TRAINED = 120


def dates(n: int, first: date = FIRST) -> list[date]:
    return [first + timedelta(number) for number in range(n)]


def series(random: np.random.Generator, days: int, numbers: int, memory: float = 0.4) -> Floats:
    """Days that hang together, differ by weekday, and rise with the season."""
    noise, found = random.standard_t(8, (days, numbers)), np.zeros((days, numbers))
    for day in range(1, days):
        found[day] = memory * found[day - 1] + noise[day]
    week, season = random.normal(size=(7, numbers)), np.linspace(0, 4, days)[:, np.newaxis]
    return found + week[np.arange(days) % 7] + season


def watched(quiet: Quiet, numbers: Floats, days: list[date], floor: float = 0.01, **kinds: float) -> list[State]:
    state, found = evidence.begin(quiet), []
    for day, of_day in zip(days, numbers, strict=True):
        state = evidence.step(quiet, state, day, of_day, np.full(len(of_day), floor), **kinds)
        found.append(state)
    return found


@pytest.mark.parametrize("memory", [0.0, 0.4, 0.8])
def test_quiet_nights_stay_below_the_rate_that_is_stated(memory: float) -> None:
    """At a rate of 1 %, evidence of 100 fires: in one quiet night of a hundred at most, and all together as one."""
    numbers = series(np.random.default_rng(1), TRAINED + 90, 200, memory)
    days = dates(TRAINED + 90)
    quiet = evidence.learn(numbers[:TRAINED], days[:TRAINED])
    assert quiet is not None
    found = np.stack([state.by_number for state in watched(quiet, numbers[TRAINED:], days[TRAINED:])])
    assert (found >= 100).mean() <= 0.01
    assert max(state.evidence for state in watched(quiet, numbers[TRAINED:], days[TRAINED:])) < 100


def test_a_change_is_found_in_days_and_among_many_numbers_too() -> None:
    numbers = series(np.random.default_rng(2), TRAINED + 40, 40)
    days = dates(TRAINED + 40)
    quiet = evidence.learn(numbers[:TRAINED], days[:TRAINED])
    assert quiet is not None
    numbers[TRAINED + 20 :, 7] += 6.0
    found = [state.evidence for state in watched(quiet, numbers[TRAINED:], days[TRAINED:])]
    assert max(found[:20]) < 100
    assert max(found[20:30]) > 100


def test_the_level_follows_the_season_and_a_promise_does_not() -> None:
    random, days = np.random.default_rng(3), dates(TRAINED + 120)
    slow = random.normal(size=(TRAINED + 120, 30)) + 0.03 * np.arange(TRAINED + 120)[:, np.newaxis]
    quiet = evidence.learn(slow[:TRAINED], days[:TRAINED])
    promised = evidence.learn(slow[:TRAINED], days[:TRAINED], follows=0.0)
    assert quiet is not None
    assert promised is not None
    assert max(state.evidence for state in watched(quiet, slow[TRAINED:], days[TRAINED:])) < 100
    assert watched(promised, slow[TRAINED:], days[TRAINED:], follows=0.0)[-1].evidence > 100


def test_weekdays_are_learned_where_weeks_tell_them() -> None:
    days = dates(70)
    numbers = np.asarray([[5.0 if day.weekday() == 6 else 0.0] for day in days])
    quiet = evidence.learn(numbers, days)
    assert quiet is not None
    assert quiet.week[0, 6] - quiet.week[0, 0] > 3.5
    few = evidence.learn(numbers[:14], days[:14])
    assert few is not None
    assert not few.week.any()
    assert evidence.learn(numbers[:6], days[:6]) is None


def test_no_variance_is_no_certainty_and_no_blindness() -> None:
    """An AUC that was 1 on each day: nothing for as long as it is, and all there is when it is 0."""
    days = dates(40)
    quiet = evidence.learn(np.ones((20, 1)), days[:20], follows=0.0)
    assert quiet is not None
    assert quiet.scale[0] == 0
    floor = float(evidence.share_floor(np.asarray([100.0]))[0])
    same = watched(quiet, np.ones((20, 1)), days[20:], floor, follows=0.0)
    assert max(state.evidence for state in same) <= 1
    assert watched(quiet, np.zeros((2, 1)), days[20:22], floor, follows=0.0)[-1].evidence > 1000


def test_one_direction_and_what_is_tolerated() -> None:
    random, days = np.random.default_rng(4), dates(60)
    quiet = evidence.learn(random.normal(size=(30, 1)), days[:30], follows=0.0)
    assert quiet is not None

    def after(off: float, sides: tuple[int, ...], tolerated: float) -> float:
        state = evidence.begin(quiet, sides)
        for day in days[30:50]:
            state = evidence.step(
                quiet, state, day, quiet.level + off, np.zeros(1), sides=sides, follows=0.0, tolerated=tolerated
            )
        return state.evidence

    assert after(3, (1,), 0) > 1e4
    assert after(-3, (1,), 0) < 1, "better is no alarm"
    assert after(-3, (-1, 1), 0) > 1e4
    assert after(3, (1,), 3) < 1
    assert after(-3, (-1, 1), 3) < 1


def test_what_a_day_does_not_tell_stays_and_the_rest_goes_on() -> None:
    numbers = series(np.random.default_rng(5), TRAINED + 3, 2)
    days = dates(TRAINED + 3)
    quiet = evidence.learn(numbers[:TRAINED], days[:TRAINED])
    assert quiet is not None
    first, _, last = watched(quiet, numbers[TRAINED:], days[TRAINED:])
    numbers[TRAINED + 1, 0] = np.nan
    gap = watched(quiet, numbers[TRAINED:], days[TRAINED:])[1]
    assert gap.values[0].tolist() == first.values[0].tolist()
    assert gap.level[0] == first.level[0]
    assert gap.values[1].tolist() != first.values[1].tolist()
    assert last.day == days[-1]


def test_a_number_that_is_never_told_accuses_nobody() -> None:
    numbers = np.full((20, 2), np.nan)
    numbers[:, 0] = np.random.default_rng(6).normal(size=20)
    quiet = evidence.learn(numbers, dates(20))
    assert quiet is not None
    assert watched(quiet, np.asarray([[0.0, 99.0]] * 5), dates(5, FIRST + timedelta(20)))[-1].by_number[1] < 1


@given(st.integers(0, 10_000))
def test_evidence_goes_on_from_what_is_stored_as_if_it_had_not_been(seed: int) -> None:
    random = np.random.default_rng(seed)
    numbers, days = series(random, 40, 3), dates(40)
    quiet = evidence.learn(numbers[:30], days[:30])
    assert quiet is not None
    stored = Quiet.from_dict(json.loads(json.dumps(quiet.to_dict())))
    state = evidence.begin(stored)
    for day, of_day in zip(days[30:], numbers[30:], strict=True):
        state = State.from_dict(json.loads(json.dumps(state.to_dict())))
        state = evidence.step(stored, state, day, of_day, np.full(3, 0.01))
    assert state.to_dict() == watched(quiet, numbers[30:], days[30:])[-1].to_dict()


def test_tails_are_those_of_student() -> None:
    expected = stats.t.ppf((1 + np.asarray(evidence.QUANTILES)) / 2, evidence.FREEDOM)
    assert pytest.approx(expected, rel=0.005) == evidence._T_QUANTILES


def test_numbers_of_a_day() -> None:
    values = np.asarray([0.0, 1.0, 2.0, np.nan, 5.0, 5.0])
    numbers, floors = evidence.numeric_by_day(values, np.asarray([0, 0, 0, 0, 1, 1]), 2, [0.0, 1.0, 2.0])
    assert numbers[0, 0] == 0
    assert numbers[0, 2] == pytest.approx(np.arcsin(0.5))
    assert numbers[1, 2] == 0
    assert numbers[1, 0] == pytest.approx(4 / (2 / 2.563), rel=1e-3)
    assert (floors > 0).all()
    shares, floors = evidence.shares_by_day(np.asarray([[4, 0], [1, 3]]))
    assert np.sin(shares) ** 2 == pytest.approx(np.asarray([[1, 0], [0.25, 0.75]]))
    assert floors[0, 0] == 0.25


def test_a_single_odd_row_carries_no_day() -> None:
    """In a column that was one value throughout, too."""
    days = dates(61)
    values = np.concatenate([np.ones(60 * 50), np.ones(49), [1e9]])
    index = np.repeat(np.arange(61), 50)
    numbers, floors = evidence.numeric_by_day(values, index, 61, [0.999999, 1.0])
    quiet = evidence.learn(numbers[:60], days[:60])
    assert quiet is not None
    alone = evidence.step(quiet, evidence.begin(quiet), days[60], numbers[60], floors[60])
    assert alone.evidence < 300
    gone, floors = evidence.numeric_by_day(2 * np.ones(50), np.zeros(50, int), 1, [0.999999, 1.0])
    assert evidence.step(quiet, evidence.begin(quiet), days[60], gone[0], floors[0]).evidence > 300


# --- numbers beside each other, and what quiet nights come to ---


def storms(random: np.random.Generator, days: int, numbers: int) -> Floats:
    """Numbers that one storm moves, and hardly anything else."""
    storm = np.zeros(days)
    for day in range(1, days):
        storm[day] = 0.4 * storm[day - 1] + random.normal()
    return storm[:, np.newaxis] * np.linspace(0.5, 2, numbers) + 0.1 * random.normal(size=(days, numbers))


def beside_each_other(
    quiet: Quiet, beside: evidence.Beside | None, numbers: Floats, days: list[date], floor: float = 0.01
) -> list[State]:
    state, found = evidence.begin(quiet, ways=2 if beside else 1), []
    for day, of_day in zip(days, numbers, strict=True):
        floors = np.full(len(of_day), floor)
        surprise = evidence.surprise(quiet, state, day, of_day)
        off = beside.off(surprise.left, floors) if beside else None
        state = evidence.advanced(quiet, state, surprise, floors, off)
        found.append(state)
    return found


def test_a_number_that_moves_alone_stands_out_beside_the_others() -> None:
    """By as much as all of them move together every few days: by itself nobody would notice it."""
    numbers, days = storms(np.random.default_rng(3), TRAINED + 60, 12), dates(TRAINED + 60)
    quiet = evidence.learn(numbers[:TRAINED], days[:TRAINED])
    assert quiet is not None
    left = evidence.surprises(quiet, numbers[:TRAINED], days[:TRAINED])
    learned = evidence.learn_beside(left, np.full(12, 0.01))
    assert learned is not None
    beside = evidence.Beside.from_dict(json.loads(json.dumps(learned[0].to_dict())))
    numbers[TRAINED + 40 :, 5] += numbers[:TRAINED, 5].std()
    alone = beside_each_other(quiet, None, numbers[TRAINED:], days[TRAINED:])
    together = beside_each_other(quiet, beside, numbers[TRAINED:], days[TRAINED:])
    assert max(state.evidence for state in alone) < 100
    assert max(state.evidence for state in together[:40]) < 100
    assert max(state.evidence for state in together[40:45]) > 300
    assert together[44].by_number.argmax() == 5


def test_a_column_that_is_gone_breaks_nothing_beside_it() -> None:
    numbers, days = storms(np.random.default_rng(4), TRAINED + 5, 6), dates(TRAINED + 5)
    quiet = evidence.learn(numbers[:TRAINED], days[:TRAINED])
    assert quiet is not None
    learned = evidence.learn_beside(evidence.surprises(quiet, numbers[:TRAINED], days[:TRAINED]), np.full(6, 0.01))
    assert learned is not None
    numbers[TRAINED:, 2] = np.nan
    last = beside_each_other(quiet, learned[0], numbers[TRAINED:], days[TRAINED:])[-1]
    assert np.isfinite(last.values).all()
    assert last.evidence < 100


def test_too_few_days_tell_nothing_of_how_numbers_hang_together() -> None:
    assert evidence.learn_beside(np.ones((evidence.LEAST_BESIDE - 1, 3)), np.ones(3)) is None


def test_a_share_that_was_off_on_one_day_in_months_may_be_so_again() -> None:
    random = np.random.default_rng(5)
    errors = 0.01 * random.normal(size=150)
    errors[70] = 1.0
    assert 1.0 / evidence._scale_of_all(errors) < 5 < 1.0 / evidence._scale(errors, 150)


def test_what_quiet_weeks_come_to_is_far_below_markovs_limit() -> None:
    off = np.random.default_rng(6).standard_t(8, (120, 30))
    calm = evidence.calm_evidence([evidence.Calm(off, np.full(30, 0.3), np.full(30, 1 / 30))])
    assert calm is not None
    assert calm == sorted(calm, reverse=True)
    assert evidence.calm_at(calm, 0.01 / 3) < 20
    stormy = off.copy()
    stormy[60:64] += 9.0
    wild = evidence.calm_evidence([evidence.Calm(stormy, np.full(30, 0.3), np.full(30, 1 / 30))])
    assert wild is not None
    assert evidence.calm_at(wild, 0.01 / 3) > 300
    assert evidence.calm_evidence([evidence.Calm(off[:20], np.zeros(30), np.ones(30))]) is None


def test_a_state_of_a_release_that_looked_for_other_changes_keeps_its_evidence() -> None:
    before = State(FIRST, np.zeros(2), np.zeros(2), np.asarray([[1.0] * 9 + [11.0], [4.0] * 10]))
    after = evidence.resumed(before, ways=2)
    assert after.values.shape == (2, 2 * 2 * len(evidence.SIZES))
    assert after.by_number.tolist() == [2.0, 4.0]
    assert evidence.resumed(after, ways=2) is after
