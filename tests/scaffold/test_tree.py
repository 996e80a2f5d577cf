"""A copy of the whole repository, in which a source and a use case on it are made, and run at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.core.settings import HOME
from tests.scaffold import conftest as samples

pytestmark = pytest.mark.integration

ANSWERS = ("--source", "shop", "--task", "binary", "--label", "count(order_id) > 0", "--entity", "customer")


def run(tree: Path, *argv: str) -> str:
    """A command in ``tree``, of its own packages; what it said. Fails where it does."""
    ours = {
        "NOCTURNE_HOME": str(tree),
        "NOCTURNE_VAR": str(tree / "var"),
        "PYTHONPATH": str(tree),
        "AIRFLOW_HOME": str(tree / "var" / "airflow"),
        "AIRFLOW_CONFIG": str(tree / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tree / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tree / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tree / 'var' / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tree / "var" / "log"),
    }
    theirs = ("NOCTURNE_", "AIRFLOW", "_AIRFLOW")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    done = subprocess.run(argv, cwd=tree, env=environment | ours, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    return done.stdout


def python(tree: Path, *argv: str) -> str:
    return run(tree, sys.executable, "-m", *argv)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as it is, committed, with a source and a use case that were made in it."""
    folder = tmp_path_factory.mktemp("tree") / "repository"
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
    git = ("git", "-c", "user.name=tests", "-c", "user.email=tests@localhost")
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "as it is")):
        run(folder, *git, *command)
    place = samples.orders(tmp_path_factory.mktemp("samples"))
    python(folder, "include.scaffold", "source", "--name", "shop", "--from", str(place))
    python(folder, "include.scaffold", "use-case", "--name", "reorders", *ANSWERS, "--label-days", "30")
    return folder


def test_no_file_that_was_there_is_changed(tree: Path) -> None:
    changed = run(tree, "git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert len(changed) > 20
    assert [line for line in changed if not line.startswith("?? ")] == []


def test_it_is_written_as_the_project_writes(tree: Path) -> None:
    new = [line[3:] for line in run(tree, "git", "status", "--porcelain", "--untracked-files=all").splitlines()]
    code = [path for path in new if path.endswith(".py")]
    python(tree, "ruff", "check", "--no-cache", *code)
    python(tree, "ruff", "format", "--no-cache", "--check", *code)
    python(
        tree, "sqlfluff", "lint", "--nocolor", "--disable-progress-bar", *(one for one in new if one.endswith(".sql"))
    )


def test_the_source_and_the_use_case_run_at_once(tree: Path) -> None:
    """Their own tests: landing to silver, and the features beside an oracle, on the embedded engine."""
    said = python(tree, "pytest", "-q", "tests/sources/shop", "tests/use_cases/reorders", "-p", "no:cacheprovider")
    assert "3 passed" in said


def test_they_keep_the_rules_of_sources_and_dbt(tree: Path) -> None:
    rules = ("tests/policy/test_sources.py", "tests/policy/test_dbt_project.py", "tests/policy/test_privacy.py")
    python(tree, "pytest", "-q", *rules, "-p", "no:cacheprovider")


def test_their_dags_appear(tree: Path) -> None:
    shown = python(tree, "tests.policy.dag_facts", str(tree / "dags"))
    for dag_id in ("lakehouse_ingest_shop", "lakehouse_transform_shop", "reorders_features", "reorders_monitor"):
        assert f'"{dag_id}"' in shown
    assert '"errors": {}' in shown
