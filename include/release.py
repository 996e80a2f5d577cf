"""``make release``: ingest again what the quarantine holds, after its contract or its file has been mended."""

from __future__ import annotations

import argparse
import sys
from datetime import date

import polars as pl
from rich.console import Console
from rich.table import Table

from include.airflow_client import Airflow
from include.lake import delta
from include.partitions import Partitions
from include.settings import settings
from include.sources import source, sources
from include.sources.spec import Source, table

REASONS_SHOWN = 20


def quarantined(of: Source, first: date, last: date) -> pl.DataFrame:
    """The rows in quarantine that arrived in the nights ``first`` to ``last``: feed, night, reason, raw."""
    found = [pl.DataFrame(schema={"feed": pl.String, "night": pl.Date, "reason": pl.String, "raw": pl.String})]
    for feed in of.feeds:
        name = f"{table(of, feed)}__quarantine"
        if delta.exists("bronze", name):
            rows = delta.read_days("bronze", name, first, last, columns=["night", "reason", "raw"], day="night")
            found.append(rows.select(pl.lit(feed.name).alias("feed"), "night", "reason", "raw"))
    return pl.concat(found)


def shown(rows: pl.DataFrame) -> Table:
    """What is in quarantine, and why, in a table."""
    counts = rows.group_by("feed", "night", "reason").len().sort("night", "feed", "reason")
    out = Table(title=f"{rows.height} rows in quarantine")
    for name in ("night", "feed", "rows", "reason"):
        out.add_column(name, overflow="fold")
    for feed, night, reason, count in counts.head(REASONS_SHOWN).iter_rows():
        out.add_row(str(night), feed, str(count), reason)
    if counts.height > REASONS_SHOWN:
        out.add_row("", "", "", f"and {counts.height - REASONS_SHOWN} more")
    return out


def main() -> int:
    """0 when the quarantine was looked at, or every night of it has been ingested again; 1 when one has failed."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--source", default="flights", choices=list(sources()))
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date.min, help="first night")
    parser.add_argument("--to", dest="last", type=date.fromisoformat, default=date.max, help="last night, included")
    parser.add_argument("--dry-run", action="store_true", help="only show what is there")
    given = parser.parse_args()
    console, of = Console(), source(given.source)
    before = quarantined(of, given.first, given.last)
    if before.is_empty():
        console.print("nothing is in quarantine")
        return 0
    console.print(shown(before))
    nights = sorted(before["night"].unique())
    if given.dry_run:
        console.print(f"without dry_run, these nights would be ingested again: {', '.join(map(str, nights))}")
        return 0
    airflow = Airflow(settings())
    for night in nights:
        try:
            airflow.follow([airflow.trigger(f"lakehouse_ingest_{of.name}", Partitions(night, night))])
        except RuntimeError as error:  # a failed run, or Airflow's refusal
            print(error, file=sys.stderr)
            return 1
    after = quarantined(of, given.first, given.last)
    console.print(f"{before.height - after.height} rows released, {after.height} are still in quarantine")
    return 0


if __name__ == "__main__":
    sys.exit(main())
