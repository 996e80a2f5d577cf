"""The other two use cases, as an option of the demonstration: history, a first champion, and two nights of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from examples import seattle
from include.core.partitions import Partitions
from include.lake import delta
from include.ml import ledger
from include.orchestration.airflow_client import Airflow, Run
from include.use_cases import use_case

if TYPE_CHECKING:
    from upath import UPath

Step = Callable[[str, Callable[[], list[Run]]], None]


@dataclass(frozen=True)
class Other:
    """A use case that is not enabled by itself.

    Attributes:
        head: the DAG that its partitions begin with: ingestion, or its features where silver is there already.
        replay: puts the files of partitions into landing.
        history: loaded as one range, and learned from.
    """

    case: str
    head: str
    replay: Callable[[UPath, Partitions], object]
    history: Partitions

    @property
    def nights(self) -> list[Partitions]:
        """The two partitions after the history."""
        days = [self.history.last + timedelta(n) for n in (1, 2)]
        return [Partitions(day, day) for day in days]


OTHERS = {
    other.case: other
    for other in (
        Other(
            "weather_temperature",
            "weather_temperature_features",
            lambda landing, nights: None,  # the demonstration has loaded what it reads
            Partitions.parse("2013-01-01..2013-06-28"),
        ),
        Other(
            "seattle_weather_kind",
            "lakehouse_ingest_seattle_weather",
            seattle.replay,
            Partitions.parse("2012-01-01..2015-06-30"),
        ),
    )
}


def show(other: Other, airflow: Airflow, landing: UPath, step: Step) -> None:
    """Take the pause off the DAGs of the use case, and run it: history, training, nights."""
    case = use_case(other.case)
    airflow.wait_for_dags({other.head, *case.dag_ids})
    airflow.unpause(case.dag_ids)

    def start(dag_id: str, partitions: Partitions) -> Callable[[], list[Run]]:
        return lambda: [airflow.trigger(dag_id, partitions)]

    history, last = other.history, Partitions(other.history.last, other.history.last)
    other.replay(landing, Partitions(other.history.first, other.nights[-1].last))
    step(f"{case.name}: history {history}, as one range", start(other.head, history))
    step(f"{case.name}: the first champion", start(f"{case.name}_train", last))
    for night in other.nights:
        step(f"{case.name}: night {night}", start(other.head, night))


def told(other: Other) -> tuple[str, bool]:
    """What became of it, in a line, and whether that is well: it has a champion, which has scored each night."""
    case = use_case(other.case)
    if (champion := ledger.latest_champion(case)) is None:
        return f"{case.name} has no champion", False
    days = {night.shift(case.horizon_days).last for night in other.nights}
    scored = delta.read_all("gold", case.predictions_table)
    n = scored.filter(pl.col(case.day).is_in(days)).height
    return f"{case.name}: version {champion.model_version} is champion, {n} predictions for its nights", n >= len(days)
