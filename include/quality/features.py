"""The feature gate: what must hold for a day's features before anything is scored or trained on them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.core.partitions import Partitions
from include.lake import candidate, dbt
from include.quality import gate
from include.sources import source
from include.use_cases import use_case

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

    from include.ml.ledger import Champion
    from include.ml.reference import Reference

KNOWN_FROM = "known_from"
"""The column of a features table that says from which night all values of a row were known."""

LEAST_IN_VOCABULARY = 0.95
"""The share of a categorical feature's values that must be in its vocabulary; the model takes the rest for unknown."""

PSI_MARGIN = 5.0
"""By so much a day's PSI against the champion's training set may exceed that of the farthest day of the set itself.

A season moves a long window by up to 4.6, a feature without any values is 7 and more away (docs/decisions).
"""


class NoLimitsError(NeedsAttentionError):
    """A champion's reference lacks what its days' features are compared by; the message says what to do."""


def suite(case: UseCase) -> list[Expectation]:
    """The expectations for the rows of a candidate. That it has each one of its population, dbt's `same_rows` tests."""
    from great_expectations import expectations as gxe

    expected: list[Expectation] = [
        gxe.ExpectCompoundColumnsToBeUnique(column_list=[*case.entity, case.day]),
        gxe.ExpectColumnValuesToNotBeNull(column=KNOWN_FROM),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=case.day, column_B=KNOWN_FROM, ignore_row_if="neither"),
    ]
    for feature in case.features:
        if not feature.nullable:
            expected.append(gxe.ExpectColumnValuesToNotBeNull(column=feature.name))
        if feature.low is not None or feature.high is not None:
            expected.append(
                gxe.ExpectColumnValuesToBeBetween(column=feature.name, min_value=feature.low, max_value=feature.high)
            )
        if feature.vocabulary:
            expected.append(
                gxe.ExpectColumnValuesToBeInSet(
                    column=feature.name, value_set=list(feature.vocabulary), mostly=LEAST_IN_VOCABULARY
                )
            )
        if feature.min_distinct > 1:
            expected.append(
                gxe.ExpectColumnUniqueValueCountToBeBetween(column=feature.name, min_value=feature.min_distinct)
            )
    return expected


def distances(case: UseCase, reference: Reference, rows: pl.LazyFrame) -> pl.DataFrame:
    """How far each day of ``rows`` is from what a model was trained on: one row a day, each feature's PSI a column.

    The features are those that the model takes, whatever the spec says today. Rows are read some days at a time.
    """
    from include.ml import dataset, metrics
    from include.ml.reference import features_of

    found, taken = [], features_of(reference)
    columns = dict.fromkeys([case.day, *(feature.name for feature in taken)])
    a_day = rows.group_by(case.day).len().sort(case.day).collect(engine="streaming")
    for days in dataset.parts(a_day.rows()):
        part = dataset.between(case, rows, days).select(*columns).collect(engine="streaming").sort(case.day)
        for (day,), of_day in part.group_by(case.day, maintain_order=True):
            values = dataset.matrix(taken, of_day)
            psi = {case.day: day}
            for column, name in enumerate(feature.name for feature in taken):
                expected = reference["features"][name]
                actual = metrics.shares(metrics.bin_counts(values[:, column], expected["edges"]))
                psi[name] = metrics.psi(expected["shares"], actual)
            found.append(psi)
    return pl.DataFrame(found)


def distance_suite(case: UseCase, reference: Reference) -> list[Expectation]:
    """The expectations for ``distances``: no day is farther away than days may be.

    Raises NoLimitsError for a reference that was made before it told how far the days of its training set lie.
    """
    from great_expectations import expectations as gxe

    from include.ml.reference import features_of

    names = [feature.name for feature in features_of(reference)]
    if lacking := [name for name in names if "day_psi_limit" not in reference["features"][name]]:
        raise NoLimitsError(
            f"the champion of {case.name} was registered before a reference said how far apart its days lie, for "
            f"these features: {len(lacking)}, the first {lacking[0]}. Train a version with the DAG "
            f"{case.name}_train, and clear this run when that is champion"
        )

    def limit(name: str) -> float:
        return float(reference["features"][name]["day_psi_limit"]) + PSI_MARGIN

    return [gxe.ExpectColumnMaxToBeBetween(column=name, max_value=round(limit(name), 3)) for name in names]


def audit(name: str, build: dbt.Build) -> None:
    """Check the features that ``build`` made for the use case ``name``. Raises GateFailedError naming columns.

    First each row for itself; then, where there is a champion, each day beside the days that it was trained on. Of
    days on which every source is closed there may be no rows at all.
    """
    case, nights = use_case(name), Partitions.parse(build["nights"])
    table = f"gold.{case.features_table}"
    rows = candidate.rows(dbt.candidate_for(table, build))
    ahead = nights.shift(case.horizon_days)
    is_empty = rows.head(1).collect().is_empty()
    if is_empty and not any(source(name).is_open(day) for name in case.sources for day in ahead.days):
        print(f"{ahead} is closed: there is nothing to predict")
        return
    gate.check(table, nights.key, rows, suite(case))
    if not is_empty:
        _audit_distances(case, table, rows)


def _audit_distances(case: UseCase, table: str, rows: pl.LazyFrame) -> None:
    """Compare each day of ``rows`` with what its own champion was trained on: the one that scores it."""
    from include.ml import ledger

    decided = ledger.read(case)
    every_day = rows.select(pl.col(case.day).unique().sort()).collect(engine="streaming").to_series()
    for champion, group in groupby(every_day, key=lambda day: ledger.pick(decided, day)):
        days = list(group)
        if champion is None:
            print(f"{Partitions(days[0], days[-1])} has no champion, whose training set it could be compared with")
        else:
            _audit_distances_from(champion, case, table, Partitions(days[0], days[-1]), rows)


def _audit_distances_from(champion: Champion, case: UseCase, table: str, days: Partitions, rows: pl.LazyFrame) -> None:
    from include.ml import dataset, model_files
    from include.ml.reference import features_of

    reference = model_files.load_reference(case, champion)
    expected, taken = distance_suite(case, reference), features_of(reference)
    who = f"version {champion.model_version} of {case.name}, which is champion of {days},"
    dataset.check_columns(case, rows.collect_schema().names(), taken, who=who)
    if new := sorted(set(case.feature_names) - {feature.name for feature in taken}):
        print(f"{who} does not take {', '.join(new)}, so that there is nothing to compare them with")
    nights = days.shift(-case.horizon_days)
    measured = distances(case, reference, dataset.between(case, rows, (days.first, days.last)))
    gate.check(f"{table}.psi", nights.key, measured.lazy(), expected)
