"""Candidates: what a stage has written and its gates have not passed yet. Nobody else reads them.

Each try of each run has its own, so that neither a run of the same night beside it nor a statement that outlives a
killed worker can reach into what is being audited. That is why they need no transaction log: they are plain Parquet,
but for those of the embedded engine, of which Delta's log keeps the columns where there are no rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.core.storage import put
from include.core.storage import remove as remove_folder

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath


FILES = "_files.json"
"""What names the files of a candidate that executors wrote; the others hold all files of their folder."""


class CandidateMissingError(NeedsAttentionError):
    """A candidate has been published and removed, so that there is nothing to audit or publish again."""


def suffix(nights: Partitions) -> str:
    """What sets this try's candidates apart; another one at each call."""
    return f"__{re.sub(r'[^0-9]+', '_', nights.key)}__{uuid4().hex[:8]}"


def name(table: str, suffix: str) -> str:
    """The candidate for ``table``, which is ``<layer>.<table>``."""
    return f"candidate.{table.replace('.', '__')}{suffix}"


def folder(name: str) -> UPath:
    """Where a candidate lies, whether it is there or not."""
    return settings().lake.joinpath(*name.split("."))


def exists(name: str) -> bool:
    return folder(name).exists()


def write(name: str, parts: Iterable[pl.DataFrame], *, if_any: bool = False) -> int:
    """Make a candidate of ``parts``, a file each, and return its rows. ``if_any``: none where there are no parts.

    Raises FileExistsError where there is one: what is being audited must not change under the audit.
    """
    rows = 0
    if not if_any:
        begin(name)
    for number, part in enumerate(parts):
        if if_any and not number:
            begin(name)
        add(name, f"part-{number:05}.parquet", part)
        rows += part.height
    return rows


def add(name: str, file: str, part: pl.DataFrame) -> int:
    """Write a file of a candidate that has begun. Returns its bytes."""
    with (folder(name) / file).open("wb") as out:
        part.write_parquet(out)
        return out.tell()


def settle(name: str, files: Mapping[str, int]) -> list[str]:
    """Have a candidate be ``files``, by their names and bytes, whatever else lies there. Returns those that do not.

    Of the tries of one task on executors each writes files of its own, and one may go on writing when it is over.
    """
    place = folder(name)
    lost = [file for file, size in files.items() if not (path := place / file).exists() or path.stat().st_size != size]
    if not lost:
        put(place / FILES, json.dumps(sorted(files)))
    return lost


def begin(name: str) -> None:
    """Make the folder of a new candidate. Raises FileExistsError where there is one."""
    if exists(name):
        raise FileExistsError(f"{name} is there already: each try has a candidate of its own")
    folder(name).mkdir(parents=True)


def rows(name: str) -> pl.LazyFrame:
    """The rows of a candidate, for Polars. Raises CandidateMissingError where it is gone."""
    import polars as pl  # which a DAG file that names this module must not import

    from include.lake import delta

    place = folder(name)
    if (place / "_delta_log").exists():
        return pl.scan_delta(str(place), storage_options=delta.storage_options())
    if (settled := place / FILES).exists():
        files = [str(place / file) for file in json.loads(settled.read_text())]
    else:
        files = sorted(map(str, place.glob("*.parquet"))) if place.exists() else []
    if not files:
        raise _missing(name)
    return pl.scan_parquet(files, hive_partitioning=False, storage_options=delta.storage_options())


def _missing(name: str) -> CandidateMissingError:
    return CandidateMissingError(f"{name} has been published and removed. Clear the run from its first task.")


def remove(names: Iterable[str]) -> None:
    """Remove candidates; those that are gone already are no error."""
    for one in names:
        remove_folder(folder(one))
