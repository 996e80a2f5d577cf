"""Where the predictions of a use case go, beside the lake: plain values for a spec, nothing of them secret.

Who logs in how is an Airflow connection, which is looked up by the name given here. What a target receives, and what is
guaranteed, says docs/publish-predictions.md; how it is done is in ``include/serving/publishing``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

REVISION = "revision"
"""The column of a target that says in which revision of its day a row came to be as it is, from 1."""


@dataclass(frozen=True)
class ToPostgres:
    """Rows of a PostgreSQL table, which is made where it is missing: a transaction a day.

    The connection has host, port, login, password, and the database as its schema. Beside the table one more is kept,
    ``<table>__published``, with what was published of each day.
    """

    connection: str
    table: str  # schema.table
    name: str = "postgres"
    timeout: int = 600  # seconds for a statement

    def __post_init__(self) -> None:
        parts = self.table.split(".")
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"the target {self.name}: a table is named schema.table, and not {self.table!r}")


@dataclass(frozen=True)
class ToFiles:
    """A file a day, ``<path>/<day>.parquet`` or ``.csv``, replaced whole.

    The connection is one of Airflow's Amazon provider, for a bucket; empty: whoever the machine is there.
    """

    path: str  # absolute, or below var, or s3://bucket/prefix
    format: Literal["parquet", "csv"] = "parquet"
    connection: str = ""
    name: str = "files"

    def __post_init__(self) -> None:
        if self.format not in ("parquet", "csv"):
            raise ValueError(f"the target {self.name}: a format is parquet or csv, and not {self.format!r}")
        if self.path.startswith("s3://") and not re.fullmatch(r"s3://[^/]+/[^/].*", self.path):
            raise ValueError(f"the target {self.name}: {self.path!r} names no prefix: s3://bucket/prefix")
        if self.connection and not self.path.startswith("s3://"):
            raise ValueError(f"the target {self.name}: a connection is for a bucket, and {self.path!r} is a folder")


@dataclass(frozen=True)
class ToHttp:
    """Events that are posted as JSON, some at a time, with an ``Idempotency-Key``.

    The connection's host is the base URL; its password the token, with a login Basic.
    """

    connection: str
    path: str  # below the base URL
    batch: int = 500  # events a request
    name: str = "http"
    authorization: str = "Authorization: Bearer {token}"  # the header that carries the token
    timeout: float = 30  # seconds for a request
    tries: int = 6  # for a request
    backoff: float = 1  # seconds: a wait before another try is up to twice this, and doubles
    patience: float = 300  # seconds: the longest wait that the receiver may ask for

    def __post_init__(self) -> None:
        require_batch(self.name, self.batch)


@dataclass(frozen=True)
class ToKafka:
    """Messages of a topic, keyed by entity and day, in a transaction a batch.

    The connection's host is a broker, or some of them with commas between; login and password are for SASL, and its
    extra has further settings of librdkafka by their names.
    """

    connection: str
    topic: str
    batch: int = 10_000  # messages a transaction
    name: str = "kafka"
    timeout: float = 60  # seconds for a transaction

    def __post_init__(self) -> None:
        require_batch(self.name, self.batch)


Target = ToPostgres | ToFiles | ToHttp | ToKafka


def require_batch(name: str, batch: int) -> None:
    """Raise ValueError where nothing would fit into a batch."""
    if batch < 1:
        raise ValueError(f"the target {name}: batch is {batch}; it must be a number of events")


def check(use_case: str, targets: Sequence[Target], columns: Iterable[str]) -> None:
    """Raise ValueError where two targets are called alike, or one of the entity's ``columns`` as the revision is."""
    names = [one.name for one in targets]
    if odd := [name for name in names if not re.fullmatch("[a-z][a-z0-9_]*", name)]:
        raise ValueError(f"use case {use_case}: {odd[0]!r} is no name of a target: small letters, digits and _")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"use case {use_case}: two targets are called {twice[0]}: give each a name of its own")
    if targets and REVISION in columns:
        raise ValueError(f"use case {use_case}: {REVISION} is a column of its entity, and what targets call theirs")
