"""Which code a model is made by: the commit that a version records, and how the files differ from it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "unknown"
COMMIT_FILE = "COMMIT"
"""A file of the repository that ``git archive``, and with it a downloaded release, fills with its commit."""

SECONDS = 20
# Variables that would make git look at another repository; and status is to lock nothing that somebody else waits for.
GIT = ["env", "-u", "GIT_DIR", "-u", "GIT_WORK_TREE", "-u", "GIT_INDEX_FILE", "GIT_OPTIONAL_LOCKS=0", "git"]


@dataclass(frozen=True)
class Code:
    """The state of the repository: commit, whether files differ from it, and how tracked ones do.

    ``reason`` says why the commit is ``unknown``, or how else than by git it is known.
    """

    commit: str
    dirty: bool
    diff: str
    reason: str = ""


def code_state(home: Path) -> Code:
    """What git says about ``home``, or what a release was packed with. Never raises: a model can do without."""
    if not (home / ".git").exists():
        return _released(home)
    try:
        top, commit = _git(home, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != home.resolve():
            return Code(UNKNOWN, False, "", f"{home} is no repository of its own, it lies in that of {top}")
        status = _git(home, "status", "--porcelain")
        changed = bool(status.strip())
        diff = f"{status}\n{_git(home, 'diff', '--no-ext-diff', '--no-textconv', 'HEAD')}" if changed else ""
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Code(UNKNOWN, False, "", f"git does not tell about {home}: {_said(error)}")
    return Code(commit, changed, diff)


def tracked(home: Path, path: str) -> bool:
    """Whether git knows a file at or below ``path``. False where ``home`` is no repository, or git does not answer."""
    try:
        return bool(_git(home, "ls-files", "--", path).strip())
    except (OSError, subprocess.SubprocessError):
        return False


def _git(home: Path, *arguments: str) -> str:
    # No monitor of the file system is started or waited for: a setting of the machine may name any program as one.
    command = [*GIT, "-C", str(home), "-c", "core.fsmonitor=false", *arguments]
    done = subprocess.run(  # noqa: S603  # git, asked by this module alone
        command, check=True, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL
    )
    return done.stdout.decode(errors="replace")


def _said(error: Exception) -> str:
    """Why git failed, in a line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {SECONDS} s"
    if isinstance(error, subprocess.CalledProcessError):
        return error.stderr.decode(errors="replace").strip().partition("\n")[0] or f"exit code {error.returncode}"
    return str(error)


def _released(home: Path) -> Code:
    """The commit that a release was packed with."""
    file = home / COMMIT_FILE
    commit = file.read_text(errors="replace").strip() if file.is_file() else ""
    if len(commit) == 40 and set(commit) <= set("0123456789abcdef"):
        return Code(commit, False, "", f"as {COMMIT_FILE} says; whether files were changed since, nothing tells")
    return Code(UNKNOWN, False, "", f"{home} is neither a repository nor a release that names its commit")
