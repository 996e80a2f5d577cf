"""What the services write from now on, out of their log files, line by line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


class Followed:
    """One log file: its new lines, also where it is renamed and begun anew, as the supervisor does with a long one."""

    def __init__(self, path: Path, new: bool = False) -> None:
        """What ``path`` holds already is not told, unless it is ``new``; nor is it missed where it comes later."""
        self.path = path
        self._file: TextIO | None = None
        self._partial = ""
        if path.exists() and not new:
            self._file = self._open()
            self._file.seek(0, os.SEEK_END)

    def _open(self) -> TextIO:
        return self.path.open(errors="replace")

    def lines(self) -> Iterator[str]:
        """The complete lines since the last call."""
        if self._file is None and self.path.exists():
            self._file = self._open()
        while self._file is not None:
            whole = self._partial + self._file.read()
            *complete, self._partial = whole.split("\n")
            yield from complete
            if not self._renewed(self._file):
                return
            self._file.close()
            self._file = self._open()

    def _renewed(self, file: TextIO) -> bool:
        """Whether the path leads to another file by now, or to a shorter one."""
        try:
            now = self.path.stat()
        except FileNotFoundError:
            return False
        then = os.fstat(file.fileno())
        return now.st_ino != then.st_ino or now.st_size < file.tell()
