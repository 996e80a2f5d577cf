"""What becomes of the rows of one file, without a lake."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from include.contracts.source import Feed
from include.ingestion import kernel, verdicts


def judged(feed: Feed, *paths: Path, there: Sequence[str] = ()) -> pl.DataFrame:
    """Every row of the files at ``paths``, which are in landing and named by their days, with its verdict.

    They have the columns ``there``, or those of ``feed``, in that order.
    """
    files = {path: (date.fromisoformat(path.name[:10]), there) for path in paths}
    return verdicts.together(
        pl.concat([pl.DataFrame(schema=verdicts.columns_of(feed)), *kernel.looked_at(feed, files)]), feed
    )


def rows(feed: Feed, *paths: Path) -> list[dict[str, Any]]:
    return judged(feed, *paths).to_dicts()
