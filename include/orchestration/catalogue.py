"""The DAGs as pages that people read: ``make catalogue`` writes ``docs/dags/<source or use case>.md``.

They are read as Airflow reads them, in a process of its own, with the defaults of all settings and without a database.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from include.core.errors import NeedsAttentionError
from include.core.settings import settings

LAKE = "lakehouse"
"""The page of the DAGs that are of no source and no use case."""
SCHEDULES = {
    "CronPartitionTimetable": "each business day at its end, cron `{cron}` {zone}",
    "CronTriggerTimetable": "cron `{cron}` {zone}",
    "PartitionedAssetTimetable": "each partition that is announced of `{listens_to}`",
    "NullTimetable": "nothing by itself: a person starts it",
}
"""What a DAG runs for, by the class of its timetable."""
STAGES = (
    "ingest",
    "transform",
    "reprocess",
    "features",
    "predict",
    "publish",
    "monitor",
    "train",
    "promote",
    "refresh",
)
"""In the order of the data's path."""


class BrokenDagError(NeedsAttentionError):
    """A DAG file cannot be read; the message says why."""


def facts_of(dag: Any) -> dict[str, Any]:
    """What the page says of ``dag``, in values that JSON has; times are in seconds."""
    plan = dag.timetable
    return {
        "id": dag.dag_id,
        "doc": dag.doc_md or "",
        "tags": sorted(dag.tags),
        "schedule": type(plan).__name__,
        "cron": getattr(plan, "expression", ""),
        "zone": str(getattr(getattr(plan, "timezone", None), "name", "")),
        "listens_to": getattr(getattr(plan, "asset_condition", None), "name", ""),
        "params": {name: dag.params.get_param(name).schema.get("title", "") for name in dag.params},
        "runs": dag.max_active_runs,
        "seconds": dag.dagrun_timeout.total_seconds(),
        "is_paused": bool(dag.is_paused_upon_creation),
        "tasks": [_task(task) for task in dag.topological_sort()],
    }


def _task(task: Any) -> dict[str, Any]:
    answer = getattr(task, "response_timeout", None)  # of whoever asks a person
    return {
        "id": task.task_id,
        "doc": (task.doc_md or "").strip(),
        "owner": task.owner,
        "after": sorted(task.upstream_task_ids),
        "announces": sorted(outlet.name for outlet in task.outlets),
        "retries": task.retries,
        "retry_seconds": task.retry_delay.total_seconds(),
        "seconds": task.execution_timeout.total_seconds(),
        "waits": answer.total_seconds() if answer else getattr(task, "timeout", None) or 0,
        "pool": task.pool,
    }


def read(home: Path) -> list[dict[str, Any]]:
    """``facts_of`` every DAG below ``home``. Raises BrokenDagError where a file of them cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        # All that the process knows: what an installation is set to is not what the pages say.
        environment = {
            "NOCTURNE_HOME": str(home),
            "NOCTURNE_VAR": folder,
            "AIRFLOW_HOME": folder,
            "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": folder,
            "PYTHONPATH": str(home),
        }
        done = subprocess.run(  # noqa: S603  # this module
            [sys.executable, "-m", __name__, str(home / "dags")],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BrokenDagError(f"the DAGs of {home / 'dags'} cannot be read: {done.stderr[-2000:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def tell(folder: str) -> None:
    """Print the facts of every DAG in ``folder``, as JSON in one line. Fails where a file cannot be read."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=folder, bundle_path=Path(folder), bundle_name="dags")
    if bag.import_errors:
        sys.exit("\n".join(f"{path}: {why}" for path, why in bag.import_errors.items()))
    print(json.dumps([facts_of(dag) for dag in bag.dags.values()]))


def pages(dags: list[dict[str, Any]]) -> dict[str, str]:
    """Each page in Markdown, by what its DAGs are of: a source, a use case, or the lake."""
    found: dict[str, list[dict[str, Any]]] = {}
    for dag in dags:
        found.setdefault(owner_of(dag), []).append(dag)
    return {name: page(name, sorted(its, key=_order)) for name, its in sorted(found.items())}


