"""Secrets that another program keeps: AWS Secrets Manager and HashiCorp's Vault, through Airflow's own backends."""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module

from include.core.errors import NeedsAttentionError

CLASSES = {
    "aws": "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend",
    "vault": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
}


class SecretsBackendError(NeedsAttentionError):
    """A secrets backend cannot be asked."""


@cache
def asked(kind: str, parameters: str, name: str) -> str:
    """The secret ``name`` as the backend has it, as Airflow's configuration ``nocturne_<name>``; empty for none.

    ``parameters`` are those of its class, as JSON. A process asks once. Raises SecretsBackendError.
    """
    module, _, of_class = CLASSES[kind].rpartition(".")
    try:
        given = json.loads(parameters or "{}")
        backend = getattr(import_module(module), of_class)(**given)
        found = backend.get_config(f"nocturne_{name}")
    except Exception as error:  # noqa: BLE001  # of boto, of hvac, of JSON: each says what is wrong
        first = str(error).strip().partition("\n")[0]
        raise SecretsBackendError(
            f"NOCTURNE_SECRETS_BACKEND={kind} cannot be asked for nocturne_{name} ({type(error).__name__}: {first}): "
            "AIRFLOW__SECRETS__BACKEND_KWARGS says where it is, and as whom to ask"
        ) from None
    return str(found or "")
