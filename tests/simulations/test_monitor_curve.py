"""The sensors' rate of false alarms is the one that is stated, and they find what they are to find."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Binary, Evaluation, Feature, Training, UseCase
from tests.simulations import monitor_curve, year

FIRST, TRAINED, DAYS, ROWS = date(2020, 1, 6), 120, 190, 200

CASE = UseCase(
    name="parcels",
    description="whether a parcel comes late",
    owner="tests",
    sources=("parcels",),
    entity=("parcel",),
    day="day",
    label="late",
    task=Binary(baseline="weight"),
    features=(
        Feature("carrier", "categorical", vocabulary=tuple("ABCDEFGHIJ")),
        Feature("weight"),
        Feature("distance"),
        Feature("storm"),
    ),
    training=Training(params={"max_depth": 3, "learning_rate": 0.2}, rounds=25, first_day=FIRST, threads=1),
    evaluation=Evaluation(slices=("carrier",)),
)


def parcels() -> pl.DataFrame:
    """Days with weather of their own that lasts, weekdays, and a season; ten carriers as large as each other."""
    random, storm, frames = np.random.default_rng(1), 0.0, []
    for n in range(DAYS):
        day, storm = FIRST + timedelta(n), 0.6 * storm + random.normal()
        weight = random.normal(0.3 * (day.weekday() == 6) + 0.004 * n, 1, ROWS)
        distance = random.gamma(2, 1, ROWS)
        odds = -1.5 + 0.9 * weight + 0.5 * distance - 0.7 * (0.6 * storm + 0.5 * random.normal())
        frames.append(
            pl.DataFrame(
                {
                    "parcel": [f"{n}-{row}" for row in range(ROWS)],
                    "day": [day] * ROWS,
                    "carrier": random.choice(list("ABCDEFGHIJ"), ROWS),
                    "weight": weight,
                    "distance": distance,
                    "storm": [storm] * ROWS,
                    "late": (random.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(np.int32),
                }
            )
        )
    return pl.concat(frames)


def test_a_synthetic_world_stays_quiet_and_its_changes_are_found() -> None:
    champion = monitor_curve.champion(CASE, parcels(), FIRST + timedelta(TRAINED - 1))
    found = monitor_curve.curve([champion], draws=6)
    assert found.all_nights["policy"] <= 0.01
    assert found.all_nights["PSI .1"] > 0.2, "the limits that it is shown beside cry wolf in the same nights"
    shares = {one.scenario.name: one.changed["policy"] for one in found.found}
    assert all(shares[name] == 1 for name in shares if name != "one feature, 3 quiet spreads")
    assert shares["one feature, 3 quiet spreads"] > 0.8
    page = monitor_curve.page(found)
    assert "| all features, PSI .1 | 10 | 99% | 100.0% |  |" in page


@pytest.mark.full
def test_the_monitor_keeps_its_error_rates(tmp_path_factory: pytest.TempPathFactory) -> None:
    with year.loaded(tmp_path_factory.mktemp("monitor")) as case:
        data = monitor_curve.read(case, None)
    found = monitor_curve.curve([monitor_curve.champion(case, data, ends) for ends in monitor_curve.ENDS])
    assert found.broken() == []
