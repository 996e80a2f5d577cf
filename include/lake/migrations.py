"""Brings a lake that an earlier release made to the layout of this one.

The lake says in ``_layout.json`` which layout it has. A step leads from one layout to the next: it names the tables it
would change (``plan`` looks, and changes nothing) and changes one of them in one commit, so that a kill leaves each
table as it was or as it becomes, and the version before stays readable. A step is safe to repeat: it does not plan what
is done. A change of layout is a function and a line in ``STEPS``; a column that a writer adds by itself needs none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.contracts.source import COMPLETENESS
from include.core.errors import NeedsAttentionError
from include.core.settings import Settings, settings
from include.core.storage import put

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from include.contracts.source import Feed

RECORD = "_layout.json"
BEFORE = "_migrating.json"
"""While steps are taken: the versions that all tables had before the first. A kill leaves it for the next try."""


class NewerLakeError(NeedsAttentionError):
    """The lake has a layout that this release does not know."""


class PutBackError(NeedsAttentionError):
    """A step failed, and what earlier ones have changed is as it was before them."""


class BrokenLedgerError(NeedsAttentionError):
    """A ledger is not as it was written."""


class UnknownTableError(NeedsAttentionError):
    """A table that a step has to change belongs to nothing that this release knows."""


@dataclass(frozen=True)
class Step:
    """From the layout before to ``version``.

    Attributes:
        what: the change, in a few words.
        plan: the tables that need it, as ``<layer>.<name>``; empty where none does.
        change: makes it in one table.
    """

    version: int
    what: str
    plan: Callable[[], list[str]]
    change: Callable[[str], None]


def layout(of: Settings) -> int:
    """The layout of the lake; 0 where it does not say. Needs no library, for those who only want to know."""
    return int(_record(of).get("version", 0))


def _record(of: Settings) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((of.lake / RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def is_under_way(of: Settings) -> bool:
    """Whether steps are being taken, or a kill has left them half-done: tables may be of two layouts."""
    return (of.lake / BEFORE).exists()


def changed_at() -> datetime | None:
    """When the last step that changed a table was taken; None where none ever has. What is older is of before it."""
    moments = [datetime.fromisoformat(one["at"]) for one in _record(settings()).get("steps", []) if one["tables"]]
    return max(moments, default=None)


def require_known(of: Settings) -> None:
    """Raise NewerLakeError where a newer release has written the lake."""
    if (there := layout(of)) > LAYOUT:
        raise NewerLakeError(
            f"the lake {of.lake} has layout {there}, and this release knows them up to {LAYOUT}: a newer one has "
            "written it. Check that one out again; nothing was changed"
        )


def migrate(dry_run: bool = False) -> list[str]:
    """Take every step that the lake has not taken yet. Returns a line for each table that was, or would be, changed.

    Nobody else may write meanwhile. Raises NewerLakeError, and, after all tables were put back as they were, what a
    step raises: as it is where nothing had been changed, else as PutBackError.
    """
    here = settings()
    require_known(here)
    if dry_run or layout(here) == LAYOUT:
        return _steps(here, dry_run)
    _note_before(here)
    try:
        lines = _steps(here, dry_run)
    except Exception as error:
        if not (back := _put_back(here)):
            raise
        raise PutBackError(
            f"{error} ({len(back)} tables had been changed, and hold again what they held before: the release before "
            "this one starts on them)"
        ) from error
    (here.lake / BEFORE).unlink()
    return lines


def _steps(here: Settings, dry_run: bool) -> list[str]:
    lines, record = list[str](), _record(here)
    for step in STEPS:
        if step.version <= record.get("version", 0):
            continue
        tables = step.plan()
        for table in tables:
            if not dry_run:
                step.change(table)
            lines.append(f"{table}: {step.what}")
        if not dry_run:
            taken = {"version": step.version, "at": datetime.now(UTC).isoformat(timespec="seconds"), "tables": tables}
            record = {"version": step.version, "steps": [*record.get("steps", []), taken]}
            put(here.lake / RECORD, json.dumps(record, indent=1) + "\n")
    return lines


def _note_before(of: Settings) -> None:
    """Write down how all is now, unless a try before this one was killed: how it was before that one counts."""
    if (of.lake / BEFORE).exists():
        return
    from include.lake import usage

    versions = {table: int(usage.opened(table).version()) for table in usage.tables()}
    put(of.lake / BEFORE, json.dumps({"layout": _record(of), "versions": versions}))


def _put_back(of: Settings) -> list[str]:
    """Make every table what it was before the first step, each in one commit. Returns those that were not."""
    from include.lake import usage

    before = json.loads((of.lake / BEFORE).read_text())
    changed = [one for one, version in before["versions"].items() if usage.opened(one).version() != version]
    for table in changed:
        usage.opened(table).restore(before["versions"][table])
    if before["layout"]:
        put(of.lake / RECORD, json.dumps(before["layout"], indent=1) + "\n")
    else:
        (of.lake / RECORD).unlink(missing_ok=True)
    (of.lake / BEFORE).unlink()
    return changed


def rewrite(table: str, columns: dict[str, str], *, without: Sequence[str] = (), by: Sequence[str] = ()) -> None:
    """Give ``table`` the ``columns``, each an SQL expression, take those in ``without``, and partition it ``by`` these.

    One commit on the version that was read; the rows pass through, they are never in memory all at once.
    """
    from deltalake import QueryBuilder

    from include.lake import usage

    there = usage.opened(table)
    kept = [field.name for field in there.schema().fields if field.name not in {*columns, *without}]
    wanted = [f'"{name}"' for name in kept] + [f'{value} AS "{name}"' for name, value in columns.items()]
    query = f"SELECT {', '.join(wanted)} FROM t"  # noqa: S608  # of columns that a migration and the table name
    rows = QueryBuilder().register("t", there).execute(query)
    overwrite(there, rows, list(by) or there.metadata().partition_columns)


def rename(table: str, names: dict[str, str]) -> None:
    """Give columns of ``table`` new names, by their old ones. The order of the columns stays, and the partitioning.

    One commit on the version that was read; the rows pass through, they are never in memory all at once.
    """
    from deltalake import QueryBuilder

    from include.lake import usage

    there = usage.opened(table)
    named = {field.name: names.get(field.name, field.name) for field in there.schema().fields}
    query = f"SELECT {', '.join(f'"{old}" AS "{new}"' for old, new in named.items())} FROM t"  # noqa: S608  # as above
    rows = QueryBuilder().register("t", there).execute(query)
    overwrite(there, rows, [named[column] for column in there.metadata().partition_columns])


def overwrite(there: DeltaTable, rows: Any, by: list[str]) -> None:
    """Make ``rows`` the whole of a table, in one commit on the version that was read."""
    from deltalake import write_deltalake

    write_deltalake(there, rows, mode="overwrite", schema_mode="overwrite", partition_by=by)


def _columns(table: str) -> set[str]:
    from include.lake import usage

    return {field.name for field in usage.opened(table).schema().fields}


def _lacking(tables: Sequence[str], column: str) -> list[str]:
    """Those of ``tables`` that are there and have a row without a value of ``column``, or no such column."""
    import polars as pl

    from include.lake import delta

    found = []
    for table in tables:
        if not delta.exists(*table.split(".")):
            continue
        layer, name = table.split(".")
        rows = delta.scan(layer, name)
        if column not in _columns(table) or rows.select(pl.col(column).is_null().any()).collect().item():
            found.append(table)
    return found


def _or(table: str, column: str, value: str) -> str:
    """``value`` where a row of ``table`` has none of ``column`` yet."""
    return f'coalesce("{column}", {value})' if column in _columns(table) else value


# --- 1: bronze by day and night (late rows) ---


def _by_day_alone() -> list[str]:
    from include.lake import usage

    bronze = [table for table in usage.tables() if table.startswith("bronze.")]
    return [table for table in bronze if usage.opened(table).metadata().partition_columns == ["partition_day"]]


def _feed_of(table: str) -> Feed:
    from include.contracts.source import table as table_of
    from include.sources import sources

    for source in sources().values():
        for feed in source.feeds:
            if table.removesuffix("__quarantine") == f"bronze.{table_of(source, feed)}":
                return feed
    raise UnknownTableError(
        f"{table} has to be brought to the layout of now and belongs to no feed of include/sources: put its spec back, "
        "or move its folder out of the lake"
    )


def _by_day_and_night(table: str) -> None:
    # Nothing was late then: each row came in its own day's file.
    night = f"CAST(partition_day - INTERVAL '{_feed_of(table).lead_days}' DAY AS DATE)"
    rewrite(table, {"ingestion_date": night}, by=("partition_day", "ingestion_date"))


# --- 2: completeness says how many rows were late, and which columns were new ---

COUNTS = {
    "late_published": "CAST(0 AS BIGINT)",
    "late_quarantined": "CAST(0 AS BIGINT)",
    "late_deduplicated": "CAST(0 AS BIGINT)",
    "added_columns": "''",
}


def _without_counts() -> list[str]:
    from include.lake import usage

    tables = [one for one in usage.tables() if one.startswith("bronze.") and one.endswith(COMPLETENESS)]
    return [one for one in tables if not _columns(one) >= COUNTS.keys()]


def _add_counts(table: str) -> None:
    there = _columns(table)
    rewrite(table, {name: value for name, value in COUNTS.items() if name not in there})


# --- 3: silver and the labels say in which night a row arrived ---

# The day of each, and how many days before it the row arrived: before late rows that was so of every row.
ARRIVED = {
    "silver.fct_flights": ("flight_date", 0),
    "silver.fct_scheduled_flights": ("flight_date", 1),
    "silver.fct_weather_hourly": ("weather_date", 0),
    "gold.flight_delays__labels": ("flight_date", 0),
}


def _without_night() -> list[str]:
    return [table for table in ARRIVED if _lacking([table], _arrival_of(table))]


def _arrival_of(table: str) -> str:
    # Step 6 gives it the name of now.
    from include.lake import delta

    return "night" if delta.exists(*table.split(".")) and "night" in _columns(table) else "ingestion_date"


def _add_night(table: str) -> None:
    (day, lead), column = ARRIVED[table], _arrival_of(table)
    rewrite(table, {column: _or(table, column, f"CAST({day} - INTERVAL '{lead}' DAY AS DATE)")})


# --- 4: features say from which night all their values were known ---

FEATURES = "gold.flight_delays__features"


def _add_known_from(table: str) -> None:
    # The schedule of a day comes the evening before it, and nothing later was looked at.
    known = _or(table, "known_from", "CAST(flight_date - INTERVAL '1' DAY AS DATE)")
    rewrite(table, {"known_from": known}, without=["history_through"])


# --- 5: the lines of ledgers are sealed one to the next ---

# What the lines of each kind are in the order of, where they are not numbered yet.
WRITTEN_AT = {"publications": "published_at", "removals": "at", "deployments": "decided_at"}


def _unsealed() -> list[str]:
    from include.lake import usage

    return _lacking([table for table in usage.tables() if _kind(table) in WRITTEN_AT], "seal")


def _kind(table: str) -> str:
    layer, name = table.split(".")
    return name if layer == "ledger" else name.rpartition("__")[2] if layer == "gold" else ""


def _seal(table: str) -> None:
    from include.lake import chain, delta, usage

    there = usage.opened(table)
    lines = delta.read_all(*table.split(".")).drop(chain.SEALS, strict=False)
    in_order = lines.sort(WRITTEN_AT[_kind(table)], *sorted(set(lines.columns) - {"paths"}), nulls_last=True)
    overwrite(there, chain.sealed(in_order, 0, chain.FIRST), [])


# --- 6: "night" has the names of what it is: when rows arrived, and which day a measurement is of ---


def _with_night() -> list[str]:
    from include.lake import usage

    return [table for table in usage.tables() if "night" in _columns(table)]


def _name_night(table: str) -> None:
    from include.lake.delta import FORMER_NAMES

    new = "partition_day" if table.endswith(("__monitoring", "__decisions")) else FORMER_NAMES["night"]
    if table == "ledger.publications":
        _name_in_ledger(table, new)
    else:
        rename(table, {"night": new})


def _name_in_ledger(table: str, new: str) -> None:
    """The seals are made of the names too, so the lines get new ones: only where the old ones hold."""
    import polars as pl

    from include.lake import chain, delta, usage

    there = usage.opened(table)
    lines = delta.read_all(*table.split(".")).sort("line")
    if found := chain.broken(lines):
        raise BrokenLedgerError(
            f"{table} was changed by hand, and is not sealed anew as if it had not been: {'; '.join(found[:3])}. Put "
            "the lines back as they were (`make verify` names them), then upgrade"
        )
    lines = lines.rename({"night": new}).drop(*chain.SEALS)
    if "columns" in lines.columns:
        lines = lines.with_columns(pl.col("columns").str.replace_all('"night"', f'"{new}"', literal=True))
    overwrite(there, chain.sealed(lines, 0, chain.FIRST), [])


STEPS = (
    Step(1, "by day and night of arrival", _by_day_alone, _by_day_and_night),
    Step(2, "counts of late rows, and added columns", _without_counts, _add_counts),
    Step(3, "the night in which each row arrived", _without_night, _add_night),
    Step(4, "from which night a row was known", lambda: _lacking([FEATURES], "known_from"), _add_known_from),
    Step(5, "lines sealed one to the next", _unsealed, _seal),
    Step(6, "the column night has the name of what it is", _with_night, _name_night),
)
LAYOUT = STEPS[-1].version
