"""A challenger that nobody promotes by hand: shadow, canary, full, night after night on the real stack."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from tests.integration.test_scaffold import read
from tests.scaffold import companies
from tests.scaffold.journey import REGRESSION, Company, add_to_spec, backfill, land, scaffold, train
from tests.scaffold.repository import Repository, installed

pytestmark = [pytest.mark.integration, pytest.mark.full]

# From day 112, 2024-04-22, there are twice as many rides: what is trained after that is better than the champion.
RIDES = replace(REGRESSION, files=lambda folder: companies.rides(folder, 220, changed_from=112))
SHARE = 0.25
ROLLOUT = f"rollout=Rollout(shadow_days=12, canary_days=12, canary_share={SHARE})"
CHANGED = ("2024-04-20", "2024-05-27")
# Of days that scatter as these do it takes a month to be certain, in the shadow and again of a share.
IN_TURN = (("2024-05-28", "2024-06-28"), ("2024-06-29", "2024-07-31"), ("2024-08-01", "2024-08-04"))


def accepted(repository: Repository, company: Company, days: tuple[str, str]) -> None:
    """What a person does about a world that changed over night: the gate has stopped it, and may let it through."""
    command = ("backfill", "--source", company.source, "--from", days[0], "--to", days[1], "--at-once")
    repository.nocturne(*command, code=1)
    refused = read(repository, f"{company.case}__faults")
    nights = f"{refused['partition_day'].min()}..{refused['partition_day'].max()}"
    which = ("--use-case", company.case, "--partition", nights, "--feature", ",".join(refused["feature"].unique()))
    repository.nocturne("accept", *which, "--why", "another operator has closed", "--yes")


def test_a_better_challenger_comes_into_use_by_itself(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rollout")
    with installed(folder / "repository") as repository:
        scaffold(repository, RIDES, folder)
        land(repository, RIDES, folder)
        add_to_spec(repository, RIDES, "from include.contracts.rollout import Rollout", ROLLOUT)
        repository.nocturne("up")
        backfill(repository, RIDES, RIDES.history, at_once=True)
        assert "version 1 is champion" in train(repository, RIDES, RIDES.history[1]), "the first is champion at once"
        accepted(repository, RIDES, CHANGED)
        assert f"{RIDES.case}_train" in backfill(repository, RIDES, CHANGED, at_once=True), "the policy asked for it"
        for nights in IN_TURN:
            backfill(repository, RIDES, nights, at_once=True)

        every = read(repository, f"{RIDES.case}__rollouts").sort("effective_from")
        steps = every.unique("stage", keep="first", maintain_order=True)
        assert steps["stage"].to_list() == ["shadow", "canary", "full"], steps
        assert read(repository, f"{RIDES.case}__deployments")["model_version"].sort().to_list() == [1, 2]
        predictions = read(repository, f"{RIDES.case}__predictions").rename({"model_version": "version"})
        assert not predictions.select(RIDES.question[3], RIDES.day).is_duplicated().any()
        canary, full = steps["effective_from"][1], steps["effective_from"][2]
        day = pl.col(RIDES.day)
        assert predictions.filter(day < canary)["version"].unique().to_list() == [1], "nobody uses the shadow's"
        shares = predictions.filter(day >= canary, day < full).group_by("version").len().sort("version")
        assert shares["version"].to_list() == [1, 2]
        assert shares["len"][1] / shares["len"].sum() == pytest.approx(SHARE, abs=0.12), "of 120 stations"
        assert predictions.filter(day >= full)["version"].unique().to_list() == [2]
        repository.nocturne("verify")
