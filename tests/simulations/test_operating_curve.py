"""The gates' error rates are those that they promise, on real days."""

import pytest

from examples.replay import replay
from include.core.partitions import Partitions
from include.core.settings import Settings, settings
from include.use_cases import use_case
from tests.integration.conftest import started
from tests.s3 import free_port
from tests.simulations import operating_curve, slices

HISTORY = Partitions.parse("2013-01-01..2013-07-01")


@pytest.mark.full
def test_the_gate_keeps_its_error_rates(tmp_path_factory: pytest.TempPathFactory) -> None:
    var = tmp_path_factory.mktemp("curve")
    of = Settings(var=var, airflow_port=free_port(), mlflow_port=free_port(), spark_port=free_port())
    with started(of) as stack, pytest.MonkeyPatch.context() as patch:
        replay(stack.settings.landing, HISTORY, with_dimensions=True)
        stack.airflow.follow([stack.airflow.trigger("lakehouse_ingest_flights", HISTORY)])
        patch.setenv("NOCTURNE_VAR", str(var))
        settings.cache_clear()
        case = use_case(operating_curve.CASE)
        found = operating_curve.curve(case, operating_curve.world(case))
        groups = slices.curve(case)
    settings.cache_clear()
    assert [line for one in found for line in one.broken()] == []
    assert [str(one) for one in groups if one.is_broken] == []
