"""Labels that are asked for are worth more where the label is rare, and nowhere certainly less than drawn ones."""

import pytest

from tests.simulations import asking


@pytest.mark.full
def test_where_a_label_is_rare_asking_teaches_more_than_chance() -> None:
    found = asking.compare("rare", asking.rare(), 30)
    assert found.gain > 3 * found.gain_error
    assert abs(found.quiet) < 3 * found.quiet_error


@pytest.mark.full
@pytest.mark.parametrize("name", asking.WORLDS)
def test_nowhere_is_it_certainly_worse(name: str) -> None:
    make, repeats = asking.WORLDS[name]
    found = asking.compare(name, make(), repeats)
    assert found.gain > -3 * found.gain_error
