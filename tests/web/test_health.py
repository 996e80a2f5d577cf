"""What the pages of model health say of tables that are written out here."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from include.ml import figures
from include.web import judgement, pictures, series
from include.web.health import MONITORING, Window
from include.web.judgement import Facts

NIGHT = date(2026, 3, 9)


def monitored(*rows: dict[str, Any]) -> pl.DataFrame:
    usual = {"partition_day": NIGHT, "metric": "evidence", "feature": "", "slice": "", "n": 10, "model_version": 1}
    return pl.DataFrame([usual | row for row in rows], schema=MONITORING)


def whole(sensor: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {"sensor": sensor, "value": value, "threshold": 300.0} | more


def stream(feature: str, value: float, weight: float, **more: Any) -> dict[str, Any]:
    return {"sensor": "input_drift", "feature": feature, "value": value, "weight": weight} | more


FIRED = monitored(
    whole("input_drift", 450.0),
    stream("price", 800.0, 0.5),
    stream("hour", 100.0, 0.5),
    whole("prediction_drift", 45.0),
    whole("quality", 0.1),
)
CHAMPION = {"version": 1}


def said(facts: Facts) -> list[tuple[str, str]]:
    return [(one.level, one.what) for one in judgement.judge(facts)]


def test_a_sensor_that_fired_says_what_carries_it_and_one_that_is_near_is_to_be_watched() -> None:
    read = judgement.sensors(FIRED)
    assert [(one["sensor"], one["fired"], one["share"]) for one in read] == [
        ("input_drift", True, 1.5),
        ("prediction_drift", False, 0.15),
        ("quality", False, pytest.approx(0.1 / 300)),
    ]
    assert [(name, round(share, 3)) for name, share in read[0]["carried"]] == [("price", 0.889), ("hour", 0.111)]
    found = judgement.judge(Facts(champion=CHAMPION, night=NIGHT, sensors=read))
    assert [(one.level, one.what) for one in found] == [
        ("bad", "Inputs are not as they were."),
        ("warn", "Prediction drift is at 15% of what fires."),
    ]
    assert found[0].carried[0][0] == "price"
    assert "mend the source where it is broken" in found[0].todo


SLICED = monitored(
    whole("input_drift", 450.0),
    stream("price", 100.0, 0.75),
    stream("", 1500.0, 0.25, slice="shop=a"),
    stream("hour", 15000.0, 0.02, slice="shop=a", metric="carried"),
)


def test_a_drift_within_a_slice_names_feature_and_slice() -> None:
    """The slice has the evidence; which features carry it are rows of their own, and count once."""
    read = judgement.sensors(SLICED)
    assert [(name, round(share, 2)) for name, share in read[0]["carried"]] == [
        ("hour of shop=a", 0.67),
        ("price", 0.17),
    ]
    found = series.within(SLICED, NIGHT, 1, NIGHT)
    assert [(one["slice"], one["part"], one["carried"]) for one in found] == [("shop=a", 375.0, [("hour", 0.8)])]
    assert found[0]["share"] == pytest.approx(1.25)
    day = {"inputs": {"counts": {"hour": [10, 10, 20]}, "sums": {"hour": [40.0, 90.0]}}}
    now = {"shop=a": [day, day]}
    assert series.values_of(found[0], now, {}) == [
        {
            "name": "hour",
            "mean_now": 2.0,
            "spread_now": pytest.approx(0.70711),
            "missing_now": 0.5,
            "mean_then": None,
            "spread_then": None,
            "missing_then": None,
        }
    ]


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        ({"decision": "yes", "reason": "inputs have drifted", "partition_day": NIGHT}, "A retraining was asked for."),
        ({"decision": "no", "reason": "cool-down: 3 days; fired: x", "partition_day": NIGHT}, "cool-down: 3 days."),
        ({"decision": "yes", "reason": "old", "partition_day": NIGHT - timedelta(1)}, "Look at the features"),
    ],
    ids=["asked", "not asked", "an earlier night's"],
)
def test_what_the_policy_made_of_it_is_said_of_its_own_night_alone(decision: dict[str, Any], told: str) -> None:
    facts = Facts(champion=CHAMPION, night=NIGHT, sensors=judgement.sensors(FIRED), decision=decision)
    assert told in judgement.judge(facts)[0].todo
    assert ("A retraining was asked for" in judgement.judge(facts)[0].todo) == (
        decision["reason"] == "inputs have drifted"
    )


def test_predictions_that_are_all_one_are_bad_without_evidence() -> None:
    rows = monitored(
        whole("prediction_drift", 1.0),
        {"sensor": "prediction_drift", "metric": "constant", "value": 1.0, "threshold": 1.0},
    )
    facts = Facts(champion=CHAMPION, night=NIGHT, sensors=judgement.sensors(rows))
    assert said(facts)[0] == ("bad", "All predictions of the day are the same.")


def test_states_before_there_is_anything_to_measure() -> None:
    assert said(Facts()) == [("none", "No champion yet: nothing is scored.")]
    assert said(Facts(champion=CHAMPION))[0][1].startswith("Not measured yet")
    quiet = judgement.sensors(
        monitored(whole("input_drift", 0.1), whole("prediction_drift", 0.1), whole("quality", 0.1))
    )
    assert said(Facts(champion=CHAMPION, night=NIGHT, sensors=quiet)) == [("ok", "Nothing is wrong.")]
    earlier = judgement.sensors(monitored(*(whole(name, None) for name in judgement.SENSORS)))
    assert "of an earlier release" in said(Facts(champion=CHAMPION, night=NIGHT, sensors=earlier))[0][1]


def test_nights_that_the_feature_gate_holds_back_are_said_with_what_to_do() -> None:
    facts = Facts(
        name="orders", champion=CHAMPION, waiting=[("2026-11-25", "age", "empty"), ("2026-11-26", "age", "empty")]
    )
    first, *_ = judgement.judge(facts)
    assert (first.level, first.what) == (
        "bad",
        "The feature gate holds back 2026-11-25, 2026-11-26, for age (empty): nothing is scored of it.",
    )
    assert first.todo.endswith("make accept use_case=orders partition=2026-11-25..2026-11-26 feature=age")


def test_what_cannot_be_read_is_the_first_thing_that_is_said() -> None:
    facts = Facts(
        champion=CHAMPION, night=NIGHT, sensors=judgement.sensors(FIRED), problems=["gold.x cannot be read: y"]
    )
    assert said(facts)[0] == ("bad", "gold.x cannot be read: y")
    assert said(Facts(problems=["gold.x cannot be read: y"])) == [("bad", "gold.x cannot be read: y")]


def test_late_labels_rows_that_nobody_scored_and_doubles_are_said() -> None:
    quiet = judgement.sensors(monitored(whole("input_drift", 0.1)))
    told = {
        (figures.FRESHNESS, "labels"): {"value": 3.0},
        (figures.COMPLETENESS, "scored"): {"value": 0.5},
        (figures.DUPLICATES, ""): {"value": 2.0},
    }
    late = said(Facts(champion=CHAMPION, night=NIGHT, sensors=quiet, figures=told))
    assert [level for level, _ in late] == ["bad", "warn", "warn"]
    assert [what.split(":")[0] for _, what in late] == [
        "2 rows of features are there twice.",
        "The newest labels are 3 days old, 0 are usual",
        "50.0% of the newest day's rows are scored by the champion.",
    ]
    usual = Facts(champion=CHAMPION, night=NIGHT, sensors=quiet, figures=told, label_days=3)
    assert not any("labels are" in what for _, what in said(usual)), "where they take three days, they are in time"


def test_three_years_are_drawn_in_few_points_and_no_peak_is_lost() -> None:
    first = date(2023, 1, 1)
    days = [first + timedelta(n) for n in range(1096)]
    rows = pl.concat(
        monitored(whole("input_drift", 500.0 if n == 700 else 1.0, partition_day=day)) for n, day in enumerate(days)
    )
    step = series.step_of(days[0], days[-1])
    found = series.evidence_series(rows, first, step)
    assert (step, len(found["nights"])) == (6, 183)
    assert max(found["lines"][0]["values"]) == 500.0
    assert found["nights"][-1] == str(days[-1])
    assert series.step_of(first, first + timedelta(89)) == 1


def figure(night: int, kind: str, name: str, value: float | None, **more: Any) -> dict[str, Any]:
    day = NIGHT + timedelta(night)
    return {"partition_day": day, "figure": kind, "feature": name, "day": day, "value": value, "n": 10} | more


def test_quality_stands_beside_the_promise_with_its_interval() -> None:
    told = json.dumps({"worse": "lower", "tolerated": 0.02})
    values = [0.70, 0.72, 0.71, 0.73]
    rows = pl.DataFrame(
        [
            *(figure(n, figures.QUALITY, "auc", value) for n, value in enumerate(values)),
            figure(3, figures.PROMISE, "auc", 0.75, low=0.7, high=0.8, bins=told),
        ],
        schema=figures.SCHEMA,
    )
    (found,) = series.quality(rows, rows.filter(figure="promise"), NIGHT, 1)
    assert found["values"] == values
    assert found["mean"][:2] == [None, None], "two days tell no mean of a week"
    assert found["mean"][-1] == pytest.approx(0.715)
    # 1.96 standard errors of four days whose deviation is .01291
    assert found["high"][-1] - found["mean"][-1] == pytest.approx(0.01265, abs=1e-4)
    assert (found["promise"], found["limits"]) == (0.75, [0.73])
    assert series.limits(0.01, "either", 0.05) == [-0.04, 0.06]


def test_the_distributions_of_a_week_are_added_and_those_of_another_version_left_out() -> None:
    def bins(*counts: int, edges: tuple[float, ...] = (1.0,)) -> str:
        return json.dumps({"edges": edges, "counts": counts, "expected": [0.5, 0.5, 0.0]})

    kind = figures.DISTRIBUTION
    rows = pl.DataFrame(
        [
            figure(-2, kind, "price", 0.4, bins=bins(9, 9, 9, edges=(2.0,)), model_version=1),
            figure(-1, kind, "price", 0.4, bins=bins(6, 2, 0), model_version=2),
            figure(0, kind, "price", 0.4, bins=bins(2, 2, 4), model_version=2),
        ],
        schema=figures.SCHEMA,
    )
    found = series.distributions(rows)["price"]
    assert (found["day"], found["week"]) == ([0.25, 0.25, 0.5], [0.5, 0.25, 0.25])
    assert (found["importance"], found["expected"], found["of"]) == (0.4, [0.5, 0.5, 0.0], str(NIGHT))


def test_a_reliability_curve_is_of_all_days_together_and_leaves_thin_bins_out() -> None:
    one = {"edges": [0.5], "counts": [6, 3], "scores": [1.2, 2.4], "labels": [2.0, 3.0]}
    rows = pl.DataFrame(
        [figure(n, figures.CALIBRATION, "score", None, bins=json.dumps(one)) for n in range(2)], schema=figures.SCHEMA
    )
    (found,) = series.calibrations(rows)
    (point,) = found["points"]
    assert (point["n"], point["score"], point["label"]) == (12, 0.2, pytest.approx(0.33333))
    assert point["low"] == pytest.approx(0.1381, abs=1e-3)  # Wilson's of 4 in 12
    assert point["high"] == pytest.approx(0.6094, abs=1e-3)
    assert found["error"] == pytest.approx((2 * 0.8 + 2 * 0.6) / 18, abs=1e-5)


def test_what_has_too_few_labels_for_a_point_is_no_curve() -> None:
    one = {"edges": [0.5], "counts": [6, 3], "scores": [1.2, 2.4], "labels": [2.0, 3.0]}
    rows = pl.DataFrame([figure(0, figures.CALIBRATION, "score", None, bins=json.dumps(one))], schema=figures.SCHEMA)
    assert series.calibrations(rows) == []


def test_a_window_is_what_is_asked_for_and_else_the_newest_ninety_nights() -> None:
    nights = [NIGHT - timedelta(n) for n in reversed(range(200))]
    assert Window().of(nights) == (NIGHT - timedelta(89), NIGHT)
    assert Window(NIGHT - timedelta(150)).of(nights) == (NIGHT - timedelta(150), NIGHT)
    assert Window().of([]) is None
    assert Window(NIGHT, NIGHT - timedelta(5)).of(nights) == (NIGHT - timedelta(5), NIGHT - timedelta(5))


def test_the_morning_sentence_names_who_needs_somebody() -> None:
    lines = [{"name": "a", "level": "bad"}, {"name": "b", "level": "ok"}]
    assert judgement.summary_of(lines) == "1 of 2 use cases needs you: a."
    assert judgement.summary_of([{"name": "b", "level": "warn"}]).startswith("Nothing is broken; 1 of 1")
    assert judgement.summary_of(lines[1:]) == "All is well: 1 watched."
    assert judgement.summary_of([{"name": "c", "level": "none"}]) == "No use case has been measured yet."


def test_small_pictures_break_where_nothing_is_known() -> None:
    (first, second) = pictures.along([1.0, 1.0, None, 100.0], 1.0, 100.0)
    assert first == "0.0,30.0 40.0,30.0"
    assert second == "120.0,2.0 120.0,2.0"
    assert pictures.steps([0.5, None], 0.5).split() == [
        "0,32",
        "0.0,2.0",
        "60.0,2.0",
        "60.0,32.0",
        "120.0,32.0",
        "120,32",
    ]
