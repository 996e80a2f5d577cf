"""The feature catalogue as pages that people read: ``make catalogue`` writes ``docs/features/<use_case>.md``.

What a feature *is* (meaning, type, unit, as-of rule, look-back) is written beside its dbt model, in the ``.yml``; what
a model *expects* of it (kind, range, vocabulary), in the spec of its use case. Here the two are put together, without
running dbt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from include.contracts.use_case import Feature, UseCase
from include.core.errors import NeedsAttentionError
from include.core.settings import settings
from include.lake import described
from include.use_cases import use_cases

NUMBERS = ("smallint", "int", "bigint", "float", "double", "decimal", "boolean")
"""The types of a column that a numeric feature may have."""

MOST_LEVELS = 50
"""So many levels of a category a page shows in full."""


class BlankError(NeedsAttentionError):
    """dbt's metadata and the spec of a use case do not make a catalogue; the message lists why."""


@dataclass(frozen=True)
class Entry:
    """One feature.

    Attributes:
        feature: what a model expects of it.
        type: of the column, as Spark names it.
        unit: what a value counts.
        as_of: the rule by which its value is one that was known in time, by the rule's name.
        look_back_days: how many days before the row's own it draws on; 0 where it is no matter of days.
    """

    feature: Feature
    meaning: str
    type: str
    unit: str
    as_of: str
    look_back_days: int


@dataclass(frozen=True)
class Catalogue:
    """The features of a use case.

    Attributes:
        meaning: of the features table.
        columns: what its other columns mean, and its label, by name.
        freshness_hours: so many hours after the midnight that ends a night its rows are published.
        rules: the as-of rules in words, by name.
        entries: in the order of the spec.
    """

    case: UseCase
    meaning: str
    columns: dict[str, str]
    freshness_hours: int
    rules: dict[str, str]
    entries: tuple[Entry, ...]

    @property
    def look_back_days(self) -> int:
        """The longest look-back of a feature."""
        return max(entry.look_back_days for entry in self.entries)


def drawn_days(case: UseCase) -> dict[str, tuple[int, int]]:
    """The silver tables whose days of a limited time back the features draw on: the first and the last of these days.

    Counted from a row's own day, as ``draws_on`` of the features model has them. Raises BlankError where it has none.
    """
    draws_on = described.meta(described.models(case).get(case.features_table, {})).get("draws_on") or {}
    found = {table: (first, last) for table, (first, last) in draws_on.items() if first is not None}
    if not found:
        raise BlankError(f"{case.features_table}: its .yml does not say which days of which tables it `draws_on`")
    return found


def read(case: UseCase) -> Catalogue:
    """The catalogue of ``case``. Raises BlankError where something is not said, or said differently in two places."""
    found = described.models(case)
    for name in (case.features_table, case.labels_table):
        if name not in found:
            raise BlankError(
                f"no dbt model {name} is described in dbt_project/models/marts/use_cases/{case.name}/*.yml"
            )
    table, labels = found[case.features_table], found[case.labels_table]
    if wrong := problems(case, table):
        raise BlankError(f"{case.features_table}: {'; '.join(wrong)}. Mend dbt's .yml or the spec of {case.name}")
    columns, features, meta = (
        described.columns(table),
        set(case.feature_names) - set(case.entity),
        described.meta(table),
    )
    return Catalogue(
        case=case,
        meaning=table["description"],
        columns={
            name: column["description"]
            for name, column in (described.columns(labels) | columns).items()
            if name not in features
        },
        freshness_hours=meta["freshness_hours"],
        rules=meta["as_of"],
        entries=tuple(
            Entry(feature, column["description"], column["data_type"], **described.meta(column))
            for feature in case.features
            for column in [columns[feature.name]]
        ),
    )


def problems(case: UseCase, table: dict[str, Any]) -> list[str]:
    """What the description ``table`` of a features model lacks, or says otherwise than the spec of ``case``."""
    columns, meta = described.columns(table), described.meta(table)
    wrong = []
    if not isinstance(hours := meta.get("freshness_hours"), int) or hours <= 0:
        wrong.append("does not say within how many freshness_hours it is published")
    rules = meta.get("as_of") or {}
    expected = {*case.entity, case.day, *case.context, *case.feature_names}
    wrong += [f"has no column {name}" for name in sorted(expected - set(columns))]
    wrong += [f"{name} is neither a feature nor context in the spec" for name in sorted(set(columns) - expected)]
    for feature in case.features:
        if feature.name in columns:
            wrong += [f"{feature.name} {problem}" for problem in _of_feature(feature, columns[feature.name], rules)]
    used = {described.meta(column).get("as_of") for column in columns.values()}
    return wrong + [f"as-of rule {name} is nobody's" for name in rules if name not in used]


