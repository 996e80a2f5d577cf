"""``make verify`` finds what was done to the lake behind its back. On a lake that real ingestions made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from include.core.settings import settings
from include.governance import verify
from include.lake import commit, delta, publications, usage
from tests import commands
from tests.ingestion import test_late_rows as toys

TRIPS = "bronze.toys__trips"


@pytest.fixture(scope="module")
def nights(module_home: Path) -> Path:
    """A lake of four nights with late rows and a quarantine."""
    toys.land()
    for night in toys.NIGHTS:
        toys.run(night)
    return module_home


@pytest.fixture
def lake(nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same for a test to spoil: it is put back afterwards."""
    monkeypatch.setattr(verify, "sources", lambda: {toys.SOURCE.name: toys.SOURCE})
    shutil.copytree(nights / "lake", tmp_path / "kept")
    yield nights / "lake"
    shutil.rmtree(nights / "lake")
    shutil.copytree(tmp_path / "kept", nights / "lake")


def problems() -> list[str]:
    return [one for found in verify.verify().values() for one in found]


def test_a_lake_that_nobody_touched_is_well(lake: Path) -> None:
    found = verify.verify()
    assert not any(found.values()), found
    assert "3 tables have the content that was published" in found


def test_a_row_deleted_by_hand_is_found(lake: Path) -> None:
    usage.opened(TRIPS).delete("trip = 3")
    found = problems()
    assert any("of the night 2020-06-10 it holds 2 rows, and bronze.toys__completeness says 3" in one for one in found)
    assert any(f"{TRIPS} 2020-06-11 2020-06-10: it holds other rows (2:" in one for one in found)
    assert len(found) == 2


def test_a_value_changed_by_hand_is_found(lake: Path) -> None:
    """The number of rows is as it was."""
    usage.opened(TRIPS).update(updates={"amount": "7.5"}, predicate="trip = 3")
    (found,) = problems()
    assert f"{TRIPS} 2020-06-11 2020-06-10: it holds other rows" in found


def test_rows_that_nobody_published_are_found(lake: Path) -> None:
    row = delta.read_all("bronze", "toys__trips").head(1)
    row = row.with_columns(pl.lit("2020-06-20").str.to_date().alias("partition_day"))
    write_deltalake(str(usage.path_of(TRIPS)), row, mode="append")
    assert any("2020-06-20" in one and "nobody has published" in one for one in problems())


def test_an_edited_line_of_a_ledger_is_found(lake: Path) -> None:
    lines = publications.read()
    edited = lines.with_columns(rows=pl.when(pl.col("line") == 2).then(99).otherwise("rows"))
    write_deltalake(str(lake / "ledger" / "publications"), edited, mode="overwrite")
    (found,) = problems()
    assert found.startswith("ledger.publications: line 2 is not as it was written")


def test_a_lost_file_is_found(lake: Path) -> None:
    path = usage.files_of(usage.opened(TRIPS))["path"][0]
    (usage.path_of(TRIPS) / path).unlink()
    assert problems() == [f"{TRIPS}: the file {path} is lost"]


def test_counts_changed_by_hand_are_found(lake: Path) -> None:
    usage.opened("bronze.toys__completeness").update(
        updates={"rows_in": "10"}, predicate="ingestion_date = '2020-06-10'"
    )
    assert problems() == ["toys trips 2020-06-10: 10 rows in, 3 accounted for"]


def test_a_publication_that_was_killed_is_said(lake: Path) -> None:
    commit.journal().mkdir(exist_ok=True)
    (commit.journal() / "x.json").write_text(json.dumps({"what": "toys 2020-06-10"}))
    (found,) = problems()
    assert found.startswith("toys 2020-06-10 was begun and is not finished")


def test_the_command_says_how_many(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("verify") == 0
    assert "all is as it was published" in capsys.readouterr().out
    usage.opened(TRIPS).delete("trip = 3")
    assert commands.run("verify") == 1
    out = capsys.readouterr().out
    assert "NOT every row is accounted for" in out
    assert f"{settings().lake}: 2 problems" in out
