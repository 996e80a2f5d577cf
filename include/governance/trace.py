"""From a prediction back to the files that it was made of.

The chain is read off what each stage wrote down when it published: the deployment ledger, MLflow, the ledger of
publications, dbt's manifest. Each link is taken as it was when the next one was made: a day that was published again
since does not hide what a prediction was made from. Spark is not needed, and no service that runs.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Literal

import polars as pl
from deltalake.exceptions import DeltaError

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.governance import lineage
from include.governance.lineage import Graph
from include.ingestion import landing
from include.lake import delta, publications
from include.ml import dataset, ledger, rollouts
from include.ml.ledger import Champion
from include.ml.scoring import CANARY, CHAMPION, FEATURES, SCORED_BY
from include.sources import sources

NEAR = 4  # ids that are named beside an unknown one

type State = Literal["equal", "changed", "gone"]


class UnknownPredictionError(NeedsAttentionError, LookupError):
    """No prediction has this id. The message names near ones, or the days that have predictions."""


@dataclass(frozen=True)
class Prediction:
    """One row of a predictions table.

    Attributes:
        id: as it was asked for: the entity's value where that is one of one day, or ``<day>:<value>:<value>``.
        day: the event date that it is for.
        entity: the entity's columns.
        predicted: the columns that say what was predicted, as its task has them.
        model_version: None where no model could score the day.
        version: of the Delta table, in which the row's day was written last.
        scored_at: of that version; None, as ``version``, where the table's log does not go back so far.
    """

    id: str
    day: date
    entity: dict[str, Any]
    predicted: dict[str, Any]
    model_version: int | None
    version: int | None
    scored_at: datetime | None


@dataclass(frozen=True)
class File:
    """A landing file: its path within landing, its sha256 when it was ingested, and what is there now."""

    path: str
    sha256: str
    now: State


@dataclass(frozen=True)
class Partition:
    """A revision of a partition, as the ledger of publications has it.

    Attributes:
        ingestion_date: of bronze: the partition whose file brought the rows.
        newest: the last revision of this partition; above ``revision`` where it was published again since.
        version: of the Delta table, with this revision in it.
        file: of bronze: the file that brought the rows; None where it was ingested before files were kept.
    """

    table: str
    day: date
    ingestion_date: date | None
    revision: int
    newest: int
    version: int
    rows: int
    run: str
    published_at: datetime
    file: File | None = None


@dataclass(frozen=True)
class TrainingSet:
    """What a model version learned from; its hashes and versions are MLflow's."""

    first: date
    last: date
    partitions: list[Partition]


