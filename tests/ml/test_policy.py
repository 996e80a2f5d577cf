import json
import shutil
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contracts.use_case import DriftPolicy, UseCase
from include.lake import delta
from include.ml import monitor, policy, promotion, train
from include.ml.monitor import SensorReading
from include.serving import batch
from tests.ml.conftest import FIRST, write_days
from tests.ml.test_ledger import row

POLICY = DriftPolicy(cool_down_days=31, max_age_days=120)
CHAMPION = replace(row(1, date(2020, 6, 1)), trained_through=date(2020, 5, 31))
SENSORS = ("input_drift", "prediction_drift", "quality", "schedule", "new_labels")
LATE = date(2020, 7, 1)


def readings(*fired: str) -> list[SensorReading]:
    return [SensorReading(sensor, sensor in fired, "because", {"value": 1}) for sensor in SENSORS]


@pytest.mark.parametrize(
    ("fired", "decision", "reason"),
    [
        ((), "no", "nothing calls for it; no sensor fired"),
        (("input_drift",), "yes", "inputs have drifted; fired: input_drift"),
        (("prediction_drift",), "yes", "scores have drifted; fired: prediction_drift"),
        (("quality",), "yes", "quality is worse than promised; fired: quality"),
        (("schedule",), "yes", "the champion is as old as the spec allows; fired: schedule"),
        (("new_labels",), "yes", "there are enough new labels; fired: new_labels"),
        (SENSORS, "yes", "quality is worse than promised; fired: input_drift, new_labels, prediction_drift, quality"),
    ],
)
def test_what_is_reason_enough(fired: tuple[str, ...], decision: str, reason: str) -> None:
    made = policy.decide(POLICY, LATE, CHAMPION, readings(*fired))
    assert made.decision == decision
    assert made.reason.startswith(reason)


def test_cool_down_counts_new_labels() -> None:
    early = policy.decide(POLICY, date(2020, 6, 30), CHAMPION, readings("quality"))
    said = "cool-down: 30 days of new labels, 31 are needed; fired: quality"
    assert (early.decision, early.reason) == ("no", said)
    assert policy.decide(POLICY, date(2020, 7, 1), CHAMPION, readings("quality")).decision == "yes"


def test_cool_down_and_age_count_labels_that_are_known() -> None:
    """With labels that take 30 days, those of the day before 2020-06-01 were the newest 30 nights later."""

    def made(night: date) -> policy.Decision:
        return policy.decide(POLICY, night, CHAMPION, readings("quality"), label_days=30)

    assert made(date(2020, 7, 30)).reason.startswith("cool-down: 30 days of new labels")
    assert made(date(2020, 7, 31)).decision == "yes"
    assert not policy.schedule(POLICY, date(2020, 10, 27), CHAMPION, 30).fired
    assert policy.schedule(POLICY, date(2020, 10, 28), CHAMPION, 30).fired


def asked(night: date, outcome: policy.Outcome = "open", version: int = 1) -> policy.Request:
    return policy.Request(night, version, outcome, "it came to nothing" if outcome in ("failed", "refused") else "")


@pytest.mark.parametrize(("requested", "decision"), [(-1, "no"), (-30, "no"), (-31, "yes"), (1, "no")])
def test_nothing_is_asked_for_twice(requested: int, decision: str) -> None:
    request = asked(LATE + timedelta(requested))
    assert policy.decide(POLICY, LATE, CHAMPION, readings("quality"), [request]).decision == decision


def test_what_failed_is_asked_for_again_when_there_are_new_labels_and_what_was_refused_later() -> None:
    def again(outcome: policy.Outcome, days: int) -> str:
        night = LATE + timedelta(days)
        return policy.decide(POLICY, night, CHAMPION, readings("quality"), [asked(LATE, outcome)]).decision

    assert [again("failed", days) for days in (1, 6, 7)] == ["no", "no", "yes"]
    assert [again("refused", days) for days in (7, 30, 31)] == ["no", "no", "yes"]
    assert [again("open", days) for days in (7, 30, 31)] == ["no", "no", "yes"]


def test_a_champion_whose_retrainings_come_to_nothing_is_left_alone_until_there_is_another() -> None:
    lost = [asked(LATE + timedelta(40 * n), "refused") for n in range(3)]
    night = LATE + timedelta(150)
    made = policy.decide(POLICY, night, CHAMPION, readings("quality"), lost)
    assert made.decision == "no"
    assert made.reason.startswith(
        "given up: the last 3 retrainings of version 1 came to nothing, the newest of 2020-09-19: it came to nothing"
    )
    assert policy.decide(POLICY, night, CHAMPION, readings("quality"), lost[1:]).decision == "yes"
    assert policy.decide(POLICY, night, replace(CHAMPION, model_version=2), readings("quality"), lost).decision == "yes"
    promoted = [*lost[:2], asked(lost[2].night, "promoted")]
    assert policy.decide(POLICY, night, CHAMPION, readings("quality"), promoted).decision == "yes"


