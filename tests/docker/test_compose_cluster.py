"""What compose.cluster.yaml promises: who reaches whom, who is told which secret, what each container may do."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from tests.docker.compose_file import CLUSTER, GPU, VARIABLE, compose

SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
SECRET = re.compile("(?i)passw|secret|token|_key$|credential")
WORKERS = ("worker", "worker-spark", "worker-gpu")
OURS = ("init", "api-server", "scheduler", "dag-processor", "triggerer", *WORKERS, "mlflow", "spark")
OURS += ("spark-master", "spark-worker")
# Who has to reach whom, and nobody else anybody.
TALK = {
    "api-server": {"postgres", "s3", *WORKERS},  # it reads the logs of tasks from who ran them
    "scheduler": {"postgres", "redis", "api-server"},
    "dag-processor": {"postgres", "api-server"},
    "triggerer": {"postgres", "s3", "api-server"},
    **{worker: {"redis", "postgres", "api-server", "mlflow", "spark", "s3"} for worker in WORKERS},
    "mlflow": {"postgres", "s3"},
    "spark": {"spark-master", "spark-worker", "s3"},
    "spark-worker": {"spark-master", "spark", "s3"},
    "init": {"postgres", "redis", "s3"},
    "operator": {"postgres", "api-server", "mlflow", "spark", "s3"},
    "proxy": {"api-server", "mlflow", "s3"},
}
# Whom a service must not reach, whatever else is in its networks.
NEVER = {
    "proxy": {"postgres", "redis", "spark", "spark-master", *WORKERS},
    "spark": {"postgres", "redis", "mlflow", "api-server"},
    "spark-worker": {"postgres", "redis", "mlflow", "api-server", *WORKERS},
    "mlflow": {"redis", "spark", "spark-master", "api-server"},
    "redis": {"s3", "postgres", "proxy", "operator"},
    "operator": {"redis", "proxy", "spark-master", "spark-worker"},
}
# Beside its credentials for S3: what a service needs to know, of which another one must not.
TOLD = {
    "NOCTURNE_AIRFLOW_DB": {"postgres", "init", "api-server", "scheduler", "dag-processor", "triggerer"},
    "NOCTURNE_MLFLOW_DB": {"postgres", "init", "mlflow"},
    "NOCTURNE_FERNET_KEY": {"init", "api-server", "scheduler", "dag-processor", "triggerer"},
    "NOCTURNE_PSEUDONYM_KEY": {"spark", "spark-worker"},
    "NOCTURNE_SPARK_SECRET": {"spark", "spark-master", "spark-worker"},
    "NOCTURNE_SPARK_TOKEN": {"init", "spark", "operator", *WORKERS},
    "NOCTURNE_AIRFLOW_ADMIN_PASSWORD": {"init", "api-server", "operator", *WORKERS},
    "NOCTURNE_ALERT_WEBHOOK": {"scheduler", "dag-processor", *WORKERS},
    "NOCTURNE_METRICS_TOKEN": {"api-server"},
    "aws_owner": {"init"},
    "aws_models": {"mlflow"},
    "postgres_password": {"postgres"},
    "tls.key": {"proxy"},
}


def environment(service: dict[str, Any]) -> dict[str, Any]:
    return service.get("environment", {})


def problems(file: dict[str, Any]) -> list[str]:
    """Why this must not be our cluster, a line each."""
    lines = []
    used = set()
    for name, service in file["services"].items():
        lines += _of_service(name, service)
        used |= set(service.get("secrets", []))
        networks = set(service["networks"])
        lines += [f"{name}: there is no network {one}" for one in networks - file["networks"].keys()]
        if name != "proxy" and service.get("ports"):
            lines.append(f"{name}: is published, past the proxy")
        lines += [
            f"{name}: waits for {one}, which there is not"
            for one in service.get("depends_on", {}).keys() - file["services"].keys()
        ]
    lines += [f"the secret {one} is nowhere" for one in used - file["secrets"].keys()]
    lines += [f"nobody needs the secret {one}" for one in file["secrets"].keys() - used]
    lines += [f"the secret {name} is no file" for name, one in file["secrets"].items() if set(one) != {"file"}]
    lines += [
        f"the network {name} leads out"
        for name, one in file["networks"].items()
        if not one.get("internal") and name != "outside"
    ]
    return lines


def _of_service(name: str, service: dict[str, Any]) -> list[str]:
    lines = []
    image = service["image"]
    if not image.startswith("nocturne-") and not re.search(r":\d[\w.-]*$", image):
        lines.append(f"{name}: {image} names no version")
    if image.startswith("nocturne-") and service.get("pull_policy") != "never":
        lines.append(f"{name}: another one's image of that name would be fetched")
    for key in ("privileged", "network_mode", "pid", "ipc", "cap_add", "devices", "userns_mode"):
        if key in service:
            lines.append(f"{name}: {key} opens the container")
    lines += [
        f"{name}: {key} is a secret in the environment"
        for key, value in environment(service).items()
        if SECRET.search(key) and not str(value).startswith(("/run/secrets/", "file:///run/secrets/"))
    ]
    lines += [
        f"{name}: {value} holds a password"
        for value in environment(service).values()
        if re.search("://[^/]*:[^/]*@", str(value))
    ]
    needed = ["mem_limit", "pids_limit", "restart", "stop_grace_period", "logging"]
    if name not in ("init", "operator"):  # which end
        needed.append("healthcheck")
    lines += [f"{name}: has no {key}" for key in needed if key not in service]
    if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
        lines.append(f"{name}: keeps privileges")
    if not service.get("read_only"):
        lines.append(f"{name}: may write to its image")
    lines += [
        f"{name}: {port} is on every address" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")
    ]
    return lines


@pytest.mark.parametrize("file", [CLUSTER, GPU], ids=lambda file: file.name)
def test_it_has_the_form_of_a_compose_file(file: Path) -> None:
    jsonschema.validate(compose(file=file), yaml.safe_load(SCHEMA.read_text()))


def test_it_keeps_every_rule() -> None:
    assert problems(compose(file=CLUSTER)) == []


def in_service(name: str, **keys: Any) -> Callable[[dict[str, Any]], None]:
    return lambda file: file["services"][name].update(keys)


def in_environment(name: str, **keys: Any) -> Callable[[dict[str, Any]], None]:
    return lambda file: file["services"][name].setdefault("environment", {}).update(keys)


@pytest.mark.parametrize(
    "change",
    [
        in_service("postgres", ports=["127.0.0.1:5432:5432"]),
        in_service("proxy", ports=["8443:8443"]),
        in_service("redis", image="docker.io/library/redis:latest"),
        in_service("redis", image="docker.io/library/redis"),
        in_service("worker", pull_policy="missing"),
        in_service("worker", network_mode="host"),
        in_service("worker", cap_drop=[]),
        in_service("spark", read_only=False),
        in_service("spark", secrets=[*compose(file=CLUSTER)["services"]["spark"]["secrets"], "another"]),
        in_service("mlflow", depends_on={"nobody": {"condition": "service_healthy"}}),
        in_environment("mlflow", NOCTURNE_MLFLOW_ADMIN_PASSWORD="x"),
        in_environment("scheduler", BROKER="redis://:x@redis:6379/0"),
        lambda file: file["secrets"].update(idle={"file": "x"}),
        lambda file: file["secrets"]["tls.key"].update(environment="TLS_KEY"),
        lambda file: file["networks"].update(broker={}),
    ],
)
def test_each_rule_refuses(change: Callable[[dict[str, Any]], None]) -> None:
    file = copy.deepcopy(compose(file=CLUSTER))
    change(file)
    assert len(problems(file)) == 1


@pytest.mark.parametrize("key", ["healthcheck", "restart", "mem_limit", "pids_limit", "stop_grace_period", "logging"])
def test_what_must_be_there_is_missed(key: str) -> None:
    file = compose(file=CLUSTER)
    del file["services"]["triggerer"][key]
    assert problems(file) == [f"triggerer: has no {key}"]


def reach(file: dict[str, Any], name: str) -> set[str]:
    """The services that share a network with ``name``."""
    mine = set(file["services"][name]["networks"]) - {"outside"}
    return {other for other, one in file["services"].items() if other != name and mine & set(one["networks"])}


@pytest.mark.parametrize("name", TALK)
def test_each_service_reaches_whom_it_needs(name: str) -> None:
    assert TALK[name] <= reach(compose(file=CLUSTER), name)


@pytest.mark.parametrize("name", NEVER)
def test_no_service_reaches_whom_it_must_not(name: str) -> None:
    assert reach(compose(file=CLUSTER), name).isdisjoint(NEVER[name])


@pytest.mark.parametrize("secret", TOLD)
def test_a_secret_is_told_to_those_who_need_it(secret: str) -> None:
    told = {name for name, one in compose(file=CLUSTER)["services"].items() if secret in one.get("secrets", [])}
    assert told == TOLD[secret]


def test_two_schedulers_and_three_workers_with_queues_of_their_own() -> None:
    services = compose(file=CLUSTER)["services"]
    assert services["scheduler"]["deploy"]["replicas"] == 2
    queues = {name: environment(services[name])["NOCTURNE_QUEUES"].split(",")[0] for name in WORKERS}
    assert queues == {"worker": "default", "worker-spark": "spark", "worker-gpu": "gpu"}


def test_everything_of_ours_waits_for_init() -> None:
    """Directly, or for one that does."""
    services = compose(file=CLUSTER)["services"]

    def waits(name: str) -> bool:
        before = services[name].get("depends_on", {})
        return "init" in before or any(waits(one) for one in before)

    assert [name for name in OURS if name != "init" and not waits(name)] == []


def test_each_image_of_ours_is_built_once() -> None:
    built = [one["image"] for one in compose(file=CLUSTER)["services"].values() if "build" in one]
    used = {one["image"] for one in compose(file=CLUSTER)["services"].values() if one["image"].startswith("nocturne-")}
    assert sorted(built) == sorted(used)


def test_a_newcomer_sets_no_variable() -> None:
    given = {found[1]: found[2] for file in (CLUSTER, GPU) for found in VARIABLE.finditer(file.read_text())}
    nobody_is_told = {f"NOCTURNE_ALERT_{name}" for name in ("EMAIL", "FROM", "SNS")}
    assert {name for name, default in given.items() if default in (None, ":-")} == {"COMMIT"} | nobody_is_told


def test_the_gpu_is_for_the_worker_of_its_queue() -> None:
    services = compose(file=GPU)["services"]
    assert set(services) == {"worker-gpu"}
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert services["worker-gpu"]["build"]["args"]["IMAGE"] == "gpu"
