"""What the quarantine holds, what would become of it today, and how its nights are ingested again (``make reprocess``).

Whoever starts it here or lets the DAG ``lakehouse_reprocess_<source>`` ask a person first, the nights go through
``lakehouse_ingest_<source>`` again, and what is looked at before is ``foreseen``. Nothing here holds a value of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypedDict

import polars as pl
from rich.table import Table

from include.contracts.source import Feed, Source, completeness_table, table
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.core.settings import settings
from include.ingestion import counting, ingest, landing, reasons
from include.ingestion.completeness import Counts
from include.lake import delta
from include.orchestration.airflow_client import Airflow

SHOWN = 20
"""Lines of a summary; of more only their number is said."""

ROWS = {"feed": pl.String, "ingestion_date": pl.Date, "reason": pl.String, "raw": pl.String}
# What becomes of a row in quarantine: it would be published, or is a copy of one that is; its file has it no more, or
# as another text; it breaks its contract still.
SOUND, CHANGED, STAYS, NEW = "sound now", "changed or gone in the file", "stays", "new"


class NothingToReprocessError(NeedsAttentionError):
    """The files of a night in quarantine are not there any more, so that it cannot be ingested again."""


def quarantined(of: Source, first: date, last: date) -> pl.DataFrame:
    """The rows in quarantine that arrived in the nights ``first`` to ``last``: feed, night, reason, raw."""
    found = [pl.DataFrame(schema=ROWS)]
    for feed in of.feeds:
        name = f"{table(of, feed)}__quarantine"
        if delta.exists("bronze", name):
            rows = delta.read_days(
                "bronze", name, first, last, columns=["ingestion_date", "reason", "raw"], day="ingestion_date"
            )
            found.append(rows.select(pl.lit(feed.name).alias("feed"), "ingestion_date", "reason", "raw"))
    return pl.concat(found)


@dataclass(frozen=True)
class Foreseen:
    """What ingesting nights again would come to.

    ``counts`` has feed, night, kind, fate and rows, of what is in quarantine and of what would come into it (``NEW``).
    ``published`` is how many rows are published of these files now, and how many would be.
    """

    counts: pl.DataFrame
    published: tuple[int, int]

    def __str__(self) -> str:
        by_fate = dict(self.counts.group_by("fate").agg(pl.col("rows").sum()).iter_rows())
        others = f"; {by_fate[NEW]:,} others would come into it" if NEW in by_fate else ""
        now, then = self.published
        return (
            f"{sum(by_fate.values()) - by_fate.get(NEW, 0):,} rows in quarantine: {by_fate.get(SOUND, 0):,} sound now, "
            f"{by_fate.get(CHANGED, 0):,} changed or gone in the file, {by_fate.get(STAYS, 0):,} would stay{others}. "
            f"Of these files {now:,} rows are published, and {then:,} would be"
        )


def foreseen(of: Source, rows: pl.DataFrame) -> Foreseen:
    """What would become of ``rows`` in quarantine if their nights were ingested now.

    Their files are read with today's contract and rules, as an ingestion reads them, and nothing is published. Raises
    NothingToReprocessError where a night's files are gone, and what an ingestion raises where it would fail: then the
    night cannot be reprocessed.
    """
    found, now, then = [pl.DataFrame(schema={**ROWS, "fate": pl.String})], 0, 0
    for night in sorted(rows["ingestion_date"].unique()):
        fates, counts = _foreseen(of, night, rows.filter(pl.col("ingestion_date") == night))
        found.append(fates)
        then += sum(row["published"] for row in counts)
        now += _published(of, night, {row["feed"] for row in counts})
    return Foreseen(_by_kind(of, pl.concat(found)).sort("ingestion_date", "feed", "fate", "kind"), (now, then))


def _published(of: Source, night: date, feeds: set[str]) -> int:
    counts = delta.read_days("bronze", completeness_table(of), night, night, day="ingestion_date")
    return int(counts.filter(pl.col("feed").is_in(list(feeds)))["published"].sum())


def _foreseen(of: Source, night: date, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Counts]]:
    """``rows`` of one night, each with its fate, and the completeness of the files that they came in."""
    nights = Partitions(night, night)
    plan = landing.plan(of, nights)
    if gone := sorted(set(rows["feed"]) - plan.keys()):
        raise NothingToReprocessError(
            f"{of.name} {night}: in landing there is no file of {', '.join(gone)} any more. What is in quarantine of "
            "it can only be ingested again with its file; put it back, or give nights without this one"
        )
    candidates = ingest.load(of, nights, plan)
    audited: ingest.Audited = {"counts": [], "late": {}, "versions": {}}
    try:
        audited = ingest.audit(of, nights, plan, candidates)
        then = ingest.refused(of, plan, candidates, audited)
    finally:
        ingest.discard(candidates, audited)
    stays = rows.join(then, on=["feed", "raw"], how="semi").with_columns(pl.lit(STAYS).alias("fate"))
    new = then.join(rows, on=["feed", "raw"], how="anti").with_columns(pl.lit(NEW).alias("fate"))
    others = rows.join(then, on=["feed", "raw"], how="anti")
    still = [_in_file(of, of.feed(name), night, others.filter(pl.col("feed") == name)) for name in plan]
    counts = [
        row for row in audited["counts"] if row["ingestion_date"] == str(night) and row["feed"] in set(rows["feed"])
    ]
    return pl.concat([stays, new, *still]), counts


def _in_file(of: Source, feed: Feed, night: date, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` that do not break their contract any more, by whether their file still has them as they were.

    A format without lines has no text of a row to look for; there they count as sound.
    """
    raws = set(rows["raw"])
    files = landing.files_of(of, feed, feed.due(night)).values() if feed.format in counting.RECORDS else ()
    there = {raw for path in files for raw in counting.line_numbers(path, feed.content, raws)} if files else raws
    is_there = pl.col("raw").is_in(list(there))
    fate = pl.when(is_there).then(pl.lit(SOUND)).otherwise(pl.lit(CHANGED))
    return rows.with_columns(fate.alias("fate"))


