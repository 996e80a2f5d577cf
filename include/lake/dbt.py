"""dbt's part of write, audit, publish: reading back what a build did, and publishing its candidates."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from include.core.errors import NeedsAttentionError, is_passing
from include.core.partitions import Partitions
from include.core.settings import settings
from include.core.storage import put
from include.lake import candidate

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath

    from include.lake.commit import Change
    from include.lake.publish import Publication

PROJECT = "dbt_project"

# What dbt leaves behind: its models and what they draw on, and how each model and test went.
ARTIFACTS = ("manifest.json", "run_results.json")


class BuildFailedError(NeedsAttentionError):
    """A model or a test of the build did not pass. Nothing was published."""


class StaleBuildError(NeedsAttentionError):
    """Another run has published the same days since a build was begun. Nothing was published."""


@dataclass(frozen=True)
class Candidate:
    """A model's candidate: the published ``table`` it is for, its partition column, and how far ahead its days are.

    One that is ``whole`` holds all that there is to publish and not the days of some nights.
    """

    name: str
    table: str
    day: str
    lead_days: int
    whole: bool = False

    def scope(self, nights: Iterable[date]) -> pl.Expr:
        """The predicate of what it replaces, when it was built for ``nights``."""
        import polars as pl  # which a DAG file that names this module must not import

        from include.lake.publish import within

        if self.whole:
            return pl.lit(True)
        return within(self.day, (night + timedelta(self.lead_days) for night in nights))


# The artifacts of a build of no model.
NOTHING_BUILT: dict[str, Any] = {"manifest.json": {"nodes": {}}, "run_results.json": {"results": []}}


class Build(TypedDict):
    """What a build leaves for the tasks behind it: plain data, since it travels between them.

    The nights that it was for, ``also`` the earlier ones with them, when it was ``begun``, the ``engine`` that computed
    it, and its candidates.
    """

    nights: str
    also: list[str]
    begun: str
    engine: str
    candidates: list[dict[str, Any]]


def artifacts(stage: str) -> UPath:
    """Where the last build of ``stage`` left its artifacts, for people and for lineage to read: on any machine."""
    return settings().lake / "dbt" / stage


def keep_artifacts(project: str, *, stage: str, left: dict[str, Any], context: Any) -> None:
    """Read into ``left`` what the build of ``stage`` in the folder ``project`` has left, and keep it.

    Called by Cosmos after dbt, however it went; a build that broke early leaves fewer files.
    """
    folder = artifacts(stage)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARTIFACTS:
        if (file := Path(project) / "target" / name).exists():
            text = file.read_text()
            left[name] = json.loads(text)
            put(folder / name, text)
        else:
            (folder / name).unlink(missing_ok=True)


def candidates(manifest: dict[str, Any], results: dict[str, Any], suffix: str) -> list[Candidate]:
    """The candidates a build made, from dbt's artifacts. Raises BuildFailedError naming what did not pass."""
    failed = [
        f"{one['unique_id']}: {one['status']} {one['message'] or ''}".rstrip()
        for one in results["results"]
        if one["status"] not in ("success", "pass", "warn", "no-op")
    ]
    if failed:
        raise BuildFailedError("these did not pass, nothing was published:\n" + "\n".join(f"- {one}" for one in failed))
    # What only names who uses a model, as an exposure does, is in the results and no node.
    built = [manifest["nodes"][one["unique_id"]] for one in results["results"] if one["unique_id"] in manifest["nodes"]]
    return [
        Candidate(
            name=candidate.name(f"{node['schema']}.{node['alias']}", suffix),
            table=f"{node['schema']}.{node['alias']}",
            day=node["config"]["meta"]["day"],
            lead_days=node["config"]["meta"].get("lead_days", 0),
            whole=node["config"]["meta"].get("whole", False),
        )
        for node in built
        if node["resource_type"] == "model" and node["config"]["materialized"] == "candidate"
    ]


def broken(left: dict[str, Any]) -> BuildFailedError | None:
    """What models and tests said in the build that ``left`` these artifacts, where no other try will mend that.

    None where it broke without their saying anything, or by what may pass, as a server that went away.
    """
    if not left.keys() >= set(ARTIFACTS):
        return None
    manifest, results = (left[name] for name in ARTIFACTS)
    if any(is_passing(one["message"] or "") for one in results["results"]):
        return None
    try:
        candidates(manifest, results, "")
    except BuildFailedError as failed:
        return failed
    return None


def built(
    nights: Partitions, also: Sequence[date], begun: datetime, engine: str, suffix: str, left: dict[str, Any]
) -> Build:
    """What a build for ``nights`` leaves, by its artifacts. Raises BuildFailedError naming what did not pass."""
    manifest, results = (left[name] for name in ARTIFACTS)
    return {
        "nights": nights.key,
        "also": list(map(str, also)),
        "begun": begun.isoformat(),
        "engine": engine,
        "candidates": [asdict(one) for one in candidates(manifest, results, suffix)],
    }


def candidates_of(build: Build) -> list[Candidate]:
    return [Candidate(**one) for one in build["candidates"]]


def also_built(build: Build) -> list[date]:
    """The earlier nights that ``build`` was for as well."""
    return [date.fromisoformat(night) for night in build["also"]]


def candidate_for(table: str, build: Build) -> str:
    """The candidate that ``build`` made for ``table``."""
    return next(one.name for one in candidates_of(build) if one.table == table)


type Also = Callable[[Build, str], Sequence[Change]]


def publish_built(
    stage: str,
    build: Build,
    run: str = "by hand",
    also: Also = lambda build, run: (),
    beside: Mapping[Candidate, Sequence[str]] | None = None,
) -> list[Publication]:
    """Publish every candidate of ``build``, all at once, with the changes that ``also`` makes while nobody commits.

    And the candidates ``beside`` them that are of the same nights; of these, the columns that do not count as content.

    Raises StaleBuildError where another run has published some of it since this build was begun: that one may have
    read newer rows.
    """
    # Not on top: a DAG file that names this module must not import Polars.
    from include.lake import publications, publish
    from include.lake.publish import Judged, Request

    begun, of = datetime.fromisoformat(build["begun"]), build["nights"]
    nights, made = [*Partitions.parse(of).days, *also_built(build)], [*candidates_of(build), *(beside or {})]
    days_of = {one.table: [night + timedelta(one.lead_days) for night in nights] for one in made if not one.whole}

    def judged() -> Judged:
        for one in made:
            days = days_of.get(one.table)
            if others := publications.since(begun, one.table, days) - {run}:
                raise StaleBuildError(
                    f"{one.table}: {', '.join(sorted(others))} has published days of {of} while they were being "
                    "built here. Clear this run from its first task."
                )
        ignored = beside or {}
        return Judged(
            [
                Request(one.table, candidate.rows(one.name), [one.day], one.scope(nights), ignored.get(one, ()))
                for one in made
            ]
        )

    return publish.publish_all(
        judged,
        f"{stage} {of}",
        lambda versions, published: [
            *publications.changes(published, versions, run, engine=build["engine"], built=days_of),
            *also(build, run),
        ],
    )


def discard_built(build: Build) -> None:
    """Remove the candidates of ``build``."""
    candidate.remove(one.name for one in candidates_of(build))
