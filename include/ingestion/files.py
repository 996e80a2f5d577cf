"""Opening the files of landing: regular files alone, and no link on the way to one.

Who may put a file into landing may not have the platform read another one for them: a link, also one of the folders
above, would be such a wish, and a pipe would keep its reader waiting for ever. What is opened is what was looked at,
since names may come to mean something else in between.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from backports import zstd  # the standard library's from Python 3.14 on

from include.core.errors import NeedsAttentionError
from include.core.settings import settings

if TYPE_CHECKING:
    from upath import UPath

PIECE = 1 << 20  # bytes that are read at once
# A file may unpack to so many bytes, or to so many times its own: what is real stays far below, a bomb does not.
MOST_UNPACKED = 4 << 30
MOST_TIMES = 200
PACKED = 1 << 16  # bytes of a packed file that are read at once
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
    return os.fdopen(descriptor, mode)


@contextmanager
def unpacked(path: UPath) -> Iterator[io.BufferedReader]:
    """The bytes of the file at ``path``, as they were before they were packed; its name says into what.

    Raises what ``opened`` does, and UnreadableFileError where reading shows that it is damaged, or unpacks to more than
    a file can rightly hold.
    """
    with opened(path) as file:
        # A file of S3 cannot read a line of limited length by itself.
        raw = cast(io.RawIOBase, file)
        unpack = UNPACKERS.get(path.suffix)
        if unpack is None or not (size := file.seek(0, io.SEEK_END)):
            file.seek(0)
            yield io.BufferedReader(raw, PIECE)
            return
        file.seek(0)
        most = max(MOST_UNPACKED, MOST_TIMES * size)
        yield io.BufferedReader(_Unpacking(path, raw, unpack, most), PIECE)


def after_mark(file: io.BufferedReader) -> io.BufferedReader:
    """``file``, from after the mark of UTF-8 that some programs begin a text with."""
    if file.peek(3)[:3] == codecs.BOM_UTF8:
        file.read(3)
    return file


class _Unpacking(io.RawIOBase):
    """What is packed into a file, with every way in which that fails as one error."""

    def __init__(self, path: UPath, raw: io.RawIOBase, unpack: Callable[[io.RawIOBase], IO[bytes]], most: int) -> None:
        self.path, self.raw, self.unpack, self.most = path, raw, unpack, most
        self.inner: IO[bytes] | None = None
        self.read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        try:
            if self.inner is None:
                self.inner = self.unpack(self.raw)
            piece = self.inner.read(len(into))
        except EOFError:
            raise UnreadableFileError(
                f"{self.path}: truncated: what is packed in it has no end. Replace the file and clear this task"
            ) from None
        except DAMAGED as error:
            if is_no_damage(error):
                raise
            # Without the bytes that it shows.
            why = str(error).partition(" (")[0] or type(error).__name__
            raise UnreadableFileError(f"{self.path}: damaged, or not packed as its name says: {why}") from None
        self.read_so_far += len(piece)
        if self.read_so_far > self.most:
            raise UnreadableFileError(
                f"{self.path}: unpacks to more than {self.most >> 20} MiB, which is {MOST_TIMES} times what it is, or "
                f"{MOST_UNPACKED >> 30} GiB. Is it what its upstream meant to send?"
            )
        into[: len(piece)] = piece
        return len(piece)


class _Streams(io.RawIOBase):
    """What is packed into one compressed stream or several, one after the other.

    The standard library's own files take whatever follows the first stream for nothing where it is no whole one: rows
    would be lost without a word.
    """

    def __init__(self, raw: io.RawIOBase, new: Callable[[], Any]) -> None:
        self.raw, self.new, self.stream = raw, new, new()

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while True:
            packed = b""
            if self.stream.eof:
                packed = self.stream.unused_data or self.raw.read(PACKED) or b""
                if not packed:
                    return 0
                self.stream = self.new()
            elif self.stream.needs_input:
                packed = self.raw.read(PACKED) or b""
                if not packed:
                    raise EOFError
            piece = self.stream.decompress(packed, len(into))
            if piece:
                into[: len(piece)] = piece
                return len(piece)


def _zip(raw: io.RawIOBase) -> IO[bytes]:
    """The one file in an archive. Nothing is written anywhere, so that its name cannot lead out of it."""
    inside = zipfile.ZipFile(cast(IO[bytes], raw))
    members = [one for one in inside.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        raise zipfile.BadZipFile(f"{len(members)} files are in it, and one is wanted")
    if members[0].flag_bits & 1:
        raise zipfile.BadZipFile("the file in it has a password")
    return inside.open(members[0])


def _streams(new: Callable[[], Any]) -> Callable[[io.RawIOBase], IO[bytes]]:
    return lambda raw: cast(IO[bytes], io.BufferedReader(_Streams(raw, new), PIECE))


# A window of 128 MiB, as the command line tool has it without being told otherwise.
_ZSTD: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}
UNPACKERS: dict[str, Callable[[io.RawIOBase], IO[bytes]]] = {
    ".gz": lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw)),
    ".zst": _streams(lambda: zstd.ZstdDecompressor(options=_ZSTD)),
    ".bz2": _streams(bz2.BZ2Decompressor),
    ".xz": _streams(lambda: lzma.LZMADecompressor(memlimit=1 << 30)),
    ".zip": _zip,
}
# What a decoder raises for bytes that are not its own: bz2 and gzip an OSError; zip a RuntimeError for ways to pack
# that nobody knows, and a ValueError for places that the file does not have.
DAMAGED = (zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile, OSError, RuntimeError, ValueError)


def is_no_damage(error: BaseException) -> bool:
    """Whether ``error`` is of the disk or the network, which another try may mend: these have a number."""
    return isinstance(error, OSError) and error.errno is not None


@contextmanager
def readable(path: UPath, what: str) -> Iterator[None]:
    """Say of whatever a parser of ``what`` raises that the file at ``path`` is damaged, without what is in it.

    Raises UnreadableFileError, and what is no damage as it is.
    """
    try:
        yield
    except UnreadableFileError:
        raise
    except Exception as error:  # each parser has its own
        if is_no_damage(error):
            raise
        where = re.search(r"line \d+(, column \d+)?|offset \d+", str(error))
        at = f" ({where[0]})" if where else ""
        raise UnreadableFileError(f"{path}: damaged, or no {what}{at}. Replace the file and clear this task") from None


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


def below_landing(path: UPath | Path) -> str:
    """The path of a file as seen from landing, with / between its parts; empty where it is not below it."""
    whole, landing = str(path), f"{settings().landing}/"
    return whole.removeprefix(landing) if whole.startswith(landing) else ""


@contextmanager
def _folder_of(path: Path) -> Iterator[int]:
    """A descriptor of the folder that the file at ``path`` is in, reached from landing step by step."""
    # As texts, since a path takes longer to be taken apart than its file to be read.
    landing, below = str(settings().landing), below_landing(path)
    if not below:
        landing, below = os.path.split(path)  # an operator names it: how to get there is theirs to say as well
    folder = os.open(landing or ".", FOLDER)  # where landing itself is, is for whoever runs the platform to say
    try:
        at = landing
        for name in below.split("/")[:-1]:
            at = f"{at}/{name}"
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
