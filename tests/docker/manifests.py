"""Kubernetes' manifests, held against the models of its own Python client: a field that it does not know is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client

MODELS = {
    "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment",
    "Job": "V1Job",
    "NetworkPolicy": "V1NetworkPolicy",
    "Pod": "V1Pod",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "Service": "V1Service",
    "ServiceAccount": "V1ServiceAccount",
}
VERSIONS = {
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}


def of_model(model: str, value: Any, where: str) -> Iterator[str]:
    """What in ``value`` is not of ``model``, a line each: a type of the client's own, as in its ``openapi_types``."""
    if found := re.fullmatch(r"list\[(.+)\]", model):
        if not isinstance(value, list):
            yield f"{where}: is no list"
            return
        for place, one in enumerate(value):
            yield from of_model(found[1], one, f"{where}[{place}]")
    elif found := re.fullmatch(r"dict\[str, (.+)\]", model):
        if not isinstance(value, dict):
            yield f"{where}: is no object"
            return
        for key, one in value.items():
            yield from of_model(found[1], one, f"{where}.{key}")
    elif model in PLAIN:
        if not isinstance(value, PLAIN[model]) or (model == "int" and isinstance(value, bool)):
            yield f"{where}: {value!r} is no {model}"
    elif model != "datetime":
        yield from _of_class(getattr(client, model), value, where)


def _of_class(of: Any, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: is no object"
        return
    names = {there: ours for ours, there in of.attribute_map.items()}
    yield from (f"{where}: there is no field {key}" for key in value.keys() - names.keys())
    for key in value.keys() & names.keys():
        yield from of_model(of.openapi_types[names[key]], value[key], f"{where}.{key}")
    # what has to be there is what the client itself asks for
    try:
        of(**{names[key]: value[key] for key in value.keys() & names.keys()})
    except ValueError as error:
        yield f"{where}: {error}"


def structure(manifest: dict[str, Any]) -> list[str]:
    """Why Kubernetes would not take ``manifest``, a line each."""
    kind = manifest.get("kind", "")
    if kind not in MODELS:
        return [f"{kind or 'nothing'}: none of ours is of that kind"]
    if manifest.get("apiVersion") != VERSIONS.get(kind, "v1"):
        return [f"{kind}: {manifest.get('apiVersion')} is not its version"]
    return list(of_model(MODELS[kind], manifest, kind))


def pod_of(manifest: dict[str, Any]) -> dict[str, Any] | None:
    """The specification of the pod that ``manifest`` is, or makes; None for one that makes none."""
    if manifest["kind"] == "Pod":
        return manifest["spec"]
    return manifest["spec"]["template"]["spec"] if manifest["kind"] in ("Deployment", "Job") else None


def safety(pod: dict[str, Any]) -> list[str]:
    """Why ``pod`` may do more than it has to, a line each."""
    lines = []
    whole = pod.get("securityContext", {})
    if not whole.get("runAsNonRoot") or whole.get("runAsUser") != 1000:
        lines.append("runs as root")
    if whole.get("seccompProfile") != {"type": "RuntimeDefault"}:
        lines.append("may make any system call")
    if pod.get("automountServiceAccountToken") is not False:
        lines.append("gets a token of Kubernetes")
    lines += [f"{key} opens the machine" for key in ("hostNetwork", "hostPID", "hostIPC") if key in pod]
    lines += [f"the volume {one['name']} is of the machine" for one in pod.get("volumes", []) if "hostPath" in one]
    for one in pod["containers"]:
        own = one.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            lines.append("keeps privileges")
        if not own.get("readOnlyRootFilesystem"):
            lines.append("may write to its image")
        given = one.get("resources", {})
        if not {"cpu", "memory"} <= given.get("requests", {}).keys() or "memory" not in given.get("limits", {}):
            lines.append("says not what it needs")
        lines += [
            f"{mount['mountPath']} covers the tokens below it"
            for mount in one.get("volumeMounts", [])
            if mount["mountPath"].rstrip("/") in ("/run/secrets", "/var/run/secrets", "/run")
        ]
        mounted = {mount["name"] for mount in one.get("volumeMounts", [])}
        lines += [f"there is no volume {name}" for name in mounted - {one["name"] for one in pod.get("volumes", [])}]
    return lines


def secrets_of(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> dict[str, str]:
    """The keys of Secrets that a container gets, and where it finds each.

    Raises KeyError where a file is mounted that its volume does not hold, and ValueError where that holds more.
    """
    found = {}
    beside = {one["name"]: {item["path"] for item in one["secret"]["items"]} for one in volumes if "secret" in one}
    for mount in mounts:
        volume = next(one for one in volumes if one["name"] == mount["name"])
        if "secret" not in volume:
            continue
        items = {item["path"]: item["key"] for item in volume["secret"]["items"]}
        beside[mount["name"]] -= {mount["subPath"]} if "subPath" in mount else items.keys()
        if "subPath" in mount:
            found[items[mount["subPath"]]] = mount["mountPath"]
        else:
            found |= {key: f"{mount['mountPath']}/{path}" for path, key in items.items()}
    if left := {name: paths for name, paths in beside.items() if paths}:
        raise ValueError(f"nobody mounts {left}")
    return found


SECRET = re.compile("(?i)passw|secret|token|_key$|credential|_db$|_broker$|webhook")
PLACE = re.compile(r"^(file://)?/(run/secrets|etc/nocturne)/")


def plain_secrets(manifest: dict[str, Any]) -> list[str]:
    """Every secret whose value is in ``manifest``, a line each: it should name a Secret that is there already."""
    if manifest.get("kind") == "Secret":
        return ["a Secret is made, with its values in the manifest"]
    return list(_plain(manifest, manifest.get("kind", "")))


def _plain(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        name = value.get("name")
        if isinstance(name, str) and "value" in value and SECRET.search(name) and not PLACE.match(str(value["value"])):
            yield f"{where}: {name} is a secret in the environment"
        for key, one in value.items():
            if where == "ConfigMap.data" and SECRET.search(key) and not PLACE.match(str(one)):
                yield f"{where}: {key} is a secret in a ConfigMap"
            yield from _plain(one, f"{where}.{key}")
    elif isinstance(value, list):
        for one in value:
            yield from _plain(one, where)
    elif re.search(r"://[^/@\s]*:[^/@\s]+@", str(value)):
        yield f"{where}: an address holds a password"
