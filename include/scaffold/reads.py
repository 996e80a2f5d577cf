"""The core models that a use case reads: that of its entity, and those of further sources with what joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from include.contracts.source import Feed, Mode, Source
from include.scaffold import guesses, tables
from include.scaffold.errors import ScaffoldError
from include.scaffold.expressions import KINDS
from include.scaffold.source import core_of
from include.scaffold.tables import NUMBERS, Table

MOST_LETTERS = 24  # of a prefix, which stands before the names of columns
MOST_MEASURES = 8  # of which features are made; each has several a look-back
# Columns that the models have beside those of the core models.
INNER = (
    *("n", "event_date", "days_ahead", "labels", "label_mean"),
    *("place", "known_on", "replaced_on", "predicted_on", "taken_on"),
)


@dataclass(frozen=True)
class Read:
    """A core model that features are made of.

    Attributes:
        columns: of it, each with the column of the entity that it is equal to; none where a row is for all of a day.
        prefix: what the names of its features begin with; nothing for the model of the entity.
        left_out: a column of which no feature is made, since it is the label.
        mode: how the files of its feed add up. Of snapshots and of changes, the newest value of a column says how
            something is, and a sum over days says nothing.
        sequence, op, deletes: of changes, which column orders them, which says what was done, and what a delete is.
        vocabularies: the closed sets of texts, by column.
    """

    source: Source
    table: Table
    columns: Mapping[str, str]
    prefix: str = ""
    left_out: str = ""
    mode: Mode = Mode.PARTITION
    sequence: str = ""
    op: str = ""
    deletes: tuple[str, ...] = ()
    vocabularies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def cte(self) -> str:
        """What the names of its parts in SQL begin with."""
        return f"{self.prefix}_" if self.prefix else ""

    @property
    def is_changes(self) -> bool:
        return self.mode is Mode.UPSERT

    @property
    def is_summed(self) -> bool:
        """Whether its numbers are added up: a fee that each day's table says again is paid once."""
        return self.mode is Mode.PARTITION

    @property
    def thing(self) -> tuple[str, ...]:
        """The columns that name what a row is about, where its key says it beside the day and the sequence."""
        return tuple(name for name in self.table.key if name not in (self.table.day, self.sequence))

    @property
    def _free(self) -> list[str]:
        out = {*self.columns, self.table.day, "ingestion_date", self.left_out, self.op, self.sequence}
        return [name for name in self.table.columns if name not in out]

    @property
    def numbers(self) -> list[str]:
        """The columns with numbers that features are made of. What is part of a key is a name."""
        found = [name for name in self._free if self.table.kind(name) in NUMBERS and name not in self.table.key]
        return found[:MOST_MEASURES]

    @property
    def flags(self) -> list[str]:
        """The columns that say yes or no."""
        flags = [name for name in self._free if self.table.kind(name) == "boolean"]
        return flags[: max(0, MOST_MEASURES - len(self.numbers))]

    @property
    def texts(self) -> list[str]:
        """The columns with a closed set of texts, where the newest of them is a feature."""
        return [name for name in self._free if name in self.vocabularies] if self.has_newest else []

    @property
    def has_newest(self) -> bool:
        """Whether one value of a column is the newest: of things that are told apart by the columns of the entity."""
        return self.mode is not Mode.PARTITION and bool(self.thing) and set(self.thing) <= set(self.columns)

    @property
    def newest(self) -> dict[str, str]:
        """The columns whose newest value is a feature, each with its SQL."""
        if not self.has_newest:
            return {}
        return (
            {name: f"cast({name} as double)" for name in self.numbers}
            | {name: f"cast({name} as int)" for name in self.flags}
            | {name: name for name in self.texts}
        )

    @property
    def hashed(self) -> list[str]:
        """The texts of too many values to list that come again: of each the bucket of the newest is a feature.

        Of rows that are for all of a day none is the newest, unless there is one a day.
        """
        if not self.columns and not self.one_row:
            return []
        out = {*self.table.key, *self.texts}
        found = [name for name in self._free if name in self.table.recurring and self.table.kind(name) == "string"]
        return [name for name in found if name not in out][:MOST_MEASURES]

    @property
    def has_place(self) -> bool:
        """Whether its newest row is the one with the highest sequence, since something is read from that."""
        return self.is_changes and self.has_newest and bool(self.newest or self.hashed)

    @property
    def one_row(self) -> bool:
        """Whether there is one row at most for what is joined, on a day."""
        return bool(self.table.key) and set(self.table.key) <= {*self.columns, self.table.day}


def of_entity(source: Source, table: Table, entity: Sequence[str], label: str) -> Read:
    """The model with the entity's rows; ``label`` is the column that is predicted, where it is one."""
    return _with_feed(Read(source, table, {name: name for name in entity}, left_out=label))


def _with_feed(read: Read) -> Read:
    """``read`` with what the feed of its model says, where it has one alone."""
    feed = next((one for one in read.source.feeds if core_of(read.source.name, one) == read.table.name), None)
    if feed is None:
        return read
    return Read(
        read.source,
        read.table,
        read.columns,
        read.prefix,
        read.left_out,
        mode=feed.mode,
        sequence=feed.sequence,
        op=feed.op,
        deletes=_deletes(feed),
        vocabularies={column.name: column.values for column in feed.columns if column.values},
    )


def _deletes(feed: Feed) -> tuple[str, ...]:
    """The values of the column ``op`` that say that something is gone."""
    values = next((column.values for column in feed.columns if column.name == feed.op), ())
    return tuple(one for one in values if one.lower() in guesses.DELETES) or guesses.DELETES


