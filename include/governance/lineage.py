"""What dbt knows of lineage: which published table a model draws on, and which of its days.

The first is in the manifest of every build. The second is in a model's SQL, where no program can read it, so that the
model's ``meta`` says it beside: ``draws_on`` has, for a table, the first and the last day that a row looks at, counted
from the row's own; a first of ``null`` means the newest day up to the last. A table that is not named there is drawn
on day by day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from include.core.errors import NeedsAttentionError
from include.lake import dbt

Manifest = dict[str, Any]


class NotBuiltError(NeedsAttentionError, LookupError):
    """No build of a stage has left its manifest, so that nobody can tell what its tables draw on."""


@dataclass(frozen=True)
class Upstream:
    """A table, ``<layer>.<name>``, and its days that are drawn on, counted from a row's own. See the module."""

    table: str
    first: int | None = 0
    last: int = 0


# By table.
Graph = dict[str, list[Upstream]]


def manifest_of(stage: str) -> Manifest:
    """dbt's manifest of the last build of ``stage``. Raises NotBuiltError."""
    path = dbt.artifacts(stage) / "manifest.json"
    if not path.exists():
        raise NotBuiltError(f"{path} is missing: no run of {stage} has left its lineage there. Run a night first.")
    manifest: Manifest = json.loads(path.read_text())
    return manifest


def published(manifest: Manifest, unique_id: str) -> str | None:
    """The table that a model or a source is read from; None for a model that is only a part of others' SQL."""
    if unique_id in manifest["sources"]:
        source = manifest["sources"][unique_id]
        return f"{source['schema']}.{source['identifier']}"
    node = manifest["nodes"][unique_id]
    return None if node["config"]["materialized"] == "ephemeral" else f"{node['schema']}.{node['alias']}"


def graph(manifest: Manifest) -> Graph:
    """What each table that dbt makes draws on directly, through whatever is only a part of its SQL."""
    found = {}
    for unique_id, node in manifest["nodes"].items():
        if node["resource_type"] == "model" and (table := published(manifest, unique_id)):
            days = (node["config"].get("meta") or {}).get("draws_on", {})
            drawn = sorted(set(_sources(manifest, node)))
            found[table] = [Upstream(one, *days.get(one.partition(".")[2], (0, 0))) for one in drawn]
    return found


def _sources(manifest: Manifest, node: dict[str, Any]) -> Iterator[str]:
    for unique_id in node["depends_on"]["nodes"]:
        table = published(manifest, unique_id)
        if table:
            yield table
        else:
            yield from _sources(manifest, manifest["nodes"][unique_id])
