"""Scoring on Spark's executors, by ``mapInArrow``: for days that are larger than one machine.

Each task of Spark scores rows by the function that scores them in the process of Airflow's task, and writes files of a
candidate; those count that it has told of. What is published of them is compared with what is there, so that whichever
way a day was scored, scoring it again the other way changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core import settings as core
from include.core.partitions import Partitions
from include.core.settings import settings
from include.core.storage import for_spark
from include.lake import candidate, delta, executors, publish, spark
from include.lake.executors import ElsewhereError
from include.ml import dataset, errors, model_files, scoring
from include.ml.ledger import Champion
from include.ml.reference import features_of

if TYPE_CHECKING:
    import pyarrow

WRITTEN = "name string, rows long, bytes long"


@dataclass(frozen=True)
class Model:
    """The files of a version, as they go to executors: checked where they come from."""

    version: int
    booster: bytes
    reference: str


def score(
    case: UseCase, spans: Sequence[tuple[Champion, Partitions]], features_version: int, stamps: Mapping[date, str]
) -> tuple[str, dict[int, int]]:
    """Score days on executors, each span by its champion, into a new candidate.

    ``stamps`` say of each day which content its features have. Returns the name of the candidate and the rows of each
    version. Raises what ``scoring.score_rows`` does, of a row as Spark's own error with that text, and ElsewhereError.
    """
    session = spark.apache_spark("scoring on executors (NOCTURNE_SCORE_ON=spark)")
    executors.bring_code(session)
    models = [_model(case, champion) for champion, _ in spans]
    name = candidate.name(
        f"gold.{case.predictions_table}", candidate.suffix(Partitions(spans[0][1].first, spans[-1][1].last))
    )
    candidate.begin(name)
    places, written, counts = executors.places(), dict[str, int](), dict[int, int]()
    table = for_spark(delta.table_path("gold", case.features_table))
    rows = session.read.format("delta").option("versionAsOf", features_version).load(table)
    for model, (champion, days) in zip(models, spans, strict=True):
        taken = features_of(json.loads(model.reference))
        dataset.check_columns(case, rows.columns, taken, who=f"version {champion.model_version} of {case.name}")
        columns = dict.fromkeys([*case.key, *(feature.name for feature in taken)])

        def task(batches: Iterator[pyarrow.RecordBatch], model: Model = model) -> Iterator[pyarrow.RecordBatch]:
            yield from _task(case, model, name, places, stamps, batches)

        of_span = rows.where(f"{case.day} BETWEEN '{days.first}' AND '{days.last}'").select(*columns)
        told = [row.asDict() for row in of_span.mapInArrow(task, WRITTEN).collect()]
        written |= {row["name"]: row["bytes"] for row in told}
        counts[model.version] = counts.get(model.version, 0) + sum(row["rows"] for row in told)
    if lost := candidate.settle(name, written):
        raise ElsewhereError(
            f"{', '.join(lost[:3])} of {name}, which executors have written, are not in {settings().lake}: "
            "NOCTURNE_SCORE_ON=spark needs a lake that every machine of the cluster sees"
        )
    return name, counts


def different(case: UseCase, name: str) -> int:
    """How many different keys a candidate has. Spark counts them: they are as many as the rows."""
    files = for_spark(candidate.folder(name))
    return int(spark.session().read.parquet(files).select(*case.key).distinct().count())


def published(case: UseCase, name: str, days: Sequence[date], rows: pl.LazyFrame) -> publish.Publication:
    """Make ``rows`` of a candidate the predictions of ``days``, and remove it. Nothing is written where they are."""
    found = publish.publish(f"gold.{case.predictions_table}", rows, [case.day], publish.within(case.day, days))
    candidate.remove([name])
    return found


def _model(case: UseCase, champion: Champion) -> Model:
    reference = model_files.load_reference(case, champion)
    booster = model_files.load_booster(case, champion)
    return Model(champion.model_version, bytes(booster.save_raw("ubj")), json.dumps(reference))


def _task(
    case: UseCase,
    model: Model,
    name: str,
    places: Mapping[str, Any],
    stamps: Mapping[date, str],
    batches: Iterable[pyarrow.RecordBatch],
) -> Iterator[pyarrow.RecordBatch]:
    """On an executor: score ``batches`` into files of the candidate ``name``, and tell each of them in a row."""
    core.adopt(places)
    with errors.of_xgboost(f"to load version {model.version} of {case.name}"):
        booster = xgb.Booster({"nthread": 1, "device": "cpu"}, model_file=bytearray(model.booster))
    reference, attempt = json.loads(model.reference), uuid4().hex[:12]
    stamp = pl.col(case.day).replace_strict(dict(stamps), default=None, return_dtype=pl.String)
    for number, rows in enumerate(_together(batches)):
        found = scoring.scored_by(case, model.version, booster, reference, rows)
        found = found.with_columns(pl.lit(scoring.CHAMPION).alias(scoring.SCORED_BY), stamp.alias(scoring.FEATURES))
        file = f"part-{attempt}-{number:05}.parquet"
        size = candidate.add(name, file, found)
        told = pl.DataFrame({"name": [file], "rows": [found.height], "bytes": [size]})
        yield from told.to_arrow().to_batches()


def _together(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pl.DataFrame]:
    """Batches, which Spark makes of ten thousand rows, as frames of ``dataset.PART_ROWS``."""
    waiting, number = list[pl.DataFrame](), 0
    for batch in batches:
        frame = pl.DataFrame(batch)
        waiting.append(frame)
        number += frame.height
        if number >= dataset.PART_ROWS:
            yield pl.concat(waiting)
            waiting, number = [], 0
    if number:
        yield pl.concat(waiting)
