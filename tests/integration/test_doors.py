"""A user without rights gets nothing from any socket of a running installation, and nobody holds another's secret."""

from __future__ import annotations

import base64
import json
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from include.core.settings import EMBEDDED
from include.local import clean, credentials, processes
from include.local.environment import environment
from include.local.supervisor import Supervisor
from tests.integration.conftest import Stack
from tests.local.test_doors import MAY_HOLD

pytestmark = pytest.mark.integration

# Of the scheduler's processes only the first signs tokens and decrypts: what it forks are tasks.
TASKS = {"mlflow_admin_password", "spark_token"}
# What anybody may ask: whether it is well, which version, what it can do, and where to log in. No data, and no secret.
OPEN = {
    ("airflow", "/api/v2/monitor/health"),
    ("airflow", "/api/v2/version"),
    ("airflow", "/api/v2/auth/login"),
    ("airflow", "/api/v2/auth/logout"),
    ("airflow", "/execution/health"),
    ("mlflow", "/health"),
    ("mlflow", "/api/3.0/mlflow/server-info"),
    ("mlflow", "/ajax-api/3.0/mlflow/server-info"),
}
# Beside what Airflow's own description names: its tasks' API, our pages, and MLflow's ways in, some of which have had
# no lock in earlier versions.
AIRFLOW = [
    *(("get", f"/execution/{path}") for path in ("health", "connections/shop", "variables/x", "xcoms/d/r/t/k")),
    ("patch", "/execution/task-instances/0197c1a0-0000-7000-8000-000000000000/run"),
    ("get", "/nocturne/dbt"),
    ("get", "/nocturne/metrics"),
    *(("get", f"/nocturne/{path}") for path in ("lineage", "quarantine", "landing/flights/actuals/2013-06-01.csv")),
]
MLFLOW = [
    *(("get", path) for path in ("/", "/health", "/version", "/metrics", "/docs", "/openapi.json", "/signup")),
    *(("get", f"/api/{path}") for path in ("2.0/mlflow/experiments/search", "2.0/mlflow/users/get")),
    *(("get", f"/{root}/3.0/mlflow/server-info") for root in ("api", "ajax-api")),
    ("get", "/get-artifact?path=MLmodel&run_uuid=1"),
    ("get", "/model-versions/get-artifact?path=MLmodel&name=flight_delays&version=1"),
    ("get", "/api/2.0/mlflow-artifacts/artifacts"),
    ("put", "/api/2.0/mlflow-artifacts/artifacts/x"),
    ("get", "/ajax-api/3.0/mlflow/assistant/config"),
    ("post", "/ajax-api/3.0/mlflow/assistant/message"),
    ("post", "/graphql"),
    ("post", "/v1/traces"),
    ("post", "/ajax-api/3.0/jobs/search"),
    ("post", "/ajax-api/2.0/mlflow/gateway-proxy"),
    ("post", "/api/2.0/mlflow/users/create"),
    ("post", "/api/2.0/mlflow/model-versions/create"),
    ("post", "/api/2.0/mlflow/registered-models/create"),
]


def holders(stack: Stack, service: str, pid: int) -> set[str]:
    """The secrets that this process of the installation may hold."""
    first = {name: info["pid"] for name, info in Supervisor(stack.settings).services().items()}
    return TASKS if service == "scheduler" and pid != first["scheduler"] else MAY_HOLD[service]


def running(stack: Stack) -> dict[int, str]:
    """Process → service, children without a mark of their own included."""
    marked = list(processes.marked(stack.settings.var))
    found = {process.pid: service for service, process in marked}
    for service, process in marked:
        for child in process.children(recursive=True) if process.is_running() else ():
            found.setdefault(child.pid, service)
    return found


def test_no_process_holds_a_secret_that_is_not_its_own(stack: Stack) -> None:
    values = {name: stack.settings.secret(name).encode() for name in credentials.SECRETS}
    services = running(stack)
    assert set(services.values()) == set(MAY_HOLD)
    wrong = []
    for pid, service in services.items():
        try:
            held = Path(f"/proc/{pid}/environ").read_bytes()
            shown = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a task that has ended meanwhile
        allowed = holders(stack, service, pid)
        wrong += [(service, pid, name) for name, value in values.items() if value in held and name not in allowed]
        wrong += [(service, pid, f"{name} as an argument") for name, value in values.items() if value in shown]
    assert wrong == []


