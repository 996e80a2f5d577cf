"""A SQL expression of a person: whether it fits the columns of a table, and the same in Python for an oracle.

Only what counts, adds up, compares and combines is understood, since a test has to compute it without SQL. Whoever
needs more writes it into the model and the oracle afterwards.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from include.scaffold.errors import ScaffoldError

DIALECT = "spark"
AGGREGATES: dict[type[exp.Expr], str] = {exp.Sum: "total", exp.Avg: "mean", exp.Min: "least", exp.Max: "most"}
BINARY: dict[type[exp.Expr], str] = {
    exp.GT: ">",
    exp.GTE: ">=",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.EQ: "==",
    exp.NEQ: "!=",
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
}


@dataclass(frozen=True)
class Expression:
    """An expression over the rows of a table: ``sql`` as written, and the ``columns`` that it reads."""

    sql: str
    tree: exp.Expr
    columns: tuple[str, ...]

    @property
    def is_column(self) -> bool:
        return isinstance(self.tree, exp.Column)

    @property
    def has_aggregate(self) -> bool:
        return self.tree.find(exp.AggFunc) is not None

    @property
    def is_null_of_nothing(self) -> bool:
        """Whether it says nothing of no rows at all, as a sum does; a count says 0."""
        return any(not isinstance(one, exp.Count | exp.CountIf) for one in self.tree.find_all(exp.AggFunc))

    def qualified(self, table: str) -> str:
        """Its SQL with ``table.`` before each column."""
        found, at = "", 0
        for token in sqlglot.tokenize(self.sql, read=DIALECT):
            text = self.sql[token.start : token.end + 1]
            if text in self.columns:
                found += f"{self.sql[at : token.start]}{table}.{text}"
                at = token.end + 1
        return found + self.sql[at:]

    def in_python(self) -> str:
        """The same as a Python expression: of ``row``, or of ``rows`` where it aggregates. Null is None."""
        return _python(self.tree)


def read(what: str, sql: str, columns: Collection[str], table: str) -> Expression:
    """``sql`` as an expression over ``columns`` of ``table``. ``what`` names it in messages. Raises ScaffoldError."""
    try:
        tree = sqlglot.parse_one(sql, read=DIALECT)
    except SqlglotError as error:
        raise ScaffoldError(f"{what}={sql!r} is no SQL expression: {str(error).splitlines()[0]}") from None
    if not isinstance(tree, exp.Condition):
        raise ScaffoldError(f"{what}={sql!r} is no expression: say a column, or as in count(order_id) > 0")
    names = tuple(dict.fromkeys(column.name for column in tree.find_all(exp.Column)))
    if unknown := [name for name in names if name not in columns]:
        raise ScaffoldError(f"{what}={sql!r}: {table} has no column {unknown[0]}; it has {', '.join(columns)}")
    found = Expression(sql.strip(), tree, names)
    found.in_python()
    return found


def _python(node: exp.Expr) -> str:
    """The Python of a part. Raises ScaffoldError for what only SQL could say."""
    for written in (_value, _aggregate, _compound):
        if (text := written(node)) is not None:
            return text
    raise ScaffoldError(
        f"{node.sql(dialect=DIALECT)!r} is not understood: a scaffold knows count, count_if, sum, avg, min, max, "
        "comparisons, + - *, and, or, not, is null and in. Take a simpler one, and write yours into the model later"
    )


def _value(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Column):
        return f'row["{node.name}"]'
    if isinstance(node, exp.Boolean):
        return str(bool(node.this))
    if isinstance(node, exp.Null):
        return "None"
    if isinstance(node, exp.Literal):
        return repr(str(node.this)) if node.is_string else str(node.this)
    return None


def _aggregate(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Count):
        return _count(node)
    if isinstance(node, exp.CountIf):
        return f"sum(1 for row in rows if {_python(node.this)})"
    if (name := AGGREGATES.get(type(node))) is not None:
        return f"{name}({_python(node.this)} for row in rows)"
    return None


def _compound(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Paren):
        return f"({_python(node.this)})"
    if isinstance(node, exp.Neg):
        return f"-{_python(node.this)}"
    if (sign := BINARY.get(type(node))) is not None:
        return f'binary("{sign}", {_python(node.this)}, {_python(node.args["expression"])})'
    if isinstance(node, exp.And | exp.Or):
        name = "both" if isinstance(node, exp.And) else "either"
        return f"{name}({_python(node.this)}, {_python(node.args['expression'])})"
    if isinstance(node, exp.Not):
        return f"negated({_python(node.this)})"
    if isinstance(node, exp.Is) and isinstance(node.args["expression"], exp.Null):
        return f"({_python(node.this)} is None)"
    if isinstance(node, exp.In) and node.expressions:
        values = ", ".join(map(_python, node.expressions))
        return f"one_of({_python(node.this)}, ({values},))"
    if isinstance(node, exp.If):  # of count_if and if()
        return f"({_python(node.args['true'])} if {_python(node.this)} else {_python(node.args['false'])})"
    return None


def _count(node: exp.Count) -> str:
    inner = node.this
    if isinstance(inner, exp.Star):
        return "len(rows)"
    if isinstance(inner, exp.Distinct) and len(inner.expressions) == 1:
        what = _python(inner.expressions[0])
        return f"len({{{what} for row in rows}} - {{None}})"
    return f"sum(1 for row in rows if {_python(inner)} is not None)"
