"""Which columns of the sources the values of a column are made of, read off the SQL that dbt compiled.

What counts are values: every column in the expression that computes another one, the conditions of a ``case``
included, through any number of models, subqueries, unions and lateral views. A column that only chooses, joins,
groups or orders rows is not in what comes out, and does not count. Nothing is read of the lake.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from include.core.errors import NeedsAttentionError
from include.core.settings import settings

DIALECT = "spark"
KEY = "pseudonym_key"  # what dbt's macro `pseudonym` reads


class Origin(NamedTuple):
    """A column of a source's feed."""

    source: str
    feed: str
    column: str

    def __str__(self) -> str:
        return f"{self.source}.{self.feed}.{self.column}"


# What each column of a table or a query is made of, in the order of its columns.
Origins = dict[str, frozenset[Origin]]


class LineageError(NeedsAttentionError):
    """A model whose SQL cannot be followed."""


class Columns:
    """The columns of every model of a dbt project, and what they are made of."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        """Of dbt's ``manifest`` after ``dbt compile``. Raises LineageError naming a model that cannot be followed."""
        self._models: dict[str, Origins] = {}
        tables: dict[str, dict[str, Origins]] = {}
        for source in manifest["sources"].values():
            feed = (source["source_name"], source["name"])
            tables.setdefault(source["schema"], {})[source["identifier"]] = {
                column: frozenset([Origin(*feed, column)]) for column in source["columns"]
            }
        models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
        order = TopologicalSorter({key: node["depends_on"]["nodes"] for key, node in models.items()})
        for node in (models[key] for key in order.static_order() if key in models):
            try:
                found = of_query(node["compiled_code"], tables)
            except (SqlglotError, LineageError) as error:
                raise LineageError(f"model {node['name']}: {error}") from None
            self._models[node["name"]] = found
            tables.setdefault(node["schema"], {})[node["alias"]] = found
        self.layers = {node["name"]: str(node["schema"]) for node in models.values()}
        """The schema of each model: silver, gold."""

    def of(self, model: str) -> list[str]:
        """The columns of ``model``, in their order. Raises KeyError where there is no such model."""
        return list(self._models[model])

    def sources_of(self, model: str, column: str) -> frozenset[Origin]:
        """What the values of ``column`` are made of. Raises KeyError where ``model`` has no such column."""
        return self._models[model][column]


def compiled(project: Path, target: Path) -> Columns:
    """The columns of the dbt project in the folder ``project``, compiled into ``target``. Needs no Spark.

    Raises LineageError with dbt's own words where it does not compile.
    """
    dbt = [str(Path(sys.executable).with_name("dbt")), "--quiet", "compile", "--no-populate-cache", "--no-introspect"]
    folders = {"project-dir": project, "profiles-dir": project, "target-path": target, "log-path": target}
    done = subprocess.run(  # noqa: S603  # dbt, on folders of ours
        [*dbt, *(f"--{name}={folder}" for name, folder in folders.items())],
        cwd=settings().home,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LineageError(f"dbt compile of {project} failed:\n{done.stdout}{done.stderr}")
    return Columns(json.loads((target / "manifest.json").read_text()))


def of_query(sql: str, tables: Mapping[str, Mapping[str, Origins]]) -> Origins:
    """What each column of a query is made of, given the same of the tables that it reads, by schema and name.

    Raises LineageError, or sqlglot's errors, where a column or a table is not known: nothing is passed over.
    """
    schema: dict[str, object] = {
        layer: {name: dict.fromkeys(columns, "string") for name, columns in of.items()} for layer, of in tables.items()
    }
    # A pseudonym is made of nothing that could be read out of it.
    shown = parse_one(sql, dialect=DIALECT).transform(lambda node: exp.Null() if is_pseudonym(node) else node)
    query = qualify(shown, dialect=DIALECT, schema=schema, quote_identifiers=False)
    root = build_scope(query)
    if root is None:
        raise LineageError(f"this is no query: {sql[:200]}")
    return _Walk(tables).of(root)


class _Walk:
    """One way through the scopes of a query, each of which is looked at once."""

    def __init__(self, tables: Mapping[str, Mapping[str, Origins]]) -> None:
        self.tables = tables
        self.seen: dict[int, Origins] = {}

    def of(self, source: Scope | exp.Expr) -> Origins:
        """The columns of a query, or of a table that it reads."""
        if isinstance(source, exp.Table):
            try:
                return self.tables[source.db][source.name]
            except KeyError:
                raise LineageError(f"{source.sql(DIALECT)} is neither a model nor a source") from None
        if not isinstance(source, Scope):
            raise LineageError(f"cannot follow {source.sql(DIALECT)}")
        if id(source) not in self.seen:
            self.seen[id(source)] = self._of_scope(source)
        return self.seen[id(source)]

    def _of_scope(self, scope: Scope) -> Origins:
        query = scope.expression
        if isinstance(query, exp.SetOperation):
            first, *others = (self.of(one) for one in scope.set_operation_scopes)
            return {
                name: frozenset().union(*branches)
                for name, *branches in zip(first, *(of.values() for of in (first, *others)), strict=True)
            }
        if isinstance(query, exp.Lateral):
            return self._of_lateral(query, scope)
        if not isinstance(query, exp.Select):
            raise LineageError(f"cannot follow {query.sql(DIALECT)}")
        return {column.alias_or_name: self._of_expression(column, scope) for column in query.selects}

    def _of_lateral(self, lateral: exp.Lateral, scope: Scope) -> Origins:
        """``stack`` says which of its arguments are of which column; of other functions all are of each."""
        names = lateral.alias_column_names
        function = lateral.this
        if not isinstance(function, exp.Stack):
            return dict.fromkeys(names, self._of_expression(function, scope))
        rows = function.expressions
        return {name: self._of_all(rows[place :: len(names)], scope) for place, name in enumerate(names)}

    def _of_all(self, expressions: list[exp.Expr], scope: Scope) -> frozenset[Origin]:
        return frozenset().union(*(self._of_expression(one, scope) for one in expressions))

    def _of_expression(self, expression: exp.Expr, scope: Scope) -> frozenset[Origin]:
        return frozenset(origin for part in _parts(expression) for origin in self._of_part(part, scope))

    def _of_part(self, part: exp.Column | exp.Query, scope: Scope) -> frozenset[Origin]:
        if isinstance(part, exp.Query):
            inner = next(one for one in scope.subquery_scopes if one.expression is part.unnest())
            return frozenset().union(*self.of(inner).values())
        columns = self.of(scope.sources[part.table]) if part.table in scope.sources else {}
        if part.name not in columns:
            raise LineageError(f"{part.sql(DIALECT)} is a column of nothing that is known")
        return columns[part.name]


def _parts(expression: exp.Expr) -> Iterator[exp.Column | exp.Query]:
    """The columns in ``expression``, and the queries, into which it is not looked."""
    for node in expression.walk(prune=lambda node: isinstance(node, exp.Query)):
        if isinstance(node, exp.Column | exp.Query):
            yield node


def is_pseudonym(node: exp.Expr) -> bool:
    """Whether ``node`` is what the macro ``pseudonym`` makes of a column: a hash over it and the key."""
    return isinstance(node, exp.SHA2) and any(table.name.endswith(KEY) for table in node.find_all(exp.Table))
