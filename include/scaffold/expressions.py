"""A SQL expression of a person: whether it fits the columns of a table, and the same in Python for an oracle.

Only what counts, adds up, compares and combines is understood, since a test has to compute it without SQL. Whoever
needs more writes it into the model and the oracle afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
SUMS = (exp.Add, exp.Sub, exp.Mul)
KINDS = {
    **dict.fromkeys(("smallint", "int", "bigint", "double", "float", "decimal"), "number"),
    **{"string": "text", "boolean": "condition", "date": "date", "timestamp": "timestamp"},
}
"""What a value is, by its type without digits. Python compares only values of one kind, where SQL would cast."""

JINJA = re.compile(r"\{[{%#]")
"""What dbt would take for its own, in SQL and in descriptions."""


@dataclass(frozen=True)
class Expression:
    """An expression over the rows of a table: ``sql`` as written, in one line, and the ``columns`` that it reads.

    ``kind`` is one of the values of ``KINDS``; empty for what is always null.
    """

    sql: str
    tree: exp.Expr
    columns: tuple[str, ...]
    kind: str

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
        tokens = sqlglot.tokenize(self.sql, read=DIALECT)
        for n, token in enumerate(tokens):
            # A text is no name, and a name before a bracket is that of a function: count(count).
            is_call = n + 1 < len(tokens) and tokens[n + 1].text == "("
            if token.text in self.columns and not is_call and not _is_text(token):
                found += f"{self.sql[at : token.start]}{table}.{self.sql[token.start : token.end + 1]}"
                at = token.end + 1
        return found + self.sql[at:]

    def compared(self, column: str) -> list[str]:
        """The texts that ``column`` is compared with."""
        found = [
            str(literal.this)
            for node in self.tree.find_all(exp.EQ, exp.NEQ, exp.In)
            if column in [one.name for one in node.find_all(exp.Column)]
            for literal in node.find_all(exp.Literal)
            if literal.is_string
        ]
        return list(dict.fromkeys(found))

    @property
    def largest(self) -> float:
        """The largest number that is written in it; 0 where there is none."""
        return max((float(one.this) for one in self.tree.find_all(exp.Literal) if not one.is_string), default=0.0)

    def in_python(self) -> str:
        """The same as a Python expression: of ``row``, or of ``rows`` where it aggregates. Null is None."""
        return _python(self.tree)


def read(what: str, sql: str, types: Mapping[str, str], table: str) -> Expression:
    """``sql`` as an expression over the columns of ``table``, whose ``types`` are given by their names.

    ``what`` names it in messages. Raises ScaffoldError.
    """
    try:
        line = _in_one_line(sql)
        tree = sqlglot.parse_one(line, read=DIALECT)
    except SqlglotError as error:
        raise ScaffoldError(f"{what}={sql!r} is no SQL expression: {str(error).splitlines()[0]}") from None
    except ScaffoldError as error:
        raise ScaffoldError(f"{what}={sql!r}: {error}") from None
    if not isinstance(tree, exp.Condition):
        raise ScaffoldError(f"{what}={sql!r} is no expression: say a column, or as in count(order_id) > 0")
    if far := next((column for column in tree.find_all(exp.Column) if column.table), None):
        raise ScaffoldError(f"{what}={sql!r}: say {far.name} and not {far.sql(dialect=DIALECT)}: all is of {table}")
    names = tuple(dict.fromkeys(column.name for column in tree.find_all(exp.Column)))
    if unknown := [name for name in names if name not in types]:
        raise ScaffoldError(f"{what}={sql!r}: {table} has no column {unknown[0]}; it has {', '.join(types)}")
    found = Expression(line, tree, names, "")
    found.in_python()
    return replace(found, kind=_kind(tree, types))


def _in_one_line(sql: str) -> str:
    """``sql`` without ends of lines: it also becomes a comment. Raises ScaffoldError for what dbt reads otherwise."""
    if JINJA.search(sql):
        raise ScaffoldError(f"dbt takes {JINJA.findall(sql)[0]} for its own; put a blank between the two signs")
    tokens = sqlglot.tokenize(sql, read=DIALECT)
    if any(token.comments for token in tokens):
        raise ScaffoldError("leave the comment out: what comes after it would be a part of it")
    if any(_is_text(token) and "\n" in token.text for token in tokens):
        raise ScaffoldError("a text in it goes over the end of a line")
    return " ".join(line.strip() for line in sql.strip().splitlines())


def _is_text(token: sqlglot.Token) -> bool:
    return token.token_type.name == "STRING"


def _kind(node: exp.Expr, types: Mapping[str, str]) -> str:
    """What a value is; empty for null. Raises ScaffoldError where SQL would cast a kind to another, and Python not."""
    if isinstance(node, exp.Column):
        return KINDS.get(types[node.name].partition("(")[0], types[node.name])
    if isinstance(node, exp.Paren | exp.Min | exp.Max):
        return _kind(node.this, types)
    if isinstance(node, exp.Neg | exp.Sum | exp.Avg):
        return _all_of("number", node, [node.this], types)
    if isinstance(node, SUMS):
        return _all_of("number", node, [node.this, node.args["expression"]], types)
    if isinstance(node, exp.And | exp.Or):
        return _all_of("condition", node, [node.this, node.args["expression"]], types)
    if isinstance(node, exp.Not):
        return _all_of("condition", node, [node.this], types)
    if isinstance(node, exp.CountIf):
        _all_of("condition", node, [node.this], types)
        return "number"
    if isinstance(node, exp.Count):
        return "number"
    if isinstance(node, exp.Literal):
        return "text" if node.is_string else "number"
    if isinstance(node, exp.Null):
        return ""
    if isinstance(node, exp.If):
        _all_of("condition", node, [node.this], types)
        return _alike(node, [node.args["true"], node.args["false"]], types)
    others = node.expressions if isinstance(node, exp.In) else [node.args.get("expression")]
    _alike(node, [node.this, *filter(None, others)], types)
    return "condition"


def _all_of(kind: str, node: exp.Expr, parts: Sequence[exp.Expr], types: Mapping[str, str]) -> str:
    """``kind``, which each of ``parts`` has to be."""
    for part in parts:
        if (other := _kind(part, types)) not in (kind, ""):
            shown = f"{part.sql(dialect=DIALECT)} is a {other}"
            raise ScaffoldError(f"{node.sql(dialect=DIALECT)!r}: {shown}, and should be a {kind}")
    return kind


def _alike(node: exp.Expr, parts: Sequence[exp.Expr], types: Mapping[str, str]) -> str:
    """The kind that all of ``parts`` are."""
    kinds = {kind: part for part in parts if (kind := _kind(part, types))}
    if len(kinds) > 1:
        shown = ", ".join(f"{part.sql(dialect=DIALECT)} is a {kind}" for kind, part in kinds.items())
        raise ScaffoldError(f"{node.sql(dialect=DIALECT)!r}: {shown}: only values of one kind are compared")
    return next(iter(kinds), "")


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
        text = str(node.this)
        # Python has no number 007.
        return repr(text) if node.is_string else str(int(text)) if text.isdigit() else text
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
