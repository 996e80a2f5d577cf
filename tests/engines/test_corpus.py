"""Every file of the corpus, from landing through publication: both engines find the same right rows in bronze."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.contracts.source import Source
from include.core.partitions import Partitions
from include.ingestion import ingest, landing
from tests.conftest import installed
from tests.ingestion.corpus import CASES, DAY

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.full)])
def test_the_corpus_is_published_and_both_engines_read_the_same(
    every: int, engines: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cases = {f"case_{number}": make() for number, make in enumerate([*CASES.values()][::every])}
    feeds = tuple(replace(case.feed, name=name, max_quarantined_share=1) for name, case in cases.items())
    toys, nights = Source("toys", "", "", "", "0 0 * * *", 1, DAY, feeds), Partitions(DAY, DAY)
    with installed(tmp_path_factory.mktemp("corpus")) as home:
        for feed, case in zip(feeds, cases.values(), strict=True):
            path = Path(landing.path_of(toys, feed, DAY))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(case.content)
        plan = landing.plan(toys, nights)
        candidates = ingest.load(toys, nights, plan)
        audited = ingest.audit(toys, nights, plan, candidates)
        ingest.publish_all(toys, nights, plan, candidates, audited)
        bronze = home / "lake" / "bronze"
        counted = pl.read_delta(str(bronze / "toys__completeness"))
        terms = counted.select("feed", "rows_in", "published", "quarantined", "deduplicated").rows()
        assert {feed: (rows, published, broken) for feed, rows, published, broken, _ in terms} == {
            name: (len(case.rows) + case.quarantined, len(case.rows), case.quarantined) for name, case in cases.items()
        }
        for name, case in cases.items():
            names = [column.name for column in case.feed.columns]
            published = pl.read_delta(str(bronze / f"toys__{name}")).select(names)
            assert sorted(published.rows(), key=str) == sorted(case.rows, key=str), name
            query = f"SELECT {', '.join(names)} FROM delta.`{bronze / f'toys__{name}'}`"
            spark, sail = (ask(query) for ask in engines)
            assert spark == sail, name
            assert len(spark) == len(case.rows), f"{name}: {spark}"
