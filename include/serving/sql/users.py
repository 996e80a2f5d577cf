"""The logins of the SQL endpoint: a name, a role, and a password of which only a hash is kept."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from include.core.errors import BadRequestError
from include.core.locks import alone
from include.core.settings import settings
from include.serving.sql.access import roles

NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
PASSWORD_BYTES = 18
"""Passwords are drawn and never chosen: 144 bits cannot be tried out, however often."""
COST, BLOCK, LANES = 2**14, 8, 1
"""Of scrypt: 16 MiB and some 50 ms a try."""


@dataclass(frozen=True)
class User:
    """One login. ``salt`` and ``hash`` are hexadecimal."""

    role: str
    salt: str
    hash: str

    def knows(self, password: str) -> bool:
        """Whether this is the user's password; takes as long either way."""
        return secrets.compare_digest(_hash(password, self.salt), self.hash)


NOBODY = User("", secrets.token_hex(16), secrets.token_hex(32))
"""Whom a name that does not exist is compared with, so that it takes as long as one that does."""


def _hash(password: str, salt: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=COST, r=BLOCK, p=LANES).hex()


def path() -> Path:
    """Where the logins are: not among the secrets, which the server does not see. No password is in it."""
    return settings().var / "sql" / "users.json"


def users() -> dict[str, User]:
    """Every user by name, as the file has it now."""
    try:
        there = path().stat()
    except FileNotFoundError:
        return {}
    return dict(_read(path(), there.st_mtime_ns, there.st_ino))


@lru_cache(maxsize=2)
def _read(file: Path, changed: int, inode: int) -> dict[str, User]:
    return {name: User(**one) for name, one in json.loads(file.read_text()).items()}


def add(name: str, role: str) -> str:
    """Make the user ``name``, or give an existing one another password and role. Returns the password.

    Who is logged in with the former password is logged out. Raises BadRequestError.
    """
    if not NAME.fullmatch(name):
        raise BadRequestError(f"{name!r} is no name of a user: small letters, digits, '.', '_', '-', a letter first")
    if role not in roles():
        raise BadRequestError(f"there is no role {role!r} in config/sql.toml; there are: {', '.join(roles())}")
    password, salt = secrets.token_urlsafe(PASSWORD_BYTES), secrets.token_hex(16)
    with alone(path().with_name(".users.lock")):
        _write(users() | {name: User(role, salt, _hash(password, salt))})
    return password


def remove(name: str) -> None:
    """Take a login away; who is logged in with it is logged out. Raises BadRequestError."""
    with alone(path().with_name(".users.lock")):
        there = users()
        if name not in there:
            raise BadRequestError(f"there is no user {name!r}; there are: {', '.join(there) or 'none'}")
        _write({one: user for one, user in there.items() if one != name})


def _write(found: dict[str, User]) -> None:
    partial = path().with_name(f".users.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({name: asdict(user) for name, user in sorted(found.items())}, file, indent=1)
    partial.replace(path())
