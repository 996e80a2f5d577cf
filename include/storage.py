"""Folders of this machine and prefixes of S3: what paths themselves cannot do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upath import UPath


def for_spark(path: UPath) -> str:
    """``path`` as Spark calls it: one of S3 by the name of Hadoop's client."""
    return str(path).replace("s3://", "s3a://", 1)


def remove(path: UPath) -> None:
    """Remove a file, or a folder with all that is in it. One that is not there is no error."""
    if path.exists():
        path.fs.rm(path.path, recursive=True)
