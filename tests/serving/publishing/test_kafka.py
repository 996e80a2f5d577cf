"""Events reach a real Kafka by key, in transactions: of what is committed nobody sees half a batch, or an older one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException

from include.contracts.publishing import ToKafka
from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.serving.publishing import content, kafka, ledger
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from include.serving.publishing.events import Batch, Events
from tests.ingestion.connectors.test_database import PASSWORD
from tests.kafka import broker, messages
from tests.serving.publishing.conftest import DAY, FIRST, NEXT, SECOND, publish, score, verbs

type Use = Callable[..., UseCase]
TOPICS = [f"scores-{n}" for n in range(8)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker(tmp_path_factory.mktemp("kafka") / "broker", *TOPICS) as found:
        yield found


@pytest.fixture
def target(address: str, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ToKafka:
    """A topic of this test's own."""
    monkeypatch.setenv("AIRFLOW_CONN_EVENTS", json.dumps({"conn_type": "kafka", "host": address}))
    return ToKafka(connection="events", topic=TOPICS.pop(), batch=2, timeout=30)


def held(address: str, topic: str) -> dict[str, float]:
    """What a reader has that keeps of each key the highest revision."""
    found: dict[str, tuple[int, Any]] = {}
    for message in messages(address, topic):
        key, headers = json.loads(message.key()), dict(message.headers())
        name = f"{key['flight_date']} {key['coin_id']}"
        if int(headers["revision"]) > found.get(name, (0, None))[0]:
            found[name] = (int(headers["revision"]), message.value() and json.loads(message.value()))
    return {name: row["score"] for name, (_, row) in sorted(found.items()) if row}


def expected(scores: dict[str, float]) -> dict[str, float]:
    return {f"{DAY} {coin}": value for coin, value in scores.items()} | {f"{NEXT} coin 7": 0.7}


def test_each_key_is_a_message_and_what_is_gone_a_tombstone(use: Use, target: ToKafka, address: str) -> None:
    case = use(target)
    assert verbs(case) == ["sent", "sent"]
    assert held(address, target.topic) == expected(FIRST)
    assert verbs(case) == ["same", "same"]
    assert len(messages(address, target.topic)) == 7
    score(case, DAY, SECOND)
    assert verbs(case) == ["sent", "same"]
    assert held(address, target.topic) == expected(SECOND)
    (gone,) = [one for one in messages(address, target.topic) if one.value() is None]
    assert (json.loads(gone.key())["coin_id"], dict(gone.headers())["revision"]) == ("coin 2", b"2")


def test_a_batch_that_fails_in_the_middle_shows_nothing_of_itself(
    use: Use, target: ToKafka, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, made, times = use(target), kafka.KafkaSender._produce, iter(range(100))

    def breaking(self: Any, batch: Batch, event: Any) -> None:
        made(self, batch, event)
        if next(times) == 2:  # the first event of the second batch is on its way
            self.producer.flush(10)
            raise TargetAwayError("the line is cut")

    monkeypatch.setattr(kafka.KafkaSender, "_produce", breaking)
    with pytest.raises(TargetAwayError, match="the line is cut"):
        publish(case)
    assert len(messages(address, target.topic)) == 2
    assert verbs(case) == ["sent", "sent"]
    assert held(address, target.topic) == expected(FIRST)


def test_a_second_publisher_fences_the_first_one_off(use: Use, target: ToKafka, address: str) -> None:
    """As on two machines, which share no lease."""
    case = use(target)
    day = next(content.days(case, [DAY]))
    first = kafka.KafkaSender(case, target)
    second = Events(case, "kafka", 2, lambda: kafka.KafkaSender(case, target), "second")
    assert second.send(day).verb == "sent"
    late = Batch(
        "toy", str(DAY), 1, "older", 0, 1, [{"key": {"coin_id": "x"}, "revision": 9, "deleted": False, "row": {}}]
    )
    with pytest.raises(TargetAwayError, match="another publisher of the same has begun since"):
        first.send(late)
    assert len(messages(address, target.topic)) == 6


class Mute:
    """A client that ends a wait by neither an answer nor an error, as one did that had been fenced off."""

    def __init__(self, producer: Any) -> None:
        self.producer = producer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.producer, name)

    def flush(self, timeout: float) -> int:
        with suppress(KafkaException, SystemError):
            self.producer.flush(timeout)
        raise SystemError("<method 'flush' of 'cimpl.Producer' objects> returned NULL without setting an exception")


def test_a_client_without_a_word_is_told_by_what_it_had_reported(use: Use, target: ToKafka) -> None:
    case = use(target)
    first = kafka.KafkaSender(case, target)
    kafka.KafkaSender(case, target)  # a second one
    first.producer = Mute(first.producer)
    late = Batch(
        "toy", str(DAY), 1, "older", 0, 1, [{"key": {"coin_id": "x"}, "revision": 9, "deleted": False, "row": {}}]
    )
    with pytest.raises(TargetAwayError, match="another publisher of the same has begun since"):
        first.send(late)


def test_a_topic_that_is_not_there_is_not_made(use: Use, target: ToKafka) -> None:
    with pytest.raises(TargetRefusedError, match=r"Kafka's topic nowhere by the connection events.*make it, or mend"):
        publish(use(ToKafka(connection="events", topic="nowhere", timeout=10)))


def test_no_broker_is_told(use: Use, target: ToKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_EVENTS", json.dumps({"conn_type": "kafka", "host": "127.0.0.1", "port": 1}))
    with pytest.raises(TargetAwayError, match=r"Kafka's topic .* by the connection events"):
        publish(use(ToKafka(connection="events", topic="any", timeout=2)))


def test_a_login_is_sent_over_tls_and_settings_that_load_code_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.ingestion.connectors.connections import connection

    given = {"conn_type": "kafka", "host": "one:9093,two", "login": "me", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_EVENTS", json.dumps(given))
    assert kafka.login_of("events", connection("events")) == {
        "bootstrap.servers": "one:9093,two:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me",
        "sasl.password": PASSWORD,
    }
    monkeypatch.setenv("AIRFLOW_CONN_EVENTS", json.dumps(given | {"extra": {"plugin.library.paths": "/tmp/x.so"}}))
    with pytest.raises(
        NeedsAttentionError, match=r"has plugin.library.paths, which a connection may not say"
    ) as raised:
        kafka.login_of("events", connection("events"))
    assert PASSWORD not in str(raised.value)


def test_how_far_it_came_is_in_the_ledger(use: Use, target: ToKafka) -> None:
    case = use(target)
    publish(case)
    line = ledger.last(case, "kafka", DAY)
    assert line is not None
    assert (line.revision, line.batches, line.done, line.changed) == (1, 3, 3, 6)
