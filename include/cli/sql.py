"""The SQL endpoint: open it for a while, and say who may log in."""

from __future__ import annotations

import argparse
import sys

from rich.table import Table

from include.cli.console import console
from include.cli.options import flag
from include.core.errors import BadRequestError
from include.core.settings import settings
from include.local.checks import InstallationError, port_is_free, port_problem
from include.local.credentials import private_folder
from include.local.doors import check_host
from include.local.environment import become
from include.local.health import WELL, sql_health
from include.local.processes import listener

USUAL_PORT = 31337


def sql_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, help=f"where to listen until Ctrl-C ({USUAL_PORT})")


def sql(given: argparse.Namespace) -> int:
    """Say where the service answers that ``make up`` has started; else answer here until Ctrl-C."""
    of = settings()
    if of.sql_port and given.port not in (None, of.sql_port):
        raise BadRequestError(f"NOCTURNE_SQL_PORT={of.sql_port} is where `make up` answers SQL: leave port= out")
    port = of.sql_port or given.port or USUAL_PORT
    if of.sql_port and sql_health(of.host, port, 2) == WELL:
        how(port)
        return 0
    check_host(of.model_copy(update={"sql_port": port}))
    if not port_is_free(of.host, port):
        raise InstallationError(port_problem("sql", port, "NOCTURNE_SQL_PORT", listener(port)))
    how(port)
    console.print("until Ctrl-C; as a service: NOCTURNE_SQL_PORT in the environment of `make up`")
    private_folder(of.var / "sql")
    # as the supervisor starts it: without the secrets that this shell has, and where it does not see those of others
    become(["env", f"NOCTURNE_SQL_PORT={port}", sys.executable, "-m", "include.local.launch", "sql"], of)


def how(port: int) -> None:
    """Print where clients find it."""
    from include.serving.sql.users import users

    host = settings().host
    console.print(f"SQL       grpc://{host}:{port}", markup=False)
    console.print(f"JDBC      jdbc:arrow-flight-sql://{host}:{port}?useEncryption=false", markup=False)
    console.print(f"users     {', '.join(users()) or 'none: `make sql-user name=ann` makes one'}", markup=False)


def sql_user_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="", help="whose login; without it, all are listed")
    parser.add_argument("--role", default="viewer", help="a role of config/sql.toml (viewer)")
    flag(parser, "--remove", "take the login away")


def sql_user(given: argparse.Namespace) -> int:
    """List the logins; make one, or give it another password and role; take one away."""
    from include.serving.sql import users

    if not given.name:
        table = Table("user", "role", box=None, pad_edge=False, header_style="bold")
        for name, user in users.users().items():
            table.add_row(name, user.role)
        console.print(table)
        return 0
    if given.remove:
        users.remove(given.name)
        console.print(f"{given.name} is no user any more", markup=False)
        return 0
    password = users.add(given.name, given.role)
    console.print(f"{given.name} reads as {given.role}. The password, which is shown this once:", markup=False)
    print(password)
    return 0
