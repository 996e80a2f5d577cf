"""What compose.yaml promises: a schema for its form, and rules for what must not slip in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml

from tests.docker.compose_file import FILE, VARIABLE, compose

SCHEMA = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
SECRET = re.compile("(?i)passw|secret|token|_key$")


def problems(file: dict[str, Any]) -> list[str]:
    """Why a compose file must not be ours, a line each."""
    lines = []
    for name, service in file["services"].items():
        for port in service.get("ports", []):
            host, _, numbers = str(port).partition(":")
            if host != "127.0.0.1":
                lines.append(f"{name}: {port} is not on this machine's loopback alone")
            elif len(set(numbers.split(":"))) != 1:
                lines.append(f"{name}: {port} has another number outside than inside: no address would be right")
        for key in ("privileged", "network_mode", "pid", "ipc", "cap_add", "devices", "userns_mode"):
            if key in service:
                lines.append(f"{name}: {key} opens the container")
        lines += [
            f"{name}: {key} is a secret in the environment" for key in service["environment"] if SECRET.search(key)
        ]
        for key in ("healthcheck", "restart", "mem_limit", "pids_limit", "stop_grace_period", "logging"):
            if key not in service:
                lines.append(f"{name}: has no {key}")
        if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
            lines.append(f"{name}: keeps privileges")
        if not service.get("read_only"):
            lines.append(f"{name}: may write to its image")
        named = {str(volume).partition(":")[0] for volume in service.get("volumes", [])}
        if not named & file.get("volumes", {}).keys():
            lines.append(f"{name}: keeps no state")
    return lines


def test_it_has_the_form_of_a_compose_file() -> None:
    jsonschema.validate(compose(), yaml.safe_load(SCHEMA.read_text()))


def test_a_misspelt_key_is_none_of_a_compose_file() -> None:
    file = compose()
    file["services"]["nocturne"]["health_check"] = {}
    with pytest.raises(jsonschema.ValidationError, match="health_check"):
        jsonschema.validate(file, yaml.safe_load(SCHEMA.read_text()))


def test_it_keeps_every_rule() -> None:
    assert problems(compose()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ports": ["8080:8080"]},
        {"ports": ["0.0.0.0:8080:8080"]},
        {"ports": ["127.0.0.1:18080:8080"]},
        {"network_mode": "host"},
        {"privileged": True},
        {"environment": {"NOCTURNE_ALERT_TOKEN": "x"}},
        {"cap_drop": []},
        {"security_opt": ["seccomp:unconfined"]},
        {"read_only": False},
        {"volumes": ["./var:/nocturne/var"]},
    ],
)
def test_each_rule_refuses(change: dict[str, Any]) -> None:
    file = compose()
    file["services"]["nocturne"].update(change)
    assert len(problems(file)) == 1


@pytest.mark.parametrize("key", ["healthcheck", "restart", "mem_limit", "pids_limit", "stop_grace_period", "logging"])
def test_what_must_be_there_is_missed(key: str) -> None:
    file = compose()
    del file["services"]["nocturne"][key]
    assert problems(file) == [f"nocturne: has no {key}"]


def test_a_newcomer_sets_no_variable() -> None:
    """Every variable has a default, or is empty where nothing was said."""
    given = {found[1]: found[2] for found in VARIABLE.finditer(FILE.read_text())}
    assert {name for name, default in given.items() if default in (None, ":-")} <= {"COMMIT", "JAVA"}


def test_other_ports_reach_the_services_and_what_is_published() -> None:
    service = compose({"NOCTURNE_AIRFLOW_PORT": "18080", "NOCTURNE_MLFLOW_PORT": "15000"})["services"]["nocturne"]
    assert service["ports"] == ["127.0.0.1:18080:18080", "127.0.0.1:15000:15000"]
    assert service["environment"]["NOCTURNE_AIRFLOW_PORT"] == 18080
    assert service["environment"]["NOCTURNE_MLFLOW_PORT"] == 15000
