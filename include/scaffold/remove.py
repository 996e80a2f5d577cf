"""``make remove``: what a source or a use case leaves behind when its files are gone, and dropping that.

Files are for a person to remove. Tables, model versions and the history of DAGs are dropped here, and only once the
files are gone: else the next night would write them again. A table that was published is published empty first, so that
the ledger of publications says what became of its rows.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from include.contracts.use_case import STAGES
from include.core.settings import settings
from include.core.storage import remove as remove_folder
from include.governance.lineage import NotBuiltError, manifest_of
from include.lake import audit, candidate, dbt, delta, publications, publish, removals, usage
from include.lake.publish import Judged, Request
from include.lake.removals import Removal
from include.ml import code
from include.orchestration.airflow_client import Airflow, few
from include.scaffold.errors import ScaffoldError
from include.scaffold.names import check_name
from include.use_cases import unreadable, use_cases

RUN = "make remove"


@dataclass(frozen=True)
class Left:
    """What there is of a source or a use case.

    Attributes:
        files: paths below the repository, which a person removes.
        uncommitted: those of them that git does not know yet, and so cannot remove.
        tables: as ``<layer>.<name>``.
        models: registered in MLflow.
        dags: that Airflow has a history of.
        stage: the one whose last build by dbt is kept in the lake.
        landing: the folder with an upstream's files, which nobody drops here.
        candidates: of its tables, that no gate has let through.
    """

    files: tuple[str, ...]
    tables: tuple[str, ...]
    models: tuple[str, ...]
    dags: tuple[str, ...]
    stage: str
    landing: str = ""
    uncommitted: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return not (self.files or self.tables or self.models or self.dags or self.candidates)


def of_use_case(root: Path, name: str) -> Left:
    """What there is of a use case, whether its files are there or not."""
    check_name("use case", name)
    dags = [f"{name}_{stage}" for stage in (*STAGES, "promote", "refresh", "publish")]
    files = _there(
        root,
        f"include/use_cases/{name}",
        f"dags/use_cases/{name}.py",
        f"dags/{name}",
        f"dbt_project/models/intermediate/{name}",
        f"dbt_project/models/marts/use_cases/{name}",
        f"dbt_project/models/marts/{name}",
        f"tests/use_cases/{name}",
        f"docs/features/{name}.md",
        f"docs/dags/{name}.md",
    )
    tables = tuple(one for one in usage.tables() if one.startswith(f"gold.{name}__"))
    return Left(
        files,
        tables,
        _models(name),
        _known_dags(dags),
        f"{name}_features",
        uncommitted=_uncommitted(root, files),
        candidates=_candidates(f"gold__{name}__"),
    )


def of_source(root: Path, name: str) -> Left:
    """What there is of a source. Raises ScaffoldError where a use case reads it."""
    check_name("source", name)
    if readers := [case.name for case in use_cases().values() if name in case.sources]:
        raise ScaffoldError(f"source {name}: the use case {readers[0]} reads it. Remove that one first")
    if odd := unreadable():
        raise ScaffoldError(f"source {name}: whether a use case reads it cannot be told, since {odd[0]}")
    stage = f"lakehouse_transform_{name}"
    core = root / "dbt_project" / "models" / "marts" / "core" / name
    silver = {f"silver.{path.stem}" for path in core.glob("*.sql")} | _silver_of_last_build(stage, name)
    tables = tuple(one for one in usage.tables() if one.startswith(f"bronze.{name}__") or one in silver)
    files = _there(
        root,
        f"include/sources/{name}",
        f"dbt_project/models/staging/{name}",
        f"dbt_project/models/marts/core/{name}",
        f"tests/sources/{name}",
        f"docs/sources/{name}.md",
        f"docs/dags/{name}.md",
    )
    landing = settings().landing / name
    dags = _known_dags([f"lakehouse_ingest_{name}", stage, f"lakehouse_reprocess_{name}"])
    where = str(landing) if landing.exists() else ""
    refused = _candidates(f"bronze__{name}__", *(f"{table.replace('.', '__')}__" for table in silver))
    return Left(files, tables, (), dags, stage, where, _uncommitted(root, files), refused)


def _candidates(*begin: str) -> tuple[str, ...]:
    """The candidates whose names begin so: those of a build that a gate has refused stay, to be looked at."""
    return tuple(f"candidate.{one.name}" for one in usage.candidates() if one.name.startswith(begin))


def _there(root: Path, *paths: str) -> tuple[str, ...]:
    """Those of ``paths`` that git would remove something of: compiled modules stay behind when it has done so."""
    return tuple(path for path in paths if any(map(_is_kept, [root / path, *(root / path).rglob("*")])))


def _is_kept(path: Path) -> bool:
    return path.is_file() and path.parent.name != "__pycache__"


def _uncommitted(root: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``paths`` of which git knows no file; all of them where the tree is no repository."""
    return tuple(path for path in paths if not code.tracked(root, path))


