"""The chain behind one prediction, down to the landing files."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable

from rich.table import Table

from include.cli.console import console, show
from include.cli.options import flag
from include.core.settings import settings
from include.governance import trace as tracing
from include.governance.trace import File, Partition, Trace, files_of
from include.ml import mlflow_api
from include.ml.dataset import DELTA_VERSION
from include.use_cases import use_case

COLOURS = {"equal": "green", "changed": "red", "gone": "red"}
WORDS = {"equal": "as ingested", "changed": "another file since", "gone": "gone"}


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
    if version is None:
        return ["none: what is usual among the labels that were known by then, since no model could score the day"]
    lines = [
        f"{found.use_case} version {version}  {settings().mlflow_link}/#/models/{found.use_case}/versions/{version}"
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


def print_chain(found: Trace) -> None:
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
    show(partitions([features, *found.drawn]))
    section(counted(found.files))
    for one in found.files:
        console.print(f"  {one.sha256}  [{COLOURS[one.now]}]{WORDS[one.now]}[/]  {one.path}")


def trace_arguments(parser: argparse.ArgumentParser) -> None:
    said = "its id, as 2013-06-02:UA:15:EWR: <day>:<value>:<value> of its entity"
    parser.add_argument("--prediction", required=True, help=said)
    parser.add_argument("--use-case", default="flight_delays", help="whose it is (flight_delays)")
    flag(parser, "--json", "the whole chain as JSON")


def trace(given: argparse.Namespace) -> int:
    """Print the chain. Raises UnknownPredictionError, NotBuiltError, TableMissingError."""
    case = use_case(given.use_case)
    found = tracing.trace(case, given.prediction, lambda version: mlflow_api.tags_of(case, version))
    if given.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print_chain(found)
    return 0
