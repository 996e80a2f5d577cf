"""``python -m include.cli.trace ID``: the chain behind one prediction, down to the landing files."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable

import httpx
from rich.console import Console
from rich.table import Table

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.governance.lineage import NotBuiltError
from include.governance.trace import File, Partition, Trace, UnknownPredictionError, files_of, trace
from include.lake.delta import TableMissingError
from include.local.environment import MLFLOW_USER
from include.ml.dataset import DELTA_VERSION
from include.use_cases import use_case

COLOURS = {"equal": "green", "changed": "red", "gone": "red"}
WORDS = {"equal": "as ingested", "changed": "another file since", "gone": "gone"}


def tags_of(case: UseCase, version: int) -> dict[str, str] | None:
    """What MLflow has of a version: from its server, or where that is down from its database. None without either.

    The server is asked without MLflow's client, whose import takes longer than all the rest.
    """
    here = settings()
    try:
        answer = httpx.get(
            f"{here.mlflow_url}/api/2.0/mlflow/model-versions/get",
            params={"name": case.name, "version": version},
            auth=(MLFLOW_USER, here.secret("mlflow_admin_password")),
            timeout=10,
        )
    except (httpx.TransportError, FileNotFoundError):
        return _from_database(case, version)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    answer.raise_for_status()
    return {tag["key"]: tag["value"] for tag in answer.json()["model_version"]["tags"]}


def _from_database(case: UseCase, version: int) -> dict[str, str] | None:
    if not settings().mlflow_database.exists():
        return None
    import mlflow

    from include.ml import registry

    mlflow.set_tracking_uri(f"sqlite:///{settings().mlflow_database}")
    try:
        return registry.tags_of(case, version)
    except mlflow.MlflowException:
        return None


def counted(files: Iterable[File]) -> str:
    """How many files there are, and how they compare."""
    states = Counter(one.now for one in files)
    words = ", ".join(f"{number} {WORDS[state]}" for state, number in sorted(states.items()))
    return f"{states.total()} landing files: {words}" if states else "no landing file is known"


def partitions(found: Iterable[Partition]) -> Table:
    """A row a partition."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("table", "day", "ingestion_date", "revision", "rows", "file", "run"):
        shown.add_column(name, justify="right" if name == "rows" else "left", no_wrap=True)
    for one in found:
        revision = f"{one.revision}" + (f" of {one.newest}" if one.newest > one.revision else "")
        night = str(one.ingestion_date or "")
        shown.add_row(
            one.table, str(one.day), night, revision, str(one.rows), one.file.path if one.file else "", one.run
        )
    return shown


def model_lines(found: Trace) -> list[str]:
    """The model version, who put it in charge, and what MLflow says of it."""
    champion, tags, version = found.champion, found.tags, found.prediction.model_version
    lines = [
        f"{found.use_case} version {version}  {settings().mlflow_url}/#/models/{found.use_case}/versions/{version}"
    ]
    if champion:
        lines.append(
            f"champion from {champion.effective_from}, decided {champion.decided_at:%Y-%m-%d %H:%M} by "
            f"{champion.decided_by}: {champion.reason}"
        )
        lines.append(f"MLflow run {champion.run_id}, sha256 {champion.model_sha256}")
    if tags is None:
        return [*lines, "MLflow knows nothing of it: its commit and the hash of its training set cannot be told"]
    dirty = " and changed files (diff.patch of the run)" if tags.get("git_dirty") == "true" else ""
    return [*lines, f"commit {tags.get('git_commit', 'unknown')}{dirty}, trained on {tags.get('device', 'unknown')}"]


def training_lines(found: Trace) -> list[str]:
    """The training set in words, and those of its files that are not what they were."""
    training = found.training
    if training is None:
        return ["the deployment ledger has no such version"]
    tags = found.tags or {}
    versions = [
        f"gold.{name.removeprefix(DELTA_VERSION)} version {version}"
        for name, version in sorted(tags.items())
        if name.startswith(DELTA_VERSION)
    ]
    files = files_of(training.partitions)
    other = [f"  {one.sha256}  {WORDS[one.now]}  {one.path}" for one in files if one.now != "equal"]
    return [
        f"{training.first} to {training.last}, content {tags.get('content_hash', 'unknown')}",
        *([", ".join(versions)] if versions else []),
        f"{len(training.partitions)} partitions; {counted(files)}",
        *other,
    ]


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def show(found: Trace, console: Console) -> None:
    """The chain, from the prediction down."""

    def section(title: str, *lines: str) -> None:
        console.print(f"[bold]{title}[/bold]")
        for line in lines:
            console.print(f"  {line}", markup=False)

    prediction, features = found.prediction, found.features
    predicted = "  ".join(
        f"{name} {_shown(value)}" for name, value in prediction.predicted.items() if value is not None
    )
    scored = prediction.scored_at
    written = f", written in version {prediction.version} at {scored:%Y-%m-%d %H:%M:%S} UTC" if scored else ""
    section(
        "prediction",
        f"{prediction.id}  day {prediction.day}  {predicted}",
        f"gold.{found.use_case}__predictions{written}",
    )
    section("model", *model_lines(found))
    section("training set", *training_lines(found))
    values = [f"{name} {value}" for name, value in found.row.items() if value is not None]
    section("feature row", "  ".join(values) or "the files of its version are gone")
    if features is None:
        section("drawn from", "the ledger of publications has no line of these features")
        return
    section("drawn from")
    table = partitions([features, *found.drawn])
    console.width = max(console.width, console.measure(table, options=console.options.update(width=1000)).maximum)
    console.print(table)
    section(counted(found.files))
    for one in found.files:
        console.print(f"  {one.sha256}  [{COLOURS[one.now]}]{WORDS[one.now]}[/]  {one.path}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m include.cli.trace", description=__doc__)
    result.add_argument("prediction", help="its id, as 2013-06-02:UA:15:EWR, or <day>:<value>:<value> of its entity")
    result.add_argument("--use-case", default="flight_delays")
    result.add_argument("--json", action="store_true", help="the whole chain as JSON")
    return result


def main() -> int:
    """Exit code 1, and a line that says what to do, where there is no such prediction."""
    arguments = parser().parse_args()
    try:
        case = use_case(arguments.use_case)
        found = trace(case, arguments.prediction, lambda version: tags_of(case, version))
    except (UnknownPredictionError, NotBuiltError, TableMissingError, KeyError) as problem:
        print(f"trace: {problem.args[0]}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        show(found, Console(highlight=False, soft_wrap=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
