"""Who can knock: a host other than loopback is refused unless every door behind it has a lock."""

import ipaddress
from pathlib import Path

from include.core.settings import Settings
from include.local.checks import InstallationError
from include.local.programs import ports

# What is missing at each door as long as it speaks without TLS.
MISSING = {
    "airflow": "it has a login, and passwords and sessions would cross the network in clear text",
    "mlflow": "it has a login, and its password would cross the network in clear text with each request",
    "spark": "its token would cross the network in clear text, and who has that runs code as the user of the services",
    "sql": "it has logins, and passwords and rows would cross the network in clear text",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``. Of names that is ``localhost`` alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def problem(settings: Settings) -> str | None:
    """The line that names every door without a lock, or None."""
    if is_loopback(settings.host) or settings.tls_proxy:
        return None
    doors = "; ".join(f"{port.service} ({port.number}): {MISSING[port.service]}" for port in ports(settings))
    return (
        f"NOCTURNE_HOST={settings.host} would let others in where there is no lock. {doors}. Keep 127.0.0.1, or put a "
        "proxy that speaks TLS in front, see that nobody reaches these ports past it, and set NOCTURNE_TLS_PROXY=true"
    )


def check_host(settings: Settings) -> None:
    """Raise InstallationError where the host of the settings has doors without locks."""
    if line := problem(settings):
        raise InstallationError(line)


LISTENS = 1 << 16
"""The flag of a socket that takes connections, in ``/proc/net/unix``."""


def foreign_sockets(table: str, var: Path) -> list[str]:
    """The names of the Unix sockets in ``table`` (``/proc/net/unix``) that listen, and not under ``var``.

    The table is of one network: systemd, a container engine, a service mesh show that it is theirs as well.
    """
    rows = (line.split() for line in table.splitlines()[1:])
    named = [(int(row[3], 16), row[7]) for row in rows if len(row) > 7]
    return [name for flags, name in named if flags & LISTENS and not name.startswith(f"{var}/")]


def check_container(settings: Settings, table: Path = Path("/proc/net/unix")) -> None:
    """Raise InstallationError where ``container`` is set, and others share the network. Before any service starts."""
    if settings.container and (others := foreign_sockets(table.read_text(), settings.var)):
        raise InstallationError(
            f"NOCTURNE_CONTAINER=true, and this network is not of the container alone: {others[0]} listens in it. "
            "Start it without `--network host`, and outside of a pod; elsewhere than in a container, unset the variable"
        )
