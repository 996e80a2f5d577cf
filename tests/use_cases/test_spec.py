import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import include.use_cases as catalogue
from include.contracts.use_case import Feature, Promotion, Training


def test_flight_delays_is_found_and_complete() -> None:
    case = catalogue.use_case("flight_delays")
    assert case.features_table == "flight_delays__features"
    assert len(case.feature_names) == 43
    forbidden = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum", case.label}
    assert not forbidden & set(case.feature_names)


def test_unknown_name_says_what_there_is() -> None:
    with pytest.raises(KeyError, match=r"no use case `nope`; there are: .*flight_delays"):
        catalogue.use_case("nope")


def test_a_new_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coins").mkdir()
    (tmp_path / "coins" / "__init__.py").touch()
    (tmp_path / "coins" / "spec.py").write_text(
        "from dataclasses import replace\n"
        "from include.use_cases.flight_delays.spec import SPEC as other\n"
        "SPEC = replace(other, name='coins')\n"
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "__init__.py").touch()
    monkeypatch.setattr(catalogue, "__path__", [*catalogue.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "include.use_cases.coins", raising=False)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "__init__.py").touch()
    (tmp_path / "half" / "spec.py").write_text("SPEC = UseCase(")
    catalogue._specs.cache_clear()
    try:
        found = catalogue.use_cases()
        assert {"coins", "flight_delays"} <= set(found)
        assert not {"empty", "half"} & set(found)
        with pytest.raises(catalogue.BrokenUseCaseError, match=r"include/use_cases/half/spec.py: SyntaxError"):
            catalogue.use_case("half")
    finally:
        catalogue._specs.cache_clear()


def test_a_forgotten_comma_is_found_where_it_was_forgotten() -> None:
    case = catalogue.use_case("flight_delays")
    with pytest.raises(ValueError, match="use case flight_delays: context is 'known_from' and no tuple"):
        replace(case, context=("known_from"))
    with pytest.raises(ValueError, match="feature carrier: vocabulary is 'UA' and no tuple"):
        Feature("carrier", "categorical", vocabulary=("UA"))  # type: ignore[arg-type]


def test_specs_that_contradict_themselves_are_refused() -> None:
    case = catalogue.use_case("flight_delays")
    with pytest.raises(ValueError, match="vocabulary"):
        Feature("carrier", "categorical")
    with pytest.raises(ValueError, match="vocabulary"):
        Feature("distance", vocabulary=("far",))
    with pytest.raises(ValueError, match="leave it out"):
        Feature("carrier", "categorical", vocabulary=("AA", "unknown"))
    with pytest.raises(ValueError, match="go together"):
        Training(params={}, rounds=1, first_day=case.training.first_day, early_stopping_rounds=5)
    with pytest.raises(ValueError, match="listed twice"):
        replace(case, features=(*case.features, case.features[0]))
    with pytest.raises(ValueError, match="baseline"):
        replace(case, features=case.features[:2])


def test_unknown_is_the_last_level() -> None:
    assert Feature("metal", "categorical", vocabulary=("gold", "iron")).levels == ("gold", "iron", "unknown")
    assert Feature("weight").levels == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"approvals": 3}, "approvals is 3; it must be 0, 1 or 2"),
        ({"approvals": True}, "approvals is True"),
        ({"approvers": ("ann",)}, "approvals is 0: nobody would ask them"),
        ({"approvals": 2, "approvers": ("ann",)}, "2 approvals need as many persons"),
        ({"approvals": 1, "approvers": "ann"}, "approvers is 'ann' and no tuple"),
        ({"approvals": 1, "approvers": ("ann", "ann")}, "must be different ids"),
        ({"approvals": 1, "approvers": ("",)}, "must be different ids"),
        ({"approvals": 1, "approval_hours": 0}, "approval_hours is 0; it must be above 0"),
    ],
)
def test_approvals_that_make_no_sense_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Promotion(**wrong)
