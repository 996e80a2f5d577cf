"""Which columns of the lake are made of personal ones: read off dbt's SQL and the sources' specs, as they are now.

``python -m include.serving.sql.personal FOLDER`` compiles the project in a folder and prints the answer as JSON. It is
a process of its own because specs are modules, which one process reads once.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.serving.sql.access import Table

MADE_OF = ("dbt_project/models", "dbt_project/macros", "include/sources")
"""What the answer depends on, in the repository."""
SECONDS = 300


class UnknownColumnsError(NeedsAttentionError):
    """Which columns are personal cannot be said: who may not see such ones reads nothing until it can."""


class Personal:
    """The personal columns of each table, kept in a folder and found anew when a spec or a model changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._mark = ""
        self._known: dict[str, frozenset[str]] = {}

    def of(self, table: Table) -> frozenset[str] | None:
        """The columns of ``table`` that are made of personal ones.

        None where it is a table of silver that no model makes, whose columns nobody can know. Gold's own other tables
        are made of features and labels, in which nothing personal is. Raises UnknownColumnsError.
        """
        known = self.known()
        return known.get(str(table), None if table.layer == "silver" else frozenset())

    def known(self) -> Mapping[str, frozenset[str]]:
        """Table → its personal columns, of every table that a model makes. Raises UnknownColumnsError."""
        with self._lock:
            mark = fingerprint(settings().home)
            if mark != self._mark:
                self._known, self._mark = self._found(mark), mark
            return self._known

    def _found(self, mark: str) -> dict[str, frozenset[str]]:
        kept = self.folder / "personal.json"
        said = json.loads(kept.read_text()) if kept.exists() else {}
        if said.get("mark") != mark:
            said = {"mark": mark, "tables": _ask(self.folder / "dbt")}
            partial = kept.with_suffix(".partial")
            partial.write_text(json.dumps(said))
            partial.replace(kept)
        return {table: frozenset(columns) for table, columns in said["tables"].items()}


def fingerprint(home: Path) -> str:
    """Changes whenever a file does that the answer depends on: names, sizes and times, of some hundred files."""
    found = hashlib.sha256()
    for folder in MADE_OF:
        for path in sorted((home / folder).rglob("*")):
            if path.suffix in (".py", ".sql", ".yml"):
                there = path.stat()
                found.update(f"{path.relative_to(home)} {there.st_size} {there.st_mtime_ns}\n".encode())
    return found.hexdigest()


def _ask(target: Path) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "include.serving.sql.personal", str(target)]
    try:
        done = subprocess.run(  # noqa: S603  # this module
            command, cwd=settings().home, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise UnknownColumnsError(f"dbt was not through with the models in {SECONDS} s: try again") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise UnknownColumnsError(f"which columns are personal is not known: {''.join(last)}; `make check` says more")
    answer: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def answer(target: Path) -> dict[str, list[str]]:
    """Table → its personal columns, of every model of silver and gold; dbt compiles into ``target``."""
    from include.lake.columns import compiled
    from include.quality.privacy import personal
    from include.sources import sources

    columns, forbidden = compiled(settings().home / "dbt_project", target), personal(sources().values())
    return {
        f"{layer}.{model}": [one for one in columns.of(model) if columns.sources_of(model, one) & forbidden]
        for model, layer in columns.layers.items()
    }


if __name__ == "__main__":
    print(json.dumps(answer(Path(sys.argv[1]))))
