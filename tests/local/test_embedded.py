"""The embedded engine: its door, its lock, and the tables that a session finds."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import polars as pl
import psutil
import pytest
from pydantic import ValidationError

from include.core.errors import is_passing
from include.core.settings import EMBEDDED, SPARK, Settings
from include.lake import spark as lake
from include.local import checks, credentials
from include.local.embedded import Catalogue, Session, fields, message, named, tables
from include.local.environment import SPARK_TOKEN
from include.local.health import WELL, spark_health
from include.local.launch import child_environment
from include.local.private_network import refusal
from include.local.programs import Program, bytes_of, programs
from tests.s3 import free_port

OF_SPARK = "/spark.connect.SparkConnectService/"


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    settings = Settings(var=tmp_path / "var", spark_port=free_port(), engine=EMBEDDED)
    credentials.generate(settings)
    return settings


def spark_of(settings: Settings) -> Program:
    return next(program for program in programs(settings) if program.name == "spark")


def test_an_engine_is_one_of_two() -> None:
    with pytest.raises(ValidationError, match="NOCTURNE_ENGINE=duckdb is neither embedded nor spark"):
        Settings(engine="duckdb")
    with pytest.raises(ValidationError, match="a lake in S3 needs spark"):
        Settings(engine=EMBEDDED, lake_uri="s3://bucket/lake")
    with pytest.raises(ValidationError, match="NOCTURNE_SPARK_REMOTE names a Spark elsewhere"):
        Settings(engine=EMBEDDED, spark_remote="sc://cluster.example:15002")


@pytest.mark.parametrize(
    ("said", "engine"),
    [
        ({}, EMBEDDED),
        ({"lake_uri": "s3://bucket/lake"}, SPARK),
        ({"landing_uri": "s3://bucket/landing"}, EMBEDDED),
        ({"spark_remote": "sc://cluster.example:15002"}, SPARK),
        ({"engine": SPARK}, SPARK),
    ],
)
def test_the_engine_where_none_is_said(said: dict[str, Any], engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOCTURNE_ENGINE", raising=False)
    here = Settings(**said)
    assert here.engine == engine
    assert here.runs_jvm == (engine == SPARK and not here.spark_remote)


def test_what_only_apache_spark_does_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "settings", lambda: Settings(engine=EMBEDDED))
    with pytest.raises(lake.ApacheSparkWantedError, match=r"a stream needs Apache Spark.*NOCTURNE_ENGINE=spark"):
        lake.apache_spark("a stream")


def test_an_engine_that_is_missing_or_another_version_is_one_line() -> None:
    assert checks.embedded_problem(checks.EMBEDDED_VERSION) is None
    assert "which is 0.8.0 here" in (checks.embedded_problem("0.8.0") or "")
    assert "which is missing here" in (checks.embedded_problem(None) or "")
    pinned = (Path(__file__).resolve().parents[2] / "requirements.in").read_text()
    assert f"pysail=={checks.EMBEDDED_VERSION} " in pinned


def test_its_service_wants_no_java_and_is_kept_away_from_the_same_folders(installation: Settings) -> None:
    apache = spark_of(installation.model_copy(update={"engine": "spark"}))
    embedded = spark_of(installation)
    assert "spark-submit" in apache.argv[0]
    assert embedded.argv[1:] == ["-m", "include.local.embedded"]
    assert (embedded.hidden, embedded.kept, embedded.url) == (apache.hidden, apache.kept, apache.url)
    assert embedded.environment["SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE"] == str(3 * 2**30)


@pytest.mark.parametrize(("memory", "number"), [("3g", 3 * 2**30), ("512M", 2**29), ("1000", 1000)])
def test_memory_in_javas_notation(memory: str, number: int) -> None:
    assert bytes_of(memory) == number


def test_what_the_door_reads_and_writes_is_what_sparks_own_classes_do() -> None:
    from pyspark.sql.connect.proto import base_pb2

    request = base_pb2.ExecutePlanRequest(session_id="s" * 200, client_type="x", operation_id="o")
    request.user_context.user_id = "me"
    request.plan.root.limit.limit = 300  # a number, which has no length
    session = Session.of(request.SerializeToString())
    assert (session.id, dict(fields(session.user))[1]) == (b"s" * 200, b"me")
    written = base_pb2.ExecutePlanRequest.FromString(session.statement("select 1"))
    assert (written.session_id, written.user_context.user_id) == ("s" * 200, "me")
    assert written.plan.command.sql_command.input.sql.query == "select 1"
    assert len(written.operation_id) == 36
    assert list(fields(message((1, b"x"), (2000, b"y" * 200)))) == [(1, b"x"), (2000, b"y" * 200)]


def test_the_tables_that_a_request_names(tmp_path: Path) -> None:
    for table in ("silver/flights", "silver/planes", "ledger/counts"):
        pl.DataFrame({"a": [1]}).write_delta(tmp_path / table)
    (tmp_path / "candidate" / "silver__flights__x").mkdir(parents=True)  # Parquet: no table
    there = tables(tmp_path)
    assert set(there) == {"silver.flights", "silver.planes", "ledger.counts"}
    assert named(b"select * from silver.`flights`", there) == ["silver.flights"]
    assert named(b"select 1", there) == []
    assert set(named(b"SHOW  TABLES IN silver", there)) == set(there)


def test_a_session_gets_each_table_once_and_again_when_the_engine_has_forgotten_it(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_delta(tmp_path / "silver" / "flights")
    said = list[str]()

    async def execute(session: Session, sql: str) -> None:
        said.append(sql)

    async def asked() -> None:
        catalogue = Catalogue(tmp_path, execute)
        request = message((1, b"one"), (3, b"select * from silver.flights"))
        await asyncio.gather(*(catalogue.prepare(request) for _ in range(3)))
        await catalogue.prepare(message((1, b"one"), (3, b"select 1")))
        assert [one for one in said if "TABLE" in one] == [
            f"CREATE TABLE IF NOT EXISTS silver.flights USING delta LOCATION '{tmp_path}/silver/flights'"
        ]
        assert len(said) == 5
        catalogue.used[Session.of(request)] -= 10**6
        await catalogue.prepare(request)
        assert len(said) == 10

    asyncio.run(asked())


# --- the service as it runs


@pytest.fixture
def started(installation: Settings) -> Iterator[subprocess.Popen[bytes]]:
    if reason := refusal():
        pytest.skip(f"this system gives the embedded engine no network of its own: {reason}")
    for folder in (installation.var / "spark" / "tmp", installation.log, installation.run):
        folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"a": [1, 2], "day": ["x", "y"]}).write_delta(Path(str(installation.lake / "silver" / "flights")))
    service = begin(installation)
    try:
        yield service
    finally:
        service.kill()
        service.wait()


def begin(installation: Settings) -> subprocess.Popen[bytes]:
    program = spark_of(installation)
    child = child_environment(installation, program)
    with (installation.log / "spark.log").open("w") as log:
        service = subprocess.Popen(program.argv, env=child, cwd=program.folder, stdout=log, stderr=log)
    soon(lambda: spark_health("127.0.0.1", installation.spark_port, 2) == WELL or service.poll() is not None, 60)
    log_text = (installation.log / "spark.log").read_text()
    assert service.poll() is None, log_text
    return service


def soon(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def answer(settings: Settings, name: str, token: str = "") -> grpc.StatusCode:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    address = f"127.0.0.1:{settings.spark_port}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            list(channel.stream_stream(OF_SPARK + name)(iter([b""]), metadata=metadata, timeout=30))
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_nobody_gets_past_the_door(installation: Settings, started: subprocess.Popen[bytes]) -> None:
    from pyspark.sql.connect.proto import base_pb2

    for method in base_pb2.DESCRIPTOR.services_by_name["SparkConnectService"].methods:
        for token in ("", "wrong", installation.secret("spark_token")[:-1]):
            assert answer(installation, method.name, token) == grpc.StatusCode.UNAUTHENTICATED
    assert answer(installation, "Config", installation.secret("spark_token")) != grpc.StatusCode.UNAUTHENTICATED
    family = {started.pid, *(child.pid for child in psutil.Process(started.pid).children(recursive=True))}
    inside = {Path(f"/proc/{pid}/ns/net").readlink() for pid in family}
    assert len(inside) == 1
    assert Path("/proc/self/ns/net").readlink() not in inside
    heard = [one for one in psutil.net_connections("tcp") if one.pid in family and one.status == psutil.CONN_LISTEN]
    assert [tuple(one.laddr) for one in heard] == [("127.0.0.1", installation.spark_port)]
    (engine,) = family - {started.pid}
    assert SPARK_TOKEN.encode() not in Path(f"/proc/{engine}/environ").read_bytes()


CLIENT = """
import sys
from include.lake.spark import register_tables, session
spark = session()
assert register_tables(spark) == ([], {}), register_tables(spark)
assert spark.table("silver.flights").count() == 2
assert spark.catalog.tableExists("silver.flights")
assert spark.range(100_000).toArrow().num_rows == 100_000
try:
    spark.sql("select nothing from silver.flights").collect()
