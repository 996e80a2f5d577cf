"""A champion that was a mistake: back to the one before, in one line of the ledger, and forward again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import mlflow
import pytest

from include.contracts.use_case import UseCase
from include.ml import ledger, model_files, monitor, policy, record, registry, rollback
from include.serving import batch
from tests import commands
from tests.ml.conftest import FIRST, write_days

NIGHT = FIRST + timedelta(29)
DAY = timedelta(1)
TAKES_OVER = NIGHT + 8 * DAY


@pytest.fixture
def live(deployed: UseCase, world: Path, tmp_path: Path) -> Iterator[UseCase]:
    """Version 1 has scored a week, then version 2, whose files are those of version 1, has scored four days."""
    shutil.copy(world / "mlflow.db", tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (one,) = mlflow.MlflowClient().search_model_versions("name = 'toy'")
    mlflow.MlflowClient().create_model_version("toy", one.source, one.run_id, tags=one.tags)
    write_days(deployed, NIGHT + DAY, 20)
    (first,) = ledger.read(deployed)
    ledger.append(
        deployed,
        model_version=2,
        effective_from=TAKES_OVER,
        decided_by="gates",
        reason="better",
        run_id=first.run_id,
        model_sha256=first.model_sha256,
        reference_sha256=first.reference_sha256,
        trained_from=first.trained_from,
        fitted_through=first.fitted_through,
        trained_through=first.trained_through,
    )
    batch.predict("toy", NIGHT + DAY, TAKES_OVER + 3 * DAY)
    yield deployed
    mlflow.set_tracking_uri(before)


def versions(case: UseCase, first: date, last: date) -> dict[str, int]:
    return {int(one): rows for one, rows in batch.predict("toy", first, last)["by_version"].items()}


def alias() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version)


def test_the_version_that_served_before_scores_from_the_next_day_on(live: UseCase) -> None:
    found, new = rollback.carry_out(live, None, "ann", "scores look wrong")
    assert new
    assert (found.back.model_version, found.effective_from) == (1, TAKES_OVER + 4 * DAY)
    row = ledger.read(live)[-1]
    assert (row.model_version, row.decided_by, row.reason, row.how) == (1, "ann", "scores look wrong", "rollback")
    assert alias() == 1
    # What is scored stays, and a rerun gives the same.
    assert not batch.predict("toy", NIGHT + DAY, TAKES_OVER + 3 * DAY)["changed"]
    assert set(versions(live, TAKES_OVER + 4 * DAY, TAKES_OVER + 5 * DAY)) == {1}


def test_asked_again_nothing_is_written(live: UseCase) -> None:
    rollback.carry_out(live, 1, "ann", "scores look wrong")
    _, new = rollback.carry_out(live, 1, "ann", "scores look wrong")
    assert (new, len(ledger.read(live))) == (False, 3)


def test_forward_again(live: UseCase) -> None:
    rollback.carry_out(live, None, "ann", "scores look wrong")
    found, _ = rollback.carry_out(live, 2, "bob", "they were right")
    assert found.serving.model_version == 1
    assert alias() == 2
    assert set(versions(live, TAKES_OVER + 4 * DAY, TAKES_OVER + 4 * DAY)) == {2}


def test_what_really_served_counts_and_not_the_number(live: UseCase) -> None:
    """Version 1 was put back and scored: from version 2, once more champion, the way back is to 1, and from 1 to 2."""
    rollback.carry_out(live, 1, "ann", "wrong")
    batch.predict("toy", TAKES_OVER + 4 * DAY, TAKES_OVER + 4 * DAY)
    assert rollback.plan(live).back.model_version == 2


def test_the_policy_holds_until_a_version_comes_through_the_gates(live: UseCase) -> None:
    night = TAKES_OVER + 2 * DAY
    monitor.measure("toy", night, night)
    rollback.carry_out(live, None, "ann", "scores look wrong")
    decision = policy.decide_night("toy", night)
    assert decision["decision"] == "no"
    assert decision["reason"].startswith("held: version 1 was put back by ann (scores look wrong)")


def test_a_version_that_never_was_champion_goes_through_the_gates(live: UseCase) -> None:
    with pytest.raises(rollback.NothingToRollBackError, match=r"version 7 of toy was never champion, .* were 1, 2"):
        rollback.plan(live, 7)


def test_nobody_served_before_the_first(deployed: UseCase) -> None:
    with pytest.raises(rollback.NothingToRollBackError, match="no version of toy has served before version 1"):
        rollback.plan(deployed)


def test_a_damaged_version_is_not_put_back(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise model_files.DamagedModelError("model.ubj of toy version 1 is not to be had")

    monkeypatch.setattr(model_files, "load_booster", damaged)
    with pytest.raises(model_files.DamagedModelError):
        rollback.carry_out(live, None, "ann", "wrong")
    assert len(ledger.read(live)) == 2
    assert alias() == 1  # as it was: nobody has moved it


def test_where_mlflow_is_away_it_holds_all_the_same(live: UseCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("no MLflow")

    monkeypatch.setattr(registry, "show_champion", away)
    with pytest.raises(ConnectionError):
        rollback.carry_out(live, None, "ann", "wrong")
    champion = ledger.latest_champion(live)
    assert champion is not None
    assert champion.model_version == 1


def test_the_command_says_first_and_does_then(live: UseCase, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run("rollback", "--use-case", "toy") == 0
    assert "in place of version 2, from event date" in capsys.readouterr().out
    assert len(ledger.read(live)) == 2
    assert commands.run("rollback", "--use-case", "toy", "--yes") == 2
    assert "written down with its reason" in capsys.readouterr().err
    assert commands.run("rollback", "--use-case", "toy", "--why", "wrong", "--yes") == 0
    assert ledger.read(live)[-1].how == "rollback"
    assert record.lines("gold.toy__deployments", ledger.SCHEMA)["how"].to_list() == [None, None, "rollback"]
