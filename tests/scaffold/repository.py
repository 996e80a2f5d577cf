"""A copy of this repository to scaffold in, with a history in git, and with services of its own where a test wants."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from include.core.settings import HOME
from tests.s3 import free_port

GIT = ("git", "-c", "user.name=tests", "-c", "user.email=tests@localhost")


@dataclass(frozen=True)
class Repository:
    """The repository in the folder ``tree``; ``settings`` are variables of its own for what runs in it."""

    tree: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def run(self, *argv: str, code: int | None = 0) -> str:
        """What a command said, of the packages of the copy. Fails where its exit code is another; None takes any."""
        theirs = ("NOCTURNE_", "AIRFLOW", "_AIRFLOW")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
        done = subprocess.run(
            argv,
            cwd=self.tree,
            env=environment | {"PYTHONPATH": str(self.tree), **self.settings},
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"{done.stdout[-6000:]}{done.stderr[-3000:]}"
        assert code is None or done.returncode == code, f"{' '.join(argv)}: {done.returncode}\n{said}"
        return done.stdout + done.stderr

    def python(self, *argv: str, code: int | None = 0) -> str:
        return self.run(sys.executable, "-m", *argv, code=code)

    def nocturne(self, *argv: str, code: int | None = 0) -> str:
        """The same of one of our commands, as ``make`` runs it."""
        return self.python("include.cli", *argv, code=code)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run(*GIT, "commit", "--quiet", "--message", message)

    def changed(self) -> list[str]:
        """What git says has changed since the last commit, a line a file."""
        return self.run("git", "status", "--porcelain", "--untracked-files=all").splitlines()


def copied(folder: Path, settings: Mapping[str, str] | None = None) -> Repository:
    """The repository as it is, committed, in the new ``folder``."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=HOME,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (HOME / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOME / name, folder / name)
    found = Repository(folder, settings or {})
    found.run("git", "init", "--quiet")
    found.commit("as it is")
    return found


def airflow_of(folder: Path) -> dict[str, str]:
    """What makes Airflow, without any service, read the DAGs of the copy in ``folder`` and nothing of ours."""
    return {
        "NOCTURNE_HOME": str(folder),
        "NOCTURNE_VAR": str(folder / "var"),
        "AIRFLOW_HOME": str(folder / "var" / "airflow"),
        "AIRFLOW_CONFIG": str(folder / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'var' / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "var" / "log"),
    }


@contextmanager
def installed(folder: Path) -> Iterator[Repository]:
    """The same with an installation set up, on free ports. Its services are stopped at the end; ``up`` starts them."""
    ports = {f"NOCTURNE_{name}_PORT": str(free_port()) for name in ("AIRFLOW", "MLFLOW", "SPARK")}
    found = copied(folder, ports)
    found.nocturne("setup")
    try:
        yield found
    finally:
        found.nocturne("down", code=None)
