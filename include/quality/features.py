"""The feature gate: what must hold for a day's features before anything is scored or trained on them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import polars as pl

from include.contracts.use_case import Feature, UseCase
from include.core.partitions import Partitions
from include.lake import candidate, dbt, delta, described, publish
from include.quality import acceptance, faults, gate, profiles
from include.sources import source
from include.use_cases import use_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from great_expectations.expectations import Expectation

    from include.lake.publish import Publication
    from include.quality.faults import Fault, Judged

KNOWN_FROM = "known_from"
"""The column of a features table that says from which night all values of a row were known."""

LEAST_IN_VOCABULARY = 0.95
"""The share of a categorical feature's values that must be in its vocabulary; the model takes the rest for unknown."""

FEW = 8
"""So many features are told one by one."""


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


def audit(name: str, build: dbt.Build) -> None:
    """Check the features that ``build`` made for the use case ``name``. Raises GateFailedError naming columns.

    First each row for itself; then each day beside the days before it, of which the profiles are kept. What they say of
    these days is a candidate of its own, which is published with the features. Of days on which every source is closed
    there may be no rows at all.
    """
    case, nights = use_case(name), Partitions.parse(build["nights"])
    table = f"gold.{case.features_table}"
    rows = candidate.rows(dbt.candidate_for(table, build))
    ahead = nights.shift(case.horizon_days)
    is_empty = rows.head(1).collect().is_empty()
    if is_empty and not any(source(name).is_open(day) for name in case.sources for day in ahead.days):
        print(f"{ahead} is closed: there is nothing to predict")
        _keep(case, build, pl.DataFrame(schema=profiles.SCHEMA))
        return
    try:
        gate.check(table, nights.key, rows, suite(case))
    except gate.GateFailedError as failed:
        acceptance.fail(case, ahead.days, str(failed).splitlines()[0])
        raise
    if is_empty:
        _keep(case, build, pl.DataFrame(schema=profiles.SCHEMA))
        return
    judged = compared(case, _taken(case, rows), rows)
    for line in _told(judged):
        print(line)
    _stop(case, table, nights, judged)
    _keep(case, build, judged.profiles)


def _taken(case: UseCase, rows: pl.LazyFrame) -> tuple[Feature, ...]:
    """What is compared: the features of the spec, and what the champions of these days take beside them.

    Raises DataMissingError where a column is not there that a champion takes.
    """
    from include.ml import dataset, ledger, model_files
    from include.ml.reference import features_of

    columns, decided = rows.collect_schema().names(), ledger.read(case)
    found = {feature.name: feature for feature in case.features if feature.name in columns}
    every_day = rows.select(pl.col(case.day).unique().sort()).collect(engine="streaming").to_series()
    for champion, group in groupby(every_day, key=lambda day: ledger.pick(decided, day)):
        if champion is None:
            continue
        days = list(group)
        taken = features_of(model_files.load_reference(case, champion))
        span = Partitions(days[0], days[-1])
        who = f"version {champion.model_version} of {case.name}, which is champion of {span},"
        dataset.check_columns(case, columns, taken, who=who)
        found = {feature.name: feature for feature in taken} | found
    return tuple(found.values())


def compared(case: UseCase, features: Sequence[Feature], rows: pl.LazyFrame) -> Judged:
    """Each day of ``rows`` beside the days before it, of those that are published and of ``rows`` themselves.

    Where days before them have features and no profiles, as in an installation older than these, they get them.
    """
    built = profiles.of_days(case, features, rows)
    days = built[profiles.DAY].unique().to_list()
    first, last = faults.window(days)
    lacking = [day for day in profiles.lacking(case, first, last) if day not in days]
    if lacking:
        _add_lacking(case, features, lacking)
    past = profiles.read(case, first, last).filter(~pl.col(profiles.DAY).is_in(days))
    # A feature that was taken once, and is not any more, is nobody's.
    past = past.filter(pl.col("feature").is_in([feature.name for feature in features]))
    found = pl.concat([past, built], how="diagonal").sort(profiles.DAY, maintain_order=True)
    return faults.judge(found, set(days), set(days), acceptance.of_days(case, days), described.units(case))


