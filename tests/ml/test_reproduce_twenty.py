"""Twenty versions, each trained again by `make reproduce`'s command in a process of its own: docs/reproduced.md.

All kinds of tasks, with and without early stopping and quantiles, of several nights and seeds. Since they were trained
their tables were compacted, vacuumed by our maintenance, or made anew; and the process runs in another clone, with
other threads, another place, language and time zone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest

from include.contracts.use_case import Regression, UseCase
from include.core.settings import settings
from include.lake import delta, maintain
from include.ml import registry, train
from include.ml.code import code_state
from tests.ml.conftest import toy_case, toy_rows
from tests.ml.faults import server
from tests.ml.worlds import FIRST, RETURNS, SALES, WEATHER

pytestmark = pytest.mark.full

PAGE = Path(__file__).parents[2] / "docs" / "reproduced.md"
HOME = Path(__file__).parents[2]
DAYS = 120
CHANCE = {"subsample": 0.7, "colsample_bytree": 0.7}

ROWS = {
    "toy": lambda: toy_rows(FIRST, DAYS),
    "weather": lambda: WEATHER.rows(FIRST, DAYS),
    "sales": lambda: SALES.rows(FIRST, DAYS),
    "returns": lambda: RETURNS.rows(FIRST, DAYS),
}
SINCE = {
    "toy": "compacted, vacuumed",
    "weather": "compacted, days written again, vacuumed",
    "sales": "made anew, with the same content",
    "returns": "days written again, compacted, vacuumed",
}
"""What has become of the tables of each use case since its versions were trained."""


@dataclass(frozen=True)
class Recipe:
    """A training: how it differs from the use case's own, and in which night it is."""

    case: UseCase
    day: int
    said: str
    params: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def night(self) -> date:
        return FIRST + timedelta(self.day)

    @property
    def spec(self) -> UseCase:
        of = self.case.training
        return replace(self.case, training=replace(of, params={**of.params, **self.params}, **self.training))


TOY = toy_case()
STOPS: dict[str, Any] = {"valid_days": 7, "rounds": 60, "early_stopping_rounds": 5}
NO_QUANTILES = replace(SALES.case, task=Regression(baseline="usual"))
RECIPES = [
    Recipe(TOY, 29, "binary"),
    Recipe(TOY, 29, "binary, seed 8, by chance", CHANCE, {"seed": 8}),
    Recipe(TOY, 36, "binary, two threads", CHANCE, {"threads": 2}),
    Recipe(TOY, 43, "binary, early stopping", {}, STOPS),
    Recipe(TOY, 60, "binary, early stopping, by chance", CHANCE, STOPS | {"seed": 11}),
    Recipe(TOY, 60, "binary, 64 bins", {"max_bin": 64}),
    Recipe(WEATHER.case, 39, "multiclass"),
    Recipe(WEATHER.case, 39, "multiclass, seed 8, by chance", CHANCE, {"seed": 8}),
    Recipe(WEATHER.case, 46, "multiclass, early stopping", {}, STOPS),
    Recipe(WEATHER.case, 60, "multiclass, two threads", CHANCE, {"threads": 2}),
    Recipe(WEATHER.case, 75, "multiclass, early stopping, by chance", CHANCE, STOPS | {"seed": 12}),
    Recipe(SALES.case, 39, "regression, quantiles"),
    Recipe(SALES.case, 46, "regression, quantiles, early stopping", {}, STOPS),
    Recipe(SALES.case, 60, "regression, quantiles, by chance", CHANCE, {"seed": 9}),
    Recipe(NO_QUANTILES, 46, "regression"),
    Recipe(NO_QUANTILES, 60, "regression, early stopping, by chance", CHANCE, STOPS | {"seed": 13}),
    Recipe(RETURNS.case, 99, "binary, labels after 30 days"),
    Recipe(RETURNS.case, 106, "binary, labels after 30 days, by chance", CHANCE, {"seed": 10}),
    Recipe(RETURNS.case, 110, "binary, labels after 30 days, two threads", CHANCE, {"threads": 2}),
    Recipe(RETURNS.case, 115, "binary, labels after 30 days, 64 bins", {"max_bin": 64}),
]

AMONG: list[tuple[str, dict[str, str]]] = [
    ("as it is", {}),
    ("another clone", {}),
    ("another folder, one thread", {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}),
    ("Kiritimati, in Turkish", {"TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8"}),
    ("another clone, eight threads, seed of hashes 7", {"OMP_NUM_THREADS": "8", "PYTHONHASHSEED": "7"}),
]
"""What the process that trains again has other than the one that trained."""


COMMAND = """
import argparse, sys
from include.cli.runs import reproduce
sys.exit(reproduce(argparse.Namespace(model=sys.argv[1], version=int(sys.argv[2]))))
"""
"""What `make reproduce` does, of an MLflow that is none of the installation's services."""


def line(number: int) -> str:
    """The page's line of a version."""
    one, among = RECIPES[number], AMONG[number % len(AMONG)][0]
    return (
        f"| {number + 1} | {one.case.name}, {one.night} | {one.said} | {SINCE[one.case.name]} | {among} | byte-equal |"
    )


