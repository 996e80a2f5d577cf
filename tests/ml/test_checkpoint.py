"""A training that is killed goes on where it was, and gives the same bytes as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import polars as pl
import pytest
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.settings import HOME, settings
from include.ml import checkpoint, fitting, gpu, registry, train
from include.ml.dataset import Split
from include.ml.encoded import encoded
from tests.ml.conftest import FIRST, toy_case, toy_rows
from tests.ml.test_encoded import LAST, SPLIT, sha256

SAMPLED = {"subsample": 0.8, "colsample_bytree": 0.5, "max_depth": 4}
CHILD = """
import os, signal, sys
from include.ml import checkpoint, fitting
from tests.ml import test_checkpoint as this

fitting.EVERY_SECONDS, fitting.LOADED_ROUNDS = 0, this.LOADED_ROUNDS
case, end = this.CASES[sys.argv[1]], int(sys.argv[2])

class Killed(fitting.TrainingCallback):
    def before_iteration(self, model, epoch, evals_log):
        if epoch == end:
            os.kill(os.getpid(), signal.SIGKILL)

kept = checkpoint.of(case, "k")
fitting.fit(case, this.rows(), this.split_of(case), sys.argv[3], callbacks=[Killed()], checkpoint=kept)
"""
LOADED_ROUNDS = 5  # of a GPU
DEVICES: list[fitting.Device] = ["cpu", *(["cuda"] if fitting.choose_device("auto") == "cuda" else [])]


def with_training(**changes: object) -> UseCase:
    case = toy_case()
    return replace(case, training=replace(case.training, **changes))


params = {**toy_case().training.params, **SAMPLED}
CASES = {
    "sampled": with_training(params=params, rounds=40),
    "stops early": with_training(params=params, rounds=200, early_stopping_rounds=12, valid_days=4),
}


def rows() -> pl.DataFrame:
    return toy_rows(FIRST, 30)


def split_of(case: UseCase) -> Split:
    return SPLIT if case.training.valid_days else replace(SPLIT, valid=None)


def killed(name: str, end: int, device: str) -> None:
    """Train in a process of its own that is killed before round ``end``."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, name, str(end), device],
        cwd=HOME,
        env=os.environ | {"NOCTURNE_VAR": str(settings().var), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "ends"), [("sampled", (1, 23)), ("stops early", (9, 14))])
def test_killed_twice_and_resumed_it_is_the_same_model(
    name: str,
    ends: tuple[int, int],
    device: fitting.Device,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case, step = CASES[name], LOADED_ROUNDS if device == "cuda" else 1
    monkeypatch.setattr(fitting, "LOADED_ROUNDS", LOADED_ROUNDS)
    undisturbed = fitting.fit(case, rows(), split_of(case), device)
    if case.training.valid_days:
        assert ends[0] < undisturbed.num_boosted_rounds() + 12 < 200, "killed before it stops"
    for end in ends:
        killed(name, end, device)
    capsys.readouterr()
    resumed = fitting.fit(case, rows(), split_of(case), device, checkpoint=checkpoint.of(case, "k"))
    assert f"going on after round {ends[1] // step * step} of {case.training.rounds}" in capsys.readouterr().out
    assert sha256(resumed) == sha256(undisturbed)


def test_on_a_gpu_it_is_kept_only_where_every_training_is_loaded_from_its_bytes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU, XGBoost trains on the CPU all the same; when it is kept and loaded does not depend on that."""
    case, kept_after, of_k = CASES["sampled"], list[int](), checkpoint.of(CASES["sampled"], "k")
    monkeypatch.setattr(fitting, "LOADED_ROUNDS", LOADED_ROUNDS)
    monkeypatch.setattr(fitting, "EVERY_SECONDS", 0)
    monkeypatch.setattr(
        checkpoint.Checkpoint, "save", lambda _, model, __: kept_after.append(model.num_boosted_rounds())
    )
    with encoded(case, [rows()]) as found, mock.patch.object(xgb, "Booster", wraps=xgb.Booster) as made:
        fitting.boost(case, fitting.matrices(case, found, split_of(case), "cuda"), "cuda", checkpoint=of_k)
    assert kept_after == list(range(5, 41, 5))
    assert made.call_count == 1 + len(range(5, 40, 5)), "when it began, and after each five rounds but the last"


def test_bins_that_do_not_fit_are_refused_before_a_gpu_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, small = CASES["sampled"], settings().model_copy(update={"matrix_gib": 1e-9})
    monkeypatch.setattr(fitting, "settings", lambda: small)
    monkeypatch.setattr(gpu, "cupy_version", lambda: "none")
    with encoded(case, [rows()]) as found, pytest.raises(fitting.WrongDeviceError, match="reach a GPU by CuPy only"):
        fitting.matrices(case, found, split_of(case), "cuda")


@pytest.fixture
def kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> checkpoint.Checkpoint:
    """A checkpoint as of a training that was killed after 7 of 40 rounds."""
    case, found = CASES["sampled"], checkpoint.of(CASES["sampled"], "k")
    monkeypatch.setattr(fitting, "EVERY_SECONDS", 0)
    seven = replace(case, training=replace(case.training, rounds=7))
    fitting.fit(seven, rows(), split_of(case), "cpu", checkpoint=found)
    return found


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda content: content[:-1], "is damaged, and not used"),
        (lambda content: content[: content.index(b"\n") - 9], "is damaged, and not used"),
        (lambda content: b"", "is damaged, and not used"),
        (lambda content: content.replace(b'"k"', b'"j"'), "is damaged, and not used"),
        (lambda content: content[:-40] + bytes([content[-40] ^ 1]) + content[-39:], "is damaged, and not used"),
    ],
    ids=["truncated", "half a line", "empty", "another's name", "a bit"],
)
def test_one_that_is_not_whole_is_not_used(
    kept: checkpoint.Checkpoint,
    harm: Callable[[bytes], bytes],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept.path.write_bytes(harm(kept.path.read_bytes()))
    monkeypatch.setattr(xgb, "Booster", lambda *_: pytest.fail("it was parsed"))
    assert kept.load() is None
    assert said in capsys.readouterr().out


def test_one_of_another_recipe_is_not_used(kept: checkpoint.Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES["sampled"]
    begun_anew = fitting.fit(case, rows(), split_of(case), "cpu", checkpoint=checkpoint.of(case, "other"))
    out = capsys.readouterr().out
    assert "is of another training, and not used" in out
    assert "going on" not in out
    assert sha256(begun_anew) == sha256(fitting.fit(case, rows(), split_of(case), "cpu"))


def test_it_stays_until_the_version_is_registered(
    toy: UseCase, mlflow_store: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fitting, "EVERY_SECONDS", 0)
    path = checkpoint.of(toy, "").path
    with monkeypatch.context() as away:
        away.setattr(registry, "register", lambda *_: (_ for _ in ()).throw(ConnectionError("MLflow is away")))
        with pytest.raises(ConnectionError):
            train.train("toy", LAST, "cpu")
    assert path.exists()
    assert "round 8 of 8, 0 s" in capsys.readouterr().out
    assert train.train("toy", LAST, "cpu")["created"]
    assert "going on after round 8 of 8" in capsys.readouterr().out
    assert not path.exists()
