"""A backup that was made while others worked is put into an empty installation, and all is as it was at one moment.

On a lake that real ingestions made, with databases in which somebody writes.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from include.core import database
from include.core.lease import BusyError, lease
from include.core.settings import Settings, settings
from include.governance import verify
from include.lake import audit, commit, maintain, snapshot, usage
from include.local import installation
from include.local.backup import begun, databases, making, manifest, restoring, sealing
from include.local.backup.databases import Database
from include.local.backup.making import NotOursError, Request
from include.local.backup.manifest import BrokenBackupError, Manifest
from include.local.backup.restoring import NotEmptyError
from include.local.backup.sealing import PassphraseError
from include.local.checks import InstallationError
from include.local.setup import set_up
from include.serving.sql import users
from tests import commands, s3
from tests.conftest import installed
from tests.ingestion import test_late_rows as toys
from tests.ingestion.connectors.test_database import PASSWORD, Server
from tests.killed import Killed, killed_at
from tests.serving.publishing.conftest import postgres

__all__ = ["postgres"]  # a fixture
SECRET = "the-key-that-nobody-may-see"
quiet = [].append


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "sources", lambda: {toys.SOURCE.name: toys.SOURCE})


@pytest.fixture
def nights(home: Path) -> Path:
    """An installation with a lake of two nights, databases, a model, a secret and alerts."""
    toys.land()
    for night in toys.NIGHTS[:2]:
        toys.run(night)
    here = settings()
    for path in (here.airflow_database, here.mlflow_database):
        path.parent.mkdir()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE runs (run TEXT)")
    write(here.airflow_database, "first")
    put(home / "mlflow" / "artifacts" / "models" / "m-1" / "model.ubj", "trees")
    put(home / "secrets" / "fernet_key", SECRET)
    put(home / "log" / "alerts.jsonl", '{"error": "late"}\n')
    put(home / "installation.json", f'{{"id": "toys", "var": "{home}"}}')
    put(home / "lake" / "_layout.json", '{"version": 6}')
    return home


@pytest.fixture
def to(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups") / "here"


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where to restore."""
    return tmp_path_factory.mktemp("restored") / "var"


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write(database: Path, run: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO runs VALUES (?)", [run])


def runs(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [run for (run,) in connection.execute("SELECT run FROM runs")]


def place(path: Path | str) -> Any:
    return settings().place(str(path))


def back_up(to: Path | str, **asked: Any) -> Manifest:
    return making.back_up(settings(), Request(place(to), **asked), quiet)


def restore(to: Path | str, into: Path, wanted: str = "") -> None:
    made = manifest.read(place(to), wanted)
    with installed(into):
        restoring.restore(settings(), place(to), made, quiet)


def objects(to: Path) -> set[Path]:
    """Those that are whole: what a killed backup had begun has another name, and goes."""
    return {path for path in (to / "objects").rglob("*") if path.is_file() and path.suffix != ".partial"}


def problems() -> list[str]:
    return [one for found in verify.verify().values() for one in found]


def test_what_is_restored_is_whole_and_the_next_night_runs_on_it(nights: Path, to: Path, empty: Path) -> None:
    before, versions = toys.published(), commit.versions_of(usage.tables())
    back_up(to, landing=True)
    toys.run(toys.NIGHTS[2])
    write(settings().airflow_database, "later")
    restore(to, empty)
    with installed(empty):
        assert toys.published() == before
        assert commit.versions_of(usage.tables()) == versions
        assert problems() == []
        assert runs(settings().airflow_database) == ["first"]
        assert runs(settings().mlflow_database) == []
        assert (empty / "mlflow" / "artifacts" / "models" / "m-1" / "model.ubj").read_text() == "trees"
        assert (empty / "secrets" / "fernet_key").read_text() == SECRET
        assert (empty / "secrets" / "fernet_key").stat().st_mode & 0o777 == 0o600
        assert settings().alerts.read_text() == '{"error": "late"}\n'
        for night in toys.NIGHTS[2:]:
            toys.run(night)
        toys.check()
        assert problems() == []


def test_all_that_an_installation_writes_is_in_a_backup_or_is_made_again(nights: Path, to: Path, empty: Path) -> None:
    here = settings()
    put(here.secrets / "accounts" / "ann", "drawn-for-ann")
    (here.var / "sql").mkdir()
    password = users.add("ann", "viewer")
    audit.record("login", "Airflow", "ann")
    put(here.lake / "_installation.json", "{}")
    put(here.lake / "_audit" / "a.jsonl", "")
    put(here.var / "audit" / "waiting" / "b.jsonl", "")
    put(here.var / "openlineage" / "events.jsonl", "{}")
    put(here.log / "sql.jsonl", "{}")
    made = back_up(to)
    assert making.unknown(here, made) == []
    put(here.var / "sql" / "grants.json", "{}")
    put(here.lake / "_rights.json", "{}")
    assert making.unknown(here, made) == ["lake/_rights.json", "sql/grants.json"]
    restore(to, empty)
    with installed(empty):
        assert users.users()["ann"].knows(password)
        assert audit.anchored() is not None
        assert audit.broken() == []
        assert (empty / "secrets" / "accounts" / "ann").read_text() == "drawn-for-ann"
        assert (empty / "secrets" / "accounts").stat().st_mode & 0o777 == 0o700
        for kept in ("lake/_audit/a.jsonl", "audit/waiting/b.jsonl", "openlineage/events.jsonl", "log/sql.jsonl"):
            assert (empty / kept).exists(), kept


def test_a_line_of_the_audit_log_that_comes_meanwhile_leaves_a_log_that_is_whole(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.record("login", "Airflow", "ann")
    versions = snapshot.versions

    def then_somebody_logs_in() -> dict[str, int]:
        found = versions()
        audit.record("login", "Airflow", "bob")
        return found

    monkeypatch.setattr(snapshot, "versions", then_somebody_logs_in)
    back_up(to)
    restore(to, empty)
    with installed(empty):
        assert audit.read()["who"].to_list() == ["ann"]
        assert audit.broken() == []


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "accounts/../../evil"])
def test_no_secret_leads_out_of_the_folder_of_secrets(name: str) -> None:
    with pytest.raises(BrokenBackupError, match="evil"):
        restoring.within(name)


def test_the_restored_one_is_another_installation_while_the_first_is_there(nights: Path, to: Path, empty: Path) -> None:
    back_up(to)
    restore(to, empty)
    own = installation.identify(Settings(var=empty), quiet)
    assert own != "toys"
    assert installation.identify(Settings(var=nights), quiet) == "toys"


def test_older_versions_can_still_be_read_after_a_restore(nights: Path, to: Path, empty: Path) -> None:
    """A model was trained on one."""
    back_up(to)
    restore(to, empty)
    with installed(empty):
        table = usage.opened("bronze.toys__trips", 1)
        assert {Path(one).exists() for one in table.file_uris()} == {True}


def test_a_second_backup_copies_what_has_changed(nights: Path, to: Path) -> None:
    back_up(to)
    first = objects(to)
    back_up(to)
    assert len(objects(to) - first) == 0
    put(nights / "mlflow" / "artifacts" / "models" / "m-2" / "model.ubj", "other trees")
    back_up(to)
    assert len(objects(to) - first) == 1
    kept = objects(to)
    toys.run(toys.NIGHTS[2])
    made = back_up(to)
    new = {path.name for path in objects(to) - kept}
    files = {entry.path for entry in made.files if entry.sha256 in new}
    assert files
    assert all(path.startswith("lake/") for path in files)
    assert len(files) < len(made.files) / 2


def test_a_file_that_is_in_the_last_backup_is_not_read_again(
    nights: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(to)
    read: list[str] = []
    kept = making.Objects.put
    monkeypatch.setattr(making.Objects, "put", lambda self, source: (read.append(str(source)), kept(self, source))[1])
    back_up(to)
    assert [path for path in read if "/lake/" in path] == []


def during(step: str, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``work`` happen once, just before the function ``step`` of snapshots is called."""
    kept, left = getattr(snapshot, step), [work]

    def first(*arguments: Any) -> Any:
        if left:
            left.pop()()
        return kept(*arguments)

    monkeypatch.setattr(snapshot, step, first)


def test_a_night_that_publishes_while_files_are_copied_is_not_in_it(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = toys.published()
    during("of", lambda: toys.run(toys.NIGHTS[2]), monkeypatch)
    made = back_up(to, landing=True)
    assert len(toys.published()) > len(before)
    assert made.tables["bronze.toys__trips"] < commit.version_of("bronze.toys__trips")
    restore(to, empty)
    with installed(empty):
        assert toys.published() == before
        assert problems() == []
        toys.run(toys.NIGHTS[2])
        toys.run(toys.NIGHTS[3])
        toys.check()


def test_a_night_under_way_goes_on_from_its_candidate(nights: Path, to: Path, empty: Path) -> None:
    """Airflow's database says that it was made; whoever audits and publishes it finds it after a restore."""
    night = toys.Run(toys.NIGHTS[2])
    night.judge()
    back_up(to, landing=True)
    restore(to, empty)
    with installed(empty):
        night.publish()
        toys.run(toys.NIGHTS[3])
        toys.check()
        assert problems() == []


def test_airflow_knows_of_nothing_that_the_lake_has_not_and_mlflow_of_all_that_it_names(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written between the steps: Airflow would take it for done, a ledger would name it."""
    during("versions", lambda: write(settings().airflow_database, "published"), monkeypatch)
    during("of", lambda: write(settings().mlflow_database, "champion"), monkeypatch)
    back_up(to)
    restore(to, empty)
    assert runs(empty / "airflow" / "airflow.db") == ["first"]
    assert runs(empty / "mlflow" / "mlflow.db") == ["champion"]


def test_a_publication_that_was_killed_half_way_is_finished_first(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = toys.Run(toys.NIGHTS[2])
    night.judge()
    with monkeypatch.context() as patch:
        killed_at(patch, commit, "commit", 1, after=True)
        with pytest.raises(Killed):
            night.publish()
    assert commit.unfinished()
    back_up(to)
    restore(to, empty)
    with installed(empty):
        assert not commit.unfinished()
        assert problems() == []


def test_where_maintenance_takes_files_meanwhile_the_versions_are_noted_again(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOCTURNE_VACUUM_HOURS", "0")
    settings.cache_clear()
    (noted,) = (one for one in usage.files_of(usage.opened("bronze.toys__trips"))["path"] if "06-12" in one)

    def clean() -> None:
        usage.opened("bronze.toys__trips").delete("trip = 2 AND partition_day = '2020-06-12'")
        maintain.vacuum({}, "by hand")

    said: list[str] = []
    during("of", clean, monkeypatch)
    made = making.back_up(settings(), Request(place(to)), said.append)
    assert [line for line in said if noted in line and "noted again" in line]
    assert not [entry for entry in made.files if entry.path.endswith(noted)]
    restore(to, empty)
    with installed(empty):
        assert len(toys.published()) == len(set(toys.published())) == 5


def test_only_what_is_committed_is_in_a_database_that_somebody_writes(nights: Path, to: Path, empty: Path) -> None:
    with closing(sqlite3.connect(settings().airflow_database)) as writer:
        writer.execute("INSERT INTO runs VALUES ('second')")
        writer.commit()  # which is in the file beside it
        writer.execute("INSERT INTO runs VALUES ('half')")
        back_up(to)
        writer.commit()
    restore(to, empty)
    assert runs(empty / "airflow" / "airflow.db") == ["first", "second"]


def test_a_damaged_database_is_not_backed_up(nights: Path, to: Path) -> None:
    back_up(to)
    before = manifest.ids(place(to))
    with settings().airflow_database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(databases.DatabaseError, match=r"the database of airflow .* is damaged"):
        back_up(to)
    assert manifest.ids(place(to)) == before


# --- killed, two at once, the oldest go ---


def test_a_backup_that_is_killed_leaves_the_earlier_one_and_the_next_one_goes_on(nights: Path, to: Path) -> None:
    first = back_up(to)
    for night in toys.NIGHTS[2:]:
        toys.run(night)
    code = (
        "import os, signal, sys\n"
        "from include.core.settings import settings\n"
        "from include.local.backup import making, objects\n"
        "kept, left = objects.copy, [3]\n"
        "def copy(*a):\n"
        "    left[0] -= 1\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    kept(*a)\n"
        "objects.copy = copy\n"
        "making.back_up(settings(), making.Request(settings().place(sys.argv[1])), print)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(to)], env=os.environ, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert manifest.ids(place(to)) == [first.id]
    assert making.checked(place(to), first, quiet) == []
    left = objects(to)
    made = back_up(to)
    assert left <= objects(to)
    assert making.checked(place(to), made, quiet) == []
    assert making.checked(place(to), first, quiet) == []


def test_what_a_killed_copy_left_goes(nights: Path, to: Path) -> None:
    back_up(to)
    put(to / "objects" / "ab" / ".abc.12.partial", "half")
    back_up(to)
    assert not list(to.rglob("*.partial"))


def test_the_oldest_go_and_only_what_none_of_the_others_needs(nights: Path, to: Path, empty: Path) -> None:
    model = nights / "mlflow" / "artifacts" / "models" / "m-1" / "model.ubj"
    made = []
    for number in range(4):
        put(model, f"trees {number}")
        made.append(back_up(to, keep=2))
    assert manifest.ids(place(to)) == [one.id for one in made[2:]]
    for one in made[2:]:
        assert making.checked(place(to), one, quiet) == []
    held = [path.read_bytes() for path in objects(to)]
    assert b"trees 0" not in held
    assert b"trees 2" in held
    restore(to, empty, made[2].id)
    assert (empty / "mlflow" / "artifacts" / "models" / "m-1" / "model.ubj").read_text() == "trees 2"


def test_nothing_goes_where_a_backup_cannot_be_read(nights: Path, to: Path) -> None:
    kept = back_up(to)
    put(nights / "mlflow" / "artifacts" / "models" / "m-1" / "model.ubj", "others")
    path = to / "backups" / f"{kept.id}.json"
    path.write_text(path.read_text()[:-9])
    before = objects(to)
    with pytest.raises(BrokenBackupError, match="is damaged"):
        back_up(to)
    assert before <= objects(to)


def test_a_second_one_at_once_is_refused(nights: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "PATIENCE", 0.1)
    with lease("backup"), pytest.raises(BusyError, match="backup: process"):
        back_up(to)


def test_each_place_has_the_backups_of_one_installation(
    nights: Path, to: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    back_up(to)
    (other := tmp_path_factory.mktemp("other") / "files").mkdir()
    put(other / "thesis.tex", "years of work")
    with pytest.raises(NotOursError, match="has files that are no backups"):
        back_up(other)
    put(nights / "installation.json", f'{{"id": "another", "var": "{nights}"}}')
    with pytest.raises(NotOursError, match="take=1"):
        back_up(to)
    back_up(to, take=True)


def test_a_dry_run_writes_nothing(nights: Path, to: Path) -> None:
    lines = making.plan(settings(), Request(place(to)))
    assert not to.exists()
    assert "lake: 4 tables" in "\n".join(lines)
    back_up(to)
    toys.run(toys.NIGHTS[2])
    before = objects(to)
    lines = making.plan(settings(), Request(place(to), keep=1))
    assert objects(to) == before
    assert "are new or changed" in lines[1]
    assert "0 files, 0.0 MB, are new" not in lines[1]
    assert lines[-1].startswith("  and then remove the backups 2")


def test_there_is_nothing_to_back_up_where_nothing_is_set_up(home: Path, to: Path) -> None:
    assert commands.run("backup", "--to", str(to)) == 1
    assert not to.exists()


def test_no_backup_is_made_between_two_layouts(nights: Path, to: Path) -> None:
    put(nights / "lake" / "_migrating.json", "{}")
    with pytest.raises(making.NotSettledError, match="make upgrade"):
        back_up(to)
    assert not to.exists()


# --- damaged, in the way, broken off ---


def spoilt(to: Path, made: Manifest, part: str) -> Path:
    (entry, *_) = (one for one in made.files if part in one.path)
    path = to / "objects" / entry.sha256[:2] / entry.sha256
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return path


def test_a_damaged_backup_is_found_and_nothing_is_restored_from_it(
    nights: Path, to: Path, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = back_up(to)
    assert commands.run("backup-check", "--from", str(to)) == 0
    path = spoilt(to, made, "model.ubj")
    assert commands.run("backup-check", "--from", str(to)) == 1
    assert f"{path} is damaged" in capsys.readouterr().out
    with pytest.raises(BrokenBackupError, match="is damaged, and nothing was changed"):
        restore(to, empty)
    assert not empty.exists()
    path.unlink()
    assert commands.run("backup-check", "--from", str(to)) == 1
    assert f"{path} is lost" in capsys.readouterr().out


def test_what_a_backup_has_lost_is_copied_again_by_the_next(nights: Path, to: Path) -> None:
    path = spoilt(to, back_up(to), "model.ubj")
    path.unlink()
    assert making.checked(place(to), back_up(to), quiet) == []


def test_a_damaged_manifest_is_no_backup(nights: Path, to: Path, empty: Path) -> None:
    first, second = back_up(to), back_up(to)
    path = to / "backups" / f"{second.id}.json"
    path.write_text(path.read_text().replace("toys__trips", "toys__trip5"))
    with pytest.raises(BrokenBackupError, match=rf"is damaged, .* backup={first.id}"):
        restore(to, empty)
    restore(to, empty, first.id)


def test_a_backup_does_not_write_outside_of_the_installation(nights: Path, to: Path) -> None:
    made = back_up(to)
    manifest.write(place(to), dataclasses.replace(made, files=(made.files[0]._replace(path="var/../../x"),)))
    with pytest.raises(BrokenBackupError, match="leads out of the installation"):
        manifest.read(place(to))


def test_a_restore_needs_an_empty_installation(nights: Path, to: Path, empty: Path) -> None:
    back_up(to)
    put(empty / "secrets" / "fernet_key", "another")
    with pytest.raises(NotEmptyError, match=f"there is {empty}/secrets: name another folder"):
        restore(to, empty)
    assert (empty / "secrets" / "fernet_key").read_text() == "another"
    assert [path.name for path in empty.iterdir()] == ["secrets"]


def test_a_restore_does_not_mix_with_a_lake_elsewhere(
    nights: Path, to: Path, empty: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(to)
    lake = tmp_path_factory.mktemp("lake")
    monkeypatch.setenv("NOCTURNE_LAKE_URI", str(lake))
    put(lake / "gold" / "x" / "rows.parquet", "rows")
    with pytest.raises(NotEmptyError, match=r"rows\.parquet"):
        restore(to, empty)
    (lake / "gold" / "x" / "rows.parquet").unlink()
    restore(to, empty)
    with installed(empty):
        assert problems() == []
        assert not (empty / "lake").exists()


def test_nothing_starts_on_half_a_restore_and_the_same_command_goes_on(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = back_up(to)
    made = back_up(to)
    kept, left = restoring.Objects.fetch, [7]

    def fetch(self: restoring.Objects, *arguments: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        kept(self, *arguments)

    monkeypatch.setattr(restoring.Objects, "fetch", fetch)
    with pytest.raises(KeyboardInterrupt):
        restore(to, empty)
    with pytest.raises(InstallationError, match=f"restore from={to} backup={made.id} yes=1` goes on with it"):
        set_up(Settings(var=empty), quiet)
    with pytest.raises(NotEmptyError):
        restore(to, empty, other.id)
    restore(to, empty)
    with installed(empty):
        assert problems() == []
        assert runs(settings().airflow_database) == ["first"]
    begun.require_restored(Settings(var=empty))


def test_a_backup_that_goes_while_it_is_restored_is_said_in_a_line(
    nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installation that it is of has made others meanwhile."""
    made = back_up(to)
    kept = making.checked

    def checked(*arguments: Any) -> list[str]:
        found = kept(*arguments)
        spoilt(to, made, "model.ubj").unlink()
        return found

    monkeypatch.setattr(making, "checked", checked)
    with pytest.raises(BrokenBackupError, match=rf"{made.id} .* was removed or changed while it was restored"):
        restore(to, empty)


def test_a_newer_lake_is_refused(nights: Path, to: Path, empty: Path) -> None:
    put(nights / "lake" / "_layout.json", '{"version": 99}')
    back_up(to)
    with pytest.raises(BrokenBackupError, match="layout 99"):
        restore(to, empty)
    assert not empty.exists()


# --- secrets ---


def test_with_a_passphrase_no_secret_can_be_read_in_a_backup(
    nights: Path, to: Path, empty: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrase = tmp_path_factory.mktemp("phrase") / "phrase"
    phrase.write_text("correct horse battery\n")
    monkeypatch.setenv("NOCTURNE_BACKUP_PASSPHRASE_FILE", str(phrase))
    settings.cache_clear()
    back_up(to)
    held = [path.read_bytes() for path in to.rglob("*") if path.is_file()]
    encoded = sealing.seal({"fernet_key": SECRET.encode()}, b"")[0][-30:-4]
    assert not [one for one in held if SECRET.encode() in one or encoded in one]
    phrase.write_text("another horse battery\n")
    with pytest.raises(PassphraseError, match="is not the one of this backup"):
        restore(to, empty)
    assert not empty.exists()
    phrase.write_text("correct horse battery\n")
    restore(to, empty)
    assert (empty / "secrets" / "fernet_key").read_text() == SECRET


def test_without_one_secrets_are_for_their_owner_and_do_not_go_to_s3(nights: Path, to: Path) -> None:
    said: list[str] = []
    making.back_up(settings(), Request(place(to)), said.append)
    assert any("secrets in this backup are not encrypted" in line for line in said)
    assert {path.stat().st_mode & 0o077 for path in (to, *to.rglob("*"))} == {0}
    with pytest.raises(PassphraseError, match="secrets do not go to s3://"):
        making.plan(settings(), Request(place("s3://nowhere/backups")))


@pytest.mark.parametrize(("text", "said"), [("short\n", "12 is the least"), (None, "cannot be read")])
def test_a_passphrase_that_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "phrase").write_text(text)
    with pytest.raises(PassphraseError, match=said):
        sealing.passphrase(str(tmp_path / "phrase"))


# --- PostgreSQL, S3 ---


def test_postgresql_is_dumped_while_somebody_writes_and_restored_into_an_empty_one(
    postgres: Server, tmp_path: Path
) -> None:
    def url(name: str) -> str:
        return f"postgresql+psycopg://toys:{PASSWORD}@127.0.0.1:{postgres.port}/{name}"

    postgres.sql("CREATE DATABASE airflow")
    postgres.sql("CREATE DATABASE other")
    here, there = Database("airflow", url("airflow")), Database("airflow", url("other"))
    assert not databases.is_there(here)
    subprocess.run(
        [str(postgres.bin / "psql"), "-q", "-c", "CREATE TABLE runs AS SELECT 'first' AS run"],
        env=os.environ | databases._libpq(here),
        check=True,
    )
    assert databases.is_there(here)
    databases.dump(here, tmp_path / "dump")
    databases.restore(there, tmp_path / "dump")
    assert databases.is_there(there)
    with pytest.raises(databases.DatabaseError, match="already exists"):
        databases.restore(there, tmp_path / "dump")
    wrong = Database("airflow", url("nowhere"))
    with pytest.raises(databases.DatabaseError, match=r"pg_dump of the database of airflow .*nowhere") as told:
        databases.dump(wrong, tmp_path / "dump")
    assert PASSWORD not in str(told.value)
    assert PASSWORD not in repr(wrong)


def test_an_installation_on_postgresql_is_backed_up_and_restored_into_empty_databases(
    postgres: Server, nights: Path, to: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def use(suffix: str) -> None:
        for name in ("airflow", "mlflow"):
            url = f"postgresql://toys:{PASSWORD}@127.0.0.1:{postgres.port}/{name}_{suffix}"
            monkeypatch.setenv(f"NOCTURNE_{name.upper()}_DB", url)
        settings.cache_clear()

    def psql(database: Database, statement: str) -> str:
        command = [str(postgres.bin / "psql"), "-qtA", "-c", statement]
        environ = os.environ | databases._libpq(database)
        return subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout.strip()

    for name in ("airflow", "mlflow"):
        for suffix in ("here", "there"):
            postgres.sql(f"CREATE DATABASE {name}_{suffix}")
    use("here")
    with database.alone(settings().airflow_connection, "the database") as connection:
        database.create(connection)
    for one in databases.databases(settings()):
        psql(one, f"CREATE TABLE runs AS SELECT '{one.name}' AS run")
    made = back_up(to)
    assert [(one.name, one.kind) for one in made.databases] == [("airflow", "postgresql"), ("mlflow", "postgresql")]
    assert PASSWORD not in (to / "backups" / f"{made.id}.json").read_text()
    with installed(empty):
        with pytest.raises(NotEmptyError, match="tables in it"):
            restoring.require_empty(settings(), place(to), made)
        use("there")
        restoring.restore(settings(), place(to), made, quiet)
        assert [psql(one, "SELECT run FROM runs") for one in databases.databases(settings())] == ["airflow", "mlflow"]
        # who held a lease while it was dumped holds none here
        with lease("backup", patience=0):
            pass
        assert problems() == []


@pytest.fixture
def bucket(s3_server: Any, s3_port: int, nights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in s3.environment(s3_port).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield f"s3://nocturne/{uuid4().hex}"
    settings.cache_clear()


@pytest.mark.full
def test_a_backup_goes_to_a_bucket_and_comes_back_to_another_one(
    bucket: str, empty: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrase = tmp_path_factory.mktemp("phrase") / "phrase"
    phrase.write_text("correct horse battery\n")
    monkeypatch.setenv("NOCTURNE_BACKUP_PASSPHRASE_FILE", str(phrase))
    settings.cache_clear()
    before = toys.published()
    first = back_up(f"{bucket}/backups")
    toys.run(toys.NIGHTS[2])
    second = back_up(f"{bucket}/backups", keep=1)
    assert first.bytes < second.bytes
    assert manifest.ids(place(f"{bucket}/backups")) == [second.id]
    assert making.checked(place(f"{bucket}/backups"), second, quiet) == []
    monkeypatch.setenv("NOCTURNE_LAKE_URI", f"{bucket}/lake")
    restore(f"{bucket}/backups", empty)
    with installed(empty):
        assert len(toys.published()) > len(before)
        assert problems() == []