def test_the_budget_of_retrainings_is_kept() -> None:
    few = replace(POLICY, budget=2, budget_days=100)
    spent = [asked(LATE, "promoted"), asked(LATE + timedelta(40), "promoted")]

    def made(days: int) -> policy.Decision:
        return policy.decide(few, LATE + timedelta(days), CHAMPION, readings("quality"), spent)

    assert made(99).reason.startswith("budget: 2 retrainings in 100 days, and 2 are allowed")
    assert made(100).decision == "yes"


def test_schedule_and_new_labels_are_sensors() -> None:
    old, due = date(2020, 9, 27), date(2020, 9, 28)
    assert not policy.schedule(POLICY, old, CHAMPION, 0).fired
    reading = policy.schedule(POLICY, due, CHAMPION, 0)
    assert (reading.fired, reading.reason) == (True, "the champion's data ended 120 days ago (120 fires)")
    assert not policy.new_labels(POLICY, due, CHAMPION, 0).fired
    wanted = replace(POLICY, max_label_days=60)
    assert [policy.new_labels(wanted, date(2020, 7, day), CHAMPION, 0).fired for day in (29, 30)] == [False, True]


def test_without_a_champion_there_is_nothing_to_retrain() -> None:
    made = policy.decide(POLICY, LATE, None, readings(*SENSORS))
    assert (made.decision, made.model_version) == ("no", None)


@given(
    fired=st.sets(st.sampled_from(SENSORS)),
    night=st.dates(date(2020, 6, 1), date(2021, 6, 1)),
    request=st.none() | st.dates(date(2020, 6, 1), date(2021, 6, 1)),
)
def test_policy_is_a_function_and_respects_its_cool_down(fired: set[str], night: date, request: date | None) -> None:
    requests = [asked(request)] if request else []
    made = policy.decide(POLICY, night, CHAMPION, readings(*fired), requests)
    assert made == policy.decide(POLICY, night, CHAMPION, readings(*fired)[::-1], requests)
    json.dumps(made.to_dict())
    assert made.evidence["fired"] == sorted(fired)
    if made.decision == "yes":
        assert (night - CHAMPION.trained_through).days >= 31
        assert request is None or abs((night - request).days) >= 31
        assert fired


# --- in the lake ---

NIGHT = FIRST + timedelta(29)


@pytest.fixture
def drifted(deployed: UseCase) -> UseCase:
    """A champion, and eight nights of inputs far from what it was trained on; the cool-down is five days."""
    write_days(deployed, NIGHT + timedelta(1), 9, shift=3.0)
    batch.predict("toy", NIGHT + timedelta(1), NIGHT + timedelta(9))
    monitor.measure("toy", NIGHT + timedelta(1), NIGHT + timedelta(8))
    return deployed


def test_every_decision_is_stored_and_stands(drifted: UseCase) -> None:
    made = {n: policy.decide_night("toy", NIGHT + timedelta(n)) for n in range(3, 8)}
    assert {n: decision["decision"] for n, decision in made.items()} == {3: "no", 4: "no", 5: "yes", 6: "no", 7: "no"}
    assert made[4]["reason"].startswith("cool-down: 4 days of new labels")
    assert made[6]["reason"].startswith(f"cool-down: a retraining was asked for on {NIGHT + timedelta(5)}")
    version = delta.version("gold", drifted.decisions_table)
    again = policy.decide_night("toy", NIGHT + timedelta(5))
    assert again == made[5] | {"created": False}
    assert delta.version("gold", drifted.decisions_table) == version
    table = policy.stored(drifted)
    assert table["partition_day"].to_list() == [NIGHT + timedelta(n) for n in range(3, 8)]
    assert json.loads(table["evidence"][2])["fired"] == made[5]["evidence"]["fired"]


def test_a_range_is_decided_on_as_its_nights_would_be_by_themselves(drifted: UseCase) -> None:
    one_by_one = [policy.decide_night("toy", NIGHT + timedelta(n)) for n in range(2, 9)]
    stored = policy.stored(drifted)
    shutil.rmtree(str(delta.table_path("gold", drifted.decisions_table)))
    assert policy.decide_nights("toy", NIGHT + timedelta(2), NIGHT + timedelta(8)) == one_by_one
    assert policy.stored(drifted).equals(stored)
    assert delta.version("gold", drifted.decisions_table) == 0, "one commit for all of them"
    assert "yes" in stored["decision"].to_list()