def owner_of(dag: dict[str, Any]) -> str:
    """The source or the use case that ``dag`` is of."""
    return next((tag for tag in dag["tags"] if tag != LAKE), LAKE)


def _order(dag: dict[str, Any]) -> tuple[int, str]:
    at = [n for n, stage in enumerate(STAGES) if stage in dag["id"].removeprefix(owner_of(dag)).split("_")]
    return (at[0] if at else len(STAGES), dag["id"])


def page(name: str, dags: list[dict[str, Any]]) -> str:
    """The DAGs of ``name`` in Markdown: what each is for, when it runs, and its tasks in their order."""
    of = "the lake as a whole" if name == LAKE else name
    lines = [
        f"# DAGs of {of}",
        "",
        "Made by `make catalogue` from the DAGs as Airflow reads them, by the defaults of [settings](../settings.md).",
        "",
        "| | runs for | announces |",
        "|---|---|---|",
        *(f"| [{dag['id']}](#{dag['id']}) | {_schedule(dag)} | {_announced(dag['tasks'])} |" for dag in dags),
        "",
        *(line for dag in dags for line in _dag(dag)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _schedule(dag: dict[str, Any]) -> str:
    known = SCHEDULES.get(dag["schedule"], dag["schedule"])
    return known.format(cron=dag["cron"], zone=dag["zone"], listens_to=dag["listens_to"])


def _announced(tasks: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(name for task in tasks for name in task["announces"])
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _dag(dag: dict[str, Any]) -> list[str]:
    tasks = dag["tasks"]
    params = ", ".join(f"`{name}` ({title})" if title else f"`{name}`" for name, title in dag["params"].items())
    retries = {(task["retries"], task["retry_seconds"]) for task in tasks}
    pools = sorted({task["pool"] for task in tasks})
    return [
        f"## {dag['id']}",
        "",
        dag["doc"].strip(),
        "",
        "| | |",
        "|---|---|",
        f"| runs for | {_schedule(dag)} |",
        f"| announces | {_announced(tasks)} |",
        f"| parameters | {params or 'none'} |",
        f"| owner | {', '.join(sorted({task['owner'] for task in tasks}))} |",
        f"| runs at once | {dag['runs']} |",
        f"| a run takes at most | {time(dag['seconds'])} |",
        *(["| paused | until somebody takes that off in Airflow |"] if dag["is_paused"] else []),
        *(f"| a task is tried again | {n} times, {time(seconds)} apart |" for n, seconds in sorted(retries)),
        f"| pool | {', '.join(pools)} |",
        "",
        "| task | | comes after | takes at most | waits at most |",
        "|---|---|---|---|---|",
        *(
            f"| {task['id']} | {summary(task['doc'])} | {', '.join(task['after'])} | {time(task['seconds'])} | "
            f"{time(task['waits'])} |"
            for task in tasks
        ),
        "",
    ]


def summary(doc: str) -> str:
    """The first paragraph of a docstring in one line, as Markdown has it in a table."""
    first = " ".join(doc.partition("\n\n")[0].split())
    return first.replace("``", "`").replace("|", r"\|")


def time(seconds: float) -> str:
    """A time in the largest unit that has it whole; empty for none."""
    if not seconds:
        return ""
    unit, name = next(((unit, name) for unit, name in ((3600, "h"), (60, "min")) if not seconds % unit), (1, "s"))
    return f"{seconds / unit:g} {name}"


def page_of(name: str) -> Path:
    """Where the page of ``name`` is."""
    return settings().home / "docs" / "dags" / f"{name}.md"


def write() -> list[Path]:
    """Write every page. Returns where they are."""
    texts = {page_of(name): text for name, text in pages(read(settings().home)).items()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)


if __name__ == "__main__":
    tell(sys.argv[1])
