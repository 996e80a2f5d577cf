"""Logins by an identity provider (OpenID Connect): what Airflow's FAB auth manager is told, from our settings."""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride

from include.core.roles import ADMIN, AIRFLOW_USER, FAB_ADMIN
from include.core.settings import Settings

log = logging.getLogger(__name__)

NAME = "oidc"
"""Of the provider: part of the address that people come back to, /auth/oauth-authorized/oidc."""


def provider(settings: Settings) -> dict[str, Any]:
    """The provider as FAB has it: all but who we are is found by discovery."""
    return {
        "name": NAME,
        "icon": "fa-key",
        "token_key": "access_token",
        "remote_app": {
            "client_id": settings.oidc_client,
            "client_secret": settings.oidc_secret.get_secret_value(),
            "server_metadata_url": f"{settings.oidc_issuer}/.well-known/openid-configuration",
            "client_kwargs": {"scope": "openid profile email groups", "code_challenge_method": "S256"},
        },
    }


def roles_mapping(settings: Settings) -> dict[str, list[str]]:
    """Which of FAB's roles each group has."""
    found = settings.roles_of_groups
    return {group: [FAB_ADMIN if role == ADMIN else role for role in roles] for group, roles in found.items()}


class SecurityManager(FabAirflowSecurityManagerOverride):
    """Lets in whom the provider names, but never as the platform itself."""

    def auth_user_oauth(self, userinfo: dict[str, Any], rotate_session_id: bool = True) -> Any:
        """The account of somebody whom the provider has let in; None where he may not."""
        if str(userinfo.get("username", "")).lower() == AIRFLOW_USER:
            log.error("the identity provider has somebody called %s, which is the platform's own account", AIRFLOW_USER)
            return None
        return super().auth_user_oauth(userinfo, rotate_session_id)