@dataclass(frozen=True)
class Trace:
    """The whole chain.

    Attributes:
        champion: the line of the deployment ledger, or of a canary the step of its rollout, that put the model in
            charge; None where there is none.
        tags: what MLflow has of the version: git commit, content hash, Delta versions; None where it did not answer.
        row: the feature row that was scored; empty where its version's files are gone.
        features: the partition that the row is in.
        drawn: what that was made of, silver and bronze.
        training: None without ``champion``.
    """

    use_case: str
    prediction: Prediction
    champion: Champion | None
    tags: dict[str, str] | None
    row: dict[str, Any]
    features: Partition | None
    drawn: list[Partition]
    training: TrainingSet | None

    @property
    def files(self) -> list[File]:
        """The landing files behind the feature row, each once."""
        return files_of(self.drawn)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: days and times as text; with ``files``, and those of the training set."""
        found = asdict(self) | {"files": [asdict(one) for one in self.files]}
        if self.training:
            found["training"]["files"] = [asdict(one) for one in files_of(self.training.partitions)]
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
        return plain


def files_of(partitions: Iterable[Partition]) -> list[File]:
    """The landing files of ``partitions``, each once, by path."""
    found = {(one.file.path, one.file.sha256): one.file for one in partitions if one.file}
    return [found[key] for key in sorted(found, key=str)]


Line = dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """The ledger of publications, for questions about what was there at a moment."""

    lines: dict[str, dict[date, dict[date | None, list[Line]]]] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Ledger:
        found = cls()
        for line in publications.read().sort("revision").iter_rows(named=True):
            days = found.lines.setdefault(line["table"], {})
            days.setdefault(line["partition_day"], {}).setdefault(line["ingestion_date"], []).append(line)
        return found

    def at(self, table: str, day: date, moment: datetime, through: date) -> list[Partition]:
        """The partitions of ``day`` as they were at ``moment``, without what arrived after the night ``through``."""
        found = []
        for night, lines in sorted(self.lines.get(table, {}).get(day, {}).items(), key=str):
            there = [line for line in lines if line["published_at"] <= moment]
            if there and there[-1]["rows"] and (night is None or night <= through):
                found.append(_partition(there[-1], lines[-1]["revision"]))
        return found

    def of_version(self, table: str, day: date, version: int) -> list[Partition]:
        """The partitions of ``day`` as the Delta version ``version`` of ``table`` has them."""
        found = []
        for lines in self.lines.get(table, {}).get(day, {}).values():
            there = [line for line in lines if line["version"] <= version]
            if there and there[-1]["rows"]:
                found.append(_partition(there[-1], lines[-1]["revision"]))
        return found

    def days(self, day: date, upstream: lineage.Upstream, moment: datetime, through: date) -> list[date]:
        """The days of ``upstream`` that a row of ``day`` looked at."""
        last = day + timedelta(upstream.last)
        if upstream.first is not None:
            return dataset.days_between(day + timedelta(upstream.first), last)
        before = [one for one in self.lines.get(upstream.table, {}) if one <= last]
        there = [one for one in before if self.at(upstream.table, one, moment, through)]
        return [max(there)] if there else []

    def drawn(self, graph: Graph, made: Partition, through: date) -> list[Partition]:
        """What the partition ``made`` was made of, and what that was made of, down to bronze.

        Of bronze only what had arrived by the night ``through``.
        """
        found: list[Partition] = []
        for upstream in graph.get(made.table, []):
            for day in self.days(made.day, upstream, made.published_at, through):
                for one in self.at(upstream.table, day, made.published_at, through):
                    found += [one, *self.drawn(graph, one, through)]
        return list(dict.fromkeys(found))


def _partition(line: Line, newest: int) -> Partition:
    known = {
        name: line[name] for name in ("table", "ingestion_date", "revision", "version", "rows", "run", "published_at")
    }
    file = line["source_file"]
    origin = File(file, line["source_sha256"], state(file, line["source_sha256"])) if file else None
    return Partition(**known, day=line["partition_day"], newest=newest, file=origin)


@cache
def state(file: str, sha256: str) -> State:
    """How the landing file ``file`` compares with the one that was ingested."""
    path = settings().landing / file
    try:
        there = landing.sha256(path) if path.exists() else _of_several(file)
    except landing.UnreadableFileError:  # something else of its name
        return "changed"
    return ("equal" if there == sha256 else "changed") if there else "gone"


def _of_several(file: str) -> str:
    """What ``file`` has as its checksum, where it is what several files are named like; empty where nothing is."""
    source_name, feed_name, name = file.split("/", 2)
    try:
        source = sources()[source_name]
        return landing.sha256_there(source, source.feed(feed_name), name)
    except (KeyError, StopIteration):  # the spec no longer has it
        return ""


def key_of(case: UseCase) -> pl.Expr:
    """The key of a row as people write it: ``<day>:<value>:<value>``."""
    return pl.concat_str([pl.col(name).cast(pl.String) for name in case.key], separator=":")


def find_prediction(case: UseCase, asked: str) -> Prediction:
    """The prediction with the key ``<day>:<value>:<value>``, or where the entity is one column, with its value.

    Raises UnknownPredictionError, where several days have the value too, or TableMissingError where nothing was ever
    predicted.
    """
    rows = pl.scan_delta(delta.opened("gold", case.predictions_table))
    named = key_of(case) == asked
    if len(case.entity) == 1:
        named |= pl.col(case.entity[0]).cast(pl.String) == asked
    found = rows.filter(named).sort(case.key).collect()
    if not found.height:
        raise UnknownPredictionError(_unknown(case, asked, rows.select(case.key).collect()))
    if found.height > 1:
        keys = found.select(key_of(case)).to_series().to_list()
        raise UnknownPredictionError(
            f"{case.name} has {found.height} predictions with the {case.entity_name} {asked!r}. Name one with its day: "
            f"{', '.join(keys[-NEAR:])}"
        )
    row = found.row(0, named=True)
    version, at = delta.written("gold", case.predictions_table, case.day, row[case.day]) or (None, None)
    entity = {name: row.pop(name) for name in case.entity}
    row.pop(FEATURES, None)
    if row.get(SCORED_BY) == CHAMPION:
        row.pop(SCORED_BY)
    return Prediction(asked, row.pop(case.day), entity, row, row.pop("model_version"), version, at)


def _unknown(case: UseCase, asked: str, known: pl.DataFrame) -> str:
    if not known.height:
        return f"{case.name} has no predictions"
    # Neighbours in the order of ids: they begin alike.
    name = pl.col(case.entity[0]).cast(pl.String) if len(case.entity) == 1 else key_of(case)
    ids: list[str] = known.select(name.unique().sort()).to_series().to_list()
    place = bisect(ids, asked)
    near = ids[max(0, place - NEAR // 2) : place + NEAR // 2]
    first, last = known.select(pl.min(case.day).alias("first"), pl.max(case.day).alias("last")).row(0)
    return (
        f"{case.name} has no prediction with the {case.entity_name} {asked!r}. Near it are {', '.join(near)}. There "
        f"are predictions for {first} to {last}."
    )


def feature_row(case: UseCase, prediction: Prediction, partition: Partition | None) -> dict[str, Any]:
    """The row that was scored; empty where the files of its version are gone."""
    # The newest revision is in the newest version, which is always there.
    old = partition and partition.revision < partition.newest
    try:
        rows = delta.read_days(
            "gold",
            case.features_table,
            prediction.day,
            prediction.day,
            day=case.day,
            version=partition.version if partition and old else None,
        )
    except (DeltaError, OSError, pl.exceptions.PolarsError):
        return {}
    found = rows.filter(**prediction.entity).to_dicts()
    return found[0] if found else {}


def training_set(
    case: UseCase, champion: Champion, tags: Mapping[str, str] | None, lines: Ledger, graph: Graph
) -> TrainingSet:
    """The partitions of features and labels that ``champion`` learned from, and what those were made of.

    By the Delta versions in ``tags``; without them, as it was when the champion was decided on.
    """
    found: list[Partition] = []
    for name in (case.features_table, case.labels_table):
        version = (tags or {}).get(f"{dataset.DELTA_VERSION}{name}")
        for day in dataset.days_between(champion.trained_from, champion.trained_through):
            # Features are what was known when they were made; labels what was known in the night of the training.
            ahead = day - timedelta(case.horizon_days)
            trained = champion.trained_through + timedelta(case.label_days)
            through = ahead if name == case.features_table else trained
            if version is None:
                own = lines.at(f"gold.{name}", day, champion.decided_at, through)
            else:
                own = lines.of_version(f"gold.{name}", day, int(version))
            for one in own:
                found += [one, *lines.drawn(graph, one, through)]
    return TrainingSet(champion.trained_from, champion.trained_through, list(dict.fromkeys(found)))


def _in_charge(case: UseCase, prediction: Prediction) -> Champion | None:
    """What put the model in charge of a prediction: a line of the deployment ledger, or the step of a rollout."""
    if prediction.predicted.get(SCORED_BY) == CANARY:
        steps = [one for one in rollouts.read(case) if one.model_version == prediction.model_version and one.is_open]
        return next((one.challenger for one in reversed(steps) if one.effective_from <= prediction.day), None)
    rows = [row for row in ledger.read(case) if row.model_version == prediction.model_version]
    return ledger.pick(rows, date.max)


def trace(case: UseCase, asked: str, tags_of: Callable[[int], dict[str, str] | None]) -> Trace:
    """The chain behind the prediction ``asked``, as :func:`find_prediction` takes it.

    ``tags_of`` gives what MLflow has of a model version, None where it does not answer. Raises UnknownPredictionError,
    NotBuiltError, TableMissingError.
    """
    prediction = find_prediction(case, asked)
    graph = lineage.graph(lineage.manifest_of(f"{case.name}_features"))
    lines = Ledger.read()
    moment = prediction.scored_at or datetime.now(UTC)
    through = prediction.day - timedelta(case.horizon_days)
    features = next(iter(lines.at(f"gold.{case.features_table}", prediction.day, moment, through)), None)
    champion = _in_charge(case, prediction)
    tags = tags_of(prediction.model_version) if prediction.model_version else None
    return Trace(
        use_case=case.name,
        prediction=prediction,
        champion=champion,
        tags=tags,
        row=feature_row(case, prediction, features),
        features=features,
        drawn=lines.drawn(graph, features, through) if features else [],
        training=training_set(case, champion, tags, lines, graph) if champion else None,
    )
