"""A figure of quality that goes with another one on quiet days is watched by what is left of it."""

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from include.ml import evidence, monitor, reference, tasks
from include.ml.counted import Counted
from include.ml.reference import Reference, Scored
from tests.ml.conftest import toy_case

CASE = toy_case()
FIRST, LEARNED, HOLDOUT, NIGHTS, ROWS = date(2020, 1, 6), 70, 14, 60, 400
LOW, GAP = ("quality", "low_rise", ""), ("quality", "calibration_gap", "")
NOTHING = Counted({}, 0, {}, 0, frozenset(), None, None)

type Day = tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]


def stormy_days(seed: int, days: int) -> list[Day]:
    """Labels and scores of days with storms, which make late what is risky already, and the rest by less."""
    random, found = np.random.default_rng(seed), []
    for _ in range(days):
        given, storm = random.normal(-1.5, 1.2, ROWS), random.normal(0, 1.0)
        odds = given + storm * (given > -2.5)
        found.append(((random.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.int8), 1 / (1 + np.exp(-given))))
    return found


def turned(days: list[Day], share: float = 0.1) -> list[Day]:
    random = np.random.default_rng(9)
    return [(np.where(random.random(ROWS) < share, 1 - labels, labels), scores) for labels, scores in days]


def learned(days: list[Day]) -> Reference:
    """What a training keeps of ``days``: the last of them are its holdout."""
    dates = np.repeat(np.datetime64(FIRST) + np.arange(len(days)), ROWS)
    labels, scores = (np.concatenate(part) for part in zip(*days, strict=True))
    held = dates >= np.datetime64(FIRST) + (len(days) - HOLDOUT)
    random = np.random.default_rng(5)
    columns = [
        random.integers(0, len(one.levels), len(dates)).astype(np.float32)
        if one.kind == "categorical"
        else random.normal(size=len(dates)).astype(np.float32)
        for one in CASE.features
    ]
    holdout = FIRST + timedelta(len(days) - HOLDOUT), FIRST + timedelta(len(days) - 1)
    earlier = Scored(labels[~held], scores[~held], dates[~held])
    return reference.build(
        CASE,
        columns,
        dates,
        dict.fromkeys(CASE.feature_names, 0.5),
        holdout,
        labels[held],
        scores[held],
        None,
        None,
        earlier,
    )


def figures(of: Reference, days: list[Day]) -> npt.NDArray[np.float64]:
    """The figure of the lowest scores, as the monitor is told it in each night."""
    found = []
    for labels, scores in days:
        matured = pl.DataFrame({"flight_date": [FIRST] * ROWS, "is_head": labels, "score": scores})
        night = monitor.Night(FIRST, FIRST, FIRST, matured.clear(), matured.clear(), matured)
        found.append(monitor.told(CASE, of, {LOW}, night, NOTHING)[LOW].numbers[0])
    return np.asarray(found)


def watched(of: Reference, numbers: npt.NDArray[np.float64]) -> list[float]:
    """The evidence of the figure after each night."""
    stream, found = monitor.streams(CASE, of)[LOW], []
    state = evidence.begin(stream.quiet, stream.sides)
    for n, number in enumerate(numbers):
        day = FIRST + timedelta(LEARNED + n)
        state = evidence.step(
            stream.quiet,
            state,
            day,
            number[np.newaxis],
            np.full(1, 0.02),
            sides=stream.sides,
            follows=0.0,
            kept=stream.kept,
        )
        found.append(state.evidence)
    return found


def test_what_a_storm_does_to_the_lowest_scores_is_no_change_and_labels_turned_round_are() -> None:
    quiet_days = stormy_days(2, NIGHTS)
    of = learned(stormy_days(1, LEARNED))
    alone = {name: part for name, part in of.items() if name != "together"}
    assert of["together"]["low_rise"]["beside"] == "calibration_gap"
    quiet, changed = figures(of, quiet_days), figures(of, turned(quiet_days))
    raw, raw_changed = figures(alone, quiet_days), figures(alone, turned(quiet_days))
    apart, raw_apart = ((b - a).mean() / a.std() for a, b in ((quiet, changed), (raw, raw_changed)))
    assert apart > 1.15 * raw_apart
    assert quiet.mean() == pytest.approx(of["quality"]["low_rise"]["level"][0], abs=quiet.std() / 2)
    assert max(watched(of, quiet)) < 20
    assert max(watched(of, changed)[:28]) > 100


def test_few_days_and_figures_that_never_move_tell_nothing_of_how_they_go_together() -> None:
    assert learned(stormy_days(1, evidence.LEAST_BESIDE - 1))["together"] == {}
    still = {one.metric: np.zeros(90) for one in tasks.of(CASE).watched}
    assert reference.go_together(tasks.of(CASE), still) == {}


def test_slices_are_beside_all_rows_of_their_day_and_nothing_else() -> None:
    of = learned(stormy_days(1, LEARNED))
    labels, scores = stormy_days(3, 1)[0]
    both = pl.DataFrame({"flight_date": [FIRST] * ROWS, "is_head": labels, "score": scores})
    matured = pl.concat([both.with_columns(metal=pl.lit(one)) for one in ("gold", "iron")])
    night = monitor.Night(FIRST, FIRST, FIRST, matured.clear(), matured.clear(), matured)
    key = ("quality", "low_rise", "metal=iron")
    found = monitor.told(CASE, of, {key, LOW, GAP}, night, NOTHING)
    assert found[key].numbers[0] == pytest.approx(0, abs=0.02)
    slope, mean = of["together"]["low_rise"]["slope"], of["together"]["low_rise"]["mean"]
    raw = tasks.of(CASE).daily(matured["is_head"].to_numpy(), matured["score"].to_numpy())
    assert found[GAP].numbers[0] == pytest.approx(raw["gap"])
    assert found[LOW].numbers[0] == pytest.approx(raw["low"] - slope * (raw["gap"] - mean))