def _by_kind(of: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` counted by what is wrong with them, in words that hold no value."""
    by = ["feed", "ingestion_date", "kind", *(["fate"] if "fate" in rows.columns else [])]
    schema = {"feed": pl.String, "ingestion_date": pl.Date, "kind": pl.String, "fate": pl.String, "rows": pl.UInt32}
    found = [pl.DataFrame(schema={name: schema[name] for name in [*by, "rows"]})]
    for (feed,), some in rows.partition_by("feed", as_dict=True).items():
        kinds = some.with_columns(reasons.of(of.feed(str(feed)), pl.col("reason")).alias("kind"))
        found.append(kinds.group_by(by).len("rows").select(*by, pl.col("rows").cast(pl.UInt32)))
    return pl.concat(found)


def as_markdown(found: Foreseen) -> str:
    """What is foreseen, for whoever has to approve it."""
    counts = found.counts
    lines = [
        f"{found}.",
        "",
        "| night | feed | what was wrong | rows | if ingested now |",
        "|---|---|---|--:|---|",
    ]
    shown = counts.select("ingestion_date", "feed", "kind", "rows", "fate").head(SHOWN)
    lines += [
        f"| {night} | {feed} | {kind} | {rows:,} | {fate} |" for night, feed, kind, rows, fate in shown.iter_rows()
    ]
    if counts.height > SHOWN:
        lines.append(f"| | | and {counts.height - SHOWN} more | | |")
    return "\n".join(lines)


def shown(counts: pl.DataFrame, title: str) -> Table:
    """Counts by night, feed and kind in a table, with what becomes of them where that is known."""
    out = Table(title=title)
    names = ["ingestion_date", "feed", "rows", "kind", *(["fate"] if "fate" in counts.columns else [])]
    headings = {"kind": "what is wrong", "fate": "if ingested now"}
    for name in names:
        out.add_column(headings.get(name, name), overflow="fold")
    for line in counts.select(names).head(SHOWN).iter_rows():
        out.add_row(*map(str, line))
    if counts.height > SHOWN:
        out.add_row("", "", "", f"and {counts.height - SHOWN} more")
    return out


def counted(of: Source, rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` in quarantine by night, feed and kind."""
    return _by_kind(of, rows).sort("ingestion_date", "feed", "kind")


class Proposal(TypedDict):
    """What a person has to approve, as plain data, since it travels between tasks.

    ``summary`` is Markdown, ``rows`` how many are in quarantine, ``nights`` the parameters of the runs to start.
    """

    summary: str
    rows: int
    nights: list[dict[str, str]]


def proposal(of: Source, nights: Partitions) -> Proposal:
    """What reprocessing ``nights`` would come to; without nights where nothing is in quarantine.

    Raises what ``foreseen`` does.
    """
    rows = quarantined(of, nights.first, nights.last)
    return {
        "summary": as_markdown(foreseen(of, rows)),
        "rows": rows.height,
        "nights": [{"from": str(night), "to": str(night)} for night in sorted(rows["ingestion_date"].unique())],
    }


def outcome(before: int, of: Source, nights: Partitions) -> str:
    """What reprocessing ``nights`` has come to, in a line: ``before`` rows were in quarantine."""
    after = quarantined(of, nights.first, nights.last).height
    return f"{before - after} rows released, {after} are still in quarantine"


def ingest_again(of: Source, nights: Iterable[date]) -> None:
    """Each night once more, one after the other, with all that follows. Raises RunFailedError where one fails."""
    airflow = Airflow(settings())
    for night in nights:
        airflow.follow([airflow.trigger(f"lakehouse_ingest_{of.name}", Partitions(night, night))])
