"""An installation that was copied or moved writes into its own lake, and no lake has two writers without knowing."""

import shutil
import socket
import sqlite3
from pathlib import Path

import pytest

from include.core.settings import Settings
from include.local import bootstrap, installation
from include.local.checks import InstallationError
from include.local.installation import claim_lake, forget_moved_catalogue, identify


def made(var: Path, lake: Path | None = None) -> Settings:
    """The settings of an installation whose folders are there."""
    settings = Settings(var=var, lake_uri=str(lake or ""))
    for path in (settings.var / "spark", Path(str(settings.lake))):
        path.mkdir(parents=True, exist_ok=True)
    return settings


def start(settings: Settings, take: bool = False) -> list[str]:
    """What a start says of where the installation is."""
    said: list[str] = []
    own = installation.Owner(identify(settings, said.append), str(settings.var), socket.gethostname())
    claim_lake(settings, own, take, said.append)
    forget_moved_catalogue(settings, said.append)
    (settings.var / "spark" / "metastore").mkdir(exist_ok=True)
    return said


def the_id(settings: Settings) -> str:
    return str(installation.read(settings.var / installation.RECORD)["id"])


def test_a_second_start_finds_all_as_it_was(tmp_path: Path) -> None:
    here = made(tmp_path / "here")
    assert start(here) == []
    (here.var / "spark" / "metastore" / "known").touch()
    assert start(here) == []
    assert (here.var / "spark" / "metastore" / "known").exists()


def test_a_copy_is_another_installation_whose_catalogue_is_made_anew(tmp_path: Path) -> None:
    here = made(tmp_path / "here")
    start(here)
    shutil.copytree(here.var, tmp_path / "there")
    copy = made(tmp_path / "there")
    (copy.var / "spark" / "metastore" / "points at the original").touch()
    assert f"this installation was copied from {here.var} to {copy.var}" in start(copy)
    assert list((copy.var / "spark" / "metastore").iterdir()) == []
    assert the_id(copy) != the_id(here)
    assert installation.read(copy.lake / installation.OWNER)["id"] == the_id(copy)
    assert start(here) == []


def test_what_was_moved_stays_the_same_installation(tmp_path: Path) -> None:
    here = made(tmp_path / "here", tmp_path / "lake")
    start(here)
    before = the_id(here)
    shutil.move(here.var, tmp_path / "there")
    moved = made(tmp_path / "there", tmp_path / "lake")
    assert f"this installation was moved from {here.var} to {moved.var}" in start(moved)
    assert the_id(moved) == before


def test_a_lake_at_another_place_gets_a_catalogue_of_its_own(tmp_path: Path) -> None:
    start(made(tmp_path / "here"))
    said = start(made(tmp_path / "here", tmp_path / "elsewhere"))
    assert said == [f"Spark's catalogue is made anew, from the tables in {tmp_path / 'elsewhere'}"]


def test_two_installations_do_not_write_one_lake_without_being_told(tmp_path: Path) -> None:
    one, other = (made(tmp_path / name, tmp_path / "lake") for name in ("one", "other"))
    start(one)
    with pytest.raises(
        InstallationError, match=rf"belongs to the installation at {one.var}, which is still there.*take_lake"
    ):
        start(other)
    start(other, take=True)
    with pytest.raises(InstallationError, match=f"belongs to the installation at {other.var}"):
        start(one)
    shutil.rmtree(other.var)
    assert start(one) == [
        f"the lake {tmp_path / 'lake'} was of the installation at {other.var}, and is of this one now"
    ]


def test_a_lake_of_another_machine_is_not_taken_for_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (made(tmp_path / name, tmp_path / "lake") for name in ("one", "other"))
    start(one)
    shutil.rmtree(one.var)
    monkeypatch.setattr(installation.socket, "gethostname", lambda: "another-machine")
    with pytest.raises(InstallationError, match="belongs to the installation at"):
        start(other)


def test_a_database_that_was_copied_while_it_was_written_is_named(tmp_path: Path) -> None:
    here = made(tmp_path / "here")
    start(here)
    here.airflow_database.parent.mkdir()
    with sqlite3.connect(here.airflow_database) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 100,)] * 1000)
    shutil.copytree(here.var, tmp_path / "there")
    copy = made(tmp_path / "there")
    whole = copy.airflow_database.read_bytes()
    copy.airflow_database.write_bytes(whole[: len(whole) // 2])
    for _ in range(2):  # the refusal stays until it is copied again
        with pytest.raises(InstallationError, match=r"airflow\.db is damaged.*`make down` at"):
            start(copy)


def environment(folder: Path, scripts_of: Path) -> None:
    """An environment whose scripts start the Python of ``scripts_of``."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch(mode=0o755)
    (folder / "bin" / "dbt").write_text(f"#!{scripts_of}/bin/python\nimport dbt\n")
    (folder / "bin" / "long").write_text(f"#!/bin/sh\n'''exec' '{scripts_of}/bin/python' \"$0\" \"$@\"\n' '''\n")
    (folder / "bin" / "shell").write_text("#!/usr/bin/env bash\n")
    (folder / "bin" / "activate").write_text(f"VIRTUAL_ENV={scripts_of}\n")
    (folder / ".nocturne").write_text("wanted")


def test_an_environment_that_was_copied_starts_its_own_python(tmp_path: Path) -> None:
    original, copy = tmp_path / "original" / ".venv", tmp_path / "copy" / ".venv"
    environment(original, original)
    assert bootstrap.is_current(original.parent, "wanted")
    shutil.copytree(original, copy)
    assert not bootstrap.is_current(copy.parent, "wanted")
    bootstrap.relocate(copy)
    assert bootstrap.is_current(copy.parent, "wanted")
    texts = {path.name: path.read_text() for path in (copy / "bin").iterdir()}
    assert [name for name, text in texts.items() if str(original) in text] == []
    assert texts["dbt"] == f"#!{copy}/bin/python\nimport dbt\n"
    assert texts["activate"] == f"VIRTUAL_ENV={copy}\n"


def test_an_environment_behind_a_link_is_current(tmp_path: Path) -> None:
    environment(tmp_path / "shared", tmp_path / "shared")
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / ".venv").symlink_to(tmp_path / "shared")
    assert bootstrap.is_current(tmp_path / "clone", "wanted")
