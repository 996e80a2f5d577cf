"""Personal columns end before gold: dropped, or replaced by pseudonyms (docs/decisions/privacy.md)."""

from __future__ import annotations

from collections.abc import Iterable

from include.contracts.source import Pii, Source
from include.lake.columns import Columns, Origin

LAYER = "gold"


def personal(sources: Iterable[Source]) -> frozenset[Origin]:
    """The columns that their sources' specs class as personal."""
    return frozenset(
        Origin(source.name, feed.name, column.name)
        for source in sources
        for feed in source.feeds
        for column in feed.columns
        if column.pii is Pii.PERSONAL
    )


def leaks(columns: Columns, sources: Iterable[Source]) -> dict[str, list[str]]:
    """Each column of gold that is made of personal ones without a pseudonym between, as model.column, with those."""
    forbidden = personal(sources)
    found = {
        f"{model}.{column}": sorted(map(str, columns.sources_of(model, column) & forbidden))
        for model, layer in columns.layers.items()
        if layer == LAYER
        for column in columns.of(model)
    }
    return {column: origins for column, origins in found.items() if origins}
