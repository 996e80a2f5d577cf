"""Rotate a secret of the installation."""

from __future__ import annotations

import argparse
import getpass

from include.cli.console import say
from include.cli.options import flag
from include.core.settings import settings


def rotate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--secret", required=True, help="as fernet_key or mlflow_admin_password")
    flag(parser, "--yes", "do it")


def rotate(given: argparse.Namespace) -> int:
    """Say what would change, which services start again and what people must do; do it with ``--yes``."""
    from include.local import rotating

    if not given.yes:
        print("\n".join(rotating.plan(settings(), given.secret)))
        print("yes=1 does it")
        return 0
    rotating.rotate(settings(), given.secret, getpass.getuser(), say)
    say(f"{given.secret} is rotated. For people: {rotating.KINDS[given.secret].people}")
    return 0
