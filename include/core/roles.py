"""The five roles: what each may do in Airflow and in MLflow. One table each, from which both are set up.

*viewer* reads. *operator* runs, clears and backfills. *data scientist* trains, and logs what he tries in MLflow.
*approver* answers whether a version is promoted and whether rows are released. *admin* may do everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from include.core.settings import ROLES, SIMPLE, Settings

AIRFLOW_USER = "admin"
"""The platform's own account, at Airflow as at MLflow; what is promoted is made champion in MLflow by it."""
VIEWER, OPERATOR, SCIENTIST, APPROVER, ADMIN = ROLES
FAB_ADMIN = "Admin"
"""The name that FAB's own role of all permissions has, which is what *admin* is there."""
MAY_APPROVE = (APPROVER, ADMIN)

READ, CREATE, EDIT, MENU = "can_read", "can_create", "can_edit", "menu_access"

type Permissions = frozenset[tuple[str, str]]


def _all(action: str, *resources: str) -> Permissions:
    return frozenset((action, resource) for resource in resources)


# Resources by FAB's names. No role but admin sees connections, variables, configuration or users: they hold what logs
# in elsewhere.
_READS = _all(
    READ,
    *("Website", "DAGs", "DAG Code", "DAG Runs", "DAG Versions", "DAG Warnings", "DAG Dependencies", "Task Instances"),
    *("Task Logs", "XComs", "Assets", "Asset Aliases", "Backfills", "Cluster Activity", "Pools", "ImportError", "Jobs"),
    *("HITL Detail", "My Profile", "My Password"),
) | _all(
    MENU,
    *("Browse", "DAGs", "DAG Dependencies", "DAG Runs", "Assets", "Cluster Activity", "Documentation", "Docs", "Jobs"),
    *("Task Instances", "HITL Detail"),
)
_OWN_PASSWORD = _all(EDIT, "My Password", "My Profile")
_AUDIT = _all(READ, "Audit Logs") | _all(MENU, "Audit Logs")
_RUNS = (
    _all(EDIT, "DAGs", "DAG Runs", "Task Instances", "Backfills", "Assets")
    | _all(CREATE, "DAG Runs", "Task Instances", "Backfills", "Assets")
    | _AUDIT
)


def of_fab(use_cases: Iterable[str], sources: Iterable[str]) -> dict[str, Permissions]:
    """The permissions of each role but admin, as FAB has them: pairs of an action and a resource.

    ``use_cases`` and ``sources`` name the DAGs that are trained by, and asked in. What may be edited is one of them:
    Airflow lets nobody answer, or run, in a DAG that he may not edit.
    """
    trains = [f"{name}_train" for name in use_cases]
    asks = [f"{name}_promote" for name in use_cases] + [f"lakehouse_reprocess_{name}" for name in sources]
    return {
        VIEWER: _READS | _OWN_PASSWORD,
        OPERATOR: _READS | _OWN_PASSWORD | _RUNS,
        SCIENTIST: _READS
        | _OWN_PASSWORD
        | _all(EDIT, *(f"DAG:{name}" for name in trains))
        | _all(CREATE, *(f"DAG Run:{name}" for name in trains)),
        APPROVER: _READS | _OWN_PASSWORD | _AUDIT | _all(EDIT, "HITL Detail", *(f"DAG:{name}" for name in asks)),
    }


def of_simple(role: str) -> str:
    """The nearest of the roles that Airflow's simple accounts have.

    They know no more than: read; run everything, and answer; all but users. So an approver may run there, and who may
    answer is said to Airflow with each question (``answerers``).
    """
    return {VIEWER: "viewer", ADMIN: "admin"}.get(role, "user")


def of_mlflow(role: str) -> dict[str, str]:
    """What a role may do in MLflow beside reading everything, by kind of resource: on each of that kind."""
    return {"experiment": "EDIT"} if role == SCIENTIST else {}


def accounts_of(settings: Settings) -> dict[str, str]:
    """The roles by account of this machine's file, which ``make user`` writes; the platform's own is not in it."""
    path = settings.secrets / "accounts.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {str(name): str(role) for name, role in found.items()}


def answerers(settings: Settings, named: Iterable[str] = ()) -> list[str]:
    """Who may answer a question, of the accounts of this machine's file; of the ``named`` ones, where there are any.

    Empty where Airflow's own roles say who may: where it keeps the accounts itself, or nobody has made one here.
    """
    known, wanted = accounts_of(settings), list(named)
    if settings.identity != SIMPLE:
        return []
    if not known:
        return wanted
    found = [name for name in wanted or [AIRFLOW_USER, *known] if known.get(name, APPROVER) in MAY_APPROVE]
    return found or [AIRFLOW_USER]
