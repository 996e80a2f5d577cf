"""A command of ours, run within the process of a test, with the environment and the services that the test has."""

from __future__ import annotations

import pytest

from include.cli import program
from include.cli.__main__ import COMMANDS


def run(*argv: str) -> int:
    """Its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "provide", lambda command, argv: None)
        try:
            return program.main(COMMANDS, argv)
        except SystemExit as ended:
            return int(ended.code or 0)
