"""A copy of the whole repository, in which a source and a use case on it are made, and run at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.scaffold import companies
from tests.scaffold import conftest as samples
from tests.scaffold.repository import Repository, airflow_of, copied

pytestmark = pytest.mark.integration

ODD = (
    *("--source", "deals", "--task", "multiclass", "--label", "max(channel)", "--entity", "shop,off,due_on,seller"),
    *("--population", 'count > 1 and channel <> "it\'s"'),
)
LEAVES = ("--task", "binary", "--label", "count_if(status = 'left') > 0", "--label-days", "14", "--entity", "customer")
ANSWERS = ("--source", "shop", "--task", "binary", "--label", "count(order_id) > 0", "--entity", "customer")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository with a source and a use case that were made in it."""
    folder = tmp_path_factory.mktemp("tree") / "repository"
    found, place = copied(folder, airflow_of(folder)), samples.orders(tmp_path_factory.mktemp("samples"))
    found.nocturne("source", "--name", "shop", "--from", str(place))
    found.nocturne("use-case", "--name", "reorders", *ANSWERS, "--label-days", "30")
    odd = samples.deals(place.parent)
    found.nocturne("source", "--name", "deals", "--from", str(odd), "--key", "n", "--day", "sold_on")
    found.nocturne("use-case", "--name", "ways", *ODD)
    for kind, write in (("tables", companies.customers), ("changes", companies.changes)):
        folder = tmp_path_factory.mktemp(kind)
        write(folder, 40)
        found.nocturne("source", "--name", kind, "--from", str(folder))
    active = ("--population", "status <> 'left'")
    found.nocturne("use-case", "--name", "leavers", "--source", "tables,changes", *LEAVES, *active)
    of_day = ("--source", "changes,tables", "--join", "tables.event_date=event_date")
    found.nocturne("use-case", "--name", "changing", *of_day, *LEAVES, *active)
    return found


def test_no_file_that_was_there_is_changed(tree: Repository) -> None:
    changed = tree.changed()
    assert len(changed) > 20
    assert [line for line in changed if not line.startswith("?? ")] == []


def test_it_is_written_as_the_project_writes(tree: Repository) -> None:
    new = [line[3:] for line in tree.changed()]
    code, sql = ([path for path in new if path.endswith(end)] for end in (".py", ".sql"))
    tree.python("ruff", "check", "--no-cache", *code)
    tree.python("ruff", "format", "--no-cache", "--check", *code)
    tree.python("sqlfluff", "lint", "--nocolor", "--disable-progress-bar", *sql)


def test_the_source_and_the_use_case_run_at_once(tree: Repository) -> None:
    """Their own tests: landing to silver, and the features beside an oracle, on the embedded engine."""
    said = tree.python("pytest", "-q", "tests/sources/shop", "tests/use_cases/reorders", "-p", "no:cacheprovider")
    assert "3 passed" in said


@pytest.mark.full
def test_so_do_those_of_names_and_values_that_are_words_of_others(tree: Repository) -> None:
    said = tree.python("pytest", "-q", "tests/sources/deals", "tests/use_cases/ways", "-p", "no:cacheprovider")
    assert "3 passed" in said


@pytest.mark.full
def test_so_do_those_of_snapshots_of_changes_and_of_both(tree: Repository) -> None:
    """Who is there by the newest of them; and features of a further source, by the entity and by the day alone."""
    said = tree.python("pytest", "-q", "tests/use_cases/leavers", "tests/use_cases/changing", "-p", "no:cacheprovider")
    assert "2 passed" in said


def test_they_keep_the_rules_of_sources_and_dbt(tree: Repository) -> None:
    rules = ("tests/policy/test_sources.py", "tests/policy/test_dbt_project.py", "tests/policy/test_privacy.py")
    tree.python("pytest", "-q", *rules, "-p", "no:cacheprovider")


def test_their_dags_appear(tree: Repository) -> None:
    shown = tree.python("tests.policy.dag_facts", str(tree.tree / "dags"))
    for dag_id in ("lakehouse_ingest_shop", "lakehouse_transform_shop", "reorders_features", "reorders_monitor"):
        assert f'"{dag_id}"' in shown
    assert '"errors": {}' in shown


def test_a_half_finished_one_stops_nobody_else(tree: Repository) -> None:
    """Airflow shows why it is not there; all others run on."""
    written = []
    for package in ("sources", "use_cases"):
        folder = tree.tree / "include" / package / "half"
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "spec.py").write_text("SPEC = SOURCE = (\n")
        written.append(folder)
    dag = tree.tree / "dags" / "use_cases" / "half.py"
    dag.write_text((tree.tree / "dags" / "use_cases" / "reorders.py").read_text().replace('"reorders"', '"half"'))
    try:
        shown = json.loads(tree.python("tests.policy.dag_facts", str(tree.tree / "dags")).splitlines()[-1])
    finally:
        dag.unlink()
        for folder in written:
            shutil.rmtree(folder)
    assert sorted(Path(path).name for path in shown["errors"]) == ["half.py", "specs.py"]
    assert all("SyntaxError" in why for why in shown["errors"].values())
    assert {"lakehouse_ingest_shop", "lakehouse_transform_flights", "reorders_features"} <= set(shown["dags"])
