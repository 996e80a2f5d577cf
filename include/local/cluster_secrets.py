"""The secrets of the cluster's services (docker/compose.cluster.yaml): one file each, as compose hands them over.

What is there is kept. What belongs together agrees: the address of a database holds the password that PostgreSQL makes
its role with, Redis is told what its clients say, the S3 server knows the keys that its clients have.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Callable
from configparser import ConfigParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from include.local.credentials import SECRETS, private_folder

CERTIFICATE_DAYS = 397
"""What browsers take for the longest that a certificate may last."""
LAKE, MODELS = "nocturne", "nocturne-models"
"""The buckets of docker/compose.cluster.yaml."""

MayDo = dict[str, list[str]]
# Who may do what in the S3 server: tasks and Spark have the lake, MLflow its models, `init` makes the buckets.
IDENTITIES: MayDo = {
    "aws_owner": ["Admin"],
    "aws_lake": [f"{action}:{LAKE}" for action in ("Read", "Write", "List", "Tagging")],
    "aws_models": [f"{action}:{MODELS}" for action in ("Read", "Write", "List", "Tagging")],
}


def _by_itself(value: Callable[[], str]) -> Callable[[Path], str]:
    return lambda folder: value()


def _database(role: str, database: str) -> Callable[[Path], str]:
    return lambda folder: f"postgresql://{role}:{secrets.token_hex(24)}@postgres:5432/{database}"


def _key_pair(folder: Path) -> str:
    return (
        f"[default]\naws_access_key_id = {secrets.token_hex(10).upper()}\n"
        f"aws_secret_access_key = {secrets.token_urlsafe(30)}"
    )


def _redis(folder: Path) -> str:
    """Redis's configuration, of the address that its clients have."""
    return f"requirepass {urlsplit((folder / 'NOCTURNE_CELERY_BROKER').read_text().strip()).password}"


def _s3(folder: Path) -> str:
    """SeaweedFS's configuration, of the credentials that its clients have."""
    return json.dumps({"identities": [_identity(folder, name, may) for name, may in IDENTITIES.items()]}, indent=1)


def _identity(folder: Path, name: str, may: list[str]) -> dict[str, object]:
    read = ConfigParser()
    read.read_string((folder / name).read_text())
    keys = {"accessKey": read["default"]["aws_access_key_id"], "secretKey": read["default"]["aws_secret_access_key"]}
    return {"name": name, "credentials": [keys], "actions": may}


# In this order: a later one may be made of earlier ones.
MADE: dict[str, Callable[[Path], str]] = {
    **{f"NOCTURNE_{name.upper()}": _by_itself(value) for name, value in SECRETS.items()},
    "NOCTURNE_SPARK_SECRET": _by_itself(lambda: secrets.token_urlsafe(32)),
    "NOCTURNE_AIRFLOW_DB": _database("airflow", "airflow"),
    "NOCTURNE_LEASE_DB": _database("nocturne_tasks", "airflow"),
    "NOCTURNE_MLFLOW_DB": _database("mlflow", "mlflow"),
    "NOCTURNE_CELERY_BROKER": lambda folder: f"redis://:{secrets.token_hex(24)}@redis:6379/0",
    # Where nobody is told, the file is empty: compose starts nothing where a file is missing.
    **{f"NOCTURNE_ALERT_{name}": _by_itself(lambda: "") for name in ("SLACK", "SMTP", "WEBHOOK")},
    "postgres_password": lambda folder: secrets.token_hex(24),
    "redis.conf": _redis,
    **dict.fromkeys(IDENTITIES, _key_pair),
    "s3.json": _s3,
}


def make(folder: Path, host: str) -> list[str]:
    """Make every secret that is missing in ``folder``, the certificate for ``host`` among them; the names of these.

    The folder is its owner's alone. Its files can be read by whoever gets in: compose hands each over as it is, to a
    process that has another user in its container.
    """
    private_folder(folder)
    made = []
    for name, value in MADE.items():
        if not (folder / name).exists():
            _write(folder / name, value(folder) + "\n")
            made.append(name)
    if not ((folder / "tls.crt").exists() and (folder / "tls.key").exists()):
        certificate, key = self_signed(host)
        _write(folder / "tls.key", key)
        _write(folder / "tls.crt", certificate)
        made.append("tls.crt")
    return made


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.chmod(0o444)
    partial.replace(path)


def self_signed(host: str) -> tuple[str, str]:
    """A certificate for ``host`` and for this machine's own names, and its key, as PEM. Only who knows it trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _names(host: str) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for one in dict.fromkeys((host, "localhost", "127.0.0.1")):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(one)))
        except ValueError:
            found.append(x509.DNSName(one))
    return found


def runs_out(path: Path) -> datetime:
    """When the certificate at ``path`` runs out."""
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
