"""A year of the demonstration's features and labels, by the real stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.replay import replay
from include.contracts.use_case import UseCase
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.orchestration.airflow_client import RunFailedError
from include.quality import acceptance
from include.use_cases import use_case
from tests.integration.conftest import started
from tests.s3 import free_port

YEAR = Partitions.parse("2013-01-01..2013-12-30")
THANKSGIVING = Partitions.parse("2013-11-27")


@contextmanager
def loaded(var: Path) -> Iterator[UseCase]:
    """Flight delays, in an installation whose ``var`` has the year. Its services run meanwhile.

    The year is loaded as one range. Of it the gate stops the schedule of one day, which a person accepts.
    """
    of = Settings(var=var, airflow_port=free_port(), mlflow_port=free_port(), spark_port=free_port())
    case = use_case("flight_delays")
    with started(of) as stack, pytest.MonkeyPatch.context() as patch:
        replay(stack.settings.landing, YEAR, with_dimensions=True)
        with pytest.raises(RunFailedError):
            stack.airflow.follow([stack.airflow.trigger("lakehouse_ingest_flights", YEAR)])
        patch.setenv("NOCTURNE_VAR", str(var))
        settings.cache_clear()
        refused = {line.feature for line in acceptance.refused(case, YEAR)}
        assert refused == {line.feature for line in acceptance.refused(case, THANKSGIVING)} != set()
        acceptance.accept(case, THANKSGIVING, refused, "a test", "Thanksgiving has a schedule of its own")
        stack.airflow.follow([stack.airflow.trigger(f"{case.name}_features", YEAR)])
        yield case
    settings.cache_clear()
