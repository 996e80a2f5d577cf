"""New files appear together or not at all, whatever happens in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from include.scaffold import writing
from include.scaffold.errors import ScaffoldError
from include.scaffold.writing import FOLDER, write_all

FILES: dict[str, str | bytes] = {
    "include/sources/toys/spec.py": "x  = 1\n",
    "docs/sources/toys.md": "# toys\n",
    "tests/sources/toys/fixture/a.csv": b"a\n1\n",
}


@pytest.fixture
def tree(root: Path) -> Path:
    """The repository with the folders that a source goes into."""
    for folder in ("include/sources", "docs/sources"):
        (root / folder).mkdir(parents=True)
    return root


def files(tree: Path) -> list[str]:
    found = (path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    return sorted(path for path in found if path != "pyproject.toml")


def test_all_are_there_and_python_is_formatted(tree: Path) -> None:
    assert write_all(tree, FILES) == files(tree) == sorted(FILES)
    assert (tree / "include/sources/toys/spec.py").read_text() == "x = 1\n"


def test_what_is_in_the_way_is_said_and_stays(tree: Path) -> None:
    (tree / "docs/sources/toys.md").write_text("mine")
    with pytest.raises(ScaffoldError, match=r"docs/sources/toys.md is there already"):
        write_all(tree, FILES)
    assert files(tree) == ["docs/sources/toys.md"]
    assert (tree / "docs/sources/toys.md").read_text() == "mine"


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_error_between_two_moves_takes_back_what_was_moved(
    tree: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, done = Path.rename, list[Path]()

    def fails(path: Path, target: Path) -> Path:
        if len(done) == after:
            done.append(path)
            raise OSError("the disk is full")
        done.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="the disk is full"):
        write_all(tree, FILES)
    assert files(tree) == []
    assert not (tree / FOLDER).exists()


KILLED = """
import os, sys
from pathlib import Path
from include.scaffold.writing import write_all
from tests.scaffold.test_writing import FILES
rename, left = Path.rename, [int(sys.argv[2])]
def killed(path, target):
    if not left[0]:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    return rename(path, target)
Path.rename = killed
write_all(Path(sys.argv[1]), FILES)
"""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_after_a_kill_the_next_call_leaves_all_or_none(tree: Path, after: int) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tree), str(after)], check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    write_all(tree, {"docs/sources/others.md": "# others\n"})
    assert files(tree) == sorted(["docs/sources/others.md", *(FILES if after else [])])
    assert not (tree / FOLDER).exists()


def test_the_package_by_which_a_source_is_found_comes_last(tree: Path) -> None:
    assert writing._tops(tree, FILES) == ["docs/sources/toys.md", "tests", "include/sources/toys"]


def test_two_at_once_are_refused(tree: Path) -> None:
    with writing._staging(tree), pytest.raises(ScaffoldError, match="another scaffold is being written"):
        write_all(tree, FILES)
    assert files(tree) == []
