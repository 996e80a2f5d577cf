"""The embedded engine answers what Apache Spark answers, but for what is known (differences.py)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.differences import DIFFERENCES, Difference
from tests.engines.expressions import EXPRESSIONS, QUERIES, REPORTED

Ask = Callable[[str], Any]
Engines = tuple[Ask, Ask]

# Of the expressions, those that differ: in the same ways as differences.py says, or such that one engine says no.
KNOWN = {
    "try_cast('yesterday' as date)",
    "cast(1.0E10 as string)",
    "cast(cast(1e-7 as double) as string)",
    "1.0/3",
    "bround(2.5)",
    "weekday(date'2013-06-02')",
    "size(null)",
    "array_contains(array(1,null),2)",
    "case when null then 1 else 2 end",
    next(one for one in QUERIES if "percentile_approx" in one),
    "select sum(x) from (values (cast(0.1 as double)),(0.2),(0.3)) t(x)",
    "select cast('abc' as double)",  # refused, where Spark has null: said, and try_cast is the same
    "with a as (select 1 as x), a as (select 2 as x) select * from a",  # which Spark refuses
    *(one for one in REPORTED if "lead(v, 2)" in one or "skewness(" in one or "corr(" in one),
}


def differs(engines: Engines, query: str) -> bool:
    """Whether the answers differ. That both refuse it is the same answer, whatever their words."""
    spark, embedded = (ask(query) for ask in engines)
    if str(spark).startswith("error") and str(embedded).startswith("error"):
        return False
    return bool(spark != embedded)


def test_only_what_is_known_differs(engines: Engines) -> None:
    asked = {one: f"select {one} as v" for one in EXPRESSIONS} | {one: one for one in [*QUERIES, *REPORTED]}
    assert {one for one, query in asked.items() if differs(engines, query)} == KNOWN


@pytest.mark.parametrize("one", DIFFERENCES, ids=lambda one: one.shown)
def test_what_is_refused_differs_and_what_to_write_instead_does_not(engines: Engines, one: Difference) -> None:
    assert differs(engines, f"select {one.shown} as v")
    assert one.found_in(one.shown)
    assert one.found_in(one.instead) == [] or "round(" in one.instead
    assert not differs(engines, f"select {one.instead} as v")


# --- anything else that the models are made of: small tables, and expressions over their columns

DAYS = st.integers(-400, 400).map(lambda n: date(2013, 6, 15) + timedelta(n))
# Doubles whose sums are exact: in which order an engine adds is its own affair.
COLUMNS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "a": ("int", st.integers(-3000, 3000)),
    "b": ("bigint", st.integers(-(2**40), 2**40)),
    "x": ("double", st.integers(-4000, 4000).map(lambda n: n / 4)),
    "s": ("string", st.text("aZ é:'\\\\%_0€", max_size=4)),
    "k": ("string", st.sampled_from(["UA", "AA", "B6"])),
    "d": ("date", DAYS),
    "n": ("date", DAYS),
    "t": ("timestamp", DAYS.map(lambda day: datetime(day.year, day.month, day.day, 3, 4, 5, 678900))),
    "p": ("boolean", st.booleans()),
}


def literal(value: Any, type_: str) -> str:
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"cast({'null' if value is None else f"'{text}'"} as {type_})"


@st.composite
def tables(draw: st.DrawFn, most: int = 7) -> str:
    """A table ``t`` of a few rows, any value of which may be null, as SQL."""
    rows = draw(st.lists(st.tuples(*(st.none() | values for _, values in COLUMNS.values())), min_size=1, max_size=most))
    types = [type_ for type_, _ in COLUMNS.values()]
    lines = ["(" + ", ".join(map(literal, row, types)) + ")" for row in rows]
    return f"(select * from values {', '.join(lines)} as t ({', '.join(COLUMNS)})) as t"


# Each kind of expression, made of kinds: {i}nteger, {f}loat, {w}ord, {y}: a day, {c}ondition, {t}ime.
# fmt: off
MADE_OF = {
    "i": [
        "a", "b", "{i} + {i}", "{i} - {i}", "a * a", "{i} div 100", "{i} % 100", "pmod({i}, 7)", "abs({i})",
        "cast({i} as int)", "cast({f} as int)", "dayofweek({y})", "year({y})", "month({y})", "datediff({y}, {y})",
        "coalesce({i}, 0)", "length({w})", "if({c}, {i}, {i})", "case when {c} then {i} end",
        "xxhash64({w}, {i}, {y})", "xxhash64({f}, {c}, {t})", "try_cast({w} as int)", "hour({t})", "instr({w}, 'a')",
        "nullif({i}, {i})",
    ],
    "f": [
        "x", "double({i})", "try_divide({i}, {i})", "{f} + {f}", "{f} * 2", "-{f}", "abs({f})", "coalesce({f}, {f})",
        "greatest({f}, {f})", "case when {c} then {f} else {f} end", "round({f}, 1)", "floor({f})", "{i} / {i}",
    ],
    "w": [
        "s", "k", "concat_ws(':', {y}, k, a, {w})", "concat({w}, {w})", "upper(s)", "lower(s)", "trim(s)",
        "coalesce({w}, 'none')", "sha2({w}, 256)", "substring({w}, 2, 3)", "regexp_replace({w}, '[0-9]+', '#')",
        "cast({i} as string)", "cast({y} as string)", "date_format({t}, 'yyyy-MM-dd HH:mm')", "split({w}, ':')[0]",
    ],
    "y": [
        "d", "n", "date_add({y}, 1)", "date_sub({y}, 28)", "greatest({y}, {y})", "least({y}, {y})",
        "cast({t} as date)", "coalesce({y}, d)", "last_day({y})", "trunc({y}, 'MM')", "case when {c} then {y} end",
        "next_day({y}, 'MON')",
    ],
    "t": [
        "t", "cast({y} as timestamp)", "date_trunc('hour', {t})", "from_utc_timestamp({t}, 'America/New_York')",
    ],
    "c": [
        "p", "{i} > {i}", "{y} between {y} and {y}", "{f} <= {f}", "{i} is null", "{w} is not null", "{c} and {c}",
        "{c} or {c}", "not {c}", "{w} = {w}", "{y} <=> {y}", "{w} rlike '^[aZ]'", "{w} like 'a%'",
        "k in ('UA', 'AA')", "{i} in (1, null)", "{f} = {f}", "coalesce({c}, false)",
    ],
}
# fmt: on


def expressions(kind: str, depth: int = 2) -> st.SearchStrategy[str]:
    """Expressions of a kind, nested ``depth`` deep."""
    simple = [one for one in MADE_OF[kind] if "{" not in one]

    def filled(form: str) -> st.SearchStrategy[str]:
        parts = form.replace("}", "{").split("{")  # text and kinds by turns
        holes = [expressions(part, depth - 1) for part in parts[1::2]]
        return st.tuples(*holes).map(
            lambda inner: "".join(
                text + (f"({inner[at]})" if at < len(inner) else "") for at, text in enumerate(parts[::2])
            )
        )

    return st.sampled_from(MADE_OF[kind] if depth else simple).flatmap(filled)


ANY = st.sampled_from(sorted(MADE_OF)).flatmap(expressions)
AGGREGATES = st.one_of(
    expressions("i", 1).map("sum({0}), count(distinct {0}), max({0})".format),
    expressions("f", 1).map("min({0}), count({0})".format),
    expressions("y", 1).map("max({0}), min({0})".format),
    expressions("c", 1).map("count_if({0}), sum(case when {0} then a end), sum(case when {0} then x end)".format),
    expressions("w", 1).map("max({0}), count(distinct {0})".format),
    st.just("avg(a), avg(x), sum(x), count(*), try_divide(sum(a), count(a)), sum(cast(b as decimal(38, 0)))"),
)
FEW = settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False)


def assert_equal(engines: Engines, query: str) -> None:
    spark, embedded = (ask(query) for ask in engines)
    if not (str(spark).startswith("error") and str(embedded).startswith("error")):
        assert embedded == spark, query


@FEW
@given(table=tables(), chosen=st.lists(ANY, min_size=4, max_size=8))
def test_expressions_are_equal(engines: Engines, table: str, chosen: list[str]) -> None:
    assert_equal(engines, f"select {', '.join(f'{one} as c{at}' for at, one in enumerate(chosen))} from {table}")


@FEW
@given(table=tables(), key=expressions("w", 1), chosen=AGGREGATES, condition=expressions("c", 1))
def test_aggregates_are_equal(engines: Engines, table: str, key: str, chosen: str, condition: str) -> None:
    assert_equal(engines, f"select {key} as g, {chosen} from {table} where {condition} group by {key}")


@FEW
@given(table=tables(), other=tables(), how=st.sampled_from(["inner join", "left join", "full join", "left anti join"]))
def test_joins_are_equal(engines: Engines, table: str, other: str, how: str) -> None:
    right = other.removesuffix(" as t") + " as o"
    columns = "t.*" if "anti" in how else "t.a, t.d, o.x, o.n, greatest(t.d, o.n) as g"
    assert_equal(
        engines, f"select {columns} from {table} {how} {right} on t.k = o.k and o.d between date_sub(t.d, 28) and t.d"
    )


@FEW
@given(table=tables())
def test_windows_sets_and_stacks_are_equal(engines: Engines, table: str) -> None:
    order = "order by d, n, a, b, x, s, p, t"
    assert_equal(
        engines,
        f"select k, d, row_number() over (partition by k {order}) as r, lead(d) over (partition by k {order}) as l, "
        f"sum(a) over (partition by k {order} rows between 2 preceding and current row) as s from {table}",
    )
    assert_equal(engines, f"select k, d from {table} where p except all select k, n from {table}")
    assert_equal(engines, f"select distinct k, d from {table} union all select k, n from {table}")
    stack = "lateral view stack(2, 'carrier', k, 'pair', concat_ws('-', s, a div 60)) l as kind, value"
    assert_equal(
        engines, f"select kind, value, count(*) from (select kind, value from {table} {stack}) group by kind, value"
    )
