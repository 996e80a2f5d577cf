"""OpenLineage events: what each stage read and wrote, for any server that understands them.

Each published table, training and scoring is a run of a job of its own, whose parent is the run of the DAG: a bronze
table then comes from its feed's files and a model's table from what its SQL names, and not everything from everything.
An event says what has been published, so that the two that a run needs are sent together, when it has.

Where they go is for OpenLineage's own variables to say (``OPENLINEAGE_URL``, ``OPENLINEAGE_CONFIG``); by default to a
file under ``var``. Lineage is told beside the work: a server that is down, or
anything else that goes wrong here, is a line in the log, and holds no task up for longer than ``PATIENCE``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import Dataset, InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    schema_dataset,
    storage_dataset,
    symlinks_dataset,
)
from openlineage.client.uuid import generate_static_uuid

from include.core.locks import alone
from include.core.partitions import of_run
from include.core.settings import settings
from include.governance import lineage
from include.ingestion import landing
from include.lake import delta

if TYPE_CHECKING:
    from upath import UPath

    from include.contracts.source import Source
    from include.ingestion.landing import Plan
    from include.lake.publish import Publication

log = logging.getLogger(__name__)

NAMESPACE = "nocturne"
PRODUCER = "urn:nocturne"
PATIENCE = 5.0  # seconds

Facets = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One run of one job: what it read, and what it has published."""

    name: str
    inputs: list[InputDataset] = field(default_factory=list)
    outputs: list[OutputDataset] = field(default_factory=list)


def emit(context: Mapping[str, Any], steps_of: Callable[..., Iterable[Step]], *arguments: Any) -> None:
    """Send the events of the steps that ``steps_of`` makes of ``arguments``, for the task of an Airflow ``context``.

    Never raises, and returns after ``PATIENCE`` at the latest: lineage is not worth a night.
    """

    def work() -> None:
        try:
            send(events_of(context, steps_of(*arguments)))
        except Exception as error:  # noqa: BLE001  # whatever it is: no lineage is worth a night
            log.warning("no lineage was told: %s: %s", type(error).__name__, error)

    # A daemon: what still waits for a server when the task has ended goes with it.
    sender = threading.Thread(target=work, name="openlineage", daemon=True)
    sender.start()
    sender.join(PATIENCE)
    if sender.is_alive():
        log.warning("lineage is not told after %.0f s: the task does not wait for it any longer", PATIENCE)


def send(events: Sequence[RunEvent]) -> None:
    """Hand ``events`` to the transport that OpenLineage is configured with; else write them to ``default_file``."""
    to_file = {"transport": {"type": "file", "log_file_path": str(default_file()), "append": True}}
    # A configuration file and variables win over what is given here; an URL alone would not.
    client = OpenLineageClient(config=None if settings().openlineage_url else to_file)
    with one_writer(client.transport.kind == "file"):
        for event in events:
            client.emit(event)
    client.close(PATIENCE)


def default_file() -> Path:
    """Where events go that nobody has named a server for, one a line."""
    return settings().var / "openlineage" / "events.jsonl"


@contextmanager
def one_writer(shared: bool = True) -> Iterator[None]:
    """A long line is written in pieces, and tasks that run at once append to one file, which maintenance cuts."""
    if not shared:
        yield
        return
    with alone(settings().var / "lock" / "openlineage.lock"):
        yield


def events_of(context: Mapping[str, Any], steps: Iterable[Step]) -> list[RunEvent]:
    """START and COMPLETE of each step; the second names its datasets."""
    run, task, nights = context["dag_run"], context["ti"], of_run(context)
    parent = parent_run.ParentRunFacet(
        run=parent_run.Run(runId=_uuid(run.run_after, run.dag_id, run.run_id)),
        job=parent_run.Job(namespace=NAMESPACE, name=run.dag_id),
    )
    nominal = nominal_time_run.NominalTimeRunFacet(
        nominalStartTime=_midnight(nights.first), nominalEndTime=_midnight(nights.last + timedelta(1))
    )
    kind = job_type_job.JobTypeJobFacet(processingType="BATCH", integration="AIRFLOW", jobType="TASK")
    begun, ended = task.start_date, datetime.now(UTC)
    events = []
    for step in steps:
        # Another try publishes again, and is another run.
        identity = _uuid(begun, run.dag_id, run.run_id, step.name, str(task.try_number))
        for state, at, known in ((RunState.START, begun, Step(step.name)), (RunState.COMPLETE, ended, step)):
            events.append(
                RunEvent(
                    eventType=state,
                    eventTime=at.isoformat(),
                    producer=PRODUCER,
                    run=Run(runId=identity, facets={"parent": parent, "nominalTime": nominal}),
                    job=Job(namespace=NAMESPACE, name=f"{run.dag_id}.{step.name}", facets={"jobType": kind}),
                    inputs=list(known.inputs),
                    outputs=list(known.outputs),
                )
            )
    return events


