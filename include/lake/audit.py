"""The audit log: who logged in, decided, changed or removed what, and when. A sealed ledger, ``ledger.audit``.

``record`` is for whoever does something that no ledger tells of yet. It holds up nobody: where the log cannot be
written within seconds, the line waits in a folder, and the next one takes it along. Each line has an identity, so that
what is brought twice is there once. Nothing in it is secret, nor personal beyond the name of an account.

Who takes lines off the end of a chain leaves a chain that holds. So the newest line is named outside the lake as well,
in ``var/audit/anchor.json``: whoever verifies asks that this line be there still.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import polars as pl
from deltalake.exceptions import DeltaError

from include.core.errors import NocturneError
from include.core.lease import lease
from include.core.settings import settings
from include.lake import chain, commit, delta

if TYPE_CHECKING:
    from upath import UPath

log = logging.getLogger(__name__)

LAYER, NAME = "ledger", "audit"
TABLE = f"{LAYER}.{NAME}"
PATIENCE = 3.0
"""Seconds that a line waits for its turn. Then it is put aside."""
ATTEMPTS = 3
"""Tries, where somebody who holds no lease commits at the same time: a compaction."""
DROPPED = 0
"""The line that is pointed to where a whole ledger was dropped."""
MOST = 300
"""Letters of a detail."""

SCHEMA: dict[str, pl.DataType] = {
    "happened_at": pl.Datetime("us", "UTC"),
    "action": pl.String(),
    "subject": pl.String(),
    "who": pl.String(),
    "detail": pl.String(),
    "event": pl.String(),
    "ledger": pl.String(),
    "ledger_line": pl.Int64(),
    "ledger_seal": pl.String(),
}


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        action: what was done, as ``login``, ``promotion``, ``rotation``.
        subject: on what, as ``flight_delays version 3``.
        who: the name of the account, or of what decides by itself (``gates``).
        detail: what else there is to say, in a line; never a free text of a person, nor a value that was set.
        event: an identity. An event that is in the log is not written again.
        ledger, ledger_line, ledger_seal: the line of another ledger that has the whole of it; None where there is none.
    """

    action: str
    subject: str
    who: str
    detail: str = ""
    happened_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    event: str = field(default_factory=lambda: uuid4().hex)
    ledger: str | None = None
    ledger_line: int | None = None
    ledger_seal: str | None = None


@dataclass(frozen=True)
class Anchor:
    """The newest line that somebody of this installation has seen in the log."""

    line: int
    seal: str


def record(action: str, on: str, who: str, detail: str = "") -> None:
    """Write a line. Never raises, and takes seconds at most: what cannot be written now, is by a later one."""
    write([Entry(action, on, who, detail)])


def write(entries: Sequence[Entry]) -> None:
    """The same for several, which may have been written before."""
    entries = [replace(one, detail=_short(one.detail), subject=_short(one.subject)) for one in entries]
    try:
        _append(entries)
    except (NocturneError, OSError, DeltaError) as error:
        log.warning("the audit log cannot be written now, and %d lines wait: %s", len(entries), error)
        _put_aside(entries)


def settle() -> None:
    """Take in what waits. Raises what the lake does."""
    _append([])


def read(since: datetime | None = None) -> pl.DataFrame:
    """The log in its order, ``SCHEMA`` with ``line`` and ``seal``; empty where there is none."""
    if not delta.exists(LAYER, NAME):
        return pl.DataFrame(schema=SCHEMA | chain.SEALS)
    rows = delta.scan(LAYER, NAME)
    return (rows.filter(pl.col("happened_at") >= since) if since else rows).sort("line").collect()


def dropped(table: str, who: str) -> None:
    """Write down that a ledger went with its use case: one of the same name begins anew."""
    write([Entry("removal", table, who, "dropped", ledger=table, ledger_line=DROPPED)])


def seen() -> pl.DataFrame:
    """The lines of other ledgers that the log points to, and that have to be there: ``ledger``, ``ledger_line``,
    ``ledger_seal``. Those of before a ledger was dropped are not among them."""
    columns = ["ledger", "ledger_line", "ledger_seal"]
    if not delta.exists(LAYER, NAME):
        return pl.DataFrame(schema={name: SCHEMA[name] for name in columns})
    rows = delta.scan(LAYER, NAME).filter(pl.col("ledger").is_not_null()).select("line", *columns).collect()
    gone = rows.filter(pl.col("ledger_line") == DROPPED).group_by("ledger").agg(pl.col("line").max().alias("gone"))
    rows = rows.join(gone, on="ledger", how="left").filter(pl.col("line") > pl.col("gone").fill_null(0))
    return rows.select(columns).sort(columns)


def broken() -> list[str]:
    """Where the log is not as it was written, in words; empty where it is."""
    return [*chain.broken(read()), *cut_off()]


