"""Accounts of people at Airflow and MLflow: made, given a role, closed, listed.

Airflow's are in a file of this machine, or in its database by FAB. MLflow's are always in its own, with roles that
give what the table in ``include/core/roles.py`` says. A password is made here, and put into a file of its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from include.core import roles
from include.core.errors import BadRequestError, NocturneError
from include.core.roles import ADMIN, AIRFLOW_USER
from include.core.settings import OIDC, ROLES, SIMPLE, Settings
from include.lake import audit
from include.local.credentials import private_folder, read_json, write_private
from include.local.environment import AIRFLOW_SECRETS, DATABASE_SECRETS, environment
from include.local.setup import exclusive
from include.local.supervisor import Supervisor
from include.sources import sources
from include.use_cases import use_cases

Progress = Callable[[str], None]
NAME = re.compile(r"[a-z][a-z0-9._-]{1,63}")
WORKSPACE = "default"
"""Of MLflow: there is one, where nobody has asked for more."""


class AccountError(NocturneError):
    """An account could not be changed. The message says where."""


def check(settings: Settings, name: str, role: str = ROLES[0]) -> None:
    """Raise BadRequestError for a name or a role that is none, and for the platform's own account."""
    if not NAME.fullmatch(name):
        raise BadRequestError(f"{name!r} is no name of an account: small letters, digits, . _ -, two at least")
    if role not in ROLES:
        raise BadRequestError(f"{role!r} is none of the roles {', '.join(ROLES)}")
    if name == AIRFLOW_USER:
        raise BadRequestError(f"{AIRFLOW_USER} is the platform's own account, which stays as set-up has made it")


def put(settings: Settings, name: str, role: str, who: str) -> Path:
    """Make an account at Airflow and MLflow, or give it another role and a new password. ``who`` asks for it.

    Returns the file that has the password. Where an identity provider knows who is who, its groups say what somebody
    may do at Airflow, and the password is MLflow's alone. Raises BadRequestError, AccountError.
    """
    check(settings, name, role)
    password = secrets.token_urlsafe(15)
    if settings.identity == SIMPLE:
        _put_simple(settings, name, role, password)
    elif settings.identity != OIDC:
        _fab(settings, {"do": "put", "name": name, "role": role, "password": password})
    _put_mlflow(settings, name, role, password)
    file = private_folder(settings.secrets / "accounts") / name
    write_private(file, password + "\n")
    audit.record("account", name, who, f"is {role}")
    return file


def remove(settings: Settings, name: str, who: str) -> None:
    """Close an account at both. Raises BadRequestError, AccountError."""
    check(settings, name)
    if name not in listing(settings):
        raise BadRequestError(f"nobody is called {name}: make users lists who there is")
    if settings.identity == SIMPLE:
        _remove_simple(settings, name)
    else:
        _fab(settings, {"do": "remove", "name": name})
    client = _mlflow(settings)
    if name in _of_mlflow(client):
        client.delete_user(name)
    (settings.secrets / "accounts" / name).unlink(missing_ok=True)
    audit.record("account", name, who, "is closed")


def listing(settings: Settings) -> dict[str, tuple[str, str]]:
    """Everybody, with the role at Airflow and the one at MLflow; empty where somebody has none there."""
    simple = settings.identity == SIMPLE
    airflow = {AIRFLOW_USER: ADMIN} | roles.accounts_of(settings) if simple else _fab(settings, {"do": "list"})
    mlflow = _of_mlflow(_mlflow(settings))
    return {name: (airflow.get(name, ""), mlflow.get(name, "")) for name in sorted({*airflow, *mlflow})}


# --- Airflow ---


def sync(settings: Settings, progress: Progress) -> None:
    """Have the five roles and the platform's own account at FAB, where Airflow's accounts are there.

    Done once for what they are made of: a new use case has a DAG that a data scientist may run.
    """
    if settings.identity == SIMPLE:
        return
    made_of = [version("apache-airflow-providers-fab"), settings.secret("airflow_admin_password")]
    wanted = roles.of_fab(use_cases(), sources())
    made_of += [f"{name} {sorted(pairs)}" for name, pairs in sorted(wanted.items())]
    stamp, key = settings.run / "fab.synced", hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return
    progress("roles and accounts of Airflow")
    _run(settings, ["airflow", "fab-db", "migrate"], "")
    _fab(settings, {"do": "sync"})
    write_private(stamp, key)


