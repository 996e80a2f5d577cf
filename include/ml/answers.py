"""Labels that persons have given (answers), beside those that dbt derives: kept, and put in where there is none.

``gold.<case>__labelled`` is a sealed ledger with a line for each answer. A label of dbt wins over an answer: it is what
turned out to be true. An answer is known from the night in which it was read back, and of several the last one counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from include.contracts.use_case import Multiclass, Regression, UseCase
from include.core.errors import BadRequestError, NeedsAttentionError
from include.core.lease import lease
from include.lake import chain, commit, delta

KNOWN = "ingestion_date"
"""The column of a table of labels that says in which night a label became known."""

BEFORE = "_before"
SHOWN = 20
"""So many problems of a file are shown."""


class UnfitAnswersError(NeedsAttentionError):
    """A file of answers has lines that cannot be taken. The message lists them; none was taken."""


def label_type(case: UseCase) -> pl.DataType:
    """The type of an answer."""
    if isinstance(case.task, Multiclass):
        return pl.String()
    return pl.Float64() if isinstance(case.task, Regression) else pl.Int64()


def read(case: UseCase, as_of: date | None = None, version: int | None = None) -> pl.DataFrame:
    """The key, label and ``KNOWN`` of each row that somebody has labelled, as known in the night ``as_of``."""
    if not delta.exists("gold", case.labelled_table):
        raise AssertionError(f"gold.{case.labelled_table} is asked for where there is none")
    rows = delta.scan("gold", case.labelled_table, version).sort("line")
    if as_of is not None:
        rows = rows.filter(pl.col(KNOWN) <= as_of)
    return rows.select(*case.key, case.label, KNOWN).unique(case.key, keep="last", maintain_order=True).collect()


def filled(case: UseCase, labels: pl.LazyFrame, given: pl.DataFrame, through: date) -> pl.LazyFrame:
    """``labels`` (key, label, further columns) with an answer where there is none, on days up to ``through``."""
    known = labels.collect_schema()
    given = given.filter(pl.col(case.day) <= through).cast({name: known[name] for name in (*case.key, case.label)})
    own = labels.filter(pl.col(case.label).is_not_null())
    more = (
        given.lazy()
        .select(*(name for name in known.names() if name in given.columns))
        .join(own.select(case.key), on=case.key, how="anti")
    )
    kept = labels.join(more.select(case.key), on=case.key, how="anti")
    return pl.concat([kept, more], how="diagonal")


def take(
    name_of_file: str, case: UseCase, rows: pl.DataFrame, night: date, who: str, *, correct: bool = False
) -> dict[str, int]:
    """Keep the answers of ``rows``, all columns of which are text, in the order of the file.

    Lines without a label are passed over. Returns how many answers are ``new``, ``corrected`` or there ``before``, how
    many lines are ``empty``, and how many keys have a label by dbt that ``wins``. Raises UnfitAnswersError, and takes
    nothing, where any line cannot be taken, and where an answer is other than before, unless it is to ``correct`` it.
    """
    wanted = [*case.key, case.label]
    if missing := [name for name in wanted if name not in rows.columns]:
        raise UnfitAnswersError(
            f"{name_of_file}: no column {', '.join(missing)}; it needs {', '.join(wanted)}, and may have others"
        )
    with lease(f"labels {case.name}"), commit.committing():
        features = delta.opened("gold", case.features_table)
        kinds = pl.scan_delta(features).select(case.key).collect_schema()
        lines = rows.select(wanted).with_row_index("_at", 2)  # the first line has the names
        empty = lines.filter(blank(case.label)).height
        lines = lines.filter(~blank(case.label)).with_columns(pl.col(wanted).str.strip_chars())
        read_as = lines.with_columns(
            *(_of_text(name, kind) for name, kind in kinds.items()),
            pl.col(case.label).cast(label_type(case), strict=False),
        )
        days = read_as[case.day].drop_nulls().unique().to_list()
        there = pl.scan_delta(features).filter(pl.col(case.day).is_in(days)).select(case.key).collect()
        before = read_as.select(*case.key, case.label).clear()
        if delta.exists("gold", case.labelled_table):
            before = read(case)
        beside = read_as.join(before, on=case.key, how="left", suffix=BEFORE)
        problems = [*_odd(case, lines, read_as, night), *_unknown(case, read_as, there), *_twice(case, read_as)]
        _refuse(name_of_file, problems if correct else [*problems, *_other(case, beside)])
        once = beside.unique(case.key, keep="first", maintain_order=True)
        was = pl.col(f"{case.label}{BEFORE}")
        new = once.filter(was.is_null() | (was != pl.col(case.label)))
        if new.height:
            now = datetime.now(UTC)
            said = {KNOWN: pl.lit(night), "by": pl.lit(who), "read_back_at": pl.lit(now)}
            kept = new.select(*wanted, **said)
            commit.commit_all([chain.change(f"gold.{case.labelled_table}", kept)], f"labels of {case.name}")
        return {
            "new": new.filter(was.is_null()).height,
            "corrected": new.filter(was.is_not_null()).height,
            "before": once.height - new.height,
            "empty": empty,
            "wins": _by_dbt(case, once, days),
        }


def blank(name: str) -> pl.Expr:
    """Whether a column of text says nothing."""
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")


def _of_text(name: str, kind: pl.DataType) -> pl.Expr:
    """A column of text as ``kind``; null where it is none."""
    text = pl.col(name)
    if kind == pl.Date:
        return text.str.to_date("%Y-%m-%d", strict=False)
    return text.str.to_datetime(strict=False).cast(kind) if kind == pl.Datetime else text.cast(kind, strict=False)


type Problem = tuple[int, str]


def _odd(case: UseCase, lines: pl.DataFrame, read_as: pl.DataFrame, night: date) -> list[Problem]:
    """Values that are none of their column."""
    found: list[Problem] = []
    for name in (*case.key, case.label):
        odd = lines.filter(read_as[name].is_null()).select("_at", name)
        found += [(at, f"{name} is {text!r}, which is no {read_as.schema[name]}") for at, text in odd.rows()]
    found += [
        (at, f"{case.label} is {value!r}; it must be {_range(case)}")
        for at, value in read_as.filter(~_fits(case)).select("_at", case.label).rows()
    ]
    later = read_as.filter(pl.col(case.day) > night).select("_at", case.day)
    return found + [(at, f"{day} had not been by {night}, from which the label is known") for at, day in later.rows()]


def _fits(case: UseCase) -> pl.Expr:
    label = pl.col(case.label)
    if isinstance(case.task, Multiclass):
        return label.is_in(case.task.classes)
    return label.is_finite() if isinstance(case.task, Regression) else label.is_in([0, 1])


def _range(case: UseCase) -> str:
    if isinstance(case.task, Multiclass):
        return f"one of {', '.join(case.task.classes)}"
    return "a finite number" if isinstance(case.task, Regression) else "0 or 1"


def _unknown(case: UseCase, read_as: pl.DataFrame, there: pl.DataFrame) -> list[Problem]:
    strange = read_as.drop_nulls(case.key).join(there, on=case.key, how="anti").sort("_at")
    return [
        (row["_at"], f"{_named(case, row)} is not in gold.{case.features_table}")
        for row in strange.iter_rows(named=True)
    ]


def _twice(case: UseCase, read_as: pl.DataFrame) -> list[Problem]:
    """Keys that the file gives two labels."""
    several = read_as.filter(pl.col(case.label).n_unique().over(case.key) > 1).sort("_at")
    return [
        (row["_at"], f"{_named(case, row)} is labelled {row[case.label]} here, and otherwise in another line")
        for row in several.iter_rows(named=True)
    ]


def _named(case: UseCase, row: dict[str, Any]) -> str:
    return ", ".join(str(row[name]) for name in case.key)


def _other(case: UseCase, beside: pl.DataFrame) -> list[Problem]:
    """Answers that are other than those of before."""
    was = f"{case.label}{BEFORE}"
    other = beside.filter(pl.col(was).is_not_null() & (pl.col(was) != pl.col(case.label)))
    return [
        (at, f"{case.label} is {label}, and was read back as {said} before; correct=1 takes it instead")
        for at, label, said in other.select("_at", case.label, was).rows()
    ]


def _refuse(name_of_file: str, problems: Sequence[Problem]) -> None:
    if problems:
        shown = [f"  line {at}: {what}" for at, what in sorted(problems)[:SHOWN]]
        if len(problems) > SHOWN:
            shown.append(f"  and {len(problems) - SHOWN} more")
        raise UnfitAnswersError("\n".join([f"{name_of_file}: nothing was taken, since", *shown]))


def _by_dbt(case: UseCase, read_as: pl.DataFrame, days: Sequence[date]) -> int:
    if not delta.exists("gold", case.labels_table):
        return 0
    labels = delta.scan("gold", case.labels_table).filter(
        pl.col(case.day).is_in(days) & pl.col(case.label).is_not_null()
    )
    return read_as.join(labels.select(case.key).collect(), on=case.key, how="semi").unique(case.key).height


def of_csv(path: Any) -> pl.DataFrame:
    """A file of answers, all as text. Raises BadRequestError where it is none."""
    try:
        return pl.read_csv(path, infer_schema=False)
    except FileNotFoundError:
        raise BadRequestError(f"{path} is not there: name the file that was labelled") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise BadRequestError(f"{path} is no CSV: {str(error).partition(chr(10))[0]}") from None
