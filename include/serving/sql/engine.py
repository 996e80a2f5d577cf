"""One statement on DuckDB: read by its own parser, let through if it only reads, and run in a database of its own.

What a statement may not see is not there: its database is in memory, made for it alone, and holds nothing but the
tables of its snapshot, without the columns and rows that its user is not shown. DuckDB opens no file for it.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from include.core.errors import BadRequestError
from include.serving.sql.access import LAYERS, Table

CATALOGUE = "nocturne"
BATCH_ROWS = 10_000
LONGEST = 100_000
"""Characters of a statement."""
TABLE_FUNCTIONS = frozenset(
    {
        *(
            "generate_series",
            "histogram",
            "histogram_values",
            "json_each",
            "json_tree",
            "range",
            "repeat",
            "repeat_row",
        ),
        *("summary", "unnest", "pg_timezone_names"),
    }
)
OF_CATALOGUE = frozenset(
    {
        *("duckdb_columns", "duckdb_constraints", "duckdb_databases", "duckdb_functions", "duckdb_indexes"),
        *("duckdb_keywords", "duckdb_schemas", "duckdb_tables", "duckdb_types", "duckdb_views"),
        *("pragma_show", "pragma_table_info", "pragma_version"),
    }
)
"""Functions in the place of a table that only compute, and those that say what there is. DuckDB has others that run
the text they are given, change the process or read files."""
OF_SYSTEM = ("duckdb_", "pg_", "pragma_", "sqlite_")
"""How views of DuckDB's own begin."""
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


class RefusedError(BadRequestError):
    """A statement that is no plain question, or has a mistake. Its message says which."""


@dataclass(frozen=True)
class Question:
    """What a statement asks of.

    Attributes:
        names: schema and name of everything that stands in the place of a table, in small letters; no schema is "".
        catalogue: whether it asks what there is, for which every table has to be there.
    """

    names: frozenset[tuple[str, str]]
    catalogue: bool

    def wants(self, table: Table) -> bool:
        """Whether the statement can mean this table."""
        name = table.name.lower()
        return self.catalogue or bool({(table.layer, name), ("", name)} & self.names)


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(":memory:", config={"enable_external_access": "false", "threads": "1"})


_parsing = threading.Lock()


def read(sql: str) -> Question:
    """What ``sql`` asks of, as DuckDB's parser has it. Raises RefusedError for all but one SELECT, or an EXPLAIN of it.

    SHOW, DESCRIBE, SUMMARIZE, VALUES, FROM and TABLE are ways to write a SELECT.
    """
    if len(sql) > LONGEST:
        raise RefusedError(f"a statement has {LONGEST} characters at most, and this one has {len(sql)}")
    try:
        with _parsing:
            row = _parser().execute("SELECT json_serialize_sql(?)", [_EXPLAIN.sub("", sql, count=1)]).fetchone()
        tree = json.loads(row[0]) if row else {}
    except (duckdb.Error, RecursionError, ValueError) as error:
        raise RefusedError(f"this is not understood: {str(error)[:500]}") from None
    if tree.get("error"):
        said = tree.get("error_message", "")
        if tree.get("error_type") == "not implemented":
            raise RefusedError(
                "nothing can be changed here: one SELECT is taken, or SHOW, DESCRIBE, SUMMARIZE, EXPLAIN"
            )
        raise RefusedError(said)
    if len(tree["statements"]) != 1:
        raise RefusedError(f"one statement is taken at a time, and these are {len(tree['statements'])}")
    return _question(tree)


def _question(tree: Any) -> Question:
    names, catalogue, left = set[tuple[str, str]](), False, [tree]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
            continue
        if not isinstance(node, dict):
            continue
        left += node.values()
        kind = node.get("type")
        if kind == "BASE_TABLE":
            schema, name = str(node.get("schema_name", "")).lower(), str(node.get("table_name", "")).lower()
            names.add((schema, name))
            catalogue |= schema in ("information_schema", "pg_catalog") or name.startswith(
                ("duckdb_", "pg_", "sqlite_")
            )
        elif kind == "SHOW_REF":
            catalogue = True
        elif kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name", "")).lower()
            if name not in TABLE_FUNCTIONS | OF_CATALOGUE:
                raise RefusedError(f"{name}() reads no table of the lake: name one as silver.<table> or gold.<table>")
            catalogue |= name in OF_CATALOGUE
    return Question(frozenset(names), catalogue)


@dataclass(frozen=True)
class Limits:
    """What one statement may take: bytes of memory, of disk when that is not enough, and threads."""

    memory: int
    disk: int
    threads: int


@contextmanager
def database(tables: dict[Table, ds.Dataset], limits: Limits, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with these tables and nothing else, which opens no file of anybody's."""
    spill = folder / uuid4().hex
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{limits.memory // 2**20}MiB",
            "threads": str(limits.threads),
            "temp_directory": str(spill),
            "max_temp_directory_size": f"{limits.disk // 2**20}MiB",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    try:
        connection.execute(f"ATTACH ':memory:' AS {CATALOGUE}; SET timezone = 'UTC'")
        for layer in LAYERS:
            connection.execute(f"CREATE SCHEMA {CATALOGUE}.{layer}; USE {CATALOGUE}.{layer}")
            for table in [one for one in tables if one.layer == layer]:
                connection.from_arrow(tables[table]).create_view(table.name)
        layers = ",".join(f"{CATALOGUE}.{layer}" for layer in LAYERS)
        connection.execute(f"SET search_path = '{layers}'")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        connection.execute("BEGIN TRANSACTION READ ONLY")
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def asked(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any]) -> duckdb.DuckDBPyRelation:
    """The answer to ``sql``, which is computed when it is read. Raises RefusedError where it cannot be."""
    try:
        return connection.sql(sql, params=list(parameters)) if parameters else connection.sql(sql)
    except duckdb.Error as error:
        raise RefusedError(str(error)) from None


def schema_of(answer: duckdb.DuckDBPyRelation) -> pa.Schema:
    """Names and types of an answer's columns, of which two may have one name."""
    fields = answer.limit(0).to_arrow_table().schema
    return pa.schema([field.with_name(name) for field, name in zip(fields, answer.columns, strict=True)])


def parameters_of(sql: str) -> pa.Schema:
    """The parameters of a statement, in their order, as text: DuckDB knows their types when they have values.

    Raises RefusedError.
    """
    try:
        with _parsing:
            (statement,) = _parser().extract_statements(sql)
    except duckdb.Error as error:
        raise RefusedError(str(error)) from None
    names = statement.named_parameters
    if not all(one.isdigit() for one in names):
        raise RefusedError("parameters are given by place: ? or $1")
    return pa.schema([(f"${number}", pa.string()) for number in sorted(map(int, names))])
