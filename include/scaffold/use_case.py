"""``make use-case``: from five answers to a use case that runs, with everything to be thought about marked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from include.contracts.source import Source
from include.contracts.use_case import UNKNOWN, Multiclass, UseCase
from include.core.letters import plain_letters
from include.ml import dataset
from include.scaffold import expressions, tables
from include.scaffold.errors import ScaffoldError
from include.scaffold.expressions import JINJA, Expression
from include.scaffold.names import check_name, why_reserved, words
from include.scaffold.rendering import Marks, render
from include.scaffold.source import Written
from include.scaffold.tables import MANY_VALUES, NUMBERS, WHOLE, Table
from include.scaffold.writing import write_all
from include.sources import sources
from include.use_cases import use_cases

TASKS = ("binary", "multiclass", "regression")
LABEL = "label"  # what the label is called where it is no column
SHARE = "low=0, high=1"
MOST_DAYS = 3653  # after which a training has enough days, or never will
MOST_MEASURES = 8  # of which features are made; each has several a look-back
LABEL_KINDS = {"binary": ("condition", "number"), "regression": ("number",), "multiclass": ("text",)}
MADE_UP = 9  # the largest number that the made-up table of an oracle has in any case
BUCKETS = 64  # of a text of too many values to list
# columns that the models have beside those of the core model
INNER = ("n", "event_date", "days_ahead", "labels", "label_mean")
UNWRITABLE = re.compile(rf"[\x00-\x1f\x7f]|{JINJA.pattern}")
"""What in a class would end a line, or be dbt's."""


@dataclass(frozen=True)
class Feature:
    """A feature as the scaffold writes it: the facts of its column, and its further arguments in the spec."""

    name: str
    type: str
    description: str
    unit: str
    as_of: str
    look_back_days: int
    spec: str = ""


WEEKDAY = Feature(
    "day_of_week",
    "int",
    "weekday of the event date: 1 is Sunday, 7 is Saturday",
    "weekday",
    "calendar",
    0,
    "low=1, high=7, nullable=False",
)
MONTH = Feature(
    "month_of_year", "int", "month of the event date", "month", "calendar", 0, "low=1, high=12, nullable=False"
)


@dataclass(frozen=True)
class Every:
    """How often an entity has an event date.

    Attributes:
        look_backs: those that suit it, in days.
        condition, python: which days of the calendar are event dates, in SQL and in Python.
        is_event_date: the same, to be called.
        when: the feature that says when in the week, or in the year, an event date is.
        when_sql, when_python: the function of SQL that gives it, and the same of ``day`` in Python.
        training: what of ``Training`` is not as for an event date a day. Parts of it are numbers of event dates.
        drift: what of ``DriftPolicy`` is not.
    """

    look_backs: tuple[int, ...]
    condition: str
    python: str
    is_event_date: Callable[[date], bool]
    when: Feature
    when_sql: str
    when_python: str
    training: str = ""
    drift: str = ""


EVERY = {
    "day": Every((1, 7, 28), "", "True", lambda day: True, WEEKDAY, "dayofweek", "day.isoweekday() % 7 + 1"),
    "week": Every(
        (7, 28, 91),
        "dayofweek(event_date) = 2",
        "day.isoweekday() == 1",
        lambda day: day.isoweekday() == 1,
        MONTH,
        "month",
        "day.month",
        "window_days=1096, holdout_days=8, min_train_days=26",
        "drift_window_days=56, quality_window_days=91, cool_down_days=91, max_age_days=365",
    ),
    "month": Every(
        (31, 92, 366),
        "dayofmonth(event_date) = 1",
        "day.day == 1",
        lambda day: day.day == 1,
        MONTH,
        "month",
        "day.month",
        "window_days=3653, holdout_days=6, min_train_days=18",
        "drift_window_days=184, quality_window_days=366, cool_down_days=275, max_age_days=731",
    ),
}


