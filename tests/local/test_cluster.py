"""The cluster's commands: secrets that agree with each other, and what compose is asked for and says."""

from __future__ import annotations

import json
import os
import re
import stat
from configparser import ConfigParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from include.core.settings import Settings
from include.local import cluster, cluster_secrets
from include.local.checks import InstallationError
from tests.docker.compose_file import CLUSTER, compose

FAKE = """#!/bin/sh
[ "$1 $2" = "compose version" ] && exit {version}
echo "$NOCTURNE_CLUSTER_NAME $COMMIT $*" >> {log}
case "$*" in *" ps "*) cat {log}.ps ;; esac
exit {code}
"""


def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "docker", version: int = 0, code: int = 0
) -> Path:
    """A machine with one program of that name; the file has what it was asked for."""
    tools, log = tmp_path / "tools", tmp_path / "asked"
    tools.mkdir()
    program = tools / name
    program.write_text(FAKE.format(version=version, code=code, log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(cluster, "ENGINES", (name,))
    return log


def test_every_secret_of_the_compose_file_is_made_and_kept(tmp_path: Path) -> None:
    made = cluster_secrets.make(tmp_path / "secrets", "nocturne.example")
    there = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert compose(file=CLUSTER)["secrets"].keys() <= there.keys()
    assert set(made) | {"tls.key"} == set(there)
    assert cluster_secrets.make(tmp_path / "secrets", "another.example") == []
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == there


def test_a_command_beside_the_services_starts_none_and_fails_as_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = machine(tmp_path, monkeypatch)
    cluster.do(Settings(var=tmp_path), ["backfill", "--from", "2013-06-01"])
    assert log.read_text().strip().endswith("run --rm --no-deps operator backfill --from 2013-06-01")
    (tmp_path / "tools" / "docker").write_text(FAKE.format(version=0, code=1, log=log))
    with pytest.raises(InstallationError, match="ended with 1"):
        cluster.do(Settings(var=tmp_path), ["verify"])


def test_nobody_else_gets_into_the_folder_and_every_container_can_read_its_file(tmp_path: Path) -> None:
    cluster_secrets.make(tmp_path / "secrets", "localhost")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets").iterdir()} == {0o444}


def test_what_belongs_together_agrees(tmp_path: Path) -> None:
    cluster_secrets.make(tmp_path, "localhost")
    broker = urlsplit((tmp_path / "NOCTURNE_CELERY_BROKER").read_text().strip())
    assert (tmp_path / "redis.conf").read_text() == f"requirepass {broker.password}\n"
    known = {one["name"]: one for one in json.loads((tmp_path / "s3.json").read_text())["identities"]}
    for name in ("aws_owner", "aws_lake", "aws_models"):
        read = ConfigParser()
        read.read(tmp_path / name)
        assert known[name]["credentials"] == [
            {"accessKey": read["default"]["aws_access_key_id"], "secretKey": read["default"]["aws_secret_access_key"]}
        ]
    assert all(action.endswith(":nocturne-models") for action in known["aws_models"]["actions"])
    roles = {
        urlsplit((tmp_path / f"NOCTURNE_{name}_DB").read_text()).username for name in ("AIRFLOW", "LEASE", "MLFLOW")
    }
    assert len(roles) == 3


def test_passwords_need_no_quoting_where_they_are_put_in(tmp_path: Path) -> None:
    """Into an address, a statement of SQL, a line of Redis's configuration."""
    for turn in range(20):
        folder = tmp_path / str(turn)
        cluster_secrets.make(folder, "localhost")
        for name in ("NOCTURNE_AIRFLOW_DB", "NOCTURNE_MLFLOW_DB", "NOCTURNE_LEASE_DB", "NOCTURNE_CELERY_BROKER"):
            assert re.fullmatch(r"[0-9a-f]{48}", str(urlsplit((folder / name).read_text().strip()).password))


def test_a_certificate_that_runs_out_is_told_in_time(tmp_path: Path) -> None:
    here = Settings(var=tmp_path)
    assert cluster.certificate_problem(here) == ""
    cluster_secrets.make(cluster.secrets_folder(here), "nocturne.example")
    end = cluster_secrets.runs_out(cluster.secrets_folder(here) / "tls.crt")
    assert cluster.certificate_problem(here, end - timedelta(days=31)) == ""
    assert "runs out on" in cluster.certificate_problem(here, end - timedelta(days=29))
    assert "has run out on" in cluster.certificate_problem(here, end + timedelta(days=1))
    assert datetime.now(UTC) + timedelta(days=390) < end


@pytest.mark.parametrize(("name", "version"), [("docker", 1), ("something-else", 0)])
def test_without_compose_it_is_said_in_a_line_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: int
) -> None:
    machine(tmp_path, monkeypatch, name, version)
    monkeypatch.setattr(cluster, "ENGINES", ("docker", "podman"))
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    with pytest.raises(InstallationError, match="neither `docker compose` nor `podman compose` works here"):
        cluster.up(Settings(var=tmp_path / "var"), host="localhost", gpu=False, commit="")
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("gpu", [False, True])
def test_up_builds_and_then_waits_for_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    log = machine(tmp_path, monkeypatch)
    made = cluster.up(Settings(var=tmp_path / "var"), host="a.example", gpu=gpu, commit="abc")
    assert "NOCTURNE_AIRFLOW_DB" in made
    build, up = log.read_text().splitlines()
    assert build.startswith(" abc compose --file ")
    assert build.endswith(" build")
    assert up.startswith("a.example  compose --file ")
    assert up.endswith(" up --detach --wait --no-build")
    assert ("compose.gpu.yaml" in up) == gpu


def test_what_compose_fails_with_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(tmp_path, monkeypatch, code=17)
    with pytest.raises(InstallationError, match="down --remove-orphans` ended with 17"):
        cluster.down(Settings(var=tmp_path / "var"))


def test_down_leaves_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = machine(tmp_path, monkeypatch)
    cluster.down(Settings(var=tmp_path / "var"))
    assert "volumes" not in log.read_text()


ROWS = [
    {"Service": "init", "State": "exited", "Health": "", "ExitCode": 0},
    {"Service": "worker", "State": "running", "Health": "healthy", "ExitCode": 0},
    {"Service": "spark", "State": "running", "Health": "unhealthy", "ExitCode": 0},
    {"Service": "mlflow", "State": "exited", "Health": "", "ExitCode": 0},
]


@pytest.mark.parametrize("text", [json.dumps(ROWS), "\n".join(map(json.dumps, ROWS))], ids=["list", "lines"])
def test_who_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """`init` ends and is well, and whoever else has ended is not. Both forms are compose's, of different versions."""
    log = machine(tmp_path, monkeypatch)
    Path(f"{log}.ps").write_text(text + os.linesep)
    found = {one.name: one.well for one in cluster.status(Settings(var=tmp_path / "var"))}
    assert found == {"init": True, "worker": True, "spark": False, "mlflow": False}