def listeners(stack: Stack) -> tuple[set[str], dict[int, tuple[str, str]]]:
    """Unix sockets by name, and TCP ports with address and service, on which a process of the installation listens."""
    inodes = {}
    for pid, service in running(stack).items():
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes[target[8:-1]] = service
    lines = [line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    unix = {line[7] for line in lines if len(line) > 7 and line[6] in inodes and int(line[3], 16) & 0x10000}
    tcp = {
        connection.laddr.port: (connection.laddr.ip, running(stack)[connection.pid])
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.pid in running(stack)
    }
    return unix, tcp


def requests(stack: Stack) -> list[tuple[str, str, str]]:
    """(address, method, path): every route that Airflow describes, and the others."""
    here = stack.settings
    described = httpx.get(f"{here.airflow_url}/openapi.json", timeout=60).json()["paths"]
    routes = [(method, re.sub(r"\{[^}]*\}", "1", path)) for path, methods in described.items() for method in methods]
    return [
        *((here.airflow_url, *one) for one in (*routes, *AIRFLOW)),
        *((here.mlflow_url, *one) for one in MLFLOW),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_nothing_from_any_socket(stack: Stack) -> None:
    here = stack.settings
    unix, tcp = listeners(stack)
    assert {address.removeprefix("::ffff:") for address, _ in tcp.values()} == {"127.0.0.1"}
    known = {here.airflow_port: "api-server", here.mlflow_port: "mlflow", here.spark_port: "spark"}
    assert {port: tcp[port][1] for port in known} == known
    own = [port for port in tcp if port not in known]
    assert {tcp[port][1] for port in own} <= {"spark"}, "a port that nobody has thought of"
    assert {name for name in unix if name.endswith("supervisor.sock") or "supervisor.sock." in name}
    wanted = {
        "unix": sorted(unix),
        "files": [
            *(str(path) for path in (here.secrets / "jwt_secret", here.airflow_database, here.run / "settings.json")),
            *(f"/proc/{pid}/environ" for pid in running(stack)),
        ],
        "web": requests(stack),
        "connect": here.spark_port,
        "spark_rpc": own,
    }
    script = Path(__file__).with_name("intruder.py")
    done = subprocess.run(
        [sys.executable, script], input=json.dumps(wanted), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    got: dict[str, Any] = json.loads(done.stdout)
    assert got["uid"] != os.getuid()
    assert {path: word for path, word in got["unix"].items() if word != "PermissionError"} == {}
    refused = ("PermissionError", "FileNotFoundError")  # the latter of a task that has ended
    assert {path: word for path, word in got["files"].items() if word not in refused} == {}
    names = {here.airflow_url: "airflow", here.mlflow_url: "mlflow"}
    let_in = [(names[url], path, code) for url, _, path, code in got["web"] if code not in (401, 403)]
    unexpected = [one for one in let_in if one[:2] not in OPEN and one[2] != 404]
    assert unexpected == [], unexpected
    for answers in got["connect"]:
        assert set(answers.values()) == {"UNAUTHENTICATED"}, answers
    assert len(got["spark_rpc"]) == len(own)
    assert (len(own) > 0) == here.runs_jvm, "Spark's own ports, of which the embedded engine has none outside"
    for answer in got["spark_rpc"].values():
        assert "Expected SaslMessage" in answer


def test_whoever_has_the_token_reads_no_other_secret_by_sql(stack: Stack) -> None:
    """By a file, by the environment of the server, and by that of another process."""
    api_server = Supervisor(stack.settings).services()["api-server"]["pid"]
    queries = {
        "file": f"select * from text.`file://{stack.settings.secrets}/jwt_secret`",
        "database": f"select * from binaryFile.`file://{stack.settings.airflow_database}`",
        "process": f"select * from text.`file:///proc/{api_server}/environ`",
        "getenv": "select java_method('java.util.Objects', 'toString', java_method('java.lang.System', 'getenv', 'X'))",
        "pseudonym_key": f"select count(*) from text.`file://{stack.settings.secrets}/pseudonym_key`",
    }
    code = f"""
import json
from include.lake.spark import session
found = {{}}
for name, query in {queries!r}.items():
    try:
        found[name] = str(session().sql(query).collect())
    except Exception as error:
        found[name] = type(error).__name__ + ' ' + str(error)[:200]
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(stack.settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("file", "database"):  # to the embedded engine what is not there is empty
        assert "PATH_NOT_FOUND" in found[name] or (stack.settings.engine == EMBEDDED and found[name] == "[]"), found
    assert "Row" not in found["process"], found
    assert found["pseudonym_key"].endswith("=1)]"), found  # what dbt's macro reads


def shown(secrets: dict[str, str]) -> dict[str, list[bytes]]:
    """How each secret would look where somebody has written it: as it is, or as a login in a header."""
    found = {name: [value.rstrip("=").encode()] for name, value in secrets.items()}  # an address has %3D for =
    for name in ("airflow_admin_password", "mlflow_admin_password"):
        found[name].append(base64.b64encode(f"admin:{secrets[name]}".encode()).rstrip(b"="))
    return found


def holding(folder: Path, secrets: dict[str, list[bytes]], but: Path) -> list[tuple[str, str]]:
    """The files below ``folder``, without those below ``but``, that have one of these in them, and which."""
    found = []
    for path in folder.rglob("*"):
        if path.is_relative_to(but) or path.is_symlink() or not path.is_file():
            continue
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                names = [name for name, looks in secrets.items() if any(content.find(one) >= 0 for one in looks)]
        except (FileNotFoundError, ValueError):  # it has gone meanwhile, or is empty
            continue
        found += [(str(path.relative_to(folder)), name) for name in names]
    return found


def test_nothing_that_an_installation_writes_holds_a_secret(stack: Stack) -> None:
    """Logs of services and tasks, databases, what dbt compiles, the lake and its logs, reports."""
    here = stack.settings
    secrets = shown({name: here.secret(name) for name in credentials.SECRETS})
    planted = here.report / "planted.txt"
    planted.write_text(f"Authorization: Basic {secrets['mlflow_admin_password'][1].decode()}")
    try:
        assert (str(planted.relative_to(here.var)), "mlflow_admin_password") in holding(here.var, secrets, here.secrets)
    finally:
        planted.unlink()
    assert holding(here.var, secrets, here.secrets) == []


def test_clean_knows_all_that_a_running_installation_writes(stack: Stack) -> None:
    assert clean.foreign(stack.settings.var) == []
    assert clean.is_ours(stack.settings.var)
