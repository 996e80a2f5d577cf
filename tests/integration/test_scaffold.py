"""From samples to nights, a training and a retraining on the real stack, for each task; and away again.

In a copy of the repository with an installation of its own, by the commands that a newcomer types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.scaffold.journey import (
    BINARY,
    MULTICLASS,
    REGRESSION,
    Company,
    add_to_spec,
    backfill,
    git_removes,
    land,
    scaffold,
    train,
)
from tests.scaffold.repository import Repository, installed

pytestmark = pytest.mark.integration

COMPANIES = (REGRESSION, BINARY)
# Its tree is run in tests/scaffold/test_tree.py, its models in tests/ml/test_paths.py; its nights by `make test-full`.
LAST = pytest.param(MULTICLASS, marks=pytest.mark.full)
# From the day after the nights on there are twice as many rides; so many days later there is enough to learn from.
CHANGED = ("2024-04-22", "2024-05-27")


# Each station beside all payments of the days before.
JOINED = ("--join", f"{BINARY.source}.{BINARY.day}={REGRESSION.day}")
BOTH = replace(REGRESSION, name="both", question=(*REGRESSION.question, *JOINED))
ONLY_RIDES = ("2024-04-22", "2024-04-22")  # rides of that day were run with what changed, payments have landed


def tables(repository: Repository) -> list[str]:
    """Every table of the lake, the ledgers apart: what was there is recorded in them for ever."""
    lake = repository.tree / "var" / "lake"
    return sorted(str(log.parent.relative_to(lake)) for log in lake.glob("*/*/_delta_log") if log.parts[-3] != "ledger")


def read(repository: Repository, name: str) -> pl.DataFrame:
    return pl.read_delta(str(repository.tree / "var" / "lake" / "gold" / name))


@dataclass
class Begun:
    """The copy with its services, the tables that it had first, and the companies that were scaffolded in it."""

    repository: Repository
    samples: Path
    before: list[str]
    companies: list[Company] = field(default_factory=list)

    def scaffold(self, company: Company) -> None:
        """Scaffold it while the services run, and land its files, unless that was done."""
        if company not in self.companies:
            scaffold(self.repository, company, self.samples)
            land(self.repository, company, self.samples)
            self.companies.append(company)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    folder = tmp_path_factory.mktemp("companies")
    with installed(folder / "repository") as repository:
        repository.nocturne("up")
        found = Begun(repository, folder, tables(repository))
        for company in COMPANIES:
            found.scaffold(company)
        add_to_spec(repository, BINARY, "from include.contracts.publishing import ToFiles", 'publish=(ToFiles("out"),)')
        yield found


@pytest.fixture
def repository(begun: Begun) -> Repository:
    return begun.repository


def test_no_file_that_was_there_is_touched(repository: Repository) -> None:
    assert repository.run("git", "diff", "--stat") == ""
    assert len(repository.changed()) > 20 * len(COMPANIES)


@pytest.mark.parametrize("company", [*COMPANIES, LAST], ids=lambda company: company.name)
def test_nights_are_gated_scored_and_monitored(begun: Begun, repository: Repository, company: Company) -> None:
    begun.scaffold(company)
    backfill(repository, company, company.history, at_once=True)
    assert "version 1 is champion" in train(repository, company, company.history[1])
    assert "all well" in backfill(repository, company, company.nights)
    predictions = read(repository, f"{company.case}__predictions")
    entity, day = company.question[3], f"{company.day}"
    assert not predictions.select(entity, day).is_duplicated().any()
    features = read(repository, f"{company.case}__features").filter(pl.col(day) >= predictions[day].min())
    assert predictions.height == features.height > 0, "each in the population once, from the first champion's day on"
    assert predictions[day].n_unique() == len(company.nights) + 1, "that which waited for a champion too"
    assert read(repository, f"{company.case}__monitoring").height > 0
    assert set(read(repository, f"{company.case}__decisions")["decision"]) == {"no"}


def test_predictions_are_brought_to_the_target_of_the_spec(repository: Repository) -> None:
    """By the DAG that follows each scoring: nothing is left for the command to send."""
    predictions = read(repository, f"{BINARY.case}__predictions")
    columns = [BINARY.question[3], BINARY.day, "score"]
    brought = pl.read_parquet(repository.tree / "var" / "out" / "*.parquet")
    assert_frame_equal(brought.select(columns), predictions.select(columns), check_row_order=False)
    assert "nothing was sent" not in repository.nocturne("publish", "--use-case", BINARY.case)


def test_a_change_of_the_world_is_noticed_and_learned(repository: Repository) -> None:
    # Twice as many from one night to the next might as well be a fault: the gate stops it until a person has said no.
    command = ("backfill", "--source", REGRESSION.source, "--from", CHANGED[0], "--to", CHANGED[1], "--at-once")
    repository.nocturne(*command, code=1)
    refused = read(repository, f"{REGRESSION.case}__faults")
    nights = f"{refused['partition_day'].min()}..{refused['partition_day'].max()}"
    which = ("--use-case", REGRESSION.case, "--partition", nights, "--feature", ",".join(refused["feature"].unique()))
    repository.nocturne("accept", *which, "--why", "another operator has closed", "--yes")
    said = backfill(repository, REGRESSION, CHANGED, at_once=True)
    assert f"{REGRESSION.case}_train" in said, "the policy asked for it"
    decided = read(repository, f"{REGRESSION.case}__decisions").sort("partition_day")
    assert "yes" in decided["decision"].to_list()
    assert read(repository, f"{REGRESSION.case}__deployments")["model_version"].sort().to_list() == [1, 2]


@pytest.mark.parametrize("company", [BINARY, LAST], ids=lambda company: company.name)
def test_a_retraining_is_decided(repository: Repository, company: Company) -> None:
    said = train(repository, company, company.nights[1], code=None)
    assert any(f"version 2 {verdict}" in said for verdict in ("is champion", "waits", "was refused"))


@pytest.mark.full
def test_a_use_case_of_several_sources_runs_when_the_last_of_them_is_there(repository: Repository) -> None:
    answers = ("--name", BOTH.case, "--source", f"{REGRESSION.source},{BINARY.source}", *BOTH.question)
    repository.nocturne("use-case", *answers)
    repository.nocturne("down")  # another start reads all specs again
    repository.nocturne("up")
    first = backfill(repository, REGRESSION, ONLY_RIDES)
    assert f"announce_inputs_of_{BOTH.case} skipped" in first
    assert f"{BOTH.case}_features" not in first
    assert f"{BOTH.case}_features" in backfill(repository, BINARY, ONLY_RIDES)
    features = read(repository, f"{BOTH.case}__features")
    assert features.height > 0
    assert features["payments_amount_eur_mean_7d"].n_unique() == 1, "the same of all stations, on one event date"
    assert features.select(pl.col("payments_rows_1d").min()).item() > 100, "so many payments a day has"


def test_removed_they_leave_the_tree_and_the_lake_as_before(begun: Begun, repository: Repository) -> None:
    first = repository.run("git", "rev-parse", "HEAD").strip()
    repository.commit("companies")
    if (repository.tree / "include" / "use_cases" / BOTH.case).exists():  # of a test that only make test-full runs
        git_removes(repository, "use-case", BOTH.case)
    for company in begun.companies:
        git_removes(repository, "use-case", company.case)
        git_removes(repository, "source", company.source)
    assert repository.run("git", "diff", "--stat", first) == ""
    assert tables(repository) == begun.before
    repository.nocturne("verify")
    assert "there is nothing" in repository.nocturne("remove", "--use-case", REGRESSION.case)
    assert "there is nothing" in repository.nocturne("remove", "--source", REGRESSION.source)
