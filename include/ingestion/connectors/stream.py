"""Events from a folder or from Kafka → a spool → JSON lines: what has arrived by the end of the night."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import IO, TYPE_CHECKING

from include.contracts.connectors import Folder, Kafka, Stream
from include.contracts.source import Compression, Feed, Mode, Source, table
from include.core import locks
from include.core.settings import settings
from include.ingestion.connectors import lines, turns
from include.ingestion.connectors.connections import connection
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.counting import columns, jsonl
from include.lake import spark as lake
from spark_jobs import stream as job

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming.query import StreamingQuery
    from upath import UPath

log = logging.getLogger(__name__)

MOST = 10_000  # characters that are kept of an event that is no JSON object
NEVER = "36500d"  # Spark would pass over a file a week older than the newest one
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
# What a connection may say of a client of Kafka: where and how, and nothing that names a class to be loaded.
SETTINGS = re.compile(
    r"bootstrap\.servers|security\.protocol|sasl\.mechanism|client\.(id|rack|dns\.lookup)|isolation\.level|check\.crcs"
    r"|ssl\.(truststore|keystore|key)\.[a-z.]+|ssl\.(protocol|enabled\.protocols|cipher\.suites)"
    r"|ssl\.endpoint\.identification\.algorithm|[a-z.]+\.(ms|bytes|records)"
)
NO_KAFKA = "Failed to find data source: kafka"
# What Kafka says that no other try will mend, and what will.
FOR_A_PERSON = {
    "failOnDataLoss|may have been lost": (
        "events have gone from Kafka before they were spooled: its retention is shorter than the time since the last "
        "night, or the topic was made anew. To go on without them, run one night with failOnDataLoss=false among the "
        "options of the Stream in the spec"
    ),
    "(Sasl|Ssl)?AuthenticationException|SSLHandshake|Login ?Exception": "look at the login, the password and the extra",
    "AuthorizationException": "give its login the right to read the topic",
    "UnknownTopicOrPartition": "there is no such topic: make it, or mend the spec",
    "No resolvable bootstrap urls|Invalid url in bootstrap": "look at the host",
}


def fetch(connector: Stream, source: Source, feed: Feed, day: date, part: UPath) -> bool:
    """Catch up, cut the night of ``day`` and write its events to ``part``. Returns whether the night has a file."""
    spark, spool, night = lake.apache_spark("the connector of streams"), spool_of(source, feed), str(feed.night(day))
    lake.create_layers(spark)
    with turns.turn(spool):
        with told(connector):
            job.start(spark, job_of(connector, spool)).awaitTermination()
        job.cut(spark, f"bronze.{spool}", night)
    events = job.of_night(spark, f"bronze.{spool}", night)
    values = (event["value"] for event in events.toLocalIterator())
    count = lines.write(part, feed.compression is Compression.GZIP, lines_of(values, feed))
    log.info("%s %s: %d events", spool, night, count)
    return count > 0 or feed.mode is Mode.UPSERT


def spool_of(source: Source, feed: Feed) -> str:
    """The table in bronze that has the events of ``feed`` as they come, without the layer."""
    return f"{table(source, feed)}__stream"


def lines_of(events: Iterable[str | None], feed: Feed) -> Iterator[str]:
    """``events`` as the lines of a landing file of ``feed``.

    A file may have a few keys that its feed does not name, and with more is refused as another feed's: an event that
    brings so many is taken for one that is no row.
    """
    promised, new = {column.in_file for column in feed.columns}, set[str]()
    key = next(column.in_file for column in feed.columns if column.name == feed.key[0])
    for event in events:
        line = line_of(event, key)
        keys = set(json.loads(line)) - promised
        if columns.too_strange(new | keys):
            line = wrapped(event, key)
        else:
            new |= keys
        yield line


def line_of(event: str | None, key: str) -> str:
    """``event`` as a line of a landing file, of a feed whose first key is ``key``.

    One that is no JSON object would have the file refused, with all others in it. As the key of an object, where no
    type takes it, it breaks its contract alone, goes to the quarantine, and is no copy of another one.
    """
    # Between the tokens of an object its writer may have broken the line; within one JSON has no line breaks.
    line = re.sub(r"[\r\n]+", " ", event or "")
    return line if jsonl.is_row(line) else wrapped(event, key)


def wrapped(event: str | None, key: str) -> str:
    """``event`` as a line that breaks its contract alone."""
    return json.dumps({key: {"_event": event and event[:MOST]}})


def job_of(connector: Stream, spool: str) -> job.Job:
    """What Spark is asked to spool. The options may hold a password: not for a log."""
    match connector.events:
        case Folder(path):
            folder = settings().var / path
            if not folder.is_dir():
                raise RefusedError(f"{folder} is no folder: make it, or mend the path in the spec")
            kind, options = "text", {"path": str(folder), "wholetext": "true", "maxFileAge": NEVER}
        case Kafka(name, topic):
            kind, options = "kafka", {"subscribe": topic, "startingOffsets": "earliest"}
            options |= login_of(name, connection(name))
    return {"format": kind, "options": options | dict(connector.options), "spool": f"bronze.{spool}"}


def login_of(name: str, login: Connection) -> dict[str, str]:
    """How to reach Kafka and log in, in Spark's words."""
    if not login.host:
        raise RefusedError(f"the connection {name} names no host: the brokers, with commas between")
    brokers = [broker if ":" in broker else f"{broker}:{login.port or 9092}" for broker in login.host.split(",")]
    client = {"bootstrap.servers": ",".join(brokers)}
    if login.login:
        client |= {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
    client |= {key: str(value) for key, value in login.extra_dejson.items()}
    if strange := sorted(key for key in client if not SETTINGS.fullmatch(key)):
        raise RefusedError(
            f"the extra of the connection {name} has {', '.join(strange)[:300]}, which a connection may not say: some "
            "settings load code. What is not secret can be an option of the Stream in the spec"
        )
    if login.login:
        module = SCRAM if client["sasl.mechanism"].startswith("SCRAM") else PLAIN
        user, password = quoted(login.login), quoted(login.password or "")
        client["sasl.jaas.config"] = f"{module} required username={user} password={password};"
    return {f"kafka.{key}": value for key, value in client.items()}


def quoted(text: str) -> str:
    """``text`` as a value in a login of JAAS."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def brief(error: Exception) -> str:
    """What Spark says went wrong, in a line. That its server is gone it says in several."""
    text = str(error).strip()
    details = re.search(r'details = "([^"\n]*)', text) if text.startswith("<") else None
    return details[1] if details else text.partition("\n")[0]


@contextmanager
def told(connector: Stream) -> Iterator[None]:
    """Errors of Spark in a line. The others tell the query's plan, and with it the options that it was given."""
    from pyspark.errors import PySparkException

    events = connector.events
    where = str(settings().var / events.path) if isinstance(events, Folder) else f"Kafka's topic {events.topic}"
    try:
        yield
    except PySparkException as error:
        first, said = brief(error), f"{error}\n{getattr(error, '_stacktrace', None) or ''}"
        if NO_KAFKA in first:
            raise RefusedError(
                f"{where}: Spark has no reader of Kafka. Give it the four jars that docs/connectors.md names"
            ) from None
        for pattern, mends in FOR_A_PERSON.items():
            if isinstance(events, Kafka) and re.search(pattern, said):
                # Not what Spark says of it: that may repeat what the client was told.
                raise RefusedError(f"{where} by the connection {events.connection}: {mends}") from None
        raise UpstreamError(f"{where}: {first}") from None


class Continuous:
    """The query of a feed that goes on for ever, and makes room for the night's task that catches up and cuts."""

    def __init__(self, source: Source, feed: Feed, every: float) -> None:
        if not isinstance(feed.connector, Stream):
            raise TypeError(f"feed {feed.name} is fetched from no stream")
        if settings().lease_connection:
            raise RefusedError(
                f"on several machines the nights spool {spool_of(source, feed)} as they begin, one at a time: a "
                "query that goes on for ever would not see that another machine waits for it to make room"
            )
        self.connector, self.spool, self.every = feed.connector, spool_of(source, feed), every
        self.query: StreamingQuery | None = None
        self._lock: IO[str] | None = None

    def step(self, spark: SparkSession) -> None:
        """Start, go on, or make room; to be called every second or so. Raises what ended the query."""
        if not self.query:
            self._lock = locks.taken(turns.spooling(self.spool))
            if self._lock:
                with told(self.connector):
                    self.query = job.start(spark, job_of(self.connector, self.spool), self.every)
        elif turns.is_taken(turns.waiting(self.spool)):
            self.stop()
        elif not self.query.isActive:
            error = self.query.exception()
            self.stop()
            with told(self.connector):
                if error:
                    raise error

    def stop(self) -> None:
        """End the query, which loses nothing: what is under way is done again by the next one."""
        from pyspark.errors import PySparkException

        query, lock, self.query, self._lock = self.query, self._lock, None, None
        try:
            if query:
                query.stop()
        except PySparkException as error:
            # Its server may be gone, and it with that. If not, Spark stops it when the next one starts.
            log.warning("%s: %s", self.spool, brief(error))
        finally:
            if lock:
                lock.close()
