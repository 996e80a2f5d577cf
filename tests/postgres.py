"""A real PostgreSQL on loopback, of a test's own, which can be stopped and started again."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ingestion.connectors.test_database import PASSWORD, Server, programs, running, who
from tests.s3 import free_port


@contextmanager
def made() -> Iterator[tuple[Server, Path]]:
    """A server that does not run yet, and the folder of its data."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    found = Server(programs(), free_port())
    (secret := folder / "password").write_text(PASSWORD)
    secret.chmod(0o644)
    command = [str(found.bin / "initdb"), "-D", str(folder / "data"), "-U", "toys", "-A", "scram-sha-256"]
    command += ["--pwfile", str(secret), "--no-sync", "-E", "UTF8", "--locale", "C"]
    subprocess.run(command, **who(), check=True, capture_output=True, cwd=folder)
    yield found, folder / "data"
    shutil.rmtree(folder)


@contextmanager
def server() -> Iterator[Server]:
    """A server that runs while this lasts."""
    with made() as (found, data), running(found, data):
        yield found


def url(of: Server, database: str = "postgres", password: str = PASSWORD, user: str = "toys") -> str:
    """The address of a database as a setting gives it."""
    return f"postgresql://{user}:{password}@127.0.0.1:{of.port}/{database}"
