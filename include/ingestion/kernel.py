"""Landing files to a candidate of bronze: every row of them, typed and judged, as plain Parquet.

With Polars, file by file and piece by piece, so that memory does not grow with them: in the process of the task, or
on Spark's executors (``executors``), by the same functions. The candidate holds
**every** row of the files, so that nothing can go missing between two writes; ``judged`` reads it, with the columns
that ``verdicts`` describes.

Nearly all rows have no twin, and sorting them all to find that out takes longer than reading them again for the few
that have: these are judged together, and get a candidate of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING

import polars as pl

from include.contracts import naming
from include.contracts.source import Feed
from include.core.settings import SPARK, settings
from include.ingestion import reading, verdicts
from include.ingestion.files import below_landing
from include.lake import candidate

if TYPE_CHECKING:
    from upath import UPath

PART_ROWS = 1_000_000
"""Rows of a candidate's file: history comes in many small files, which would be slow to open one by one."""

TOGETHER = 100_000
"""Rows that are judged at once: to say what is asked of them takes as long for ten rows as for some thousands."""

LOOKED_AT = 8_000_000
"""Rows among which twins are looked for at once."""

# The files to read: the day of each, and its columns in their order where they are not the feed's.
Files = Mapping["UPath", tuple[date, Sequence[str]]]


def run(feed: Feed, files: Files, name: str) -> int:
    """Read ``files`` of ``feed`` into the new candidate ``name``. Returns its rows, of which there may be none.

    Raises UnreadableFileError, naming the file.
    """
    if files and settings().read_on == SPARK:
        from include.ingestion import executors

        rows = executors.run(feed, files, name)
    else:
        rows = candidate.write(name, parts(feed, files))
    twins = candidate.write(twins_of(name), _judged_together(feed, files, name, rows), if_any=True)
    if twins > rows:
        raise AssertionError(f"{name} has {rows} rows, and {twins} of them were looked at together")
    return rows


def twins_of(name: str) -> str:
    """The candidate of those rows that were looked at together; there is none where no row had to be."""
    return f"{name}__twins"


def judged(name: str) -> pl.LazyFrame:
    """Every row of a candidate with its verdict. Raises CandidateMissingError where it is gone."""
    rows = candidate.rows(name)
    if candidate.exists(twins_of(name)):
        twins = candidate.rows(twins_of(name))
        rows = pl.concat([rows.join(twins.select("_twin").unique(), on="_twin", how="anti"), twins])
    return rows


def looked_at(feed: Feed, files: Files, share: int = 0, shares: int = 1) -> Iterator[pl.DataFrame]:
    """The rows of ``files``, each by itself: large files in pieces, small ones together.

    Of several ``shares`` it is every so-manieth piece; together they are all.
    """
    for rows in _together(_arrived(feed, files, share, shares), TOGETHER):
        yield verdicts.look_at(rows, feed)


def _arrived(feed: Feed, files: Files, share: int, shares: int) -> Iterator[pl.DataFrame]:
    for path, (day, columns) in files.items():
        at, name = datetime.fromtimestamp(path.stat().st_mtime, UTC), name_of(path)
        said = _said_by_name(feed, name)
        for rows in islice(reading.pieces(path, feed.content, columns), share, None, shares):
            yield verdicts.arrived(rows.with_columns(said), day, name, at)


def name_of(path: UPath) -> str:
    """The name of a landing file, below landing."""
    return below_landing(path) or path.name


def _said_by_name(feed: Feed, name: str) -> list[pl.Expr]:
    """The columns whose values are a part of the name of the file at ``name``, below landing."""
    below_feed = name.split("/", 2)[-1]
    _, said = naming.read(feed.pattern, below_feed) or (None, {})
    return [pl.lit(value, pl.String).alias(column) for column, value in said.items()]


def _together(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """``frames`` in order, as fewer ones of at least ``rows`` rows each, but for the last."""
    waiting, number = list[pl.DataFrame](), 0
    for frame in frames:
        waiting.append(frame)
        number += frame.height
        if number >= rows:
            yield pl.concat(waiting, rechunk=True)
            waiting, number = [], 0
    if waiting:
        yield pl.concat(waiting, rechunk=True)


def parts(feed: Feed, files: Files, share: int = 0, shares: int = 1) -> Iterator[pl.DataFrame]:
    """The verdicts of all rows by themselves, in frames that are worth a file each; one at least."""
    none = pl.DataFrame(schema=verdicts.columns_of(feed))
    return _together(chain([none], map(verdicts.alone, looked_at(feed, files, share, shares))), PART_ROWS)


def _judged_together(feed: Feed, files: Files, name: str, rows: int) -> Iterator[pl.DataFrame]:
    """The verdicts of those rows that have twins."""
    shares = 1 + rows // LOOKED_AT
    for share in range(shares):
        marks = candidate.rows(name).select("_twin").drop_nulls()
        if shares > 1:
            marks = marks.filter(pl.col("_twin") % shares == share)
        found = marks.group_by("_twin").len().filter(pl.col("len") > 1).select("_twin").collect(engine="streaming")
        if found.is_empty():
            continue
        of_twins = candidate.rows(name).join(found.lazy(), on="_twin", how="semi")
        theirs = set(of_twins.select("source_file").unique().collect().to_series())
        again = {path: of for path, of in files.items() if name_of(path) in theirs}
        twins = [piece.join(found, on="_twin", how="semi") for piece in looked_at(feed, again)]
        yield verdicts.together(pl.concat(twins), feed)
