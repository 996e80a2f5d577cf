"""Point-in-time join: for each row of a spine (entity, timestamp), what feature tables said as was known at that time.

A fact has an event time, when it was so, and a time from which it was known. It counts from the later of the two:
neither a late fact nor a plan is seen too early. Of the facts that count at a cut-off the one with the latest event
time wins, of several versions of it the one known last. An ASOF join alone does not do that: on the event time it sees
facts before they arrive, on the arrival it prefers what came last to what was so last.

So the facts are put in the order in which they begin to count, and only each entity's *frontier* is kept: the facts
with no later event time before them. Proof that the last fact of the frontier that counts at a cut-off is the winner:
(1) a fact off the frontier has one before it that counts wherever it does, with a later event time: it never wins;
(2) along the frontier the event time never falls, and where it stays the order is that of arrival: the last one wins.
A single ASOF join on the time of counting finds that last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from include.core.errors import NeedsAttentionError

# Names of the columns of the narrow frames that are sorted and joined. No name of a table or a spine gets in there.
ROW, CUT_OFF, EVENT, KNOWN, COUNTS = "row", "cut_off", "event", "known", "counts"


class UnfitInputError(NeedsAttentionError):
    """A spine or a feature table that cannot be joined; the message names table, column and what to do."""


@dataclass(frozen=True)
class FeatureTable:
    """Facts about entities, and how to read them.

    Attributes:
        name: what the table's columns are prefixed with in the result, as ``<name>__<column>``.
        rows: the facts, in any order. One row per entity, event time and time of arrival.
        entity: the columns that name the entity, here and in the spine. At least one.
        event_time: the column with the time at which a fact was so.
        known_from: the column with the time from which it was known; without one, it was known at once.
        time_to_live: how long after its event time a fact counts, the last moment included; without one, for ever. A
            duration, not a number of dates: a day has 24 hours on the days that clocks change too.
        columns: what is wanted of the winning fact, times included; without a choice, all but the entity.
    """

    name: str
    rows: pl.LazyFrame
    entity: tuple[str, ...]
    event_time: str
    known_from: str | None = None
    time_to_live: timedelta | None = None
    columns: tuple[str, ...] | None = None

    @property
    def times(self) -> list[str]:
        """The columns that hold times."""
        return [self.event_time, *([self.known_from] if self.known_from else [])]


def join(
    spine: pl.DataFrame, tables: Sequence[FeatureTable], *, allow_exact_matches: bool, timestamp: str = "timestamp"
) -> pl.DataFrame:
    """The spine, each row once and in its order, with the columns of what each table knew at the row's timestamp.

    With ``allow_exact_matches`` a fact that begins to count at the timestamp itself is seen, else only what counts
    before it. Null where an entity has no fact yet or the latest has expired; a null in the winning fact stays null,
    and is not filled from an older one. Times are instants with a time zone, to the microsecond.

    One table is in memory at a time. Raises UnfitInputError for a missing column, a type that cannot be compared, a
    null in a key or a time, and for two facts of one entity with the same times, of which none is the later one.
    """
    schema = spine.collect_schema()
    _check_columns("the spine", schema, [timestamp, *(key for table in tables for key in table.entity)])
    _check_instants("the spine", schema, [timestamp])
    _check_no_nulls("the spine", spine, [timestamp, *(key for table in tables for key in table.entity)])
    cut_offs = {
        entity: spine.select(*_keys(entity), _instant(timestamp).alias(CUT_OFF))
        .with_row_index(ROW)
        # Neighbours ask for the same entity: two to three times as fast to look up as in the order of time alone.
        .sort(*_key_names(entity), CUT_OFF)
        for entity in {table.entity for table in tables}
    }
    found = [spine]
    for table in tables:
        columns = _wanted(table, schema)
        rows = table.rows.select(list(dict.fromkeys([*table.entity, *table.times, *columns]))).collect()
        winners = _winners(cut_offs[table.entity], rows, table, allow_exact_matches)
        found.append(rows.select(pl.col(column).gather(winners).alias(f"{table.name}__{column}") for column in columns))
    names = [name for frame in found for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UnfitInputError(
            f"the result would have two columns {', '.join(twice)}: rename a table or a column of the spine"
        )
    return pl.concat(found, how="horizontal")


def _winners(cut_offs: pl.DataFrame, rows: pl.DataFrame, table: FeatureTable, allow_exact_matches: bool) -> pl.Series:
    """For each cut-off, in the order of the spine, the number of the row that wins, or null."""
    where, keys = f"table {table.name}", _key_names(table.entity)
    _check_no_nulls(where, rows, [*table.entity, *table.times])
    facts = rows.select(*_keys(table.entity), _instant(table.event_time).alias(EVENT)).with_row_index(ROW)
    if table.known_from:
        facts = facts.with_columns(rows.select(_instant(table.known_from).alias(KNOWN)))
        facts = facts.with_columns(pl.max_horizontal(EVENT, KNOWN).alias(COUNTS)).sort(COUNTS, EVENT, KNOWN)
        _check_no_twins(facts, rows, table, [EVENT, KNOWN])
        facts = facts.filter(pl.col(EVENT) == pl.col(EVENT).cum_max().over(keys))
    else:
        facts = facts.sort(EVENT)
        _check_no_twins(facts, rows, table, [EVENT])
        facts = facts.with_columns(pl.col(EVENT).alias(COUNTS))
    # Only numbers of rows travel through sort and join; the values of those that won are fetched at the end.
    matched = (
        cut_offs.lazy()
        .join_asof(
            facts.lazy().select(*keys, COUNTS, EVENT, pl.col(ROW).alias("winner")),
            left_on=CUT_OFF,
            right_on=COUNTS,
            by=keys,
            coalesce=False,
            allow_exact_matches=allow_exact_matches,
            check_sortedness=False,  # cannot be checked by group; both sides have just been sorted
        )
        .select(ROW, "winner", (pl.col(CUT_OFF) - pl.col(EVENT)).alias("age"))
        .collect(engine="streaming")
        .sort(ROW)
    )
    if table.time_to_live is None:
        return matched["winner"]
    # All that an expired winner hid is older still: nothing else can count.
    fresh = pl.when(pl.col("age") <= table.time_to_live).then("winner")
    return matched.select(fresh.alias("winner"))["winner"]


def _keys(entity: Sequence[str]) -> Iterable[pl.Expr]:
    return (pl.col(name).alias(key) for name, key in zip(entity, _key_names(entity), strict=True))


def _key_names(entity: Sequence[str]) -> list[str]:
    return [f"key_{n}" for n in range(len(entity))]


def _instant(column: str) -> pl.Expr:
    return pl.col(column).dt.convert_time_zone("UTC").dt.cast_time_unit("us")


def _wanted(table: FeatureTable, spine: Mapping[str, pl.DataType]) -> Sequence[str]:
    """The columns of ``table`` that the result has. Raises UnfitInputError where its columns do not do."""
    where, schema = f"table {table.name}", table.rows.collect_schema()
    if not table.entity:
        raise UnfitInputError(f"{where} names no entity: name the columns that it has in common with the spine")
    if table.time_to_live is not None and table.time_to_live <= timedelta(0):
        raise UnfitInputError(
            f"{where}: time_to_live is {table.time_to_live}; give a positive duration, or None for ever"
        )
    columns = [name for name in schema if name not in table.entity] if table.columns is None else table.columns
    _check_columns(where, schema, [*table.entity, *table.times, *columns])
    _check_instants(where, schema, table.times)
    for name in table.entity:
        if spine[name] != schema[name]:
            raise UnfitInputError(
                f"{name} is {spine[name]} in the spine and {schema[name]} in {where}: cast one of them"
            )
        if schema[name].is_float() or schema[name].is_nested():
            raise UnfitInputError(f"{name} is {schema[name]}, which is no key: cast it to an integer or a string")
    return columns


def _check_columns(where: str, schema: Mapping[str, pl.DataType], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in schema:
            raise UnfitInputError(f"{where} has no column {name}; it has {', '.join(schema) or 'none'}")


def _check_instants(where: str, schema: Mapping[str, pl.DataType], columns: Sequence[str]) -> None:
    for name in columns:
        dtype = schema[name]
        if not isinstance(dtype, pl.Datetime):
            raise UnfitInputError(
                f"{name} of {where} is {dtype}: make it a Datetime with a time zone, the instant meant"
            )
        if dtype.time_zone is None:
            raise UnfitInputError(
                f"{name} of {where} has no time zone: say which with dt.replace_time_zone, such as 'UTC'"
            )
        if dtype.time_unit == "ns":
            raise UnfitInputError(
                f"{name} of {where} is in nanoseconds, which the lake does not keep: round it as it is meant, with "
                "dt.cast_time_unit('us') towards the past"
            )


def _check_no_nulls(where: str, frame: pl.DataFrame, columns: Sequence[str]) -> None:
    for name in columns:
        if nulls := frame[name].null_count():
            raise UnfitInputError(
                f"{where} has {nulls} rows without {name}: fill them, or filter them out before the join"
            )


def _check_no_twins(facts: pl.DataFrame, rows: pl.DataFrame, table: FeatureTable, times: Sequence[str]) -> None:
    """Raise UnfitInputError where two of ``facts``, sorted by time, have the same entity and the same times."""
    # Twins have the times of a neighbour. Few facts have, so that few entities are compared.
    as_before = pl.all_horizontal(pl.col(time) == pl.col(time).shift() for time in times).fill_null(False)
    alike = facts.filter(as_before | as_before.shift(-1, fill_value=False))
    twins = alike.filter(alike.select(*_key_names(table.entity), *times).is_duplicated())
    if twins.height:
        first = rows.select(*table.entity, *table.times)[twins[ROW].sort()].row(0, named=True)
        raise UnfitInputError(
            f"table {table.name} has more than one row for {', '.join(f'{k}={v}' for k, v in first.items())} "
            f"({twins.height} such rows in all): nothing says which counts; keep one of them"
        )
