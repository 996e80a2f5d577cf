"""An upgrade that fails leaves databases as they were; one that is killed goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from include.core.settings import Settings
from include.local import upgrading
from include.local.checks import InstallationError
from include.local.setup import database_key


@pytest.fixture
def earlier(tmp_path: Path) -> Settings:
    """An installation whose databases an earlier release has migrated."""
    of = Settings(var=tmp_path / "var")
    of.run.mkdir(parents=True)
    for package, path in (("apache-airflow", of.airflow_database), ("mlflow", of.mlflow_database)):
        path.parent.mkdir()
        write(path, "CREATE TABLE t AS SELECT 'of before' AS a")
        (of.run / f"{package}.migrated").write_text(f"{package} of before")
    return of


def write(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(sql)


def migrated(of: Settings, package: str, path: Path) -> None:
    """As set-up does it: a database is of now, and says so."""
    write(path, "UPDATE t SET a = 'of now'")
    (of.run / f"{package}.migrated").write_text(database_key(package, path))


def content(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT a FROM t").fetchone()[0])


def upgrade(of: Settings, work: Callable[[], object]) -> None:
    with upgrading.upgrading(of, print):
        work()


def fail() -> None:
    raise InstallationError("the lake cannot be brought forward: it is odd")


def test_where_the_lake_fails_the_databases_are_put_back(earlier: Settings) -> None:
    def work() -> None:
        migrated(earlier, "apache-airflow", earlier.airflow_database)
        fail()

    with pytest.raises(InstallationError, match=r"it is odd\. The databases of airflow are as they were before"):
        upgrade(earlier, work)
    assert content(earlier.airflow_database) == "of before"
    assert (earlier.run / "apache-airflow.migrated").read_text() == "apache-airflow of before"
    assert not (earlier.var / "upgrade").exists()


def test_where_nothing_was_migrated_the_error_is_as_it_was(earlier: Settings) -> None:
    with pytest.raises(InstallationError, match=r"it is odd$"):
        upgrade(earlier, fail)


def test_after_a_kill_and_then_a_failure_the_databases_are_as_before_the_first_try(earlier: Settings) -> None:
    def killed() -> None:
        migrated(earlier, "apache-airflow", earlier.airflow_database)
        raise KeyboardInterrupt

    def failed() -> None:
        migrated(earlier, "mlflow", earlier.mlflow_database)
        fail()

    with pytest.raises(KeyboardInterrupt):
        upgrade(earlier, killed)
    assert content(earlier.airflow_database) == "of now"
    with pytest.raises(InstallationError, match="The databases of airflow and mlflow are as they were"):
        upgrade(earlier, failed)
    assert content(earlier.airflow_database) == content(earlier.mlflow_database) == "of before"


def test_one_that_goes_well_leaves_nothing_behind_and_is_not_due_again(earlier: Settings) -> None:
    def work() -> None:
        migrated(earlier, "apache-airflow", earlier.airflow_database)
        migrated(earlier, "mlflow", earlier.mlflow_database)
        earlier.lake.mkdir(parents=True)
        (earlier.lake / "_layout.json").write_text(f'{{"version": {upgrading.LAYOUT}}}')

    assert upgrading.is_due(earlier)
    upgrade(earlier, work)
    assert content(earlier.mlflow_database) == "of now"
    assert not upgrading.is_due(earlier)
    assert not (earlier.var / "upgrade").exists()


def test_a_first_start_keeps_nothing(tmp_path: Path) -> None:
    of = Settings(var=tmp_path / "var")
    upgrade(of, lambda: None)
    assert not of.var.exists()
