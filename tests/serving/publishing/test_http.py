"""Events reach an API once by key and revision, whatever it answers and whenever the publisher ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from include.contracts.publishing import ToHttp
from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.lake import delta
from include.serving import publishing
from include.serving.publishing import content, events, http, ledger
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from tests.ingestion.connectors.test_database import PASSWORD
from tests.serving.publishing.conftest import DAY, FIRST, NEXT, SECOND, Receiver, publish, score, verbs

TARGET = ToHttp(connection="receiver", path="v1/scores", batch=2, tries=3, backoff=0.01)
type Use = Callable[..., UseCase]


def expected(scores: dict[str, float]) -> dict[str, float]:
    return {f"{DAY} {coin}": value for coin, value in scores.items()} | {f"{NEXT} coin 7": 0.7}


def test_every_key_comes_in_batches_with_what_a_reader_needs(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    assert verbs(case) == ["sent", "sent"]
    assert receiver.held == expected(FIRST)
    assert [len(one["body"]["events"]) for one in receiver.requests] == [2, 2, 2, 1]
    first = receiver.requests[0]
    assert first["headers"]["Authorization"] == f"Bearer {PASSWORD}"
    assert first["body"]["events"][0] == {
        "key": {"flight_date": "2020-02-01", "coin_id": "coin 0"},
        "revision": 1,
        "deleted": False,
        "row": {
            "flight_date": "2020-02-01",
            "coin_id": "coin 0",
            "score": 0.0,
            "model_version": 1,
            "scored_by": "champion",
            "revision": 1,
        },
    }
    assert {key: first["body"][key] for key in ("use_case", "day", "revision", "batch", "batches")} == {
        "use_case": "toy",
        "day": "2020-02-01",
        "revision": 1,
        "batch": 0,
        "batches": 3,
    }
    assert len({one["key"] for one in receiver.requests}) == 4


def test_again_nothing_is_sent(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    publish(case)
    version = delta.version("gold", case.published_table)
    receiver.requests.clear()
    assert verbs(case) == ["same", "same"]
    assert receiver.requests == []
    assert delta.version("gold", case.published_table) == version


def test_a_rescored_day_sends_what_has_changed_and_withdraws_what_is_gone(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    publish(case)
    receiver.requests.clear()
    score(case, DAY, SECOND)
    first, other = publish(case)
    assert (first.verb, first.revision, first.changed, first.gone, other.verb) == ("sent", 2, 2, 1, "same")
    assert receiver.held == expected(SECOND)
    sent = [event for one in receiver.requests for event in one["body"]["events"]]
    assert [(event["key"]["coin_id"], event["revision"], event["deleted"]) for event in sent] == [
        ("coin 1", 2, False),
        ("coin 2", 2, True),
        ("coin 6", 2, False),
    ]
    # A withdrawn one may come back.
    score(case, DAY, FIRST)
    publish(case)
    assert receiver.held == expected(FIRST)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_pass_is_tried_again_with_the_same_key(use: Use, receiver: Receiver, status: int) -> None:
    case = use(TARGET)
    receiver.answers = [(status, ""), (status, "")]
    assert verbs(case) == ["sent", "sent"]
    keys = [one["key"] for one in receiver.requests]
    assert len(keys) == 6
    assert keys[0] == keys[1] == keys[2]
    assert receiver.requests[0]["body"] == receiver.requests[2]["body"]


def test_a_wait_that_is_asked_for_is_waited_or_left_to_the_next_try(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    receiver.answers = [(429, "1")]
    publish(case, DAY, DAY)
    assert receiver.requests[1]["at"] - receiver.requests[0]["at"] >= 1
    receiver.answers = [(503, "4000")]
    with pytest.raises(
        TargetAwayError, match=r"v1/scores of the connection receiver, 2020-02-02 batch 1 of 1: 503, come"
    ):
        publish(case)
    assert verbs(case) == ["same", "sent"]
    assert receiver.held == expected(FIRST)


@pytest.mark.parametrize(
    ("status", "mends"),
    [
        (400, "Look at what the receiver wants"),
        (401, "Look at the password"),
        (404, "Look at the path"),
        (413, "a smaller batch"),
        (302, "A redirect is not followed"),
        (422, "does not take these events"),
    ],
)
def test_what_does_not_pass_is_for_a_person_and_said_without_the_token(
    use: Use, receiver: Receiver, status: int, mends: str
) -> None:
    case = use(TARGET)
    receiver.answers = [(200, ""), (status, "")]
    with pytest.raises(TargetRefusedError, match=f"2020-02-01 batch 2 of 3: {status} .*{mends}") as raised:
        publish(case)
    assert PASSWORD not in str(raised.value)
    assert len(receiver.requests) == 2
    assert verbs(case) == ["sent", "sent"]
    assert receiver.held == expected(FIRST)


def test_an_answer_that_is_lost_has_the_batch_come_again_and_nothing_twice(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    receiver.lost = 1
    assert verbs(case) == ["sent", "sent"]
    assert receiver.requests[0]["key"] == receiver.requests[1]["key"]
    assert receiver.held == expected(FIRST)
    assert {revision for revision, _ in receiver.rows.values()} == {1}


def test_what_was_begun_and_is_rescored_meanwhile_ends_at_the_new_scores(use: Use, receiver: Receiver) -> None:
    """Two of three batches came, the second without an answer; then the day is scored anew, partly as before."""
    case = use(TARGET)
    receiver.answers = [(200, ""), (404, "")]
    with pytest.raises(TargetRefusedError):
        publish(case)
    # coin 2 and 3 were in the batch that was refused; coin 4 and 5 in one that never came; coin 4 is gone now.
    new = {"coin 0": 0.0, "coin 1": 0.1, "coin 2": 0.2, "coin 3": 0.33, "coin 5": 0.5}
    score(case, DAY, new)
    assert verbs(case) == ["sent", "sent"]
    assert receiver.held == expected(new)


def test_who_scores_while_it_is_planned_is_not_published_half(
    use: Use, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, planned, times = use(TARGET), events.plan, iter([True, False])

    def scoring(*given: Any) -> Any:
        found = planned(*given)
        if next(times, False):
            score(case, DAY, SECOND)
        return found

    monkeypatch.setattr(events, "plan", scoring)
    publish(case)
    assert receiver.held == expected(SECOND)
    assert {revision for revision, _ in receiver.rows.values()} == {1}


def test_two_publishers_at_once_send_each_event_once(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(lambda _: verbs(case), range(2))) == [["same", "same"], ["sent", "sent"]]
    assert receiver.held == expected(FIRST)
    assert len(receiver.requests) == 4


def test_an_older_reading_sends_nothing(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    older = next(content.days(case, [DAY]))
    score(case, DAY, SECOND)
    publish(case)
    receiver.requests.clear()
    late = events.Events(case, "http", 2, lambda: http.HttpSender(TARGET), "late")
    assert late.send(older).verb == "newer"
    assert receiver.requests == []


def test_another_size_of_batches_does_not_change_what_was_begun(use: Use, receiver: Receiver) -> None:
    case = use(TARGET)
    receiver.answers = [(200, ""), (404, "")]
    with pytest.raises(TargetRefusedError):
        publish(case)
    failed = receiver.requests[-1]
    case = use(ToHttp(connection="receiver", path="v1/scores", batch=500))
    publish(case)
    again = receiver.requests[2]
    assert (again["key"], again["body"]) == (failed["key"], failed["body"])


def test_a_dry_run_asks_nobody(use: Use, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    case = use(TARGET)
    assert [one.verb for _, one in publishing.foresee(case, TARGET, DAY, NEXT)] == ["sent", "sent"]
    assert receiver.requests == []
    assert ledger.last(case, "http", DAY) is None


def test_a_password_goes_over_no_plain_line(use: Use, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"conn_type": "http", "host": "http://scores.example.com", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_RECEIVER", json.dumps(found))
    with pytest.raises(NeedsAttentionError, match="everybody on the way could read"):
        publish(use(TARGET))
