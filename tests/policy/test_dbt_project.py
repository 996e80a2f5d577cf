"""Every dbt model says what it is, what its columns are and what publishing it needs, and who uses what comes out."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.lake.columns import Columns
from include.sources import sources
from include.use_cases import UseCase, use_cases

MODELS = Path(__file__).resolve().parents[2] / "dbt_project" / "models"
YAML = [yaml.safe_load(path.read_text()) for path in sorted(MODELS.rglob("*.yml"))]
DESCRIBED: dict[str, Any] = {model["name"]: model for one in YAML for model in one.get("models", [])}
SQL = {path.stem: path for path in sorted(MODELS.rglob("*.sql"))}
MARTS = [name for name, path in SQL.items() if path.relative_to(MODELS).parts[0] == "marts"]
EXPOSURES = [exposure for one in YAML for exposure in one.get("exposures", [])]
TABLES = [table for one in YAML for source in one.get("sources", []) for table in source["tables"]]


def undescribed(model: dict[str, Any]) -> list[str]:
    parts = {model["name"]: model} | {
        f"{model['name']}.{column['name']}": column for column in model.get("columns", [])
    }
    return [name for name, part in parts.items() if not str(part.get("description") or "").strip()]


def test_what_is_described_is_what_there_is() -> None:
    assert sorted(DESCRIBED) == sorted(SQL)


@pytest.mark.parametrize("name", DESCRIBED)
def test_a_model_and_its_columns_are_described(name: str) -> None:
    assert undescribed(DESCRIBED[name]) == []


@pytest.mark.parametrize("name", SQL)
def test_the_columns_that_are_described_are_those_there_are(name: str, dbt_columns: Columns) -> None:
    """In their order: whoever reads the file of descriptions reads the table."""
    assert [column["name"] for column in DESCRIBED[name].get("columns", [])] == dbt_columns.of(name)


@pytest.mark.parametrize("case", use_cases().values(), ids=lambda case: case.name)
def test_a_use_case_says_what_its_model_reads_and_who_answers_for_it(case: UseCase) -> None:
    found = next(one for one in EXPOSURES if one["type"] == "ml" and one["name"] == case.name)
    assert found["owner"]["name"] == case.owner
    assert found["description"].strip()
    assert found["url"].endswith(f"/models/{case.name}")
    read = (case.features_table, case.labels_table)
    assert set(found["depends_on"]) == {f"ref('{table}')" for table in read}


@pytest.mark.parametrize("case", use_cases().values(), ids=lambda case: case.name)
def test_features_are_held_to_their_population(case: UseCase) -> None:
    """Each thing to predict once, and known by then. The population has all days: which to build, the night says."""
    population = f"int_{case.name}__population"
    assert {*case.entity, case.day, "ingestion_date"} <= {column["name"] for column in DESCRIBED[population]["columns"]}
    assert "in_nights" not in SQL[population].read_text()
    tests = {
        name: one["arguments"] for test in DESCRIBED[case.features_table]["data_tests"] for name, one in test.items()
    }
    assert tests["same_rows"] == {
        "to": f"ref('{population}')",
        "key": list(case.entity),
        "day": case.day,
        "known": "ingestion_date",
        "lead_days": case.horizon_days,
    }
    assert tests["known_before"] == {"known_from": "known_from", "day": case.day}
    for table in (case.features_table, case.labels_table):
        keyed = {name: one["arguments"] for test in DESCRIBED[table]["data_tests"] for name, one in test.items()}
        assert {*keyed["primary_key"]["columns"], case.day} == {*case.entity, case.day}


@pytest.mark.parametrize("case", use_cases().values(), ids=lambda case: case.name)
def test_only_its_own_models_name_what_a_source_has(case: UseCase) -> None:
    """What all use cases share knows no table and no column of one of them. A column may be called as an English word,
    as ``days``, which only in quotes is that column."""
    shared = [path for folder in ("macros", "tests/generic") for path in (MODELS.parent / folder).rglob("*.sql")]
    assert shared
    names = {*case.entity, case.day, case.label, *case.sources, case.name, *MARTS}
    ours = re.compile("|".join(rf"\b{one}\b" if "_" in one else f"['\"]{one}['\"]" for one in sorted(names)))
    assert [(path.name, found) for path in shared if (found := ours.findall(path.read_text()))] == []


@pytest.mark.parametrize("name", MARTS)
def test_a_mart_says_its_day_and_has_a_contract(name: str) -> None:
    """``meta.day`` is the column that its table is partitioned by; publishing fails without it."""
    found = re.search(r"config\([^)]*meta=\{[^}]*'day': '(\w+)'", SQL[name].read_text())
    assert found, f"{SQL[name]} has no meta.day"
    columns = {column["name"]: column for column in DESCRIBED[name]["columns"]}
    assert columns[found[1]]["data_type"] == "date"
    assert all(column.get("data_type") for column in columns.values()), "an enforced contract names every type"
    tested = DESCRIBED[name].get("data_tests") or any(column.get("data_tests") for column in columns.values())
    assert tested, "a mart that no test looks at"


def test_every_feed_is_a_source_table_and_described() -> None:
    feeds = [f"{source.name}__{feed.name}" for source in sources().values() for feed in source.feeds]
    assert sorted(table["identifier"] for table in TABLES) == sorted(feeds)
    assert [table["name"] for table in TABLES if not table.get("description", "").strip()] == []


def test_the_rule_refuses() -> None:
    assert undescribed({"name": "m", "columns": [{"name": "a", "description": " "}, {"name": "b"}]}) == [
        "m",
        "m.a",
        "m.b",
    ]
