"""``make use-case``: from five answers to a use case that runs, with everything to be thought about marked."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from include.contracts.source import Source
from include.contracts.use_case import UNKNOWN, Multiclass, UseCase
from include.core.letters import plain_letters
from include.ml import dataset
from include.scaffold import expressions, reads, tables
from include.scaffold.errors import ScaffoldError
from include.scaffold.expressions import JINJA, Expression
from include.scaffold.names import check_name, why_reserved, words
from include.scaffold.reads import Read
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
LABEL_KINDS = {"binary": ("condition", "number"), "regression": ("number",), "multiclass": ("text",)}
EVER = 3653  # days: a change counts however old it is, and those of ten years are waited for and traced
MOST_ROWS = 10  # without what the label asks for, for each with it, in the made-up table of an oracle
MADE_UP = 9  # the largest number that the made-up table of an oracle has in any case
BUCKETS = 64  # of a text of too many values to list
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
        "cool_down_days=91, max_age_days=365",
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
        "cool_down_days=275, max_age_days=731, budget_days=1096",
    ),
}


@dataclass(frozen=True)
class Case:
    """The answers, checked against the sources.

    Attributes:
        reads: the core models that features are made of; entity and label are of the first.
        label: an aggregate over rows of an entity, which for a column is that of its rows on the day.
        label_days: D + this is the partition in which the label of event date D is known.
        window_days: the label looks at rows of the event date and of so many days after it.
        population: the condition on a row by which its entity is one to predict; None: any row.
        population_table: the core model whose rows are the population, instead; each is known before its day.
    """

    name: str
    reads: tuple[Read, ...]
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
    def main(self) -> Read:
        return self.reads[0]

    @property
    def table(self) -> Table:
        return self.main.table

    @property
    def sources(self) -> list[Source]:
        return [read.source for read in self.reads]

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
    def entity_values(self) -> list[str]:
        """The columns of the entity of too many values to list: labels of the same value tell of each."""
        return [name for name in self.entity if name in self.table.many_values]


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
    further: Sequence[str] = (),
    join: Sequence[str] = (),
) -> Written:
    """Write the use case ``name``: spec, model card, DAGs, dbt models and an oracle. Raises ScaffoldError; nothing is
    written then.

    ``label`` is a column of the core model, or an aggregate over its rows of an entity. ``population`` is a condition
    on its rows, or another core model of the source. ``every`` is day, week or month. ``further`` are other sources
    of which features are made too, and ``join`` says which of their columns is which of the entity's, as
    ``clicks.client=customer``, where they have other names.
    """
    case = _checked(root, name, source, task, label, entity, label_days, population, table, classes, every, owner)
    case = replace(case, reads=(case.main, *_further(root, case, further, join)))
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
    reads.check_columns("entity", core, entity)
    said = expressions.read("label", label, core.columns, core.name)
    if not said.is_column and not said.has_aggregate:
        raise ScaffoldError(f"label={label!r} says nothing of many rows: use count, sum, avg, min or max")
    label_name = said.columns[0] if said.is_column else LABEL
    aggregated = _aggregate(said, core, task, entity) if said.is_column else said
    if aggregated.kind not in LABEL_KINDS[task]:
        wanted = " or a ".join(LABEL_KINDS[task])
        raise ScaffoldError(f"label={label!r} is a {aggregated.kind}, and a label of {task} is a {wanted}")
    main = reads.of_entity(sources()[source], core, entity, label_name)
    is_table = next((one for one in there if one.name == population), None)
    if is_table and (odd := sorted({*entity, core.day} - set(is_table.columns))):
        raise ScaffoldError(f"population={population}: it has no column {odd[0]}")
    return Case(
        name=name,
        reads=(main,),
        task=task,
        entity=tuple(entity),
        label=aggregated,
        label_name=label_name,
        label_days=label_days,
        window_days=0 if said.is_column else label_days,
        population=_condition(population, main) if population and not is_table else None,
        population_table=is_table,
        classes=_classes(task, classes, said, sources()[source]),
        every=EVERY[every],
        owner=owner,
    )


def _further(root: Path, case: Case, names: Sequence[str], join: Sequence[str]) -> list[Read]:
    """What is read of further sources. Raises ScaffoldError."""
    every = [case.main.source.name, *names]
    if odd := [one for one in names if one not in sources()]:
        raise ScaffoldError(f"source={odd[0]}: there is no such source; there are {', '.join(sources())}")
    if len(set(every)) < len(every):
        raise ScaffoldError(f"source={','.join(every)}: each once")
    if join and not names:
        raise ScaffoldError(f"join={join[0]}: there is one source alone. Say the further ones: source={every[0]},…")
    found = reads.further(root, [sources()[one] for one in names], join, case.main)
    for one in found:
        reads.check_columns("join", one.table, list(one.columns))
    return found


def _condition(population: str, main: Read) -> Expression:
    """The condition on a row of the entity's model by which it is one to predict. Raises ScaffoldError."""
    found = expressions.read("population", population, main.table.columns, main.table.name)
    if found.has_aggregate:
        raise ScaffoldError(f"population={population!r} is of single rows: no aggregate")
    if found.kind != "condition":
        raise ScaffoldError(f"population={population!r} is a {found.kind}, and no condition as channel <> 'phone'")
    if not main.is_summed and (taken := sorted(set(reads.INNER) & set(found.columns))):
        raise ScaffoldError(f"population={population!r}: the models have a column {taken[0]} for themselves")
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


