"""A use case in the middle of its life, what can be done to it at once, and what must be true whatever that was.

Version 1 has scored a week and version 2, champion now, three days. Version 3 waits for its next look, which would
promote it; version 4 nobody has judged. An operation can be held up before each of its steps, or killed there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from mlflow.entities import LoggedModelStatus

from include.contracts.use_case import Promotion, UseCase
from include.core.settings import settings
from include.lake import delta, maintain
from include.ml import ledger, promotion, record, registry, rollback, scoring, train
from include.serving import batch
from tests.ml.conftest import FIRST, toy_case, write_days

NIGHT = FIRST + timedelta(29)
DAY = timedelta(1)
THREE, FOUR, FIVE = NIGHT + 14 * DAY, NIGHT + 20 * DAY, NIGHT + 26 * DAY
"""The nights in which the versions of these numbers are trained."""

SCORED = NIGHT + 10 * DAY
"""The last day that is scored."""


def case_of(*, patient: bool = False) -> UseCase:
    """The toy use case; a ``patient`` one looks at nobody for the first 20 days."""
    return toy_case(promotion=Promotion(looks=(20, 30) if patient else (7, 14, 30)))


# --- what can be done ---


def _train() -> Any:
    return train.train("toy", FIVE, "cpu")


def _promote() -> Any:
    return promotion.promote("toy", 4, FOUR)


def _look_again() -> Any:
    return promotion.look_again("toy", THREE + 7 * DAY)


def _score() -> Any:
    return batch.predict("toy", SCORED + DAY, SCORED + 2 * DAY)


def _score_again() -> Any:
    return batch.predict("toy", SCORED - 4 * DAY, SCORED)


def _roll_back() -> Any:
    return rollback.carry_out(case_of(), 1, "ann", "scores look wrong")


def _vacuum() -> Any:
    maintain.vacuum(registry.pinned(), "run")


OPERATIONS: dict[str, Callable[[], Any]] = {
    "train": _train,
    "promote": _promote,
    "look again": _look_again,
    "score": _score,
    "score again": _score_again,
    "roll back": _roll_back,
    "vacuum": _vacuum,
}

STEPS = (
    "include.core.lease.taken",
    "include.lake.chain.append",
    "include.lake.commit.commit",
    "include.lake.delta.replace_days",
    "include.lake.maintain.to_vacuum",
    "include.ml.dataset.load",
    "include.ml.fitting.fit",
    "include.ml.ledger.append",
    "include.ml.ledger.first_free_day",
    "include.ml.ledger.read",
    "include.ml.model_files.booster_of",
    "include.ml.model_files.forget_fitted",
    "include.ml.model_files.keep_fitted",
    "include.ml.promotion.show",
    "include.ml.record.append_judgement",
    "include.ml.record.append_training",
    "include.ml.record.waiting",
    "include.ml.registry.find",
    "include.ml.registry.finish_killed",
    "include.ml.registry.pinned",
    "include.ml.registry.show_champion",
    "mlflow.start_run",
    "mlflow.log_artifacts",
    "mlflow.pyfunc.log_model",
    "mlflow.register_model",
    "mlflow.MlflowClient.set_terminated",
    "mlflow.MlflowClient.set_registered_model_alias",
)
"""What an operation does, one after the other: between two of them it can be held up or killed."""


@contextmanager
def stepping(reached: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, ``reached`` is called before each of the ``STEPS``, by whoever takes it."""
    with pytest.MonkeyPatch.context() as patch:
        for step in STEPS:
            patch.setattr(step, _announced(_real(step), step, reached))
        yield


def _real(step: str) -> Any:
    import importlib

    holder, _, name = step.rpartition(".")
    try:
        return getattr(importlib.import_module(holder), name)
    except ModuleNotFoundError:
        module, _, kind = holder.rpartition(".")
        return getattr(getattr(importlib.import_module(module), kind), name)


def _announced(real: Any, step: str, reached: Callable[[str], None]) -> Any:
    def announced(*given: Any, **named: Any) -> Any:
        reached(step)
        return real(*given, **named)

    return announced


# --- the state before ---