@dataclass(frozen=True)
class Installation:
    """Where the versions are: ``var``, a real MLflow, and another clone of this repository."""

    var: Path
    port: int
    clone: Path
    versions: list[int]

    def reproduce(self, number: int) -> subprocess.CompletedProcess[str]:
        among, variables = AMONG[number % len(AMONG)]
        home = self.clone if "clone" in among else HOME
        given = [RECIPES[number].case.name, str(self.versions[number])]
        return subprocess.run(
            [str(home / ".venv" / "bin" / "python"), "-c", COMMAND, *given],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("NOCTURNE")},
                "PYTHONPATH": str(home),
                "NOCTURNE_VAR": str(self.var),
                "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.port}",
                **variables,
            },
            cwd=self.var if "folder" in among else home,
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def installation(empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("twenty")
    before = mlflow.get_tracking_uri()
    with server(folder / "served", empty_mlflow) as port, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_VAR", str(folder / "var"))
        patch.setenv("NOCTURNE_VACUUM_HOURS", "0")
        patch.chdir(folder)
        settings.cache_clear()
        mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")
        for name in ROWS:
            bring(name)
        versions = [trained(one, patch) for one in RECIPES]
        time_passes()
        yield Installation(folder / "var", port, cloned(folder / "elsewhere" / "clone"), versions)
    mlflow.set_tracking_uri(before)
    settings.cache_clear()


def trained(one: Recipe, patch: pytest.MonkeyPatch) -> int:
    patch.setattr("include.use_cases.use_cases", lambda: {one.case.name: one.spec})
    return int(train.train(one.case.name, one.night, "cpu")["version"])


def case_of(name: str) -> UseCase:
    return next(one.case for one in RECIPES if one.case.name == name)


def tables(name: str) -> dict[str, pl.DataFrame]:
    """What dbt would make: the rows of features, and of labels."""
    case, rows = case_of(name), ROWS[name]()
    known = (pl.col(case.day) + pl.duration(days=case.label_days)).alias("ingestion_date")
    return {
        case.features_table: rows.drop(case.label),
        case.labels_table: rows.select(*case.key, case.label, known),
    }


def bring(name: str) -> None:
    """Put the rows into the lake in three parts of each day, as streams do."""
    day = case_of(name).day
    for table, rows in tables(name).items():
        first, last = rows[day].min(), rows[day].max()
        assert isinstance(first, date)
        assert isinstance(last, date)
        part = pl.int_range(pl.len()) % 3
        delta.replace_days("gold", table, rows.filter(part == 0), first, last, day=day)
        for n in (1, 2):
            delta.append("gold", table, rows.filter(part == n))


def time_passes() -> None:
    """What happens to a lake: days are written again, all is compacted and vacuumed, tables are made anew."""
    write_again("returns")
    before = {table: delta.version("gold", table) for name in ROWS for table in tables(name)}
    maintain.compact(None, "run")  # Spark is asked for spools alone
    assert all(delta.version("gold", table) > version for table, version in before.items()), "each was compacted"
    write_again("weather")
    files = len(list((settings().lake / "gold").rglob("*.parquet")))
    maintain.vacuum(registry.pinned(), "run")
    assert len(list((settings().lake / "gold").rglob("*.parquet"))) < files, "something was vacuumed"
    day = case_of("sales").day
    for table, rows in tables("sales").items():
        shutil.rmtree(delta.table_path("gold", table))
        for one in sorted(rows[day].unique(), reverse=True):
            delta.replace_days("gold", table, rows.filter(pl.col(day) == one).reverse(), one, one, day=day)


def write_again(name: str) -> None:
    """The first days lose half of their rows."""
    day, last = case_of(name).day, FIRST + timedelta(4)
    for table, rows in tables(name).items():
        few = rows.filter(pl.col(day) <= last).gather_every(2)
        delta.replace_days("gold", table, few, FIRST, last, day=day)


def cloned(to: Path) -> Path:
    """This repository's files at another path, with its history."""
    known = subprocess.run(
        ["git", "-C", HOME, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in known:
        if name and (HOME / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HOME / name, to / name)
    git = subprocess.run(
        ["git", "-C", HOME, "rev-parse", "--absolute-git-dir"], check=True, capture_output=True, text=True
    )
    (to / ".git").write_text(f"gitdir: {git.stdout.strip()}\n")
    (to / ".venv").symlink_to((HOME / ".venv").resolve())
    assert code_state(to) == code_state(HOME), "what names the code does not name its folder"
    return to


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_byte_by_byte(installation: Installation, number: int) -> None:
    done = installation.reproduce(number)
    name = RECIPES[number].case.name
    rows = "the tables of now" if "made anew" in SINCE[name] else "the versions of then"
    said = f"version {installation.versions[number]}: byte-equal, from the rows of {rows}"
    told = done.stdout.strip().partition("; the code is ")[0]  # it is another one where somebody edits meanwhile
    assert (told, done.returncode) == (said, 0), done.stdout + done.stderr
    print(line(number))


def test_the_page_has_them_all() -> None:
    assert len(RECIPES) == 20
    there = [one for one in PAGE.read_text().splitlines() if one.endswith("byte-equal |")]
    assert there == [line(number) for number in range(len(RECIPES))]