def _uuid(at: datetime, *what: str) -> str:
    return str(generate_static_uuid(at, "\0".join(what).encode()))


def _midnight(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat()


def of_ingest(source: Source, plan: Plan, published: Sequence[Publication]) -> list[Step]:
    """A step a feed: from its landing files to its bronze table."""
    rows = {one.table: one.rows for one in published}
    steps = []
    for name, batches in plan.items():
        feed = source.feed(name)
        table = f"bronze.{source.name}__{name}"
        inputs = [
            _at(
                InputDataset,
                landing.path_of(source, feed, date.fromisoformat(day)),
                {"version": _version(one["sha256"])},
            )
            for day, one in batches.items()
        ]
        steps.append(Step(name, inputs, [written(table, rows=rows.get(table))]))
    return steps


def of_dbt(stage: str, published: Sequence[Publication]) -> list[Step]:
    """A step a model, from the tables that its SQL names. What was published beside them is no model's."""
    graph = lineage.graph(lineage.manifest_of(stage))
    return [
        Step(one.table.partition(".")[2], [read(up.table) for up in graph[one.table]], [written(one.table, one.rows)])
        for one in published
        if one.table in graph
    ]


def of_training(use_case: str, challenger: Mapping[str, Any]) -> list[Step]:
    """From features and labels, each at the version it was read at, to a version of the model."""
    inputs = [read(f"gold.{table}", version) for table, version in challenger["versions"].items()]
    return [Step("train", inputs, [OutputDataset(**model(use_case, challenger["version"]))])]


def of_scoring(use_case: str, scored: Mapping[str, Any]) -> list[Step]:
    """From features and the champions of the days to predictions."""
    models_ = [InputDataset(**model(use_case, version)) for version in scored["by_version"]]
    inputs = [read(f"gold.{use_case}__features", scored["features_version"]), *models_]
    predictions = written(f"gold.{use_case}__predictions", scored["rows"], scored["table_version"])
    return [Step("score", inputs, [predictions])]


def model(name: str, version: int | str) -> dict[str, Any]:
    """A version of a registered model as a dataset: what training publishes and scoring reads."""
    return {"namespace": settings().mlflow_url, "name": name, "facets": {"version": _version(str(version))}}


def read(table: str, version: int | None = None) -> InputDataset:
    """A Delta table of the lake that was read; at its newest version, where nobody says which."""
    return _at(InputDataset, _path(table), _facets(table, version))


def written(table: str, rows: int | None = None, version: int | None = None) -> OutputDataset:
    """A Delta table of the lake that was written, ``rows`` of it."""
    counts = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=rows)
    found = _at(OutputDataset, _path(table), _facets(table, version))
    found.outputFacets = {"outputStatistics": counts} if rows is not None else {}
    return found


def _facets(table: str, version: int | None) -> Facets:
    layer, name = table.split(".")
    there = delta.opened(layer, name, version)
    fields = [
        schema_dataset.SchemaDatasetFacetFields(name=one.name, type=str(getattr(one.type, "type", one.type)))
        for one in there.schema().fields
    ]
    called = symlinks_dataset.Identifier(namespace=NAMESPACE, name=table, type="TABLE")
    return {
        "version": _version(str(there.version())),
        "schema": schema_dataset.SchemaDatasetFacet(fields=fields),
        "storage": storage_dataset.StorageDatasetFacet(storageLayer="delta", fileFormat="parquet"),
        # A dataset is named by where it is, as others that read it name it; this is what people call it.
        "symlinks": symlinks_dataset.SymlinksDatasetFacet(identifiers=[called]),
    }


def _version(version: str) -> dataset_version_dataset.DatasetVersionDatasetFacet:
    return dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version)


def _path(table: str) -> UPath:
    return delta.table_path(*table.split("."))


def _at[D: Dataset](kind: type[D], path: UPath, facets: Facets) -> D:
    """A dataset as OpenLineage names files and tables in folders and buckets."""
    protocol, _, rest = str(path).rpartition("://")
    if not protocol:
        return kind(namespace="file", name=rest, facets=facets)
    bucket, _, key = rest.partition("/")
    return kind(namespace=f"{protocol}://{bucket}", name=key, facets=facets)