def _of_feature(feature: Feature, column: dict[str, Any], rules: dict[str, str]) -> list[str]:
    meta = described.meta(column)
    wrong = [f"has no {fact}" for fact in ("description", "data_type") if not str(column.get(fact) or "").strip()]
    wrong += [f"has no {fact}" for fact in ("unit", "as_of", "look_back_days") if meta.get(fact) in (None, "")]
    wrong += [f"says {fact}, which nobody reads" for fact in sorted(set(meta) - {"unit", "as_of", "look_back_days"})]
    if meta.get("as_of") and meta["as_of"] not in rules:
        wrong.append(f"goes by the as-of rule {meta['as_of']}, which is not written")
    if not isinstance(days := meta.get("look_back_days", 0), int) or days < 0:
        wrong.append(f"looks back {days} days")
    numeric = str(column.get("data_type")).partition("(")[0] in NUMBERS
    if numeric != (feature.kind == "numeric"):
        wrong.append(f"is {column.get('data_type')}, and {feature.kind} in the spec")
    return wrong


def page_of(case: UseCase) -> Path:
    """Where the page of ``case`` is."""
    return settings().home / "docs" / "features" / f"{case.name}.md"


def page(catalogue: Catalogue) -> str:
    """The catalogue in Markdown: what the rows are, who answers for them, and the features by their as-of rules."""
    case, columns = catalogue.case, catalogue.columns
    others = (*case.entity, case.day, *case.context)
    lines = [
        f"# Features of {case.name}",
        "",
        f"{catalogue.meaning} Made by `make catalogue` from `dbt_project/models/marts/use_cases/{case.name}/`, which "
        f"says what a feature is, and from `include/use_cases/{case.name}/spec.py`, which says what the model expects "
        "of it. `make features` prints which versions of the model use a feature, and what it gives them.",
        "",
        "| | |",
        "|---|---|",
        f"| for | {case.description} |",
        f"| table | `gold.{case.features_table}`, written by dbt on Spark |",
        *(f"| `{name}` | {columns[name]} |" for name in others),
        f"| label | `gold.{case.labels_table}`, `{case.label}`: {columns[case.label]} |",
        f"| owner | {case.owner} |",
        f"| freshness objective | a night's rows, which are of {_later(case.horizon_days)}, within "
        f"{catalogue.freshness_hours} h of the midnight that ends the night |",
        f"| longest look-back | {catalogue.look_back_days} days |",
        "",
    ]
    for name, rule in catalogue.rules.items():
        lines += [
            f"## As of: {name}",
            "",
            f"{rule[0].upper()}{rule[1:]}.",
            "",
            "| feature | | type | unit | look-back | the model expects |",
            "|---|---|---|---|---|---|",
            *(
                f"| {entry.feature.name} | {entry.meaning} | {entry.type} | {entry.unit} | "
                f"{look_back(entry.look_back_days)} | {expected(entry.feature)} |"
                for entry in catalogue.entries
                if entry.as_of == name
            ),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def _later(days: int) -> str:
    return {0: "its own day", 1: "the day after"}.get(days, f"{days} days later")


def look_back(days: int) -> str:
    """How far a feature looks back, in words; empty where it does not."""
    return {0: "", 1: "1 day"}.get(days, f"{days} days")


def expected(feature: Feature) -> str:
    """What values a model expects, in words; the feature gate refuses others."""
    if feature.kind == "categorical":
        values = f"{levels(feature.vocabulary)}; anything else is `{feature.levels[-1]}`"
    elif feature.low is not None and feature.high is not None:
        values = f"{feature.low:g} to {feature.high:g}"
    elif feature.low is not None:
        values = f"at least {feature.low:g}"
    elif feature.high is not None:
        values = f"at most {feature.high:g}"
    else:
        values = "any number"
    parts = [values]
    if feature.min_distinct > 1:
        parts.append(f"at least {feature.min_distinct} different ones a night")
    if feature.nullable:
        parts.append("may be missing")
    return "; ".join(parts)


def levels(vocabulary: Sequence[str]) -> str:
    """The levels of a category in words; of a long vocabulary the first and the last, and how many there are."""
    if len(vocabulary) <= MOST_LEVELS:
        return ", ".join(vocabulary)
    return f"{', '.join(vocabulary[:3])} … {vocabulary[-1]} ({len(vocabulary)} levels)"


def write() -> list[Path]:
    """Write every page. Returns where they are. Raises BlankError."""
    texts = {page_of(case): page(read(case)) for case in use_cases().values()}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return list(texts)
