"""Secrets as a backup keeps them: encrypted with a passphrase where one is given, else as they are."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

from include.core.errors import NeedsAttentionError

SHORTEST = 12


class PassphraseError(NeedsAttentionError):
    """There is no passphrase, it is too short, or it is not the one of the backup."""


def passphrase(file: str) -> bytes:
    """The passphrase in ``file``, its first line; empty where no file is named. Raises PassphraseError."""
    if not file:
        return b""
    try:
        text = Path(file).expanduser().read_text().partition("\n")[0].strip()
    except OSError as error:
        raise PassphraseError(f"NOCTURNE_BACKUP_PASSPHRASE_FILE={file} cannot be read: {error.strerror}") from None
    if len(text) < SHORTEST:
        raise PassphraseError(f"the passphrase in {file} has {len(text)} characters: {SHORTEST} is the least")
    return text.encode()


def seal(content: dict[str, bytes], phrase: bytes) -> tuple[bytes, str]:
    """``content``, by name, as bytes to keep, and the salt of its key, which is empty where nothing is encrypted."""
    plain = json.dumps({name: base64.b64encode(one).decode() for name, one in content.items()}).encode()
    if not phrase:
        return plain, ""
    from cryptography.fernet import Fernet  # as Airflow encrypts its connections: tells a changed text from a whole one

    salt = secrets.token_bytes(16)
    return Fernet(_key(phrase, salt)).encrypt(plain), salt.hex()


def unseal(kept: bytes, salt: str, phrase: bytes) -> dict[str, bytes]:
    """The other way round. Raises PassphraseError."""
    if salt:
        from cryptography.fernet import Fernet, InvalidToken

        if not phrase:
            raise PassphraseError(
                "the secrets of this backup are encrypted: name the file with its passphrase by "
                "NOCTURNE_BACKUP_PASSPHRASE_FILE"
            )
        try:
            kept = Fernet(_key(phrase, bytes.fromhex(salt))).decrypt(kept)
        except InvalidToken:
            raise PassphraseError("the passphrase is not the one of this backup: nothing was changed") from None
    return {name: base64.b64decode(one) for name, one in json.loads(kept).items()}


def _key(phrase: bytes, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    # 64 MiB and about 0.2 s a guess
    return base64.urlsafe_b64encode(Scrypt(salt=salt, length=32, n=2**16, r=8, p=1).derive(phrase))
