"""A real Kafka broker on loopback: Apache Kafka itself, which needs Java alone, with its log in a folder."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from include.core.locks import alone
from include.core.settings import Settings
from include.local import jars
from tests.s3 import free_port

KAFKA = jars.Jars(packages=("org.apache.kafka:kafka_2.13:4.1.0",), excludes=("org.apache.logging.log4j:*",), sums="")
JAVA = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@contextmanager
def broker(folder: Path, *topics: str) -> Iterator[str]:
    """The address of a broker that runs meanwhile, alone, with ``topics`` of two partitions."""
    settings = Settings()
    own = settings.jars.parent / "kafka"
    with alone(own / ".lock"):
        if not (own / "jars").exists():
            jars.resolve(settings, KAFKA, own)
    path = ":".join([f"{own / 'jars'}/*", *map(str, _of_spark())])
    port, controller = free_port(), free_port()
    folder.mkdir(parents=True)
    (folder / "server.properties").write_text(
        f"process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n"
        f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n"
        f"log.dirs={folder / 'data'}\nauto.create.topics.enable=false\noffsets.topic.replication.factor=1\n"
        "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
        "transaction.state.log.num.partitions=1\noffsets.topic.num.partitions=1\n"
    )
    format_ = [*JAVA, "-cp", path, "kafka.tools.StorageTool", "format", "-t", "bm9jdHVybmVub2N0dXJuZQ"]
    subprocess.run([*format_, "-c", str(folder / "server.properties")], check=True, capture_output=True)
    start = [*JAVA, "-cp", path, "kafka.Kafka", str(folder / "server.properties")]
    with (folder / "log").open("w") as log, subprocess.Popen(start, stdout=log, stderr=log) as running:
        try:
            admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
            until = time.monotonic() + 90
            while True:
                assert running.poll() is None, (folder / "log").read_text()[-2000:]
                try:
                    admin.list_topics(timeout=2)
                    break
                except KafkaException:
                    assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
            make(f"127.0.0.1:{port}", *topics)
            yield f"127.0.0.1:{port}"
        finally:
            running.terminate()


def make(address: str, *topics: str) -> None:
    """Make topics of two partitions."""
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    for one in topics:
        admin.create_topics([NewTopic(one, 2, 1)], request_timeout=60)[one].result()


def _of_spark() -> list[Path]:
    """What Kafka needs and Spark has already: Spark's resolver does not fetch it."""
    import pyspark

    folder = Path(pyspark.__file__).parent / "jars"
    return [file for name in ("scala-library", "log4j-api", "log4j-core") for file in folder.glob(f"{name}-*.jar")]


def messages(address: str, topic: str) -> list[Message]:
    """Every message of a topic that was committed, in the order of each partition."""
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "tests", "isolation.level": "read_committed", "log_level": 0}
        | {"enable.auto.commit": False, "enable.partition.eof": False}
    )
    found: list[Message] = []
    try:
        for partition in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
            consumer.assign([TopicPartition(topic, partition, low)])
            while consumer.position([TopicPartition(topic, partition)])[0].offset < high:
                message = consumer.poll(0.5)
                if message is None:
                    if consumer.position([TopicPartition(topic, partition)])[0].offset >= high - 1:
                        break  # the last of a partition is the mark of its transaction
                    continue
                assert message.error() is None
                found.append(message)
    finally:
        consumer.close()
    return found
