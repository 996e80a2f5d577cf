"""A training that is under way, in a file: the trees so far and how validation went. Killed, it goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.settings import settings

type History = dict[str, dict[str, list[float]]]
"""The value of each metric after each round, by the name of the rows and of the metric; as XGBoost keeps it."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training is kept, and what it is a training of.

    The file has a line of JSON and then the booster in XGBoost's UBJSON. The line has the ``key`` of the recipe, the
    history, and a digest of it all, without which nothing is parsed.
    """

    path: Path
    key: str

    def save(self, booster: xgb.Booster, history: History) -> None:
        """Keep the training as it is, in one step."""
        model = bytes(booster.save_raw("ubj"))
        told = {"key": self.key, "history": history, "sha256": _digest(self.key, history, model)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(json.dumps(told).encode() + b"\n" + model)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def load(self) -> tuple[bytearray, History] | None:
        """The booster and its history; None where there is none, or none that is whole and of this recipe."""
        if not self.path.exists():
            return None
        line, _, model = self.path.read_bytes().partition(b"\n")
        try:
            told = json.loads(line)
            key, history, digest = told["key"], told["history"], told["sha256"]
        except (ValueError, KeyError, TypeError):
            key = history = digest = ""
        if digest != _digest(key, history, model):
            print(f"{self.path.name} is damaged, and not used: the training begins anew")
            return None
        if key != self.key:
            print(f"{self.path.name} is of another training, and not used: rows, spec, code or device were others")
            return None
        return bytearray(model), history

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def of(case: UseCase, recipe: str) -> Checkpoint:
    """The checkpoint of the training of ``case`` that is under way; there is one at a time."""
    return Checkpoint(settings().var / "checkpoints" / f"{case.name}.checkpoint", recipe)


def _digest(key: str, history: History | str, model: bytes) -> str:
    told = json.dumps([key, history], sort_keys=True).encode()
    return hashlib.sha256(told + b"\n" + model).hexdigest()
