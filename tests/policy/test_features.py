"""Every feature: dbt says what it is, the spec of its use case what the model expects, and the two agree."""

import re
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from jinja2 import Environment, nodes

from include.contracts.use_case import UseCase
from include.core.settings import HOME
from include.features import catalogue
from include.features.catalogue import Catalogue
from include.sources import source
from include.use_cases import use_cases
from tests.ml.conftest import toy_case

CASES = list(use_cases().values())


def name(case: UseCase) -> str:
    return case.name


@pytest.fixture(params=CASES, ids=name)
def shown(request: pytest.FixtureRequest) -> Catalogue:
    return catalogue.read(request.param)


def test_a_feature_has_every_fact_and_the_spec_agrees(shown: Catalogue) -> None:
    assert [entry.feature for entry in shown.entries] == list(shown.case.features)


def test_its_page_says_what_the_catalogue_says(shown: Catalogue) -> None:
    path = catalogue.page_of(shown.case)
    assert (path.read_text() if path.exists() else "") == catalogue.page(shown), "run `make catalogue`"


def test_a_window_in_a_name_is_its_look_back(shown: Catalogue) -> None:
    windows = {entry.feature.name: re.search(r"_(\d+)d$", entry.feature.name) for entry in shown.entries}
    named = {feature: int(window[1]) for feature, window in windows.items() if window}
    assert named
    assert {entry.feature.name: entry.look_back_days for entry in shown.entries if entry.feature.name in named} == named


def test_no_training_day_lacks_its_look_back(shown: Catalogue) -> None:
    complete = max(source(name).first_day for name in shown.case.sources) + timedelta(shown.look_back_days)
    assert shown.case.training.first_day >= complete


def calls(macro: str, sql: str) -> list[dict[str, Any]]:
    """What each call of ``macro`` in a model is given by name; of a name that the model sets its value."""
    tree = Environment(extensions=["jinja2.ext.do"]).parse(sql)
    values = {
        one.target.name: one.node.value
        for one in tree.find_all(nodes.Assign)
        if isinstance(one.target, nodes.Name) and isinstance(one.node, nodes.Const)
    }

    def value(given: nodes.Expr) -> Any:
        return given.value if isinstance(given, nodes.Const) else values.get(getattr(given, "name", ""))

    return [
        {one.key: value(one.value) for one in call.kwargs}
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name == macro
    ]


def lags(sql: str) -> list[tuple[Any, Any]]:
    """``label_days`` and ``horizon_days`` of each target statistic of a model."""
    return [(one.get("label_days"), one.get("horizon_days", 1)) for one in calls("target_statistics", sql)]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_target_statistics_wait_for_a_label_as_long_as_the_spec_says(case: UseCase) -> None:
    """With a smaller number labels are looked at that nobody had yet."""
    models = [path for path in (HOME / "dbt_project" / "models").rglob("*.sql") if case.name in path.parts]
    assert models
    said = {(case.label_days, case.horizon_days)}
    wrong = {path.name: found for path in models if (found := set(lags(path.read_text())) - said)}
    assert wrong == {}, f"the spec of {case.name} says label_days={case.label_days}, horizon_days={case.horizon_days}"


def test_the_lag_of_a_target_statistic_is_read_off_its_call() -> None:
    sql = """{% set label_days = 30 %}
    with a as ({{ target_statistics('p', ref('o'), by='c', label_days=label_days) }}),
    b as ({{ target_statistics('p', ref('o'), by='d', label_days=7, horizon_days=2) }}),
    c as ({{ target_statistics('p', ref('o'), 'd') }})"""
    assert lags(sql) == [(30, 1), (7, 2), (None, 1)]


def described(**facts: object) -> dict[str, Any]:
    return {"unit": "gram", "as_of": "scales", "look_back_days": 0} | facts


def column(name: str, data_type: str = "double", **facts: object) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "description": name, "config": {"meta": described(**facts)}}


TABLE: dict[str, Any] = {
    "name": "toy__features",
    "description": "coins",
    "config": {"meta": {"freshness_hours": 8, "as_of": {"scales": "what the scales said the day before"}}},
    "columns": [
        *(
            {"name": name, "data_type": "string", "description": name}
            for name in ("coin_id", "flight_date", "known_from")
        ),
        column("weight"),
        column("metal", "string"),
        column("noise"),
    ],
}


def test_the_rules_accept() -> None:
    assert catalogue.problems(toy_case(), TABLE) == []


def with_feature(**changed: Any) -> dict[str, Any]:
    """``TABLE``, with other keys of the column ``weight``."""
    table = deepcopy(TABLE)
    table["columns"][3] |= changed
    return table


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (with_feature(description=" "), "weight has no description"),
        (with_feature(data_type=None), "weight has no data_type"),
        (with_feature(config={"meta": described(unit="")}), "weight has no unit"),
        (with_feature(config={"meta": described(as_of="")}), "weight has no as_of"),
        (with_feature(config={}), "weight has no look_back_days"),
        (with_feature(config={"meta": described(look_back_days=-1)}), "weight looks back -1 days"),
        (
            with_feature(config={"meta": described(as_of="nose")}),
            "weight goes by the as-of rule nose, which is not written",
        ),
        (with_feature(config={"meta": described(units="g")}), "weight says units, which nobody reads"),
        (with_feature(data_type="string"), "weight is string, and numeric in the spec"),
        (with_feature(name="mass"), "has no column weight"),
        (with_feature(name="mass"), "mass is neither a feature nor context in the spec"),
        (TABLE | {"config": {"meta": {"as_of": TABLE["config"]["meta"]["as_of"]}}}, "within how many freshness_hours"),
        (
            TABLE | {"config": {"meta": {"freshness_hours": 8, "as_of": {"scales": "", "nose": ""}}}},
            "rule nose is nobody's",
        ),
    ],
)
def test_the_rules_refuse(table: dict[str, Any], problem: str) -> None:
    assert problem in "; ".join(catalogue.problems(toy_case(), table))
