"""Where the embedded engine is known to answer otherwise than Apache Spark, and what to write instead.

The differential test shows each to be so (an upgrade that mends one fails there, and the line goes), and that what to
write instead is the same on both. ``make check`` refuses the pattern in every model, macro and Spark job.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One expression that differs.

    Attributes:
        shown: it, in SQL. pattern: what is refused. python: the same in PySpark, where that has a name.
        instead: what to write, in SQL that is the same on both engines; ``why`` in words.
        allowed: names of the files where it is known to do no harm.
    """

    shown: str
    pattern: str
    instead: str
    why: str
    python: str = ""
    allowed: frozenset[str] = frozenset()

    def found_in(self, sql: str) -> list[str]:
        """What in ``sql`` is to be written otherwise."""
        return [match.group(0) for match in re.finditer(self.pattern, sql, re.IGNORECASE | re.DOTALL)]

    def found_in_python(self, code: str) -> list[str]:
        return [match.group(0) for match in re.finditer(self.python, code)] if self.python else []


def function(*names: str) -> str:
    """The pattern of a call of one of these functions in SQL."""
    return rf"\b({'|'.join(names)})\s*\("


def of_python(*names: str) -> str:
    """The same in PySpark."""
    return rf"\b(F|functions)\.({'|'.join(names)})\("


DISPERSION = (
    *("std", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop"),
    *("skewness", "kurtosis", "corr", "covar_pop", "covar_samp"),
)

GAP = "values (1, 10), (2, 20), (3, 30), (4, 40), (5, null), (6, null), (7, 70), (8, 80), (9, null) as t (i, v)"
BEHIND = "over (order by i rows between 1 following and unbounded following)"

DIFFERENCES = (
    Difference(
        "weekday(date'2013-06-02')",
        function("weekday"),
        "(dayofweek(date'2013-06-02') + 5) % 7",
        "a Sunday is -1 and not 6",
        of_python("weekday"),
    ),
    Difference("bround(2.5)", function("bround"), "round(2.5)", "rounds as round does", of_python("bround")),
    Difference(
        "array_contains(array(1, null), 2)",
        function("array_contains"),
        "coalesce(size(filter(array(1, null), one -> one = 2)) > 0, false)",
        "false where Spark does not know",
        of_python("array_contains"),
    ),
    Difference(
        "(select percentile_approx(x, 0.5) from values (1), (2), (2), (4) as t (x))",
        function("percentile_approx", "approx_percentile"),
        "(select percentile(x, 0.5) from values (1), (2), (2), (4) as t (x))",
        "of integers a double",
        of_python("percentile_approx", "approx_percentile"),
    ),
    Difference(
        # Of one part, which differs each time: of several, the embedded engine's digits change from run to run.
        "(select corr(id * 0.1D, id * id * 0.3D) from range(0, 1000, 1, 1))",
        function(*DISPERSION),
        "(select round(corr(id * 0.1D, id * id * 0.3D), 9) from range(0, 1000, 1, 1))",
        "the last digits differ, and change with the order in which parts are merged: say how many count",
        of_python(*DISPERSION),
    ),
    Difference(
        "cast(1.0E10 as string)",
        r"\bas\s+string\s*\)",
        "format_number(1.0E10, 2)",
        "a double is written in another way",
        r"\.cast\(\"string\"\)",
        # a personal value, one of many, a date, a binary: no double. ingest.py keeps a bad value as it is written
        frozenset({"pseudonym.sql", "hashed.sql", "late.py", "stream.py", "ingest.py"}),
    ),
    Difference(
        "1.0 / 3",
        r"\d\.\d+\s*/|/\s*\d+\.\d",
        "try_divide(1, 3)",
        "a quotient of decimals has other digits: divide integers or doubles",
    ),
    Difference(
        "try_cast('yesterday' as date)",
        r"\btry_cast\s*\([^()]*\bas\s+date\s*\)",
        "to_date('yesterday', 'yyyy-MM-dd')",
        "words are days to Spark: say the format",
        r"\.try_cast\(\"date\"\)",
    ),
    Difference(
        f"(select sum(l) from (select lead(v, 2) ignore nulls over (order by i) as l from {GAP}))",
        r"\b(lead|lag)\s*\([^()]*\)\s*ignore\s+nulls",
        f"(select sum(l) from (select nth_value(v, 2) ignore nulls {BEHIND} as l from {GAP}))",
        "across a gap of nulls the row behind it is not found (apache/datafusion#25471)",
    ),
    Difference(
        f"(select sum(l[1]) from (select collect_list(v) {BEHIND} as l from {GAP}))",
        r"(?<!filter\()\bcollect_(list|set)\s*\([^()]*\)\s*over\b",
        f"(select sum(l[1]) from (select filter(collect_list(v) {BEHIND}, one -> one is not null) as l from {GAP}))",
        "over a window it keeps nulls, and of no rows it is null",
    ),
    Difference(
        "(select count(*) from text.`/no/such/file`)",
        r"\b(text|parquet|csv|json|orc|binaryFile|delta)\.`",
        "1",
        "a path that is not there reads as empty: name a table, or count the rows",
        allowed=frozenset({"pseudonym.sql"}),  # which counts them
    ),
)
