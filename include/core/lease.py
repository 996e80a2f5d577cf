"""Leases: what only one task at a time may do. The others wait, for a while, and then say who holds them up.

On one machine a lease is a locked file under ``var/lock``, which the system gives back when its holder is killed. Where
Airflow's metadata is in PostgreSQL, a lease is a row there, which every machine sees: it runs out by the database's
clock unless its holder renews it, and has a token that grows from holder to holder. Who commits under leases asks first
whether they are still its own (``require_held``), and writes the token beside what it commits: of a holder that slept
through its time, nothing gets in after what a later one has done (``include/lake/commit.py``).
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

from include.core import database
from include.core.errors import NocturneError, is_passing
from include.core.locks import taken
from include.core.settings import settings

log = logging.getLogger(__name__)

PATIENCE = 900.0
"""Seconds. Longer than anything that is done under a lease but a training, which has one of its own."""

STEP = 0.05
ROW_STEP, ROW_LONGEST_STEP = 0.1, 1.0
"""Seconds between two tries; of a row, where each is a statement, ever longer ones."""

TERM, RENEW = 60.0, 15.0
"""Seconds. A row is good for so long, and renewed so often: a dead holder keeps others waiting for a term at most."""

AGAIN = 3.0
"""Seconds until a database that did not answer is asked again."""

OUTAGE = 90.0
"""Seconds for which a database that does not answer is asked again: longer than it takes to be restarted."""

WHAT = "the database of leases"

TAKE = """
    INSERT INTO nocturne.lease AS held (name, token, holder, taken_at, expires_at)
    VALUES (%s, nextval('nocturne.fencing_token'), %s, clock_timestamp(),
        clock_timestamp() + make_interval(secs => %s))
    ON CONFLICT (name) DO UPDATE
    SET token = excluded.token, holder = excluded.holder, taken_at = excluded.taken_at, expires_at = excluded.expires_at
    WHERE held.expires_at <= clock_timestamp()
    RETURNING token"""
RENEWED = """
    UPDATE nocturne.lease SET expires_at = clock_timestamp() + make_interval(secs => %s)
    WHERE name = %s AND token = %s AND expires_at > clock_timestamp() RETURNING token"""
# One that has run out is as lost as one that another has taken: whoever comes next need not wait.
RELEASED = "DELETE FROM nocturne.lease WHERE name = %s AND token = %s RETURNING expires_at > clock_timestamp()"
HELD = "SELECT name, token FROM nocturne.lease WHERE name = ANY(%s) AND expires_at > clock_timestamp()"
HOLDER = "SELECT holder, taken_at FROM nocturne.lease WHERE name = %s"


class BusyError(NocturneError):
    """Somebody else has held a lease for too long. Another try may find it free."""


class LostLeaseError(NocturneError):
    """A lease ran out while its holder slept or could not reach the database, and another may have it now."""


@dataclass
class Row:
    """A lease that this process holds as a row.

    Attributes:
        token: higher than that of every holder before.
        ended: set when it is given back.
    """

    name: str
    token: int
    url: str = field(repr=False)
    ended: threading.Event = field(default_factory=threading.Event)


_rows: list[Row] = []
"""The rows that this process holds, whichever of its threads took them."""


@contextmanager
def lease(name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lease ``name`` meanwhile.

    Raises BusyError, naming the holder, after ``patience`` seconds. Where leases are rows: DatabaseError where the
    database does not answer, and LostLeaseError at the end where it was not held all the time.
    """
    if url := settings().lease_connection:
        with _row(name, url, patience):
            yield
        return
    folder = settings().var / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9_]+', '-', name.lower())}.lock"
    deadline = time.monotonic() + patience
    while (file := taken(path)) is None:
        if time.monotonic() > deadline:
            raise BusyError(
                f"{name}: {path.read_text().strip() or 'somebody'} has held it for over {patience:.0f} s ({path}). "
                "Is that process stuck? End it; its work is finished or undone by the next."
            )
        time.sleep(STEP)
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        yield


def require_held() -> None:
    """Raise LostLeaseError unless every lease that this process holds is still its own; DatabaseError.

    For who is about to commit. Where leases are files they end with their holder, and this asks nobody.
    """
    mine = list(_rows)
    if not mine:
        return
    there = dict(_asked(mine[0].url, HELD, [[one.name for one in mine]]))
    for one in mine:
        if there.get(one.name) != one.token:
            raise lost(one)


def token(name: str) -> int:
    """The token by which this process holds the lease ``name``; 0 where it is no row, or not held."""
    return max((one.token for one in _rows if one.name == name), default=0)


def lost(row: Row) -> LostLeaseError:
    """The error of a lease that ran out."""
    return LostLeaseError(
        f"{row.name}: process {os.getpid()} on {socket.gethostname()} held it by token {row.token} and has lost it, "
        f"not renewed for {TERM:.0f} s: was the machine asleep, or {database.named(row.url)} out of reach? "
        "What was to be committed under it was not"
    )


@contextmanager
def _row(name: str, url: str, patience: float) -> Iterator[None]:
    row = Row(name, _take(name, url, patience), url)
    _rows.append(row)
    renewing = threading.Thread(target=_renew, args=(row,), name=f"lease {name}", daemon=True)
    renewing.start()
    try:
        yield
    except BaseException:
        _end(row)
        raise
    if not _end(row):
        raise lost(row)


def _take(name: str, url: str, patience: float) -> int:
    """Wait until the row is ours, and return its token. Raises BusyError, DatabaseError."""
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    deadline, step = time.monotonic() + patience, ROW_STEP
    while not (found := _asked(url, TAKE, [name, holder, TERM])):
        if time.monotonic() > deadline:
            raise BusyError(_busy(name, url, patience))
        time.sleep(step)
        step = min(step * 1.5, ROW_LONGEST_STEP)
    return int(found[0][0])


def _busy(name: str, url: str, patience: float) -> str:
    held = _asked(url, HOLDER, [name])
    who = f"{held[0][0]}, since {held[0][1]:%Y-%m-%d %H:%M:%S %Z}," if held else "one after the other"
    return (
        f"{name}: {who} has held it for over {patience:.0f} s (nocturne.lease at {database.named(url)}). Is that "
        "process stuck? End it; its work is finished or undone by the next."
    )


def _renew(row: Row) -> None:
    """Have the row last, until it is given back or lost."""
    pause = RENEW
    while not row.ended.wait(pause):
        try:
            if not database.asked(row.url, WHAT, RENEWED, [TERM, row.name, row.token]):
                log.error("%s", lost(row))
                return
            pause = RENEW
        except database.DatabaseError as error:
            log.warning("the lease %s could not be renewed: %s", row.name, error)
            pause = AGAIN


def _end(row: Row) -> bool:
    """Give the row back. Whether it was held until now, as far as can be known: else it runs out by itself."""
    row.ended.set()
    _rows.remove(row)
    try:
        found = database.asked(row.url, WHAT, RELEASED, [row.name, row.token])
    except database.DatabaseError as error:
        log.warning("the lease %s could not be given back, and runs out in %.0f s: %s", row.name, TERM, error)
        return True
    return bool(found and found[0][0])


def _asked(url: str, query: LiteralString, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
    """The rows of a statement that may be repeated. Raises DatabaseError where nobody answers for ``OUTAGE`` seconds,
    and at once where that is no matter of waiting."""
    deadline = time.monotonic() + OUTAGE
    while True:
        try:
            return database.asked(url, WHAT, query, parameters)
        except database.DatabaseError as error:
            if time.monotonic() > deadline or not is_passing(str(error)):
                raise
            time.sleep(AGAIN)
