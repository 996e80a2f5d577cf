"""The same rows as files are written elsewhere, from landing to published bronze, beside plain CSV in the same turn.

And a night of many small files beside one file with their rows.
"""

from __future__ import annotations

import gzip
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from pyarrow import orc

from include.contracts.dialect import Dialect
from include.contracts.source import Compression, Feed, Format, Source
from include.core.partitions import Partitions
from include.core.settings import settings
from include.core.storage import remove
from include.ingestion import ingest, landing
from tests.benchmarks.ingest import DAY, TRIPS, make_file
from tests.ingestion.corpus import sheet

ROWS = 1_000_000
FEEDS = {
    "plain CSV": TRIPS,
    "semicolons, Latin-1, decimal commas": replace(
        TRIPS, name="german", dialect=Dialect(delimiter=";", encoding="latin-1", decimal=",")
    ),
    "CSV in gzip": replace(TRIPS, name="zipped", compression=Compression.GZIP),
    "JSON lines": replace(TRIPS, name="lines", format=Format.JSONL),
    "a log": replace(
        TRIPS,
        name="logged",
        format=Format.LOG,
        dialect=Dialect(pattern=" ".join(rf"(?P<{column.name}>\S*)" for column in TRIPS.columns)),
    ),
}
# Of these only the memory is of interest here.
OTHERS = {
    "Parquet": replace(TRIPS, name="parquet", format=Format.PARQUET),
    "a JSON document": replace(TRIPS, name="document", format=Format.JSON),
    "XML": replace(TRIPS, name="elements", format=Format.XML, within="row"),
    "Excel": replace(TRIPS, name="sheet", format=Format.XLSX),
    "ORC": replace(TRIPS, name="orc", format=Format.ORC),
}


SMALL_FILES, SMALL_ROWS = 1_000, 20


def write(feed: Feed, source: Source, plain: Path, day: date) -> None:
    """The landing file of ``feed`` with the rows of ``plain``."""
    path = Path(str(landing.path_of(source, feed, day)))
    path.parent.mkdir(parents=True, exist_ok=True)
    match feed.name:
        case "german":
            rows = pl.read_csv(plain, infer_schema=False)
            commas = rows.with_columns(pl.col("minutes", "fare").str.replace(".", ",", literal=True))
            commas.write_csv(path, separator=";")
        case "logged":
            pl.read_csv(plain, infer_schema=False).write_csv(path, separator=" ", include_header=False)
        case "zipped":
            with plain.open("rb") as file, gzip.open(path, "wb", compresslevel=6) as zipped:
                shutil.copyfileobj(file, zipped)
        case "lines":
            pl.read_csv(plain, try_parse_dates=False).write_ndjson(path)
        case "document":
            pl.read_csv(plain, try_parse_dates=False).write_json(path)
        case "parquet":
            pl.read_csv(plain, try_parse_dates=True).cast({"from_stop": pl.Int32, "to_stop": pl.Int32}).write_parquet(
                path
            )
        case "orc":
            orc.write_table(pl.read_csv(plain, infer_schema=False).to_arrow(), str(path))
        case "sheet":
            rows = pl.read_csv(plain, infer_schema=False)
            path.write_bytes(sheet([rows.columns, *map(list, rows.iter_rows())]))
        case "elements":
            rows = pl.read_csv(plain, infer_schema=False)
            cells = [pl.format(f"<{name}>{{}}</{name}>", name) for name in rows.columns]
            elements = rows.select(pl.concat_str(pl.lit("<row>"), *cells, pl.lit("</row>\n"))).to_series()
            path.write_text("".join(["<rows>\n", *elements, "</rows>\n"]))
        case _:
            shutil.copy(plain, path)


def ours(source: Source, day: date) -> float:
    """Landing to published bronze, as the DAG's tasks do it. Seconds."""
    nights, begun = Partitions(day, day), time.monotonic()
    plan = landing.plan(source, nights)
    candidates = ingest.load(source, nights, plan)
    audited = ingest.audit(source, nights, plan, candidates)
    ingest.publish_all(source, nights, plan, candidates, audited, run="benchmark")
    seconds = time.monotonic() - begun
    ingest.discard(candidates, audited)
    return seconds


def forget(source: Source) -> None:
    for path in (settings().lake / "bronze").glob(f"{source.name}__*"):
        remove(path)
    remove(settings().landing / source.name)


def run(given: Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Each feed beside plain CSV."""
    sources = {
        name: Source("bench_dialects", "made up", "nobody", "nobody", "0 0 * * *", 1, DAY, (feed,))
        for name, feed in FEEDS.items()
    }
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in FEEDS}
    for turn in range(given.turns + 1):
        day = DAY + timedelta(turn)
        made = Path(str(make_file(ROWS, day)))
        plain = made.rename(made.with_name("plain"))
        for name, source in sources.items():
            write(source.feeds[0], source, plain, day)
            took = ours(source, day)
            say(f"  {turn or 'warm-up'}: {name} {took:.1f} s")
            if turn:
                seconds[name].append({"seconds": took})
        plain.unlink()
    for source in sources.values():
        forget(source)
    usual = seconds.pop("plain CSV")
    return {
        f"{name}, {ROWS:,} rows": {"rows": ROWS, "turns": {"ours": took, "plain CSV": usual}}
        for name, took in seconds.items()
    } | of_small_files(given.turns, say)


def of_small_files(turns: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Many files a night, beside one file with the same rows."""
    parts = replace(TRIPS, name="parts", files="{day}/part-*.csv", least_files=SMALL_FILES)
    many, one = (
        Source("bench_dialects", "made up", "nobody", "nobody", "0 0 * * *", 1, DAY, (feed,)) for feed in (parts, TRIPS)
    )
    seconds: dict[str, list[dict[str, float]]] = {"ours": [], "one file": []}
    rows = SMALL_FILES * SMALL_ROWS
    for turn in range(turns + 1):
        day = DAY + timedelta(turn)
        made = Path(str(make_file(rows, day)))
        header, *lines = made.read_text().splitlines(keepends=True)
        folder = Path(str(landing.folder_of(many, parts) / str(day)))
        folder.mkdir(parents=True)
        for number in range(SMALL_FILES):
            part = lines[number * SMALL_ROWS : (number + 1) * SMALL_ROWS]
            (folder / f"part-{number:05}.csv").write_text("".join([header, *part]))
        plain = made.rename(made.with_name("plain"))
        write(TRIPS, one, plain, day)
        plain.unlink()
        for side, source in zip(seconds, (many, one), strict=True):
            took = ours(source, day)
            say(f"  {turn or 'warm-up'}: {SMALL_FILES:,} files, {side} {took:.1f} s")
            if turn:
                seconds[side].append({"seconds": took})
    for source in (many, one):
        forget(source)
    return {f"{SMALL_FILES:,} files of one night, {rows:,} rows": {"rows": rows, "turns": seconds}}