def _silver_of_last_build(stage: str, source: str) -> set[str]:
    """The tables that the last build of ``stage`` made of a source: known also when its models are gone."""
    try:
        manifest = manifest_of(stage)
    except NotBuiltError:
        return set()
    nodes: dict[str, Any] = manifest["nodes"]

    def reads(node: dict[str, Any]) -> bool:
        above = node.get("depends_on", {}).get("nodes", [])
        return any(one.split(".")[:1] == ["source"] and one.split(".")[2] == source for one in above) or any(
            reads(nodes[one]) for one in above if one in nodes
        )

    models = [node for node in nodes.values() if node["resource_type"] == "model" and node["schema"] == "silver"]
    return {
        f"silver.{node['alias']}" for node in models if node["config"]["materialized"] == "candidate" and reads(node)
    }


def _models(name: str) -> tuple[str, ...]:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        found = MlflowClient().search_registered_models(filter_string=f"name='{name}'")
    except MlflowException as error:
        raise ScaffoldError(f"MLflow does not say which models it has: {error}. Start it with make up") from None
    return tuple(one.name for one in found)


def _known_dags(dag_ids: list[str]) -> tuple[str, ...]:
    try:
        # One whose file is gone counts as stale, and has its history yet.
        known = {one["dag_id"] for one in Airflow(settings()).pages("/dags", "dags", exclude_stale=False)}
    except (OSError, httpx.HTTPError, RuntimeError) as error:
        raise ScaffoldError(f"Airflow does not say which DAGs it has: {error}. Start it with make up") from None
    return tuple(one for one in dag_ids if one in known)


def tell(left: Left) -> list[str]:
    """What is there, a line each, and what to do."""
    found = []
    if left.files:
        found.append(f"files, which you remove: {how_to_remove(left)}")
    found += [f"table {one}: {rows_of(one)} rows" for one in left.tables]
    found += [f"candidate {one.partition('.')[2]}, which was refused" for one in left.candidates]
    found += [f"model {one} in MLflow, with all its versions" for one in left.models]
    found += [f"DAG {one} with the history of its runs" for one in left.dags]
    if left.landing:
        found.append(f"files of the upstream, which stay: {left.landing}")
    return found


def how_to_remove(left: Left) -> str:
    """The commands by which a person removes the files: git's, and a plain one for what was never committed."""
    committed = [path for path in left.files if path not in left.uncommitted]
    by_git = [f"git rm -r {' '.join(committed)}"] if committed else []
    return " && ".join([*by_git, *([f"rm -r {' '.join(left.uncommitted)}"] if left.uncommitted else [])])


def rows_of(table: str) -> int:
    return int(_scan(table).select(pl.len()).collect().item())


def _scan(table: str) -> pl.LazyFrame:
    layer, _, name = table.partition(".")
    return delta.scan(layer, name)


def drop(left: Left) -> list[str]:
    """Drop tables, models and history. Returns what was dropped, a line each.

    Raises ScaffoldError where files are there yet, or a run is on its way.
    """
    if left.files:
        raise ScaffoldError(
            f"its files are there yet, and a night would write it all again. First: {how_to_remove(left)}"
        )
    airflow = Airflow(settings())
    if busy := [run for dag_id in left.dags for run in airflow.runs(dag_id, state=["queued", "running"])]:
        raise ScaffoldError(
            f"{few([f'{run.dag_id} {run.run_id}' for run in busy])} is under way: wait, or end it first"
        )
    done = []
    for dag_id in left.dags:
        airflow.call("DELETE", f"/dags/{dag_id}")
        done.append(f"history of {dag_id}")
    for table in left.tables:
        _drop_table(table)
        done.append(f"table {table}")
    candidate.remove(left.candidates)
    done += [one.replace(".", " ") for one in left.candidates]
    for name in left.models:
        from mlflow import MlflowClient

        MlflowClient().delete_registered_model(name)
        done.append(f"model {name}")
    if (built := dbt.artifacts(left.stage)).exists():
        remove_folder(built)
        done.append(f"what dbt left of {left.stage}")
    return done


def _drop_table(table: str) -> None:
    """Publish ``table`` empty where it was ever published, then remove its folder; both are recorded."""
    found = usage.opened(table)
    rows, files = _scan(table), usage.files_of(found)
    removal = Removal(
        "drop", table, files.height, int(files["bytes"].sum()), rows_of(table), paths=tuple(files["path"])
    )
    if table in set(publications.read()["table"]):
        by = list(found.metadata().partition_columns)
        publish.publish_all(
            lambda: Judged([Request(table, rows.clear(), by, pl.lit(True))]),
            f"{RUN} {table}",
            lambda versions, published: publications.changes(published, versions, RUN),
        )
    with removals.recorded(removal, RUN):
        remove_folder(usage.path_of(table))
    audit.dropped(table, getpass.getuser())
