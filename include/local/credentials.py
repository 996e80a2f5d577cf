"""The generated secrets: one file each in ``var/secrets`` (0700), mode 0600. What exists is kept."""

import base64
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from include.core.roles import AIRFLOW_USER
from include.core.settings import FILES, Settings


def _token() -> str:
    return secrets.token_urlsafe(32)


def _password() -> str:
    return secrets.token_urlsafe(12)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _hash_key() -> str:
    return secrets.token_hex(32)


SECRETS: dict[str, Callable[[], str]] = {
    "fernet_key": _fernet_key,
    "api_secret_key": _token,
    "jwt_secret": _token,
    "airflow_admin_password": _password,
    "mlflow_admin_password": _password,
    "mlflow_secret_key": _token,
    "pseudonym_key": _hash_key,
    "spark_token": _token,
    "metrics_token": _token,
}


def private_folder(path: Path) -> Path:
    """``path`` as a folder that only its owner may enter."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Write ``text`` such that no other user can read it at any moment, and nobody reads half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def read_json(path: Path) -> dict[str, str]:
    """What a file has; nothing where it was cut off."""
    try:
        return dict(json.loads(path.read_text()))
    except ValueError:
        return {}


def generate(settings: Settings) -> list[str]:
    """Make every secret that is not given and missing, and Airflow's password file. Returns the names that were made.

    Where another place than files was named for them, none is made.
    """
    folder = private_folder(settings.secrets)
    made = []
    for name, value in SECRETS.items() if settings.secrets_backend == FILES else ():
        path = folder / name
        if settings.given(name):
            continue
        if path.exists() and path.stat().st_size:
            path.chmod(0o600)
            continue
        write_private(path, value() + "\n")
        made.append(name)
    write_passwords(settings)
    return made


def write_passwords(settings: Settings) -> None:
    """Write the file with the logins that Airflow's api-server lets in. Raises NotSetUpError without the password."""
    path = settings.secrets / "airflow_passwords.json"
    others = read_json(path) if path.exists() else {}  # of further logins, which Airflow itself has made
    passwords = json.dumps(others | {AIRFLOW_USER: settings.secret("airflow_admin_password")}) + "\n"
    if not path.exists() or path.read_text() != passwords:
        write_private(path, passwords)
    path.chmod(0o600)
