"""Secrets are private, made once, and reach children by environment only; jars are what the checksums say."""

import hashlib
import json
import re
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from include.core.settings import Settings
from include.local import bootstrap, credentials, jars, setup
from include.local.checks import InstallationError
from include.local.environment import environment


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    return Settings(var=tmp_path / "var", airflow_port=18081, mlflow_port=15001, spark_port=25003)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_private_and_stay(installation: Settings) -> None:
    assert set(credentials.generate(installation)) == set(credentials.SECRETS)
    assert mode(installation.secrets) == 0o700
    files = sorted(installation.secrets.iterdir())
    assert {mode(path) for path in files} == {0o600}
    before = {path.name: path.read_text() for path in files}
    assert len(set(before.values())) == len(before)
    (installation.secrets / "jwt_secret").chmod(0o644)
    assert credentials.generate(installation) == []
    assert {path.name: path.read_text() for path in sorted(installation.secrets.iterdir())} == before
    assert mode(installation.secrets / "jwt_secret") == 0o600


def test_a_secret_that_was_cut_off_is_made_again(installation: Settings) -> None:
    credentials.generate(installation)
    (installation.secrets / "fernet_key").write_text("")
    assert credentials.generate(installation) == ["fernet_key"]


def test_the_password_file_of_airflow_follows_the_secret(installation: Settings) -> None:
    credentials.generate(installation)
    (installation.secrets / "airflow_admin_password").write_text("changed\n")
    credentials.generate(installation)
    path = installation.secrets / "airflow_passwords.json"
    assert json.loads(path.read_text()) == {"admin": "changed"}
    # Of further logins Airflow makes the passwords, and writes them there.
    path.write_text(json.dumps({"admin": "changed", "ann": "hers"}))
    (installation.secrets / "airflow_admin_password").write_text("again\n")
    credentials.generate(installation)
    assert json.loads(path.read_text()) == {"admin": "again", "ann": "hers"}


