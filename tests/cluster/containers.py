"""Runs a compose file where there is no engine of containers: by buildah, and namespaces of the kernel.

Each container is a process of its image (``buildah run --isolation chroot``) in a network, a list of processes and a
host name of its own. A network of the file is a bridge that those of its services are plugged into, and nobody else:
who must not reach whom does not. A name service answers on 127.0.0.11, as Docker's does. Left out are limits of memory,
and a file system that is read-only: ``written`` tells afterwards what was written.

Needs root, buildah and ip.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOOLS = {"buildah": "buildah", "ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}
"""What has to be there, and the Debian package that has it."""
SUBNET = "10.89"
MOST_RESTARTS = 3
CLONE_NEWNET = 0x40000000


class MissingError(Exception):
    """This machine lacks something; the message says what to install."""


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Raises AssertionError with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def require() -> None:
    """Raise MissingError where containers cannot be run here."""
    if missing := sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)}):
        raise MissingError(f"apt-get install {' '.join(missing)}: images are built and run by these")
    if os.geteuid():
        raise MissingError("root is needed: buildah runs containers with other users, in networks of their own")


def config(image: str) -> dict[str, Any]:
    """What an image says of itself: Entrypoint, Cmd, Env, User, WorkingDir. Raises MissingError where there is none."""
    done = run("buildah", "inspect", "--type", "image", image, check=False)
    if done.returncode:
        raise MissingError(f"there is no image {image}: tests/cluster/images.py builds it")
    return json.loads(done.stdout)["OCIv1"]["config"]


def seconds(text: str) -> float:
    """``1m``, ``20s`` in seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


@dataclass
class Container:
    """One container of a service. ``number`` tells replicas apart."""

    service: str
    number: int
    spec: dict[str, Any]
    addresses: dict[str, str]
    """Network → its address there."""
    folder: Path
    image: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    """Of buildah's container."""
    restarts: int = 0

    @property
    def hostname(self) -> str:
        return self.spec.get("hostname", f"{self.service}-{self.number}")

    @property
    def namespace(self) -> str:
        return f"nct-{self.hostname}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def tail(self) -> str:
        """The end of what it has said."""
        return self.log.read_text(errors="replace")[-3000:]

    @property
    def argv(self) -> list[str]:
        entry = self.spec.get("entrypoint", self.image.get("Entrypoint") or [])
        return [*entry, *self.spec.get("command", self.image.get("Cmd") or [])]

    @property
    def environment(self) -> dict[str, str]:
        given = {name: str(value) for name, value in self.spec.get("environment", {}).items()}
        return dict(one.split("=", 1) for one in self.image.get("Env") or []) | given

    @property
    def user(self) -> str:
        return str(self.spec.get("user", self.image.get("User") or "0"))


class Names(threading.Thread):
    """The name service: in each container's network, the addresses of those in its networks and of nobody else."""

    def __init__(self, containers: list[Container]) -> None:
        super().__init__(daemon=True)
        self.containers, self.sockets = containers, dict[socket.socket, Container]()
        self.ended = threading.Event()

    def listen(self, container: Container) -> None:
        """Answer in the network of ``container``. A socket stays in the network that its thread was in."""
        found: list[socket.socket] = []

        def inside() -> None:
            with Path(f"/run/netns/{container.namespace}").open() as namespace:
                os.setns(namespace.fileno(), CLONE_NEWNET)
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setblocking(False)
            one.bind(("127.0.0.11", 53))
            found.append(one)

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        self.sockets[found[0]] = container

    def run(self) -> None:
        while not self.ended.is_set():
            ready, _, _ = select.select(list(self.sockets), [], [], 0.2)
            for one in ready:
                with suppress(OSError):  # who asked has gone, or what came was broken
                    query, client = one.recvfrom(512)
                    one.sendto(self.answer(query, self.sockets[one]), client)
        for one in self.sockets:
            one.close()

    def answer(self, query: bytes, asks: Container) -> bytes:
        """The answer to a question for an address (A); of other kinds there are none."""
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        question, (kind,) = query[12 : at + 5], struct.unpack("!H", query[at + 1 : at + 3])
        known = self.known(".".join(labels), asks)
        found = known if kind == 1 else []
        flags = 0x8180 if known else 0x8183  # no such name
        head = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        records = (struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address) for address in found)
        return head + question + b"".join(records)

    def known(self, name: str, asks: Container) -> list[str]:
        """The addresses that ``name``, a service or a host, has in the networks of who asks."""
        return [
            address
            for one in self.containers
            if name in (one.service, one.hostname)
            for network, address in one.addresses.items()
            if network in asks.addresses
        ]


