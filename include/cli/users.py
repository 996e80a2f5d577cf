"""Accounts: made with a role, closed, listed."""

from __future__ import annotations

import argparse
import getpass

from rich.table import Table

from include.cli.console import console, show
from include.cli.options import flag
from include.core.errors import BadRequestError
from include.core.settings import OIDC, ROLES, settings


def user_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="of the account: small letters and digits")
    parser.add_argument("--role", default="", help=", ".join(ROLES))
    flag(parser, "--remove", "close it")


def user(given: argparse.Namespace) -> int:
    """0 where it is done. Raises BadRequestError, AccountError."""
    from include.local import accounts

    if given.remove:
        accounts.remove(settings(), given.name, getpass.getuser())
        console.print(f"{given.name} may log in no more", markup=False)
        return 0
    if not given.role:
        raise BadRequestError(f"which role? {', '.join(ROLES)}")
    file = accounts.put(settings(), given.name, given.role, getpass.getuser())
    where = "at MLflow; at Airflow by the identity provider" if settings().identity == OIDC else "at Airflow and MLflow"
    console.print(f"{given.name} is {given.role} {where}. The password, to hand over and remove: {file}", markup=False)
    return 0


def users(given: argparse.Namespace) -> int:
    """Print a line an account."""
    from include.local import accounts

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("account", "Airflow", "MLflow"):
        shown.add_column(name)
    for name, (airflow, mlflow) in accounts.listing(settings()).items():
        shown.add_row(name, airflow, mlflow)
    show(shown)
    return 0
