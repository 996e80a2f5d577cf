"""What the ledgers say of who decided, brought into the audit log.

A ledger stays what it is: the line of the audit log points to the one that has the whole of it, by number and seal. So
whoever decides writes once, nothing of a night waits for the log, and what a kill has left out is brought by the next
look. As the log has seen each of these lines, it also tells when one is taken off a ledger's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from include.contracts.use_case import UseCase
from include.lake import audit, chain, delta, removals
from include.lake.audit import Entry
from include.ml import ledger as deployments
from include.quality import acceptance
from include.use_cases import use_cases

type Row = Mapping[str, Any]
ANSWERS = {"approve": "approval", "reject": "refusal", "timeout": "no answer"}


@dataclass(frozen=True)
class Ledger:
    """A ledger that says who decided, and what becomes of one of its lines: nothing where no person has a part in it.

    Attributes:
        moment: its column with the time.
        said: action, subject, who and detail of a line.
    """

    table: str
    moment: str
    said: Callable[[Row], tuple[str, str, str, str] | None]


def ledgers() -> Iterator[Ledger]:
    """All that decisions are in."""
    for case in use_cases().values():
        yield from _of_case(case)
    yield Ledger(f"{removals.LAYER}.{removals.NAME}", "at", _removal)


def _of_case(case: UseCase) -> Iterator[Ledger]:
    name = case.name

    def deployment(row: Row) -> tuple[str, str, str, str]:
        action = "rollback" if row["how"] == deployments.ROLLBACK else "promotion"
        how = f", {row['how']}" if row["how"] and action == "promotion" else ""
        return action, f"{name} version {row['model_version']}", row["decided_by"], f"from {row['effective_from']}{how}"

    def approval(row: Row) -> tuple[str, str, str, str]:
        action = ANSWERS.get(row["word"], "question")
        return action, f"{name} version {row['model_version']}", row["who"], f"request {row['request']}"

    def step(row: Row) -> tuple[str, str, str, str]:
        share = f", share {row['share']:.0%}" if row["share"] else ""
        detail = f"{row['stage']}{share} from {row['effective_from']}"
        return "rollout", f"{name} version {row['model_version']}", row["decided_by"], detail

    def fault(row: Row) -> tuple[str, str, str, str] | None:
        if row["word"] != "accept" or row["who"] == acceptance.GATE:
            return None
        return "acceptance", f"{name} {row['partition_day']}", row["who"], f"{row['feature']} of {row['event_date']}"

    def labels(row: Row) -> tuple[str, str, str, str]:
        return "labels", name, row["by"], ""

    yield Ledger(f"gold.{case.deployments_table}", "decided_at", deployment)
    yield Ledger(f"gold.{case.approvals_table}", "said_at", approval)
    yield Ledger(f"gold.{case.rollouts_table}", "decided_at", step)
    yield Ledger(f"gold.{case.faults_table}", "said_at", fault)
    yield Ledger(f"gold.{case.labelled_table}", "read_back_at", labels)


def _removal(row: Row) -> tuple[str, str, str, str]:
    days = f" of {row['first_day']} to {row['last_day']}" if row["first_day"] else ""
    rows = f", {row['rows']} rows" if row["rows"] else ""
    return "removal", row["table"], row["run"], f"{row['what']}, {row['state']}{days}{rows}"


def collect() -> int:
    """Bring what the ledgers have gained since the last time; returns how many lines that are."""
    seen = _seen()
    found = [entry for one in ledgers() for entry in _new(one, seen.get(one.table))]
    audit.write(found)
    return len(found)


def cut_off() -> Iterator[str]:
    """The ledgers that have lost lines that the audit log has seen, in words."""
    for table, lines in _seen().items():
        if not delta.exists(*table.split(".")):
            continue
        layer, name = table.split(".")
        there = delta.scan(layer, name).select(*chain.SEALS).drop_nulls().collect()
        left, right = ["ledger_line", "ledger_seal"], ["line", "seal"]
        gone = lines.join(there, how="anti", left_on=left, right_on=right)["ledger_line"].to_list()
        if gone:
            yield f"{table}: {len(gone)} lines are gone that the audit log has seen, the first is line {gone[0]}"


def _seen() -> dict[str, pl.DataFrame]:
    return {str(table): lines for (table,), lines in audit.seen().partition_by("ledger", as_dict=True).items()}


def _new(one: Ledger, seen: pl.DataFrame | None) -> list[Entry]:
    layer, name = one.table.split(".")
    if not delta.exists(layer, name):
        return []
    rows = delta.scan(layer, name)
    if not chain.SEALS.keys() <= set(rows.collect_schema().names()):
        return []
    # Where what was seen last is not there, all is looked at again: what the log has already is not written twice.
    after = 0
    if seen is not None:
        number, seal = seen.row(-1)[1:]
        after = number if rows.filter(line=number, seal=seal).select(pl.len()).collect().item() else 0
    entries: list[Entry] = []
    for row in rows.filter(pl.col("line") > after).sort("line").collect().iter_rows(named=True):
        if (said := one.said(row)) is None:
            continue
        # What was written in one go is one line of the log: a file of labels has thousands.
        if entries and (entries[-1].happened_at, said) == (row[one.moment], _said(entries[-1])):
            entries.pop()
        action, subject, who, detail = said
        pointer = {"ledger": one.table, "ledger_line": row["line"], "ledger_seal": row["seal"]}
        event = f"{one.table} {row['line']} {row['seal'][:16]}"
        entries.append(Entry(action, subject, who, detail, row[one.moment], event, **pointer))
    return entries


def _said(entry: Entry) -> tuple[str, str, str, str]:
    return entry.action, entry.subject, entry.who, entry.detail
