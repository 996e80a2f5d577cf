"""What dbt knows of lineage, and that each features model says which days it looks at."""

import re
from pathlib import Path

import pytest
import yaml

from include.contracts.use_case import UseCase
from include.features import catalogue
from include.governance.lineage import Upstream, graph
from include.use_cases import use_cases
from tests.governance.conftest import MANIFEST

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "dbt_project" / "models"


def test_a_table_draws_on_tables_through_what_is_only_sql() -> None:
    assert graph(MANIFEST) == {
        "silver.tosses": [Upstream("bronze.coins__tosses")],
        "silver.register": [Upstream("bronze.coins__register")],
        "gold.toy__features": [Upstream("silver.register", None, -1), Upstream("silver.tosses", -2, -1)],
        "gold.toy__labels": [Upstream("silver.tosses")],
    }


def referred(model: str) -> set[str]:
    """The marts that a model's SQL names, through intermediate models."""
    sql = next(MODELS.rglob(f"{model}.sql")).read_text()
    names = set(re.findall(r"ref\('(\w+)'\)", sql))
    inner = {name for name in names if name.startswith("int_")}
    return (names - inner).union(*(referred(name) for name in inner))


@pytest.mark.parametrize("path", sorted((MODELS / "marts").glob("*/*/*.yml")), ids=lambda path: path.parent.name)
def test_days_are_said_of_tables_that_a_model_looks_at(path: Path) -> None:
    for model in yaml.safe_load(path.read_text()).get("models", []):
        days = model.get("config", {}).get("meta", {}).get("draws_on", {})
        assert set(days) <= referred(model["name"]) if days else True
        if model["name"].endswith("__features"):
            # What says that there is something to predict apart, a row must not look at its own day.
            assert all(last < 0 for name, (_, last) in days.items())
            case = model["name"].removesuffix("__features")
            assert referred(model["name"]) - set(days) <= referred(f"int_{case}__population")


@pytest.mark.parametrize("case", use_cases().values(), ids=lambda case: case.name)
def test_the_look_back_is_as_long_as_its_dag_waits_for(case: UseCase) -> None:
    models = yaml.safe_load((MODELS / f"marts/use_cases/{case.name}/_{case.name}__models.yml").read_text())["models"]
    [described] = [model for model in models if model["name"] == case.features_table]
    firsts = [first for first, _ in described["config"]["meta"]["draws_on"].values() if first is not None]
    assert -min(firsts) >= catalogue.read(case).look_back_days, "or longer: who is predicted is looked for, too"
