"""Who may do what, as it is wanted: rules for Airflow's endpoints, and the calls of our pages and of MLflow.

Written by hand, and not read from a server. The first rule that fits counts.
"""

from __future__ import annotations

import re
from typing import Any

from include.core.roles import ADMIN, APPROVER, OPERATOR, SCIENTIST, VIEWER

EVERYBODY = frozenset({"", VIEWER, OPERATOR, SCIENTIST, APPROVER, ADMIN})
ALL = EVERYBODY - {""}
RUNS = frozenset({OPERATOR, ADMIN})
TRAINS = RUNS | {SCIENTIST}
ANSWERS = frozenset({APPROVER, ADMIN})
SEES_AUDIT = frozenset({OPERATOR, APPROVER, ADMIN})
ONLY_ADMIN = frozenset({ADMIN})
NOT_SHOWN = frozenset[str]()

TRAIN, PROMOTE, INGEST = "flight_delays_train", "flight_delays_promote", "lakehouse_ingest_flights"


RULES: list[tuple[str, str, frozenset[str]]] = [
    # Of DAGs, what a data scientist may is of the ones that train; the table calls them with one of these.
    ("get", "/(monitor/health|version|auth/log(in|out))", EVERYBODY),
    ("get", "/config(/.*)?", NOT_SHOWN),
    ("get", "/connections/enqueue-test", ALL),  # it asks for a ticket before it asks who; nobody gets one:
    ("post", "/connections/enqueue-test", NOT_SHOWN),  # no connection is tried from the web server
    ("post", "/connections/test", NOT_SHOWN),
    ("get|post|patch|delete", "/(connections|variables)(/.*)?", ONLY_ADMIN),
    ("patch", re.escape("/dags/{dag_id}/dagRuns"), ONLY_ADMIN),  # of several at once; the one that is sent deletes
    ("post|patch|delete", "/pools(/.*)?", ONLY_ADMIN),
    ("get", "/(plugins|providers)(/.*)?", ONLY_ADMIN),
    ("get", "/eventLogs(/.*)?", SEES_AUDIT),
    ("delete", ".*", ONLY_ADMIN),
    ("post|patch", ".*/xcomEntries(/.*)?", ONLY_ADMIN),
    ("patch", ".*/hitlDetails", ONLY_ADMIN),  # of a DAG that trains; the one that asks is below
    ("post", re.escape("/dags/{dag_id}/dagRuns"), TRAINS),
    ("patch", re.escape("/dags/{dag_id}"), TRAINS),
    ("post", re.escape("/dags/{dag_id}/") + "(un)?favorite", ALL),
    ("post", ".*/list", ALL),  # a question that is too long for an address
    ("put", re.escape("/parseDagFile/{file_token}"), ALL),  # of a file that is none: who may is asked of its DAGs
    ("put", "/backfills/.*", ALL),  # of a backfill that is none, the same
    ("get", ".*", ALL),
    ("post|patch|put", "/(assets|backfills|dags)(/.*)?", RUNS),
]

BODIES: dict[str, Any] = {
    "patch /connections": {"actions": [{"action": "delete", "entities": ["none"], "action_on_non_existence": "skip"}]},
    "patch /variables": {"actions": [{"action": "delete", "entities": ["none"], "action_on_non_existence": "skip"}]},
    "patch /pools": {"actions": [{"action": "delete", "entities": ["none"], "action_on_non_existence": "skip"}]},
    "patch /dags/{dag_id}/dagRuns": {
        "actions": [{"action": "delete", "entities": [{"dag_run_id": "none"}], "action_on_non_existence": "skip"}]
    },
    "post /connections/enqueue-test": {"connection_id": "none", "conn_type": "http"},
    "post /connections/test": {"connection_id": "none", "conn_type": "http"},
    "post /dags/{dag_id}/clearDagRuns": {"dag_runs": [{"dag_run_id": "none"}], "dry_run": False},
}
"""What is sent where an empty body says too little for the server to ask who may."""

AIRFLOW: list[tuple[str, str, frozenset[str]]] = [
    ("patch", f"/dags/{PROMOTE}/dagRuns/1/taskInstances/approve/-1/hitlDetails", ANSWERS),
    ("patch", f"/dags/{INGEST}/dagRuns/1/taskInstances/approve/-1/hitlDetails", ONLY_ADMIN),
    ("post", f"/dags/{INGEST}/dagRuns", RUNS),
    ("post", f"/dags/{PROMOTE}/dagRuns", RUNS),
    ("patch", f"/dags/{INGEST}", RUNS),
]
"""Calls with one DAG or another, which the rules for ``{dag_id}`` cannot tell apart."""

