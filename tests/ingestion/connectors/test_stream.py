"""A stream of events becomes landing files, a night each: every event in exactly one, whatever is killed meanwhile.

On a real Spark with Delta. An event arrives when its file is written, so that a file's time says which night it is for.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pyspark.errors import PySparkException

from include.contracts.connectors import Folder, Kafka, Stream
from include.contracts.source import Column, Compression, Feed, Format, Mode, Source
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import ingest, landing
from include.ingestion.connectors import fetch as module
from include.ingestion.connectors import lines, stream, turns
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.connectors.fetch import extract, fetch
from include.lake import delta, maintain
from include.lake import spark as lake
from spark_jobs import stream as job

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PASSWORD = 'not"to\\see'
ONE, TWO, THREE = (date(2020, 6, day) for day in (1, 2, 3))
CLICKS = Feed(
    name="clicks",
    description="clicks",
    columns=(
        Column("click", "int", "which", required=True),
        Column("day", "date", "the day", required=True),
        Column("place", "string", "where"),
    ),
    key=("click",),
    day_column="day",
    late_days=5,
    format=Format.JSONL,
    compression=Compression.GZIP,
    connector=Stream(Folder("events")),
    max_quarantined_share=0.9,
    retention_days=1,
)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, ONE, (CLICKS,))
SPOOL = "toys__clicks__stream"


def click(number: int, day: date = ONE) -> str:
    return json.dumps({"click": number, "day": str(day), "place": f"here {number}"})


@pytest.fixture
def put(home: Path) -> Callable[..., None]:
    """Puts a file of events where the stream looks, as if it had been written at a time, UTC."""
    (home / "events").mkdir()

    def add(name: str, at: str, *events: str | bytes) -> None:
        hidden = home / f".{name}"
        hidden.write_bytes(b"".join((one if isinstance(one, bytes) else one.encode()) + b"\n" for one in events))
        then = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
        os.utime(hidden, (then, then))
        hidden.rename(home / "events" / name)

    return add


@pytest.fixture(autouse=True)
def _lake(spark: SparkSession, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(lake, "session", lambda *_: spark)
    yield
    for layer in lake.LAYERS:
        spark.sql(f"DROP SCHEMA IF EXISTS {layer} CASCADE")


def rows_of(day: date) -> list[str]:
    """What the landing file of ``day`` has; nothing where there is none."""
    path = landing.path_of(SOURCE, CLICKS, day)
    return gzip.decompress(path.read_bytes()).decode().splitlines() if path.exists() else []


def run(first: date, last: date, source: Source = SOURCE) -> None:
    """Nights as one run of their DAG."""
    nights = Partitions(first, last)
    extract(source, nights)
    plan = landing.plan(source, nights)
    candidates = ingest.load(source, nights, plan)
    audited = ingest.audit(source, nights, plan, candidates)
    ingest.publish_all(source, nights, plan, candidates, audited)
    ingest.discard(candidates, audited)


def bronze(name: str, *columns: str) -> list[tuple[Any, ...]]:
    rows = delta.read_all("bronze", name, columns=list(columns))
    return sorted(rows.with_columns(pl.col(pl.Date).cast(pl.String)).rows())


def test_a_stream_ends_in_the_same_bronze_as_files_that_were_put_there(put: Callable[..., None]) -> None:
    """Events around midnight, one that comes late, a copy, and lines that are blank or end as in Windows."""
    put("b c.jsonl", "2020-06-01T08:00:00", click(1), click(2) + "\r", "", click(2))
    put("a.jsonl", "2020-06-01T23:59:59", click(3))
    put("d.jsonl", "2020-06-02T00:00:00", click(4), click(5, TWO))
    run(ONE, TWO)
    assert rows_of(ONE) == [click(3), click(1), click(2), click(2)]
    assert rows_of(TWO) == [click(4), click(5, TWO)]
    columns = ("partition_day", "ingestion_date", "click", "place")
    streamed = bronze("toys__clicks", *columns)
    assert [row[:3] for row in streamed] == [
        ("2020-06-01", "2020-06-01", 1),
        ("2020-06-01", "2020-06-01", 2),
        ("2020-06-01", "2020-06-01", 3),
        ("2020-06-01", "2020-06-02", 4),
        ("2020-06-02", "2020-06-02", 5),
    ]

    plain = replace(SOURCE, name="batch", feeds=(replace(CLICKS, connector=None),))
    for day in (ONE, TWO):
        path = landing.path_of(plain, plain.feeds[0], day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress("".join(f"{row}\n" for row in rows_of(day)).encode()))
    run(ONE, TWO, plain)
    assert bronze("batch__clicks", *columns) == streamed
    counts = ("ingestion_date", "rows_in", "published", "late_published", "quarantined", "deduplicated")
    assert bronze("toys__completeness", *counts) == bronze("batch__completeness", *counts)


@pytest.mark.full
def test_a_landing_that_lost_its_files_gets_the_same_ones(put: Callable[..., None]) -> None:
    """And no table a new version, but for an event that has come since, which waits for the next night."""
    put("a.jsonl", "2020-06-01T08:00:00", click(1), click(2))
    put("b.jsonl", "2020-06-02T00:00:00", click(4), click(5, TWO))
    run(ONE, TWO)
    before = [landing.path_of(SOURCE, CLICKS, day).read_bytes() for day in (ONE, TWO)]
    versions = {name: delta.version("bronze", name) for name in (SPOOL, "toys__clicks")}
    put("e.jsonl", "2020-06-01T12:00:00", click(6))
    for day in (ONE, TWO):
        landing.path_of(SOURCE, CLICKS, day).unlink()
    run(ONE, TWO)
    assert [landing.path_of(SOURCE, CLICKS, day).read_bytes() for day in (ONE, TWO)] == before
    assert {name: delta.version("bronze", name) for name in versions} == versions | {SPOOL: versions[SPOOL] + 1}
    run(THREE, THREE)
    assert rows_of(THREE) == [click(6)]
    assert ("2020-06-01", "2020-06-03", 6) in bronze("toys__clicks", "partition_day", "ingestion_date", "click")


def test_nights_of_a_range_are_cut_in_order_and_an_earlier_one_gets_nothing_later(put: Callable[..., None]) -> None:
    put("a.jsonl", "2020-05-31T08:00:00", click(1))
    put("b.jsonl", "2020-06-03T08:00:00", click(2))
    put("c.jsonl", "2020-06-04T00:00:00", click(3))
    assert extract(SOURCE, Partitions(ONE, THREE)) == {"clicks": ["2020-06-01", "2020-06-03"]}
    assert [rows_of(day) for day in (ONE, TWO, THREE)] == [[click(1)], [], [click(2)]]
    put("d.jsonl", "2020-06-02T00:00:00", click(4))
    assert fetch(SOURCE, CLICKS, TWO) is None, "the third has been cut"
    assert fetch(SOURCE, CLICKS, date(2020, 6, 4))
    assert rows_of(date(2020, 6, 4)) == [click(3), click(4)]


def full(case: str) -> Any:
    """One that takes long and differs little from the others."""
    return pytest.param(case, marks=pytest.mark.full)


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize("where", [full("spooling"), full("cutting"), "writing", full("landing")])
def test_a_kill_loses_and_doubles_nothing(
    where: str, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just before the cut, just after it, half through the file, and just before its renaming; then events go on."""
    cut, write = job.cut, lines.write

    def killed(*arguments: Any) -> None:
        if where == "cutting":
            cut(*arguments)
        if where == "writing":
            write(*arguments[:2], list(arguments[2])[:1])
        raise Killed

    at = {"spooling": (job, "cut"), "cutting": (job, "cut"), "writing": (lines, "write"), "landing": (module, "land")}
    put("a.jsonl", "2020-06-01T08:00:00", click(1), click(2))
    with monkeypatch.context() as patch:
        patch.setattr(*at[where], killed)
        with pytest.raises(Killed):
            fetch(SOURCE, CLICKS, ONE)
    assert rows_of(ONE) == []
    put("b.jsonl", "2020-06-01T09:00:00", click(3))
    put("c.jsonl", "2020-06-02T09:00:00", click(4))
    extract(SOURCE, Partitions(ONE, TWO))
    # What came after a cut is in the next night.
    assert (rows_of(ONE), rows_of(TWO)) == (
        ([click(1), click(2), click(3)], [click(4)])
        if where == "spooling"
        else ([click(1), click(2)], [click(3), click(4)])
    )


