"""Accounts in the file of this machine: the first one, another role, and away again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from include.core.roles import APPROVER, VIEWER, accounts_of
from include.core.settings import settings
from include.local import accounts


@pytest.fixture
def made(home: Path) -> Path:
    """The secrets of an installation that has had no account but the platform's own."""
    folder = home / "secrets"
    folder.mkdir()
    (folder / "airflow_passwords.json").write_text('{"admin": "of the platform"}')
    return folder


def passwords(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "airflow_passwords.json").read_text()))


def test_the_first_account_is_made_beside_the_platforms_own(made: Path) -> None:
    accounts._put_simple(settings(), "ann", VIEWER, "drawn")
    assert accounts_of(settings()) == {"ann": VIEWER}
    assert passwords(made) == {"admin": "of the platform", "ann": "drawn"}
    assert (made / "accounts.json").stat().st_mode & 0o077 == 0


def test_another_role_replaces_the_one_before_and_a_closed_account_is_gone(made: Path) -> None:
    accounts._put_simple(settings(), "ann", VIEWER, "drawn")
    accounts._put_simple(settings(), "ann", APPROVER, "drawn anew")
    assert (accounts_of(settings()), passwords(made)["ann"]) == ({"ann": APPROVER}, "drawn anew")
    accounts._remove_simple(settings(), "ann")
    assert accounts_of(settings()) == {}
    assert passwords(made) == {"admin": "of the platform"}