PAGES: list[tuple[str, str, frozenset[str]]] = [
    *(("get", f"/nocturne/{path}", ALL) for path in ("health", "health/flight_delays", "dbt", "lineage", "quarantine")),
    ("get", "/nocturne/card", ALL),
    ("get", "/nocturne/static/nocturne.css", ALL),
    ("get", "/nocturne/landing/flights/actuals/2013-06-01.csv", ONLY_ADMIN),
    ("get", "/auth/fab/v1/users", ONLY_ADMIN),
    ("get", "/auth/fab/v1/roles", ONLY_ADMIN),
    ("post", "/auth/fab/v1/users", ONLY_ADMIN),
    ("post", "/auth/fab/v1/roles", ONLY_ADMIN),
]

_2, _3 = "/api/2.0/mlflow", "/api/3.0/mlflow"
MLFLOW: list[tuple[str, str, Any, frozenset[str]]] = [
    ("get", "/health", None, EVERYBODY),
    ("get", f"{_2}/experiments/get", {"experiment_id": "{experiment}"}, ALL),
    ("post", f"{_2}/experiments/search", {"max_results": 5}, ALL),
    ("post", f"{_2}/experiments/create", {"name": "of {who}"}, frozenset({SCIENTIST, ADMIN})),
    (
        "post",
        f"{_2}/experiments/set-experiment-tag",
        {"experiment_id": "{experiment}", "key": "k", "value": "v"},
        frozenset({SCIENTIST, ADMIN}),
    ),
    (
        "post",
        f"{_2}/experiments/update",
        {"experiment_id": "{experiment}", "new_name": "tried"},
        frozenset({SCIENTIST, ADMIN}),
    ),
    ("post", f"{_2}/experiments/delete", {"experiment_id": "{spare}"}, ONLY_ADMIN),
    ("post", f"{_2}/runs/create", {"experiment_id": "{experiment}"}, frozenset({SCIENTIST, ADMIN})),
    ("get", f"{_2}/runs/get", {"run_id": "{run}"}, ALL),
    (
        "post",
        f"{_2}/runs/log-metric",
        {"run_id": "{run}", "key": "m", "value": 1, "timestamp": 1},
        frozenset({SCIENTIST, ADMIN}),
    ),
    ("get", f"{_2}/artifacts/list", {"run_id": "{run}"}, ALL),
    ("get", f"{_2}/registered-models/get", {"name": "{model}"}, ALL),
    ("get", f"{_2}/model-versions/get", {"name": "{model}", "version": "1"}, ALL),
    ("post", f"{_2}/registered-models/create", {"name": "model of {who}"}, ONLY_ADMIN),
    (
        "post",
        f"{_2}/model-versions/create",
        {"name": "{model}", "source": "{source}", "run_id": "{run}"},
        ONLY_ADMIN,
    ),
    ("post", f"{_2}/registered-models/alias", {"name": "{model}", "alias": "champion", "version": "1"}, ONLY_ADMIN),
    ("delete", f"{_2}/registered-models/alias", {"name": "{model}", "alias": "champion"}, ONLY_ADMIN),
    ("post", f"{_2}/model-versions/set-tag", {"name": "{model}", "version": "1", "key": "k", "value": "v"}, ONLY_ADMIN),
    ("post", f"{_2}/registered-models/set-tag", {"name": "{model}", "key": "k", "value": "v"}, ONLY_ADMIN),
    ("patch", f"{_2}/registered-models/update", {"name": "{model}", "description": "x"}, ONLY_ADMIN),
    ("post", f"{_2}/users/create", {"username": "new-{who}", "password": "long enough to be one"}, ONLY_ADMIN),
    ("get", f"{_2}/users/list", None, ALL),
    ("patch", f"{_2}/users/update-admin", {"username": "viewer", "is_admin": False}, ONLY_ADMIN),
    ("post", f"{_3}/roles/create", {"workspace": "default", "name": "role of {who}"}, ONLY_ADMIN),
]
"""Method, path, parameters (``{…}`` names something that the test has made), and who may."""


def of_airflow(method: str, path: str) -> frozenset[str] | None:
    """Who may call an endpoint of Airflow's API; None where no rule says."""
    place = path.removeprefix("/api/v2")
    for methods, pattern, who in RULES:
        if method in methods.split("|") and re.fullmatch(pattern, place):
            return who
    return None
