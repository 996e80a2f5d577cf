"""Which commit a version records, on machines with and without git."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from include.ml import code

type Git = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, Git]:
    """A repository with one commit, and git in it."""
    home = tmp_path / "home"
    home.mkdir()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(home), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (home / "a").write_text("one\n")
    (home / ".gitattributes").write_text("COMMIT export-subst\n")
    (home / "COMMIT").write_text("$Format:%H$\n")
    git("add", ".")
    git("commit", "-qm", "a")
    return home, git


def test_a_repository_tells_its_commit_and_what_differs(repository: tuple[Path, Git]) -> None:
    home, git = repository
    assert code.code_state(home) == code.Code(git("rev-parse", "HEAD"), False, "")
    (home / "a").write_bytes(b"tw\xf6\n")  # a diff need not be UTF-8
    dirty = code.code_state(home)
    assert dirty.dirty
    assert "+tw\N{REPLACEMENT CHARACTER}" in dirty.diff


def test_git_is_told_nothing_by_the_environment(
    repository: tuple[Path, Git], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, _ = repository
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert len(code.code_state(home).commit) == 40


def test_a_folder_inside_another_repository_does_not_record_its_commit(repository: tuple[Path, Git]) -> None:
    inside = repository[0] / "inside"
    inside.mkdir()
    found = code.code_state(inside)
    assert (found.commit, found.reason) == (
        "unknown",
        f"{inside} is neither a repository nor a release that names its commit",
    )
    # What is no repository either, though it looks like one, is not taken for that around it.
    (inside / ".git").mkdir()
    assert code.code_state(inside).commit == "unknown"


def test_a_release_names_the_commit_that_it_was_packed_from(repository: tuple[Path, Git], tmp_path: Path) -> None:
    home, git = repository
    git("archive", "--prefix", "release/", "-o", str(tmp_path / "r.tar"), "HEAD")
    subprocess.run(["tar", "-xf", str(tmp_path / "r.tar"), "-C", str(tmp_path)], check=True)
    assert code.code_state(tmp_path / "release").commit == git("rev-parse", "HEAD")
    assert code.code_state(home).reason == ""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "No such file"),
        ("echo fatal: detected dubious ownership in repository >&2; exit 128", "detected dubious ownership"),
        ("exec sleep 60", "no answer within 0.5 s"),
        ("exit 1", "exit code 1"),
        ("echo nothing", "git does not tell"),
    ],
)
def test_a_git_that_does_not_answer_is_no_reason_not_to_train(
    repository: tuple[Path, Git], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None, reason: str
) -> None:
    monkeypatch.setattr(code, "SECONDS", 0.5)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("env", "sleep"):
        (programs / name).symlink_to(next(p for d in os.defpath.split(":") if (p := Path(d, name)).exists()))
    if script is not None:
        (programs / "git").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    found = code.code_state(repository[0])
    assert (found.commit, found.dirty) == ("unknown", False)
    assert reason in found.reason
