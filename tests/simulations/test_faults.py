"""The feature gate stops broken days and lets sound ones through, on a year of real days."""

import pytest

from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.orchestration.airflow_client import RunFailedError
from include.quality import acceptance
from include.use_cases import use_case
from tests.integration.conftest import started
from tests.s3 import free_port
from tests.simulations import faults

HISTORY = Partitions.parse("2013-01-01..2013-12-30")
THANKSGIVING = Partitions.parse("2013-11-27")


@pytest.mark.full
def test_the_gate_keeps_its_rates(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The year is loaded as one range. Of it the gate stops the schedule of one day, which a person accepts."""
    var = tmp_path_factory.mktemp("faults")
    of = Settings(var=var, airflow_port=free_port(), mlflow_port=free_port(), spark_port=free_port())
    case = use_case(faults.CASE)
    with started(of) as stack, pytest.MonkeyPatch.context() as patch:
        replay(stack.settings.landing, HISTORY, with_dimensions=True)
        with pytest.raises(RunFailedError):
            stack.airflow.follow([stack.airflow.trigger("lakehouse_ingest_flights", HISTORY)])
        patch.setenv("NOCTURNE_VAR", str(var))
        settings.cache_clear()
        refused = {line.feature for line in acceptance.refused(case, HISTORY)}
        assert refused == {line.feature for line in acceptance.refused(case, THANKSGIVING)} != set()
        acceptance.accept(case, THANKSGIVING, refused, "a test", "Thanksgiving has a schedule of its own")
        stack.airflow.follow([stack.airflow.trigger(f"{case.name}_features", HISTORY)])
        world = faults.world(case)
        tried = faults.try_all(world)
    settings.cache_clear()
    assert faults.problems(world, tried) == []
