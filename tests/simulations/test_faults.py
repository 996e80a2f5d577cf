"""The feature gate stops broken days and lets sound ones through, on a year of real days."""

import pytest

from tests.simulations import faults, year


@pytest.mark.full
def test_the_gate_keeps_its_rates(tmp_path_factory: pytest.TempPathFactory) -> None:
    with year.loaded(tmp_path_factory.mktemp("faults")) as case:
        world = faults.world(case)
        tried = faults.try_all(world)
        faults.try_on(world, tried)
    assert faults.problems(world, tried) == []
