"""Incidents: what is wrong, from its first message to the one that says that it is over.

A failure that is told by whoever saw it (:func:`report`), and a state that is looked at now and then (:func:`settle`),
open an incident, once. It is told again only where it is wrong in another way, and told to be over when it is. Those
that are open are one small file of ``ledger.incidents``, so that no look reads more with time; every machine sees them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import polars as pl

from include.core.lease import lease
from include.core.partitions import SEPARATOR, BadPartitionError, Partitions
from include.lake import commit, delta
from include.orchestration.alert_log import Alert

LAYER, NAME = "ledger", "incidents"
TABLE = f"{LAYER}.{NAME}"

OPEN, OVER = "open", "over"

FAILED = "failed"
"""The kind of incident that a failed task or run is."""

KINDS = (FAILED, "late", "silent", "paused", "approval", "rollback", "fallback", "stale")
"""Every kind; ``include.orchestration.watch`` has who looks for each."""

SCHEMA: dict[str, pl.DataType] = {
    "state": pl.String(),  # open or over; what the table is partitioned by
    "key": pl.String(),  # one open incident has it
    "kind": pl.String(),
    "dag": pl.String(),
    "run": pl.String(),
    "partition": pl.String(),
    "task": pl.String(),
    "said": pl.String(),
    "touches": pl.String(),
    "todo": pl.String(),
    "link": pl.String(),
    "stopped": pl.List(pl.String()),  # runs that wait for its end, by their own keys
    "opened_at": pl.Datetime("us", "UTC"),
    "told_at": pl.Datetime("us", "UTC"),  # null: it may go by itself, and nobody was told so far
    "over_at": pl.Datetime("us", "UTC"),
}

ATTEMPTS = 5

PATIENCE = 5.0
"""Seconds for which a message waits for its turn at the table: it is sent untold of otherwise, perhaps twice."""

type Event = Literal["opened", "again", "known", "waits", "over"]
"""What a message says: something new, something known that is wrong in another way, or that it is over.

Of ``known`` and ``waits`` (for an incident that is known) nobody is told."""


@dataclass(frozen=True)
class Incident:
    """What is wrong. ``said`` is what happened, ``touches`` who has less for it, ``todo`` what to do about it."""

    key: str
    kind: str
    said: str
    todo: str
    touches: str = ""
    dag: str = ""
    run: str = ""
    partition: str = ""
    task: str = ""
    link: str = ""
    stopped: tuple[str, ...] = ()
    opened_at: datetime | None = None
    told_at: datetime | None = None
    over_at: datetime | None = None
    patience: timedelta = timedelta()
    """For how long it may go by itself before anybody is told."""
    opens: bool = True
    """Whether it begins an incident, or only keeps one from being over."""

    @property
    def lasted(self) -> str:
        """How long it took, in words."""
        seconds = ((self.over_at or datetime.now(UTC)) - (self.opened_at or datetime.now(UTC))).total_seconds()
        minutes = max(int(seconds // 60), 0)  # clocks of two machines may differ
        days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
        return f"{days} d {hours} h" if days else f"{hours} h {rest} min" if hours else f"{rest} min"


type Incidents = dict[str, Incident]

type Step[T] = tuple[T, Incidents, list[Incident]]


# --- pure ---


def reported(
    open_: Mapping[str, Incident], new: Incident, stopped_by: str, since: datetime | None, now: datetime
) -> tuple[Event, Incident | None]:
    """What a failure is among those that are open, and the incident as it is from now on; None where none changes.

    ``stopped_by`` is the partition that has to be mended first: the failure belongs to its incident. ``since`` is given
    where a run speaks after its tasks: what one of them has said since then it has nothing to add to.
    """
    if stopped_by:
        key = f"stopped by {stopped_by}"
        of = next((one for one in open_.values() if one.key == key or _holds(one, stopped_by)), None)
        if of is not None:
            return "waits", replace(of, stopped=tuple(sorted({*of.stopped, new.key})))
        new = replace(new, key=key, stopped=(new.key,))
    known = open_.get(new.key)
    if known is None:
        return "opened", replace(new, opened_at=now, told_at=now)
    if (since and known.told_at and known.told_at >= since) or _same(known.said, new.said):
        return "known", None
    stopped = tuple(sorted({*known.stopped, *new.stopped}))
    return "again", replace(new, stopped=stopped, opened_at=known.opened_at, told_at=now)


def settled(
    open_: Iterable[Incident], kinds: Collection[str], found: Iterable[Incident], now: datetime
) -> tuple[list[tuple[Event, Incident]], dict[str, Incident]]:
    """What is to be told, and what is open, after a look at ``kinds`` that has ``found`` these.

    What is open of ``kinds`` and was not found is over; nobody is told of it who was not told that it began.
    """
    seen = {one.key: one for one in found}
    events: list[tuple[Event, Incident]] = []
    left: dict[str, Incident] = {}
    for one in open_:
        if one.kind not in kinds:
            left[one.key] = one
        elif (now_seen := seen.pop(one.key, None)) is None:
            events += [("over", replace(one, over_at=now))] if one.told_at else []
        else:
            held = replace(now_seen, opened_at=one.opened_at, told_at=one.told_at, stopped=one.stopped)
            if one.told_at is None and one.opened_at and now - one.opened_at >= now_seen.patience:
                held = replace(held, told_at=now)
                events.append(("opened", held))
            left[one.key] = held
    for new in seen.values():
        if new.opens:
            begun = replace(new, opened_at=now, told_at=None if new.patience else now)
            events += [("opened", begun)] if begun.told_at else []
            left[new.key] = begun
    return events, left


def _holds(incident: Incident, night: str) -> bool:
    """Whether a failure is that of ``night``, by itself or within a range."""
    first, _, last = incident.partition.partition(SEPARATOR)
    return incident.kind == FAILED and bool(first) and first <= night <= (last or first)


def failed_nights(open_: Iterable[Incident]) -> set[date]:
    """The nights whose failure is told of: they are not late as well."""
    return {night for one in open_ if one.kind == FAILED for night in nights_of(one.partition)}


def nights_of(key: str) -> list[date]:
    """The nights of a partition's key; none of what is no such key."""
    try:
        return Partitions.parse(key).days
    except BadPartitionError:
        return []


