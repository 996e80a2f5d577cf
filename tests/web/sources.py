"""A made-up source with its files in landing and its counts of rows, as ingestion leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from include.contracts.source import Column, Feed, Source, completeness_table
from include.core.settings import settings
from include.lake import delta


def feed_of(name: str = "placed") -> Feed:
    columns = (Column("order_id", "string", "whose"), Column("order_date", "date", "when"))
    return Feed(name, "orders", columns, ("order_id",), day_column="order_date")


def source_of(name: str) -> Source:
    """A source of one feed, whose files may take six hours."""
    return Source(name, "orders", "shop", "made up", "0 0 * * *", 6, date(2020, 1, 1), (feed_of(),))


def land(source: Source, days: Sequence[date], *, counted: bool = True, quarantined: int = 40) -> None:
    """A file of each of ``days``, and where they are ``counted`` what ingestion says of them."""
    for feed in source.feeds:
        folder = settings().landing / source.name / feed.name
        folder.mkdir(parents=True, exist_ok=True)
        for day in days:
            (folder / f"{day}.csv").write_text("order_id,order_date\n")
    if counted:
        rows = pl.DataFrame({"ingestion_date": days}).with_columns(
            feed=pl.lit("placed"),
            partition_day=pl.col("ingestion_date"),
            rows_in=pl.lit(1_000),
            files=pl.lit(1),
            published=pl.lit(1_000 - quarantined - 10),
            quarantined=pl.lit(quarantined),
            deduplicated=pl.lit(10),
        )
        delta.replace_days("bronze", completeness_table(source), rows, min(days), max(days), day="ingestion_date")
