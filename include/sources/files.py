"""Opening the files of landing: regular files alone, and no link on the way to one.

Who may put a file into landing may not have the platform read another one for them: a link, also one of the folders
above, would be such a wish, and a pipe would keep its reader waiting for ever. What is opened is what was looked at,
since names may come to mean something else in between.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from include.errors import NeedsAttentionError
from include.settings import settings

if TYPE_CHECKING:
    from upath import UPath

PIECE = 1 << 20  # bytes that are read at once
# Not waiting for the other end of a pipe.
FLAGS = {
    "rb": os.O_RDONLY | os.O_NONBLOCK,
    "wb": os.O_WRONLY | os.O_NONBLOCK | os.O_CREAT | os.O_TRUNC,
}
FOLDER = os.O_RDONLY | os.O_DIRECTORY
# The kinds of what is no regular file, as people call them.
KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnreadableFileError(NeedsAttentionError):
    """A landing file is damaged or not what its feed promises. Names the file and what is wrong with it.

    It names lines and bytes and never shows what is in them: nobody knows whose file it is.
    """


def exists(path: UPath) -> bool:
    """Whether there is anything of this name, be it a link that leads nowhere."""
    return os.path.lexists(path) if isinstance(path, Path) else path.exists()


def opened(path: UPath, mode: str = "rb") -> IO[bytes]:
    """The file at ``path``, which is below landing, opened as ``mode`` says: ``rb``, or ``wb`` to write it anew.

    Raises FileNotFoundError, and UnreadableFileError where it is no regular file, or a link leads to it.
    """
    if not isinstance(path, Path):
        return cast(IO[bytes], path.open(mode))
    with _folder_of(path) as folder:
        try:
            # Only looking: to open some devices is to use them.
            _check(path, os.stat(path.name, dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            if mode == "rb":
                raise
        try:
            descriptor = os.open(path.name, FLAGS[mode] | os.O_NOFOLLOW, 0o666, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UnreadableFileError(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        _check(path, os.fstat(descriptor))
    except UnreadableFileError:
        os.close(descriptor)
        raise
    return open(descriptor, mode)


@contextmanager
def unpacked(path: UPath) -> Iterator[IO[bytes]]:
    """The bytes of the file at ``path``, as they were before they were zipped. Raises as ``opened`` does."""
    with opened(path) as file:
        # A file of S3 cannot read a line of limited length by itself.
        raw = cast(io.RawIOBase, file)
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else io.BufferedReader(raw, PIECE)


def check_folder(path: UPath) -> None:
    """Raise UnreadableFileError where a folder on the way from landing to the file at ``path`` is none, or a link."""
    if not isinstance(path, Path):
        return
    try:
        with _folder_of(path):
            pass
    except FileNotFoundError:
        return


def stamp(path: UPath) -> tuple[int, ...]:
    """What is another one once the file at ``path`` was written to, moved away, or another one put in its place.

    Raises as ``opened`` does. Empty in S3, where an object is replaced as a whole.
    """
    if not isinstance(path, Path):
        return ()
    with opened(path) as file:
        found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def _folder_of(path: Path) -> Iterator[int]:
    """A descriptor of the folder that the file at ``path`` is in, reached from landing step by step."""
    landing = Path(str(settings().landing))
    folder = os.open(landing, FOLDER)  # where landing itself is, is for whoever runs the platform to say
    try:
        at = landing
        for name in path.relative_to(landing).parts[:-1]:
            at /= name
            try:
                inner = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                raise
            except OSError as error:
                kind = KINDS.get(stat.S_IFMT(os.lstat(at).st_mode))
                why = f"{kind} and no folder" if kind else error.strerror
                raise UnreadableFileError(f"{at}: {why}. Landing takes folders and regular files only") from None
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise UnreadableFileError(
            f"{path}: {kind}. Landing takes regular files only: put the file itself there and clear this task"
        )
