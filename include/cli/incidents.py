"""What is wrong now, as it was told; a person's word that it is over; a trial of the channels."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from include.cli.console import console
from include.cli.options import flag
from include.core.errors import BadRequestError
from include.core.settings import settings
from include.local.environment import become

if TYPE_CHECKING:
    from include.orchestration.incidents import Incident


def incidents_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--close", default="", help="the key of one that is over, though nothing shows it")
    flag(parser, "--try", "send a message that asks for nothing to each channel, and say who took it")


def incidents(given: argparse.Namespace) -> int:
    """Print the open incidents, the oldest first. 0 where none is open, or one was closed, else 1.

    Raises BadRequestError where none is open of the key that was given.
    """
    if vars(given)["try"]:
        become([sys.executable, "-m", "include.orchestration.channels"], settings())
    if given.close:
        return _close(given.close)
    from include.orchestration import incidents

    found = [one for one in incidents.open_incidents().values() if one.told_at]
    for one in found:
        show(one)
    if not found:
        console.print("nothing is wrong that anybody was told of")
    return int(bool(found))


def metrics(given: argparse.Namespace) -> int:
    """Print the figures as Prometheus reads them, but for what only Airflow's own processes know of its components."""
    become([sys.executable, "-m", "include.web.metrics"], settings())


def show(one: Incident) -> None:
    """One incident, with the key that closes it."""
    console.print(f"{one.key}  [since {one.opened_at:%Y-%m-%d %H:%M} UTC, {one.lasted}]", markup=False)
    waits = f"{len(one.stopped)} runs wait for it" if one.stopped else ""
    for line in filter(None, [one.said, one.touches, waits, one.todo, one.link]):
        console.print(f"    {line}", markup=False)


def _close(key: str) -> int:
    from include.orchestration import alerts, incidents

    closed = incidents.close(key)
    if closed is None:
        there = "; ".join(incidents.open_incidents()) or "none"
        raise BadRequestError(f"no incident {key!r} is open. Open are: {there}")
    alerts.deliver(incidents.alert_of(closed, "over"))
    console.print(f"{key} is over", markup=False)
    return 0
