"""New files in the tree, all of them or none.

They are written to ``.scaffold`` in the repository first. What is new at the top of each path is then moved to its
place by a rename, which the file system does or does not. An error in between takes back what was moved. After a kill
the next call finishes the moves: the files were complete before the first one, and a person may have changed some.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from include.scaffold.errors import ScaffoldError

FOLDER, JOURNAL = ".scaffold", "moves.json"


def write_all(root: Path, files: Mapping[str, str | bytes]) -> list[str]:
    """Write ``files``, by their paths below ``root``; returns the paths, sorted. None of them may be there yet.

    Python among them is formatted as the project has it. Raises ScaffoldError naming what is in the way.
    """
    with _staging(root) as staging:
        _check_free(root, files)
        new = staging / "new"
        for path, content in files.items():
            target = new / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        _format([new / path for path in files if path.endswith(".py")])
        moves = _tops(root, files)
        (staging / JOURNAL).write_text(json.dumps(moves))
        moved: list[str] = []
        try:
            for path in moves:
                (new / path).rename(root / path)
                moved.append(path)
        except BaseException:
            for path in moved:
                (root / path).rename(new / path)
            raise
    return sorted(files)


def _check_free(root: Path, files: Mapping[str, str | bytes]) -> None:
    if there := sorted(path for path in files if os.path.lexists(root / path)):
        raise ScaffoldError(f"{there[0]} is there already: take another name, or remove that one first (make remove)")


def _tops(root: Path, files: Mapping[str, str | bytes]) -> list[str]:
    """The first part of each path that is new, as few as there are. A package of ``include`` comes last: by it the rest
    is found, so that nobody finds a half."""
    found = set[str]()
    for path in map(Path, files):
        way = [path, *path.parents][::-1][1:]  # from the top on, without the root itself
        found.add(next(str(one) for one in way if not os.path.lexists(root / one)))
    return sorted(found, key=lambda path: (path.startswith("include/"), path))


def _format(paths: list[Path]) -> None:
    given = [str(path) for path in paths]
    for command in (["check", "--fix-only", "--select", "F401"], ["format"]):
        argv = [sys.executable, "-m", "ruff", *command, "--quiet", "--no-cache", *given]
        subprocess.run(argv, check=True)  # noqa: S603  # ruff, on files that were just written


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    """The folder for what is to be moved, for one call at a time; gone afterwards."""
    staging = root / FOLDER
    staging.mkdir(exist_ok=True)
    holder = os.open(staging, os.O_RDONLY)
    try:
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ScaffoldError(f"{staging}: another scaffold is being written; try again when it has ended") from None
        _finish_killed(root, staging)
        try:
            yield staging
        finally:
            if not _is_begun(staging):  # else an error came while an error was taken back: the next call goes on
                shutil.rmtree(staging)
    finally:
        os.close(holder)


def _is_begun(staging: Path) -> bool:
    """Whether some of the moves are done, and some are not."""
    if not (staging / JOURNAL).exists():
        return False
    moves = json.loads((staging / JOURNAL).read_text())
    left = [path for path in moves if os.path.lexists(staging / "new" / path)]
    return 0 < len(left) < len(moves)


def _finish_killed(root: Path, staging: Path) -> None:
    """Finish the moves of a call that was killed; forget one that had not begun to move."""
    if _is_begun(staging):
        moves = json.loads((staging / JOURNAL).read_text())
        for path in moves:
            if os.path.lexists(staging / "new" / path):
                (staging / "new" / path).rename(root / path)
        print(f"an earlier call was killed while it wrote; its files are complete now: {', '.join(moves)}")
    for path in staging.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
