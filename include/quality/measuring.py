"""Expectations of Great Expectations measured by Polars: in one pass over rows that need not fit into memory.

Great Expectations says by which metrics an expectation is judged, and judges by them. What lies between, counting in
the rows, it does with pandas: all rows in memory, and several looks at them for each expectation. Here all that can be
told row by row is counted in one pass over the files, piece by piece; keys and different values are looked at apart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations import Expectation
    from great_expectations.validator.metric_configuration import MetricConfiguration

LOOKED_AT = 32_000_000
"""Keys that are compared at once; each takes 8 bytes."""

AT_FIRST = 100_000
"""Rows in which enough different values are looked for, before all rows are."""

SHOWN = 20
"""Unexpected values that a result shows."""

Told = Mapping[str, Any]


def _in_range(value: pl.Expr, told: Told) -> pl.Expr:
    low, high = told["min_value"], told["max_value"]
    above = pl.lit(True) if low is None else value > low if told["strict_min"] else value >= low
    below = pl.lit(True) if high is None else value < high if told["strict_max"] else value <= high
    return above & below


def _is_considered(of: Told) -> pl.Expr:
    """Whether an expectation about several columns looks at a row, of which values may be missing."""
    there = [pl.col(name).is_not_null() for name in _columns(of)]
    if of["ignore_row_if"] in ("both_values_are_missing", "all_values_are_missing"):
        return pl.any_horizontal(there)
    if of["ignore_row_if"] in ("either_value_is_missing", "any_value_is_missing"):
        return pl.all_horizontal(there)
    return pl.lit(True)


def _is_not_greater(of: Told, told: Told) -> pl.Expr:
    a, b = pl.col(of["column_A"]), pl.col(of["column_B"])
    greater = a >= b if told["or_equal"] else a > b
    return ~greater.fill_null(False) & _is_considered(of)


UNEXPECTED: dict[str, Callable[[Told, Told], pl.Expr]] = {
    "column_values.nonnull": lambda of, told: pl.col(of["column"]).is_null(),
    "column_values.between": lambda of, told: ~_in_range(pl.col(of["column"]), told),
    "column_values.in_set": lambda of, told: ~pl.col(of["column"]).is_in(told["value_set"]),
    "column_values.not_in_set": lambda of, told: pl.col(of["column"]).is_in(told["value_set"]),
    "column_values.value_length.between": lambda of, told: ~_in_range(pl.col(of["column"]).str.len_chars(), told),
    "column_pair_values.a_greater_than_b": _is_not_greater,
}
"""Which rows are unexpected, of a metric that looks at each row for itself."""

AGGREGATES: dict[str, Callable[[pl.Expr, bool], pl.Expr]] = {
    "column.max": lambda column, is_float: column.nan_max() if is_float else column.max(),
    "column.min": lambda column, is_float: column.nan_min() if is_float else column.min(),
    "column.mean": lambda column, is_float: column.mean(),
}
ROWS, DISTINCT, UNIQUE = "table.row_count", "column.distinct_values.count", "compound_columns.unique"
COUNT, CONSIDERED, VALUES = ".unexpected_count", ".filtered_row_count", ".unexpected_values"
MEASURED = {
    *(ROWS, DISTINCT, *AGGREGATES),
    *(name + what for name in (*UNEXPECTED, UNIQUE) for what in (COUNT, CONSIDERED, VALUES)),
}


def results(rows: pl.LazyFrame, expectations: Sequence[Expectation]) -> list[ExpectationValidationResult]:
    """What became of each of ``expectations`` for ``rows``, in their order; one that failed has details.

    NaN is a value, and in no range. An expectation that cannot be looked at has failed, with the exception in its
    result. What Polars does not measure here is left to Great Expectations, for which all rows come into memory.
    """
    table = _Table(rows)
    found: dict[int, ExpectationValidationResult] = {}
    others: list[Expectation] = []
    sound: list[Expectation] = []
    for each in expectations:
        if not _is_measured(each):
            others.append(each)
        elif trouble := table.trouble(each):
            found[id(each)] = _unchecked(each, trouble)
        else:
            sound.append(each)

    def judge(these: Sequence[Expectation], judged: Iterable[ExpectationValidationResult]) -> None:
        found.update({id(each): result for each, result in zip(these, judged, strict=True)})

    judge(sound, table.judged(sound, "BOOLEAN_ONLY"))
    failed = [each for each in sound if not found[id(each)].success]
    judge(failed, table.judged(failed, "BASIC"))
    judge(others, _by_pandas(rows, others))
    return [found[id(each)] for each in expectations]


def _metrics(expectation: Expectation, form: str) -> list[MetricConfiguration]:
    told = expectation.get_validation_dependencies(runtime_configuration={"result_format": form})
    return list(told.get_metric_configurations())


def _is_measured(expectation: Expectation) -> bool:
    """Whether all metrics of ``expectation`` are measured here, and of all rows."""
    return all(
        one.metric_name in MEASURED and one.metric_domain_kwargs.get("row_condition") is None
        for one in _metrics(expectation, "BASIC")
    )


def _columns(of: Told) -> list[str]:
    return [*(of[key] for key in ("column", "column_A", "column_B") if key in of), *of.get("column_list", [])]


def _key(metric: MetricConfiguration) -> str:
    """What is measured, whichever expectation asks for it and however its result is told."""
    told = {name: value for name, value in metric.metric_value_kwargs.items() if name != "result_format"}
    return repr((metric.metric_name, metric.metric_domain_kwargs, told))


def _enough(expectation: Expectation) -> int:
    """So many different values are enough for ``expectation``; 0 where it wants their exact number."""
    told = expectation.configuration.kwargs
    least = told.get("min_value")
    return 0 if least is None or told.get("max_value") is not None else int(least) + 1


class _Table:
    """Rows, and what has been measured of them so far."""

    def __init__(self, rows: pl.LazyFrame) -> None:
        self.rows, self.schema = rows, rows.collect_schema()
        self.known: dict[str, Any] = {}
        self.at_least: dict[str, int] = {}  # different values of a column

    def trouble(self, expectation: Expectation) -> str | None:
        """What keeps ``expectation`` from being looked at: a column that is not there, or has another type."""
        metrics = _metrics(expectation, "BOOLEAN_ONLY")
        asked = {name for metric in metrics for name in _columns(metric.metric_domain_kwargs)}
        if lacking := sorted(asked - set(self.schema)):
            return f"there is no column {', '.join(lacking)}"
        try:
            pl.DataFrame(schema=self.schema).select(**self._expressions(metrics))
        except pl.exceptions.PolarsError as error:
            return str(error)
        return None

    def judged(self, expectations: Sequence[Expectation], form: str) -> Iterable[ExpectationValidationResult]:
        """Great Expectations' verdict on each, by metrics that are measured for all of them together."""
        asked = {id(each): _metrics(each, form) for each in expectations}
        lacking = self._expressions(metric for of_one in asked.values() for metric in of_one)
        if lacking:
            (found,) = self.rows.select(**lacking).collect(engine="streaming").to_dicts()
            self.known |= found
        # With details the exact number of different values is told.
        enough = form == "BOOLEAN_ONLY"
        if enough:
            self._look_for_enough([each for each in expectations if asked[id(each)][0].metric_name == DISTINCT])
        for each in expectations:
            measured = {metric.id: self._value(metric, enough and _enough(each) > 0) for metric in asked[id(each)]}
            yield each.metrics_validate(measured, runtime_configuration={"result_format": form})

    def _expressions(self, metrics: Iterable[MetricConfiguration]) -> dict[str, pl.Expr]:
        """Those of ``metrics`` that are an aggregate of all rows and are not known yet, by their keys."""
        return {
            key: expression
            for metric in metrics
            if (key := _key(metric)) not in self.known and (expression := self._expression(metric)) is not None
        }

    def _expression(self, metric: MetricConfiguration) -> pl.Expr | None:
        name, of = metric.metric_name, metric.metric_domain_kwargs
        if name == ROWS:
            return pl.len()
        if name in AGGREGATES:
            return AGGREGATES[name](pl.col(of["column"]), self.schema[of["column"]].is_float())
        if name.endswith(CONSIDERED):
            return pl.len() if of["ignore_row_if"] in ("neither", "never") else _is_considered(of).sum()
        if name.endswith(COUNT) and (what := name.removesuffix(COUNT)) in UNEXPECTED:
            return UNEXPECTED[what](of, metric.metric_value_kwargs).sum()
        return None

    def _look_for_enough(self, expectations: Sequence[Expectation]) -> None:
        """Count different values in the first rows; in all of them where these have too few."""
        wanted = {each.configuration.kwargs["column"]: _enough(each) for each in expectations if _enough(each)}
        self.at_least = _distinct(self.rows.head(AT_FIRST), wanted)
        lacking = [column for column, enough in wanted.items() if self.at_least[column] < enough]
        self.at_least |= _distinct(self.rows, lacking)

    def _value(self, metric: MetricConfiguration, enough: bool) -> Any:
        """``metric``, measured by now or by itself. ``enough``: of different values a number that is not too high."""
        name, of = metric.metric_name, metric.metric_domain_kwargs
        if (key := _key(metric)) in self.known:
            return self.known[key]
        if name == DISTINCT:
            return (self.at_least if enough else _distinct(self.rows, [of["column"]]))[of["column"]]
        if name.startswith(UNIQUE):
            twice = self._twice(of)
            self.known[key] = twice["len"].sum() if name.endswith(COUNT) else _first(twice.drop("len").lazy())
            return self.known[key]
        unexpected = UNEXPECTED[name.removesuffix(VALUES)](of, metric.metric_value_kwargs)
        return _first(self.rows.filter(unexpected).select(_columns(of)))

    def _twice(self, of: Told) -> pl.DataFrame:
        """The values of those columns that more than one row has, with ``len``, the number of such rows.

        Keys are compared by 64-bit hashes of which a share is sorted at once, and those that look equal by themselves.
        """
        columns, rows = _columns(of), self.rows.select(_columns(of)).filter(_is_considered(of))
        marked = rows.with_columns(pl.struct(columns).hash().alias("_mark"))
        shares = 1 + rows.select(pl.len()).collect(engine="streaming").item() // LOOKED_AT
        found = [pl.DataFrame(schema={**{name: self.schema[name] for name in columns}, "len": pl.get_index_type()})]
        for share in range(shares):
            of_share = marked.filter(pl.col("_mark") % shares == share) if shares > 1 else marked
            marks = of_share.select("_mark").collect(engine="streaming").to_series().to_numpy(writable=True)
            marks.sort()
            twice = pl.LazyFrame({"_mark": marks[1:][marks[1:] == marks[:-1]]}, schema={"_mark": pl.UInt64}).unique()
            del marks
            again = of_share.join(twice, on="_mark", how="semi").group_by(columns).len().filter(pl.col("len") > 1)
            found.append(again.collect(engine="streaming"))
        return pl.concat(found).sort(columns)