@dataclass(frozen=True)
class Case:
    """The answers, checked against the source.

    Attributes:
        label: an aggregate over rows of an entity, which for a column is that of its rows on the day.
        label_days: D + this is the partition in which the label of event date D is known.
        window_days: the label looks at rows of the event date and of so many days after it.
        population: the condition on a row by which its entity is one to predict; None: any row.
        population_table: the core model whose rows are the population, instead; each is known before its day.
    """

    name: str
    source: Source
    table: Table
    task: str
    entity: tuple[str, ...]
    label: Expression
    label_name: str
    label_days: int
    window_days: int
    population: Expression | None
    population_table: Table | None
    classes: tuple[str, ...]
    every: Every
    owner: str

    @property
    def day(self) -> str:
        return self.table.day

    @property
    def look_backs(self) -> tuple[int, ...]:
        return self.every.look_backs

    @property
    def seen_days(self) -> int:
        """So many days after its last row an entity is still one to predict."""
        return max(self.look_backs)

    @property
    def reach_days(self) -> int:
        """So many days before the first one of a run a row can still matter: look-back, label, and population."""
        return max(self.look_backs) + self.label_days + self.seen_days

    @property
    def measures(self) -> tuple[list[str], list[str]]:
        """The columns that features are made of: numbers, and yes or no. The past of the label has its own rule."""
        out = {*self.entity, self.day, "ingestion_date", self.label_name}
        free = [name for name in self.table.columns if name not in out]
        numbers = [name for name in free if self.table.kind(name) in NUMBERS and name not in self.table.key]
        flags = [name for name in free if self.table.kind(name) == "boolean"]
        return numbers[:MOST_MEASURES], flags[: max(0, MOST_MEASURES - len(numbers))]

    @property
    def many_values(self) -> tuple[list[str], list[str]]:
        """Columns of too many values to list: those of the entity, and texts of its rows that come again."""
        out = {*self.entity, *self.table.key, self.label_name}
        texts = [name for name in self.table.recurring if name not in out and self.table.kind(name) == "string"]
        return [name for name in self.entity if name in self.table.many_values], texts[:MOST_MEASURES]


def make(
    root: Path,
    name: str,
    *,
    source: str,
    task: str,
    label: str,
    entity: Sequence[str],
    label_days: int = 0,
    population: str = "",
    table: str = "",
    classes: Sequence[str] = (),
    every: str = "day",
    owner: str = "data-science",
) -> Written:
    """Write the use case ``name``: spec, model card, DAGs, dbt models and an oracle. Raises ScaffoldError; nothing is
    written then.

    ``label`` is a column of the core model, or an aggregate over its rows of an entity. ``population`` is a condition
    on its rows, or another core model of the source. ``every`` is day, week or month.
    """
    case = _checked(root, name, source, task, label, entity, label_days, population, table, classes, every, owner)
    marks = Marks("THINK")
    files = _files(case, marks)
    first = first_training(case, str(files[f"include/use_cases/{name}/spec.py"]))
    return Written(write_all(root, files), marks.said, _following(case, first))


def _checked(
    root: Path,
    name: str,
    source: str,
    task: str,
    label: str,
    entity: Sequence[str],
    label_days: int,
    population: str,
    table: str,
    classes: Sequence[str],
    every: str,
    owner: str,
) -> Case:
    check_name("use case", name)
    if name in use_cases():
        raise ScaffoldError(f"use case {name!r}: there is one already, in include/use_cases/{name}")
    if name in sources():
        raise ScaffoldError(f"use case {name!r}: a source is called so; tables and pages would be mixed up")
    if source not in sources():
        raise ScaffoldError(f"source={source}: there is no such source; there are {', '.join(sources())}")
    if task not in TASKS:
        raise ScaffoldError(f"task={task}: it is one of {', '.join(TASKS)}")
    if every not in EVERY:
        raise ScaffoldError(f"every={every}: it is one of {', '.join(EVERY)}")
    if label_days < 0:
        raise ScaffoldError(f"label_days={label_days}: a label is known on its event date or later")
    if not entity or len(set(entity)) < len(entity):
        raise ScaffoldError("entity=: say the columns that name one thing to predict, each once")
    there = tables.of_source(root, source)
    core = tables.choose(there, entity, table)
    _check_entity(core, entity)
    said = expressions.read("label", label, core.columns, core.name)
    if not said.is_column and not said.has_aggregate:
        raise ScaffoldError(f"label={label!r} says nothing of many rows: use count, sum, avg, min or max")
    label_name = said.columns[0] if said.is_column else LABEL
    aggregated = _aggregate(said, core, task, entity) if said.is_column else said
    if aggregated.kind not in LABEL_KINDS[task]:
        wanted = " or a ".join(LABEL_KINDS[task])
        raise ScaffoldError(f"label={label!r} is a {aggregated.kind}, and a label of {task} is a {wanted}")
    is_table = next((one for one in there if one.name == population), None)
    if is_table and (odd := sorted({*entity, core.day} - set(is_table.columns))):
        raise ScaffoldError(f"population={population}: it has no column {odd[0]}")
    return Case(
        name=name,
        source=sources()[source],
        table=core,
        task=task,
        entity=tuple(entity),
        label=aggregated,
        label_name=label_name,
        label_days=label_days,
        window_days=0 if said.is_column else label_days,
        population=_condition(population, core) if population and not is_table else None,
        population_table=is_table,
        classes=_classes(task, classes, said, sources()[source], core),
        every=EVERY[every],
        owner=owner,
    )