def test_a_child_gets_exactly_these_settings(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.generate(installation)
    child = environment(installation)
    for name in [name for name in child if name.startswith("NOCTURNE_")]:
        monkeypatch.setenv(name, child[name])
    assert Settings() == installation


def test_everything_a_child_writes_follows_var(installation: Settings) -> None:
    credentials.generate(installation)
    child = environment(installation)
    assert str(installation.var) in child["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    assert child["AIRFLOW__LOGGING__BASE_LOG_FOLDER"].startswith(str(installation.var))
    assert child["SPARK_REMOTE"].startswith("sc://127.0.0.1:25003/;")
    assert child["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:15001"
    assert child["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18081/execution/"


def test_what_the_caller_has_of_another_installation_does_not_reach_a_child(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials.generate(installation)
    foreign = (
        "SPARK_HOME",
        "HADOOP_CONF_DIR",
        "AIRFLOW_CONFIG",
        "DBT_PROFILES_DIR",
        "DBT_TARGET_PATH",
        "MLFLOW_RUN_ID",
    )
    for name in foreign:
        monkeypatch.setenv(name, "/opt/other")
    monkeypatch.setenv("PYTHONPATH", "/opt/other")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    child = environment(installation)
    assert not child.keys() & foreign
    assert child["PYTHONPATH"] == str(installation.home)
    assert child["NO_PROXY"].split(",") == ["internal.example", "localhost", "127.0.0.1", "::1"]
    assert child["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_without_secrets_the_environment_says_what_to_do(installation: Settings) -> None:
    with pytest.raises(FileNotFoundError, match="make setup"):
        environment(installation)


def test_jars_that_an_image_brings_are_taken_where_nobody_may_write(
    tmp_path: Path, installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jars"
    folder.mkdir()
    (folder / "a.jar").write_bytes(b"a")
    monkeypatch.setattr(jars, "expected", lambda *_: {"a.jar": hashlib.sha256(b"a").hexdigest()})
    assert not jars.fetch(installation.model_copy(update={"jars": folder}))
    assert [path.name for path in folder.iterdir()] == ["a.jar"]


def test_jars_are_checked_by_content(tmp_path: Path) -> None:
    (tmp_path / "good.jar").write_bytes(b"good")
    (tmp_path / "bad.jar").write_bytes(b"bad")
    digest = hashlib.sha256(b"good").hexdigest()
    text = "".join(f"{digest}  {name}\n" for name in ("good.jar", "bad.jar", "missing.jar"))
    assert jars.wrong(tmp_path, jars.checksums(text)) == ["bad.jar", "missing.jar"]


def test_a_fetched_jar_that_differs_is_refused(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    there = installation.model_copy(update={"jars": installation.var / "jars"})

    def fetches_something_else(_: Settings, wanted: jars.Jars, cache: Path) -> None:
        (cache / "jars").mkdir(parents=True)
        for name in jars.expected(there, wanted):
            (cache / "jars" / name).write_bytes(b"something else")

    monkeypatch.setattr(jars, "resolve", fetches_something_else)
    with pytest.raises(InstallationError, match=r"config/jars\.sha256"):
        jars.fetch(there)
    assert not any(there.jars.glob("*.jar"))


def test_jars_are_fetched_once_whoever_asks_meanwhile(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    there = installation.model_copy(update={"jars": installation.var / "jars"})
    monkeypatch.setattr(jars, "expected", lambda *_: {"a.jar": hashlib.sha256(b"a").hexdigest()})
    fetched = list[Path]()

    def fetches(_: Settings, wanted: jars.Jars, cache: Path) -> None:
        fetched.append(cache)
        time.sleep(0.2)
        (cache / "jars").mkdir(parents=True, exist_ok=True)
        (cache / "jars" / "a.jar").write_bytes(b"a")

    monkeypatch.setattr(jars, "resolve", fetches)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(jars.fetch, [there, there])) == [False, True]
    assert len(fetched) == 1


@pytest.mark.parametrize("pinned", [jars.LAKE, jars.S3])
def test_the_committed_checksums_are_of_the_pinned_versions(installation: Settings, pinned: jars.Jars) -> None:
    names = {"{}_{}-{}.jar".format(*package.split(":")) for package in pinned.packages}
    assert set(jars.expected(installation, pinned)) >= names


def test_the_jars_for_s3_are_for_those_who_use_it(installation: Settings) -> None:
    assert jars.needed(installation) == [jars.LAKE]
    assert jars.S3 in jars.needed(installation.model_copy(update={"lake_uri": "s3://bucket/lake"}))


def test_a_migration_is_done_again_for_another_version_or_a_lost_database(tmp_path: Path) -> None:
    stamp, database = tmp_path / "stamp", tmp_path / "x.db"
    stamp.write_text("key")
    assert not setup.migrated(stamp, "key", database)
    database.write_text("")
    assert setup.migrated(stamp, "key", database)
    assert not setup.migrated(stamp, "other key", database)


def test_a_migration_works_on_a_copy_with_all_that_was_written(tmp_path: Path) -> None:
    database = tmp_path / "x.db"
    (tmp_path / "x.db.migrating-wal").write_text("of an earlier try that was killed")
    assert not setup.copied(database).exists()
    with sqlite3.connect(database) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t AS SELECT 1 AS a")
        writer.commit()
        copy = setup.copied(database)  # the newest rows are beside the database still
        with sqlite3.connect(copy) as migrating:
            assert migrating.execute("SELECT a FROM t").fetchall() == [(1,)]
            migrating.execute("DROP TABLE t")
    with sqlite3.connect(database) as there:
        assert there.execute("SELECT a FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("alembic.util.exc.CommandError: Can't locate revision identified by 'ffffffffffff'", "a newer release"),
        ("sqlite3.OperationalError: database or disk is full", "could not be migrated .*disk is full"),
    ],
)
def test_why_a_database_was_not_migrated_is_said_in_a_line(tmp_path: Path, last: str, said: str) -> None:
    log = tmp_path / "mlflow-migrate.log"
    log.write_text(f"Traceback (most recent call last):\n{last}\n")
    problem = setup.migration_problem("mlflow", log)
    assert re.search(said, problem)
    assert "\n" not in problem


def test_the_environment_is_built_again_when_a_lock_changes(tmp_path: Path) -> None:
    for name in bootstrap.LOCKS:
        (tmp_path / name).write_text("a==1")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    python.chmod(0o755)
    wanted = bootstrap.key(tmp_path, "3.12.1")
    assert not bootstrap.is_current(tmp_path, wanted)
    (tmp_path / ".venv" / ".nocturne").write_text(wanted)
    assert bootstrap.is_current(tmp_path, wanted)
    (tmp_path / "requirements.txt").write_text("a==2")
    assert not bootstrap.is_current(tmp_path, bootstrap.key(tmp_path, "3.12.1"))
    assert not bootstrap.is_current(tmp_path, bootstrap.key(tmp_path, "3.12.2"))