def _distinct(rows: pl.LazyFrame, columns: Collection[str]) -> dict[str, int]:
    """The number of different values of each of ``columns``; null is none."""
    if not columns:
        return {}
    numbers = [(pl.col(name).n_unique() - pl.col(name).is_null().any().cast(pl.Int64)).alias(name) for name in columns]
    (found,) = rows.select(numbers).collect(engine="streaming").to_dicts()
    return found


def _first(rows: pl.LazyFrame) -> list[Any]:
    """A few of ``rows`` as Great Expectations tells them: values, or pairs of them, or dictionaries."""
    shown = rows.head(SHOWN).collect(engine="streaming")
    if shown.width == 1:
        return shown.to_series().to_list()
    return shown.rows()


def _unchecked(expectation: Expectation, trouble: str) -> ExpectationValidationResult:
    from great_expectations.core import ExpectationValidationResult

    raised = {"raised_exception": True, "exception_message": trouble, "exception_traceback": None}
    return ExpectationValidationResult(
        success=False, expectation_config=expectation.configuration, exception_info=raised, result={}
    )


def _by_pandas(rows: pl.LazyFrame, expectations: Sequence[Expectation]) -> list[ExpectationValidationResult]:
    """What Great Expectations says by its own engine of pandas."""
    if not expectations:
        return []
    import great_expectations as gx
    import polars.selectors as cs

    # An ephemeral context for each check: two tasks that write one file context at once race.
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # what GX reads back is a mapping
    asset = context.data_sources.add_pandas("here").add_dataframe_asset("candidate")
    # pandas takes NaN for no value: it is one out of range
    frame = rows.with_columns(cs.float().fill_nan(float("inf"))).collect(engine="streaming").to_pandas()
    batch = asset.add_batch_definition_whole_dataframe("candidate").get_batch({"dataframe": frame})
    return [batch.validate(each, result_format="BASIC") for each in expectations]
