"""dbt's part of write, audit, publish: reading back what a build did, and publishing its candidates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import NeedsAttentionError, is_passing
from include.lake import candidate
from include.lake import spark as lake
from include.lake.publish import Judged, Publication, Request, within
from include.partitions import Partitions, of_run
from include.settings import settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PROJECT = "dbt_project"

# What a build leaves behind that somebody may want to read: the lineage, and how each model and test went.
ARTIFACTS = ("manifest.json", "run_results.json")
BUILD = "build.json"


class BuildFailedError(NeedsAttentionError):
    """A model or a test of the build did not pass, or the build on record is another one. Nothing was published."""


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

    def scope(self, nights: Iterable[date]) -> str:
        """The SQL predicate of what it replaces, when it was built for ``nights``."""
        return "TRUE" if self.whole else within(self.day, (night + timedelta(self.lead_days) for night in nights))


def artifacts(stage: str) -> Path:
    """Where the last build of ``stage`` left its artifacts."""
    return settings().var / "dbt" / stage


def keep_artifacts(
    project: str, *, stage: str, suffix: str, begun: datetime, also: Sequence[date], context: Any
) -> None:
    """Keep what the build of ``stage`` in the folder ``project`` left, which nights it was for, and its suffix.

    Called by Cosmos after dbt, however it went; a build that broke early leaves fewer files.
    """
    folder = artifacts(stage)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ARTIFACTS:
        if (file := Path(project) / "target" / name).exists():
            shutil.copyfile(file, folder / name)
    (folder / BUILD).write_text(
        json.dumps(
            {
                "nights": of_run(context).key,
                "also": list(map(str, also)),
                "suffix": suffix,
                "begun": begun.isoformat(),
            }
        )
    )


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


def broken(stage: str, begun: datetime) -> BuildFailedError | None:
    """What models and tests said in the build of ``stage`` that was ``begun`` then, where no other try will mend that.

    None where it broke without their saying anything, or by what may pass, as a server that went away.
    """
    folder = artifacts(stage)
    if not all((folder / name).exists() for name in (BUILD, *ARTIFACTS)):
        return None
    if json.loads((folder / BUILD).read_text())["begun"] != begun.isoformat():
        return None
    manifest, results = (json.loads((folder / name).read_text()) for name in ARTIFACTS)
    if any(is_passing(one["message"] or "") for one in results["results"]):
        return None
    try:
        candidates(manifest, results, "")
    except BuildFailedError as failed:
        return failed
    return None


def _build(stage: str, nights: Partitions) -> dict[str, Any]:
    """What the last build of ``stage`` left about itself. Raises BuildFailedError where it was for other nights."""
    build: dict[str, Any] = json.loads((artifacts(stage) / BUILD).read_text())
    if build["nights"] != nights.key:
        raise BuildFailedError(
            f"the last build of {stage} was for {build['nights']}, not for {nights}. "
            "Clear the run from its first task, not from this one."
        )
    return build


def built(stage: str, nights: Partitions) -> list[Candidate]:
    """The candidates of the last build of ``stage``. Raises BuildFailedError where that was for other nights."""
    build = _build(stage, nights)
    manifest, results = (json.loads((artifacts(stage) / name).read_text()) for name in ARTIFACTS)
    return candidates(manifest, results, build["suffix"])


def also_built(stage: str, nights: Partitions) -> list[date]:
    """The earlier nights that the last build of ``stage`` was for as well. Raises BuildFailedError, as ``built``."""
    return [date.fromisoformat(night) for night in _build(stage, nights)["also"]]


def candidate_for(table: str, stage: str, nights: Partitions) -> str:
    """The candidate that the last build of ``stage`` made for ``table``."""
    return next(one.name for one in built(stage, nights) if one.table == table)


def publish_built(stage: str, nights: Partitions, run: str = "by hand") -> list[Publication]:
    """Publish every candidate of the last build of ``stage``, which must have been for ``nights``, all at once.

    Raises StaleBuildError where another run has published some of it since this build was begun: that one may have
    read newer rows.
    """
    # Not on top: a DAG file that names this module must not import Polars.
    from include.lake import publications, publish

    spark = lake.session()
    begun = datetime.fromisoformat(_build(stage, nights)["begun"])
    built_nights = [*nights.days, *also_built(stage, nights)]

    def judged() -> Judged:
        made = built(stage, nights)
        for one in made:
            days = None if one.whole else [night + timedelta(one.lead_days) for night in built_nights]
            if others := publications.since(begun, one.table, days) - {run}:
                raise StaleBuildError(
                    f"{one.table}: {', '.join(sorted(others))} has published days of {nights} while they were being "
                    "built here. Clear this run from its first task."
                )
        return Judged([_request(spark, one, built_nights) for one in made])

    return publish.publish_all(
        spark, judged, f"{stage} {nights}", lambda versions, published: publications.changes(published, versions, run)
    )


def _request(spark: SparkSession, one: Candidate, nights: list[date]) -> Request:
    return Request(one.table, candidate.read(spark, one.name), [one.day], one.scope(nights))


def discard_built(stage: str, nights: Partitions) -> None:
    """Drop the candidates of the last build of ``stage``."""
    candidate.discard(lake.session(), (one.name for one in built(stage, nights)))
