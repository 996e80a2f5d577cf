"""``make verify``: whether the tables hold what the ledgers and the counts say of them. Reads, and changes nothing.

- Every data file of the newest version of each table is there, as large as the log says.
- No publication is begun and not finished.
- No line of a ledger was edited, taken out or put in; none that the audit log has seen is gone from its end, nor any
  of its own that this installation has seen.
- ``rows in = published + quarantined + deduplicated`` holds for every file, against the rows that the tables hold.
- Every partition has the content that it was published with.
- Every prediction was made by the version that was champion for its day, or by the challenger in whose share it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import polars as pl

from include.contracts.source import Source, completeness_table, table
from include.contracts.use_case import UseCase
from include.governance import decisions
from include.lake import audit, chain, commit, delta, migrations, publications, removals, usage
from include.lake.digest import NOTHING, contents
from include.ml import ledger, rollouts, scoring
from include.ml.ledger import Champion
from include.serving import throughput
from include.sources import sources
from include.use_cases import use_cases


def lost_files(name: str) -> Iterator[str]:
    """The data files of a table that are not there, or not as large as its log says."""
    folder = usage.path_of(name)
    there = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*.parquet")}
    for path, size in usage.files_of(usage.opened(name)).select("path", "bytes").iter_rows():
        if path not in there:
            yield f"{name}: the file {path} is lost"
        elif there[path] != size:
            yield f"{name}: the file {path} has {there[path]} bytes, {size} were written"


def edited_lines(name: str) -> Iterator[str]:
    """Where the chain of a ledger does not hold."""
    for problem in chain.broken(delta.read_all(*name.split("."))):
        yield f"{name}: {problem}"


def incomplete(source: Source) -> Iterator[str]:
    """The files whose rows are not where the completeness table says."""
    name = completeness_table(source)
    if not delta.exists("bronze", name):
        return
    for row in delta.read_all("bronze", name).sort("feed", "ingestion_date").iter_rows(named=True):
        accounted = row["published"] + row["quarantined"] + row["deduplicated"]
        if row["rows_in"] != accounted:
            file = f"{source.name} {row['feed']} {row['ingestion_date']}"
            yield f"{file}: {row['rows_in']} rows in, {accounted} accounted for"
    counts = delta.read_all("bronze", name, columns=["feed", "ingestion_date", "published", "quarantined"])
    for feed in source.feeds:
        said = counts.filter(pl.col("feed") == feed.name)
        if gone := removed_through(f"bronze.{table(source, feed)}"):
            # Of the nights just after it, late rows went with the days that they belong to.
            said = said.filter(pl.col("ingestion_date") > gone + timedelta(feed.late_days))
        for term, suffix in (("published", ""), ("quarantined", "__quarantine")):
            held = _rows_by_night(f"{table(source, feed)}{suffix}")
            if gone:
                held = held.filter(pl.col("ingestion_date") > gone + timedelta(feed.late_days))
            both = (
                said.select("ingestion_date", term)
                .join(held, on="ingestion_date", how="full", coalesce=True)
                .fill_null(0)
            )
            for night, wanted, rows in both.filter(pl.col(term) != pl.col("rows")).sort("ingestion_date").iter_rows():
                yield (
                    f"bronze.{table(source, feed)}{suffix}: of the night {night} it holds {rows} rows, and "
                    f"bronze.{name} says {wanted}"
                )


def _rows_by_night(name: str) -> pl.DataFrame:
    if not delta.exists("bronze", name):
        return pl.DataFrame(schema={"ingestion_date": pl.Date, "rows": pl.UInt32})
    return delta.scan("bronze", name).group_by("ingestion_date").agg(pl.len().alias("rows")).collect()


def removed_through(name: str) -> date | None:
    """The last day that the retention has removed of a table, None where it has removed none."""
    found = removals.read().filter((pl.col("table") == name) & (pl.col("what") == "retention"))
    last = found["last_day"].max()
    return last if isinstance(last, date) else None


def other_content(name: str, lines: pl.DataFrame) -> Iterator[str]:
    """The partitions of a table that hold something else than ``lines``, its part of the ledger, say."""
    if gone := removed_through(name):
        lines = lines.filter(pl.col("partition_day") > gone)
    last = lines.sort("revision").unique(["partition_day", "ingestion_date"], keep="last")
    by = usage.opened(name).metadata().partition_columns
    layer, table_name = name.split(".")
    rows = delta.scan(layer, table_name)
    for (columns,), part in last.partition_by("columns", as_dict=True).items():
        found = contents(rows, by, json.loads(columns) if columns else by)
        for line in part.iter_rows(named=True):
            key = (line["partition_day"], line["ingestion_date"])[: len(by)]
            held = found.get(key, NOTHING)
            now = publications.digest(held)
            # A line of before it said what was hashed tells the number of rows and no more.
            if now != line["content"] if columns else held.rows != line["rows"]:
                shown = " ".join(map(str, key))
                yield (
                    f"{name} {shown}: it holds other rows ({now}) than {line['run']} published ({line['content']}, "
                    f"revision {line['revision']})"
                )
    known = {(line["partition_day"], line["ingestion_date"])[: len(by)] for line in last.iter_rows(named=True)}
    files = pl.DataFrame(usage.opened(name).get_add_actions(flatten=True))
    if brought_forward := migrations.changed_at():
        # What an earlier release has published may be older than the ledger.
        since = (brought_forward + timedelta(seconds=1)).timestamp() * 1000
        files = files.filter(pl.col("modification_time").cast(pl.Int64) >= since)
    partitions = files.select(f"partition.{one}" for one in by).unique()
    for key in sorted(set(partitions.iter_rows()) - known):
        yield f"{name} {' '.join(map(str, key))}: it holds rows that nobody has published"


def other_champions(case: UseCase) -> Iterator[str]:
    """The days that were scored by another version than the deployment ledger names for them.

    Those that are marked as scored by somebody else are named by ``make stale``.
    """
    if not delta.exists("gold", case.predictions_table):
        return
    decided = ledger.read(case)
    rows = scoring.of_champions(delta.scan("gold", case.predictions_table))
    found = rows.group_by(case.day, "model_version").len().collect()
    yield from _other_canaries(case, decided)
    for day, version, rows in found.sort(case.day).iter_rows():
        champion = ledger.pick(decided, day)
        if champion is None or champion.model_version != version:
            named = f"version {champion.model_version}" if champion else "none"
            yield f"gold.{case.predictions_table} {day}: {rows} rows are by version {version}, the champion is {named}"


def _other_canaries(case: UseCase, decided: list[Champion]) -> Iterator[str]:
    """The days on which others are in the share of a challenger than the ledger of rollouts says."""
    rows = delta.scan("gold", case.predictions_table)
    if scoring.SCORED_BY not in rows.collect_schema().names():
        return
    steps, by_canary = rollouts.read(case), pl.col(scoring.SCORED_BY) == scoring.CANARY
    with_some = set(rows.filter(by_canary).select(case.day).unique().collect()[case.day])
    shares = {
        day: step
        for day in usage.days_of(f"gold.{case.predictions_table}")
        if (step := rollouts.of_day(steps, day, ledger.pick(decided, day))) is not None and step.share
    }
    for day in sorted(with_some | shares.keys()):
        step = shares.get(day)
        of_day = rows.filter(pl.col(case.day) == day).collect()
        if step is None:
            yield f"gold.{case.predictions_table} {day}: rows are by a canary, and gold.{case.rollouts_table} has none"
            continue
        wanted = rollouts.is_canary(case, step, of_day)
        is_its = of_day.select(by_canary.fill_null(False) & (pl.col(scoring.VERSION) == step.model_version))
        if wrong := int((wanted != is_its.to_series()).sum()):
            yield (
                f"gold.{case.predictions_table} {day}: {wrong} rows are not by whom the share of {step.share:.0%} of "
                f"version {step.model_version} says"
            )


def ledgers() -> list[str]:
    """The tables that are chains."""
    of_cases = [f"gold.{table}" for case in use_cases().values() for table in case.ledgers]
    return [
        one
        for one in ("ledger.publications", "ledger.removals", throughput.LEDGER, audit.TABLE, *of_cases)
        if one in usage.tables()
    ]


def verify() -> dict[str, list[str]]:
    """Every problem of the lake, by what was looked at."""
    tables = usage.tables()
    lines = publications.read()
    published = [name for name in tables if name in set(lines["table"])]

    def content_of(name: str) -> list[str]:
        return list(other_content(name, lines.filter(pl.col("table") == name)))

    lost = {name: list(lost_files(name)) for name in tables}
    # What has lost a file cannot be read.
    whole = [name for name in published if not lost[name]]
    with ThreadPoolExecutor(max_workers=4) as pool:
        content = [problem for found in pool.map(content_of, whole) for problem in found]
    readable = not any(lost.values())
    return {
        f"{len(tables)} tables have all their files": [problem for found in lost.values() for problem in found],
        "no publication is half-done": [_half_done(entry) for entry in commit.unfinished()],
        f"{len(ledgers())} ledgers are as they were written": [p for name in ledgers() for p in edited_lines(name)],
        "the audit log ends where it was seen to end": [*audit.cut_off(), *decisions.cut_off()] if readable else [],
        "every row is accounted for": [p for source in sources().values() for p in incomplete(source)]
        if readable
        else [],
        f"{len(whole)} tables have the content that was published": content,
        "predictions are by their champions": [p for case in use_cases().values() for p in other_champions(case)],
    }


def _half_done(entry: Any) -> str:
    what = json.loads(entry.read_text())["what"]
    return f"{what} was begun and is not finished; it is under way, or the next publication finishes it ({entry})"