def _add_lacking(case: UseCase, features: Sequence[Feature], lacking: Sequence[date]) -> None:
    """Make the profiles of days whose features were published before there were any."""
    there = delta.scan_days("gold", case.features_table, min(lacking), max(lacking), day=case.day)
    columns = there.collect_schema().names()
    known = [feature for feature in features if feature.name in columns]
    made = profiles.of_days(case, known, there.filter(publish.within(case.day, lacking)))
    before = profiles.read(case, min(lacking), max(lacking))
    found = pl.concat([before, made], how="diagonal").sort(profiles.DAY, maintain_order=True)
    profiles.add(case, faults.judge(found, set(lacking), (), {}).profiles, "profiles of earlier days")
    print(f"{len(lacking)} earlier days have got profiles, {min(lacking)} to {max(lacking)}")


def _told(judged: Judged) -> Iterator[str]:
    """What was let through and not like the days before, a line each."""
    for fault in judged.accepted:
        yield f"accepted: {fault.said}"
    for fault in judged.told[:FEW]:
        yield f"not stopped, since too few days are known: {fault.said}"
    if (more := len(judged.told) - FEW) > 0:
        yield f"not stopped, since too few days are known: {more} more"


def _stop(case: UseCase, table: str, nights: Partitions, judged: Judged) -> None:
    """Have Great Expectations judge the scores, and say of what fails what it is. Raises GateFailedError."""
    from great_expectations import expectations as gxe

    acceptance.refuse(case, judged.faults)
    expected: list[Expectation] = [
        gxe.ExpectColumnMaxToBeBetween(column=name, max_value=1.0)
        for name in judged.scores.columns
        if name != profiles.DAY and judged.scores[name].count()
    ]
    said = {name: _said_of([one for one in judged.faults if one.feature == name]) for name in judged.scores.columns}
    gate.check(f"{table}.faults", nights.key, judged.scores.lazy(), expected, said, "\n" + to_do(case, judged.faults))


def _said_of(found: Sequence[Fault]) -> str:
    """What is said of the faults of one feature."""
    if len(found) < 2:
        return found[0].said if found else ""
    others = ", ".join(str(one.day) for one in found[1 : FEW + 1])
    more = f" and {len(found) - 1 - FEW} more" if len(found) - 1 > FEW else ""
    return f"{found[0].said}. And so, each unlike the days before it, on {others}{more}"


def to_do(case: UseCase, found: Iterable[Fault]) -> str:
    """What a person does about faults."""
    found = list(found)
    if not found:
        return ""
    nights = sorted({acceptance.night_of(case, fault.day) for fault in found})
    names = ",".join(dict.fromkeys(fault.feature for fault in found))
    return (
        "Mend what is before it, and clear the run from its first task. Where the world has really changed so: "
        f"make accept use_case={case.name} partition={Partitions(nights[0], nights[-1])} feature={names}"
    )


def _profiles_of(case: UseCase, build: dbt.Build) -> dbt.Candidate:
    """The candidate of the profiles: beside that of the features, and of the same days."""
    table = f"gold.{case.profiles_table}"
    features = next(one for one in dbt.candidates_of(build) if one.table == f"gold.{case.features_table}")
    suffix = features.name.removeprefix(candidate.name(features.table, ""))
    return dbt.Candidate(candidate.name(table, suffix), table, profiles.DAY, features.lead_days)


def _keep(case: UseCase, build: dbt.Build, found: pl.DataFrame) -> None:
    """Make ``found`` the candidate of the profiles, whatever an earlier try has left."""
    name = _profiles_of(case, build).name
    candidate.remove([name])
    candidate.write(name, [found])


def publish_built(
    name: str, build: dbt.Build, run: str = "by hand", also: dbt.Also = lambda build, run: ()
) -> list[Publication]:
    """Publish what ``build`` made for the use case ``name`` and the profiles that its audit has made, all at once.

    With the changes that ``also`` makes while nobody commits.
    """
    case = use_case(name)
    beside = _profiles_of(case, build)
    there = {beside: profiles.CHANGES} if candidate.exists(beside.name) else {}
    published = dbt.publish_built(f"{name}_features", build, run, also, there)
    candidate.remove([beside.name])
    return published