class Cluster:
    """The containers of a compose file; ``folder`` holds their volumes and logs."""

    def __init__(self, file: dict[str, Any], folder: Path, base: Path) -> None:
        self.file, self.folder, self.base = file, folder, base
        networks = sorted(file["networks"])
        self.bridges = {name: f"nct{number}" for number, name in enumerate(networks)}
        self.containers: list[Container] = []
        for name, spec in file["services"].items():
            for number in range(1, spec.get("deploy", {}).get("replicas", 1) + 1):
                host = len(self.containers) + 2
                addresses = {
                    one: f"{SUBNET}.{networks.index(one)}.{host}" for one in spec.get("networks", []) if one in networks
                }
                self.containers.append(Container(name, number, spec, addresses, folder / f"{name}-{number}"))
        self.names = Names(self.containers)
        self.away: set[str] = set()
        self.ended = threading.Event()
        self.engine = threading.Thread(target=self.mind, daemon=True)

    def of(self, service: str, number: int = 1) -> Container:
        return next(one for one in self.containers if (one.service, one.number) == (service, number))

    # --- networks

    def wire(self) -> None:
        """Make a bridge for each network, in a network namespace of its own, and plug each container into its ones."""
        run("ip", "netns", "add", "nct-switch")
        for bridge in self.bridges.values():
            run("ip", "-n", "nct-switch", "link", "add", bridge, "type", "bridge")
            run("ip", "-n", "nct-switch", "link", "set", bridge, "up")
        for number, one in enumerate(self.containers):
            run("ip", "netns", "add", one.namespace)
            run("ip", "-n", one.namespace, "link", "set", "lo", "up")
            for place, (network, address) in enumerate(one.addresses.items()):
                outer, inner = f"v{number}x{place}", f"eth{place}"
                run("ip", "-n", "nct-switch", "link", "add", outer, "type", "veth", "peer", "name", inner)
                run("ip", "-n", "nct-switch", "link", "set", inner, "netns", one.namespace)
                run("ip", "-n", "nct-switch", "link", "set", outer, "master", self.bridges[network], "up")
                run("ip", "-n", one.namespace, "address", "add", f"{address}/24", "dev", inner)
                run("ip", "-n", one.namespace, "link", "set", inner, "up")
            self.names.listen(one)
        self.names.start()

    def unwire(self) -> None:
        """Remove every network that was made here."""
        self.names.ended.set()
        for namespace in (*(one.namespace for one in self.containers), "nct-switch"):
            run("ip", "netns", "delete", namespace, check=False)

    # --- containers

    def start(self, one: Container) -> None:
        """Start a container, from its image anew where it was stopped."""
        one.folder.mkdir(parents=True, exist_ok=True)
        one.image = one.image or config(one.spec["image"])
        if not one.name:
            # "none": else buildah mounts a resolv.conf of its own as well, and chance says which of the two is seen
            command = ["buildah", "from", "--pull-never", "--dns", "none", one.spec["image"]]
            one.name = run(*command).stdout.strip()
        command = ["ip", "netns", "exec", one.namespace, "unshare", "--pid", "--fork", "--mount-proc", "--uts"]
        command += ["--kill-child", "sh", "-c", 'hostname "$0" && exec "$@"', one.hostname]
        command += ["buildah", "run", "--isolation", "chroot", "--no-hosts", "--hostname", one.hostname]
        command += ["--user", one.user]
        command += [word for mount in self.mounts(one) for word in ("--volume", mount)]
        command += [word for name, value in one.environment.items() for word in ("--env", f"{name}={value}")]
        with one.log.open("ab") as log:
            one.process = subprocess.Popen(
                [*command, one.name, "--", *one.argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def mounts(self, one: Container) -> Iterator[str]:
        """What is mounted into a container, as ``host:inside[:ro]``."""
        hosts, names = one.folder / "hosts", one.folder / "resolv.conf"
        own = "".join(f"{address} {one.hostname}\n" for address in one.addresses.values())
        hosts.write_text(f"127.0.0.1 localhost\n{own}")
        names.write_text("nameserver 127.0.0.11\noptions timeout:5 attempts:5\n")
        yield f"{hosts}:/etc/hosts:ro"
        yield f"{names}:/etc/resolv.conf:ro"
        for secret in one.spec.get("secrets", []):
            yield f"{(self.base / self.file['secrets'][secret]['file']).resolve()}:/run/secrets/{secret}:ro"
        for place in one.spec.get("tmpfs", []):
            there = one.folder / "tmpfs" / place.strip("/").replace("/", "-")
            shutil.rmtree(there, ignore_errors=True)
            there.mkdir(parents=True)
            there.chmod(0o1777)
            yield f"{there}:{place}"
        for volume in one.spec.get("volumes", []):
            source, _, rest = str(volume).partition(":")
            if not rest:  # of this container alone
                yield f"{self.volume(one, one.folder / 'volume', source)}:{source}"
            elif source.startswith("."):
                yield f"{(self.base / source).resolve()}:{rest}"
            else:
                yield f"{self.volume(one, self.folder / 'volumes' / source, rest)}:{rest}"

    def volume(self, one: Container, there: Path, place: str) -> Path:
        """A volume as an engine makes one: with what the image has at that place, and its owner."""
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            mounted = Path(run("buildah", "mount", one.name).stdout.strip())
            shutil.copytree(mounted / place.lstrip("/"), there, symlinks=True)
            owner = (mounted / place.lstrip("/")).stat()
            os.chown(there, owner.st_uid, owner.st_gid)
            run("buildah", "umount", one.name)
        return there

    def processes(self, one: Container) -> list[int]:
        """The processes in a container's network, those that started it first."""
        return [int(pid) for pid in run("ip", "netns", "pids", one.namespace, check=False).stdout.split()]

    def inner(self, one: Container) -> int:
        """The first process of the container's own program. Raises LookupError where there is none yet."""
        root = Path("/").stat()
        for pid in self.processes(one):
            try:
                seen = Path(f"/proc/{pid}/root/").stat()
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) != (root.st_dev, root.st_ino):
                return pid
        raise LookupError(f"{one.hostname} does not run: {one.tail()}")

    def command(self, one: Container, *argv: str) -> list[str]:
        """``argv`` as a process beside those of a container, with the same image, network, user and environment."""
        user = self.uid(one)
        command = ["nsenter", "--target", str(self.inner(one)), "--mount", "--net", "--pid", "--uts", "--root"]
        command += [f"--wdns={self.workdir(one)}", "--setuid", user[0], "--setgid", user[1], "--"]
        return [*command, "env", "-i", *(f"{name}={value}" for name, value in one.environment.items()), *argv]

    def workdir(self, one: Container) -> str:
        return one.image.get("WorkingDir") or "/"

    def uid(self, one: Container) -> tuple[str, str]:
        """User and group of a container, as numbers."""
        with Path(f"/proc/{self.inner(one)}/status").open() as status:
            lines = dict(line.split(":", 1) for line in status if ":" in line)
        return lines["Uid"].split()[0], lines["Gid"].split()[0]

    def exec(self, service: str, *argv: str, number: int = 1, check: bool = True, timeout: float = 600) -> str:
        """What a command says in a container of ``service``."""
        return run(*self.command(self.of(service, number), *argv), check=check, timeout=timeout).stdout

    def health(self, one: Container) -> str:
        """Why a container is not healthy, by the check of the file; empty where it is."""
        check = one.spec.get("healthcheck")
        if check is None:
            return ""
        kind, *argv = check["test"]
        argv = ["sh", "-c", *argv] if kind == "CMD-SHELL" else argv
        try:
            done = run(*self.command(one, *argv), check=False, timeout=seconds(check["timeout"]) * 3)
        except (LookupError, subprocess.TimeoutExpired) as error:
            return str(error)[-300:]
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-300:] or "not well"

    def wait(self, one: Container, condition: str, timeout: float) -> None:
        """Until a container is what another one waits for. Raises AssertionError."""
        end, said = time.monotonic() + timeout, ""
        while time.monotonic() < end:
            code = one.process.poll() if one.process else None
            if condition == "service_completed_successfully":
                if code is not None:
                    assert code == 0, f"{one.hostname} ended with {code}: {one.tail()}"
                    return
            elif code is not None:  # an engine would start it again
                one.restarts += 1
                assert one.restarts <= MOST_RESTARTS, f"{one.hostname} ends with {code}: {one.tail()}"
                self.start(one)
            elif not (said := self.health(one)):
                return
            time.sleep(2)
        raise AssertionError(f"{one.hostname} is not well after {timeout:.0f} s: {said}\n{one.tail()}")

    def up(self, timeout: float = 900) -> None:
        """Start everything in the order of its dependencies, and wait until all are well."""
        started: set[str] = set()
        services = [name for name, spec in self.file["services"].items() if not spec.get("profiles")]
        while left := [name for name in services if name not in started]:
            for name in left:
                before = self.file["services"][name].get("depends_on", {})
                if not before.keys() <= started:
                    continue
                for other, how in before.items():
                    for one in self.containers:
                        if one.service == other:
                            self.wait(one, how["condition"], timeout)
                for one in self.containers:
                    if one.service == name:
                        self.start(one)
                started.add(name)
        for one in self.containers:
            if "healthcheck" in one.spec and one.process:
                self.wait(one, "service_healthy", timeout)
        self.engine.start()

    def mind(self) -> None:
        """As an engine does: start again what has ended and is not ``away`` on purpose."""
        while not self.ended.wait(1):
            for one in self.containers:
                ended = one.process is not None and one.process.poll() is not None
                if ended and one.spec["restart"] != "no" and one.hostname not in self.away:
                    self.start(one)

    def do(self, service: str, *argv: str, timeout: float = 600) -> str:
        """What ``compose run --rm`` says of a command in a new container. Raises AssertionError where it fails."""
        one = self.of(service)
        one.spec = one.spec | {"command": list(argv)}
        one.log.unlink(missing_ok=True)
        self.start(one)
        try:
            self.wait(one, "service_completed_successfully", timeout)
        finally:
            self.kill(one)
            run("buildah", "rm", one.name)
            one.name = ""
        return one.log.read_text(errors="replace")

    def signal(self, one: Container, number: int) -> None:
        """Send a signal to the first process of a container."""
        os.kill(self.inner(one), number)

    def kill(self, one: Container) -> None:
        """End a container at once, with all of its processes."""
        if one.process and one.process.poll() is None:
            for pid in self.processes(one):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            one.process.wait(30)

    def lose(self, one: Container) -> None:
        """Have a container go with all that it has written. Another one comes in its place."""
        self.away.add(one.hostname)
        self.kill(one)
        run("buildah", "rm", one.name)
        shutil.rmtree(one.folder / "volume", ignore_errors=True)
        one.name = ""
        self.start(one)
        self.away.remove(one.hostname)

    def written(self, one: Container) -> list[str]:
        """Files of the image's own file system that a container made or changed: none, where it could be read-only."""
        found = json.loads(run("buildah", "inspect", one.name).stdout)
        mounted = Path(run("buildah", "mount", one.name).stdout.strip())
        upper = mounted.parent / "diff"
        # where something is mounted
        ours = ("etc/hosts", "etc/resolv.conf", "etc/hostname", "etc/nginx", "run/", "docker-entrypoint-initdb.d/")
        names = [path.relative_to(upper).as_posix() for path in upper.rglob("*") if path.is_file()]
        run("buildah", "umount", one.name)
        assert found["ContainerID"]
        return [name for name in names if not name.startswith(ours)]

    def down(self) -> None:
        """End and remove all containers and networks; volumes and logs stay in the folder."""
        self.ended.set()
        if self.engine.is_alive():
            self.engine.join()
        for one in reversed(self.containers):
            self.kill(one)
        for one in self.containers:
            if one.name:
                run("buildah", "rm", one.name, check=False)
        self.unwire()
