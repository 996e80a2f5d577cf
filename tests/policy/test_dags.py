"""The DAGs: they import, they are named by the grammar, each keeps the rules, and parsing them stays light."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from include.orchestration import assets, stages
from include.sources import sources
from include.use_cases import readers_of_several, use_cases

ROOT = Path(__file__).resolve().parents[2]

# Stage → its tasks, in order. What other people's runbooks, links and alerts name: change it on purpose only.
OF_A_SOURCE = {
    "lakehouse_ingest": ["wait", "plan", "load", "audit", "publish", "discard"],
    "lakehouse_transform": ["build", "publish", "discard", "docs"],
    "lakehouse_reprocess": ["foresee", "approve", "again", "report"],
}
OF_A_USE_CASE = {
    "features": ["history", "build", "audit", "publish", "discard"],
    "predict": ["score"],
    "monitor": ["window", "measure", "input_drift", "prediction_drift", "quality", "look_again", "request_retraining"],
    "train": ["train", "promote", "score"],
}


def by_person(case: str) -> list[str]:
    """The tasks by which persons promote a version of ``case``."""
    return ["ask", *("approve", "approve_too")[: use_cases()[case].promotion.approvals], "promote", "score"]


# What is stale of each stage, and the stage for it: each is looked at when the one before has ended.
REFRESH = ["stale_features", "features", "stale_predict", "predict", "stale_monitor", "monitor", "report"]
# What the DAG of one use case has beside the tasks of its stage, as {"flight_delays_predict": ["count"]}. These come
# after the announcement, so that nobody waits for them, and announce nothing.
MORE: dict[str, list[str]] = {}
# Not for a partition but for the whole lake: they have a time of their own and announce nothing.
OF_THE_LAKE = {
    "lakehouse_maintain": ["plan", "retain", "compact", "vacuum", "sweep", "forget", "report"],
    "lakehouse_catchup": ["look"],
    "lakehouse_watch": ["audit", "look"],
    "lakehouse_rollback": ["put_back", "rescore"],
}
# Of a source that use cases read beside others: a task each, from which nothing follows.
INPUTS = {
    f"lakehouse_transform_{source}": {f"announce_inputs_of_{one.name}": one.name for one in readers_of_several(source)}
    for source in sources()
}
# What every source and every use case that there is has to have: a new one is looked at without a word here.
CONTRACT = {
    **{f"{stage}_{source}": tasks for source in sources() for stage, tasks in OF_A_SOURCE.items()},
    **{
        f"{case}_{stage}": tasks + MORE.get(f"{case}_{stage}", [])
        for case in use_cases()
        for stage, tasks in OF_A_USE_CASE.items()
    },
    **{f"{case}_promote": by_person(case) for case in use_cases()},
    **{f"{case}_refresh": REFRESH for case in use_cases()},
    **{f"{name}_publish": ["publish"] for name, case in use_cases().items() if case.publish},
    **OF_THE_LAKE,
}
# Where the spec wants approvals: from it nothing follows that waits.
REQUESTS = {
    f"{name}_{stage}": {"request_approval": [f"{name}.approval_request"]}
    for name, case in use_cases().items()
    for stage in ("monitor", "train")
    if case.promotion.approvals
}
CONTRACT |= {dag_id: [*CONTRACT[dag_id], *tasks] for dag_id, tasks in REQUESTS.items()}
CONTRACT |= {dag_id: [*CONTRACT[dag_id], *tasks] for dag_id, tasks in INPUTS.items()}
# A person starts them, and they announce nothing themselves: what they start does.
BY_HAND = (
    "lakehouse_rollback",
    *(f"lakehouse_reprocess_{source}" for source in sources()),
    *(f"{case}_refresh" for case in use_cases()),
)
# They end at systems that are no part of this one.
TO_OTHERS = tuple(f"{name}_publish" for name, case in use_cases().items() if case.publish)
# What comes after the announcement and keeps nobody waiting: removing what was only needed on the way, dbt's pages.
AFTERWARDS = ("discard", "docs")
# The asset that the last task of each announces, those aside; no other task does, but for the first predictions of a
# champion, which follow on its promotion.
ANNOUNCES = {
    **{f"lakehouse_ingest_{source}": f"bronze.{source}" for source in sources()},
    **{f"lakehouse_transform_{source}": f"silver.{source}" for source in sources()},
    **{f"{case}_features": f"gold.{case}.features" for case in use_cases()},
    **{f"{case}_predict": f"gold.{case}.predictions" for case in use_cases()},
    **{f"{case}_monitor": f"{case}.retrain_request" for case in use_cases()},
    **{f"{case}_{stage}": f"{case}.champion" for case in use_cases() for stage in ("train", "promote")},
}
FIRST_PREDICTIONS = {
    f"{case}_{stage}": {"score": [f"gold.{case}.predictions"]} for case in use_cases() for stage in ("train", "promote")
}
# A version that waited, and has become champion by what a partition brought.
LATE_CHAMPIONS = {f"{case}_monitor": {"look_again": [f"{case}.champion"]} for case in use_cases()}
PARAMS = {
    "lakehouse_maintain": ["dry_run"],
    "lakehouse_catchup": [],
    "lakehouse_watch": [],
    "lakehouse_rollback": ["since", "use_case", "version", "why"],
    **{f"{case}_promote": ["version", "why"] for case in use_cases()},
    **{dag_id: ["from", "target", "to"] for dag_id in TO_OTHERS},
}
STAGES = (
    "ingest",
    "transform",
    "features",
    "train",
    "predict",
    "monitor",
    "promote",
    "maintain",
    "catchup",
    "watch",
    "reprocess",
    "rollback",
    "refresh",
    "publish",
)
DAG_FILES = sorted((ROOT / "dags").rglob("*.py"))
MOST_LINES = 120


def id_problem(dag_id: str) -> str | None:
    """What is wrong with ``dag_id`` by the grammar ``<domain>_<stage>[_<source>]``."""
    domain = next((name for name in ("lakehouse", *use_cases()) if dag_id.startswith(f"{name}_")), None)
    if domain is None:
        return "its domain is neither lakehouse nor a use case"
    stage, _, source = dag_id.removeprefix(f"{domain}_").partition("_")
    if stage not in STAGES:
        return f"{stage} is no stage"
    if source and source not in sources():
        return f"{source} is no source"
    return None


def documented(file: Path) -> list[str]:
    """The docstrings of a DAG file and of its functions, each on one line."""
    tree = ast.parse(file.read_text())
    documents = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]
    return [" ".join((ast.get_docstring(one) or "").split()) for one in documents]


def stage_of(dag_id: str) -> str:
    """The stage of a use case's DAG; empty for others."""
    return next((dag_id.removeprefix(f"{case}_") for case in use_cases() if dag_id.startswith(f"{case}_")), "")