def test_a_range_keeps_the_decisions_that_are_there(drifted: UseCase) -> None:
    """That of night 6, which asked, makes the nights around it wait; it stays as it was."""
    asked = policy.decide_night("toy", NIGHT + timedelta(6))
    made = policy.decide_nights("toy", NIGHT + timedelta(4), NIGHT + timedelta(8))
    assert [one["decision"] for one in made] == ["no", "no", "yes", "no", "no"]
    assert made[2] == asked | {"created": False}
    assert made[1]["reason"].startswith(f"cool-down: a retraining was asked for on {NIGHT + timedelta(6)}")
    assert policy.stored(drifted).height == 5
    again = policy.decide_nights("toy", NIGHT + timedelta(4), NIGHT + timedelta(8))
    assert [one["created"] for one in again] == [False] * 5


def test_a_range_asks_for_one_training_as_of_its_end_and_again_for_the_same(
    drifted: UseCase, mlflow_store: None
) -> None:
    """Also where its nights were run one by one before, and one of them has asked."""
    asked, last = NIGHT + timedelta(5), NIGHT + timedelta(8)
    assert policy.train_as_of("toy", asked, last) == last
    trained = train.train("toy", asked, "cpu")
    assert policy.train_as_of("toy", asked, last) == asked
    assert train.train("toy", policy.train_as_of("toy", asked, last), "cpu")["version"] == trained["version"]
    assert policy.train_as_of("toy", asked + timedelta(1), last) == last


def test_what_a_decision_reads_does_not_grow_with_history(drifted: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.decide_nights("toy", FIRST, NIGHT + timedelta(8))
    read, scanned = delta.read_days, []

    def counted(layer: str, name: str, first: date, last: date, **kwargs: object) -> pl.DataFrame:
        scanned.append((first, last))
        return read(layer, name, first, last, **kwargs)

    monkeypatch.setattr(delta, "read_days", counted)
    policy.decide_night("toy", NIGHT + timedelta(8))
    assert len(scanned) == 3
    assert max((last - first).days for first, last in scanned) < (
        drifted.drift.budget_days + drifted.drift.cool_down_days
    )


def test_what_came_of_a_request_is_told_by_the_ledgers(toy: UseCase, mlflow_store: None) -> None:
    promotion.promote("toy", train.train("toy", NIGHT, "cpu")["version"])
    write_days(toy, NIGHT + timedelta(1), 9, shift=3.0)
    batch.predict("toy", NIGHT + timedelta(1), NIGHT + timedelta(9))
    night = NIGHT + timedelta(8)
    monitor.measure("toy", night, night)
    assert policy.decide_night("toy", night)["decision"] == "yes"

    def became(today: date) -> policy.Request:
        (one,) = policy.asked_for(toy, night, night, today)
        return one

    assert became(night + timedelta(1)).outcome == "open"
    assert became(night + timedelta(7)).outcome == "failed"
    trained = train.train("toy", night, "cpu")
    assert became(night + timedelta(7)).outcome == "open", "not judged yet"
    verdict = promotion.promote("toy", trained["version"])["verdict"]
    words: dict[str, policy.Outcome] = {"promote": "promoted", "wait": "waits", "refuse": "refused"}
    assert became(night).outcome == words[verdict]
    assert became(night).became.startswith("version 2 ")


def test_a_retraining_does_not_change_the_decision_that_asked_for_it(drifted: UseCase, mlflow_store: None) -> None:
    night = NIGHT + timedelta(5)
    asked = policy.decide_night("toy", night)
    assert asked["decision"] == "yes"
    trained = train.train("toy", night, "cpu")
    promotion.promote("toy", trained["version"])
    assert not monitor.measure("toy", night, night)["changed"]
    again = policy.decide_night("toy", night)
    assert (again["decision"], again["created"], again["differs"]) == ("yes", False, False)
    assert train.train("toy", night, "cpu")["version"] == trained["version"]


def test_different_data_is_said_and_the_decision_kept(drifted: UseCase) -> None:
    night = NIGHT + timedelta(5)
    policy.decide_night("toy", night)
    write_days(drifted, NIGHT + timedelta(1), 9)
    batch.predict("toy", NIGHT + timedelta(1), NIGHT + timedelta(9))
    monitor.measure("toy", NIGHT + timedelta(1), night)
    again = policy.decide_night("toy", night)
    assert (again["decision"], again["differs"]) == ("yes", True)


def test_a_night_that_was_not_measured_cannot_be_decided(drifted: UseCase) -> None:
    with pytest.raises(policy.NotMeasuredError, match=f"nothing for the night {NIGHT + timedelta(9)}: run `measure`"):
        policy.decide_night("toy", NIGHT + timedelta(9))


def test_before_the_first_champion_the_answer_is_no(toy: UseCase) -> None:
    assert policy.decide_night("toy", FIRST)["reason"].startswith("there is no champion yet")
