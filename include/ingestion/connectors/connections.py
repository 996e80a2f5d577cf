"""Airflow connections: where an upstream is and how to log in. Looked up in the task that needs it, and kept there."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from include.ingestion.connectors.errors import RefusedError

if TYPE_CHECKING:
    from airflow.sdk import Connection


def connection(name: str) -> Connection:
    """The Airflow connection called ``name``. Raises RefusedError where there is none."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        return Connection.get(name)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        raise RefusedError(
            f"there is no Airflow connection {name!r} ({error}): add it under Admin, Connections, or as the variable "
            f"AIRFLOW_CONN_{name.upper()} in the environment of the services"
        ) from None


def is_address(host: str) -> bool:
    """Whether ``host`` is the name of a machine or its address, and nothing else that an option could hide in."""
    if re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?", host):
        return True
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, by its name or address: what is sent there passes no network."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
