"""The demonstration: five months of history, a first champion, a week of nights, a retraining that the policy wants.

Does what an operator would do, through Airflow's API, on files that a replayed upstream puts in landing. Safe to
repeat: a second run finds the same content and changes nothing. Exit code 0 only where all of it worked.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from rich.console import Console

from examples import others, report
from examples.replay import replay
from include.cli.program import guarded
from include.core.errors import BadRequestError
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.orchestration.airflow_client import Airflow, Run
from include.use_cases import use_case

HEAD = "lakehouse_ingest_flights"
TRAIN = "flight_delays_train"
DAGS = {HEAD, "lakehouse_transform_flights", *use_case("flight_delays").dag_ids}

HISTORY = Partitions.parse("2013-01-01..2013-05-31")
FIRST_WEEK = Partitions.parse("2013-06-01..2013-06-07")
REST_OF_JUNE = Partitions.parse("2013-06-08..2013-06-30")
WATCHED = Partitions.parse("2013-07-01..2013-07-14")

# A log file or a pipe has no width to keep to.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)


@dataclass
class Demonstration:
    """One demonstration on the installation of ``settings``, and what it has done so far."""

    settings: Settings
    airflow: Airflow
    began: float = field(default_factory=time.monotonic)
    stages: dict[str, float] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def say(self, line: str) -> None:
        seconds = int(time.monotonic() - self.began)
        console.print(f"[dim]{seconds // 60:2d}:{seconds % 60:02d}[/dim]   {line}")

    def night(self, title: str, nights: Partitions, start: Callable[[], list[Run]]) -> None:
        """Let ``nights`` land, then as ``step``."""
        replay(self.settings.landing, nights)
        self.step(title, start)

    def step(self, title: str, start: Callable[[], list[Run]]) -> None:
        """``start`` runs, and wait for all that follows from them."""
        self.say(f"[bold]{title}[/bold]")
        before = time.monotonic()
        self.runs += self.airflow.follow(start(), lambda line: self.say(f"  {line}"))
        self.stages[title] = round(time.monotonic() - before, 1)

    def trigger(self, dag_id: str, nights: Partitions) -> Callable[[], list[Run]]:
        return lambda: [self.airflow.trigger(dag_id, nights)]

    def backfill(self, nights: Partitions) -> Callable[[], list[Run]]:
        return lambda: self.airflow.backfill(HEAD, nights)


def watch(demonstration: Demonstration) -> date | None:
    """Run single nights until one asks for a retraining, and one more after it. Returns the night that asked."""
    asked: date | None = None
    for night in (Partitions(day, day) for day in WATCHED.days):
        title = f"night {night}" if asked is None else f"night {night}, after the retraining"
        demonstration.night(title, night, demonstration.backfill(night))
        if asked:
            return asked
        if report.decision(night.first) == "yes":
            asked = night.first
    return asked


def run(also: Sequence[str] = ()) -> int:
    """Show it all, and ``also`` use cases beside it. Returns the exit code. Raises BadRequestError for unknown ones."""
    if unknown := sorted(set(also) - others.OTHERS.keys()):
        raise BadRequestError(f"also={' '.join(unknown)} cannot be shown; there are: {', '.join(others.OTHERS)}")
    here = settings()
    show = Demonstration(here, Airflow(here))
    console.print(
        "\nThe demonstration: flights from New York in 2013, night by night. Watch it in Airflow meanwhile.\n"
        "[dim]history → first champion → a week of nights → the rest of June → a retraining[/dim]\n"
    )
    show.airflow.wait_for_dags(DAGS)
    last_of_history = Partitions(HISTORY.last, HISTORY.last)
    show.night(f"history {HISTORY}, as one range", HISTORY, show.trigger(HEAD, HISTORY))
    show.night("the first champion and its first predictions", last_of_history, show.trigger(TRAIN, last_of_history))
    show.night(f"nights {FIRST_WEEK}, as a backfill", FIRST_WEEK, show.backfill(FIRST_WEEK))
    show.night(f"the rest of June {REST_OF_JUNE}, as one range", REST_OF_JUNE, show.trigger(HEAD, REST_OF_JUNE))
    watch(show)
    for case in also:
        others.show(others.OTHERS[case], show.airflow, here.landing, show.step)
    of_flights = [run for run in show.runs if run.dag_id in DAGS]
    content = report.collect(here, of_flights, show.stages, time.monotonic() - show.began)
    path = report.write(here, content)
    report.show(console, here, content)
    problems = report.problems(here, content, FIRST_WEEK)
    for case in also:
        line, is_well = others.told(others.OTHERS[case])
        console.print(f"  {line}")
        problems += [] if is_well else [line]
    for problem in problems:
        console.print(f"[red]{problem}[/red]")
    console.print(f"\n  report   {path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(guarded("run", lambda: run(sys.argv[1:])))
