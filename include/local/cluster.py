"""The services of docker/compose.cluster.yaml: start, stop, look at. What runs them is Docker's compose or Podman's."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.core.settings import Settings
from include.local import cluster_secrets
from include.local.checks import InstallationError
from include.local.environment import native

ENGINES = ("docker", "podman")
PROBE_SECONDS = 30
SOON = timedelta(days=30)


@dataclass(frozen=True)
class Service:
    """A container of the cluster: its service, its state (``running``, ``exited``) and its health (``healthy``)."""

    name: str
    state: str
    health: str
    exit_code: int

    @property
    def well(self) -> bool:
        """Whether it does what it should: `init` ends, the others run and are healthy."""
        ended = self.state == "exited" and self.exit_code == 0
        return ended if self.name == "init" else self.state == "running" and self.health in ("healthy", "")


def engine() -> list[str]:
    """The command line of compose. Raises InstallationError where there is none."""
    for name in ENGINES:
        if shutil.which(name) and _answers([name, "compose", "version"]):
            return [name, "compose"]
    raise InstallationError(
        "neither `docker compose` nor `podman compose` works here: install Docker with its compose plugin, or Podman "
        "with one; without them `make up` runs the same services on this machine"
    )


def _answers(command: list[str]) -> bool:
    try:
        # A program of the machine, asked for its version.
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def files(settings: Settings, *, gpu: bool) -> list[str]:
    """The compose files, as options."""
    docker = settings.home / "docker"
    names = ["compose.cluster.yaml", *(["compose.gpu.yaml"] if gpu else [])]
    return [word for name in names for word in ("--file", str(docker / name))]


def secrets_folder(settings: Settings) -> Path:
    """Where the secrets of the cluster are, where compose is not told of another folder."""
    return settings.var / "cluster" / "secrets"


def compose(settings: Settings, *arguments: str, gpu: bool = False, **variables: str) -> None:
    """Run compose on this terminal. Raises InstallationError where it fails."""
    command = [*engine(), *files(settings, gpu=gpu), *arguments]
    given = {"NOCTURNE_CLUSTER_SECRETS": str(secrets_folder(settings))} | native() | variables
    if code := subprocess.run(command, env=given, check=False).returncode:  # noqa: S603  # compose, on files of ours
        raise InstallationError(f"`{' '.join(command)}` ended with {code}: what it says above is why")


def up(settings: Settings, *, host: str, gpu: bool, commit: str) -> list[str]:
    """Make missing secrets, build the images, start the services and wait until all are healthy.

    Returns the names of the secrets that were made. Raises InstallationError.
    """
    engine()  # before anything is made
    made = cluster_secrets.make(secrets_folder(settings), host)
    compose(settings, "build", gpu=gpu, COMMIT=commit)
    compose(settings, "up", "--detach", "--wait", "--no-build", gpu=gpu, NOCTURNE_CLUSTER_NAME=host)
    return made


def do(settings: Settings, argv: list[str]) -> None:
    """Carry out a command of ``nocturne`` in a container of its own, beside the services. Raises InstallationError."""
    compose(settings, "run", "--rm", "--no-deps", "operator", *argv)


def down(settings: Settings) -> None:
    """Stop the services; their volumes stay. Raises InstallationError."""
    compose(settings, "down", "--remove-orphans")


def status(settings: Settings) -> list[Service]:
    """The containers that there are. Raises InstallationError."""
    command = [*engine(), *files(settings, gpu=False), "ps", "--all", "--format", "json"]
    given = {"NOCTURNE_CLUSTER_SECRETS": str(secrets_folder(settings))} | native()
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)  # noqa: S603  # as above
    if done.returncode:
        raise InstallationError(f"compose does not tell: {done.stderr.strip().rpartition(chr(10))[2]}")
    return services(done.stdout)


def services(text: str) -> list[Service]:
    """What ``ps --format json`` tells: an object a line, or, of older versions, one list."""
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    objects = lines[0] if len(lines) == 1 and isinstance(lines[0], list) else lines
    found = [
        Service(one["Service"], one["State"], one.get("Health", ""), int(one.get("ExitCode", 0))) for one in objects
    ]
    return sorted(found, key=lambda one: one.name)


def certificate_problem(settings: Settings, now: datetime | None = None) -> str:
    """The line for a certificate that has run out or soon will; empty for one that lasts."""
    path = secrets_folder(settings) / "tls.crt"
    if not path.exists():
        return ""
    end, now = cluster_secrets.runs_out(path), now or datetime.now(UTC)
    if end - now > SOON:
        return ""
    verb = "has run out" if end < now else "runs out"
    return f"the certificate {path} {verb} on {end:%Y-%m-%d}: put another one there with its tls.key, or delete both"
