"""The pages that are made from the code say what the code says: settings, and DAGs as Airflow reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.core.settings import HOME, Settings
from include.governance import reference
from include.orchestration import catalogue

MEND = "run `make catalogue`"


@pytest.fixture(scope="module")
def dags() -> list[dict[str, Any]]:
    return catalogue.read(HOME)


def test_the_page_of_settings_is_as_they_are() -> None:
    path = HOME / "docs" / "settings.md"
    assert (path.read_text() if path.exists() else "") == reference.page(), MEND


def test_the_pages_of_dags_are_as_airflow_reads_them(dags: list[dict[str, Any]]) -> None:
    there = {path.stem: path.read_text() for path in (HOME / "docs" / "dags").glob("*.md")}
    wanted = catalogue.pages(dags)
    gone = sorted(there.keys() - wanted.keys())
    assert gone == [], f"no DAG is of {', '.join(gone)} any more: remove the page from docs/dags"
    assert sorted(name for name, text in wanted.items() if there.get(name) != text) == [], MEND


def test_every_setting_and_every_task_says_what_it_is_for(dags: list[dict[str, Any]]) -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    silent = [f"{dag['id']}.{task['id']}" for dag in dags for task in dag["tasks"] if not task["doc"]]
    assert silent == [], "a docstring, or the doc_md of an operator"


def test_a_setting_is_there_by_each_of_its_names() -> None:
    assert "| `AWS_REGION` or `AWS_DEFAULT_REGION` | `us-east-1` |" in reference.page()
    assert "| `NOCTURNE_TASK_MINUTES` | `60` |" in reference.page()
    assert str(HOME) not in reference.page(), "the same in every clone"


TASK = {
    "id": "look",
    "doc": "Looks at ``a|b``\nonce.\n\nThen goes.",
    "owner": "them",
    "after": ["wait"],
    "announces": ["silver.shop"],
    "retries": 3,
    "retry_seconds": 10.0,
    "seconds": 5400.0,
    "waits": 0,
    "pool": "small",
}
DAG = {
    "id": "lakehouse_transform_shop",
    "doc": "What it is for.",
    "tags": ["lakehouse", "shop"],
    "schedule": "PartitionedAssetTimetable",
    "cron": "",
    "zone": "",
    "listens_to": "bronze.shop",
    "params": {"from": "First night", "dry": ""},
    "runs": 1,
    "seconds": 604800.0,
    "is_paused": True,
    "tasks": [TASK],
}


def test_a_page_says_when_a_dag_runs_and_what_its_tasks_do() -> None:
    (page,) = catalogue.pages([DAG]).values()
    for line in (
        "# DAGs of shop",
        "What it is for.",
        "| runs for | each partition that is announced of `bronze.shop` |",
        "| announces | `silver.shop` |",
        "| parameters | `from` (First night), `dry` |",
        "| a run takes at most | 168 h |",
        "| paused | until somebody takes that off in Airflow |",
        "| a task is tried again | 3 times, 10 s apart |",
        "| pool | small |",
        r"| look | Looks at `a\|b` once. | wait | 90 min |  |",
    ):
        assert line in page.splitlines()


def test_the_dags_of_the_lake_have_a_page_and_the_others_one_a_source_or_use_case() -> None:
    lake = DAG | {"id": "lakehouse_maintain", "tags": ["lakehouse"]}
    ingest = DAG | {"id": "lakehouse_ingest_shop"}
    found = catalogue.pages([DAG, lake, ingest])
    assert list(found) == ["lakehouse", "shop"]
    assert found["shop"].index("## lakehouse_ingest_shop") < found["shop"].index("## lakehouse_transform_shop")


def test_a_dag_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "include").symlink_to(HOME / "include")
    (tmp_path / "airflow.cfg").write_text((HOME / "airflow.cfg").read_text())
    (tmp_path / "dags" / "odd.py").write_text("def odd(:\n")
    with pytest.raises(catalogue.BrokenDagError, match=r"(?s)odd\.py: .*SyntaxError"):
        catalogue.read(tmp_path)