@pytest.mark.parametrize("lost", ["a batch", full("before the cut"), full("after the cut")])
def test_what_the_checkpoint_forgets_is_not_there_twice(
    lost: str, put: Callable[..., None], spark: SparkSession
) -> None:
    """A kill between the commit of the table and that of the checkpoint; and a checkpoint that is gone."""
    checkpoint = delta.table_path("bronze", SPOOL) / "_checkpoint"
    put("a.jsonl", "2020-06-01T08:00:00", click(1), click(2))
    if lost == "after the cut":
        fetch(SOURCE, CLICKS, ONE)
    else:
        lake.create_layers(spark)
        job.start(spark, stream.job_of(CLICKS.connector, SPOOL)).awaitTermination()
    if lost == "a batch":
        for file in (checkpoint / "commits").iterdir():
            file.unlink()
    else:
        shutil.rmtree(checkpoint)
    put("b.jsonl", "2020-06-02T08:00:00", click(3, TWO))
    extract(SOURCE, Partitions(ONE, TWO))
    assert rows_of(ONE) == [click(1), click(2)]
    assert rows_of(TWO) == [click(3, TWO)]
    assert bronze(SPOOL, "ingestion_date", "origin", "position") == [
        ("2020-06-01", "a.jsonl", 1),
        ("2020-06-01", "a.jsonl", 2),
        ("2020-06-02", "b.jsonl", 1),
    ]


