"""What Airflow, Spark and the collector send to others: that it comes, what it says, and that it holds no secret."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import ValidationError

from include.core.settings import SPARK, Settings, settings
from include.local.credentials import generate
from include.local.environment import environment
from include.local.launch import child_environment
from include.local.programs import programs, spark_configuration
from tests.docker.otlp import Received, receiver
from tests.docker.test_observability import FOLDER, until
from tests.s3 import free_port

COLLECTOR = FOLDER / "collector.yaml"
# As the scheduler does when it starts, and then a task's end and a run that is traced.
AIRFLOW = """
from airflow import settings
from airflow._shared.observability.metrics import stats
from airflow.configuration import conf
from airflow.observability.metrics import stats_utils
from opentelemetry import metrics, trace
settings.initialize()
legacy = conf.getboolean("metrics", "legacy_names_on")
stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy)
stats.incr("ti.finish", tags={"dag_id": "lakehouse_ingest_flights", "task_id": "plan", "state": "success"})
with trace.get_tracer("tests").start_as_current_span("dag_run"):
    pass
metrics.get_meter_provider().force_flush()
trace.get_tracer_provider().force_flush()
"""
# As services of an installation wrote them.
LINES = {
    "scheduler.log": (
        "nocturne: starting scheduler\n"
        "2026-11-27T09:47:39.854776Z [info     ] Set multiprocessing start method [airflow.utils] loc=process.py:445\n"
        "2026-11-27T09:47:40.563654Z [warning  ] section/key not found in config [airflow.conf] loc=parser.py:1455\n"
        "2026-11-27T09:47:41.000000Z [error    ] it broke [airflow.jobs] loc=x.py:1\n"
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in <module>\n'
        "    raise ValueError\n"
    ),
    "mlflow.log": "INFO:     Started server process [31493]\nWARNING:  Retrying\n",
    "spark.log": "2026-11-27 09:47:39.854 WARN Utils: Service could not bind\n",
    "airflow/dag_id=lakehouse_ingest_flights/run_id=scheduled__2026-11-27/task_id=plan/attempt=1.log": (
        '{"timestamp":"2026-11-27T09:47:51.945823Z","level":"warning","event":"ignored: x.csv","lineno":304}\n'
        "what a library prints, and no JSON\n"
    ),
    "airflow/dag_id=d/run_id=r/task_id=t/map_index=2/attempt=3.log": (
        '{"timestamp":"2026-11-27T09:47:52Z","level":"info","event":"mapped"}\n'
    ),
    "alerts.jsonl": '{"at":"2026-11-27T10:00:00+00:00","dag":"d","run":"r","error":"no rows","kind":"failed"}\n',
}
WARNING, ERROR, INFO = 13, 17, 9  # as OpenTelemetry numbers them


@pytest.fixture
def ours(home: Path) -> Settings:
    generate(settings())
    return settings()


# --- settings ---


def test_airflow_sends_nothing_unless_it_is_told_where(ours: Settings) -> None:
    assert not [name for name in environment(ours) if name.startswith(("OTEL_", "AIRFLOW__METRICS", "AIRFLOW__TRACES"))]
    assert not [name for name in spark_configuration(ours) if name.startswith("spark.metrics")]


def test_the_login_at_a_collector_is_for_airflow_alone(ours: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer of-the-collector")
    told = ours.model_copy(update={"otel_endpoint": "http://127.0.0.1:4318"})
    holders = {
        program.name
        for program in programs(told)
        if "of-the-collector" in str(child_environment(told, program).values())
    }
    assert holders == {"api-server", "scheduler", "dag-processor", "triggerer"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("otel_endpoint", "collector:4318"),
        ("otel_endpoint", "http://me:a-password@collector:4318"),
        ("statsd", "127.0.0.1"),
        ("statsd", "udp://127.0.0.1:8125"),
    ],
)
def test_what_is_no_address_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=f"NOCTURNE_{name.upper()}") as refused:
        Settings(**{name: value})
    assert "a-password" not in str(refused.value)


# --- Airflow and Spark ---


def run_airflow(told: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AIRFLOW], env=environment(told), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_airflow_sends_metrics_and_traces_to_the_collector(ours: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer of-the-collector")
    with receiver() as received:
        run_airflow(ours.model_copy(update={"otel_endpoint": f"http://127.0.0.1:{received.port}"}))
    assert received.metrics() == {"airflow.ti.finish"}, "one metric, and none for each DAG"
    assert received.spans() == {"dag_run"}
    assert set(received.authorizations) == {"Bearer of-the-collector"}
    sent = b"".join(one.SerializeToString() for one in received.requests)
    assert not [name for name in (ours.secrets).iterdir() if name.read_bytes().strip() in sent]


@pytest.mark.full
def test_spark_sends_its_metrics_by_udp(ours: Settings, tmp_path: Path) -> None:
    """A JVM of its own: the session of the other tests has been told when it began."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))
    listening.settimeout(120)
    told = ours.model_copy(update={"engine": SPARK, "statsd": f"127.0.0.1:{listening.getsockname()[1]}"})
    own = {name: value for name, value in spark_configuration(told).items() if name.startswith("spark.metrics")}
    configured = own | {"spark.metrics.conf.*.sink.statsd.period": "1", "spark.ui.enabled": "false"}
    options = [part for name, value in configured.items() for part in ("--conf", f"{name}={value}")]
    code = "SparkSession.builder.getOrCreate().range(9).count()"
    (tmp_path / "job.py").write_text(f"import time\nfrom pyspark.sql import SparkSession\n{code}\ntime.sleep(5)\n")
    submit = str(Path(sys.executable).parent / "spark-submit")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    command = [submit, "--master", "local[1]", *options, str(tmp_path / "job.py")]
    with subprocess.Popen(command, env=inherited, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        said = {listening.recv(65_000).decode().partition(":")[0] for _ in range(40)}
        running.terminate()
    assert {name.split(".")[0] for name in said} == {"spark"}
    assert any("jvm" in name for name in said), said


# --- the collector ---


def test_the_collector_reads_the_logs_alone_and_listens_on_loopback() -> None:
    told = yaml.safe_load(COLLECTOR.read_text())
    included = [one for name, of in told["receivers"].items() if name.startswith("filelog") for one in of["include"]]
    assert len(included) == 4
    assert all(one.startswith("${env:NOCTURNE_LOG}/") for one in included)
    assert set(re.findall(r"endpoint: ([^$\s]+):\d+", COLLECTOR.read_text())) == {"127.0.0.1"}


@contextmanager
def collecting(folder: Path, received: Received) -> Iterator[tuple[int, int]]:
    """The collector over the logs in ``folder``: the ports at which it shows metrics, and takes them."""
    name = next(filter(None, map(shutil.which, ("otelcol-contrib", "otelcol"))), None)
    if name is None:
        pytest.skip("no collector of OpenTelemetry is installed: otelcol-contrib on PATH")
    shown, taken = free_port(), free_port()
    text = COLLECTOR.read_text().replace("127.0.0.1:8889", f"127.0.0.1:{shown}")
    (folder / "collector.yaml").write_text(text.replace("127.0.0.1:4318", f"127.0.0.1:{taken}"))
    told = {
        "NOCTURNE_LOG": str(folder / "log"),
        "COLLECTOR_STATE": str(folder / "state"),
        "LOGS_ENDPOINT": f"http://127.0.0.1:{received.port}",
        "LOGS_AUTHORIZATION": "Bearer of-the-store",
    }
    with (
        (folder / "collector.log").open("a") as log,
        subprocess.Popen(
            [name, "--config", str(folder / "collector.yaml")], env=os.environ | told, stdout=log, stderr=log
        ) as running,
    ):
        try:
            until(lambda: "Everything is ready" in (folder / "collector.log").read_text())
            (folder / "collector.log").write_text("")
            yield shown, taken
        finally:
            running.terminate()


def test_each_line_is_sent_once_with_its_service_level_and_task(tmp_path: Path) -> None:
    for name, text in LINES.items():
        path = tmp_path / "log" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "jwt_secret").write_text("a-secret\n")
    scheduler = tmp_path / "log" / "scheduler.log"
    with receiver() as received:
        with collecting(tmp_path, received):
            until(lambda: len(received.logs()) >= 12)
            scheduler.rename(scheduler.with_name("scheduler.log.1"))  # as the supervisor does with a long one
            scheduler.write_text("2026-11-27T09:50:00.000000Z [info     ] begun anew [airflow] loc=x.py:1\n")
            until(lambda: [one for one in received.logs() if "begun anew" in one["text"]])
        with collecting(tmp_path, received):
            with scheduler.open("a") as log:
                log.write("2026-11-27T09:51:00.000000Z [info     ] after a restart [airflow] loc=x.py:1\n")
            until(lambda: [one for one in received.logs() if "after a restart" in one["text"]])
        records = received.logs()
    texts = [one["text"] for one in records]
    assert len(texts) == len(set(texts)) == 14, texts
    levels = {(one["service.name"], text_of(one)): one["level"] for one in records if one["level"]}
    assert levels["scheduler", "Set multiprocessing start method"] == INFO
    assert levels["scheduler", "section/key not found in config"] == WARNING
    assert levels["scheduler", "it broke"] == ERROR
    assert levels["mlflow", "Retrying"] == levels["spark", "Utils: Service could not bind"] == WARNING
    assert levels["airflow-task", "ignored: x.csv"] == WARNING
    (broke,) = [one["text"] for one in records if "Traceback" in one["text"]]
    assert broke.endswith("raise ValueError"), "a traceback is one record"
    (task,) = [one for one in records if one["text"] == "ignored: x.csv"]
    expected = {
        "dag_id": "lakehouse_ingest_flights",
        "run_id": "scheduled__2026-11-27",
        "task_id": "plan",
        "attempt": "1",
    }
    assert {name: task[name] for name in expected} == expected
    assert task["time"] == 1795772871945823000
    (mapped,) = [one for one in records if one["text"] == "mapped"]
    assert (mapped["map_index"], mapped["attempt"]) == ("2", "3")
    (told,) = [one for one in records if one.get("service.name") == "nocturne-incidents"]
    assert (told["dag"], told["kind"]) == ("d", "failed")
    assert set(received.authorizations) == {"Bearer of-the-store"}
    assert not any("a-secret" in text for text in texts)


def text_of(record: dict[str, object]) -> str:
    """What a line says, without its time, level and origin."""
    said = re.sub(r"^(\S+ \[\w+ *\] |[A-Z]+: +|\S+ \S+ [A-Z]+ )", "", str(record["text"]))
    return re.sub(r" \[[\w.]+\] loc=\S+$", "", said)


@pytest.mark.full
def test_what_airflow_sends_prometheus_can_read_at_the_collector(ours: Settings, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir(exist_ok=True)
    with receiver() as received, collecting(tmp_path, received) as (shown, taken):
        run_airflow(ours.model_copy(update={"otel_endpoint": f"http://127.0.0.1:{taken}"}))

        def metrics() -> str:
            return httpx.get(f"http://127.0.0.1:{shown}/metrics", trust_env=False).text

        (line,) = until(lambda: [one for one in metrics().splitlines() if one.startswith("airflow_ti_finish")])
        assert 'dag_id="lakehouse_ingest_flights"' in line
        assert until(received.spans) == {"dag_run"}