def _condition(population: str, table: Table) -> Expression:
    """The condition on a row of ``table`` by which its entity is one to predict. Raises ScaffoldError."""
    found = expressions.read("population", population, table.columns, table.name)
    if found.has_aggregate:
        raise ScaffoldError(f"population={population!r} is of single rows: no aggregate")
    if found.kind != "condition":
        raise ScaffoldError(f"population={population!r} is a {found.kind}, and no condition as channel <> 'phone'")
    return found


def _aggregate(column: Expression, table: Table, task: str, entity: Sequence[str]) -> Expression:
    """The label of a day where it is a column: its one value, or of a yes-or-no one whether any row says yes."""
    (name,) = column.columns
    kind = table.kind(name)
    if name in (*entity, table.day, "ingestion_date"):
        raise ScaffoldError(f"label={name}: it is known beforehand, since it is part of what is predicted")
    allowed = {"binary": ("boolean", *WHOLE), "regression": NUMBERS, "multiclass": ("string",)}[task]
    if kind not in allowed:
        raise ScaffoldError(f"label={name} is of the type {kind}, and a label of {task} is {' or '.join(allowed)}")
    if why := why_reserved(name):
        raise ScaffoldError(f"label={name}: {why}")
    is_one_row = bool(table.key) and set(table.key) <= {*entity, table.day}
    if not is_one_row and task != "binary":
        ways = f"label='sum({name})' or label='avg({name})'" if task == "regression" else f"label='max({name})'"
        raise ScaffoldError(
            f"label={name}: an entity {', '.join(entity)} may have several rows on a day (the key of {table.name} is "
            f"{', '.join(table.key) or 'none'}). Say what becomes of them: {ways}"
        )
    return expressions.read("label", f"max({name})", table.columns, table.name)


def _classes(task: str, said: Sequence[str], label: Expression, source: Source, table: Table) -> tuple[str, ...]:
    if task != "multiclass":
        if said:
            raise ScaffoldError(f"classes=: {task} has none")
        return ()
    known = [
        column.values
        for feed in source.feeds
        for column in feed.columns
        if column.name in label.columns and column.values
    ]
    found = tuple(said) or (known[0] if known else ())
    if len(found) < 2 or len(set(found)) < len(found):
        raise ScaffoldError(f"classes=: which values can {label.sql} have? Say at least two: classes=low,middle,high")
    if odd := [one for one in found if UNWRITABLE.search(one)]:
        raise ScaffoldError(
            f"classes=: {odd[0]!r} has signs that end a line, or that dbt takes for its own: give it another name in "
            "the sample and at the upstream"
        )
    try:
        Multiclass(found)
    except ValueError as error:
        raise ScaffoldError(f"classes=: {error}") from None
    return found


def _check_entity(table: Table, entity: Sequence[str]) -> None:
    """Raise ScaffoldError for columns by which no two things are told apart, or that the models name their own so."""
    kinds = {name: table.kind(name) for name in entity}
    if odd := [name for name, kind in kinds.items() if kind in ("double", "float")]:
        raise ScaffoldError(
            f"entity={odd[0]}: it is a {kinds[odd[0]]}, and two of these are hardly ever equal. If it names something, "
            "say string in the spec of the source and its models"
        )
    if set(kinds.values()) == {"boolean"}:
        raise ScaffoldError(f"entity={','.join(entity)}: yes or no names no thing; add a column")
    numbers_and_flags = [name for name in table.columns if table.kind(name) in (*NUMBERS, "boolean")]
    inner = {*INNER, *(f"{name}_{end}" for name in numbers_and_flags for end in ("total", "known"))} - {table.day}
    inner |= {f"{name}_newest" for name in table.recurring}
    if taken := sorted(inner & set(entity)):
        raise ScaffoldError(
            f"entity={taken[0]}: the models have a column of that name for themselves: call it otherwise in the spec "
            f"of the source, with source_name={taken[0]!r}, and in its models"
        )


