"""Every service of compose.cluster.yaml as a process of its image, in the networks of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.containers import Cluster, run

pytestmark = [pytest.mark.integration, pytest.mark.full]

REACHES = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
except OSError as error:
    sys.exit(type(error).__name__)
"""


def reaches(cluster: Cluster, service: str, host: str, port: int) -> bool:
    """Whether a process of ``service`` gets a connection to a port."""
    from_it = cluster.command(cluster.of(service), "python", "-c", REACHES, host, str(port))
    return run(*from_it, check=False, timeout=60).returncode == 0


def test_all_services_are_healthy(cluster: Cluster) -> None:
    assert {one.hostname: cluster.health(one) for one in cluster.containers if "healthcheck" in one.spec} == {
        one.hostname: "" for one in cluster.containers if "healthcheck" in one.spec
    }


@pytest.mark.parametrize(
    ("service", "host", "port", "does"),
    [
        ("worker", "redis", 6379, True),
        ("worker", "spark", 15002, True),
        ("worker", "spark-master", 7077, False),
        ("mlflow", "postgres", 5432, True),
        ("mlflow", "redis", 6379, False),
        ("spark", "s3", 8333, True),
        ("spark-worker", "spark-master", 7077, True),
        ("spark-worker", "spark-master", 6066, False),
        ("spark", "postgres", 5432, False),
        ("spark-worker", "api-server", 8080, False),
        ("api-server", "redis", 6379, False),
    ],
)
def test_who_reaches_whom(cluster: Cluster, service: str, host: str, port: int, does: bool) -> None:
    assert reaches(cluster, service, host, port) == does


def test_no_service_writes_to_its_image(cluster: Cluster) -> None:
    """compose.cluster.yaml has each file system read-only: what is written elsewhere than to a volume would fail."""
    assert {one.hostname: cluster.written(one) for one in cluster.containers} == {
        one.hostname: [] for one in cluster.containers
    }


def test_no_password_is_in_a_list_of_processes_or_in_a_log(cluster: Cluster) -> None:
    folder = cluster.folder / "secrets"
    passwords = [(folder / name).read_text().strip().encode() for name in ("postgres_password", "NOCTURNE_SPARK_TOKEN")]
    passwords += [(folder / "NOCTURNE_SPARK_SECRET").read_text().strip().encode()]
    passwords.append((folder / "redis.conf").read_text().split()[1].encode())
    shown = b"".join(
        path.read_bytes()
        for one in cluster.containers
        for pid in cluster.processes(one)
        if (path := Path(f"/proc/{pid}/cmdline")).exists()
    )
    shown += b"".join(one.log.read_bytes() for one in cluster.containers)
    assert [password for password in passwords if password in shown] == []


def test_the_door_speaks_tls_and_asks_for_a_login(cluster: Cluster) -> None:
    def asked(url: str, *options: str) -> str:
        return cluster.exec("proxy", "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", *options, url)

    assert asked("https://localhost:8443/api/v2/dags") == "401"
    assert asked("https://localhost:5443/api/2.0/mlflow/experiments/search?max_results=1") == "401"
    assert asked("https://localhost:8443/execution/health") == "404"
    assert asked("https://localhost:9443/nocturne") == "403"
    answers = [asked("https://localhost:8443/auth/token", "-X", "POST", "-d", "{}") for _ in range(12)]
    assert answers[-1] == "429"
