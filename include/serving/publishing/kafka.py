"""Batches of events → messages of a Kafka topic, a transaction a batch.

Who reads committed messages sees a batch whole or not at all. The transactional id is of use case and target: a second
publisher of the same fences the first one off, on whichever machines they are.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from include.contracts.publishing import ToKafka
from include.contracts.use_case import UseCase
from include.ingestion.connectors.connections import connection
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from include.serving.publishing.events import Batch, Event

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from confluent_kafka import KafkaError, Message

log = logging.getLogger(__name__)

# What a connection may say of the client: where and how, and nothing that names code to be loaded.
SETTINGS = re.compile(
    r"security\.protocol|sasl\.mechanisms?|client\.(id|rack)|broker\.address\.family|message\.max\.bytes"
    r"|ssl\.(ca|certificate|key|crl)\.location|ssl\.key\.password|ssl\.ca\.pem|ssl\.endpoint\.identification\.algorithm"
    r"|(socket|reconnect|retry|message|request|metadata|linger|queue)\.[a-z.]*ms|compression\.type"
)
MENDS = {
    "TOPIC_AUTHORIZATION_FAILED": "Give its login the right to write to the topic",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "Give its login the right to write by the transactional id nocturne.*",
    "CLUSTER_AUTHORIZATION_FAILED": "Give its login the right to write idempotently",
    "SASL_AUTHENTICATION_FAILED": "Look at the login, the password and the extra of the connection",
    "_AUTHENTICATION": "Look at the login, the password and the extra of the connection",
    "_SSL": "Look at the certificates in the extra of the connection",
    "UNKNOWN_TOPIC_OR_PART": "There is no such topic: make it, or mend the spec",
    "_UNKNOWN_TOPIC": "There is no such topic: make it, or mend the spec",
    "_UNKNOWN_PARTITION": "There is no such topic: make it, or mend the spec",
    "TOPIC_EXCEPTION": "That is no name of a topic: mend the spec",
    "MSG_SIZE_TOO_LARGE": "A message is larger than the topic takes",
    "RECORD_LIST_TOO_LARGE": "Give the target a smaller batch in the spec",
    "POLICY_VIOLATION": "A policy of the cluster refuses it",
}
FENCED = ("_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED")


class KafkaSender:
    """A topic that is reached."""

    def __init__(self, case: UseCase, target: ToKafka) -> None:
        from confluent_kafka import Producer

        self.target = target
        self.where = f"Kafka's topic {target.topic} by the connection {target.connection}"
        settings = login_of(target.connection, connection(target.connection))
        self.failed: list[KafkaError] = []
        self.said: list[KafkaError] = []
        milliseconds = int(target.timeout * 1000)
        self.producer = Producer(
            settings
            | {
                "transactional.id": f"nocturne.{case.name}.{target.name}",
                "transaction.timeout.ms": milliseconds,
                "message.timeout.ms": milliseconds,
                "error_cb": self.said.append,
                "log_level": 0,
            },
            logger=log,
        )
        with self._told():
            self._require_topic()
            self.producer.init_transactions(target.timeout)

    def close(self) -> None:
        self.producer.purge()
        self.producer.flush(1)

    def send(self, batch: Batch) -> None:
        """Bring a batch into the topic, whole. Raises TargetRefusedError, TargetAwayError."""
        from confluent_kafka import KafkaException

        with self._told():
            self.failed.clear()
            self.producer.begin_transaction()
            try:
                for event in batch.events:
                    self._produce(batch, event)
                left = self.producer.flush(self.target.timeout)
                if self.failed:
                    raise KafkaException(self.failed[0])
                if left:
                    raise TargetAwayError(f"{self.where}: {left} messages are still on their way")
                self.producer.commit_transaction(self.target.timeout)
            except BaseException:
                self._abort()
                raise

    def _produce(self, batch: Batch, event: Event) -> None:
        headers = {
            "use_case": batch.use_case,
            "revision": str(event["revision"]),
            "deleted": str(event["deleted"]).lower(),
            "content": batch.content,
        }
        value = None if event["row"] is None else json.dumps(event["row"], allow_nan=False)
        while True:
            try:
                self.producer.produce(
                    self.target.topic,
                    key=json.dumps(event["key"]),
                    value=value,
                    headers=list(headers.items()),
                    on_delivery=self._delivered,
                )
                break
            except BufferError:  # the client holds as many as it may
                self.producer.poll(0.1)
        self.producer.poll(0)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(error)

    def _abort(self) -> None:
        from confluent_kafka import KafkaException

        try:
            self.producer.abort_transaction(10)
        except KafkaException as error:  # the broker aborts it when the next one begins
            self.said.append(error.args[0])
            log.warning("%s: the transaction was not aborted: %s", self.where, error)

    def _require_topic(self) -> None:
        """Raise KafkaException, TargetRefusedError where the topic is not there: it is made by nobody by the way."""
        from confluent_kafka import KafkaException

        found = self.producer.list_topics(self.target.topic, timeout=self.target.timeout)
        error = found.topics[self.target.topic].error
        if error is not None:
            raise KafkaException(error)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the client in a line, with what to do."""
        from confluent_kafka import KafkaException

        try:
            yield
        except (KafkaException, SystemError) as raised:
            # Where the client has raised already when a message is reported, Python says that, and what it was behind.
            # It may say as well that the client raised nothing, where it should have: what was reported tells then.
            error = raised if isinstance(raised, KafkaException) else raised.__cause__
            errors = [error.args[0]] if isinstance(error, KafkaException) else self.failed
            if not [*errors, *self.said]:
                raise
            raise self._of([*errors, *self.said]) from None

    def _of(self, errors: Sequence[KafkaError]) -> TargetRefusedError | TargetAwayError:
        """What the first of ``errors`` means that says more than that it failed."""
        for error in errors:
            if mends := MENDS.get(error.name()):
                return TargetRefusedError(f"{self.where}: {error.str()}. {mends}")
        if any(error.name() in FENCED for error in errors):
            return TargetAwayError(f"{self.where}: another publisher of the same has begun since")
        return TargetAwayError(f"{self.where}: {errors[0].str()}")


def login_of(name: str, login: Connection) -> dict[str, Any]:
    """How to reach Kafka and log in, in librdkafka's words. Raises TargetRefusedError."""
    if not login.host:
        raise TargetRefusedError(f"the connection {name} names no host: the brokers, with commas between")
    brokers = [broker if ":" in broker else f"{broker}:{login.port or 9092}" for broker in login.host.split(",")]
    extra = {key: str(value) for key, value in login.extra_dejson.items()}
    if strange := sorted(key for key in extra if not SETTINGS.fullmatch(key)):
        raise TargetRefusedError(
            f"the extra of the connection {name} has {', '.join(strange)[:300]}, which a connection may not say"
        )
    found: dict[str, Any] = {"bootstrap.servers": ",".join(brokers)}
    if login.login:
        found |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
        found |= {"sasl.username": login.login, "sasl.password": login.password or ""}
    return found | extra
