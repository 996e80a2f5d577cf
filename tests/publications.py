"""Lines of the ledger of publications, without tables that were published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from include.lake import commit, publications
from include.lake.publications import Origin, Terms
from include.lake.publish import Partition, Publication


def record(
    published: Sequence[Publication],
    run: str,
    terms: Mapping[tuple[str, Partition], Terms] | None = None,
    origins: Mapping[tuple[str, date], Origin] | None = None,
) -> None:
    """Add the lines of ``published``, whose tables are there."""
    with commit.committing():
        versions = commit.versions_of(one.table for one in published)
        commit.commit_all(publications.changes(published, versions, run, terms, origins), run)
