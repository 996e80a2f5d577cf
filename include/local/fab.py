"""``python -m include.local.fab``: what is changed in FAB's tables, as JSON from standard input.

A process of its own, in Airflow's environment: passwords come by the input, which no list of processes shows. Prints
JSON: the accounts with their roles.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

from include.core.roles import ADMIN, AIRFLOW_USER, FAB_ADMIN, Permissions, of_fab
from include.core.settings import settings
from include.sources import sources
from include.use_cases import use_cases


def sync_roles(manager: Any, wanted: Mapping[str, Permissions]) -> None:
    """Give each role exactly its permissions. Roles that others have made stay as they are."""
    for name, pairs in wanted.items():
        role = manager.find_role(name) or manager.add_role(name)
        there = {(one.action.name, one.resource.name): one for one in role.permissions}
        for pair in pairs - there.keys():
            manager.add_permission_to_role(role, manager.create_permission(*pair))
        for pair in there.keys() - pairs:
            manager.remove_permission_from_role(role, there[pair])


def sync(manager: Any) -> None:
    """Make the five roles, and the platform's own account with its password of now."""
    manager.sync_roles()
    sync_roles(manager, of_fab(use_cases(), sources()))
    put(manager, AIRFLOW_USER, ADMIN, settings().secret("airflow_admin_password"))


def put(manager: Any, name: str, role: str, password: str) -> None:
    """Make an account, or give it another role and password. Only a hash of the password is kept."""
    wanted = manager.find_role(FAB_ADMIN if role == ADMIN else role)
    user = manager.find_user(username=name)
    if user is None:
        manager.add_user(name, name, "", f"{name}@localhost", wanted, password=password)
        return
    user.roles = [wanted]
    manager.update_user(user)
    if not manager.check_password(name, password):
        manager.reset_password(user.id, password)


def remove(manager: Any, name: str) -> None:
    """Close an account. Its row stays, without roles: runs that it has started still name it."""
    user = manager.find_user(username=name)
    if user is not None:
        user.roles, user.active = [], False
        manager.update_user(user)


def accounts(manager: Any) -> dict[str, str]:
    """The roles of each open account, by its name."""
    return {
        user.username: ", ".join(ADMIN if role.name == FAB_ADMIN else role.name for role in user.roles)
        for user in manager.get_all_users()
        if user.active
    }


def main() -> None:
    asked = json.load(sys.stdin)
    with get_application_builder() as builder:
        manager = builder.sm
        match asked["do"]:
            case "sync":
                sync(manager)
            case "put":
                put(manager, asked["name"], asked["role"], asked["password"])
            case "remove":
                remove(manager, asked["name"])
        print(f"\n{json.dumps(accounts(manager))}")


if __name__ == "__main__":
    main()