def further(root: Path, others: Sequence[Source], join: Sequence[str], main: Read) -> list[Read]:
    """The core model of each of the sources ``others`` that goes with the entity of ``main``.

    ``join`` says what is equal, as ``clicks.client=customer``: the source or its core model, a column of that, and one
    of the entity. What is not said is found by equal names. Raises ScaffoldError where that does not lead to one model.
    """
    said = [_parsed(one) for one in join]
    there = {one.name: tables.of_source(root, one.name) for one in others}
    known = [one for name in there for one in (name, *(table.name for table in there[name]))]
    if odd := [of for of, _, _ in said if of not in known]:
        raise ScaffoldError(f"join=: {odd[0]} is none of the further sources or their core models: {', '.join(known)}")
    found = []
    for other in others:
        name = other.name
        own = [one for one in said if one[0] == name or one[0] in [table.name for table in there[name]]]
        table, columns = _as_said(name, there[name], own, main) if own else _by_name(name, there[name], main)
        prefix = table.name.removeprefix("fct_").removeprefix(f"{name}_")[:MOST_LETTERS].rstrip("_")
        found.append(_with_feed(Read(other, table, columns, prefix)))
    return found


def _parsed(text: str) -> tuple[str, str, str]:
    left, _, right = text.partition("=")
    of, _, column = left.strip().partition(".")
    if not (of and column and right.strip()):
        raise ScaffoldError(f"join={text!r}: say it as clicks.client=customer: source, its column, the entity's column")
    return of, column, right.strip()


def _as_said(
    name: str, there: Sequence[Table], said: Sequence[tuple[str, str, str]], main: Read
) -> tuple[Table, dict[str, str]]:
    """The model that has the columns that a person named, and these. Raises ScaffoldError."""
    wanted = {column for _, column, _ in said}
    named = {of for of, _, _ in said} - {name}
    fit = [table for table in there if wanted <= set(table.columns) and named <= {table.name}]
    if len(fit) != 1:
        shown = "; ".join(f"{table.name} ({', '.join(table.columns)})" for table in there)
        which = f"{' and '.join(one.name for one in fit)} have" if fit else "no core model has"
        raise ScaffoldError(
            f"join=: {which} the columns {', '.join(sorted(wanted))}. Name the model, as {there[0].name}.column=…. "
            f"{name} has {shown}"
        )
    table, columns = fit[0], dict[str, str]()
    for _, own, other in said:
        if (own, other) == (table.day, main.table.day):  # which is always so
            continue
        if other not in main.columns:
            raise ScaffoldError(f"join=: {other} is no column of the entity, which is {', '.join(main.columns)}")
        if _kind(table, own) != _kind(main.table, other):
            raise ScaffoldError(
                f"join=: {table.name}.{own} is a {table.columns[own]} and {other} is a {main.table.columns[other]}: "
                "only values of one kind are equal"
            )
        columns[own] = other
    return table, columns


def _by_name(name: str, there: Sequence[Table], main: Read) -> tuple[Table, dict[str, str]]:
    """The model with most columns of the entity, and these. Raises ScaffoldError with the candidates."""
    shared = {table.name: [one for one in main.columns if _is_shared(table, one, main.table)] for table in there}
    most = max(map(len, shared.values()))
    fit = [table for table in there if len(shared[table.name]) == most]
    if not most:
        like = [
            f"{table.name}.{own}={other}"
            for table in there
            for own in table.columns
            for other in main.columns
            if own not in (table.day, "ingestion_date") and _kind(table, own) == _kind(main.table, other)
        ]
        of_day = [f"{table.name}.{table.day}={main.table.day}" for table in there]
        raise ScaffoldError(
            f"source={name}: no core model of it has a column of the entity ({', '.join(main.columns)}). Say what is "
            f"equal: join={' or '.join(like) or '…'}; or, where a row is for all of a day, join={' or '.join(of_day)}"
        )
    if len(fit) > 1:
        ways = " or ".join(f"join={table.name}.{shared[table.name][0]}={shared[table.name][0]}" for table in fit)
        raise ScaffoldError(
            f"source={name}: {', '.join(one.name for one in fit)} have columns of the entity. Say {ways}"
        )
    return fit[0], {one: one for one in shared[fit[0].name]}


def _is_shared(table: Table, column: str, of: Table) -> bool:
    return column in table.columns and column != table.day and _kind(table, column) == _kind(of, column)


def _kind(table: Table, column: str) -> str:
    return KINDS.get(table.kind(column), table.columns[column])


def check_columns(what: str, table: Table, columns: Sequence[str]) -> None:
    """Raise ScaffoldError for columns by which no two things are told apart, or that the models name their own so."""
    kinds = {name: table.kind(name) for name in columns}
    if odd := [name for name, kind in kinds.items() if kind in ("double", "float")]:
        raise ScaffoldError(
            f"{what}={odd[0]}: it is a {kinds[odd[0]]}, and two of these are hardly ever equal. If it names something, "
            "say string in the spec of the source and its models"
        )
    if set(kinds.values()) == {"boolean"}:
        raise ScaffoldError(f"{what}={','.join(columns)}: yes or no names no thing; add a column")
    measured = [name for name in table.columns if table.kind(name) in (*NUMBERS, "boolean")]
    inner = {*INNER, *(f"{name}_{end}" for name in measured for end in ("total", "known"))}
    inner |= {f"{name}_newest" for name in table.columns}
    if taken := sorted((inner - {table.day}) & set(columns)):
        raise ScaffoldError(
            f"{what}={taken[0]}: the models have a column of that name for themselves: call it otherwise in the spec "
            f"of the source, with source_name={taken[0]!r}, and in its models"
        )
