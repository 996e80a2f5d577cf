"""Bring predictions to the targets that the spec names, by key exactly once, and by whole days.

One target at a time has a turn of its own, which is a lease: who publishes the same at once waits. What is published is
read within it, so that it is the newest. Where that is not enough, since two machines share no lease, the target itself
refuses what is older than what it has.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

from include.contracts.publishing import Target, ToFiles, ToHttp, ToKafka, ToPostgres
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.core.lease import lease
from include.lake.commit import ConflictError
from include.serving.publishing import content, ledger
from include.serving.publishing.content import Day
from include.serving.publishing.errors import OlderLakeError
from include.serving.publishing.events import TRIES, Events, outcome_of, plan
from include.serving.publishing.target import Outcome, Publisher
from include.use_cases import use_case

log = logging.getLogger(__name__)


def target_of(case: UseCase, name: str) -> Target:
    """The target ``name`` of a use case. Raises BadRequestError."""
    found = next((one for one in case.publish if one.name == name), None)
    if found is None:
        there = ", ".join(one.name for one in case.publish) or "none: name some as `publish` in its spec"
        raise BadRequestError(f"{case.name} has no target {name!r}; it has {there}")
    return found


def opened(case: UseCase, target: Target, run: str) -> Publisher:
    """What reaches ``target``. Raises what its kind does where it is not reached."""
    match target:
        case ToPostgres():
            from include.serving.publishing.postgres import Postgres

            return Postgres(case, target)
        case ToFiles():
            from include.serving.publishing.files import files

            return files(case, target)
        case ToHttp():
            from include.serving.publishing.http import HttpSender

            return Events(case, target.name, target.batch, lambda: HttpSender(target), run)
        case ToKafka():
            from include.serving.publishing.kafka import KafkaSender

            return Events(case, target.name, target.batch, lambda: KafkaSender(case, target), run)


def known(case: UseCase, target: Target, first: date, last: date) -> list[date]:
    """The days from ``first`` to ``last`` that have predictions, or of which the target has got some."""
    found = content.scored(case) | ledger.published(case, target.name)
    return sorted(day for day in found if first <= day <= last)


def foresee(case: UseCase, target: Target, first: date, last: date) -> list[tuple[date, Outcome]]:
    """What ``send`` would do of each day now, by what is written down of it. The target itself is not asked."""
    return [(day.day, _foreseen(case, target, day)) for day in content.days(case, known(case, target, first, last))]


def _foreseen(case: UseCase, target: Target, day: Day) -> Outcome:
    if isinstance(target, ToHttp | ToKafka):
        return outcome_of(day, plan(case, target.name, target.batch, day))
    last = ledger.last(case, target.name, day.day)
    if last and last.content == day.content:
        return Outcome("same", last.revision, day.rows.height, last.changed, last.gone)
    # How many of its rows are others than those that are there, only the target knows.
    return Outcome("sent", last.revision + 1 if last else 1, day.rows.height, day.rows.height)


def publish(name: str, target_name: str, first: date, last: date, run: str) -> list[dict[str, Any]]:
    """Task: what ``send`` does, for the target ``target_name`` of use case ``name``. Raises BadRequestError too."""
    case = use_case(name)
    done = send(case, target_of(case, target_name), first, last, run)
    return [{"day": str(day)} | asdict(outcome) for day, outcome in done]


def send(case: UseCase, target: Target, first: date, last: date, run: str) -> list[tuple[date, Outcome]]:
    """Have a target get what it has not of the event dates ``first`` to ``last``.

    Reads the predictions; writes to the target, and a line of ``gold.<case>__published`` for what came there. A second
    time does nothing. Days come one after the other: where one fails, those before it are there. Raises
    TableMissingError, RefusedError (the connection), TargetRefusedError, TargetAwayError and OlderLakeError.
    """
    done = []
    with lease(f"publish {case.name} {target.name}"), closing(opened(case, target, run)) as publisher:
        for day in known(case, target, first, last):
            outcome = _sent(case, target, publisher, day, run)
            log.info("%s of %s %s: %s", target.name, case.name, day, said(outcome))
            done.append((day, outcome))
    return done


def _sent(case: UseCase, target: Target, publisher: Publisher, day: date, run: str) -> Outcome:
    """Publish one day, as it is at that moment: anew where somebody has scored it meanwhile."""
    outcome, found = Outcome("nothing"), None
    for attempt in range(TRIES):
        found = next(content.days(case, [day]))
        try:
            outcome = publisher.send(found)
        except ConflictError:
            if attempt == TRIES - 1:
                raise
            continue
        if outcome.verb != "newer":
            break
    if found is not None and outcome.verb == "newer":
        raise OlderLakeError(
            f"{target.name} of {case.name} has {day} of a newer state of the predictions than the lake, which is at "
            f"{found.sequence}: is this lake an older one, as of a backup? Nothing was done. Score the day again, or "
            "take the day out of the target, with what says that it was published"
        )
    if found is not None and outcome.verb in ("sent", "same") and not isinstance(publisher, Events):
        _write_down(case, target, found, outcome, run)
    return outcome


def _write_down(case: UseCase, target: Target, day: Day, outcome: Outcome, run: str) -> None:
    """The line of what a table or a file has got, where there is none: the target itself knows it first."""
    last = ledger.last(case, target.name, day.day)
    if last and (last.revision, last.content) == (outcome.revision, day.content):
        return
    line = ledger.Line(
        target=target.name,
        prediction_day=day.day,
        revision=outcome.revision,
        content=day.content,
        created=day.sequence.created,
        version=day.sequence.version,
        rows=outcome.rows,
        changed=outcome.changed,
        gone=outcome.gone,
        batches=1,
        done=1,
        run=run,
    )
    ledger.append(case, line)


def said(outcome: Outcome) -> str:
    """What has come of a day, or would, in words."""
    match outcome.verb:
        case "nothing":
            return "has no predictions"
        case "newer":
            return f"the target has a newer revision, {outcome.revision}"
        case "same":
            return f"revision {outcome.revision} is there, {outcome.rows} rows"
    goes_on = ", begun earlier" if outcome.begun else ""
    parts = f"{outcome.rows} rows, {outcome.changed} new or changed, {outcome.gone} gone"
    return f"revision {outcome.revision}: {parts}{goes_on}"


def told(found: Sequence[tuple[date, Outcome]], shown: int = 20) -> list[str]:
    """Lines for a person: what is to be done, day by day, and how many days have nothing to do."""
    todo = [(day, outcome) for day, outcome in found if outcome.verb in ("sent", "newer")]
    lines = [f"  {day}  {said(outcome)}" for day, outcome in todo[:shown]]
    if len(todo) > shown:
        lines.append(f"  and {len(todo) - shown} more days")
    return [*lines, f"  {len(found) - len(todo)} of {len(found)} days are there as they are"]


def days_of_nights(case: UseCase, first: date, last: date) -> tuple[date, date]:
    """The event dates that the nights ``first`` to ``last`` predict; no end stays none."""
    shift = timedelta(case.horizon_days)
    return (
        first if first == date.min else first + shift,
        last if last > date.max - shift else last + shift,
    )
