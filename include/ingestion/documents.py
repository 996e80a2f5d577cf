"""Documents as rows: which columns each kind has, and the running of the program that takes one apart."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from include.ingestion.files import UnreadableFileError, unpacked

if TYPE_CHECKING:
    from upath import UPath

PROGRAM = files("include.ingestion") / "document_sandbox.py"
"""A file of its own, on an executor of Spark as well, where our code comes as one archive."""
MOST_BYTES = 256 << 20  # of a document
SECONDS = 180  # that one may take, by the clock


def run(path: UPath, task: str) -> list[Any]:
    """What the program finds in the document at ``path``. Raises UnreadableFileError, with what it says."""
    with unpacked(path) as file:
        content = file.read(MOST_BYTES + 1)
    if not content:
        raise UnreadableFileError(f"{path}: the file is empty")
    if len(content) > MOST_BYTES:
        raise UnreadableFileError(f"{path}: larger than {MOST_BYTES >> 20} MiB. Have the document cut into several")
    try:
        # Our own program: what is not trusted is the document, which comes on its standard input.
        with as_file(PROGRAM) as program:
            argv = [sys.executable, "-I", str(program), task]
            done = subprocess.run(  # noqa: S603
                argv, input=content, capture_output=True, timeout=SECONDS, env={}, check=False
            )
    except subprocess.TimeoutExpired:
        raise UnreadableFileError(f"{path}: takes more than {SECONDS} s to read. Have it written anew") from None
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.endswith(b"}")]
    last = lines[-1] if lines else {}
    if "refused" in last:
        raise UnreadableFileError(f"{path}: {last['refused']}")
    if "end" not in last:  # killed, by a limit or by what is wrong with the document
        raise UnreadableFileError(f"{path}: takes more time or memory than a document may. Have it written anew")
    return [line["found"] for line in lines[:-1]]
