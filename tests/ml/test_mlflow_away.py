"""MLflow away, slow or breaking off, at each thing that it is asked: nothing is lost, and nothing is done twice.

A real MLflow server, and a proxy before it. Here its client is less patient than in a night (``CLIENT``), and least
where MLflow is to hang.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import LoggedModelStatus
from urllib3.util import Retry

from include.contracts.use_case import UseCase
from include.core import lease
from include.core.errors import may_pass
from include.core.settings import settings
from include.lake import delta
from include.local.environment import of_mlflow_client
from include.ml import errors, fitting, ledger, model_files, promotion, record, reproduce, rollback, train
from include.serving import batch
from tests.ml.conftest import FIRST, toy_case, write_days
from tests.ml.faults import Fault, Kind, Proxy, server

NIGHT = FIRST + timedelta(29)
DAY = timedelta(1)
LATER = NIGHT + 7 * DAY
CLIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
FOR_EVER = 10**6
KINDS: tuple[Kind, ...] = ("refused", "503", "hangs", "slow", "drops", "breaks off")


def sample(*often: str) -> list[Any]:
    """All kinds; those that are not ``often`` in `make test-full` alone."""
    return [kind if kind in often else pytest.param(kind, marks=pytest.mark.full) for kind in KINDS]


NUMBERS = count()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def proxy(empty_mlflow: Path, served: Path) -> Iterator[Proxy]:
    with server(served, empty_mlflow) as port:
        found = Proxy(port)
        yield found
        found.close()


@dataclass
class Coins:
    """The toy use case under a name of its own, so that one server does for all tests."""

    case: UseCase
    proxy: Proxy

    @property
    def name(self) -> str:
        return self.case.name

    @contextmanager
    def broken(self, kind: Kind, at: str, times: int = 10**6) -> Iterator[Fault]:
        """While this lasts, MLflow fails where ``at`` is in what it is asked. Two seconds of a hang are enough here."""
        with pytest.MonkeyPatch.context() as patch, self.proxy.broken(kind, at, times) as fault:
            if kind in ("hangs", "slow"):
                patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
            yield fault

    def train(self, night: Any = NIGHT) -> dict[str, Any]:
        return train.train(self.name, night, "cpu")

    def alias(self, name: str = "champion") -> int | None:
        found = mlflow.MlflowClient().get_registered_model(self.name).aliases.get(name)
        return None if found is None else int(found)

    def require_whole(self, versions: int) -> None:
        """Each finished training is registered once, and nothing seems to go on."""
        client = mlflow.MlflowClient()
        made = client.search_model_versions(f"name = '{self.name}'")
        assert len(made) == len({one.tags["request_key"] for one in made}) == versions
        assert len(record.trainings(self.case)) == versions
        here = [client.get_experiment_by_name(self.name).experiment_id]
        assert not client.search_runs(here, "attributes.status = 'RUNNING'")
        assert not [one for one in client.search_logged_models(here) if one.status == LoggedModelStatus.PENDING]
        assert not list((settings().var / "cache" / "fitted").rglob("*.ubj")), "what is registered is kept no longer"
        if made:
            assert self.alias("challenger") == max(int(one.version) for one in made)


@pytest.fixture
def coins(home: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Coins]:
    case = toy_case(name=f"coins{next(NUMBERS)}")
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    for name, value in CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(proxy.url)
    write_days(case, FIRST, 60)
    yield Coins(case, proxy)
    mlflow.set_tracking_uri(before)


@pytest.fixture
def live(coins: Coins) -> Coins:
    """Version 1 is champion."""
    promotion.promote(coins.name, coins.train()["version"])
    return coins


# --- a training that is to be registered ---

REGISTERED = (
    "POST /api/2.0/mlflow/runs/create",
    "runs/log-batch",
    "PUT /api/2.0/mlflow-artifacts",
    "POST /api/2.0/mlflow/logged-models",
    "PATCH /api/2.0/mlflow/logged-models",
    "registered-models/create",
    "model-versions/create",
    "registered-models/alias",
    "runs/update",
)
SAMPLE = {
    ("refused", "runs/log-batch", FOR_EVER),
    ("503", "PUT /api/2.0/mlflow-artifacts", FOR_EVER),
    ("hangs", "registered-models/create", FOR_EVER),
    ("drops", "POST /api/2.0/mlflow/runs/create", 1),
    ("drops", "model-versions/create", 1),
    ("breaks off", "POST /api/2.0/mlflow/logged-models", 1),
}
ALL = [(kind, at, times) for kind in KINDS for at in REGISTERED for times in (1, FOR_EVER)]


def failure(coins: Coins) -> Exception | None:
    """What a training ends with; None where it is registered."""
    try:
        coins.train()
    except errors.RegistryAwayError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("kind", "at", "times"), [one if one in SAMPLE else pytest.param(*one, marks=pytest.mark.full) for one in ALL]
)
def test_a_finished_training_is_never_lost_and_never_registered_twice(
    coins: Coins, monkeypatch: pytest.MonkeyPatch, kind: Kind, at: str, times: int
) -> None:
    fits: list[int] = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda *given, **named: (fits.append(1), fit(*given, **named))[1])
    with coins.broken(kind, at, times) as fault:
        said = failure(coins)
    assert fault.seen, "MLflow was asked that"
    if said is not None:
        assert may_pass(said), "it is tried again"
        assert f"of {coins.name}" in str(said)
        assert coins.proxy.url in str(said), "it is told what did not answer"
    assert coins.train()["version"] == 1
    assert len(fits) == 1, "what was fitted is registered, and not fitted again"
    coins.require_whole(versions=1)
    assert promotion.promote(coins.name, 1)["promoted"]


@pytest.mark.parametrize("kind", ["refused", pytest.param("503", marks=pytest.mark.full)])
def test_without_mlflow_nothing_is_fitted(coins: Coins, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    with monkeypatch.context() as patch, coins.broken(kind, "experiments/get-by-name"):
        patch.setattr(fitting, "fit", lambda *_, **__: pytest.fail("hours of training, for nothing"))
        with pytest.raises(errors.RegistryAwayError, match=f"MLflow was asked to list the runs of {coins.name}"):
            coins.train()
    assert coins.train()["created"]


def test_what_was_kept_of_a_fit_is_looked_at_before_it_is_read(coins: Coins) -> None:
    with coins.broken("refused", "runs/log-batch"), pytest.raises(errors.RegistryAwayError):
        coins.train()
    (kept,) = (settings().var / "cache" / "fitted").rglob("*.ubj")
    kept.write_bytes(b"another model")
    coins.train()
    (training,) = record.trainings(coins.case)
    model = model_files.cached(
        coins.case, 1, "", model_files.MODEL_FILE, training.model_sha256
    )  # as MLflow has it; of another one this is an error
    assert model.exists()


# --- scoring ---


def test_a_night_that_only_scores_does_not_ask_mlflow(live: Coins) -> None:
    batch.predict(live.name, NIGHT + DAY, NIGHT + DAY)
    live.proxy.requests.clear()
    with live.broken("refused", ""):
        assert batch.predict(live.name, NIGHT + DAY, NIGHT + 3 * DAY)["by_version"] == {"1": 180}
    assert not live.proxy.requests


@pytest.mark.parametrize("kind", sample("503", "breaks off"))
@pytest.mark.parametrize("at", ["GET /api/2.0/mlflow-artifacts", pytest.param("/get", marks=pytest.mark.full)])
def test_a_champion_that_is_not_here_yet_is_waited_for_and_not_called_damaged(live: Coins, kind: Kind, at: str) -> None:
    with live.broken(kind, at) as fault:
        with pytest.raises(errors.RegistryAwayError, match=f"to hand out .* of {live.name}") as raised:
            batch.predict(live.name, NIGHT + DAY, NIGHT + DAY)
        assert may_pass(raised.value)
    assert fault.seen
    assert not delta.exists("gold", live.case.predictions_table)
    assert batch.predict(live.name, NIGHT + DAY, NIGHT + DAY)["rows"] == 60


def test_a_file_that_mlflow_has_lost_is_no_matter_of_waiting(live: Coins, served: Path) -> None:
    (champion,) = ledger.read(live.case)
    for lost in ("model.ubj", "reference.json"):
        for path in (served / "artifacts").rglob(lost):
            if str(champion.run_id) in str(path) or lost == "model.ubj":
                path.unlink()
        with pytest.raises(model_files.DamagedModelError, match=f"{lost} of {live.name} version 1 is not to be had"):
            (model_files.load_booster if lost == "model.ubj" else model_files.load_reference)(live.case, champion)


# --- promotion, rollback, reproduction ---

PROMOTED = (
    "model-versions/get",
    "runs/log-metric",
    "model-versions/set-tag",
    "POST /api/2.0/mlflow/registered-models/alias",
    "GET /api/2.0/mlflow-artifacts",
)


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        (kind, at)
        if kind == "503" and ("tag" in at or "alias" in at)
        else pytest.param(kind, at, marks=pytest.mark.full)
        for kind in KINDS
        for at in PROMOTED
    ],
)
def test_a_promotion_is_finished_by_the_next_try(live: Coins, kind: Kind, at: str) -> None:
    version = live.train(LATER)["version"]
    with live.broken(kind, at) as fault:
        with pytest.raises(errors.RegistryAwayError) as raised:
            promotion.promote(live.name, version, LATER)
        assert may_pass(raised.value)
    assert fault.seen
    answer = promotion.promote(live.name, version, LATER)
    assert (answer["promoted"], answer["replaces"]) == (True, 1)
    assert [row.model_version for row in ledger.read(live.case)] == [1, version]
    assert len(record.judgements(live.case)) == 2
    assert live.alias() == version
    shown = mlflow.MlflowClient().get_model_version(live.name, str(version))
    assert shown.tags[promotion.VERDICT] == "promote"
    run = mlflow.MlflowClient().get_run(shown.run_id).data.metrics
    assert "look_1_gain_auc" in run, "what was measured is shown, too"


def test_a_rollback_holds_and_the_alias_follows(live: Coins) -> None:
    batch.predict(live.name, NIGHT + DAY, LATER)
    version = live.train(LATER)["version"]
    promotion.promote(live.name, version, LATER)
    model_files.load_reference(live.case, ledger.read(live.case)[0])  # as the monitor has fetched it
    with live.broken("refused", "") as fault, pytest.raises(errors.RegistryAwayError):
        rollback.carry_out(live.case, None, "ann", "wrong")
    assert fault.seen
    assert [row.model_version for row in ledger.read(live.case)] == [1, version, 1]
    assert batch.predict(live.name, LATER + DAY, LATER + DAY)["by_version"] == {"1": 60}
    assert live.alias() == version
    _, new = rollback.carry_out(live.case, 1, "ann", "wrong")
    assert (new, live.alias()) == (False, 1)


@pytest.mark.parametrize("kind", sample("503"))
def test_a_reproduction_says_that_mlflow_is_away(live: Coins, kind: Kind) -> None:
    with (
        live.broken(kind, "GET /api/2.0/mlflow-artifacts"),
        pytest.raises(errors.RegistryAwayError, match="to hand out"),
    ):
        reproduce.reproduce(live.name, 1)
    assert reproduce.reproduce(live.name, 1).equal


# --- how long a night waits ---


def longest(settings_of: dict[str, str]) -> float:
    """Seconds that one question to MLflow takes at most where no answer ever comes."""
    retries = int(settings_of["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    once, waits, retry = float(settings_of["MLFLOW_HTTP_REQUEST_TIMEOUT"]), 0.0, Retry(retries, backoff_factor=2)
    for _ in range(retries):
        retry = retry.increment("GET", "/", error=ConnectionError())
        waits += retry.get_backoff_time() + 1  # jitter
    return once * (retries + 1) + waits


def test_who_waits_for_mlflow_holds_nobody_up_for_long(home: Path) -> None:
    """A promotion that MLflow keeps waiting has the lease that a scoring needs, and gives it up before that does."""
    assert 30 < longest(of_mlflow_client(settings())) < 0.6 * lease.PATIENCE


@pytest.mark.full
def test_thirty_seconds_without_an_answer_are_outlasted(coins: Coins, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the patience of a night."""
    for name in CLIENT:
        monkeypatch.delenv(name)
    for name, value in of_mlflow_client(settings()).items():
        if name.startswith("MLFLOW_HTTP"):
            monkeypatch.setenv(name, value)
    with coins.proxy.broken("hangs", "model-versions/create", 1) as fault:
        coins.train()
    assert fault.seen
    coins.require_whole(versions=1)
