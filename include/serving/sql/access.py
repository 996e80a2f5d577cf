"""Who may read what: the roles of ``config/sql.toml``, and what they leave of a table."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from include.core.errors import NeedsAttentionError
from include.core.settings import settings

LAYERS = ("gold", "silver")
"""What there is to read. Bronze, ledgers and candidates are for those who run the platform."""

_Table = Annotated[str, StringConstraints(pattern=r"^[\w*?]+(\.[\w*?]+)?$")]
_Column = Annotated[str, StringConstraints(pattern=r"^[\w*?]+\.[\w*?]+\.[\w*?]+$")]


class RulesError(NeedsAttentionError):
    """``config/sql.toml`` is not understood: nobody reads anything until it is."""


@dataclass(frozen=True)
class Table:
    """A table of the lake, by its layer and its name."""

    layer: str
    name: str

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}"


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rows(_Rule):
    """Of tables that match ``table``, only rows whose ``column`` has one of ``values``."""

    table: _Table
    column: str
    values: list[str | int | bool] = Field(min_length=1)


class Role(_Rule):
    """What the users of a role may read."""

    tables: list[_Table]
    personal: bool = False
    hidden: list[_Column] = []
    rows: list[Rows] = []

    def may_read(self, table: Table) -> bool:
        """Whether a table is among those of the role."""
        return table.layer in LAYERS and any(fnmatchcase(str(table), one) for one in self.tables)

    def columns(self, table: Table, columns: Sequence[str], personal: frozenset[str] | None) -> list[str]:
        """Those of a table's ``columns`` that the role is shown, in their order.

        ``personal`` are those made of personal columns; None where that is not known, and then all of them may be.
        """
        if not self.personal and personal is None:
            return []
        secret = frozenset[str]() if self.personal or personal is None else personal
        return [
            one
            for one in columns
            if one not in secret and not any(fnmatchcase(f"{table}.{one}", pattern) for pattern in self.hidden)
        ]

    def filters(self, table: Table) -> list[Rows]:
        """The rules for a table's rows, all of which hold."""
        return [one for one in self.rows if fnmatchcase(str(table), one.table)]


class _Rules(_Rule):
    roles: dict[str, Role]


def path() -> Path:
    """Where the rules are."""
    return settings().home / "config" / "sql.toml"


def roles() -> Mapping[str, Role]:
    """Every role by its name, as the file says now. Raises RulesError."""
    try:
        there = path().stat()
    except OSError as error:
        raise RulesError(f"{path()} says who may read what, and cannot be read: {error.strerror}") from None
    return _read(path(), there.st_mtime_ns, there.st_size)


@lru_cache(maxsize=2)
def _read(file: Path, changed: int, size: int) -> Mapping[str, Role]:
    try:
        return _Rules.model_validate(tomllib.loads(file.read_text())).roles
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RulesError(f"{file}: {where}: {first['msg']}; {error.error_count()} in all") from None
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{file} is no TOML: {error}") from None