except Exception as error:
    assert "nothing" in str(error), error
else:
    sys.exit("no error")
print("all well")
"""


def test_a_client_finds_what_it_finds_on_spark(installation: Settings, started: subprocess.Popen[bytes]) -> None:
    child = child_environment(installation, Program("t", [], installation.var, secrets=frozenset({"SPARK_REMOTE"})))
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], env=child, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "all well\n", done.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_ends_with_its_door(started: subprocess.Popen[bytes], how: signal.Signals) -> None:
    (engine,) = psutil.Process(started.pid).children()
    started.send_signal(how)
    started.wait(timeout=20)
    soon(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE)


def test_the_door_ends_with_its_engine(started: subprocess.Popen[bytes]) -> None:
    psutil.Process(started.pid).children()[0].kill()
    assert started.wait(timeout=20) != 0


CLIENT_OF_TWO_ENGINES = """
import sys
from include.lake.spark import session
spark = session()
spark.conf.set("spark.sql.ansi.enabled", "false")
print(spark.sql("select 1").collect(), flush=True)
sys.stdin.readline()
try:
    print(spark.sql("select 1").collect(), spark.conf.get("spark.sql.ansi.enabled"))
except Exception as error:
    print(error)
"""


def test_a_session_does_not_go_on_without_its_settings_on_an_engine_that_was_started_anew(
    installation: Settings, started: subprocess.Popen[bytes]
) -> None:
    child = child_environment(installation, Program("t", [], installation.var, secrets=frozenset({"SPARK_REMOTE"})))
    command = [sys.executable, "-c", CLIENT_OF_TWO_ENGINES]
    with subprocess.Popen(command, env=child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "[Row(1=1)]\n"
        started.kill()
        started.wait()
        second = begin(installation)
        try:
            said, _ = client.communicate("\n", timeout=120)
        finally:
            second.kill()
            second.wait()
    assert "SESSION_NOT_FOUND" in said
    assert is_passing(said), "the task is tried again"


RUNAWAY = """
import sys, threading, time
from include.lake.spark import session
spark = session()
join = "select count(*) from range(10000000) a cross join range(10000000) b where hash(a.id, b.id) = 0"
for _ in range(int(sys.argv[1])):
    threading.Thread(target=lambda: spark.sql(join).collect(), daemon=True).start()
time.sleep(2)
print(spark.interruptAll(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("joins", [pytest.param("1", marks=pytest.mark.full), "4"])
def test_what_was_interrupted_does_not_go_on(
    installation: Settings, started: subprocess.Popen[bytes], joins: str
) -> None:
    """Sail ends a join at its next batch, which may be hours away; with several it does not hear the interrupt."""
    child = child_environment(installation, Program("t", [], installation.var, secrets=frozenset({"SPARK_REMOTE"})))
    with subprocess.Popen([sys.executable, "-c", RUNAWAY, joins], env=child, stderr=subprocess.DEVNULL) as client:
        try:
            assert started.wait(timeout=300) != 0  # which takes a busy machine minutes
        finally:
            client.kill()
    assert "it is started anew" in (installation.log / "spark.log").read_text()
