"""``make night``: one partition through all its stages on this machine, in one process, by the functions of the tasks.

What a stage publishes is published as by a run of Airflow, and recorded as ``make night``. Airflow is not told: nothing
follows by itself, and ``make backfill`` runs the partition there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from include.contracts.source import Source
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.ingestion import ingest as ingestion
from include.ingestion import landing
from include.ingestion.connectors import fetch
from include.lake import candidate, dbt, spark
from include.lake.dbt import Build
from include.lake.publish import Publication
from include.local import compare_engines
from include.scaffold.errors import ScaffoldError

RUN = "make night"
Say = Callable[[str], None]


class NothingLandedError(ScaffoldError):
    """No file of the partition is in landing."""


def ingest(source: Source, nights: Partitions, say: Say = print) -> list[Publication]:
    """Landing to bronze. Returns what was published. Raises NothingLandedError, and what the stages of ingestion do."""
    if any(feed.connector for feed in source.feeds):
        fetch.extract(source, nights)
    if not (found := landing.plan(source, nights)):
        where = ", ".join(str(landing.path_of(source, feed, feed.due(nights.last))) for feed in source.feeds)
        raise NothingLandedError(f"nothing of {source.name} {nights} has landed: bring {where}")
    candidates = ingestion.load(source, nights, found)
    audited = ingestion.audit(source, nights, found, candidates)
    for row in audited["counts"]:
        say(
            f"{row['feed']} {row['partition_day']}: {row['rows_in']} rows in = {row['published']} published + "
            f"{row['quarantined']} quarantined + {row['deduplicated']} deduplicated"
        )
    for feed, night, reason, raw in ingestion.refused(source, found, candidates, audited).head(5).iter_rows():
        say(f"quarantine: {feed} {night}: {reason}: {raw[:80]!r}")
    try:
        return ingestion.publish_all(source, nights, found, candidates, audited, run=RUN)
    finally:
        ingestion.discard(candidates, audited)


def transform(
    source: Source, nights: Partitions, of: Settings | None = None, environment: Mapping[str, str] | None = None
) -> list[Publication]:
    """Bronze to silver, for the partition and the earlier ones of which rows came late. Returns what was published.

    ``of`` and ``environment`` are of an engine other than the installation's.
    """
    feeds = ingestion.ingested(source, nights)
    select = " ".join(f"source:{source.name}.{feed}+,marts.core" for feed in feeds)
    stage, late = f"lakehouse_transform_{source.name}", ingestion.touched(source, nights)
    with _built(stage, nights, select, late, of, environment) as built:
        return dbt.publish_built(stage, built, run=RUN)


@contextmanager
def _built(
    stage: str,
    nights: Partitions,
    select: str,
    also: Sequence[date] = (),
    of: Settings | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Build]:
    """The candidates of ``dbt build``, tested; they are removed afterwards."""
    begun, suffix, of = datetime.now(UTC), candidate.suffix(nights), of or settings()
    left: dict[str, Any] = {}
    try:
        compare_engines.build(
            of, dict(environment or compare_engines.client(of)), nights, suffix, *select.split(), also=also
        )
    finally:
        dbt.keep_artifacts(str(of.var), stage=stage, left=left, context=None)
    built = dbt.built(nights, also, begun, spark.engine(), suffix, left)
    try:
        yield built
    finally:
        dbt.discard_built(built)