def _fab(settings: Settings, asked: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(_run(settings, ["include.local.fab"], json.dumps(asked)).splitlines()[-1])
    return found


def _run(settings: Settings, module: list[str], given: str) -> str:
    done = subprocess.run(  # noqa: S603  # a module of ours, or Airflow's
        [sys.executable, "-m", *module],
        env=environment(settings, AIRFLOW_SECRETS | DATABASE_SECRETS),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=settings.run,
    )
    if done.returncode:
        last = (done.stderr.strip() or "killed").splitlines()[-1]
        raise AccountError(f"the accounts of Airflow's database could not be changed: {last[:300]}")
    return done.stdout


def _put_simple(settings: Settings, name: str, role: str, password: str) -> None:
    def change(accounts: dict[str, str], passwords: dict[str, str]) -> None:
        accounts[name], passwords[name] = role, password

    _change_simple(settings, change)


def _remove_simple(settings: Settings, name: str) -> None:
    def change(accounts: dict[str, str], passwords: dict[str, str]) -> None:
        accounts.pop(name, None)
        passwords.pop(name, None)

    _change_simple(settings, change)


def _change_simple(settings: Settings, change: Callable[[dict[str, str], dict[str, str]], None]) -> None:
    """Change both files, one after the other's turn, and have the web server read them."""
    with exclusive(settings):
        known, file = settings.secrets / "accounts.json", settings.secrets / "airflow_passwords.json"
        accounts, passwords = (read_json(path) if path.exists() else {} for path in (known, file))
        change(accounts, passwords)
        # The passwords first: Airflow makes one up, and prints it, for an account that has none.
        write_private(file, json.dumps(passwords) + "\n")
        write_private(known, json.dumps(accounts) + "\n")
    supervisor = Supervisor(settings)
    if supervisor.is_up():
        supervisor.restart("api-server")


# --- MLflow ---


def _mlflow(settings: Settings) -> Any:
    from mlflow.server import get_app_client

    return get_app_client("basic-auth", settings.mlflow_url)


def _of_mlflow(client: Any) -> dict[str, str]:
    """The role of each account: those of ours, and admin."""
    found = {}
    for user in _users(client):
        mine = [role.name for role in client.list_user_roles(user["username"]) if role.name in ROLES]
        found[user["username"]] = ADMIN if user["is_admin"] else ", ".join(mine)
    return found


def _users(client: Any) -> list[dict[str, Any]]:
    from mlflow.server.auth.routes import LIST_USERS

    found: list[dict[str, Any]] = client._request(LIST_USERS, "GET")["users"]
    return found


def _put_mlflow(settings: Settings, name: str, role: str, password: str) -> None:
    client = _mlflow(settings)
    if name in {user["username"] for user in _users(client)}:
        client.update_user_password(name, password)
    else:
        client.create_user(name, password)
    client.update_user_admin(name, role == ADMIN)
    wanted = _role_of_mlflow(client, role)
    mine = {one.name: one.id for one in client.list_user_roles(name)}
    for other in mine.keys() & set(ROLES) - {role}:
        client.unassign_role(name, mine[other])
    if role not in mine:
        client.assign_role(name, wanted)


def _role_of_mlflow(client: Any, role: str) -> int:
    """The number of a role, which is made, and given its permissions, where it is not so."""
    there = {one.name: one.id for one in client.list_roles(WORKSPACE)}
    number = there[role] if role in there else client.create_role(WORKSPACE, role).id
    wanted = {(kind, "*", permission) for kind, permission in roles.of_mlflow(role).items()}
    there_now = client.list_role_permissions(number)
    found = {(one.resource_type, one.resource_pattern, one.permission): one.id for one in there_now}
    for extra in found.keys() - wanted:
        client.remove_role_permission(found[extra])
    for missing in wanted - found.keys():
        client.add_role_permission(number, *missing)
    return int(number)