def _classes(task: str, said: Sequence[str], label: Expression, source: Source) -> tuple[str, ...]:
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


def features_of(case: Case) -> list[Feature]:
    """The features that a first night can stand on: counts, sums, means, recency, past labels, the day of the week."""
    main, *others = case.reads
    found = list[Feature]()
    for days in case.look_backs:
        found += [*_of_rows(main, days), *_of_past_labels(case, days)]
    most = max(case.look_backs)
    found += [_recency(main, most), *_newest(main, most)]
    if case.task == "multiclass":
        back = most + case.label_days
        text = f"the newest label of the event dates {back} to {case.label_days + 1} days before"
        # A feature has the level `unknown` anyway, whether the label has it too or not.
        found.append(
            Feature(f"{case.label_name}_last", "string", text, "class", "outcomes", back, one_of(case.classes))
        )
    found += [*_of_values(case), *_buckets(main, most)]
    for read in others:
        its = [one for days in case.look_backs for one in _of_rows(read, days)]
        its += [_recency(read, most), *_newest(read, most), *_buckets(read, most)]
        found += [replace(one, name=f"{read.prefix}_{one.name}") for one in its]
    found.append(case.every.when)
    names = [*case.entity, case.day, "known_from", case.label_name, *(one.name for one in found)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScaffoldError(f"two columns would be named {twice[0]}: give the column of {case.table.name} another name")
    return found


def one_of(values: Sequence[str]) -> str:
    """The arguments of a feature that is one of ``values``."""
    return f'"categorical", vocabulary={tuple(one for one in values if one != UNKNOWN)!r}'


def _of_rows(read: Read, days: int) -> list[Feature]:
    """Counts, sums, means and shares of the rows of the last ``days``."""
    of, text, none = words(read.table.name), f"in the {_days(days)} before", "null where there was none"
    found = [Feature(f"rows_{days}d", "bigint", f"number of rows of {of} {text}", "row", "history", days, "low=0")]
    for name in read.numbers:
        value = f"{words(name)} {text}; {none}"
        if read.is_summed:
            found.append(Feature(f"{name}_sum_{days}d", "double", f"sum of {value}", words(name), "history", days))
        found.append(Feature(f"{name}_mean_{days}d", "double", f"mean of {value}", words(name), "history", days))
    for name in read.flags:
        share = f"share of rows that are {words(name)} {text}; {none}"
        found.append(Feature(f"{name}_share_{days}d", "double", share, "share of rows", "history", days, SHARE))
    return found


def _recency(read: Read, most: int) -> Feature:
    of = words(read.table.name)
    if read.is_changes:
        text = f"days since the last row of {of}; null where there was none"
        return Feature("days_since_last", "int", text, "day", "state", 0, "low=1")
    since = f"days since the last row of {of}, of the {_days(most)} before; null where there was none"
    return Feature("days_since_last", "int", since, "day", "history", most, f"low=1, high={most}")


def _newest(read: Read, most: int) -> list[Feature]:
    """How something is, by its newest row: of changes the newest of all, of snapshots that of the longest look-back."""
    as_of, days = ("state", 0) if read.is_changes else ("history", most)
    found = []
    for name in read.newest:
        kind, unit, spec = "double", words(name), ""
        if name in read.flags:
            kind, unit, spec = "int", "yes or no", "low=0, high=1"
        elif name in read.texts:
            kind, unit, spec = "string", "class", one_of(read.vocabularies[name])
        found.append(Feature(f"{name}_last", kind, f"{words(name)} in the newest row", unit, as_of, days, spec))
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


def _of_values(case: Case) -> list[Feature]:
    """What tells of a column of the entity that no vocabulary can list: earlier labels of its values."""
    back, found = max(case.look_backs) + case.label_days, list[Feature]()
    window = f"of the event dates {back} to {case.label_days + 1} days before"
    for name in case.entity_values:
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
    return found


def _buckets(read: Read, most: int) -> list[Feature]:
    """What tells of a text that no vocabulary can list: the bucket of the newest."""
    as_of, days = ("state", 0) if read.is_changes else ("history", most)
    of_rows = "" if read.is_changes else f" in the {_days(most)} before"
    spec = f'"categorical", vocabulary=buckets({BUCKETS})'
    found = []
    for name in read.hashed:
        text = f"bucket of the newest {words(name)}{of_rows}, one of {BUCKETS}; null where none was"
        found.append(Feature(f"{name}_last_bucket", "string", text, "bucket", as_of, days, spec))
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
            # Over many days one that is asked for in each third row would be there always.
            often = tuple(one for one in texts if one not in case.label.compared(name))
            found[name] = ("a", "b", *often) * min(max(1, case.window_days // 2), MOST_ROWS) + tuple(
                one for one in texts if one not in often
            )
        elif kind in NUMBERS and largest >= MADE_UP:
            found[name] = tuple(int(part * largest) for part in (0, 0.1, 0.3, 0.6, 1, 1.5))
    if case.main.op:
        found[case.main.op] = ("changed", "changed", *case.main.deletes[:1])
    return found


def _training_days(case: Case) -> date:
    return _begin(case) + timedelta(case.reach_days + 1)


def _begin(case: Case) -> date:
    """The first day that all sources have."""
    return max(one.first_day for one in case.sources)


def _files(case: Case, marks: Marks) -> dict[str, str | bytes]:
    sql, label_type = label_sql(case)
    found_features, entity_values = features_of(case), case.entity_values
    values: dict[str, Any] = {
        "case": case,
        "name": case.name,
        "words": words(case.name).capitalize(),
        "sources": [one.name for one in case.sources],
        "main": case.main,
        "reads": case.reads,
        "begin": _begin(case),
        "table": case.table,
        "entity": case.entity,
        "day": case.day,
        "label": case.label_name,
        "label_sql": sql,
        "label_type": label_type,
        "label_python": case.label.in_python(),
        "asked": _asked(case),
        "population_sql": case.population.sql if case.population else "",
        "population_python": case.population.in_python() if case.population else "True",
        "look_backs": case.look_backs,
        "longest": max(case.look_backs),
        "label_days": case.label_days,
        "entity_values": entity_values,
        "known": [f"{one}.known_from" for one in _parts(case)],
        "buckets": BUCKETS,
        "many": MANY_VALUES,
        "hashed": [f"{read.cte}{name}" for read in case.reads for name in read.hashed],
        "features": found_features,
        "back": _back(case),
        "rules": {one.as_of for one in found_features},
        "baseline": baseline_of(case),
        "first_day": _training_days(case),
        "noqa": _noqa,
        "classes": slugs(case.classes),
        "classes_in_sql": {slug: sql_text(one) for slug, one in slugs(case.classes).items()},
        "deletes": ", ".join(map(sql_text, case.main.deletes)),
        "values_of_test": values_of_test(case),
        "keys": (*case.entity, case.day),
        "same": lambda one, other, names: [f"{one}.{name} = {other}.{name}" for name in names],
        "of": lambda table: ", ".join(f"{table}.{name}" for name in (*case.entity, case.day)),
        "joined": lambda read: _joined(case, read),
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


def _back(case: Case) -> dict[str, int]:
    """How many days back each core model is looked at."""
    longest = max(case.look_backs)
    days = {read.table.name: EVER if read.is_changes else longest for read in case.reads}
    return days if case.main.is_changes else days | {case.table.name: case.reach_days + 1}


def _asked(case: Case) -> list[str]:
    """The columns of the entity's model by which it is said who is to be predicted."""
    of_condition = case.population.columns if case.population else ()
    return list(dict.fromkeys([*case.entity, *([case.main.op] if case.main.op else []), *of_condition]))


def _parts(case: Case) -> list[str]:
    """What a row of features draws on beside the population, each with the night from which it was known."""
    return [*(f"{read.cte}history" for read in case.reads), "past", *(f"by_{name}" for name in case.entity_values)]


def _joined(case: Case, read: Read) -> list[str]:
    """By what rows of ``daily`` go with a row of the population."""
    its, own = f"population.{case.day}", f"daily.{read.table.day}"
    recent = [] if read.is_changes else [f"{own} >= date_sub({its}, {{{{ longest }}}})"]
    same = [f"population.{other} = daily.{one}" for one, other in read.columns.items()]
    return [*same, *recent, f"{its} > {own}", f"{its} > daily.ingestion_date"]


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
    """The first partition in which enough labels are known to train on, where no day of the sources is missing.

    ``spec`` is the text of the use case's spec.
    """
    made = spec_of(spec, case.name)
    begin = made.training.first_day
    days = [begin + timedelta(n) for n in range(MOST_DAYS)]
    absent = {
        day for day in days if not (case.every.is_event_date(day) and all(one.is_open(day) for one in case.sources))
    }

    def suffices(night: date) -> bool:
        try:
            dataset.training_range(made, night, absent)
        except dataset.DataMissingError:
            return False
        return True

    return days[bisect_left(days, True, hi=len(days) - 1, key=suffices)]


def _following(case: Case, first: date) -> list[str]:
    history = [f"source={one.name} from={one.first_day} to=<the last day that has landed>" for one in case.sources]
    return [
        "make catalogue  # the pages of its features and its DAGs",
        "make check",
        *(f"make backfill {one} at_once=1" for one in history),
        f"make train use_case={case.name} partition=<the same day; {first} is the first with enough to learn from>",
        f"make backtest use_case={case.name}  # whether the monitor is quiet on this history, and finds what is broken",
    ]
