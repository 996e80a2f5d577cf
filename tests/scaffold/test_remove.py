"""What is left of a source or a use case is said first, and dropped only when its files are gone."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.governance import verify
from include.lake import candidate, dbt, delta, publications, publish, removals
from include.lake.publish import Judged, Request
from include.scaffold import remove
from include.scaffold.errors import ScaffoldError
from tests import commands
from tests.scaffold.repository import Repository

ROWS = pl.DataFrame({"day": [date(2024, 5, 1)] * 2, "id": [1, 2]})
TABLES = ("gold.toys__features", "gold.toys__labels", "gold.toys_too__features")


def write(table: str) -> None:
    """Publish the table as a build does."""
    publish.publish_all(
        lambda: Judged([Request(table, ROWS.lazy(), ["day"], pl.lit(True))]),
        "toys 2024-05-01",
        lambda versions, published: publications.changes(published, versions, "a run"),
    )


class Airflow:
    """As much of Airflow as is asked: its DAGs, and what was deleted."""

    deleted: list[str]
    busy: bool

    def __init__(self, settings: Any) -> None:
        pass

    def pages(self, path: str, key: str, **given: Any) -> list[dict[str, Any]]:
        return [{"dag_id": "toys_features"}, {"dag_id": "toys_too_features"}]

    def runs(self, dag_id: str, **given: Any) -> list[Any]:
        from tests.scaffold.test_night import a_run

        return [a_run(dag_id, "2024-05-01", "running")] if self.busy else []

    def call(self, method: str, path: str) -> None:
        self.deleted.append(f"{method} {path}")


@pytest.fixture
def toys(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the use case ``toys``, its tables, and those of another whose name begins alike."""
    Airflow.deleted, Airflow.busy = [], False
    monkeypatch.setattr(remove, "Airflow", Airflow)
    monkeypatch.setattr(remove, "_models", lambda name: ())
    folder = root / "include/use_cases/toys"
    folder.mkdir(parents=True)
    (folder / "spec.py").touch()
    for table in TABLES:
        write(table)
    return root


def tables() -> list[str]:
    return [table for table in TABLES if delta.exists(*table.split("."))]


def test_what_only_python_left_behind_is_no_file_of_it(toys: Path) -> None:
    folder = toys / "include/use_cases/toys"
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "spec.cpython-312.pyc").touch()
    assert remove.of_use_case(toys, "toys").files == ("include/use_cases/toys",)
    (folder / "spec.py").unlink()
    assert remove.of_use_case(toys, "toys").files == ()


def without_files(root: Path) -> remove.Left:
    (root / "include/use_cases/toys/spec.py").unlink()
    (root / "include/use_cases/toys").rmdir()
    return remove.of_use_case(root, "toys")


def test_it_is_said_what_there_is(toys: Path) -> None:
    assert remove.tell(remove.of_use_case(toys, "toys")) == [
        "files, which you remove: rm -r include/use_cases/toys",
        "table gold.toys__features: 2 rows",
        "table gold.toys__labels: 2 rows",
        "DAG toys_features with the history of its runs",
    ]
    assert tables() == list(TABLES)


def test_the_commands_that_are_said_remove_the_files_committed_or_not(toys: Path) -> None:
    """A use case that was just scaffolded is not in git, and a page that was made later need not be."""
    repository = Repository(toys)
    repository.run("git", "init", "--quiet")
    repository.commit("toys")
    page = toys / "docs/features/toys.md"
    page.parent.mkdir(parents=True)
    page.touch()
    said = remove.tell(remove.of_use_case(toys, "toys"))[0]
    assert said == "files, which you remove: git rm -r include/use_cases/toys && rm -r docs/features/toys.md"
    repository.run("sh", "-c", said.partition(": ")[2])
    assert remove.of_use_case(toys, "toys").files == ()


def test_while_its_files_are_there_nothing_is_dropped(toys: Path) -> None:
    with pytest.raises(ScaffoldError, match="its files are there yet"):
        remove.drop(remove.of_use_case(toys, "toys"))
    assert tables() == list(TABLES)


def test_while_a_run_is_under_way_nothing_is_dropped(toys: Path) -> None:
    left = without_files(toys)
    Airflow.busy = True
    with pytest.raises(ScaffoldError, match="toys_features by_hand is under way"):
        remove.drop(left)
    assert tables() == list(TABLES)


def test_what_a_gate_has_refused_of_it_goes_too(toys: Path) -> None:
    suffix = candidate.suffix(Partitions.parse("2024-05-01"))
    of_it, of_another = (candidate.name(f"gold.{name}__features", suffix) for name in ("toys", "toys_too"))
    for one in (of_it, of_another):
        candidate.write(one, [ROWS])
    left = without_files(toys)
    assert f"candidate gold__toys__features{suffix}, which was refused" in remove.tell(left)
    remove.drop(left)
    assert (candidate.exists(of_it), candidate.exists(of_another)) == (False, True)


def test_then_it_is_dropped_and_recorded_and_the_other_one_stays(toys: Path) -> None:
    built = dbt.artifacts("toys_features")
    built.mkdir(parents=True)
    (built / "manifest.json").write_text("{}")
    assert remove.drop(without_files(toys)) == [
        "history of toys_features",
        "table gold.toys__features",
        "table gold.toys__labels",
        "what dbt left of toys_features",
    ]
    assert not built.exists()
    assert tables() == ["gold.toys_too__features"]
    assert Airflow.deleted == ["DELETE /dags/toys_features"]
    lines = removals.read().filter(pl.col("what") == "drop").select("table", "state", "rows").rows()
    assert lines == [(table, state, 2) for table in TABLES[:2] for state in ("begun", "done")]
    assert not any(problems for what, problems in verify.verify().items())


def test_a_table_of_the_same_name_may_come_again(toys: Path) -> None:
    """The ledger of publications knows that the earlier rows have gone."""
    remove.drop(without_files(toys))
    write("gold.toys__features")
    assert not any(problems for what, problems in verify.verify().items())


def test_a_source_that_is_read_is_refused(root: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("remove", "--source", "flights") == 2
    assert "remove: source flights: the use case flight_delays reads it" in capsys.readouterr().err