@contextmanager
def going_on(spark: SparkSession) -> Iterator[stream.Continuous]:
    """A continuous query, as another process would have it."""
    query, done = stream.Continuous(SOURCE, CLICKS, every=0.1), threading.Event()

    def steps() -> None:
        while not done.wait(0.05):
            query.step(spark)

    thread = threading.Thread(target=steps)
    thread.start()
    try:
        yield query
    finally:
        done.set()
        thread.join()
        query.stop()


def spooled(events: int) -> bool:
    """Whether there are so many in the spool, within a while."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if delta.exists("bronze", SPOOL) and len(delta.read_all("bronze", SPOOL)) == events:
            return True
        time.sleep(0.1)
    return False


def test_a_continuous_query_makes_room_for_the_cut_and_goes_on(spark: SparkSession, put: Callable[..., None]) -> None:
    lake.create_layers(spark)
    put("a.jsonl", "2020-06-01T08:00:00", click(1))
    with going_on(spark) as query:
        assert spooled(1)
        first = query.query
        put("b.jsonl", "2020-06-01T09:00:00", click(2))
        put("c.jsonl", "2020-06-02T09:00:00", click(3))
        fetch(SOURCE, CLICKS, ONE)
        assert first
        assert not first.isActive
        assert first.exception() is None
        put("d.jsonl", "2020-06-02T10:00:00", click(4))
        assert spooled(4)
        assert query.query
        # one that knows nothing of turns, as after a kill of its client alone
        job.start(spark, stream.job_of(CLICKS.connector, SPOOL)).awaitTermination()
        put("e.jsonl", "2020-06-02T11:00:00", click(5))
        assert spooled(5)
    assert spark.streams.active == []
    fetch(SOURCE, CLICKS, TWO)
    assert (rows_of(ONE), rows_of(TWO)) == ([click(1), click(2)], [click(3), click(4), click(5)])


def test_who_does_not_make_room_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    with turns.turn(SPOOL):
        assert turns.is_taken(turns.waiting(SPOOL))
        with pytest.raises(UpstreamError, match="waiting: another process has had this lock"), turns.turn(SPOOL):
            pass
    with turns.turn(SPOOL):
        pass


def test_an_event_that_is_none_goes_to_the_quarantine_alone(put: Callable[..., None]) -> None:
    broken = [click(2)[:-5], "[1]", '{"click": 3, "click": 4}', b'{"click": 5, "place": "\xff"}', click(6) + " more"]
    sound = json.dumps({"click": 7, "day": str(ONE), "place": "\ufffd"}, ensure_ascii=False)
    put("a.jsonl", "2020-06-01T08:00:00", click(1), *broken)
    put("b.jsonl", "2020-06-01T08:00:00", sound)
    run(ONE, ONE)
    assert bronze("toys__clicks", "click", "place") == [(1, "here 1"), (7, "\ufffd")]
    refused = bronze("toys__clicks__quarantine", "raw", "reason")
    assert sorted(json.loads(raw)["click"]["_event"] for raw, _ in refused) == sorted(
        one if isinstance(one, str) else 'not UTF-8: {"click": 5, "place": "\ufffd"}' for one in broken
    )
    assert [reason for _, reason in refused if not reason.endswith("is no int; day: missing")] == []


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ('{\r\n "a": 1\n}', '{  "a": 1 }'),
        (None, '{"a": {"_event": null}}'),
        ("", '{"a": {"_event": ""}}'),
        ("a\nb", '{"a": {"_event": "a\\nb"}}'),
        ('{"a": "\0"}', '{"a": {"_event": "{\\"a\\": \\"\\u0000\\"}"}}'),
        ('{"a": NaN}', '{"a": {"_event": "{\\"a\\": NaN}"}}'),
        ("[" * 100_000, json.dumps({"a": {"_event": "[" * 10_000}})),
        ('{"a": "' + "x" * (1 << 20) + '"}', json.dumps({"a": {"_event": '{"a": "' + "x" * 9_993}})),
    ],
    ids=lambda value: str(value)[:12],
)
def test_an_event_becomes_one_line(event: str | None, line: str) -> None:
    assert stream.line_of(event, "a") == line


def test_an_event_with_many_unknown_keys_does_not_have_the_night_refused(home: Path) -> None:
    few, many = {"click": 1, "day": "2020-06-01", "place": "here", "new": 1}, {f"key {n}": n for n in range(21)}
    events = [json.dumps(few), json.dumps(few | many), json.dumps({**few, " ": 1}), json.dumps(few | {"newer": 2})]
    plain = replace(CLICKS, compression=Compression.NONE)
    path = landing.path_of(SOURCE, plain, ONE)
    path.parent.mkdir(parents=True)
    lines.write(path, False, stream.lines_of(events, plain))
    assert landing.look_through(path, plain)["rows"] == 4
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert json.loads(found[1]["click"]["_event"]) == few | many
    assert [found[0], *found[2:]] == [few, few | {" ": 1}, few | {"newer": 2}]


def test_a_night_without_changes_has_a_file_that_says_so(put: Callable[..., None]) -> None:
    changes = replace(CLICKS, mode=Mode.UPSERT, op="place", sequence="click", compression=Compression.NONE)
    path = fetch(SOURCE, changes, ONE)
    assert path
    assert landing.look_through(path, changes)["rows"] == 0


def test_an_event_of_the_future_came_when_it_was_found(put: Callable[..., None]) -> None:
    put("a.jsonl", "2100-01-01T00:00:00", click(1))
    fetch(SOURCE, CLICKS, ONE)
    assert bronze(SPOOL, "arrived_on") == [(str(datetime.now(UTC).date()),)]


def test_old_nights_leave_the_spool_and_what_is_in_none_stays(
    spark: SparkSession, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, day in enumerate((ONE, TWO, THREE)):
        put(f"{day}.jsonl", f"{day}T08:00:00", click(number, day))
    run(ONE, THREE)
    put("late.jsonl", "2020-05-01T08:00:00", click(9))
    job.start(spark, stream.job_of(CLICKS.connector, SPOOL)).awaitTermination()
    maintain.retain(spark, [SOURCE], "by hand")
    assert bronze(SPOOL, "arrived_on", "ingestion_date") == [
        ("2020-05-01", None),
        ("2020-06-02", "2020-06-02"),
        ("2020-06-03", "2020-06-03"),
    ]
    assert fetch(SOURCE, CLICKS, date(2020, 5, 31)) is None, "later nights have been cut"
    monkeypatch.setenv("NOCTURNE_VACUUM_HOURS", "0")
    settings.cache_clear()
    maintain.vacuum({}, "by hand")
    put("next.jsonl", "2020-06-04T08:00:00", click(10, THREE))
    assert fetch(SOURCE, CLICKS, date(2020, 6, 4))
    assert len(rows_of(date(2020, 6, 4))) == 2, "the one that had come late, and the new one: the checkpoint is there"


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(RefusedError, match="events is no folder"):
        fetch(SOURCE, CLICKS, ONE)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "[STREAM_FAILED] Query terminated\n=== Streaming Query ===\nwith the options",
            "[STREAM_FAILED] Query terminated",
        ),
        ('<_MultiThreadedRendezvous of RPC:\n\tdetails = "failed to connect"\n>', "failed to connect"),
    ],
)
def test_an_error_of_spark_is_told_in_a_line(said: str, line: str) -> None:
    assert stream.brief(Exception(said)) == line


# --- Kafka, as configuration ---

RIDES = Stream(Kafka("rides_kafka", "rides"), options={"maxOffsetsPerTrigger": "1000"})
ON_KAFKA = replace(CLICKS, connector=RIDES)


def test_kafka_is_reached_by_its_connection(connect: Callable[..., None]) -> None:
    connect("rides_kafka", conn_type="kafka", host="one:9093,two", port=9094)
    assert stream.job_of(RIDES, SPOOL) == {
        "format": "kafka",
        "options": {
            "subscribe": "rides",
            "startingOffsets": "earliest",
            "kafka.bootstrap.servers": "one:9093,two:9094",
            "maxOffsetsPerTrigger": "1000",
        },
        "spool": f"bronze.{SPOOL}",
    }


@pytest.mark.parametrize(
    ("extra", "protocol", "module"),
    [
        ({}, "SASL_SSL", "org.apache.kafka.common.security.plain.PlainLoginModule"),
        (
            {"sasl.mechanism": "SCRAM-SHA-512", "security.protocol": "SASL_PLAINTEXT"},
            "SASL_PLAINTEXT",
            "org.apache.kafka.common.security.scram.ScramLoginModule",
        ),
    ],
)
def test_a_login_is_for_sasl(
    connect: Callable[..., None], extra: dict[str, str], protocol: str, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    connect("rides_kafka", conn_type="kafka", host="one", login="me", password=PASSWORD, extra=extra)
    with caplog.at_level(logging.DEBUG):
        options = stream.job_of(RIDES, SPOOL)["options"]
    assert options["kafka.security.protocol"] == protocol
    assert options["kafka.sasl.mechanism"] == extra.get("sasl.mechanism", "PLAIN")
    login = f'{module} required username="me" password="not\\"to\\\\see";'
    assert options["kafka.sasl.jaas.config"] == login
    assert "see" not in caplog.text
    assert "see" not in repr(ON_KAFKA)


def test_a_record_is_known_by_its_offset_and_may_be_anything(spark: SparkSession) -> None:
    at = datetime(2020, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)
    records = spark.createDataFrame(
        [(b"{}", "rides", 3, 7, at), (None, "rides", 3, 8, at), (b"\xff", "rides", 4, 7, at)],
        "value binary, topic string, partition int, offset bigint, timestamp timestamp",
    )
    assert [tuple(row)[:3] for row in job.dated(job.records(records)).collect()] == [
        ("rides-3", 7, "{}"),
        ("rides-3", 8, None),
        ("rides-4", 7, "not UTF-8: \ufffd"),
    ]
    assert {row["arrived_on"] for row in job.dated(job.records(records)).collect()} == {ONE}


def test_without_its_jars_it_is_said_where_to_get_them(connect: Callable[..., None], caplog: Any) -> None:
    connect("rides_kafka", conn_type="kafka", host="one", login="me", password=PASSWORD)
    with pytest.raises(RefusedError, match=r"topic rides: .* the four jars that docs/connectors.md names") as raised:
        fetch(SOURCE, ON_KAFKA, ONE)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__, "Spark's own error has the options in it"
    assert "see" not in str(raised.value) + caplog.text


@pytest.mark.parametrize(
    "setting",
    ["sasl.jaas.config", "interceptor.classes", "sasl.login.callback.handler.class", "ssl.engine.factory.class"],
)
def test_a_connection_names_no_code_to_load(connect: Callable[..., None], setting: str) -> None:
    connect("rides_kafka", conn_type="kafka", host="one", extra={setting: PASSWORD, "ssl.truststore.location": "/t"})
    with pytest.raises(RefusedError, match=f"the extra of the connection rides_kafka has {setting}, which") as raised:
        stream.job_of(RIDES, SPOOL)
    assert "see" not in str(raised.value)


def test_a_connection_without_a_host_is_refused(connect: Callable[..., None]) -> None:
    connect("rides_kafka", conn_type="kafka")
    with pytest.raises(RefusedError, match="the connection rides_kafka names no host"):
        stream.job_of(RIDES, SPOOL)


@pytest.mark.parametrize(
    ("said", "mends"),
    [
        (
            "Cannot fetch offset 7881614. Some data may have been lost because they are not available in Kafka any "
            'more; set the source option "failOnDataLoss" to "false"',
            "failOnDataLoss=false among the options",
        ),
        ("org.apache.kafka.common.errors.SaslAuthenticationException: Authentication failed", "look at the login"),
        ("TopicAuthorizationException: Not authorized to access topics: [rides]", "the right to read the topic"),
        ("UnknownTopicOrPartitionException: This server does not host this topic-partition", "there is no such topic"),
        ("KafkaException: No resolvable bootstrap urls given in bootstrap.servers", "look at the host"),
    ],
)
def test_what_kafka_says_and_no_other_try_mends_is_for_a_person(said: str, mends: str) -> None:
    """Spark says it somewhere below its own words, and beside them what the client was told."""
    error = PySparkException(f"[STREAM_FAILED] Query terminated\npassword={PASSWORD}\nCaused by: {said}")
    with (
        pytest.raises(RefusedError, match=f"Kafka's topic rides by the connection events: .*{mends}") as raised,
        stream.told(Stream(Kafka("events", "rides"))),
    ):
        raise error
    assert PASSWORD not in str(raised.value)


def test_a_broker_that_is_away_is_tried_again() -> None:
    with (
        pytest.raises(UpstreamError, match="Kafka's topic rides: TimeoutException"),
        stream.told(Stream(Kafka("events", "rides"))),
    ):
        raise PySparkException("TimeoutException: Timed out waiting for a node assignment")