def test_all_import_without_errors(dag_facts: dict[str, Any]) -> None:
    assert dag_facts["errors"] == {}


def test_exactly_these_dags_with_these_tasks_in_this_order(dag_facts: dict[str, Any]) -> None:
    assert {dag_id: sorted(dag["tasks"]) for dag_id, dag in dag_facts["dags"].items()} == {
        dag_id: sorted(tasks) for dag_id, tasks in CONTRACT.items()
    }, "on purpose? Then name the task in MORE, or in OF_A_USE_CASE where each use case has it"
    for dag_id, tasks in CONTRACT.items():
        there = dag_facts["dags"][dag_id]["tasks"]
        before = {name: set(there[name]["after"]) for name in tasks}
        assert all(before[name] <= set(tasks[:n]) for n, name in enumerate(tasks)), dag_id
        assert [name for name in tasks if not before[name]] == tasks[:1], f"{dag_id}: one task starts it"
        followed = set().union(*before.values())
        own = [name for name in tasks if name not in INPUTS.get(dag_id, {}) | REQUESTS.get(dag_id, {})]
        assert [name for name in own if name not in followed] == own[-1:], f"{dag_id}: one task ends it"


def test_only_the_last_task_announces(dag_facts: dict[str, Any]) -> None:
    """Write, audit, publish: an event before the last gate would start readers of what may yet be refused."""
    for dag_id, tasks in CONTRACT.items():
        outlets = {name: task["outlets"] for name, task in dag_facts["dags"][dag_id]["tasks"].items()}
        inputs = {name: [f"silver.{case}.inputs"] for name, case in INPUTS.get(dag_id, {}).items()}
        also = FIRST_PREDICTIONS.get(dag_id, {}) | LATE_CHAMPIONS.get(dag_id, {}) | REQUESTS.get(dag_id, {}) | inputs
        after = (*AFTERWARDS, *also, *MORE.get(dag_id, []))
        announcing = next(name for name in reversed(tasks) if name not in after)
        announced = {} if dag_id in (*OF_THE_LAKE, *BY_HAND, *TO_OTHERS) else {announcing: [ANNOUNCES[dag_id]]}
        assert outlets == {name: [] for name in tasks} | announced | also, dag_id


