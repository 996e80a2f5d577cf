"""What the machine must bring: Java, disk, free ports. Standard library only.

Each problem is one line that says what to do.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from include.local.private_network import refusal

if TYPE_CHECKING:
    from upath import UPath

SUPPORTED_JAVA = (17, 21)
EMBEDDED_VERSION = "0.7.2"
"""As requirements.in pins it."""
FIRST_SETUP_BYTES = 5 * 10**9
RUNNING_BYTES = 500 * 10**6


class InstallationError(Exception):
    """Something the operator has to change. The message is one line that says what is wrong and what to do."""


def java_executable(environment: Mapping[str, str]) -> Path | None:
    """The ``java`` that Spark's scripts would take: of JAVA_HOME, else the first on PATH; None where there is none."""
    home = environment.get("JAVA_HOME")
    if home:
        candidate = Path(home) / "bin" / "java"
        return candidate if os.access(candidate, os.X_OK) else None
    found = shutil.which("java", path=environment.get("PATH"))
    return Path(found) if found else None


def java_major(text: str) -> int | None:
    """The major version in the output of ``java -version``: 17 of ``"17.0.15"``, 8 of ``"1.8.0_392"``."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None


def java_problem(java: Path | None, text: str, environment: Mapping[str, str]) -> str | None:
    """One line where ``java`` is missing or prints an unsupported version, else None."""
    install = "install Java 17 (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or set JAVA_HOME to one"
    if java is None:
        home = environment.get("JAVA_HOME")
        where = f"JAVA_HOME is {home}, which has no bin/java" if home else "there is no java on PATH"
        return f"Spark needs Java 17, and {where}: {install}"
    major = java_major(text)
    if major not in SUPPORTED_JAVA:
        found = f"Java {major}" if major else "no Java that starts"
        return f"Spark needs Java 17, and {java} is {found}: {install}"
    return None


def embedded_problem(there: str | None) -> str | None:
    """One line where the embedded engine is missing or ``there`` in another version than the tests were run with."""
    if there == EMBEDDED_VERSION:
        return None
    found = f"is {there}" if there else "is missing"
    return f"NOCTURNE_ENGINE=embedded needs pysail {EMBEDDED_VERSION}, which {found} here: `make venv` brings it"


def no_private_network(reason: str) -> str:
    """What to do where this system gives the embedded engine nowhere to be locked up."""
    return (
        "the embedded engine asks nobody for a token, and this system gives it no network of its own "
        f"({reason}): NOCTURNE_ENGINE=spark runs here, with Java 17"
    )


def check_embedded(container: bool = False) -> None:
    """Raise InstallationError where the embedded engine is not the one that was tested, or has nowhere to be locked up.

    A ``container`` is such a place: its network has nobody but the services.
    """
    try:
        there = version("pysail")
    except PackageNotFoundError:
        there = None
    if problem := embedded_problem(there):
        raise InstallationError(problem)
    if not container and (reason := refusal()):
        raise InstallationError(no_private_network(reason))


def check_java(environment: Mapping[str, str] | None = None) -> None:
    """Raise InstallationError where Spark could not start for want of a Java it supports."""
    environment = os.environ if environment is None else environment
    java = java_executable(environment)
    text = ""
    if java is not None:
        try:
            done = subprocess.run(  # noqa: S603  # the Java that Spark would start
                [str(java), "-version"], capture_output=True, text=True, timeout=60, env=dict(environment), check=False
            )
            text = done.stderr + done.stdout if done.returncode == 0 else ""
        except (OSError, subprocess.TimeoutExpired):
            text = ""
    problem = java_problem(java, text, environment)
    if problem:
        raise InstallationError(problem)


def check_path(path: Path, what: str) -> None:
    """Raise InstallationError where the path has white space: Spark's scripts and Java options do not survive it."""
    if any(character.isspace() for character in str(path)):
        raise InstallationError(
            f"Spark does not start from a path with a space, and {what} is {path}: put it elsewhere"
        )


def existing(path: Path) -> Path:
    """The nearest folder at or above ``path`` that exists."""
    while not path.exists():
        path = path.parent
    return path


def check_disk(path: Path, needed_bytes: int, what: str) -> None:
    """Raise InstallationError where the file system of ``path`` has less than ``needed_bytes`` free."""
    free = shutil.disk_usage(existing(path)).free
    if free < needed_bytes:
        raise InstallationError(
            f"{what} needs {needed_bytes / 1e9:.1f} GB and {existing(path)} has {free / 1e9:.1f} GB free: "
            "free some space or put the installation on another disk"
        )


def check_bucket(path: UPath) -> None:
    """Raise InstallationError where the bucket of ``path``, a place in S3, cannot be listed."""
    try:
        path.fs.call_s3("list_objects_v2", Bucket=path.drive, MaxKeys=1)
    except Exception as error:  # noqa: BLE001  # of botocore, of s3fs, or of the network: each says what is wrong
        first = str(error).strip().partition("\n")[0]
        raise InstallationError(
            f"{path} cannot be reached ({type(error).__name__}: {first}): is the bucket there, does this shell have "
            "AWS credentials for it, and is AWS_ENDPOINT_URL right, where it is not Amazon's?"
        ) from None


def make_bucket(path: UPath) -> bool:
    """Make the bucket of ``path``, a place in S3, where there is none that we may list. Returns whether it was made."""
    try:
        path.fs.call_s3("head_bucket", Bucket=path.drive)
    except FileNotFoundError:
        pass
    except Exception:  # noqa: BLE001  # check_bucket says what is wrong, in a line
        return False
    else:
        return False
    try:
        path.fs.call_s3("create_bucket", Bucket=path.drive)
    except FileExistsError:  # somebody else was a moment faster
        return False
    except Exception as error:  # noqa: BLE001  # of botocore, of s3fs, or of the network
        first = str(error).strip().partition("\n")[0]
        raise InstallationError(f"the bucket of {path} cannot be made: {first}: make it by hand") from None
    return True


def port_is_free(host: str, port: int) -> bool:
    """Whether ``host:port`` can be bound now.

    Raises InstallationError where the address itself is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            raise InstallationError(f"port {port} may not be bound by this user: take one above 1023") from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise InstallationError(
                f"the address {host} cannot be bound ({error.strerror}): set NOCTURNE_HOST"
            ) from None
    return True


def port_problem(service: str, port: int, variable: str, holder: str | None) -> str:
    """The line for a port that somebody else holds."""
    by = f" by {holder}" if holder else ""
    return f"port {port} of {service} is taken{by}: stop it, or choose another port with {variable}=<port>"


def denied_problem(error: OSError) -> str | None:
    """The line for a file of ours that belongs to somebody else, as in a volume that another user has filled."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not error.filename:
        return None
    return (
        f"user {os.geteuid()} may not write {error.filename} ({error.strerror}): start as the user who owns "
        "it, or give it to this one"
    )


def full_disk_problem(error: OSError) -> str | None:
    """The line for an error that means a full disk or quota, else None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    where = f" while writing {error.filename}" if error.filename else ""
    return f"the disk is full{where}: free some space and run the same command again"