def build(world: Path, folder: Path) -> None:
    """Put the state into ``folder``: ``var`` and ``mlflow.db``. ``world`` is that after the first night."""
    shutil.copytree(world / "var", folder / "var")
    shutil.copy(world / "mlflow.db", folder / "mlflow.db")
    with at(folder):
        case = case_of()
        write_days(case, NIGHT + DAY, 40)
        batch.predict("toy", NIGHT + DAY, NIGHT + 7 * DAY)
        two = train.train("toy", NIGHT + 7 * DAY, "cpu")["version"]
        assert promotion.promote("toy", two, NIGHT + 7 * DAY)["promoted"]
        batch.predict("toy", NIGHT + 8 * DAY, SCORED)
        with found(case_of(patient=True)):
            three = train.train("toy", THREE, "cpu")["version"]
            assert promotion.promote("toy", three, THREE)["verdict"] == "wait"
        four = train.train("toy", FOUR, "cpu")["version"]
        assert (two, three, four) == (2, 3, 4)
        # What they learned from is no longer what the tables say: a vacuum has something to remove, and to leave.
        write_days(case, FIRST, 2, shift=0.25)


@contextmanager
def at(folder: Path) -> Iterator[None]:
    """While this lasts, this process is one of the installation whose ``var`` and MLflow are in ``folder``."""
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_VAR", str(folder / "var"))
        patch.setenv("NOCTURNE_VACUUM_HOURS", "0")
        patch.chdir(folder)
        settings.cache_clear()
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        with found(case_of()):
            yield
    mlflow.set_tracking_uri(before)
    settings.cache_clear()


@contextmanager
def found(case: UseCase) -> Iterator[None]:
    """While this lasts, ``case`` is what the catalogue of use cases has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
        yield


def copied(state: Path, folder: Path) -> Path:
    """A copy of a state, in ``folder``, which is made."""
    shutil.copytree(state, folder, ignore=shutil.ignore_patterns("mlruns"))
    return folder


# --- the state after ---


@dataclass(frozen=True)
class Outcome:
    """What the use case has come to, but for the order of what has nothing to do with each other, and times."""

    deployments: tuple[tuple[int, date, str | None], ...]
    judgements: tuple[tuple[int, int | None, int, str], ...]
    trainings: tuple[tuple[date, int | None], ...]
    scored: tuple[tuple[date, int], ...]


def outcome() -> Outcome:
    """Read it, after everything that must hold of any was found to hold."""
    case = case_of()
    deployed, judged, trained = ledger.read(case), record.judgements(case), record.trainings(case)  # seals verified
    require_each_once(case, deployed, trained)
    require_nothing_goes_on()
    newest = ledger.pick(deployed, date.max)
    assert newest is not None
    assert mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version == newest.model_version
    rows = delta.read_all("gold", case.predictions_table, columns=[case.day, scoring.VERSION])
    days = rows.unique().sort(case.day, scoring.VERSION).rows()
    for day, version in days:
        champion = ledger.pick(deployed, day)
        assert champion is not None
        assert champion.model_version == version, f"{day} has scores of version {version}, and another champion"
    assert len(days) == len({day for day, _ in days}), "a day is scored by one champion"
    assert not batch.predict("toy", days[0][0], days[-1][0])["changed"], "and once more by the same"
    return Outcome(
        tuple((one.model_version, one.effective_from, one.how) for one in deployed),
        tuple((one.model_version, one.champion, one.look, one.verdict) for one in judged),
        tuple((one.partition, one.champion) for one in trained),
        tuple(days),
    )


def require_each_once(case: UseCase, deployed: list[ledger.Champion], trained: list[record.Training]) -> None:
    """Each decision is in the ledger once, and each finished training is registered once, with its rows at hand."""
    decided = Counter((one.model_version, one.how) for one in deployed)
    assert set(decided.values()) == {1}
    versions = mlflow.MlflowClient().search_model_versions("name = 'toy'")
    requests = [one.tags["request_key"] for one in versions]
    assert sorted(requests) == sorted({one.request_key for one in trained})
    assert len(requests) == len(set(requests)) == len(trained)
    assert not list((settings().var / "cache" / "fitted").rglob("*.ubj"))
    for one in versions:
        registry.training_set(case, int(one.version))


def require_nothing_goes_on() -> None:
    """No run seems to be running that is not, no model is half there, and ``challenger`` is the newest version."""
    client = mlflow.MlflowClient()
    here = [client.get_experiment_by_name("toy").experiment_id]
    runs = client.search_runs(here)
    assert not [run for run in runs if run.info.status == "RUNNING"]
    versions = client.search_model_versions("name = 'toy'")
    assert {run.info.run_id for run in runs if run.info.status == "FINISHED"} == {one.run_id for one in versions}
    assert not [one for one in client.search_logged_models(here) if one.status == LoggedModelStatus.PENDING]
    newest = max(int(one.version) for one in versions)
    assert client.get_model_version_by_alias("toy", "challenger").version == newest


def scores_of(day: date) -> pl.DataFrame:
    """The predictions of a day."""
    case = case_of()
    return delta.read_days("gold", case.predictions_table, day, day).sort(case.key)
