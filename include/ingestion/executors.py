"""The kernel on Spark's executors, by ``mapInArrow``: small files together, large ones in shares.

Each task of Spark does what ``kernel`` does in the process of Airflow's task, by the same functions: it reads, judges
and writes files of the candidate, and tells which. A task that Spark tries again, or runs twice, writes files with
other names, and only those count that were told. The workers' Python needs our libraries (``requirements.txt``); our
own code goes along with the session.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import uuid4

import polars as pl

from include.contracts.source import Feed
from include.core import settings as core
from include.core.settings import settings
from include.ingestion import kernel
from include.ingestion.files import UnreadableFileError
from include.lake import candidate, executors, spark
from include.lake.executors import ElsewhereError

if TYPE_CHECKING:
    import pyarrow

SHARE = 256 << 20
"""Bytes of a file for one task. Of a larger one each task reads all and judges its share, which is most of the work."""

MOST_SHARES = 64

WRITTEN = "name string, rows long, bytes long, broken long, late long, refused string"


class Work(TypedDict):
    """What one task of Spark reads: files by their names below landing, with their days and columns."""

    files: dict[str, tuple[str, list[str]]]
    share: int  # which pieces of them, of so many shares
    shares: int


def run(feed: Feed, files: kernel.Files, name: str) -> int:
    """Read ``files`` of ``feed`` into the new candidate ``name``, as ``kernel.parts`` has its rows; returns them.

    Raises UnreadableFileError, naming the file, and ElsewhereError.
    """
    session = spark.apache_spark("reading files on executors (NOCTURNE_READ_ON=spark)")
    executors.bring_code(session)
    plan = [(json.dumps(work),) for work in works(files)]
    candidate.begin(name)
    places = executors.places()

    def task(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        yield from _task(feed, name, places, batches)

    # as many partitions as there is work: each is a task by itself
    asked = session.createDataFrame(plan, "work string").repartition(len(plan))
    written = [row.asDict() for row in asked.mapInArrow(task, WRITTEN).collect()]
    if refused := sorted(row["refused"] for row in written if row["refused"]):
        raise UnreadableFileError(refused[0])
    if lost := candidate.settle(name, {row["name"]: row["bytes"] for row in written}):
        raise ElsewhereError(
            f"{', '.join(lost[:3])} of {name}, which executors have written, are not in {settings().lake}: "
            "NOCTURNE_READ_ON=spark needs a landing and a lake that every machine of the cluster sees"
        )
    return sum(row["rows"] for row in written)


def works(files: kernel.Files) -> list[Work]:
    """What each task reads: a share of a large file, or small ones one after the other."""
    found: list[Work] = []
    together = SHARE
    for path, (day, columns) in files.items():
        size = path.stat().st_size
        one = {kernel.name_of(path): (day.isoformat(), list(columns))}
        if size > SHARE:
            shares = min(-(-size // SHARE), MOST_SHARES)
            found += [Work(files=one, share=share, shares=shares) for share in range(shares)]
            together = SHARE
        elif together + size > SHARE:
            found.append(Work(files=one, share=0, shares=1))
            together = size
        else:
            found[-1]["files"] |= one
            together += size
    return found


def _task(
    feed: Feed, name: str, places: dict[str, Any], batches: Iterable[pyarrow.RecordBatch]
) -> Iterator[pyarrow.RecordBatch]:
    """On an executor: the files of a candidate that the works in ``batches`` make, a row each."""
    core.adopt(places)
    for batch in batches:
        for work in batch.column("work").to_pylist():
            yield from pl.DataFrame(_written(feed, name, json.loads(work)), WRITTEN_SCHEMA).to_arrow().to_batches()


WRITTEN_SCHEMA = {
    "name": pl.String,
    "rows": pl.Int64,
    "bytes": pl.Int64,
    "broken": pl.Int64,
    "late": pl.Int64,
    "refused": pl.String,
}


def _written(feed: Feed, name: str, work: Work) -> list[dict[str, Any]]:
    """Carry ``work`` out. A file that cannot be read is told as a row: of an exception Spark keeps only the text."""
    landing = settings().landing
    files = {landing / below: (date.fromisoformat(day), columns) for below, (day, columns) in work["files"].items()}
    written, attempt = [], uuid4().hex[:12]
    try:
        for number, part in enumerate(kernel.parts(feed, files, work["share"], work["shares"])):
            file = f"part-{attempt}-{number:05}.parquet"
            broken, late = part.select(pl.col("_reason").is_not_null().sum(), pl.col("_late").sum()).row(0)
            size = candidate.add(name, file, part)
            written.append({"name": file, "rows": part.height, "bytes": size, "broken": broken, "late": late})
    except UnreadableFileError as error:
        return [{"refused": str(error)}]
    return written