def _same(one: str, other: str) -> bool:
    """Whether two errors are the same but for numbers in them, as those of processes."""
    return re.sub(r"\d+", "", one) == re.sub(r"\d+", "", other)


# --- stored ---


def open_incidents() -> dict[str, Incident]:
    """Those that are not over, by their key, the oldest first."""
    if not delta.exists(LAYER, NAME):
        return {}
    rows = delta.scan(LAYER, NAME).filter(pl.col("state") == OPEN).sort("opened_at").drop("state").collect()
    return {row["key"]: Incident(**row | {"stopped": tuple(row["stopped"])}) for row in rows.iter_rows(named=True)}


def report(new: Incident, stopped_by: str = "", since: datetime | None = None) -> Event:
    """Write down a failure, and return whether somebody is to be told of it. See ``reported``."""

    def step(open_: Incidents) -> Step[Event]:
        event, changed = reported(open_, new, stopped_by, since, datetime.now(UTC))
        return event, open_ | ({changed.key: changed} if changed else {}), []

    return _update(step)


def settle(
    kinds: Collection[str], look: Callable[[Sequence[Incident]], Iterable[Incident]], now: datetime
) -> list[tuple[Event, Incident]]:
    """Have the incidents of ``kinds`` be what ``look`` finds, given those that are open; return what is to be told.

    Who reports meanwhile waits for no look: what was opened since it began is left as it is.
    """
    before = open_incidents()
    found = list(look(list(before.values())))

    def step(open_: Incidents) -> Step[list[tuple[Event, Incident]]]:
        since = {key: one for key, one in open_.items() if key not in before}
        looked_at = [one for key, one in open_.items() if key in before]
        events, left = settled(looked_at, kinds, (one for one in found if one.key not in since), now)
        return events, left | since, [one for event, one in events if event == "over"]

    return _update(step)


def close(key: str) -> Incident | None:
    """A person says that the incident ``key`` is over. Returns it; None where none is open of that name."""

    def step(open_: Incidents) -> Step[Incident | None]:
        left = {name: one for name, one in open_.items() if name != key}
        closed = [replace(open_[key], over_at=datetime.now(UTC))] if key in open_ else []
        return (closed[0] if closed else None), left, closed

    return _update(step)


def _update[T](step: Callable[[Incidents], Step[T]]) -> T:
    """Take the open incidents one ``step`` further: what it returns is its result, what is open, and what is over."""
    with lease("incidents", PATIENCE):
        for attempt in range(ATTEMPTS):
            version, open_ = commit.version_of(TABLE), open_incidents()
            result, left, over = step(open_)
            if left == open_ and not over:
                break
            try:
                _write(version, [*left.values()], over)
            except commit.ConflictError:  # another machine's, which knows nothing of this one's lease
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            break
    return result


def _write(version: int, open_: Sequence[Incident], over: Sequence[Incident]) -> None:
    """Replace what was open in ``version`` of the table, and add what is over."""
    states = [(OPEN, one) for one in open_] + [(OVER, one) for one in over]
    rows = [{"state": state} | {k: v for k, v in asdict(one).items() if k in SCHEMA} for state, one in states]
    with commit.committing():
        change = commit.frame_change(
            TABLE, pl.DataFrame(rows, schema=SCHEMA), ["state"], lambda partition: partition["state"] == OPEN
        )
        if change.base != max(version, 0):
            raise commit.ConflictError(f"{TABLE} has been written to meanwhile")
        commit.commit_all([change], "incidents")


# --- between incidents and messages ---


def of_alert(alert: Alert, key: str = "") -> Incident:
    """The incident that an alert is of; of a failure that of its DAG and partition, or run where it has none."""
    kind = alert.get("kind", FAILED)
    return Incident(
        key=key or f"{FAILED} {alert['dag']} {alert['partition'] or alert['run']}",
        kind=kind,
        said=alert["error"],
        todo=alert["todo"],
        touches=alert.get("touches", ""),
        dag=alert["dag"],
        run=alert["run"],
        partition=alert["partition"],
        task=alert["task"],
        link=alert["link"],
    )


def alert_of(incident: Incident, event: Event) -> Alert:
    """What is told of an incident."""
    over = event == "over"
    waited = f"; {len(incident.stopped)} runs waited for it" if incident.stopped else ""
    lasted = f"it lasted {incident.lasted}{waited}. It was: " if over else ""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "dag": incident.dag,
        "run": incident.run,
        "partition": incident.partition,
        "task": "" if over else incident.task,
        "error": f"{lasted}{incident.said}",
        "todo": "" if over else incident.todo,
        "link": incident.link,
        "stopped_by": "",
        "kind": incident.kind,
        "event": event,
        "touches": "" if over else incident.touches,
    }