def cut_off() -> list[str]:
    """Whether the line is gone that this installation has seen, in words; empty where it is there."""
    anchor = anchored()
    said = _lost(_line(anchor.line), anchor) if anchor else ""
    return [f"{TABLE}: {said}"] if said else []


def anchored() -> Anchor | None:
    """The line that has to be there still; None where none was ever written from here."""
    try:
        return Anchor(**json.loads(_anchor().read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise NocturneError(f"{_anchor()} is no anchor of the audit log ({error}): put it back from a backup") from None


def look() -> Anchor | None:
    """Name the newest line outside the lake, if the one that was named before is there still; return what is named.

    For a machine that writes nothing itself. None where there is no log.
    """
    with lease("audit", PATIENCE):
        return _move_on()


def anchor_anew(who: str) -> Anchor | None:
    """Accept the log as it is, after a lake was put back from a backup. The log says who did, and what was missing."""
    with lease("audit"):
        was = anchored()
        _anchor().unlink(missing_ok=True)
    record("anchor", TABLE, who, f"was line {was.line} {was.seal[:12]}" if was else "there was none")
    return anchored()


# --- writing ---


def _append(entries: Sequence[Entry]) -> None:
    with lease("audit", PATIENCE):
        aside = list(_aside())
        new = _unknown([*(one for _, found in aside for one in found), *entries])
        for attempt in range(1, ATTEMPTS + 1):
            if not new:
                break
            lines = pl.DataFrame([asdict(one) for one in new], schema=SCHEMA)
            try:
                # One table: its commit is whole by itself, and needs neither the journal nor the turn of a night.
                commit.commit(chain.change(TABLE, lines), uuid4().hex)
                break
            except commit.ConflictError:
                if attempt == ATTEMPTS:
                    raise
        _move_on()
        for path, _ in aside:
            path.unlink(missing_ok=True)


def _unknown(entries: Iterable[Entry]) -> list[Entry]:
    """Those that are not in the log, each once, the oldest first."""
    found = {one.event: one for one in sorted(entries, key=lambda one: one.happened_at)}
    if not found or not delta.exists(LAYER, NAME):
        return list(found.values())
    oldest = min(one.happened_at for one in found.values())
    there = delta.scan(LAYER, NAME).filter(pl.col("happened_at") >= oldest).select("event").collect()
    return [one for event, one in found.items() if event not in set(there["event"])]


def _move_on() -> Anchor | None:
    """Name the newest line, unless what was named before is lost: that has to stay to be seen."""
    if not delta.exists(LAYER, NAME):
        return anchored()
    number, seal = chain.last(TABLE)
    newest, before = Anchor(number, seal), anchored()
    if before == newest:
        return before
    if before is not None and (said := _lost(_line(before.line), before)):
        log.error("%s: %s", TABLE, said)
        return before
    path = _anchor()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(newest)))
    partial.replace(path)
    return newest


def _line(number: int) -> pl.DataFrame:
    """The seal of a line; no row where there is none, two where there are two."""
    if not delta.exists(LAYER, NAME):
        return pl.DataFrame(schema=chain.SEALS)
    return delta.scan(LAYER, NAME).filter(pl.col("line") == number).select("line", "seal").collect()


def _lost(rows: pl.DataFrame, anchor: Anchor) -> str:
    """Why the line that was named is lost, in words; empty where it is among ``rows``."""
    if rows["seal"].to_list() == [anchor.seal]:
        return ""
    what = "is another one" if rows.height else "is gone"
    return (
        f"line {anchor.line} {what}: this installation has seen it ({_anchor()}). Lines were taken off the end, or the "
        "lake was put back from an older backup. In that case: make audit anchor=1"
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST else f"{line[: MOST - 1]}…"


# --- what waits ---


def _places() -> tuple[UPath, UPath]:
    """Where lines wait: beside the tables, where every machine sees them, and on this machine where that fails."""
    from upath import UPath  # takes a third of a second, and few need to know where something is

    return settings().lake / "_audit", UPath(settings().var / "audit" / "waiting")


def _put_aside(entries: Sequence[Entry]) -> None:
    text = "\n".join(json.dumps(asdict(one), default=str) for one in entries)
    for folder in _places():
        try:
            commit.write_whole(folder / f"{uuid4().hex}.jsonl", text)
            return
        except OSError as error:
            log.warning("%s does not take the line of the audit log: %s", folder, error)
    log.error("lost for the audit log: %s", text)


def _aside() -> Iterator[tuple[UPath, list[Entry]]]:
    """Each file that waits, with its lines."""
    for folder in _places():
        for path in folder.glob("*.jsonl") if folder.exists() else ():
            yield path, [_entry(json.loads(line)) for line in path.read_text().splitlines()]


def _entry(body: dict[str, Any]) -> Entry:
    return Entry(**body | {"happened_at": datetime.fromisoformat(body["happened_at"])})


def _anchor() -> Path:
    return settings().var / "audit" / "anchor.json"
