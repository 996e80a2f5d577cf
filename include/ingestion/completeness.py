"""The completeness equation of each file, *rows in = published + quarantined + deduplicated*, and its table."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

import polars as pl

from include.contracts.source import Feed, Source, completeness_table
from include.ingestion import landing, late
from include.ingestion.landing import Plan
from include.lake import candidate, commit, delta
from include.lake.commit import Change

# The right side of the completeness equation, and which rows of a candidate each of its terms counts. A late row is
# sound by itself and counts for what it turns out to be beside the other rows of its day.
TERMS = {
    "published": pl.col("_reason").is_null() & ~pl.col("_copy") & ~pl.col("_late"),
    "quarantined": pl.col("_reason").is_not_null() & ~pl.col("_copy"),
    "deduplicated": pl.col("_copy") & ~pl.col("_late"),
}

# Terms of the completeness equation of one file, with what it is about; and how many of each term were late rows.
Counts = dict[str, Any]


def counted(judged: pl.LazyFrame, feed: Feed, plan: Plan) -> tuple[list[Counts], bool]:
    """The terms of each file without its late rows, and whether there are late ones."""
    terms = [where.sum().alias(term) for term, where in (TERMS | {"late": pl.col("_late")}).items()]
    found = judged.group_by("ingestion_date").agg(terms).collect(engine="streaming")
    by_night = {row["ingestion_date"]: row for row in found.iter_rows(named=True)}
    counts: list[Counts] = []
    for day, batch in plan[feed.name].items():
        added = {column for file in batch["files"].values() for column in landing.added(file, feed)}
        night = feed.night(date.fromisoformat(day))
        accounted = {term: int(by_night[night][term]) if night in by_night else 0 for term in TERMS}
        counts.append(
            {"ingestion_date": str(night), "feed": feed.name, "partition_day": day, "rows_in": batch["rows"]}
            | {"files": len(batch["files"])}
            | accounted
            | {f"late_{term}": 0 for term in TERMS}
            | {"added_columns": ", ".join(sorted(added))}
        )
    return counts, any(row["late"] for row in by_night.values())


def complete(feed: Feed, row: Counts) -> list[str]:
    """What is wrong with the completeness equation of one feed and day; empty where it holds."""
    rows, quarantined = int(row["rows_in"]), int(row["quarantined"])
    accounted = int(row["published"]) + quarantined + int(row["deduplicated"])
    problems = []
    if rows != accounted:
        problems.append(
            f"{feed.name} {row['partition_day']}: the file has {rows} rows and {accounted} are accounted for ({row})"
        )
    if quarantined > feed.max_quarantined_share * rows:
        problems.append(
            f"{feed.name} {row['partition_day']}: {quarantined} of {rows} rows break the contract, more than the "
            f"{feed.max_quarantined_share:.0%} allowed; see _reason in the candidate table"
        )
    if rows and not int(row["published"]) and not problems:
        problems.append(
            f"{feed.name} {row['partition_day']}: all {rows} rows are copies of others; is it another day's file?"
        )
    return problems


def with_late(source: Source, feed: Feed, counts: list[Counts], resolved: str, days: Collection[str]) -> list[Counts]:
    """``counts`` with the late rows added, and the counts of other nights' files whose late rows were looked at.

    ``resolved`` is the table of late rows with their verdicts, and ``days`` are those that they touch.
    """
    found = candidate.rows(resolved).select("ingestion_date", late.VERDICT).collect()
    # Only nights of which something may have changed: what a night costs must not grow with history.
    looked_at = set(found["ingestion_date"]) - {date.fromisoformat(row["ingestion_date"]) for row in counts}
    if looked_at and late.has_store(source, feed):
        # A night's other late rows, of days that this run does not touch, keep the verdicts they have.
        there = delta.scan("bronze", late.store(source, feed)).filter(pl.col("ingestion_date").is_in(looked_at))
        untouched = ~pl.col("partition_day").is_in(list(map(date.fromisoformat, days)))
        found = pl.concat([found, there.filter(untouched).select("ingestion_date", late.VERDICT).collect()])
    by_verdict = {
        (str(night), verdict): n for night, verdict, n in found.group_by("ingestion_date", late.VERDICT).len().rows()
    }
    own = {row["ingestion_date"] for row in counts}
    others = _recorded(source, feed, {night for night, _ in by_verdict} - own)
    return [_add_late(row, by_verdict) for row in [*counts, *others]]


def _add_late(row: Counts, by_verdict: dict[tuple[str, str], int]) -> Counts:
    new = {f"late_{term}": by_verdict.get((row["ingestion_date"], term), 0) for term in TERMS}
    return row | {term: row[term] - row[f"late_{term}"] + new[f"late_{term}"] for term in TERMS} | new


def _recorded(source: Source, feed: Feed, nights: set[str]) -> list[Counts]:
    """The counts on record of the files of other nights."""
    name = completeness_table(source)
    if not nights or not delta.exists("bronze", name):
        return []
    first, last = date.fromisoformat(min(nights)), date.fromisoformat(max(nights))
    rows = delta.read_days("bronze", name, first, last, day="ingestion_date").with_columns(
        pl.col("ingestion_date", "partition_day").cast(pl.String)
    )
    return rows.filter((pl.col("feed") == feed.name) & pl.col("ingestion_date").is_in(nights)).to_dicts()


def changes(source: Source, plan: Plan, counts: list[Counts]) -> list[Change]:
    """The change of the completeness table: the nights of ``counts``, where they are not what is there already."""
    if not counts:  # of days on which the source is closed
        return []
    name = completeness_table(source)
    rows = pl.DataFrame(counts).with_columns(pl.col("ingestion_date", "partition_day").str.to_date())
    nights = rows["ingestion_date"].unique().to_list()
    if not delta.exists("bronze", name):
        return [commit.frame_change(f"bronze.{name}", rows, ["ingestion_date"], lambda partition: True)]
    there = delta.scan("bronze", name).filter(pl.col("ingestion_date").is_in(nights)).collect()
    # A feed that a night of this run no longer has goes; those of another run's nights stay.
    own = {night for feed in plan for night in landing.nights_of(plan, source.feed(feed))}
    kept = there.filter(~pl.col("ingestion_date").is_in(own)).join(rows, on=["ingestion_date", "feed"], how="anti")
    rows = pl.concat([rows, kept], how="diagonal_relaxed")
    new, old = (_by_night(frame, rows.columns) for frame in (rows, there))
    changed = {
        night
        for night in new.keys() | old.keys()
        if night not in new or night not in old or not new[night].equals(old[night])
    }
    if not changed:
        return []
    rows = rows.filter(pl.col("ingestion_date").is_in(changed))
    return [
        commit.frame_change(
            f"bronze.{name}", rows, ["ingestion_date"], lambda partition: partition["ingestion_date"] in changed
        )
    ]


def _by_night(counts: pl.DataFrame, columns: Sequence[str]) -> dict[date, pl.DataFrame]:
    """The rows of each night, such that equal ones are equal; a column that is not there yet is null."""
    lacking = [pl.lit(None).alias(name) for name in columns if name not in counts.columns]
    rows = counts.with_columns(lacking).select(columns).sort("feed")
    return {night: part for (night,), part in rows.partition_by("ingestion_date", as_dict=True).items()}
