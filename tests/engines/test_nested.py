"""Nested and binary columns of bronze, as staging models ask for what is in them: the same on both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from include.contracts.source import Format
from include.core.settings import settings
from include.ingestion import kernel
from include.lake import candidate, publish
from tests.ingestion.test_nested import DAY, FEED, ROWS, in_json_lines

QUERIES = {
    "SELECT number, address.city, city FROM {t}": [(1, 'Zürich "7"', 'Zürich "7"'), (2, None, None), (3, None, None)],
    "SELECT items[0].price + price, size(items) FROM {t} WHERE number = 1": [],
    "SELECT number, i.pieces FROM {t} LATERAL VIEW explode(items) e AS i": [(1, 2), (1, None)],
    "SELECT map_from_entries(sizes)['width'] FROM {t} WHERE number = 1": [(1.5,)],
    "SELECT s.key, s.value FROM {t} LATERAL VIEW explode(sizes) e AS s": [],
    "SELECT hex(seal), hex(address.mark), address.since, address.flag FROM {t} WHERE number = 1": [],
    "SELECT address.tags, items[0].seen_at FROM {t}": [],
    "SELECT count(*) FROM {t} GROUP BY items, sizes, address": [(1,), (1,), (1,)],
}


def test_what_is_within_a_column_is_the_same_on_both_engines(
    engines: tuple[Callable[[str], Any], Callable[[str], Any]], home: Path
) -> None:
    feed = replace(FEED, format=Format.JSONL)
    path = home / "landing" / "toys" / feed.name / f"{DAY}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(in_json_lines(ROWS))
    name = candidate.name("bronze.toys__orders", "x")
    kernel.run(feed, {path: (DAY, ())}, name)
    rows = kernel.judged(name).select(*(column.name for column in feed.columns), "partition_day")

    def published() -> tuple[date, ...]:
        return publish.publish("bronze.toys__orders", rows, ["partition_day"], pl.lit(True)).changed

    assert published() == (DAY,)
    assert published() == ()
    table = f"delta.`{settings().lake / 'bronze' / 'toys__orders'}`"
    for query, expected in QUERIES.items():
        spark, sail = (ask(query.format(t=table)) for ask in engines)
        assert spark == sail, query
        assert not str(spark).startswith("error"), f"{query}: {spark}"
        if expected:
            assert spark == sorted(map(repr, expected))