@pytest.mark.parametrize("dag_id", CONTRACT)
def test_each_keeps_the_rules(dag_facts: dict[str, Any], dag_id: str) -> None:
    dag = dag_facts["dags"][dag_id]
    doc = " ".join(dag["doc"].split())
    own = " ".join(stages.DOCS.get(stage_of(dag_id), "").replace("<case>", dag["tags"][0]).split())
    assert doc in [*documented(Path(dag["file"])), own], (
        "a docstring is its documentation: its function's, or its file's"
    )
    assert re.search(r"\*\*Reads?\*\*", doc), "say what it reads"
    assert re.search(r"\*\*Writes?\*\*", doc), "say what it writes"
    assert dag["tags"], "tags are how people find it"
    most = 2 if dag_id.startswith("lakehouse_ingest_") else 8 if dag_id.endswith("_promote") else 1
    assert dag["max_active_runs"] == most, "a night's dbt artifacts are there until the next night of its stage"
    assert dag["catchup"] is False
    assert dag["params"] == PARAMS.get(dag_id, ["from", "to"])
    for name, task in dag["tasks"].items():
        assert task["owner"] not in ("", "airflow"), f"{name} has no owner"
        assert task["retries"] > 0, f"{name} must outlive a killed service"
        assert task["gives_up_at_once"], f"{name} must not retry what a person has to mend"
        assert task["most_seconds"], f"{name} could hang for ever"
        assert task["most_seconds"] <= dag["most_seconds"], f"{name} may take longer than its run"
        assert task["is_ended"], f"{name} could outlive its time limit in a library that does not return to Python"
        assert task["ends_spark"], f"what {name} has running on Spark would go on after it has failed"
        assert task["tells"], f"nobody would hear that {name} has failed"
        assert not task["holds_a_slot"], f"{name} waits in a worker's slot: mode='reschedule'"
        assert task["waits_seconds"] <= dag["most_seconds"], f"{name} may wait longer than its run may take"
    assert dag["tells"], "nobody would hear of a run that ends without a task that could tell"


@pytest.mark.parametrize("dag_id", CONTRACT)
def test_an_event_carries_a_partition(dag_facts: dict[str, Any], dag_id: str) -> None:
    head = dag_id.startswith("lakehouse_ingest_")
    expected = "CronPartitionTimetable" if head else "PartitionedAssetTimetable"
    if dag_id in OF_THE_LAKE:
        expected = "CronTriggerTimetable"
    if dag_id in BY_HAND or (dag_id.endswith("_promote") and "approve" not in CONTRACT[dag_id]):
        expected = "NullTimetable"
    assert dag_facts["dags"][dag_id]["schedule"] == expected


def test_a_use_case_listens_to_what_it_reads(dag_facts: dict[str, Any]) -> None:
    """Of several sources, to the one asset that is announced when all of them are there (apache/airflow#71070)."""
    for name, case in use_cases().items():
        several = len(case.sources) > 1
        wanted = assets.inputs(name) if several else assets.silver(case.sources[0])
        assert dag_facts["dags"][f"{name}_features"]["listens_to"] == wanted.name


def test_every_id_follows_the_grammar(dag_facts: dict[str, Any]) -> None:
    assert {dag_id: id_problem(dag_id) for dag_id in dag_facts["dags"]} == dict.fromkeys(dag_facts["dags"])


@pytest.mark.parametrize(
    ("dag_id", "problem"),
    [
        ("flights_ingest", "its domain"),
        ("lakehouse_load_flights", "load is no stage"),
        ("lakehouse_ingest_buses", "buses is no source"),
        ("lakehouse_vacuum", "vacuum is no stage"),
        ("flight_delays", "its domain"),
    ],
)
def test_the_grammar_refuses(dag_id: str, problem: str) -> None:
    assert (id_problem(dag_id) or "").startswith(problem)


def test_parsing_imports_nothing_heavy(dag_facts: dict[str, Any]) -> None:
    """The DAG processor reads every file once a minute: a heavy import there is paid for again and again."""
    assert dag_facts["already"] == [], "Airflow itself imported these, so this test shows nothing about them"
    assert dag_facts["heavy"] == []


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_dag_file_is_a_recipe(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES, "what the tasks do belongs into include/"


def test_whoever_follows_assets_follows_one(dag_facts: dict[str, Any]) -> None:
    """Where metadata is in PostgreSQL, a DAG that follows two can lose a run (apache/airflow#71070)."""
    followers = {
        name: dag["listens_to"]
        for name, dag in dag_facts["dags"].items()
        if dag["schedule"] == "PartitionedAssetTimetable"
    }
    assert len(followers) > 10
    assert all(followers.values()), {name for name, asset in followers.items() if not asset}


def test_one_machine_has_one_queue(dag_facts: dict[str, Any]) -> None:
    tasks = [task for dag in dag_facts["dags"].values() for task in dag["tasks"].values()]
    assert {(task["queue"], task["pool"], task["priority"]) for task in tasks} == {("default", "default_pool", 1)}


@pytest.mark.full
def test_workers_have_queues_by_what_a_task_needs(dag_facts_of_a_cluster: dict[str, Any]) -> None:
    assert dag_facts_of_a_cluster["errors"] == {}
    tasks = {
        (name.removeprefix(case), task_id): task
        for name, dag in dag_facts_of_a_cluster["dags"].items()
        for case in ("flight_delays", "lakehouse")
        if name.startswith(case)
        for task_id, task in dag["tasks"].items()
    }
    assert (tasks["_train", "train"]["queue"], tasks["_train", "train"]["pool"]) == ("gpu", "gpu")
    assert {task["queue"] for (_, task_id), task in tasks.items() if task_id == "build"} == {"spark"}
    assert tasks["_predict", "score"]["priority"] > tasks["_train", "train"]["priority"]
    others = {key for key, task in tasks.items() if key[1] not in ("build", "train")}
    assert {tasks[key]["queue"] for key in others} == {"default"}
