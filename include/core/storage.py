"""Folders of this machine and prefixes of S3: what paths themselves cannot do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from upath import UPath


def for_spark(path: UPath) -> str:
    """``path`` as Spark calls it: one of S3 by the name of Hadoop's client."""
    return str(path).replace("s3://", "s3a://", 1)


def remove(path: UPath) -> None:
    """Remove a file, or a folder with all that is in it. One that is not there is no error."""
    if path.exists():
        path.fs.rm(path.path, recursive=True)


def put(path: UPath, text: str) -> None:
    """Write a file in one step: whoever reads at that moment has the one before, or this one."""
    if path.protocol not in ("", "file"):  # a bucket shows an object when it is whole
        path.write_text(text)
        return
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    partial.write_text(text)
    partial.replace(path)
