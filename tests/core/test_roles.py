"""The five roles: who may answer, and what no role but admin has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from include.core import roles
from include.core.roles import ADMIN, APPROVER, OPERATOR, SCIENTIST, VIEWER
from include.core.settings import FAB, ROLES, Settings

PERMISSIONS = roles.of_fab(["fares"], ["shop"])
SECRET = {"Connections", "Variables", "Configurations", "Users", "Roles", "Providers", "Plugins"}


@pytest.fixture
def accounts(tmp_path: Path) -> Settings:
    """Of a machine's file: one account a role."""
    (tmp_path / "secrets").mkdir()
    known = {"vic": VIEWER, "opa": OPERATOR, "dan": SCIENTIST, "apa": APPROVER, "amy": ADMIN}
    (tmp_path / "secrets" / "accounts.json").write_text(json.dumps(known))
    return Settings(var=tmp_path)


def test_only_approvers_and_admins_may_answer(accounts: Settings) -> None:
    assert roles.answerers(accounts) == ["admin", "apa", "amy"]


def test_a_spec_narrows_who_may_and_gives_nobody_the_role(accounts: Settings) -> None:
    assert roles.answerers(accounts, ["apa", "opa"]) == ["apa"]
    assert roles.answerers(accounts, ["opa", "dan"]) == ["admin"]  # nobody would mean everybody
    assert roles.answerers(accounts, ["somebody new"]) == ["somebody new"]


def test_where_nobody_has_made_an_account_the_spec_alone_says(tmp_path: Path) -> None:
    assert roles.answerers(Settings(var=tmp_path)) == []
    assert roles.answerers(Settings(var=tmp_path), ["ann"]) == ["ann"]


def test_where_airflow_knows_the_roles_it_asks_them(accounts: Settings) -> None:
    assert roles.answerers(accounts.model_copy(update={"identity": FAB}), ["apa"]) == []


@pytest.mark.parametrize("role", sorted(set(ROLES) - {ADMIN}))
def test_what_logs_in_elsewhere_is_for_admins(role: str) -> None:
    assert {resource for _, resource in PERMISSIONS[role]} & SECRET == set()
    assert "can_delete" not in {action for action, _ in PERMISSIONS[role]}


def test_who_trains_cannot_answer_and_who_answers_cannot_train() -> None:
    answers, edits = ("can_edit", "HITL Detail"), ("can_edit", "DAG:fares_train")
    assert [role for role in PERMISSIONS if answers in PERMISSIONS[role]] == [APPROVER]
    assert edits in PERMISSIONS[SCIENTIST]
    assert edits not in PERMISSIONS[APPROVER]
    assert ("can_create", "DAG Runs") not in PERMISSIONS[APPROVER] | PERMISSIONS[SCIENTIST]
    assert ("can_edit", "DAG:lakehouse_reprocess_shop") in PERMISSIONS[APPROVER]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"identity": "ldap"}, "NOCTURNE_IDENTITY=ldap is none of simple, fab, oidc"),
        ({"identity": "oidc", "oidc_roles": "a=admin"}, "NOCTURNE_IDENTITY=oidc needs NOCTURNE_OIDC_ISSUER"),
        ({"identity": "oidc", "oidc_issuer": "https://login.example.com"}, "needs NOCTURNE_OIDC_ROLES"),
        ({"oidc_issuer": "http://login.example.com"}, "neither https"),
        ({"oidc_roles": "team=boss"}, "boss is none of the roles viewer, operator"),
    ],
)
def test_a_slip_is_told(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(given)


def test_a_group_may_have_several_roles() -> None:
    settings = Settings(oidc_roles="leads=approver, leads=data scientist")
    assert settings.roles_of_groups["leads"] == [APPROVER, SCIENTIST]