def features_of(case: Case) -> list[Feature]:
    """The features that a first night can stand on: counts, sums, means, recency, past labels, the day of the week."""
    of, (numbers, flags), found = words(case.table.name), case.measures, list[Feature]()
    for days in case.look_backs:
        text = f"in the {_days(days)} before"
        none = "null where there was none"
        rows = f"number of rows of {of} {text}"
        found.append(Feature(f"rows_{days}d", "bigint", rows, "row", "history", days, "low=0"))
        for name in numbers:
            value = f"{words(name)} {text}; {none}"
            found.append(Feature(f"{name}_sum_{days}d", "double", f"sum of {value}", words(name), "history", days))
            found.append(Feature(f"{name}_mean_{days}d", "double", f"mean of {value}", words(name), "history", days))
        for name in flags:
            share = f"share of rows that are {words(name)} {text}; {none}"
            found.append(Feature(f"{name}_share_{days}d", "double", share, "share of rows", "history", days, SHARE))
        found += _of_past_labels(case, days)
    most = max(case.look_backs)
    since = f"days since the last row of {of}, of the {_days(most)} before; null where there was none"
    found.append(Feature("days_since_last", "int", since, "day", "history", most, f"low=1, high={most}"))
    if case.task == "multiclass":
        back = most + case.label_days
        text = f"the newest label of the event dates {back} to {case.label_days + 1} days before"
        # A feature has the level `unknown` anyway, whether the label has it too or not.
        levels = tuple(one for one in case.classes if one != UNKNOWN)
        categorical = f'"categorical", vocabulary={levels!r}'
        found.append(Feature(f"{case.label_name}_last", "string", text, "class", "outcomes", back, categorical))
    found += _of_many_values(case)
    found.append(case.every.when)
    names = [*case.entity, case.day, "known_from", case.label_name, *(one.name for one in found)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScaffoldError(f"two columns would be named {twice[0]}: give the column of {case.table.name} another name")
    return found


def _of_past_labels(case: Case, days: int) -> list[Feature]:
    """What became of the entity before, as far as it was known: a label of event date D is known in D + label_days."""
    back = days + case.label_days
    window = f"of the event dates {back} to {case.label_days + 1} days before; null where none was known"
    if case.task == "multiclass":
        return [
            Feature(
                f"{case.label_name}_{slug}_share_{back}d",
                "double",
                f"share of {one} among the labels {window}",
                "share of labels",
                "outcomes",
                back,
                SHARE,
            )
            for slug, one in slugs(case.classes).items()
        ]
    unit, spec = ("share of labels", SHARE) if case.task == "binary" else (words(case.label_name), "")
    text = f"mean {words(case.label_name)} {window}"
    return [Feature(f"{case.label_name}_mean_{back}d", "double", text, unit, "outcomes", back, spec)]


def _of_many_values(case: Case) -> list[Feature]:
    """What tells of a column that no vocabulary can list: earlier labels of its values, or the bucket of the newest."""
    entity, texts = case.many_values
    days = max(case.look_backs)
    back, found = days + case.label_days, list[Feature]()
    window = f"of the event dates {back} to {case.label_days + 1} days before"
    for name in entity:
        of = f"of all with the same {words(name)} {window}, drawn to that of all of them where these are few"
        if case.task == "multiclass":
            found += [
                Feature(
                    f"{name}_{case.label_name}_{slug}_share_{back}d",
                    "double",
                    f"share of {one} among the labels {of}",
                    "share of labels",
                    "values",
                    back,
                    SHARE,
                )
                for slug, one in slugs(case.classes).items()
            ]
        else:
            unit, spec = ("share of labels", SHARE) if case.task == "binary" else (words(case.label_name), "")
            text, column = f"mean {words(case.label_name)} {of}", f"{name}_{case.label_name}_mean_{back}d"
            found.append(Feature(column, "double", text, unit, "values", back, spec))
        count = f"number of labels of all with the same {words(name)} {window}"
        found.append(Feature(f"{name}_labels_{back}d", "bigint", count, "label", "values", back, "low=0"))
    for name in texts:
        text = f"bucket of the newest {words(name)} in the {_days(days)} before, one of {BUCKETS}; null where none was"
        spec = f'"categorical", vocabulary=buckets({BUCKETS})'
        found.append(Feature(f"{name}_last_bucket", "string", text, "bucket", "history", days, spec))
    return found


@cache
def _keywords() -> frozenset[str]:
    from sqlfluff.core.dialects import dialect_selector

    found = dialect_selector("sparksql")
    return frozenset(word.lower() for kind in ("reserved", "unreserved") for word in found.sets(f"{kind}_keywords"))


def _noqa(name: str) -> str:
    """What tells the linter that a column may be called ``name``, as ``day`` is; empty for other words."""
    return "  -- noqa: RF04" if name.lower() in _keywords() else ""


def slugs(classes: Sequence[str]) -> dict[str, str]:
    """Each class by what it is called as a part of a column's name, which needs no quotes in SQL."""
    found: dict[str, str] = {}
    for one in classes:
        word = re.sub(r"[^a-z0-9]+", "_", plain_letters(one).lower()).strip("_") or "class"
        own, n = word, 2
        while own in found:
            own, n = f"{word}_{n}", n + 1
        found[own] = one
    return found


def sql_text(text: str) -> str:
    """``text`` as a literal of SQL. Spark would read a doubled quote as two texts, one after the other."""
    quote = '"' if "'" in text and '"' not in text else "'"
    return quote + text.replace("\\", r"\\").replace(quote, f"\\{quote}") + quote


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


def baseline_of(case: Case) -> str:
    """The feature whose plain value is what a model has to beat."""
    if case.task == "multiclass":
        return f"{case.label_name}_last"
    look_back = case.look_backs[-1] if case.task == "binary" else case.look_backs[1]
    return f"{case.label_name}_mean_{look_back + case.label_days}d"


def label_sql(case: Case) -> tuple[str, str]:
    """The label as SQL over rows of ``facts``, and its type."""
    sql = case.label.qualified("facts")
    if case.task == "binary":
        if case.label.sql == f"max({case.label_name})" and case.table.kind(case.label_name) == "boolean":
            return f"max(cast(facts.{case.label_name} as int))", "int"
        return f"cast({sql} as int)", "int"
    return (sql, "string") if case.task == "multiclass" else (f"cast({sql} as double)", "double")


def values_of_test(case: Case) -> dict[str, tuple[Any, ...]]:
    """The values that the made-up table of the oracle has, by column, where the label or the population asks for some.

    With others the label would always be the same, or nobody would be in the population.
    """
    found: dict[str, tuple[Any, ...]] = {}
    asked = [one for one in (case.label, case.population) if one]
    largest = max(one.largest for one in asked)
    for name in dict.fromkeys(name for one in asked for name in one.columns):
        kind, texts = case.table.kind(name), [text for one in asked for text in one.compared(name)]
        if case.task == "multiclass" and name == case.label.columns[0]:
            found[name] = tuple(dict.fromkeys((*case.classes, *texts)))
        elif kind == "string" and texts:
            found[name] = tuple(dict.fromkeys(("a", "b", *texts)))
        elif kind in NUMBERS and largest >= MADE_UP:
            found[name] = tuple(int(part * largest) for part in (0, 0.1, 0.3, 0.6, 1, 1.5))
    return found


def _training_days(case: Case) -> date:
    return case.source.first_day + timedelta(case.reach_days + 1)


def _files(case: Case, marks: Marks) -> dict[str, str | bytes]:
    sql, label_type = label_sql(case)
    numbers, flags = case.measures
    entity_values, texts = case.many_values
    values: dict[str, Any] = {
        "case": case,
        "name": case.name,
        "words": words(case.name).capitalize(),
        "source": case.source.name,
        "table": case.table,
        "entity": case.entity,
        "day": case.day,
        "label": case.label_name,
        "label_sql": sql,
        "label_type": label_type,
        "label_python": case.label.in_python(),
        "population_sql": case.population.sql if case.population else "",
        "population_python": case.population.in_python() if case.population else "True",
        "look_backs": case.look_backs,
        "longest": max(case.look_backs),
        "label_days": case.label_days,
        "numbers": numbers,
        "flags": flags,
        "entity_values": entity_values,
        "known": [f"{one}.known_from" for one in ("history", "past", *(f"by_{name}" for name in entity_values))],
        "texts": texts,
        "buckets": BUCKETS,
        "many": MANY_VALUES,
        "features": features_of(case),
        "baseline": baseline_of(case),
        "first_day": _training_days(case),
        "noqa": _noqa,
        "classes": slugs(case.classes),
        "classes_in_sql": {slug: sql_text(one) for slug, one in slugs(case.classes).items()},
        "one_row": bool(case.table.key) and set(case.table.key) <= {*case.entity, case.day},
        "values_of_test": values_of_test(case),
        "keys": (*case.entity, case.day),
        "same": lambda one, other, names: [f"{one}.{name} = {other}.{name}" for name in names],
        "of": lambda table: ", ".join(f"{table}.{name}" for name in (*case.entity, case.day)),
        "mark": marks,
    }
    dbt, case_of = "dbt_project/models", f"{case.name}__"
    marts, middle = f"{dbt}/marts/use_cases/{case.name}", f"{dbt}/intermediate/{case.name}"
    # In the order in which a person reads them: the marks are numbered so.
    wanted = {
        f"include/use_cases/{case.name}/__init__.py": "__init__.py.j2",
        f"include/use_cases/{case.name}/spec.py": "spec.py.j2",
        f"{middle}/int_{case_of}population.sql": "population.sql.j2",
        f"{middle}/int_{case_of}outcomes.sql": "outcomes.sql.j2",
        f"{middle}/_{case_of}intermediate.yml": "intermediate.yml.j2",
        f"{marts}/{case_of}features.sql": "features.sql.j2",
        f"{marts}/{case_of}labels.sql": "labels.sql.j2",
        f"{marts}/_{case_of}models.yml": "models.yml.j2",
        f"{marts}/_{case_of}exposures.yml": "exposures.yml.j2",
        f"dags/use_cases/{case.name}.py": "dags.py.j2",
        f"include/use_cases/{case.name}/README.md": "README.md.j2",
        f"tests/use_cases/{case.name}/test_oracle.py": "test_oracle.py.j2",
    }
    found: dict[str, str | bytes] = {path: render(f"use_case/{of}", **values) for path, of in wanted.items()}
    spec_of(str(found[f"include/use_cases/{case.name}/spec.py"]), case.name)
    return found


def spec_of(text: str, name: str) -> UseCase:
    """The use case that the spec ``text`` makes. Raises ScaffoldError where it makes none."""
    names: dict[str, Any] = {}
    try:
        # The scaffold has written it: what it takes from a person or a file is quoted there.
        exec(compile(text, f"include/use_cases/{name}/spec.py", "exec"), names)  # noqa: S102
    except ValueError as error:
        raise ScaffoldError(f"the spec of {name} would not be one: {error}") from None
    found: UseCase = names["SPEC"]
    return found


def first_training(case: Case, spec: str) -> date:
    """The first partition in which enough labels are known to train on, where no day of the source is missing.

    ``spec`` is the text of the use case's spec.
    """
    made = spec_of(spec, case.name)
    begin = made.training.first_day
    days = [begin + timedelta(n) for n in range(MOST_DAYS)]
    absent = {day for day in days if not (case.every.is_event_date(day) and case.source.is_open(day))}

    def suffices(night: date) -> bool:
        try:
            dataset.training_range(made, night, absent)
        except dataset.DataMissingError:
            return False
        return True

    return days[bisect_left(days, True, hi=len(days) - 1, key=suffices)]


def _following(case: Case, first: date) -> list[str]:
    history = f"source={case.source.name} from={case.source.first_day} to=<the last day that has landed>"
    return [
        "make catalogue  # the pages of its features and its DAGs",
        "make check",
        f"make backfill {history} at_once=1",
        f"make train use_case={case.name} partition=<the same day; {first} is the first with enough to learn from>",
    ]
